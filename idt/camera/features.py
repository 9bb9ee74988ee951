"""Keypoints by name: SURF, and what OpenCV has instead of it.

SURF is the reference program's choice. The others come from OpenCV, with settings that find about
as many points: on real clips of 320 x 240 pixels SURF 230 to 370, AKAZE 240 to 460, SIFT 270 to
430, ORB 500. AKAZE and SIFT place them as well as SURF and take three to five times its time; ORB
takes less, and places them worse. AKAZE and ORB describe by bits, SIFT and SURF by numbers.

References
----------
Alcantarilla, Nuevo, Bartoli, Fast Explicit Diffusion for Accelerated Features in Nonlinear Scale
Spaces, BMVC 2013. Lowe, Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004.
Rublee et al., ORB: An Efficient Alternative to SIFT or SURF, ICCV 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from idt.surf import Keypoints, detect_and_describe

FEATURES = ("surf", "akaze", "sift", "orb")
MIN_SIDE = 16  # pixels; OpenCV's detectors find nothing in smaller frames, or fail

AKAZE_THRESHOLD = 3e-4  # determinant of the Hessian; OpenCV's 1e-3 finds half of SURF's number
SIFT_CONTRAST = 0.04  # Lowe 2004 by OpenCV's measure
MAX_POINTS = 1000  # of SIFT
ORB_MAX_POINTS = 500  # ORB's points crowd; more of them are neighbours of the first
ORB_FAST_THRESHOLD = 10  # grey levels; OpenCV's 20 leaves low-contrast frames with no points
ORB_MARGIN = 16  # pixels, half of ORB's patch; OpenCV's 31 leaves half of a small frame out


def detect_features(name: str, grey: np.ndarray, *, allowed: np.ndarray | None = None) -> Keypoints:
    """Find a frame's keypoints and describe them.

    Parameters
    ----------
    name
        One of `FEATURES`. ``"surf"``: `idt.surf.detect_and_describe`. ``"akaze"``: threshold
        0.0003, full M-LDB descriptors. ``"sift"``: contrast 0.04, at most 1000 points. ``"orb"``:
        FAST threshold 10, margin 16 pixels, at most 500 points.
    grey
        uint8 (row, column).
    allowed
        bool (row, column): keypoints are kept where it is True; None keeps all.

    Returns
    -------
    Keypoints
        Strongest first, equally strong ones in raster order. Descriptors are float32 (n, 128) for
        SURF and SIFT, bits in uint8 (n, 61) for AKAZE and (n, 32) for ORB. Angles are as the
        detector gives them (OpenCV: degrees clockwise), sizes are diameters in pixels.

    Raises
    ------
    ValueError
        The name is unknown, `grey` is not uint8 (row, column), or `allowed` has another shape.
    """
    if name not in FEATURES:
        raise ValueError(f"name must be one of {', '.join(FEATURES)}, got {name!r}; choose one")
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(
            f"grey must be a uint8 array of shape (row, column), got {grey.dtype} {grey.shape}; "
            "convert it with idt.pyramid.to_grey"
        )
    if allowed is not None and allowed.shape != grey.shape:
        raise ValueError(
            f"allowed must have the frame's shape {grey.shape}, got {allowed.shape}; "
            "give one bool a pixel"
        )
    if name == "surf":
        return detect_and_describe(grey, allowed=allowed)
    return _detect_by_opencv(_detector(name), grey, allowed)


def _detector(name: str) -> Any:
    """OpenCV's detector of that name; version 5 keeps AKAZE among the extra modules."""
    if name == "akaze":
        akaze = cv2.AKAZE if hasattr(cv2, "AKAZE") else cv2.xfeatures2d.AKAZE
        return akaze.create(threshold=AKAZE_THRESHOLD)
    if name == "sift":
        return cv2.SIFT.create(nfeatures=MAX_POINTS, contrastThreshold=SIFT_CONTRAST)
    return cv2.ORB.create(
        nfeatures=ORB_MAX_POINTS, fastThreshold=ORB_FAST_THRESHOLD, edgeThreshold=ORB_MARGIN
    )


def _detect_by_opencv(detector: Any, grey: np.ndarray, allowed: np.ndarray | None) -> Keypoints:
    """Keypoints of an OpenCV detector in an order that does not depend on its threads."""
    found: Sequence[cv2.KeyPoint] = ()
    descriptors = None
    if min(grey.shape) >= MIN_SIDE:
        mask = None if allowed is None else allowed.astype(np.uint8)
        found, descriptors = detector.detectAndCompute(np.ascontiguousarray(grey), mask)
    if descriptors is None:
        kind = np.float32 if detector.descriptorType() == cv2.CV_32F else np.uint8
        descriptors = np.empty((0, detector.descriptorSize()), kind)
    table = np.array([(*k.pt, k.size, k.angle, k.response) for k in found], np.float32)
    table = table.reshape(-1, 5)
    if allowed is not None:
        # OpenCV's mask rounds halves up, and ORB's is scaled with its pyramid.
        column = np.clip(np.rint(table[:, 0]).astype(int), 0, grey.shape[1] - 1)
        row = np.clip(np.rint(table[:, 1]).astype(int), 0, grey.shape[0] - 1)
        kept = allowed[row, column]
        table, descriptors = table[kept], descriptors[kept]
    x, y, size, angle, response = table.T
    order = np.lexsort((angle, size, x, y, -response))
    return Keypoints(
        points=table[order, :2],
        sizes=size[order],
        angles=angle[order],
        responses=response[order],
        descriptors=descriptors[order],
    )
