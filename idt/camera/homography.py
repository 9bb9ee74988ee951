"""The camera's motion: a homography fitted to matches with outliers.

References
----------
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.
Hartley & Zisserman, Multiple View Geometry, 2nd edition, chapter 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from idt.camera.ransac import SEED, run_ransac, solve

REPROJECTION_ERROR = 1.0  # pixels
CONFIDENCE = 0.995
MAX_ITERATIONS = 2000
MIN_MATCHES = 50  # a homography is tried with more matches than this
MIN_INLIERS = 25  # and kept with more inliers than this
N_REFINEMENTS = 10  # Levenberg-Marquardt steps


def _no_points() -> np.ndarray:
    return np.zeros((0, 2), np.float32)


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
    previous_points, current_points
        float32 (n, 2) each: all matches, those of the flow first, in pixels.
    inliers
        bool (n,): the inliers among them.
    """

    homography: np.ndarray
    n_inliers: int
    n_flow_pairs: int
    n_surf_pairs: int
    previous_points: np.ndarray = field(default_factory=_no_points, repr=False)
    current_points: np.ndarray = field(default_factory=_no_points, repr=False)
    inliers: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_), repr=False)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _fill_normal(basis: np.ndarray, target: np.ndarray, out: np.ndarray) -> None:
    """Products (9, 9) of the rows (b, 0, -u b) and (0, b, -v b), summed; sums may be reordered."""
    u, v = target[0], target[1]
    for r in range(3):
        for s in range(3):
            out[r, 3 + s] = out[3 + s, r] = 0
    for r in range(3):
        for s in range(r, 3):
            b, c = basis[r], basis[s]
            plain, by_u, by_v, by_both = 0.0, 0.0, 0.0, 0.0
            for k in range(len(u)):
                product = b[k] * c[k]
                plain += product
                by_u += product * u[k]
                by_v += product * v[k]
                by_both += product * (u[k] * u[k] + v[k] * v[k])
            for i, j in ((r, s), (s, r)):
                out[i, j] = out[3 + i, 3 + j] = plain
                out[i, 6 + j] = out[6 + j, i] = -by_u
                out[3 + i, 6 + j] = out[6 + j, 3 + i] = -by_v
                out[6 + i, 6 + j] = by_both


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _project(
    pairs: np.ndarray, h: np.ndarray, basis: np.ndarray, projected: np.ndarray, error: np.ndarray
) -> float:
    """Fill the derivatives' basis, the projections and their errors; returns the squared error."""
    x, y, tu, tv = pairs[0], pairs[1], pairs[2], pairs[3]
    h0, h1, h2, h3, h4, h5, h6, h7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    total = 0.0
    for k in range(len(x)):
        w = 1.0 / (h6 * x[k] + h7 * y[k] + 1.0)
        u = (h0 * x[k] + h1 * y[k] + h2) * w
        v = (h3 * x[k] + h4 * y[k] + h5) * w
        basis[0, k] = x[k] * w
        basis[1, k] = y[k] * w
        basis[2, k] = w
        projected[0, k] = u
        projected[1, k] = v
        error[0, k] = u - tu[k]
        error[1, k] = v - tv[k]
        total += error[0, k] * error[0, k] + error[1, k] * error[1, k]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _fill_gradient(
    basis: np.ndarray, projected: np.ndarray, error: np.ndarray, out: np.ndarray
) -> None:
    """Gradient (9,) of half the squared error; the last entry belongs to the fixed h33."""
    u, v, eu, ev = projected[0], projected[1], error[0], error[1]
    for r in range(3):
        b = basis[r]
        by_u, by_v, by_both = 0.0, 0.0, 0.0
        for k in range(len(u)):
            by_u += b[k] * eu[k]
            by_v += b[k] * ev[k]
            by_both += b[k] * (eu[k] * u[k] + ev[k] * v[k])
        out[r], out[3 + r], out[6 + r] = by_u, by_v, -by_both


@njit(cache=True, nogil=True, error_model="numpy")
def _refine(pairs: np.ndarray, h: np.ndarray, n_steps: int) -> None:
    """Minimise the reprojection error of h (8,), in place, by Levenberg-Marquardt steps."""
    n = pairs.shape[1]
    # Those of the solution that holds, and of the one that is tried.
    basis, projected, error = np.empty((2, 3, n)), np.empty((2, 2, n)), np.empty((2, 2, n))
    normal, step, tried = np.empty((9, 9)), np.empty(9), np.empty(8)
    damped = np.empty((8, 8))
    held = 0
    least = _project(pairs, h, basis[0], projected[0], error[0])
    _fill_normal(basis[0], projected[0], normal)
    damping = 1e-3
    for _ in range(n_steps):
        for i in range(8):
            for j in range(8):
                damped[i, j] = normal[i, j]
            damped[i, i] *= 1 + damping
        _fill_gradient(basis[held], projected[held], error[held], step)
        if not solve(damped, step[:8]):
            break
        for i in range(8):
            tried[i] = h[i] - step[i]
        other = 1 - held
        total = _project(pairs, tried, basis[other], projected[other], error[other])
        if total <= least:
            held, least = other, total
            for i in range(8):
                h[i] = tried[i]
            _fill_normal(basis[held], projected[held], normal)
            damping /= 10
        else:
            damping *= 10


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

    RANSAC over quadruples, then ten Levenberg-Marquardt steps on the inliers from the best one. The
    reference takes as many from a linear least-squares fit; on real matches both end within 1e-6
    pixel of each other.

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

    Raises
    ------
    ValueError
        The arrays do not hold the same number of points (x, y), or fewer than 4.
    """
    if previous.shape != current.shape or previous.ndim != 2 or previous.shape[1] != 2:
        raise ValueError(
            f"previous and current must both have the shape (n, 2), got {previous.shape} and "
            f"{current.shape}; pass matched points"
        )
    if len(previous) < 4:
        raise ValueError(f"a homography needs at least 4 matches, got {len(previous)}; find more")
    pairs = np.empty((4, len(previous)))
    pairs[:2] = previous.T
    pairs[2:] = current.T
    inliers = np.zeros(len(previous), np.bool_)
    best = np.empty((3, 3))
    state = np.array([seed], np.uint64)
    n_inliers = run_ransac(
        pairs, reprojection_error**2, confidence, max_iterations, state, inliers, best
    )
    if n_inliers == 0:
        return None, inliers
    if n_inliers > 4:
        _refine(pairs[:, inliers], best.reshape(9)[:8], N_REFINEMENTS)
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
    homography, inliers, n_inliers = np.eye(3), np.zeros(len(previous), np.bool_), 0
    if len(previous) > MIN_MATCHES:
        found, inliers = fit_homography(previous, current, seed=seed)
        n_inliers = int(np.count_nonzero(inliers))
        if found is not None and n_inliers > MIN_INLIERS and np.isfinite(found).all():
            homography = found
    return CameraMotion(
        homography=homography,
        n_inliers=n_inliers,
        n_flow_pairs=len(flow_matches[0]),
        n_surf_pairs=len(surf_matches[0]),
        previous_points=previous,
        current_points=current,
        inliers=inliers,
    )
