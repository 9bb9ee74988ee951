"""Boxes of stored images brought to a network's input: one pass from levels to numbers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

Taps = tuple[np.ndarray, np.ndarray]
LANES = 64  # sums that grow side by side; a multiple of the channels


@lru_cache(maxsize=4096)
def taps(length: int, size: int) -> Taps:
    """Which pixels of a row or column of a box make each pixel of the input, and their shares.

    Parameters
    ----------
    length
        Of the box in pixels.
    size
        Of the input in pixels. Less than `length`: each pixel is the mean over the part of the box
        that it covers. More: it lies between the two nearest, at pixel centres, and repeats the
        outermost beyond them (bilinear in two directions).

    Returns
    -------
    places : ndarray of uint32, shape (tap, size)
        Counted from the box's first pixel, inside the box.
    shares : ndarray of float32, shape (tap, size)
        Sums of 1 over the taps.
    """
    ratio = length / size
    if size == length:
        first, shares = np.arange(size), np.ones((1, size))
    elif size < length:
        edges = np.arange(size + 1) * ratio
        first = edges[:-1].astype(np.intp)
        covered = first + np.arange(int(np.ceil(ratio)) + 1)[:, None]
        overlap = np.minimum(covered + 1, edges[1:]) - np.maximum(covered, edges[:-1])
        shares = np.maximum(overlap, 0) / ratio
    else:
        centres = np.clip((np.arange(size) + 0.5) * ratio - 0.5, 0, length - 1)
        first = centres.astype(np.intp)
        shares = np.stack([1 - (centres - first), centres - first])
    places = np.minimum(first + np.arange(len(shares))[:, None], length - 1).astype(np.uint32)
    shares = (shares / shares.sum(axis=0)).astype(np.float32)
    for each in (places, shares):
        each.flags.writeable = False
    return places, shares


def resample(
    images: np.ndarray,
    out: np.ndarray,
    *,
    box: tuple[int, int, int, int],
    flip: bool,
    gains: np.ndarray,
    offsets: np.ndarray,
    zero: int = 0,
    channel: int = 0,
    at: int = 0,
) -> None:
    """Cut the same box out of images, bring it to the size of `out`, and map levels to numbers.

    Parameters
    ----------
    images : ndarray of uint8 or float32, shape (image, row, column, channel)
        Contiguous.
    out : ndarray of float32, shape (channel, time, row, column)
        Contiguous; the places ``at`` to ``at + len(images)`` of its times are filled.
    box
        Top, left, height and width in pixels, inside the images.
    flip
        Whether columns come out from right to left.
    gains, offsets : ndarray of float32, shape (image, channel)
        A level ``v`` becomes ``(v - zero) * gain + offset``.
    zero
        Level whose number has no rounding: the offset.
    channel
        The first one that is taken; as many as `out` has.
    at
        Where the first image goes.
    """
    top, left, height, width = box
    rows, row_shares = taps(height, out.shape[2])
    columns, column_shares = taps(width, out.shape[3])
    if flip:
        columns, column_shares = columns[:, ::-1].copy(), column_shares[:, ::-1].copy()
    _resample(
        images,
        (top, left, width, channel),
        (rows, row_shares),
        (columns, column_shares),
        np.float32(zero),
        gains,
        offsets,
        out,
        at,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _resample(
    images: np.ndarray,
    start: tuple[int, int, int, int],
    down: Taps,
    across: Taps,
    zero: np.float32,
    gains: np.ndarray,
    offsets: np.ndarray,
    out: np.ndarray,
    at: int,
) -> None:
    """Along columns first, where whole rows are added, then along the one row that comes of it."""
    top, left, width, channel = start
    rows, row_shares = down
    columns, column_shares = across
    depth = images.shape[3]
    n_channels, _, height, size = out.shape
    line = np.empty(width * depth, np.float32)
    for i in range(len(images)):
        for y in range(height):
            line[:] = 0
            for k in range(len(rows)):
                share = row_shares[k, y]
                if share > 0:
                    pixels = images[i, top + rows[k, y], left : left + width].reshape(-1)
                    for x in range(len(line)):
                        line[x] += share * (np.float32(pixels[x]) - zero)
            for c in range(n_channels):
                made = out[c, at + i, y]
                made[:] = offsets[i, c]
                gain, shift = gains[i, c], np.uint32(channel + c)
                for k in range(len(columns)):
                    for x in range(size):
                        value = line[columns[k, x] * np.uint32(depth) + shift]
                        made[x] += gain * column_shares[k, x] * value


@njit(cache=True, nogil=True, error_model="numpy")
def mean_levels(images: np.ndarray, channel: int) -> np.ndarray:
    """Mean of each image's two channels from `channel` on, float32 (image, 2).

    `images` is an ndarray of uint8, shape (image, row, column, 2 or 4), contiguous.
    """
    means = np.empty((len(images), 2), np.float32)
    depth = images.shape[3]
    for i in range(len(images)):
        levels = images[i].reshape(-1)
        sums = np.zeros(LANES, np.uint32)
        whole = len(levels) // LANES * LANES
        for start in range(0, whole, LANES):
            lanes = levels[start : start + LANES]
            for k in range(LANES):
                sums[k] += lanes[k]
        for k in range(whole, len(levels)):
            sums[k - whole] += levels[k]
        for c in range(2):
            means[i, c] = sums[channel + c :: depth].sum() / (len(levels) // depth)
    return means
