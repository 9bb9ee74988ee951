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

from idt.flow.expansion import N_STORED, Expansion, expand, gaussian_kernel
from idt.flow.pair import check_pair
from idt.flow.resize import resize_flow
from idt.pyramid import SCALE_STEP, scales

WINDOW_RADIUS = 5  # pixels; the reference's averaging window of 10 has 11 taps
WINDOW_SIGMA = 1.5  # pixels; 0.3 of the radius, as OpenCV has it
ITERATIONS = 2
MEDIAN_SIZE = 5  # pixels
REGULARISER = 1e-3  # added to the determinant
BORDER_WEIGHTS = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)  # outermost first


@njit(cache=True, nogil=True, error_model="numpy")
def _update_matrices(
    first: np.ndarray,
    second: np.ndarray,
    flow: np.ndarray,
    border: np.ndarray,
    out: np.ndarray,
) -> None:
    """Normal equations g11, g12, g22, h1, h2 of the displacement at every pixel.

    `first` holds planes of coefficients, `second` the same pixel by pixel, eight numbers each, so
    that a neighbour is one vector. Rows go through short loops over few arrays, which vectorise.
    """
    n_rows, n_columns = first.shape[1:]
    one, half, quarter = np.float32(1), np.float32(0.5), np.float32(0.25)
    pixels = second.reshape(-1)
    stride = np.uint64(N_STORED * n_columns)
    index = np.empty(n_columns, np.int32)
    fraction_x = np.empty(n_columns, np.float32)
    fraction_y = np.empty(n_columns, np.float32)
    moved = np.empty((5, n_columns), np.float32)
    mixed = np.empty(N_STORED, np.float32)
    weight_x = np.ones(n_columns, np.float32)
    for x in range(min(len(border), n_columns)):
        weight_x[x] *= border[x]
        weight_x[n_columns - 1 - x] *= border[x]
    for y in range(n_rows):
        weight_y = one
        if y < len(border):
            weight_y *= border[y]
        if y >= n_rows - len(border):
            weight_y *= border[n_rows - 1 - y]
        u, v = flow[0, y], flow[1, y]
        for x in range(n_columns):
            px = np.float32(x) + u[x]
            py = np.float32(y) + v[x]
            left = np.floor(px)
            top = np.floor(py)
            fraction_x[x] = px - left
            fraction_y[x] = py - top
            inside = (left >= 0) & (top >= 0) & (left < n_columns - 1) & (top < n_rows - 1)
            position = np.int32(top) * np.int32(n_columns) + np.int32(left)
            index[x] = position if inside else np.int32(-1)
        for x in range(n_columns):
            if index[x] >= 0:
                above = np.uint64(index[x]) * np.uint64(N_STORED)
                below = above + stride
                fx, fy = fraction_x[x], fraction_y[x]
                w00 = (one - fx) * (one - fy)
                w01 = fx * (one - fy)
                w10 = (one - fx) * fy
                w11 = fx * fy
                for c in range(N_STORED):
                    k = np.uint64(c)
                    mixed[k] = (
                        w00 * pixels[above + k]
                        + w01 * pixels[above + k + np.uint64(N_STORED)]
                        + w10 * pixels[below + k]
                        + w11 * pixels[below + k + np.uint64(N_STORED)]
                    )
                moved[0, x] = mixed[0]
                moved[1, x] = mixed[1]
                moved[2, x] = mixed[2]
                moved[3, x] = mixed[3]
                moved[4, x] = mixed[4]
            else:
                moved[0, x] = 0
                moved[1, x] = 0
                moved[2, x] = first[2, y, x]
                moved[3, x] = first[3, y, x]
                moved[4, x] = first[4, y, x]
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
        g11, g12, g22, h1, h2 = out[0, y], out[1, y], out[2, y], out[3, y], out[4, y]
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


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_flow(
    matrices: np.ndarray, taps: np.ndarray, regulariser: float, flow: np.ndarray
) -> None:
    """Average the normal equations over a Gaussian window and solve them at every pixel."""
    n_rows, n_columns = matrices.shape[1:]
    margin = 16
    rows = np.empty((5, n_columns + 2 * margin), np.float32)
    sums = np.empty((5, n_columns), np.float32)
    for y in range(n_rows):
        for c in range(5):
            for x in range(n_columns):
                rows[c, margin + x] = taps[0] * matrices[c, y, x]
            for k in range(1, 6):
                above = max(y - k, 0)
                below = min(y + k, n_rows - 1)
                weight = taps[k]
                for x in range(n_columns):
                    rows[c, margin + x] += weight * (matrices[c, above, x] + matrices[c, below, x])
            for k in range(1, 6):
                rows[c, margin - k] = rows[c, margin]
                rows[c, margin + n_columns - 1 + k] = rows[c, margin + n_columns - 1]
            for x in range(n_columns):
                total = taps[0] * rows[c, margin + x]
                for k in range(1, 6):
                    total += taps[k] * (rows[c, margin + x + k] + rows[c, margin + x - k])
                sums[c, x] = total
        for x in range(n_columns):
            g11, g12, g22 = np.float64(sums[0, x]), np.float64(sums[1, x]), np.float64(sums[2, x])
            h1, h2 = np.float64(sums[3, x]), np.float64(sums[4, x])
            inverse = 1.0 / (g11 * g22 - g12 * g12 + regulariser)
            flow[0, y, x] = (g11 * h2 - g12 * h1) * inverse
            flow[1, y, x] = (g22 * h1 - g12 * h2) * inverse


WINDOW_TAPS = gaussian_kernel(2 * WINDOW_RADIUS + 1, WINDOW_SIGMA)[WINDOW_RADIUS:]


def flow_pyramid(previous: list[Expansion], current: list[Expansion]) -> list[np.ndarray]:
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
        n_rows, n_columns = first.planes.shape[1:]
        if flows:
            flow = resize_flow(flows[-1], n_rows, n_columns, factor=float(SCALE_STEP))
        else:
            flow = np.zeros((2, n_rows, n_columns), np.float32)
        matrices = np.empty_like(first.planes)
        for _ in range(ITERATIONS):
            _update_matrices(first.planes, second.pixels, flow, BORDER_WEIGHTS, matrices)
            _solve_flow(matrices, WINDOW_TAPS, REGULARISER, flow)
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
