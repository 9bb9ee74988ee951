"""The normal equations of Farneback's displacement, a row of pixels at a time.

The quadratics of the second frame are looked up, bilinearly, where the flow leads. Flow is smooth:
along most of a row its whole-pixel part takes no more than two neighbouring values in x and in y.
Such a run reads a window of 3 x 3 neighbours with weights of which five are zero, in straight
vectors; only what is left is gathered pixel by pixel. Both give the same bits, in the reference
program's order of operations.

References
----------
Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion, SCIA 2003.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CHUNK = 512  # pixels of a row that are worked on together; the memory for them stays in cache
SHORTEST_RUN = 8  # pixels; shorter runs are gathered


@njit(cache=True, nogil=True, error_model="numpy")
def _split_positions(
    component: np.ndarray, origin: int, step: int, whole: np.ndarray, fraction: np.ndarray
) -> None:
    """Where a flow component leads: whole pixels relative to ``x * step``, and the fraction."""
    for x in range(len(component)):
        position = np.float32(origin + x * step) + component[x]
        floor = np.floor(position)
        fraction[x] = position - floor
        whole[x] = np.int32(floor) - np.int32(x * step)


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh_run(
    left: np.ndarray,
    top: np.ndarray,
    fraction_x: np.ndarray,
    fraction_y: np.ndarray,
    leftmost: np.int32,
    topmost: np.int32,
    weights: np.ndarray,
) -> None:
    """Bilinear weights on 3 x 3 neighbours; where a pixel's four are not, they are zero."""
    one, nought = np.float32(1), np.float32(0)
    for x in range(len(left)):
        near_x, far_x = one - fraction_x[x], fraction_x[x]
        is_right = left[x] != leftmost
        x0 = nought if is_right else near_x
        x1 = near_x if is_right else far_x
        x2 = far_x if is_right else nought
        near_y, far_y = one - fraction_y[x], fraction_y[x]
        is_lower = top[x] != topmost
        y0 = nought if is_lower else near_y
        y1 = near_y if is_lower else far_y
        y2 = far_y if is_lower else nought
        weights[0, x], weights[1, x], weights[2, x] = y0 * x0, y0 * x1, y0 * x2
        weights[3, x], weights[4, x], weights[5, x] = y1 * x0, y1 * x1, y1 * x2
        weights[6, x], weights[7, x], weights[8, x] = y2 * x0, y2 * x1, y2 * x2


