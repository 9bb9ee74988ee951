"""The camera's motion taken out: of a frame by warping it, of a flow by subtraction.

Warping and computing the flow again is the reference program's way; subtracting what the homography
moves is the paper's other one, and needs no second flow.

References
----------
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.
"""

from __future__ import annotations

import numpy as np
from numba import njit

WARP_MARGIN = 5  # pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _warp(
    previous: np.ndarray, current: np.ndarray, h: np.ndarray, margin: int, out: np.ndarray
) -> None:
    """Bilinear warp in steps of 1/32 pixel; the previous frame where the source is outside."""
    n_rows, n_columns = out.shape
    for y in range(n_rows):
        for x in range(n_columns):
            w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
            px = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w if w != 0 else 0.0
            py = (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w if w != 0 else 0.0
            if (
                px >= margin
                and py >= margin
                and px < n_columns - 1 - margin
                and py < n_rows - 1 - margin
            ):
                sx = np.int32(np.rint(px * 32.0))
                sy = np.int32(np.rint(py * 32.0))
                x0 = sx >> 5
                y0 = sy >> 5
                fx = sx & 31
                fy = sy & 31
                total = (32 - fy) * (
                    (32 - fx) * np.int32(current[y0, x0]) + fx * np.int32(current[y0, x0 + 1])
                ) + fy * (
                    (32 - fx) * np.int32(current[y0 + 1, x0])
                    + fx * np.int32(current[y0 + 1, x0 + 1])
                )
                out[y, x] = np.uint8((total + 512) >> 10)
            else:
                out[y, x] = previous[y, x]


def warp_frame(previous: np.ndarray, current: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Bring the current frame into the previous frame's coordinates.

    Parameters
    ----------
    previous, current
        uint8 (row, column), of one size.
    homography
        float64 (3, 3), previous to current pixels.

    Returns
    -------
    ndarray of uint8, shape (row, column)
        ``warped(p) = current(H p)``, bilinear; where H p lies within 5 pixels of the border or
        outside, the previous frame's pixel.

    Raises
    ------
    ValueError
        The frames differ in size, or the homography is not a finite 3 x 3 matrix.
    """
    if previous.shape != current.shape:
        raise ValueError(
            f"previous and current must have one size, got {previous.shape} and {current.shape}; "
            "resize one of them"
        )
    homography = _checked_homography(homography)
    out = np.empty_like(current)
    _warp(previous, current, homography, WARP_MARGIN, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _subtract(flow: np.ndarray, h: np.ndarray, factor: float, out: np.ndarray) -> None:
    """Flow less the homography's displacement, in pixels that `factor` makes full-resolution ones.

    The numerators of ``H p - p`` are polynomials in the column whose coefficients are computed once
    a row in double precision; they are as small as the displacement, so floats hold them.
    """
    n_rows, n_columns = flow.shape[1:]
    columns = np.arange(n_columns).astype(np.float32)
    one, nought = np.float32(1), np.float32(0)
    b = np.float32(h[2, 0] * factor)
    x2 = np.float32(-h[2, 0] * factor)
    for row in range(n_rows):
        y = row * factor
        weight = h[2, 1] * y + h[2, 2]
        a = np.float32(weight)
        x0 = np.float32((h[0, 1] * y + h[0, 2]) / factor)
        x1 = np.float32(h[0, 0] - weight)
        y0 = np.float32((h[1, 1] * y + h[1, 2] - y * weight) / factor)
        y1 = np.float32(h[1, 0] - y * h[2, 0])
        dx, dy, out_x, out_y = flow[0, row], flow[1, row], out[0, row], out[1, row]
        for k in range(n_columns):
            x = columns[k]
            w = a + b * x
            inverse = one / w if w != nought else nought
            out_x[k] = dx[k] - (x0 + (x1 + x2 * x) * x) * inverse
            out_y[k] = dy[k] - (y0 + y1 * x) * inverse


def subtract_homography(flow: np.ndarray, homography: np.ndarray, factor: float) -> np.ndarray:
    """Take the camera's motion out of a flow.

    Parameters
    ----------
    flow
        float32 (2, row, column), planes (dx, dy) in a pyramid level's pixels per frame, from the
        previous frame to the current one, at the previous frame's pixels.
    homography
        float64 (3, 3), previous to current pixels of the full resolution.
    factor
        What takes the level's coordinates to full resolution, positive; 1 at full resolution.

    Returns
    -------
    ndarray of float32, shape (2, row, column)
        ``flow(p) - (H(p factor) - p factor) / factor``, in the level's pixels per frame. Where the
        homography sends a pixel to infinity nothing is subtracted.

    Raises
    ------
    ValueError
        The flow is not float32 (2, row, column), the homography is not a finite 3 x 3 matrix, or
        the factor is not positive.

    References
    ----------
    Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.
    """
    if flow.ndim != 3 or flow.shape[0] != 2 or flow.dtype != np.float32:
        raise ValueError(
            f"flow must be a float32 array of shape (2, row, column), got {flow.dtype} "
            f"{flow.shape}; pass planes (dx, dy)"
        )
    if not 0 < factor < np.inf:
        raise ValueError(f"factor must be positive, got {factor}; use the level's Scale.factor")
    homography = _checked_homography(homography)
    out = np.empty(flow.shape, np.float32)
    _subtract(np.ascontiguousarray(flow), homography, float(factor), out)
    return out


def _checked_homography(homography: np.ndarray) -> np.ndarray:
    homography = np.ascontiguousarray(homography, np.float64)
    if homography.shape != (3, 3) or not np.isfinite(homography).all():
        raise ValueError(
            f"homography must be a finite 3 x 3 matrix, got {homography!r}; "
            "use the identity where the motion is unknown"
        )
    return homography
