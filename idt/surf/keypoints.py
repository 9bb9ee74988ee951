"""Keypoints of a frame: found, then described.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from idt import lanes
from idt.surf.description import CELL_WEIGHTS, describe_keypoints
from idt.surf.hessian import detect_keypoints, integrate_image
from idt.surf.orientation import WEIGHTS, orient_keypoints

HESSIAN_THRESHOLD = 200.0  # Wang & Schmid's program


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one frame, strongest first.

    Attributes
    ----------
    points
        float32 (n, 2), (x, y) in pixels.
    sizes
        float32 (n,), side in pixels of the filter that found the point.
    angles
        float32 (n,), degrees in [0, 360).
    responses
        float32 (n,), determinant of the Hessian.
    descriptors
        float32 (n, 128), of unit length.
    """

    points: np.ndarray
    sizes: np.ndarray
    angles: np.ndarray
    responses: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def detect_and_describe(
    grey: np.ndarray,
    *,
    threshold: float = HESSIAN_THRESHOLD,
    allowed: np.ndarray | None = None,
) -> Keypoints:
    """Find SURF keypoints of a frame and describe them.

    Parameters
    ----------
    grey
        uint8 (row, column).
    threshold
        Smallest determinant of the Hessian, positive.
    allowed
        bool (row, column): keypoints are kept where it is True; None keeps all.

    Returns
    -------
    Keypoints
        Strongest first.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(
            f"grey must be a uint8 array of shape (row, column), got {grey.dtype} {grey.shape}; "
            "convert it with idt.pyramid.to_grey"
        )
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}; 200 is the usual value")
    integral = lanes.empty(grey.shape[0] + 1, grey.shape[1] + 1, kind=np.int32)
    integrate_image(grey, integral)
    found = detect_keypoints(integral, np.float32(threshold))
    if allowed is not None:
        column = np.clip(np.rint(found[:, 0]).astype(int), 0, grey.shape[1] - 1)
        row = np.clip(np.rint(found[:, 1]).astype(int), 0, grey.shape[0] - 1)
        found = found[allowed[row, column]]
    found = found[np.argsort(-found[:, 3], kind="stable")]
    angles = np.empty(len(found), np.float32)
    orient_keypoints(integral, found, WEIGHTS, angles)
    oriented = angles >= 0
    found, angles = found[oriented], angles[oriented]
    descriptors = np.empty((len(found), 128), np.float32)
    by_size = np.argsort(found[:, 2], kind="stable")
    describe_keypoints(grey, found, angles, by_size, CELL_WEIGHTS, descriptors)
    return Keypoints(
        points=found[:, :2].copy(),
        sizes=found[:, 2].copy(),
        angles=angles,
        responses=found[:, 3].copy(),
        descriptors=descriptors,
    )