@njit(cache=True, nogil=True, error_model="numpy")
def _move_run(
    weights: np.ndarray, upper: np.ndarray, middle: np.ndarray, lower: np.ndarray, out: np.ndarray
) -> None:
    """Weighted sum of 3 x 3 neighbours along a run."""
    for x in range(len(out)):
        out[x] = (
            weights[0, x] * upper[x]
            + weights[1, x] * upper[x + 1]
            + weights[2, x] * upper[x + 2]
            + weights[3, x] * middle[x]
            + weights[4, x] * middle[x + 1]
            + weights[5, x] * middle[x + 2]
            + weights[6, x] * lower[x]
            + weights[7, x] * lower[x + 1]
            + weights[8, x] * lower[x + 2]
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _move_pixels(
    first: np.ndarray,
    second: np.ndarray,
    y: int,
    start: int,
    begin: int,
    end: int,
    whole: np.ndarray,
    fraction: np.ndarray,
    out: np.ndarray,
) -> None:
    """Look pixels of a chunk up one by one; outside the frame the first quadratic stands alone."""
    n_rows, n_columns = second.shape[1:]
    one = np.float32(1)
    for x in range(begin, end):
        column, row = x + whole[0, x], whole[1, x]
        fx, fy = fraction[0, x], fraction[1, x]
        if column >= 0 and row >= 0 and column < n_columns - 1 and row < n_rows - 1:
            w00 = (one - fx) * (one - fy)
            w01 = fx * (one - fy)
            w10 = (one - fx) * fy
            w11 = fx * fy
            for c in range(5):
                out[c, start + x] = (
                    w00 * second[c, row, column]
                    + w01 * second[c, row, column + 1]
                    + w10 * second[c, row + 1, column]
                    + w11 * second[c, row + 1, column + 1]
                )
        else:
            out[0, start + x] = 0
            out[1, start + x] = 0
            for c in range(2, 5):
                out[c, start + x] = first[c, y, start + x]


@njit(cache=True, nogil=True, error_model="numpy")
def move_row(
    first: np.ndarray,
    second: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    y: int,
    whole: np.ndarray,
    fraction: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
) -> None:
    """Look the second frame's quadratics up where the flow (u, v) of row y leads.

    `first` and `second` are float32 (5, row, column); `out`, float32 (5, column), is filled. The
    rest is memory: int32 (2, CHUNK), float32 (2, CHUNK) and float32 (9, CHUNK).
    """
    n_rows, n_columns = second.shape[1:]
    for start in range(0, n_columns, CHUNK):
        n = min(CHUNK, n_columns - start)
        left, top = whole[0, :n], whole[1, :n]
        fraction_x, fraction_y = fraction[0, :n], fraction[1, :n]
        _split_positions(u[start : start + n], start, 1, left, fraction_x)
        _split_positions(v[start : start + n], y, 0, top, fraction_y)
        begin = 0
        while begin < n:
            # As long a run as there is within two neighbouring columns and two rows.
            min_x = max_x = left[begin]
            min_y = max_y = top[begin]
            end = begin + 1
            while end < n:
                low_x, high_x = min(min_x, left[end]), max(max_x, left[end])
                low_y, high_y = min(min_y, top[end]), max(max_y, top[end])
                if high_x - low_x > 1 or high_y - low_y > 1:
                    break
                min_x, max_x, min_y, max_y = low_x, high_x, low_y, high_y
                end += 1
            column = begin + min_x
            is_inside = column >= 0 and end - begin + 1 + column < n_columns
            is_inside = is_inside and min_y >= 0 and min_y + 2 < n_rows
            if is_inside and end - begin >= SHORTEST_RUN:
                _weigh_run(
                    left[begin:end],
                    top[begin:end],
                    fraction_x[begin:end],
                    fraction_y[begin:end],
                    min_x,
                    min_y,
                    weights,
                )
                # Rows are cut here one by one: a slice of a plane would not count as contiguous.
                for c in range(5):
                    _move_run(
                        weights,
                        second[c, min_y, column:],
                        second[c, min_y + 1, column:],
                        second[c, min_y + 2, column:],
                        out[c, start + begin : start + end],
                    )
            else:
                _move_pixels(first, second, y, start, begin, end, whole, fraction, out)
            begin = end


@njit(cache=True, nogil=True, error_model="numpy")
def fill_equations(
    first: np.ndarray,
    y: int,
    u: np.ndarray,
    v: np.ndarray,
    weight_y: np.float32,
    weight_x: np.ndarray,
    moved: np.ndarray,
    out: np.ndarray,
) -> None:
    """Normal equations g11, g12, g22, h1, h2 of row y, float32 (5, column), into `out`.

    `first`, float32 (5, row, column), and `moved`, float32 (5, column), hold the two frames'
    quadratics; `moved` is lost.
    Short loops over few arrays: the compiler proves these apart and vectorises them.
    """
    n_columns = len(u)
    half, quarter = np.float32(0.5), np.float32(0.25)
    a0, a1, a2, a3, a4 = first[0, y], first[1, y], first[2, y], first[3, y], first[4, y]
    r0, r1, r2, r3, r4 = moved[0], moved[1], moved[2], moved[3], moved[4]
    for x in range(n_columns):
        r2[x] = (a2[x] + r2[x]) * half
    for x in range(n_columns):
        r3[x] = (a3[x] + r3[x]) * half
    for x in range(n_columns):
        r4[x] = (a4[x] + r4[x]) * quarter
    for x in range(n_columns):
        r0[x] = (a0[x] - r0[x]) * half + (r2[x] * v[x] + r4[x] * u[x])
    for x in range(n_columns):
        r1[x] = (a1[x] - r1[x]) * half + (r4[x] * v[x] + r3[x] * u[x])
    for c in range(5):
        row = moved[c]
        for x in range(n_columns):
            row[x] *= weight_y * weight_x[x]
    g11, g12, g22, h1, h2 = out[0], out[1], out[2], out[3], out[4]
    for x in range(n_columns):
        g11[x] = r2[x] * r2[x] + r4[x] * r4[x]
    for x in range(n_columns):
        g12[x] = (r2[x] + r3[x]) * r4[x]
    for x in range(n_columns):
        g22[x] = r3[x] * r3[x] + r4[x] * r4[x]
    for x in range(n_columns):
        h1[x] = r2[x] * r0[x] + r4[x] * r1[x]
    for x in range(n_columns):
        h2[x] = r4[x] * r0[x] + r3[x] * r1[x]
