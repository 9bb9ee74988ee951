"""Bilinear resizing in floating point, in the reference program's order of operations."""

from __future__ import annotations

import numpy as np
from numba import njit

from idt import lanes
from idt.pyramid import bilinear_positions


@njit(cache=True, nogil=True, error_model="numpy")
def stretch_row(row: np.ndarray, left: np.ndarray, fraction: np.ndarray, out: np.ndarray) -> None:
    """Interpolate along a row; behind its last number stands that number once more."""
    one = np.float32(1)
    for x in range(len(out)):
        out[x] = row[left[x]] * (one - fraction[x]) + row[left[x] + 1] * fraction[x]


@njit(cache=True, nogil=True, error_model="numpy")
def mix_rows(
    upper: np.ndarray, lower: np.ndarray, fraction: np.float32, factor: np.float32, out: np.ndarray
) -> None:
    """Interpolate between two stretched rows and scale the values."""
    near = np.float32(1) - fraction
    for x in range(len(out)):
        out[x] = (upper[x] * near + lower[x] * fraction) * factor


@njit(cache=True, nogil=True, error_model="numpy")
def _resize_plane(
    plane: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    factor: np.float32,
    out: np.ndarray,
) -> None:
    """Resize a plane of flow bilinearly and scale its values."""
    n_rows, n_columns = plane.shape
    row = np.empty(n_columns + 1, np.float32)
    # The lower one of two stretched rows is often the upper one of the next two.
    stretched = np.empty((2, out.shape[1]), np.float32)
    upper, lower = stretched[0], stretched[1]
    upper_y, lower_y = -1, -1
    for y in range(out.shape[0]):
        if top[y] != upper_y:
            upper, lower = lower, upper
            upper_y, lower_y = lower_y, -1
        for is_lower in range(2):
            wanted = min(top[y] + is_lower, n_rows - 1)
            if wanted == (lower_y if is_lower else upper_y):
                continue
            for x in range(n_columns):
                row[x] = plane[wanted, x]
            row[n_columns] = row[n_columns - 1]
            stretch_row(row, left, fraction_x, lower if is_lower else upper)
            if is_lower:
                lower_y = wanted
            else:
                upper_y = wanted
        mix_rows(upper, lower, fraction_y[y], factor, out[y])


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
    for c in range(2):
        _resize_plane(flow[c], *rows, *columns, np.float32(factor), out[c])
    return out
