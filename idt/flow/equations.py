"""The normal equations of Farneback's displacement, a row of pixels at a time.

The quadratics of the second frame are looked up, bilinearly, where the flow leads. Flow is smooth:
its whole-pixel part mostly takes one value along eight pixels, or two neighbouring ones, in x and
in y. Eight such pixels are looked up together, in 3 x 3 neighbours with weights of which five are
zero; the neighbours of what is left are gathered. Both give the same bits, in the reference
program's order of operations.

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
    bits_above,
    choose_above,
    choose_equal,
    clip,
    fill,
    floor,
    gather,
    load,
    ramp,
    store,
)

WHOLE, EDGE, NONE = np.float32(0), np.float32(1), np.float32(2)


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
def _place_windows(
    u: np.ndarray, v: np.ndarray, y: int, n_rows: int, n_columns: int, windows: np.ndarray
) -> None:
    """Find the 3 x 3 neighbours' windows of a row's eights, into `windows`, (3, eights).

    They are the first column relative to the eight's own, the first row, and whether the window is
    wholly inside the frame (`WHOLE`), at its left or right edge (`EDGE`) or there is none (`NONE`).
    Found for the row before any is used: in one loop the processor would wait for each address.
    """
    end, nought, one = fill(np.float32(n_columns)), fill(np.float32(0)), fill(np.float32(1))
    rows = fill(np.float32(y))
    last_row = np.float32(n_rows - 3)
    for x in range(0, n_columns, WIDTH):
        columns = fill(np.float32(x)) + ramp()
        # Lanes behind the last column do as the first of them does.
        dx = choose_above(end, columns, load(u, x), fill(u[x]))
        dy = choose_above(end, columns, load(v, x), fill(v[x]))
        left, top = floor(columns + dx) - columns, floor(rows + dy)
        # Lane 0 lies in the first or the second column of the window, and so in its rows.
        leftmost = np.floor(np.float32(x) + u[x]) - np.float32(x)
        leftmost -= np.float32(bits_above(fill(leftmost), left) != 0)
        topmost = np.floor(np.float32(y) + v[x])
        topmost -= np.float32(bits_above(fill(topmost), top) != 0)
        from_left, from_top = left - fill(leftmost), top - fill(topmost)
        beyond = bits_above(nought, from_left) | bits_above(from_left, one)
        beyond |= bits_above(nought, from_top) | bits_above(from_top, one)
        column = np.float32(x) + leftmost
        kind = NONE
        if beyond == 0 and topmost >= 0 and topmost <= last_row:
            if column >= 0 and column <= n_columns - (WIDTH + 2):
                kind = WHOLE
            elif column >= -WIDTH and column <= n_columns - 1:
                kind = EDGE
        eight = x // WIDTH
        windows[0, eight], windows[1, eight], windows[2, eight] = leftmost, topmost, kind


@njit(cache=True, nogil=True, error_model="numpy")
def fill_equations(
    first: np.ndarray,
    second: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    y: int,
    weight_y: np.float32,
    weight_x: np.ndarray,
    windows: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill `out`, (5, columns or more), with the equations g11, g12, g22, h1, h2 of row y.

    `first` and `second`, (5, row, column), hold the two frames' quadratics, (u, v) is the flow of
    the row, `windows`, (3, eights), is memory. All are float32, those of more than a row and the
    flow from `idt.lanes.empty`. The frame has two rows and columns or more.
    """
    n_rows, n_columns = second.shape[1:]
    plane, width = n_rows * n_columns, out.shape[1]
    one, nought = fill(np.float32(1)), fill(np.float32(0))
    half, quarter = fill(np.float32(0.5)), fill(np.float32(0.25))
    rows, border_y = fill(np.float32(y)), fill(weight_y)
    edge_x, edge_y = fill(np.float32(n_columns - 2)), fill(np.float32(n_rows - 2))
    _place_windows(u, v, y, n_rows, n_columns, windows)
    for x in range(0, n_columns, WIDTH):
        here = y * n_columns + x
        columns = fill(np.float32(x)) + ramp()
        dx, dy = load(u, x), load(v, x)
        position_x, position_y = columns + dx, rows + dy
        floor_x, floor_y = floor(position_x), floor(position_y)
        far_x, far_y = position_x - floor_x, position_y - floor_y
        near_x, near_y = one - far_x, one - far_y
        left = floor_x - columns
        eight = x // WIDTH
        leftmost, topmost, kind = windows[0, eight], windows[1, eight], windows[2, eight]
        if kind != NONE:
            most_left, most_top = fill(leftmost), fill(topmost)
            at = int(topmost) * n_columns + x + int(leftmost)
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
            # 0 * plane: for a literal the function would be compiled once more.
            r0 = _gather_four(second, 0 * plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            r1 = _gather_four(second, plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            r2 = _gather_four(second, 2 * plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            r3 = _gather_four(second, 3 * plane, at_y, at_x, n_columns, w0, w1, w2, w3)
            r4 = _gather_four(second, 4 * plane, at_y, at_x, n_columns, w0, w1, w2, w3)
        if kind != WHOLE:
            # Outside the frame the first quadratic stands alone.
            at_x, at_y = clip(floor_x, nought, edge_x), clip(floor_y, nought, edge_y)
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
