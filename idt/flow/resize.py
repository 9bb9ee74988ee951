"""Bilinear resizing in floating point, in the reference program's order of operations."""

from __future__ import annotations

import numpy as np
from numba import njit

from idt import lanes
from idt.pyramid import bilinear_positions


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate_row(
    upper: np.ndarray,
    lower: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    fraction_y: np.float32,
    out: np.ndarray,
) -> None:
    """Fill a row bilinearly between two source rows: along x first, then along y."""
    one = np.float32(1)
    last = len(upper) - 1
    for x in range(len(out)):
        first = left[x]
        second = min(first + 1, last)
        near, far = one - fraction_x[x], fraction_x[x]
        above = upper[first] * near + upper[second] * far
        below = lower[first] * near + lower[second] * far
        out[x] = above * (one - fraction_y) + below * fraction_y


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
    for y in range(out.shape[0]):
        below = min(top[y] + 1, plane.shape[0] - 1)
        interpolate_row(plane[top[y]], plane[below], left, fraction_x, fraction_y[y], out[y])
        for x in range(out.shape[1]):
            out[y, x] *= factor


def resize_flow(flow: np.ndarray, n_rows: int, n_columns: int, *, factor: float) -> np.ndarray:
    """Bring flow to another level of the pyramid.

    Parameters
    ----------
    flow
        float32 (2, row, column), planes (dx, dy) in pixels of its level.
    n_rows, n_columns
        Size of the other level in pixels.
    factor
        What a displacement is multiplied by, usually the ratio of the sizes.

    Returns
    -------
    ndarray of float32, shape (2, n_rows, n_columns)
    """
    out = lanes.empty(2, n_rows, n_columns)
    rows = bilinear_positions(flow.shape[1], n_rows)
    columns = bilinear_positions(flow.shape[2], n_columns)
    for c in range(2):
        _resize_plane(flow[c], *rows, *columns, np.float32(factor), out[c])
    return out
