"""Image scales: sizes of the square-root-of-two pyramid, grey conversion and bilinear resizing.

Images are (row, column) arrays. All arithmetic follows the reference program (OpenCV 2.4), so that
the pyramid does not change with the installed OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

SCALE_STEP = np.float32(np.sqrt(2.0))  # ratio of neighbouring scales, Wang & Schmid 2013
MAX_SCALES = 8  # Wang & Schmid 2013
PATCH_SIZE = 32  # pixels; the smallest scale must still hold one descriptor window

COEFFICIENT_BITS = 11  # fixed-point bits of OpenCV's 8-bit bilinear weights


@dataclass(frozen=True)
class Scale:
    """One pyramid level: `factor` takes its coordinates back to full resolution."""

    factor: float
    width: int
    height: int


def scales(
    width: int, height: int, *, patch_size: int = PATCH_SIZE, max_scales: int = MAX_SCALES
) -> list[Scale]:
    """List the pyramid levels of a frame, largest first.

    Parameters
    ----------
    width, height
        Frame size in pixels, at least 1.
    patch_size
        Side in pixels of the window that must fit into the shorter side of every level.
    max_scales
        Upper limit of the number of levels, at least 1.

    Returns
    -------
    list of Scale
        At least one level; each is smaller than the one before by the square root of two.

    References
    ----------
    Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.
    """
    if width < 1 or height < 1:
        raise ValueError(
            f"width and height must be at least 1 pixel, got {width}x{height}; check the frames"
        )
    if max_scales < 1:
        raise ValueError(f"max_scales must be at least 1, got {max_scales}; use 1 for one scale")
    n_levels, side = 0, np.float32(min(width, height))
    while side >= patch_size and n_levels < max_scales:
        side = np.float32(side / SCALE_STEP)
        n_levels += 1
    factor = np.float32(1.0)
    levels = []
    for _ in range(max(n_levels, 1)):
        levels.append(Scale(float(factor), round(width / float(factor)), round(height / factor)))
        factor = np.float32(factor * SCALE_STEP)
    return levels


def grey_pyramid(grey: np.ndarray, levels: list[Scale]) -> list[np.ndarray]:
    """Resize a grey frame level by level, each from the one before, without blurring.

    Parameters
    ----------
    grey
        uint8 (row, column), of the first level's size.
    levels
        What `scales` returned for that size.

    Returns
    -------
    list of ndarray of uint8
        One image per level; the first is `grey` itself.
    """
    pyramid = [grey]
    for level in levels[1:]:
        pyramid.append(resize_uint8(pyramid[-1], level.width, level.height))
    return pyramid


@njit(cache=True, nogil=True)
def _convert_bgr(image: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with the grey levels of a BGR image by OpenCV 2.4's 14-bit weights."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            blue = np.int32(image[y, x, 0])
            green = np.int32(image[y, x, 1])
            red = np.int32(image[y, x, 2])
            out[y, x] = np.uint8((1868 * blue + 9617 * green + 4899 * red + 8192) >> 14)


def to_grey(frame: np.ndarray) -> np.ndarray:
    """Convert a BGR frame, uint8 (row, column, 3), to grey levels, uint8 (row, column).

    Uses OpenCV 2.4's 14-bit weights; OpenCV 4's 15-bit weights differ by one level on about
    0.02 % of the pixels.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(
            "frame must be a uint8 array of shape (row, column, 3), "
            f"got {frame.dtype} {frame.shape}; decode it with idt.video"
        )
    grey = np.empty(frame.shape[:2], np.uint8)
    _convert_bgr(frame, grey)
    return grey


@lru_cache(maxsize=256)
def bilinear_positions(
    n_in: int, n_out: int, *, ratio: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """First source index, int64 (n_out,), and weight of the second, float32, of a resized axis.

    `ratio` is the distance of two samples in pixels of the source; None is that of the sizes. Both
    arrays are read-only and kept: a video asks for the same few again and again.
    """
    if ratio is None:
        ratio = 1.0 / (n_out / n_in)
    position = ((np.arange(n_out) + 0.5) * ratio - 0.5).astype(np.float32)
    first = np.floor(position)
    weight = position - first
    outside = (first < 0) | (first >= n_in - 1)
    weight[outside] = 0
    index = first.clip(0, n_in - 1).astype(np.int64)
    index.setflags(write=False)
    weight.setflags(write=False)
    return index, weight


@njit(cache=True, nogil=True)
def _resize_uint8(
    image: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    out: np.ndarray,
) -> None:
    """Bilinear resize in OpenCV's fixed-point arithmetic."""
    n_rows, n_columns = out.shape
    one = np.float32(1 << COEFFICIENT_BITS)
    weight_left = np.empty(n_columns, np.int32)
    weight_right = np.empty(n_columns, np.int32)
    right = np.empty(n_columns, np.int32)
    for x in range(n_columns):
        weight_left[x] = np.int32(np.rint((np.float32(1) - fraction_x[x]) * one))
        weight_right[x] = np.int32(np.rint(fraction_x[x] * one))
        right[x] = min(left[x] + 1, image.shape[1] - 1)
    # Source rows interpolated along x: the lower one of a row is often the upper one of the next.
    rows = np.empty((2, n_columns), np.int32)
    held = np.array([-1, -1])
    for y in range(n_rows):
        for r in range(2):
            wanted = min(top[y] + r, image.shape[0] - 1)
            if held[r] == wanted:
                continue
            held[r] = wanted
            if r == 0 and held[1] == wanted:
                for x in range(n_columns):
                    rows[0, x] = rows[1, x]
                continue
            source, target = image[wanted], rows[r]
            for x in range(n_columns):
                near = np.int32(source[left[x]]) * weight_left[x]
                target[x] = (near + np.int32(source[right[x]]) * weight_right[x]) >> 4
        weight_top = np.int32(np.rint((np.float32(1) - fraction_y[y]) * one))
        weight_bottom = np.int32(np.rint(fraction_y[y] * one))
        upper, lower, target_row = rows[0], rows[1], out[y]
        for x in range(n_columns):
            above = (weight_top * upper[x]) >> 16
            below = (weight_bottom * lower[x]) >> 16
            target_row[x] = np.uint8((above + below + 2) >> 2)


def resize_uint8(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize a grey image bilinearly with pixel-centred coordinates, without blurring.

    Parameters
    ----------
    image
        uint8 (row, column).
    width, height
        New size in pixels, at least 1.

    Returns
    -------
    ndarray of uint8, shape (height, width)
    """
    if image.ndim != 2 or image.dtype != np.uint8:
        raise ValueError(
            f"image must be a uint8 array of shape (row, column), got {image.dtype} "
            f"{image.shape}; convert it with to_grey"
        )
    out = np.empty((height, width), np.uint8)
    top, fraction_y = bilinear_positions(image.shape[0], height)
    left, fraction_x = bilinear_positions(image.shape[1], width)
    _resize_uint8(image, top, fraction_y, left, fraction_x, out)
    return out
