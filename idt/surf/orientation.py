"""Orientation of a keypoint.

Angles are in degrees, counter-clockwise in an image whose y axis points up.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.flow import gaussian_kernel

RADIUS = 6  # of the sampled disc, in units of the keypoint's scale
N_DIRECTIONS = 72  # that are tried, five degrees apart
N_SUMS = N_DIRECTIONS + 12  # of runs of four degrees; a window holds 12


WEIGHTS = np.outer(*2 * [gaussian_kernel(2 * RADIUS + 1, 2.5)])  # of samples (x, y)
# How many samples a column of the disc has on either side of its middle.
DISC_REACH = np.array([int((RADIUS**2 - x**2) ** 0.5) for x in range(-RADIUS, RADIUS + 1)])


@njit(cache=True, nogil=True, error_model="numpy")
def fast_atan2(y: np.float32, x: np.float32) -> np.float32:
    """Angle of (x, y) in degrees, [0, 360), by OpenCV's polynomial (error below 0.02 degrees)."""
    p1 = np.float32(0.9997878412794807 * 180 / np.pi)
    p3 = np.float32(-0.3258083974640975 * 180 / np.pi)
    p5 = np.float32(0.1555786518463281 * 180 / np.pi)
    p7 = np.float32(-0.04432655554792128 * 180 / np.pi)
    tiny = np.float32(2.220446049250313e-16)
    ax = abs(x)
    ay = abs(y)
    ratio = min(ax, ay) / (max(ax, ay) + tiny)
    square = ratio * ratio
    angle = (((p7 * square + p5) * square + p3) * square + p1) * ratio
    if ay > ax:
        angle = np.float32(90) - angle
    if x < 0:
        angle = np.float32(180) - angle
    if y < 0:
        angle = np.float32(360) - angle
    return angle


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_windows(runs: np.ndarray, pairs: np.ndarray, out: np.ndarray) -> None:
    """Sum the runs of each window and the multiples of five between them, in order."""
    for k in range(len(out)):
        total = runs[k] + pairs[k + 2] + pairs[k + 4] + pairs[k + 6] + pairs[k + 8]
        total = total + pairs[k + 10] + pairs[k + 12] + pairs[k + 14] + pairs[k + 16]
        out[k] = total + pairs[k + 18] + pairs[k + 20] + pairs[k + 22]


@njit(cache=True, nogil=True, error_model="numpy")
def _dominant_angle(
    xs: np.ndarray, ys: np.ndarray, bins: np.ndarray, sums: np.ndarray, totals: np.ndarray
) -> np.float32:
    """Direction of the largest sum of responses within 29 degrees of a multiple of five.

    Memory: `bins`, int32 (n,) or more, and float64 pairs (x, y), `sums`, (4 * N_SUMS,), and
    `totals`, (2 * N_DIRECTIONS,).
    """
    # Such a window holds 12 runs of four degrees and the 11 multiples of five between them. Both
    # are summed up for each of the 72 multiples, and repeated so that a window need not wrap.
    for k in range(len(xs)):
        # In floats, which hold these numbers exactly and become vectors.
        degree = np.rint(fast_atan2(ys[k], xs[k]))
        degree = np.float32(0) if degree == np.float32(360) else degree
        step = np.floor((degree + np.float32(0.5)) * np.float32(0.2))
        bins[k] = np.int32(step if step * np.float32(5) != degree else step + np.float32(N_SUMS))
    sums[:] = 0
    for k in range(len(xs)):
        place = np.uint32(2 * bins[k])
        sums[place] += xs[k]
        sums[place + np.uint32(1)] += ys[k]
    runs, fives = sums[: 2 * N_SUMS], sums[2 * N_SUMS :]
    for k in range(2 * (N_SUMS - N_DIRECTIONS)):
        runs[2 * N_DIRECTIONS + k] = runs[k]
        fives[2 * N_DIRECTIONS + k] = fives[k]
    for k in range(2 * N_SUMS):
        fives[k] += runs[k]
    _sum_windows(runs, fives, totals)
    best, best_x, best_y = 0.0, 0.0, 0.0
    for step in range(N_DIRECTIONS):
        # The run that begins 29 degrees before.
        first = step - 6 if step >= 6 else step - 6 + N_DIRECTIONS
        x, y = totals[2 * first], totals[2 * first + 1]
        square = x * x + y * y
        if square > best:
            best, best_x, best_y = square, x, y
    return fast_atan2(np.float32(-best_y), np.float32(best_x))


