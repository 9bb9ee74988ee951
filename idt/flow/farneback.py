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

import cv2
import numpy as np
from numba import njit

from idt.flow.equations import CHUNK, fill_equations, move_row
from idt.flow.expansion import expand, gaussian_kernel
from idt.flow.pair import check_pair
from idt.flow.resize import resize_flow
from idt.pyramid import SCALE_STEP, scales

WINDOW_RADIUS = 5  # pixels; the reference's averaging window of 10 has 11 taps
WINDOW_SIGMA = 1.5  # pixels; 0.3 of the radius, as OpenCV has it
RING_ROWS = 16  # rows of equations that are kept, at least the window's 11
ITERATIONS = 2
MEDIAN_SIZE = 5  # pixels
REGULARISER = 1e-3  # added to the determinant
BORDER_WEIGHTS = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)  # outermost first


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_row(
    ring: np.ndarray,
    y: int,
    n_rows: int,
    taps: np.ndarray,
    regulariser: float,
    sums: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
) -> None:
    """Average the normal equations over a Gaussian window and solve them along a row.

    `ring` holds those of row y at y modulo its length; `sums` is memory, (6, column + 32).
    """
    n_columns = len(u)
    margin = 16
    padded = sums[5]
    row = padded[margin : margin + n_columns]
    for c in range(5):
        middle = ring[y % RING_ROWS, c]
        for x in range(n_columns):
            row[x] = taps[0] * middle[x]
        for k in range(1, WINDOW_RADIUS + 1):
            above = ring[max(y - k, 0) % RING_ROWS, c]
            below = ring[min(y + k, n_rows - 1) % RING_ROWS, c]
            weight = taps[k]
            for x in range(n_columns):
                row[x] += weight * (above[x] + below[x])
        for k in range(1, WINDOW_RADIUS + 1):
            padded[margin - k] = padded[margin]
            padded[margin + n_columns - 1 + k] = padded[margin + n_columns - 1]
        averaged = sums[c]
        for x in range(n_columns):
            total = taps[0] * padded[margin + x]
            for k in range(1, WINDOW_RADIUS + 1):
                total += taps[k] * (padded[margin + x + k] + padded[margin + x - k])
            averaged[x] = total
    for x in range(n_columns):
        g11, g12, g22 = np.float64(sums[0, x]), np.float64(sums[1, x]), np.float64(sums[2, x])
        h1, h2 = np.float64(sums[3, x]), np.float64(sums[4, x])
        inverse = 1.0 / (g11 * g22 - g12 * g12 + regulariser)
        u[x] = (g11 * h2 - g12 * h1) * inverse
        v[x] = (g22 * h1 - g12 * h2) * inverse


@njit(cache=True, nogil=True, error_model="numpy")
def _iterate(
    first: np.ndarray,
    second: np.ndarray,
    border: np.ndarray,
    taps: np.ndarray,
    regulariser: float,
    flow: np.ndarray,
) -> None:
    """Renew the flow of a level once.

    The equations of a row are made before its flow is overwritten and kept for as many rows as the
    window needs, so that they never leave the cache.
    """
    n_rows, n_columns = flow.shape[1:]
    ring = np.empty((RING_ROWS, 5, n_columns), np.float32)
    sums = np.empty((6, n_columns + 32), np.float32)
    moved = np.empty((5, n_columns), np.float32)
    whole = np.empty((2, CHUNK), np.int32)
    fraction = np.empty((2, CHUNK), np.float32)
    weights = np.empty((9, CHUNK), np.float32)
    weight_x = np.ones(n_columns, np.float32)
    for x in range(min(len(border), n_columns)):
        weight_x[x] *= border[x]
        weight_x[n_columns - 1 - x] *= border[x]
    for y in range(-WINDOW_RADIUS, n_rows):
        ahead = y + WINDOW_RADIUS
        if ahead < n_rows:
            weight_y = np.float32(1)
            if ahead < len(border):
                weight_y *= border[ahead]
            if ahead >= n_rows - len(border):
                weight_y *= border[n_rows - 1 - ahead]
            u, v = flow[0, ahead], flow[1, ahead]
            move_row(first, second, u, v, ahead, whole, fraction, weights, moved)
            fill_equations(first, ahead, u, v, weight_y, weight_x, moved, ring[ahead % RING_ROWS])
        if y >= 0:
            _solve_row(ring, y, n_rows, taps, regulariser, sums, flow[0, y], flow[1, y])


WINDOW_TAPS = gaussian_kernel(2 * WINDOW_RADIUS + 1, WINDOW_SIGMA)[WINDOW_RADIUS:]


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
    for first, second in zip(reversed(previous), reversed(current), strict=True):
        n_rows, n_columns = first.shape[1:]
        if flows:
            flow = resize_flow(flows[-1], n_rows, n_columns, factor=float(SCALE_STEP))
        else:
            flow = np.zeros((2, n_rows, n_columns), np.float32)
        for _ in range(ITERATIONS):
            _iterate(first, second, BORDER_WEIGHTS, WINDOW_TAPS, REGULARISER, flow)
        for c in range(2):
            flow[c] = cv2.medianBlur(flow[c], MEDIAN_SIZE)
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
