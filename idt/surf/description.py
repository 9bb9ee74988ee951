"""Orientation and 128-number descriptor of a keypoint.

Angles are in degrees, counter-clockwise in an image whose y axis points up.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.flow import gaussian_kernel

ORIENTATION_RADIUS = 6  # in units of the keypoint's scale
PATCH_SIZE = 20  # samples a side of the descriptor's patch
PADDED_SIDE = 24  # numbers, whole vectors, that hold a side of it


def _orientation_samples() -> np.ndarray:
    """Offsets and Gaussian weights (x, y, weight) of the disc that orientation is taken over."""
    weights = gaussian_kernel(2 * ORIENTATION_RADIUS + 1, 2.5)
    samples = [
        (x, y, weights[x + ORIENTATION_RADIUS] * weights[y + ORIENTATION_RADIUS])
        for x in range(-ORIENTATION_RADIUS, ORIENTATION_RADIUS + 1)
        for y in range(-ORIENTATION_RADIUS, ORIENTATION_RADIUS + 1)
        if x * x + y * y <= ORIENTATION_RADIUS**2
    ]
    return np.array(samples, np.float32)


ORIENTATION_SAMPLES = _orientation_samples()
PATCH_WEIGHTS = np.outer(gaussian_kernel(PATCH_SIZE, 3.3), gaussian_kernel(PATCH_SIZE, 3.3))


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
def _dominant_angle(response_x: np.ndarray, response_y: np.ndarray) -> np.float32:
    """Direction of the largest sum of responses within 29 degrees of a multiple of five."""
    angles = np.empty(len(response_x), np.float32)
    for k in range(len(response_x)):
        angles[k] = fast_atan2(response_y[k], response_x[k])
    # Such a window holds 12 runs of four degrees and the 11 multiples of five between them. Both
    # are summed up for each of the 72 multiples, and repeated so that a window need not wrap.
    runs = np.zeros((2, 84))
    fives = np.zeros((2, 84))
    for k in range(len(angles)):
        degree = int(np.rint(angles[k])) % 360
        sums = fives if degree % 5 == 0 else runs
        sums[0, degree // 5] += response_x[k]
        sums[1, degree // 5] += response_y[k]
    for k in range(12):
        for c in range(2):
            runs[c, 72 + k] = runs[c, k]
            fives[c, 72 + k] = fives[c, k]
    best, best_x, best_y = 0.0, 0.0, 0.0
    for step in range(72):
        first = (step - 6) % 72  # the run that begins 29 degrees before
        total_x, total_y = runs[0, first], runs[1, first]
        for k in range(first + 1, first + 12):
            total_x += runs[0, k] + fives[0, k]
            total_y += runs[1, k] + fives[1, k]
        length = total_x * total_x + total_y * total_y
        if length > best:
            best, best_x, best_y = length, total_x, total_y
    return fast_atan2(np.float32(-best_y), np.float32(best_x))


@njit(cache=True, nogil=True, error_model="numpy")
def _orient(integral: np.ndarray, keypoint: np.ndarray, samples: np.ndarray) -> np.float32:
    """Dominant direction of Haar responses around a keypoint; -1 where none can be sampled."""
    scale = keypoint[2] * np.float32(1.2) / np.float32(9)
    wavelet = 2 * int(np.rint(np.float32(2) * scale))
    n_rows, n_columns = integral.shape
    if n_rows < wavelet or n_columns < wavelet:
        return np.float32(-1)
    half = wavelet // 2
    weight = np.float32(1) / np.float32(half * wavelet)
    middle = np.float32(wavelet - 1) / np.float32(2)
    response_x = np.empty(len(samples), np.float32)
    response_y = np.empty(len(samples), np.float32)
    n_responses = 0
    for k in range(len(samples)):
        x = int(np.rint(keypoint[0] + samples[k, 0] * scale - middle))
        y = int(np.rint(keypoint[1] + samples[k, 1] * scale - middle))
        if y < 0 or y >= n_rows - wavelet or x < 0 or x >= n_columns - wavelet:
            continue
        top_left, top_right = integral[y, x], integral[y, x + wavelet]
        bottom_left, bottom_right = integral[y + wavelet, x], integral[y + wavelet, x + wavelet]
        top, bottom = integral[y, x + half], integral[y + wavelet, x + half]
        left, right = integral[y + half, x], integral[y + half, x + wavelet]
        haar_x = (bottom_right - bottom - top_right + top) - (bottom - bottom_left - top + top_left)
        haar_y = (right - left - top_right + top_left) - (bottom_right - bottom_left - right + left)
        response_x[n_responses] = np.float32(haar_x) * weight * samples[k, 2]
        response_y[n_responses] = np.float32(haar_y) * weight * samples[k, 2]
        n_responses += 1
    if n_responses == 0:
        return np.float32(-1)
    return _dominant_angle(response_x[:n_responses], response_y[:n_responses])


@njit(cache=True, nogil=True, error_model="numpy")
def _add_scaled(source: np.ndarray, weight: np.float32, out: np.ndarray) -> None:
    for i in range(PADDED_SIDE):
        out[i] += weight * source[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _cut_patch(
    image: np.ndarray, keypoint: np.ndarray, angle: np.float32, patch: np.ndarray
) -> None:
    """Fill the patch of a keypoint: its window, turned, by nearest pixels, averaged over areas."""
    n_rows, n_columns = image.shape
    n_out = patch.shape[0]
    size = int(np.float32(n_out) * (keypoint[2] * np.float32(1.2) / np.float32(9)))
    radians = angle * np.float32(np.pi / 180)
    sine = np.float32(np.sin(radians))
    cosine = np.float32(np.cos(radians))
    offset = -np.float32(size - 1) / np.float32(2)
    start_x = keypoint[0] + offset * cosine + offset * sine
    start_y = keypoint[1] - offset * sine + offset * cosine
    # Each row or column of the window falls into one cell of the patch, or into two.
    ratio = size / n_out
    cell = np.empty(size, np.int64)
    share = np.empty(size, np.float32)
    rest = np.empty(size, np.float32)
    for i in range(size):
        cell[i] = min(int(i / ratio), n_out - 1)
        inside = min((cell[i] + 1) * ratio, i + 1.0) - i
        share[i] = inside / ratio
        rest[i] = (1.0 - inside) / ratio if cell[i] + 1 < n_out else 0.0
    pixels = image.reshape(-1)
    index = np.empty(size, np.int32)
    value = np.empty(size, np.float32)
    total = np.zeros(size, np.float32)
    following = np.zeros(size, np.float32)
    # Averaged along y, one window column after the other, so that averaging along x adds vectors.
    averaged = np.zeros((size, PADDED_SIDE), np.float32)
    for i in range(size):
        row_x = start_x + np.float32(i) * sine
        row_y = start_y + np.float32(i) * cosine
        for j in range(size):
            x = np.int32(np.rint(row_x + np.float32(j) * cosine))
            y = np.int32(np.rint(row_y - np.float32(j) * sine))
            x = min(max(x, np.int32(0)), np.int32(n_columns - 1))
            y = min(max(y, np.int32(0)), np.int32(n_rows - 1))
            index[j] = y * np.int32(n_columns) + x
        for j in range(size):
            value[j] = pixels[np.uint32(index[j])]
        for j in range(size):
            total[j] += share[i] * value[j]
        if rest[i] > 0:
            for j in range(size):
                following[j] += rest[i] * value[j]
        if i + 1 == size or cell[i + 1] != cell[i]:
            for j in range(size):
                averaged[j, cell[i]] = total[j]
            for j in range(size):
                total[j] = following[j]
                following[j] = 0
    turned = np.zeros((n_out + 1, PADDED_SIDE), np.float32)
    for j in range(size):
        _add_scaled(averaged[j], share[j], turned[cell[j]])
        if rest[j] > 0:
            _add_scaled(averaged[j], rest[j], turned[cell[j] + 1])
    for i in range(n_out):
        for j in range(n_out):
            patch[i, j] = np.rint(turned[j, i])


@njit(cache=True, nogil=True, error_model="numpy")
def _describe_patch(patch: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Fill a 128-number descriptor: 4 x 4 cells of sums of signed and absolute differences."""
    for k in range(128):
        out[k] = 0
    for i in range(20):
        for j in range(20):
            weight = weights[i, j]
            upper = patch[i, j + 1] - patch[i, j]
            lower = patch[i + 1, j + 1] - patch[i + 1, j]
            dx = (upper + lower) * weight
            dy = (patch[i + 1, j] - patch[i, j] + patch[i + 1, j + 1] - patch[i, j + 1]) * weight
            cell = 8 * ((i // 5) * 4 + j // 5)
            if dy >= 0:
                out[cell] += dx
                out[cell + 1] += abs(dx)
            else:
                out[cell + 2] += dx
                out[cell + 3] += abs(dx)
            if dx >= 0:
                out[cell + 4] += dy
                out[cell + 5] += abs(dy)
            else:
                out[cell + 6] += dy
                out[cell + 7] += abs(dy)
    square = 0.0
    for k in range(128):
        square += np.float64(out[k]) * np.float64(out[k])
    scale = np.float32(1.0 / (np.sqrt(square) + 2.220446049250313e-16))
    for k in range(128):
        out[k] *= scale


@njit(cache=True, nogil=True, error_model="numpy")
def describe_keypoints(
    image: np.ndarray,
    integral: np.ndarray,
    keypoints: np.ndarray,
    samples: np.ndarray,
    weights: np.ndarray,
    angles: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill angle and descriptor of every keypoint; the angle is -1 where there is none."""
    patch = np.empty((21, 21), np.float32)
    for k in range(len(keypoints)):
        angles[k] = _orient(integral, keypoints[k], samples)
        if angles[k] < 0:
            continue
        _cut_patch(image, keypoints[k], angles[k], patch)
        _describe_patch(patch, weights, out[k])
