"""Camera motion: matched points, a RANSAC homography, and the frame with that motion taken out.

A homography maps pixels (x, y) of the previous frame to pixels of the current one. Matches come
from SURF and, where a frame is poor in them, from the dense flow at Shi-Tomasi corners.

References
----------
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.
Hartley & Zisserman, Multiple View Geometry, 2nd edition, chapter 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from idt.surf import Keypoints

MATCH_RADIUS = 25.0  # pixels; matches must move less than this along x and along y
REPROJECTION_ERROR = 1.0  # pixels
CONFIDENCE = 0.995
MAX_ITERATIONS = 2000
MIN_MATCHES = 50  # a homography is tried with more matches than this
MIN_INLIERS = 25  # and kept with more inliers than this
WARP_MARGIN = 5  # pixels
SEED = 0xFFFFFFFFFFFFFFFF  # where the random numbers of OpenCV 2.4 start


@dataclass(frozen=True)
class CameraMotion:
    """Camera motion between two frames.

    Attributes
    ----------
    homography
        float64 (3, 3), previous to current pixels; the identity where none was found.
    n_inliers
        Inliers of the best RANSAC sample; 0 where no homography was tried.
    n_flow_pairs, n_surf_pairs
        Matches that went in.
    """

    homography: np.ndarray
    n_inliers: int
    n_flow_pairs: int
    n_surf_pairs: int


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _match_nearest(
    points: np.ndarray,
    descriptors: np.ndarray,
    previous_points: np.ndarray,
    previous_descriptors: np.ndarray,
    radius: np.float32,
    out: np.ndarray,
) -> None:
    """Index of the nearest previous descriptor within the radius, or -1; sums may be reordered."""
    for i in range(len(points)):
        best = np.float32(np.inf)
        out[i] = -1
        for j in range(len(previous_points)):
            if abs(points[i, 0] - previous_points[j, 0]) >= radius:
                continue
            if abs(points[i, 1] - previous_points[j, 1]) >= radius:
                continue
            total = np.float32(0)
            for k in range(descriptors.shape[1]):
                difference = descriptors[i, k] - previous_descriptors[j, k]
                total += difference * difference
            if total < best:
                best = total
                out[i] = j


def match_keypoints(
    previous: Keypoints, current: Keypoints, *, radius: float = MATCH_RADIUS
) -> tuple[np.ndarray, np.ndarray]:
    """Match every current keypoint to its most similar previous one nearby.

    There is no ratio test and no cross-check: RANSAC sorts the matches out.

    Parameters
    ----------
    previous, current
        Keypoints of the two frames.
    radius
        Matches lie less than this many pixels apart along each axis.

    Returns
    -------
    previous_points, current_points
        float32 (n, 2) each, (x, y).
    """
    nearest = np.empty(len(current), np.int64)
    _match_nearest(
        current.points,
        current.descriptors,
        previous.points,
        previous.descriptors,
        np.float32(radius),
        nearest,
    )
    found = nearest >= 0
    return previous.points[nearest[found]], current.points[found]


def flow_pairs(flow: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move points by the flow at their rounded pixel.

    Parameters
    ----------
    flow
        float32 (2, row, column), planes (dx, dy) from the previous frame to the current one.
    points
        float32 (n, 2), (x, y) in the previous frame.

    Returns
    -------
    previous_points, current_points
        float32 (n, 2) each.
    """
    column = np.clip(np.rint(points[:, 0]).astype(int), 0, flow.shape[2] - 1)
    row = np.clip(np.rint(points[:, 1]).astype(int), 0, flow.shape[1] - 1)
    return points, points + flow[:, row, column].T


@njit(cache=True, nogil=True, error_model="numpy")
def _random_index(state: np.ndarray, count: int) -> int:
    """Next index below `count` of a multiply-with-carry generator."""
    value = state[0]
    value = (value & np.uint64(0xFFFFFFFF)) * np.uint64(4164903690) + (value >> np.uint64(32))
    state[0] = value
    return int((value & np.uint64(0xFFFFFFFF)) % np.uint64(count))