@njit(cache=True, nogil=True, error_model="numpy")
def _place_samples(
    centre: np.float32, scale: np.float32, wavelet: int, end: int, pitch: int, places: np.ndarray
) -> tuple[int, int]:
    """Fill the first pixels of wavelets along an axis, times `pitch`; returns which fit."""
    middle = np.float32(wavelet - 1) / np.float32(2)
    begin, stop = len(places), 0
    for k in range(len(places)):
        first = int(np.rint(centre + np.float32(k - RADIUS) * scale - middle))
        if 0 <= first < end - wavelet:
            places[k] = first * pitch
            begin, stop = min(begin, k), k + 1
    return begin, stop


@njit(cache=True, nogil=True, error_model="numpy")
def _sample_haar(
    integral: np.ndarray,
    keypoint: np.ndarray,
    weights: np.ndarray,
    places: np.ndarray,
    haar: np.ndarray,
    taken: np.ndarray,
    responses: np.ndarray,
) -> int:
    """Fill the weighted Haar responses (n, 2) that can be sampled, of columns in turn; returns n.

    Memory: `places`, uint64 (2, len(weights)), and `haar`, int32 like `responses`.
    """
    n_rows, pitch = integral.shape
    pixels = integral.reshape(-1)
    scale = keypoint[2] * np.float32(1.2) / np.float32(9)
    half = int(np.rint(np.float32(2) * scale))
    wavelet = 2 * half
    weight = np.float32(1) / np.float32(half * wavelet)
    columns, rows = places[0], places[1]
    one = int(np.int64(1))  # for a literal the function would be compiled once more
    begin_x, end_x = _place_samples(keypoint[0], scale, wavelet, pitch, one, columns)
    begin_y, end_y = _place_samples(keypoint[1], scale, wavelet, n_rows, pitch, rows)
    # Unsigned, so that no index is tested for counting from the end.
    right, down = np.uint64(half), np.uint64(half * pitch)
    n_samples = 0
    for i in range(begin_x, end_x):
        reach = DISC_REACH[i]
        for j in range(max(begin_y, RADIUS - reach), min(end_y, RADIUS + reach + 1)):
            top = rows[j] + columns[i]
            centre = top + down
            bottom = centre + down
            diagonal = pixels[top] - pixels[bottom + right + right]
            other = pixels[top + right + right] - pixels[bottom]
            level = pixels[top + right] - pixels[bottom + right]
            upright = pixels[centre + right + right] - pixels[centre]
            haar[0, n_samples] = 2 * level - diagonal - other
            haar[1, n_samples] = 2 * upright + diagonal - other
            taken[n_samples] = weights[i, j]
            n_samples += 1
    for c in range(2):
        for k in range(n_samples):
            responses[c, k] = np.float32(haar[c, k]) * weight * taken[k]
    return n_samples


@njit(cache=True, nogil=True, error_model="numpy")
def orient_keypoints(
    integral: np.ndarray, keypoints: np.ndarray, weights: np.ndarray, angles: np.ndarray
) -> None:
    """Fill the dominant direction of Haar responses around keypoints; -1 where none can be sampled.

    `weights` are `WEIGHTS`.
    """
    places = np.empty((2, len(weights)), np.uint64)
    haar, responses = np.empty((2, weights.size), np.int32), np.empty((2, weights.size), np.float32)
    taken, bins = np.empty(weights.size, np.float32), np.empty(weights.size, np.int32)
    sums, totals = np.empty(4 * N_SUMS), np.empty(2 * N_DIRECTIONS)
    xs, ys = responses[0], responses[1]
    for k in range(len(keypoints)):
        n_samples = _sample_haar(integral, keypoints[k], weights, places, haar, taken, responses)
        angles[k] = np.float32(-1)
        if n_samples > 0:
            angles[k] = _dominant_angle(xs[:n_samples], ys[:n_samples], bins, sums, totals)
