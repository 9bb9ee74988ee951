"""Bilinear resizing in floating point, in the reference program's order of operations."""

from __future__ import annotations

import numpy as np
from numba import njit

from idt import lanes
from idt.lanes import WIDTH, fill, gather, load, store
from idt.pyramid import bilinear_positions


@njit(cache=True, nogil=True, error_model="numpy")
def lay_out(first: np.ndarray, fraction: np.ndarray, n_in: int) -> np.ndarray:
    """Positions of `idt.pyramid.bilinear_positions` for lanes, float32 (3, columns or more).

    They are the first and the second source column, and the weight of the second; behind the last
    position they are 0.
    """
    positions = np.zeros((3, (len(first) + WIDTH - 1) // WIDTH * WIDTH), np.float32)
    for x in range(len(first)):
        positions[0, x] = first[x]
        positions[1, x] = min(first[x] + 1, n_in - 1)
        positions[2, x] = fraction[x]
    return positions


@njit(cache=True, nogil=True, error_model="numpy")
def stretch_row(row: np.ndarray, positions: np.ndarray, out: np.ndarray) -> None:
    """Interpolate along a row at the positions of `lay_out`; `out` is as long as they are."""
    pitch = positions.shape[1]
    nought, one = fill(np.float32(0)), fill(np.float32(1))
    for x in range(0, pitch, WIDTH):
        first, second = load(positions, x), load(positions, pitch + x)
        weight = load(positions, 2 * pitch + x)
        near = gather(row, 0, nought, first, 0) * (one - weight)
        store(out, x, near + gather(row, 0, nought, second, 0) * weight)


@njit(cache=True, nogil=True, error_model="numpy")
def mix_rows(
    upper: np.ndarray, lower: np.ndarray, fraction: np.float32, factor: np.float32, out: np.ndarray
) -> None:
    """Interpolate between two stretched rows and scale the values, in whole lanes."""
    near, far, scale = fill(np.float32(1) - fraction), fill(fraction), fill(factor)
    for x in range(0, len(upper), WIDTH):
        store(out, x, (load(upper, x) * near + load(lower, x) * far) * scale)


@njit(cache=True, nogil=True, error_model="numpy")
def resize_planes(
    planes: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    factor: np.float32,
    out: np.ndarray,
) -> None:
    """Resize planes bilinearly and scale their values; `out` has room behind it for lanes."""
    n_rows = planes.shape[1]
    positions = lay_out(left, fraction_x, planes.shape[2])
    # The lower one of two stretched rows is often the upper one of the next two.
    stretched = np.empty((2, positions.shape[1]), np.float32)
    for c in range(len(planes)):
        upper, lower = stretched[0], stretched[1]
        upper_y, lower_y = -1, -1
        for y in range(out.shape[1]):
            if top[y] != upper_y:
                upper, lower = lower, upper
                upper_y, lower_y = lower_y, -1
            for is_lower in range(2):
                wanted = min(top[y] + is_lower, n_rows - 1)
                if wanted == (lower_y if is_lower else upper_y):
                    continue
                stretch_row(planes[c, wanted], positions, lower if is_lower else upper)
                if is_lower:
                    lower_y = wanted
                else:
                    upper_y = wanted
            mix_rows(upper, lower, fraction_y[y], factor, out[c, y])


def resize_flow(
    flow: np.ndarray, n_rows: int, n_columns: int, *, factor: float, ratio: float | None = None
) -> np.ndarray:
    """Bring flow to another level of the pyramid.

    Parameters
    ----------
    flow
        float32 (2, row, column), planes (dx, dy) in pixels of its level.
    n_rows, n_columns
        Size of the other level in pixels.
    factor
        What a displacement is multiplied by, usually the ratio of the sizes.
    ratio
        Distance of two samples in pixels of `flow`; None for the ratio of the sizes.

    Returns
    -------
    ndarray of float32, shape (2, n_rows, n_columns)
    """
    out = lanes.empty(2, n_rows, n_columns)
    rows = bilinear_positions(flow.shape[1], n_rows, ratio=ratio)
    columns = bilinear_positions(flow.shape[2], n_columns, ratio=ratio)
    resize_planes(flow, *rows, *columns, np.float32(factor), out)
    return out