@njit(cache=True, nogil=True, error_model="numpy")
def _has_line(points: np.ndarray, subset: np.ndarray) -> bool:
    """Whether three of four points lie on one line."""
    for i in range(4):
        for j in range(i):
            dx1 = points[subset[j], 0] - points[subset[i], 0]
            dy1 = points[subset[j], 1] - points[subset[i], 1]
            for k in range(j):
                dx2 = points[subset[k], 0] - points[subset[i], 0]
                dy2 = points[subset[k], 1] - points[subset[i], 1]
                limit = 1.1920929e-07 * (abs(dx1) + abs(dy1) + abs(dx2) + abs(dy2))
                if abs(dx2 * dy1 - dy2 * dx1) <= limit:
                    return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(matrix: np.ndarray, right: np.ndarray) -> bool:
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
def _fit_four(source: np.ndarray, target: np.ndarray, subset: np.ndarray, out: np.ndarray) -> bool:
    """Homography through four pairs, shifted and scaled for the arithmetic's sake."""
    centre = np.zeros((2, 2))
    spread = np.zeros(2)
    for k in subset:
        for c in range(2):
            centre[0, c] += source[k, c] / 4
            centre[1, c] += target[k, c] / 4
    for k in subset:
        for c in range(2):
            spread[0] += abs(source[k, c] - centre[0, c]) / 8
            spread[1] += abs(target[k, c] - centre[1, c]) / 8
    if spread[0] < 1e-12 or spread[1] < 1e-12:
        return False
    matrix = np.zeros((8, 8))
    right = np.empty(8)
    for i in range(4):
        x = (source[subset[i], 0] - centre[0, 0]) / spread[0]
        y = (source[subset[i], 1] - centre[0, 1]) / spread[0]
        u = (target[subset[i], 0] - centre[1, 0]) / spread[1]
        v = (target[subset[i], 1] - centre[1, 1]) / spread[1]
        matrix[2 * i, 0], matrix[2 * i, 1], matrix[2 * i, 2] = x, y, 1
        matrix[2 * i, 6], matrix[2 * i, 7] = -u * x, -u * y
        matrix[2 * i + 1, 3], matrix[2 * i + 1, 4], matrix[2 * i + 1, 5] = x, y, 1
        matrix[2 * i + 1, 6], matrix[2 * i + 1, 7] = -v * x, -v * y
        right[2 * i], right[2 * i + 1] = u, v
    if not _solve(matrix, right):
        return False
    # Undo both normalisations: first the target's, then the source's.
    h = np.array(
        [[right[0], right[1], right[2]], [right[3], right[4], right[5]], [right[6], right[7], 1.0]]
    )
    for c in range(3):
        h[0, c] = h[0, c] * spread[1] + centre[1, 0] * h[2, c]
        h[1, c] = h[1, c] * spread[1] + centre[1, 1] * h[2, c]
    for r in range(3):
        h[r, 0] /= spread[0]
        h[r, 1] /= spread[0]
        h[r, 2] -= h[r, 0] * centre[0, 0] + h[r, 1] * centre[0, 1]
    if abs(h[2, 2]) < 1e-12:
        return False
    for r in range(3):
        for c in range(3):
            out[r, c] = h[r, c] / h[2, 2]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _count_inliers(
    source: np.ndarray, target: np.ndarray, h: np.ndarray, threshold: float, mask: np.ndarray
) -> int:
    """Mark the pairs that a homography brings together."""
    n_inliers = 0
    for k in range(len(source)):
        x, y = source[k, 0], source[k, 1]
        w = 1.0 / (h[2, 0] * x + h[2, 1] * y + h[2, 2])
        dx = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) * w - target[k, 0]
        dy = (h[1, 0] * x + h[1, 1] * y + h[1, 2]) * w - target[k, 1]
        mask[k] = dx * dx + dy * dy <= threshold
        n_inliers += mask[k]
    return n_inliers


