"""The reference program's Farneback flow over the pyramid.

The reference has a Farneback of its own: the same sqrt(2) scales as the tracks, a 5 x 5 median on
every level before its flow is used or handed down, and a determinant regularised by 1e-3. As in
`idt.flow.expansion`, the order of operations is the reference's, without fused multiply-adds.

References
----------
Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion, SCIA 2003.
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.1.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt import lanes
from idt.flow.equations import fill_equations
from idt.flow.expansion import expand, gaussian_kernel
from idt.flow.median import filter_median
from idt.flow.pair import check_pair
from idt.flow.resize import resize_planes
from idt.lanes import WIDTH, fill, load, store
from idt.pyramid import SCALE_STEP, bilinear_positions, scales

WINDOW_RADIUS = 5  # pixels; the reference's averaging window of 10 has 11 taps
WINDOW_SIGMA = 1.5  # pixels; 0.3 of the radius, as OpenCV has it
MARGIN = 2 * WIDTH  # columns on both sides of a row; no less than the radius and one store
RING_ROWS = 16  # rows of equations that are kept, at least the window's 11
ITERATIONS = 2
REGULARISER = 1e-3  # added to the determinant
BORDER_WEIGHTS = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)  # outermost first
WINDOW_TAPS = gaussian_kernel(2 * WINDOW_RADIUS + 1, WINDOW_SIGMA)[WINDOW_RADIUS:]
NO_FLOW = np.empty((2, 0, 0), np.float32)  # what the coarsest level starts from


@njit(cache=True, nogil=True, error_model="numpy")
def _average_rows(
    ring: np.ndarray, y: int, n_rows: int, padded: np.ndarray, out: np.ndarray
) -> None:
    """Average the normal equations of rows y and y + 1 over a Gaussian window.

    `ring`, (RING_ROWS, 5, width), holds those of row y at y modulo its length; `padded`,
    (2, columns with `MARGIN` on both sides), is memory; `out` is (2, 5, width). The ring does not
    fit into the first cache: two rows at a time read it half as often.
    """
    pitch, width = padded.shape[1], ring.shape[2]
    n_columns = pitch - 2 * MARGIN
    last, step = n_rows - 1, 5 * width
    t0, t1, t2 = fill(WINDOW_TAPS[0]), fill(WINDOW_TAPS[1]), fill(WINDOW_TAPS[2])
    t3, t4, t5 = fill(WINDOW_TAPS[3]), fill(WINDOW_TAPS[4]), fill(WINDOW_TAPS[5])
    place_0, place_1 = max(y - 5, 0) % RING_ROWS * step, max(y - 4, 0) % RING_ROWS * step
    place_2, place_3 = max(y - 3, 0) % RING_ROWS * step, max(y - 2, 0) % RING_ROWS * step
    place_4, place_5 = max(y - 1, 0) % RING_ROWS * step, y % RING_ROWS * step
    place_6, place_7 = min(y + 1, last) % RING_ROWS * step, min(y + 2, last) % RING_ROWS * step
    place_8, place_9 = min(y + 3, last) % RING_ROWS * step, min(y + 4, last) % RING_ROWS * step
    place_10, place_11 = min(y + 5, last) % RING_ROWS * step, min(y + 6, last) % RING_ROWS * step
    for c in range(5):
        for x in range(0, n_columns, WIDTH):
            i = c * width + x
            r0, r1, r2 = load(ring, place_0 + i), load(ring, place_1 + i), load(ring, place_2 + i)
            r3, r4, r5 = load(ring, place_3 + i), load(ring, place_4 + i), load(ring, place_5 + i)
            r6, r7, r8 = load(ring, place_6 + i), load(ring, place_7 + i), load(ring, place_8 + i)
            r9, r10 = load(ring, place_9 + i), load(ring, place_10 + i)
            r11 = load(ring, place_11 + i)
            total = t0 * r5 + t1 * (r4 + r6) + t2 * (r3 + r7)
            total = total + t3 * (r2 + r8) + t4 * (r1 + r9) + t5 * (r0 + r10)
            store(padded, MARGIN + x, total)
            total = t0 * r6 + t1 * (r5 + r7) + t2 * (r4 + r8)
            total = total + t3 * (r3 + r9) + t4 * (r2 + r10) + t5 * (r1 + r11)
            store(padded, pitch + MARGIN + x, total)
        for r in range(2):
            for k in range(MARGIN):
                padded[r, k] = padded[r, MARGIN]
                padded[r, MARGIN + n_columns + k] = padded[r, MARGIN + n_columns - 1]
            for x in range(0, n_columns, WIDTH):
                i = r * pitch + MARGIN + x
                total = t0 * load(padded, i)
                total = total + t1 * (load(padded, i + 1) + load(padded, i - 1))
                total = total + t2 * (load(padded, i + 2) + load(padded, i - 2))
                total = total + t3 * (load(padded, i + 3) + load(padded, i - 3))
                total = total + t4 * (load(padded, i + 4) + load(padded, i - 4))
                total = total + t5 * (load(padded, i + 5) + load(padded, i - 5))
                store(out, (r * 5 + c) * width + x, total)


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_row(equations: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    """Flow (u, v) of a row out of its averaged normal equations, (5, columns or more)."""
    n_columns = len(u)
    s11, s12, s22 = equations[0], equations[1], equations[2]
    t1, t2 = equations[3], equations[4]
    for x in range(n_columns):
        g11, g12, g22 = np.float64(s11[x]), np.float64(s12[x]), np.float64(s22[x])
        h1, h2 = np.float64(t1[x]), np.float64(t2[x])
        inverse = 1.0 / (g11 * g22 - g12 * g12 + REGULARISER)
        u[x] = (g11 * h2 - g12 * h1) * inverse
        v[x] = (g22 * h1 - g12 * h2) * inverse


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh_border(n: int, out: np.ndarray) -> None:
    """Weights of n rows or columns: those of the border at both ends, 1 between them."""
    out[:] = 1
    for k in range(min(len(BORDER_WEIGHTS), n)):
        out[k] *= BORDER_WEIGHTS[k]
        out[n - 1 - k] *= BORDER_WEIGHTS[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_level(
    first: np.ndarray,
    second: np.ndarray,
    coarser: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    out: np.ndarray,
) -> None:
    """Flow of a level from that of a coarser one, which has no rows where there is none.

    The equations of a row are made before its flow is overwritten and kept for as many rows as the
    window needs, so that they never leave the cache.
    """
    n_rows, n_columns = out.shape[1:]
    flow = lanes.planes(2, n_rows, n_columns)
    if coarser.shape[1] == 0:
        flow[:] = 0
    else:
        resize_planes(coarser, top, fraction_y, left, fraction_x, SCALE_STEP, flow)
    width = (n_columns + WIDTH - 1) // WIDTH * WIDTH
    ring = np.empty((RING_ROWS, 5, width), np.float32)
    averaged = np.empty((2, 5, width), np.float32)
    windows = np.empty((3, width // WIDTH), np.float32)
    padded = np.empty((2, n_columns + 2 * MARGIN), np.float32)
    weight_x, weight_y = np.empty(width, np.float32), np.empty(n_rows, np.float32)
    _weigh_border(n_columns, weight_x)
    _weigh_border(n_rows, weight_y)
    for _ in range(ITERATIONS):
        for y in range(0, n_rows, 2):
            ahead = y + WINDOW_RADIUS if y > 0 else 0
            for v in range(ahead, min(y + 2 + WINDOW_RADIUS, n_rows)):
                fill_equations(
                    first,
                    second,
                    flow[0, v],
                    flow[1, v],
                    v,
                    weight_y[v],
                    weight_x,
                    windows,
                    ring[v % RING_ROWS],
                )
            _average_rows(ring, y, n_rows, padded, averaged)
            for r in range(min(2, n_rows - y)):
                _solve_row(averaged[r], flow[0, y + r], flow[1, y + r])
    for c in range(2):
        filter_median(flow[c], out[c])


def flow_pyramid(previous: list[np.ndarray], current: list[np.ndarray]) -> list[np.ndarray]:
    """Flow from one expanded frame to the next on every level, coarse to fine.

    Parameters
    ----------
    previous, current
        What `idt.flow.expansion.expand` returned for the two frames.

    Returns
    -------
    list of ndarray of float32, shape (2, row, column)
        Median-filtered flow per level as planes (dx, dy), in that level's pixels per frame.
    """
    flows: list[np.ndarray] = []
    flow = NO_FLOW
    for first, second in zip(reversed(previous), reversed(current), strict=True):
        n_rows, n_columns = first.shape[1:]
        rows = bilinear_positions(flow.shape[1] or n_rows, n_rows)
        columns = bilinear_positions(flow.shape[2] or n_columns, n_columns)
        coarser, flow = flow, lanes.empty(2, n_rows, n_columns)
        _solve_level(first, second, coarser, *rows, *columns, flow)
        flows.append(flow)
    return flows[::-1]


def farneback(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Flow between two grey frames by the reference program's Farneback.

    Parameters
    ----------
    previous, current
        uint8 (row, column), of one size.

    Returns
    -------
    ndarray of float32, shape (row, column, 2)
        (dx, dy) in pixels per frame.
    """
    check_pair(previous, current)
    levels = scales(previous.shape[1], previous.shape[0])
    flow = flow_pyramid(expand(previous, levels), expand(current, levels))[0]
    return np.ascontiguousarray(np.moveaxis(flow, 0, -1))
