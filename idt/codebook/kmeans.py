"""Seeded k-means: where a mixture starts from."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from idt.codebook.posteriors import score_four


def cluster(
    rows: np.ndarray, n_clusters: int, *, seed: int = 0, max_iter: int = 20, tol: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's k-means from a k-means++ start.

    Parameters
    ----------
    rows
        float32 (n, dimension), finite; n is at least `n_clusters`.
    n_clusters
        Number of centres.
    seed
        Of the start.
    max_iter
        Most rounds.
    tol
        Stop when a round lowers the mean squared distance by less than this share.

    Returns
    -------
    centres
        float32 (n_clusters, dimension).
    labels
        int64 (n,), the nearest centre of each row; every centre has a row wherever there are
        `n_clusters` different ones.

    References
    ----------
    Arthur and Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007.
    """
    offset = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = rows - offset  # distances by products keep their digits near the origin
    centres = _spread(rows, n_clusters, np.random.default_rng(seed))
    before = np.inf
    for _ in range(max_iter):
        labels, distances = assign(rows, centres)
        now = float(distances.mean(dtype=np.float64))
        if before - now <= tol * now:
            break
        before = now
        centres = _move(rows, labels, distances, n_clusters)
    labels, _ = assign(rows, centres)
    return centres + offset, labels


def assign(rows: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of each row and the squared distance to it, int64 (n,) and float32 (n,)."""
    labels = np.empty(len(rows), dtype=np.int64)
    distances = np.empty(len(rows), dtype=np.float32)
    linears = np.ascontiguousarray(centres.T)
    half_norms = 0.5 * np.einsum("kd,kd->k", centres, centres)
    _find_nearest(rows, linears, np.zeros_like(linears), -half_norms, labels, distances)
    return labels, distances


# fastmath: sums and maxima are vectorised only where their order is free. Whatever comes in is
# finite.
@njit(cache=True, nogil=True, fastmath=True)
def _find_nearest(
    rows: np.ndarray,
    linears: np.ndarray,
    squares: np.ndarray,
    constants: np.ndarray,
    labels: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Nearest centre of rows (n, d) by linears (d, k) and constants (k,), into (n,) and (n,)."""
    n_rows, dimension = rows.shape
    x = np.zeros((4, dimension), dtype=np.float32)
    scores = np.empty((4, constants.size), dtype=np.float32)
    for start in range(0, n_rows, 4):
        n_here = min(4, n_rows - start)
        x[:n_here] = rows[start : start + n_here]
        score_four(x, linears, squares, constants, scores)
        for r in range(n_here):
            best = np.float32(-np.inf)
            for k in range(constants.size):
                best = max(best, scores[r, k])
            label = 0
            while scores[r, label] < best:
                label += 1
            norm = np.float32(0.0)
            for j in range(dimension):
                norm += x[r, j] * x[r, j]
            labels[start + r] = label
            distances[start + r] = max(norm - np.float32(2.0) * best, np.float32(0.0))


def _spread(rows: np.ndarray, n_clusters: int, random: np.random.Generator) -> np.ndarray:
    """k-means++ centres: each the best of some rows drawn by their squared distance so far."""
    n_drawn = 2 + int(math.log(n_clusters))
    centres = np.empty((n_clusters, rows.shape[1]), dtype=np.float32)
    centres[0] = rows[random.integers(len(rows))]
    nearest = np.full(len(rows), np.finfo(np.float32).max, dtype=np.float32)
    _approach(rows, centres[0], nearest, nearest)
    trials = np.empty((n_drawn, len(rows)), dtype=np.float32)
    for k in range(1, n_clusters):
        cumulated = np.cumsum(nearest, dtype=np.float64)
        places = np.searchsorted(cumulated, random.random(n_drawn) * cumulated[-1], side="right")
        places = np.minimum(places, len(rows) - 1)  # all 0: fewer different rows than centres
        totals = [
            _approach(rows, rows[place], nearest, trial)
            for place, trial in zip(places, trials, strict=True)
        ]
        best = int(np.argmin(totals))
        centres[k] = rows[places[best]]
        nearest[:] = trials[best]
    return centres


@njit(cache=True, nogil=True, fastmath=True)
def _approach(rows: np.ndarray, centre: np.ndarray, nearest: np.ndarray, out: np.ndarray) -> float:
    """Lower nearest (n,) to squared distances of rows (n, d) from a centre (d,); return its sum."""
    total = 0.0
    for i in range(len(rows)):
        distance = np.float32(0.0)
        for j in range(centre.size):
            distance += (rows[i, j] - centre[j]) ** 2
        out[i] = min(nearest[i], distance)
        total += out[i]
    return total


def _move(
    rows: np.ndarray, labels: np.ndarray, distances: np.ndarray, n_clusters: int
) -> np.ndarray:
    """Means of the clusters; one without rows takes the row farthest from its own centre."""
    counts = np.bincount(labels, minlength=n_clusters)
    sums = np.zeros((n_clusters, rows.shape[1]))
    add_rows(rows, labels, sums)
    centres = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        centres[empty] = rows[np.argsort(-distances, kind="stable")[: len(empty)]]
    return centres


@njit(cache=True, nogil=True)
def add_rows(rows: np.ndarray, labels: np.ndarray, sums: np.ndarray) -> None:
    """Add each float32 row (n, d) to the float64 sum (k, d) of its label (n,)."""
    for i in range(len(rows)):
        for j in range(rows.shape[1]):
            sums[labels[i], j] += rows[i, j]