@njit(cache=True, nogil=True, error_model="numpy")
def _run_ransac(
    source: np.ndarray,
    target: np.ndarray,
    threshold: float,
    confidence: float,
    max_iterations: int,
    state: np.ndarray,
    best_mask: np.ndarray,
    best: np.ndarray,
) -> int:
    """Best homography over random quadruples; returns its number of inliers, 0 for none."""
    count = len(source)
    subset = np.empty(4, np.int64)
    mask = np.zeros(count, np.bool_)
    h = np.empty((3, 3))
    n_best, iteration, limit = 0, 0, max_iterations
    while iteration < limit:
        for _ in range(300):
            n_drawn = 0
            while n_drawn < 4:
                index = _random_index(state, count)
                fresh = True
                for k in range(n_drawn):
                    if subset[k] == index:
                        fresh = False
                if fresh:
                    subset[n_drawn] = index
                    n_drawn += 1
            usable = not _has_line(source, subset) and not _has_line(target, subset)
            if usable:
                break
        if not usable:
            break
        iteration += 1
        if not _fit_four(source, target, subset, h):
            continue
        n_inliers = _count_inliers(source, target, h, threshold, mask)
        if n_inliers > max(n_best, 3):
            n_best = n_inliers
            best_mask[:] = mask
            best[:] = h
            outliers = (count - n_best) / count
            miss = 1.0 - (1.0 - outliers) ** 4
            if miss < 2.2250738585072014e-308:
                limit = 0
            else:
                needed = np.log(max(1.0 - confidence, 2.2250738585072014e-308)) / np.log(miss)
                if miss < 1.0 and needed < limit:
                    limit = int(np.rint(needed))
    return n_best


