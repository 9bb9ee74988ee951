"""Cut clips out of stored videos: one box for all frames and fields of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import h5py
import numpy as np

from deep import flow as optical
from deep.clips import Clip
from deep.data.storing import Stored, open_stored


@dataclass(frozen=True)
class View:
    """What is cut out of every frame and field of a clip, the same for all: a box and a mirror."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How clips become tensors.

    Parameters
    ----------
    size
        Side of the network's square input in pixels.
    scale
        Least share of the frame's height and of its width that a training view keeps; both are
        drawn independently from ``[scale, 1]`` and the box is brought to ``size`` x ``size``
        (Feichtenhofer et al. 2016 jitter both sides by a quarter). Tests see the whole frame.
    mirror
        Whether training views are flipped at random.
    subtract_mean
        Whether each flow field loses its mean vector, the two-stream paper's compensation of
        camera motion. The mean is taken over the whole field, before the box is cut.
    bound
        Of the stored flow, see `deep.flow`.
    """

    size: int = 112
    scale: float = 0.75
    mirror: bool = True
    subtract_mean: bool = True
    bound: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, got {self.scale}; try 0.75")
        if self.size < 16:
            raise ValueError(f"size must be at least 16 pixels, got {self.size}; try 112")

    def random_view(self, stored: Stored, rng: np.random.Generator) -> View:
        """Draw a training view."""
        height, width = (
            int(np.rint(side * rng.uniform(self.scale, 1.0)))
            for side in (stored.height, stored.width)
        )
        return View(
            top=int(rng.integers(0, stored.height - height + 1)),
            left=int(rng.integers(0, stored.width - width + 1)),
            height=height,
            width=width,
            flip=self.mirror and bool(rng.integers(2)),
        )


def read_clip(
    stored: Stored, clip: Clip, view: View, cutting: Cutting
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cut one clip out of a stored video.

    Parameters
    ----------
    stored
        With flow, where the clip has fields.
    clip
        Which frames and fields.
    view
        Which part of them. A box of another size than the input is resized (bilinear when it grows,
        by area when it shrinks), flow without change of its values: a pixel per frame stays a pixel
        of the stored video.
    cutting
        Input size and mean subtraction.

    Returns
    -------
    rgb : ndarray of float32, shape (segment, 3, frame, row, column)
        In [0, 1].
    flow : ndarray of float32, shape (segment, 2, time, row, column), or None
        Pixels per frame. In a flipped view the x components are negated. None for a clip without
        fields.
    """
    size = cutting.size
    n_segments, n_images = clip.frames.shape
    rgb = np.empty((n_segments, 3, n_images, size, size), np.float32)
    with open_stored(stored.frames, "frames") as kept:
        for segment, image in np.ndindex(n_segments, n_images):
            pixels = _cut(kept[clip.frames[segment, image]], view, size)
            rgb[segment, :, image] = pixels.transpose(2, 0, 1) / np.float32(255)
    n_fields = clip.fields.shape[1] + clip.backward.shape[1]
    if not n_fields:
        return mirrored(rgb, None) if view.flip else (rgb, None)
    flow = np.empty((n_segments, 2, n_fields, size, size), np.float32)
    for segment, motion in enumerate(_motion(stored, clip, cutting)):
        for time, field in enumerate(motion):
            flow[segment, :, time] = _cut(field, view, size).transpose(2, 0, 1)
    return mirrored(rgb, flow) if view.flip else (rgb, flow)


def grid_views(stored: Stored, size: int, n: int) -> list[View]:
    """Boxes for testing, in raster order.

    Parameters
    ----------
    stored
        The video.
    size
        Side of the network's input in pixels.
    n
        1 for the whole frame; else n x n boxes of that size, or of the frame's shorter side where
        that is less, spread evenly from edge to edge.
    """
    if n < 1:
        raise ValueError(f"grid must be at least 1, got {n}; 3 gives nine crops")
    if n == 1:
        return [View(top=0, left=0, height=stored.height, width=stored.width)]
    side = min(size, stored.height, stored.width)
    tops, lefts = (
        np.rint(np.linspace(0, length - side, n)).astype(int)
        for length in (stored.height, stored.width)
    )
    return [View(int(top), int(left), side, side) for top in tops for left in lefts]


def mirrored(rgb: np.ndarray, flow: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Flip clips left to right: columns reversed, x components of the flow negated.

    Parameters
    ----------
    rgb : ndarray of float32, shape (..., 3, frame, row, column)
    flow : ndarray of float32, shape (..., 2, time, row, column), or None
    """
    rgb = rgb[..., ::-1].copy()
    if flow is None:
        return rgb, None
    flow = flow[..., ::-1].copy()
    flow[..., 0, :, :, :] *= -1
    return rgb, flow


def _motion(stored: Stored, clip: Clip, cutting: Cutting) -> Iterator[np.ndarray]:
    """Flow of each chunk, float32 (time, row, column, 2): forward, then backward."""
    if stored.flow is None:
        raise ValueError(f"stored must have flow, got none for {stored.video}; give `store` flow")
    with open_stored(stored.flow, "flow") as kept:
        for forward, backward in zip(clip.fields, clip.backward, strict=True):
            levels = _slab(kept, forward)[..., :2]
            if len(backward):
                if kept.shape[-1] < 4:
                    raise ValueError(
                        f"stored must have flow backward, got none for {stored.video}; give "
                        "`store` flow with backward=True"
                    )
                levels = np.concatenate([levels, _slab(kept, backward)[..., 2:]])
            motion = optical.dequantise(levels, bound=cutting.bound)
            means = np.array([cv2.mean(field)[:2] for field in motion], np.float32)
            if clip.along_paths:
                motion = optical.follow(motion)
            yield motion - means[:, None, None] if cutting.subtract_mean else motion


def _cut(image: np.ndarray, view: View, size: int) -> np.ndarray:
    """Cut a view's box out of (row, column, channel), brought to size x size."""
    box = image[view.top : view.top + view.height, view.left : view.left + view.width]
    if box.shape[:2] == (size, size):
        return box
    shrinks = box.shape[0] > size or box.shape[1] > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(box, (size, size), interpolation=method)


def _slab(dataset: h5py.Dataset, indices: np.ndarray) -> np.ndarray:
    """Read rows of a dataset in one piece; indices may repeat."""
    first = int(indices.min())
    return dataset[first : int(indices.max()) + 1][indices - first]
