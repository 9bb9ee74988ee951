"""The normal equations of Farneback's displacement, a row of pixels at a time.

The quadratics of the second frame are looked up, bilinearly, where the flow leads. Flow is smooth:
its whole-pixel part mostly takes one value along eight pixels, or two neighbouring ones, in x and
in y. Eight such pixels are looked up together, in 2 x 2 neighbours, or in 3 x 3 with weights of
which five are zero; the neighbours of what is left are gathered. All give the same bits, in the
reference program's order of operations.

References
----------
Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion, SCIA 2003.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.lanes import (
    WIDTH,
    Lanes,
    choose_equal,
    clip,
    fill,
    floor,
    gather,
    highest,
    load,
    lowest,
    ramp,
    store,
)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _mix_four(
    image: np.ndarray, place: int, pitch: int, w0: Lanes, w1: Lanes, w2: Lanes, w3: Lanes
) -> Lanes:
    """Weighted sum of 2 x 2 neighbours; `place` is the flat index of the upper left one."""
    below = place + pitch
    return (
        w0 * load(image, place)
        + w1 * load(image, place + 1)
        + w2 * load(image, below)
        + w3 * load(image, below + 1)
    )


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _mix_three(
    image: np.ndarray, place: int, total: Lanes, w0: Lanes, w1: Lanes, w2: Lanes
) -> Lanes:
    """Add the weighted sum of three neighbours in a row."""
    total = total + w0 * load(image, place)
    total = total + w1 * load(image, place + 1)
    return total + w2 * load(image, place + 2)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _gather_four(
    image: np.ndarray,
    place: int,
    rows: Lanes,
    columns: Lanes,
    pitch: int,
    w0: Lanes,
    w1: Lanes,
    w2: Lanes,
    w3: Lanes,
) -> Lanes:
    """Weighted sum of 2 x 2 neighbours, wherever they are."""
    below = place + pitch
    return (
        w0 * gather(image, place, rows, columns, pitch)
        + w1 * gather(image, place + 1, rows, columns, pitch)
        + w2 * gather(image, below, rows, columns, pitch)
        + w3 * gather(image, below + 1, rows, columns, pitch)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def fill_equations(
    first: np.ndarray,
    second: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    y: int,
    weight_y: np.float32,
    weight_x: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill `out`, (5, columns or more), with the equations g11, g12, g22, h1, h2 of row y.

    `first` and `second`, (5, row, column), hold the two frames' quadratics, (u, v) is the flow of
    the row. All are float32 from `idt.lanes.empty`. The frame has two rows and columns or more.
    """
    n_rows, n_columns = second.shape[1:]
    plane, width = n_rows * n_columns, out.shape[1]
    one, nought = fill(np.float32(1)), fill(np.float32(0))
    half, quarter = fill(np.float32(0.5)), fill(np.float32(0.25))
    rows, border_y = fill(np.float32(y)), fill(weight_y)
    last_column, last_row = np.float32(n_columns - WIDTH - 2), np.float32(n_rows - 3)
    edge_x, edge_y = fill(np.float32(n_columns - 2)), fill(np.float32(n_rows - 2))
    zero, unit = np.float32(0), np.float32(1)
    for x in range(0, n_columns, WIDTH):
        here = y * n_columns + x
        columns = fill(np.float32(x)) + ramp()
        dx, dy = load(u, x), load(v, x)
        position_x, position_y = columns + dx, rows + dy
        floor_x, floor_y = floor(position_x), floor(position_y)
        far_x, far_y = position_x - floor_x, position_y - floor_y
        near_x, near_y = one - far_x, one - far_y
        left = floor_x - columns
        leftmost, topmost = lowest(left), lowest(floor_y)
        spread_x, spread_y = highest(left) - leftmost, highest(floor_y) - topmost
        column = np.float32(x) + leftmost
        is_inside = (
            column >= zero and column <= last_column and topmost >= zero and topmost <= last_row
        )
        if is_inside and spread_x <= unit and spread_y <= unit:
            at = int(topmost) * n_columns + int(column)
            if spread_x == zero and spread_y == zero:
                w0, w1, w2, w3 = near_x * near_y, far_x * near_y, near_x * far_y, far_x * far_y
                r0 = _mix_four(second, at, n_columns, w0, w1, w2, w3)
                r1 = _mix_four(second, at + plane, n_columns, w0, w1, w2, w3)
                r2 = _mix_four(second, at + 2 * plane, n_columns, w0, w1, w2, w3)
                r3 = _mix_four(second, at + 3 * plane, n_columns, w0, w1, w2, w3)
                r4 = _mix_four(second, at + 4 * plane, n_columns, w0, w1, w2, w3)
            else:
                most_left, most_top = fill(leftmost), fill(topmost)
                x0 = choose_equal(left, most_left, near_x, nought)
                x1 = choose_equal(left, most_left, far_x, near_x)
                x2 = choose_equal(left, most_left, nought, far_x)
                y0 = choose_equal(floor_y, most_top, near_y, nought)
                y1 = choose_equal(floor_y, most_top, far_y, near_y)
                y2 = choose_equal(floor_y, most_top, nought, far_y)
                w00, w01, w02 = y0 * x0, y0 * x1, y0 * x2
                w10, w11, w12 = y1 * x0, y1 * x1, y1 * x2
                w20, w21, w22 = y2 * x0, y2 * x1, y2 * x2
                r0 = r1 = r2 = r3 = r4 = nought
                r0 = _mix_three(second, at, r0, w00, w01, w02)
                r1 = _mix_three(second, at + plane, r1, w00, w01, w02)
                r2 = _mix_three(second, at + 2 * plane, r2, w00, w01, w02)
                r3 = _mix_three(second, at + 3 * plane, r3, w00, w01, w02)
                r4 = _mix_three(second, at + 4 * plane, r4, w00, w01, w02)
                at += n_columns
                r0 = _mix_three(second, at, r0, w10, w11, w12)
                r1 = _mix_three(second, at + plane, r1, w10, w11, w12)
                r2 = _mix_three(second, at + 2 * plane, r2, w10, w11, w12)
                r3 = _mix_three(second, at + 3 * plane, r3, w10, w11, w12)
                r4 = _mix_three(second, at + 4 * plane, r4, w10, w11, w12)
                at += n_columns
                r0 = _mix_three(second, at, r0, w20, w21, w22)
                r1 = _mix_three(second, at + plane, r1, w20, w21, w22)
                r2 = _mix_three(second, at + 2 * plane, r2, w20, w21, w22)
                r3 = _mix_three(second, at + 3 * plane, r3, w20, w21, w22)
                r4 = _mix_three(second, at + 4 * plane, r4, w20, w21, w22)
        else:
            w0, w1, w2, w3 = near_x * near_y, far_x * near_y, near_x * far_y, far_x * far_y
            at_x, at_y = clip(floor_x, nought, edge_x), clip(floor_y, nought, edge_y)
            r0 = _gather_four(second, 0, at_y, at_x, n_columns, w0, w1, w2, w3)
            r1 = _gather_four(second, plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            r2 = _gather_four(second, 2 * plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            r3 = _gather_four(second, 3 * plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            r4 = _gather_four(second, 4 * plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            # Outside the frame the first quadratic stands alone.
            inside = choose_equal(at_x, floor_x, choose_equal(at_y, floor_y, one, nought), nought)
            r0 = choose_equal(inside, one, r0, nought)
            r1 = choose_equal(inside, one, r1, nought)
            r2 = choose_equal(inside, one, r2, load(first, here + 2 * plane))
            r3 = choose_equal(inside, one, r3, load(first, here + 3 * plane))
            r4 = choose_equal(inside, one, r4, load(first, here + 4 * plane))
        r2 = (load(first, here + 2 * plane) + r2) * half
        r3 = (load(first, here + 3 * plane) + r3) * half
        r4 = (load(first, here + 4 * plane) + r4) * quarter
        r0 = (load(first, here) - r0) * half + (r2 * dy + r4 * dx)
        r1 = (load(first, here + plane) - r1) * half + (r4 * dy + r3 * dx)
        border = border_y * load(weight_x, x)
        r0, r1, r2, r3, r4 = r0 * border, r1 * border, r2 * border, r3 * border, r4 * border
        store(out, x, r2 * r2 + r4 * r4)
        store(out, x + width, (r2 + r3) * r4)
        store(out, x + 2 * width, r3 * r3 + r4 * r4)
        store(out, x + 3 * width, r2 * r0 + r4 * r1)
        store(out, x + 4 * width, r4 * r0 + r3 * r1)
