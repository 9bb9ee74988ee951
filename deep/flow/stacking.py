"""Flow along the paths of points."""

from __future__ import annotations

import numpy as np


def follow(fields: np.ndarray) -> np.ndarray:
    """Stack flow along the paths of points: trajectory stacking.

    Parameters
    ----------
    fields : ndarray of float32, shape (time, row, column, 2)
        L fields (dx, dy) in pixels per frame, in order of time.

    Returns
    -------
    ndarray of float32, shape (time, row, column, 2)
        ``I_k(u, v) = d_k(p_k)`` with ``p_1 = (u, v)`` and ``p_k = p_{k-1} + d_{k-1}(p_{k-1})``:
        the displacement at time k of the point that was at (u, v) at time 1.

    References
    ----------
    Simonyan and Zisserman 2014, section 3.1, equation 2. Positions lie between pixels, which the
    paper does not speak of: displacements there are interpolated bilinearly, and points that leave
    the frame go on at its edge.
    """
    n_rows, n_columns = fields.shape[1:3]
    y, x = (axis.astype(np.float32) for axis in np.mgrid[:n_rows, :n_columns])
    stacked = np.empty_like(fields)
    for time, field in enumerate(fields):
        stacked[time] = _between_pixels(field, x, y)
        x = np.clip(x + stacked[time, ..., 0], 0, n_columns - 1)
        y = np.clip(y + stacked[time, ..., 1], 0, n_rows - 1)
    return stacked


def _between_pixels(field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate a field (row, column, 2) bilinearly at positions inside it."""
    n_rows, n_columns = field.shape[:2]
    left = np.minimum(x.astype(np.intp), max(n_columns - 2, 0))
    top = np.minimum(y.astype(np.intp), max(n_rows - 2, 0))
    right, bottom = np.minimum(left + 1, n_columns - 1), np.minimum(top + 1, n_rows - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = field[top, left] * (1 - across) + field[top, right] * across
    lower = field[bottom, left] * (1 - across) + field[bottom, right] * across
    return upper * (1 - down) + lower * down
