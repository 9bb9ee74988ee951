"""RANSAC: the homography of four matched points that most other matches agree with.

Pairs of points are planes, float64 (4, n): x and y in the previous frame, x and y in the current
one, in pixels. Random numbers, samples and tests are those of OpenCV 2.4, step by step, so that the
same pairs give the reference program's sample.

References
----------
Fischler & Bolles, Random Sample Consensus, CACM 1981.
Hartley & Zisserman, Multiple View Geometry, 2nd edition, sections 4.4 and 4.7.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SEED = 0xFFFFFFFFFFFFFFFF  # where the random numbers of OpenCV 2.4 start
MAX_DRAWS = 300  # of four pairs, until no three points of them lie on one line


@njit(cache=True, nogil=True, error_model="numpy")
def _random_index(state: np.ndarray, count: int) -> int:
    """Next index below `count` of a multiply-with-carry generator."""
    value = state[0]
    value = (value & np.uint64(0xFFFFFFFF)) * np.uint64(4164903690) + (value >> np.uint64(32))
    state[0] = value
    return int((value & np.uint64(0xFFFFFFFF)) % np.uint64(count))


@njit(cache=True, nogil=True, error_model="numpy")
def _has_line(points: np.ndarray, subset: np.ndarray) -> bool:
    """Whether three of four points, planes (2, n), lie on one line."""
    for i in range(4):
        for j in range(i):
            dx1 = points[0, subset[j]] - points[0, subset[i]]
            dy1 = points[1, subset[j]] - points[1, subset[i]]
            for k in range(j):
                dx2 = points[0, subset[k]] - points[0, subset[i]]
                dy2 = points[1, subset[k]] - points[1, subset[i]]
                limit = 1.1920929e-07 * (abs(dx1) + abs(dy1) + abs(dx2) + abs(dy2))
                if abs(dx2 * dy1 - dy2 * dx1) <= limit:
                    return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_subset(pairs: np.ndarray, state: np.ndarray, subset: np.ndarray) -> bool:
    """Fill `subset` with four pairs, no three on a line in either frame; False where none come."""
    for _ in range(MAX_DRAWS):
        n_drawn = 0
        while n_drawn < 4:
            index = _random_index(state, pairs.shape[1])
            fresh = True
            for k in range(n_drawn):
                if subset[k] == index:
                    fresh = False
            if fresh:
                subset[n_drawn] = index
                n_drawn += 1
        if not _has_line(pairs[:2], subset) and not _has_line(pairs[2:], subset):
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def solve(matrix: np.ndarray, right: np.ndarray) -> bool:
    """Solve a small linear system in place by elimination with pivoting; False if singular."""
    n = len(right)
    for i in range(n):
        pivot = i
        for r in range(i + 1, n):
            if abs(matrix[r, i]) > abs(matrix[pivot, i]):
                pivot = r
        if abs(matrix[pivot, i]) < 1e-14:
            return False
        if pivot != i:
            for c in range(n):
                matrix[i, c], matrix[pivot, c] = matrix[pivot, c], matrix[i, c]
            right[i], right[pivot] = right[pivot], right[i]
        for r in range(i + 1, n):
            factor = matrix[r, i] / matrix[i, i]
            for c in range(i, n):
                matrix[r, c] -= factor * matrix[i, c]
            right[r] -= factor * right[i]
    for i in range(n - 1, -1, -1):
        for c in range(i + 1, n):
            right[i] -= matrix[i, c] * right[c]
        right[i] /= matrix[i, i]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_four(
    pairs: np.ndarray, subset: np.ndarray, matrix: np.ndarray, right: np.ndarray, out: np.ndarray
) -> bool:
    """Homography through four pairs, shifted and scaled for the arithmetic's sake."""
    centre = np.zeros(4)
    spread = np.zeros(2)
    for k in subset:
        for c in range(4):
            centre[c] += pairs[c, k] / 4
    for k in subset:
        for c in range(2):
            spread[0] += abs(pairs[c, k] - centre[c]) / 8
            spread[1] += abs(pairs[2 + c, k] - centre[2 + c]) / 8
    if spread[0] < 1e-12 or spread[1] < 1e-12:
        return False
    for i in range(8):
        for j in range(8):
            matrix[i, j] = 0
    for i in range(4):
        x = (pairs[0, subset[i]] - centre[0]) / spread[0]
        y = (pairs[1, subset[i]] - centre[1]) / spread[0]
        u = (pairs[2, subset[i]] - centre[2]) / spread[1]
        v = (pairs[3, subset[i]] - centre[3]) / spread[1]
        matrix[2 * i, 0], matrix[2 * i, 1], matrix[2 * i, 2] = x, y, 1
        matrix[2 * i, 6], matrix[2 * i, 7] = -u * x, -u * y
        matrix[2 * i + 1, 3], matrix[2 * i + 1, 4], matrix[2 * i + 1, 5] = x, y, 1
        matrix[2 * i + 1, 6], matrix[2 * i + 1, 7] = -v * x, -v * y
        right[2 * i], right[2 * i + 1] = u, v
    if not solve(matrix, right):
        return False
    for r in range(3):
        for c in range(3):
            out[r, c] = right[3 * r + c] if 3 * r + c < 8 else 1.0
    # Undo both normalisations: first the target's, then the source's.
    for c in range(3):
        out[0, c] = out[0, c] * spread[1] + centre[2] * out[2, c]
        out[1, c] = out[1, c] * spread[1] + centre[3] * out[2, c]
    for r in range(3):
        out[r, 0] /= spread[0]
        out[r, 1] /= spread[0]
        out[r, 2] -= out[r, 0] * centre[0] + out[r, 1] * centre[1]
    scale = out[2, 2]
    if abs(scale) < 1e-12:
        return False
    for r in range(3):
        for c in range(3):
            out[r, c] /= scale
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _count_inliers(pairs: np.ndarray, h: np.ndarray, threshold: float, mask: np.ndarray) -> int:
    """Mark the pairs that a homography brings together."""
    xs, ys, us, vs = pairs[0], pairs[1], pairs[2], pairs[3]
    h00, h01, h02 = h[0, 0], h[0, 1], h[0, 2]
    h10, h11, h12 = h[1, 0], h[1, 1], h[1, 2]
    h20, h21, h22 = h[2, 0], h[2, 1], h[2, 2]
    for k in range(len(mask)):
        x, y = xs[k], ys[k]
        w = 1.0 / (h20 * x + h21 * y + h22)
        dx = (h00 * x + h01 * y + h02) * w - us[k]
        dy = (h10 * x + h11 * y + h12) * w - vs[k]
        mask[k] = dx * dx + dy * dy <= threshold
    n_inliers = 0
    for k in range(len(mask)):
        n_inliers += mask[k]
    return n_inliers


