"""Cut clips out of stored videos: one box for all frames and fields of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deep import flow as optical
from deep.clips import Clip
from deep.data.resampling import mean_levels, resample
from deep.data.storing import Stored, read_images

CROPS = ("jitter", "corners", "random")
CROP_SCALES = (1.0, 0.875, 0.75, 0.66)  # of the shorter side, Wang et al., ECCV 2016, section 4.1


@dataclass(frozen=True)
class View:
    """What is cut out of every frame and field of a clip, the same for all: a box and a mirror.

    With `own_size` the box is not brought to the input's size.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False
    own_size: bool = False

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, left, height and width in pixels."""
        return self.top, self.left, self.height, self.width


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How clips become tensors.

    Parameters
    ----------
    size
        Side of the network's square input in pixels.
    crops
        Boxes of training views, each brought to ``size`` x ``size``. ``jitter``: a part of the
        frame by `scale`, anywhere in it. ``corners``: at one of the four corners or in the centre,
        height and width each one of `crop_scales` times the frame's shorter side, no more than one
        step of that list apart (Wang et al., "Temporal Segment Networks", ECCV 2016, section 4.1).
        ``random``: ``size`` x ``size`` pixels, anywhere (Simonyan and Zisserman 2014, section 4).
    scale
        Least share of the frame's height and of its width that ``jitter`` keeps; both are drawn
        independently from ``[scale, 1]`` (Feichtenhofer et al. 2016 jitter both sides by a
        quarter).
    crop_scales
        Of ``corners``, descending.
    mirror
        Whether training views are flipped at random.
    subtract_mean
        Whether each flow field loses its mean vector, the two-stream paper's compensation of
        camera motion. The mean is taken over the whole field, before the box is cut.
    bound
        Of the stored flow, see `deep.flow.FlowSettings`; None where each field has its own.
    """

    size: int = 112
    crops: str = "jitter"
    scale: float = 0.75
    crop_scales: Sequence[float] = CROP_SCALES
    mirror: bool = True
    subtract_mean: bool = True
    bound: float | None = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, got {self.scale}; try 0.75")
        if self.size < 16:
            raise ValueError(f"size must be at least 16 pixels, got {self.size}; try 112")
        if self.crops not in CROPS:
            raise ValueError(
                f"crops must be one of {', '.join(CROPS)}, got {self.crops!r}; choose one of these"
            )
        scales = list(self.crop_scales)
        if not scales or scales != sorted(scales, reverse=True) or not 0 < min(scales) <= 1:
            raise ValueError(
                f"crop_scales must be shares above 0 and at most 1, descending, got {scales}; "
                f"the usual are {', '.join(map(str, CROP_SCALES))}"
            )

    def random_view(self, stored: Stored, rng: np.random.Generator) -> View:
        """Draw a training view."""
        height, width = self._random_box(stored, rng)
        free = stored.height - height, stored.width - width
        if self.crops == "corners":
            corner = int(rng.integers(5))
            top, left = _corners(*free)[corner]
        else:
            top, left = (int(rng.integers(0, space + 1)) for space in free)
        return View(top, left, height, width, flip=self.mirror and bool(rng.integers(2)))

    def _random_box(self, stored: Stored, rng: np.random.Generator) -> tuple[int, int]:
        """Height and width of a training view."""
        shorter = min(stored.height, stored.width)
        if self.crops == "random":
            return min(self.size, shorter), min(self.size, shorter)
        if self.crops == "corners":
            n = len(self.crop_scales)
            steps = [(i, j) for i in range(n) for j in range(n) if abs(i - j) <= 1]
            chosen = steps[int(rng.integers(len(steps)))]
            height, width = (round(self.crop_scales[step] * shorter) for step in chosen)
            return height, width
        height, width = (
            int(np.rint(side * rng.uniform(self.scale, 1.0)))
            for side in (stored.height, stored.width)
        )
        return height, width


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
        Which part of them. A side of another length than the input's is resized (linearly when it
        grows, by area when it shrinks), flow without change of its values: a pixel per frame stays
        a pixel of the stored video.
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
    size = (view.height, view.width) if view.own_size else (cutting.size, cutting.size)
    n_segments, n_images = clip.frames.shape
    rgb = np.empty((n_segments, 3, n_images, *size), np.float32)
    images, _ = read_images(stored.frames, "frames", clip.frames.ravel())
    gains = np.full((n_images, 3), 1 / 255, np.float32)
    for segment, shown in enumerate(np.split(images, n_segments)):
        resample(shown, rgb[segment], box=view.box, flip=view.flip, gains=gains, offsets=0 * gains)
    n_fields = clip.fields.shape[1] + clip.backward.shape[1]
    if not n_fields:
        return rgb, None
    flow = np.empty((n_segments, 2, n_fields, *size), np.float32)
    for segment, (forward, backward) in enumerate(zip(clip.fields, clip.backward, strict=True)):
        _cut_flow(stored, forward, view, cutting, flow[segment], along_paths=clip.along_paths)
        if len(backward):
            _cut_flow(stored, backward, view, cutting, flow[segment], at=len(forward), channel=2)
    return rgb, flow


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


def corner_views(stored: Stored, size: int) -> list[View]:
    """Boxes of the input's size, or of the frame's shorter side: four corners, then the centre."""
    side = min(size, stored.height, stored.width)
    places = _corners(stored.height - side, stored.width - side)
    return [View(top, left, side, side) for top, left in places]


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


def _corners(height: int, width: int) -> list[tuple[int, int]]:
    """Top and left of boxes in the corners and the centre, given the rows and columns left over."""
    return [(0, 0), (0, width), (height, 0), (height, width), (height // 2, width // 2)]


def _cut_flow(
    stored: Stored,
    indices: np.ndarray,
    view: View,
    cutting: Cutting,
    out: np.ndarray,
    *,
    at: int = 0,
    channel: int = 0,
    along_paths: bool = False,
) -> None:
    """Cut fields, whose first component is `channel`, into the times of a chunk from `at` on."""
    if stored.flow is None:
        raise ValueError(f"stored must have flow, got none for {stored.video}; give `store` flow")
    levels, layout = read_images(stored.flow, "flow", indices)
    components = slice(channel, channel + 2)
    if layout.shape[3] < components.stop:
        raise ValueError(
            f"stored must have flow backward, got none for {stored.video}; give `store` flow with "
            "backward=True"
        )
    if cutting.bound is not None:
        bounds = np.full((len(levels), 2), cutting.bound, np.float32)
    elif layout.bounds is not None:
        bounds = layout.bounds[indices, components]
    else:
        raise ValueError(
            f"flow of {stored.video} must have bounds of each field, got none; give the bound that "
            "it was stored with"
        )
    gains = bounds / np.float32(optical.LEVELS)
    offsets = 0 * gains
    if cutting.subtract_mean:
        offsets = (optical.ZERO - mean_levels(levels, channel)) * gains
    zero = optical.ZERO
    if along_paths:  # which may leave the box
        fields = optical.dequantise(levels[..., components], bound=bounds[:, None, None])
        levels, channel, zero, gains = optical.follow(fields), 0, 0, np.ones_like(gains)
    sides = np.array([-1, 1] if view.flip else [1, 1], np.float32)
    resample(
        levels,
        out,
        box=view.box,
        flip=view.flip,
        gains=gains * sides,
        offsets=offsets * sides,
        zero=zero,
        channel=channel,
        at=at,
    )
