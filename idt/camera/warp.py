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

from idt import lanes
from idt.lanes import WIDTH, fill, load, store

WARP_MARGIN = 5  # pixels


@njit(cache=True, nogil=True, error_model="numpy")
def _locate_row(
    h: np.ndarray, y: int, n_rows: int, margin: int, xs: np.ndarray, ys: np.ndarray
) -> None:
    """Fill the sources (x, y) of a row in 1/32 pixel; -1 where one is outside."""
    n_columns = len(xs)
    h00, h01, h02 = h[0, 0], h[0, 1], h[0, 2]
    h10, h11, h12 = h[1, 0], h[1, 1], h[1, 2]
    h20, h21, h22 = h[2, 0], h[2, 1], h[2, 2]
    right, bottom = n_columns - 1 - margin, n_rows - 1 - margin
    outside = np.int32(-1)
    for x in range(n_columns):
        w = h20 * x + h21 * y + h22
        px = (h00 * x + h01 * y + h02) / w if w != 0 else 0.0
        py = (h10 * x + h11 * y + h12) / w if w != 0 else 0.0
        # Not `and`: without branches the loop becomes vectors.
        inside = (px >= margin) & (py >= margin) & (px < right) & (py < bottom)
        xs[x] = np.int32(np.rint(px * 32.0)) if inside else outside
        ys[x] = np.int32(np.rint(py * 32.0)) if inside else outside


@njit(cache=True, nogil=True, error_model="numpy")
def _warp(
    previous: np.ndarray, current: np.ndarray, h: np.ndarray, margin: int, out: np.ndarray
) -> None:
    """Bilinear warp in steps of 1/32 pixel; the previous frame where the source is outside.

    `out` is from `idt.lanes.empty`. Sources are looked up first, and mixed in lanes then.
    """
    n_rows, n_columns = out.shape
    width = (n_columns + WIDTH - 1) // WIDTH * WIDTH
    xs, ys = np.empty(width, np.int32), np.empty(width, np.int32)
    index = np.empty(width, np.int32)
    upper_left, upper_right = np.empty(width, np.uint8), np.empty(width, np.uint8)
    lower_left, lower_right = np.empty(width, np.uint8), np.empty(width, np.uint8)
    pixels = current.reshape(-1)
    step, half, digits = fill(np.int32(32)), fill(np.int32(512)), fill(np.int32(10))
    last_part, pixel, pitch = fill(np.int32(31)), fill(np.int32(5)), fill(np.int32(n_columns))
    for y in range(n_rows):
        _locate_row(h, y, n_rows, margin, xs[:n_columns], ys[:n_columns])
        for x in range(0, n_columns, WIDTH):
            store(index, x, (load(ys, x) >> pixel) * pitch + (load(xs, x) >> pixel))
        for x in range(n_columns):
            if index[x] < 0:
                upper_left[x] = upper_right[x] = previous[y, x]
                lower_left[x] = lower_right[x] = previous[y, x]
            else:
                # Unsigned, so that no index is tested for counting from the end.
                place = np.uint64(index[x])
                upper_left[x] = pixels[place]
                upper_right[x] = pixels[place + np.uint64(1)]
                lower_left[x] = pixels[place + np.uint64(n_columns)]
                lower_right[x] = pixels[place + np.uint64(n_columns + 1)]
        for x in range(0, n_columns, WIDTH):
            right, down = load(xs, x) & last_part, load(ys, x) & last_part
            left, up = step - right, step - down
            upper = left * load(upper_left, x) + right * load(upper_right, x)
            lower = left * load(lower_left, x) + right * load(lower_right, x)
            store(out, y * n_columns + x, (up * upper + down * lower + half) >> digits)


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
    out = lanes.empty(*current.shape, kind=np.uint8)
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