@njit(cache=True, nogil=True, error_model="numpy")
def run_ransac(
    pairs: np.ndarray,
    threshold: float,
    confidence: float,
    max_iterations: int,
    state: np.ndarray,
    best_mask: np.ndarray,
    best: np.ndarray,
) -> int:
    """Best homography over random quadruples; returns its number of inliers, 0 for none."""
    count = pairs.shape[1]
    subset = np.empty(4, np.int64)
    mask = np.zeros(count, np.bool_)
    matrix, right, h = np.empty((8, 8)), np.empty(8), np.empty((3, 3))
    n_best, iteration, limit = 0, 0, max_iterations
    while iteration < limit:
        if not _draw_subset(pairs, state, subset):
            break
        iteration += 1
        if not _fit_four(pairs, subset, matrix, right, h):
            continue
        n_inliers = _count_inliers(pairs, h, threshold, mask)
        if n_inliers > max(n_best, 3):
            n_best = n_inliers
            for k in range(count):
                best_mask[k] = mask[k]
            for r in range(3):
                for c in range(3):
                    best[r, c] = h[r, c]
            outliers = (count - n_best) / count
            miss = 1.0 - (1.0 - outliers) ** 4
            if miss < 2.2250738585072014e-308:
                limit = 0
            else:
                needed = np.log(max(1.0 - confidence, 2.2250738585072014e-308)) / np.log(miss)
                if miss < 1.0 and needed < limit:
                    limit = int(np.rint(needed))
    return n_best