def _fit_linear(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares homography by the normalised direct linear transform."""
    centre_s, centre_t = source.mean(axis=0), target.mean(axis=0)
    scale_s = 1 / np.abs(source - centre_s).mean(axis=0)
    scale_t = 1 / np.abs(target - centre_t).mean(axis=0)
    x, y = ((source - centre_s) * scale_s).T
    u, v = ((target - centre_t) * scale_t).T
    one, nought = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [
            np.stack([x, y, one, nought, nought, nought, -u * x, -u * y, -u], axis=1),
            np.stack([nought, nought, nought, x, y, one, -v * x, -v * y, -v], axis=1),
        ]
    )
    h = np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 3)
    to_s = np.array(
        [
            [scale_s[0], 0, -centre_s[0] * scale_s[0]],
            [0, scale_s[1], -centre_s[1] * scale_s[1]],
            [0, 0, 1],
        ]
    )
    from_t = np.array(
        [[1 / scale_t[0], 0, centre_t[0]], [0, 1 / scale_t[1], centre_t[1]], [0, 0, 1]]
    )
    h = from_t @ h @ to_s
    return h / h[2, 2]


def _refine(homography: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Minimise the reprojection error by ten Levenberg-Marquardt steps."""
    x, y = source.T
    h = homography.ravel()[:8].copy()
    damping = 1e-3

    def residuals(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w = 1 / (h[6] * x + h[7] * y + 1)
        u = (h[0] * x + h[1] * y + h[2]) * w
        v = (h[3] * x + h[4] * y + h[5]) * w
        nought = np.zeros_like(x)
        jacobian = np.concatenate(
            [
                np.stack([x * w, y * w, w, nought, nought, nought, -x * w * u, -y * w * u], axis=1),
                np.stack([nought, nought, nought, x * w, y * w, w, -x * w * v, -y * w * v], axis=1),
            ]
        )
        return np.concatenate([u - target[:, 0], v - target[:, 1]]), jacobian

    error, jacobian = residuals(h)
    for _ in range(10):
        normal = jacobian.T @ jacobian
        normal[np.diag_indices(8)] *= 1 + damping
        try:
            step = np.linalg.solve(normal, jacobian.T @ error)
        except np.linalg.LinAlgError:
            break
        new_error, new_jacobian = residuals(h - step)
        if new_error @ new_error <= error @ error:
            h, error, jacobian = h - step, new_error, new_jacobian
            damping /= 10
        else:
            damping *= 10
    return np.append(h, 1.0).reshape(3, 3)


def fit_homography(
    previous: np.ndarray,
    current: np.ndarray,
    *,
    reprojection_error: float = REPROJECTION_ERROR,
    confidence: float = CONFIDENCE,
    max_iterations: int = MAX_ITERATIONS,
    seed: int = SEED,
) -> tuple[np.ndarray | None, np.ndarray]:
    """Fit a homography to matches with outliers.

    RANSAC over quadruples, then least squares on the inliers and ten Levenberg-Marquardt steps.

    Parameters
    ----------
    previous, current
        (n, 2) matched points (x, y), n at least 4.
    reprojection_error
        Largest distance in pixels of an inlier.
    confidence
        Probability, below 1, that one sample is free of outliers; sets when to stop.
    max_iterations
        Largest number of samples.
    seed
        Start of the random numbers, a 64-bit integer; the same seed gives the same homography.

    Returns
    -------
    homography
        float64 (3, 3) from previous to current pixels, or None where no sample gives one.
    inliers
        bool (n,), the inliers of the best sample.
    """
    source = np.ascontiguousarray(previous, np.float64)
    target = np.ascontiguousarray(current, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError(
            f"previous and current must both have the shape (n, 2), got {source.shape} and "
            f"{target.shape}; pass matched points"
        )
    if len(source) < 4:
        raise ValueError(f"a homography needs at least 4 matches, got {len(source)}; find more")
    inliers = np.zeros(len(source), np.bool_)
    best = np.empty((3, 3))
    n_inliers = _run_ransac(
        source,
        target,
        reprojection_error**2,
        confidence,
        max_iterations,
        np.array([seed], np.uint64),
        inliers,
        best,
    )
    if n_inliers == 0:
        return None, inliers
    if n_inliers > 4:
        best = _fit_linear(source[inliers], target[inliers])
        best = _refine(best, source[inliers], target[inliers])
    return best, inliers


def camera_motion(
    flow_matches: tuple[np.ndarray, np.ndarray],
    surf_matches: tuple[np.ndarray, np.ndarray],
    *,
    seed: int = SEED,
) -> CameraMotion:
    """Estimate the homography between two frames from both kinds of matches.

    Parameters
    ----------
    flow_matches, surf_matches
        Pairs of float32 (n, 2): previous points, current points.
    seed
        Start of RANSAC's random numbers.

    Returns
    -------
    CameraMotion
        The identity where there are at most 50 matches or at most 25 inliers.
    """
    previous = np.concatenate([flow_matches[0], surf_matches[0]])
    current = np.concatenate([flow_matches[1], surf_matches[1]])
    homography, n_inliers = np.eye(3), 0
    if len(previous) > MIN_MATCHES:
        found, inliers = fit_homography(previous, current, seed=seed)
        n_inliers = int(inliers.sum())
        if found is not None and n_inliers > MIN_INLIERS and np.isfinite(found).all():
            homography = found
    return CameraMotion(homography, n_inliers, len(flow_matches[0]), len(surf_matches[0]))


@njit(cache=True, nogil=True, error_model="numpy")
def _warp(
    previous: np.ndarray, current: np.ndarray, h: np.ndarray, margin: int, out: np.ndarray
) -> None:
    """Bilinear warp in steps of 1/32 pixel; the previous frame where the source is outside."""
    n_rows, n_columns = out.shape
    for y in range(n_rows):
        for x in range(n_columns):
            w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
            px = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w if w != 0 else 0.0
            py = (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w if w != 0 else 0.0
            if (
                px >= margin
                and py >= margin
                and px < n_columns - 1 - margin
                and py < n_rows - 1 - margin
            ):
                sx = np.int32(np.rint(px * 32.0))
                sy = np.int32(np.rint(py * 32.0))
                x0 = sx >> 5
                y0 = sy >> 5
                fx = sx & 31
                fy = sy & 31
                total = (32 - fy) * (
                    (32 - fx) * np.int32(current[y0, x0]) + fx * np.int32(current[y0, x0 + 1])
                ) + fy * (
                    (32 - fx) * np.int32(current[y0 + 1, x0])
                    + fx * np.int32(current[y0 + 1, x0 + 1])
                )
                out[y, x] = np.uint8((total + 512) >> 10)
            else:
                out[y, x] = previous[y, x]


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
    """
    if previous.shape != current.shape:
        raise ValueError(
            f"previous and current must have one size, got {previous.shape} and {current.shape}; "
            "resize one of them"
        )
    homography = np.ascontiguousarray(homography, np.float64)
    if homography.shape != (3, 3) or not np.isfinite(homography).all():
        raise ValueError(
            f"homography must be a finite 3 x 3 matrix, got {homography!r}; "
            "use the identity where the motion is unknown"
        )
    out = np.empty_like(current)
    _warp(previous, current, homography, WARP_MARGIN, out)
    return out
