"""Seeded k-means on blocked matrix products: where a mixture starts from."""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK_ROWS = 4096  # rows scored against all centres at a time


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
    half_norms = 0.5 * np.einsum("kd,kd->k", centres, centres)
    columns = np.ascontiguousarray(centres.T)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        _pick_nearest(
            rows[block] @ columns, half_norms, rows[block], labels[block], distances[block]
        )
    return labels, distances


# fastmath: the search for the largest score is vectorised only where its order is free.
@njit(cache=True, nogil=True, fastmath=True)
def _pick_nearest(
    products: np.ndarray,
    half_norms: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Largest product minus half norm (float32 (n, k), (k,)) of each row, into (n,), (n,)."""
    n_rows, n_centres = products.shape
    for i in range(n_rows):
        best = np.float32(-np.inf)
        for k in range(n_centres):
            best = max(best, products[i, k] - half_norms[k])
        label = 0
        for k in range(n_centres):
            if products[i, k] - half_norms[k] == best:
                label = k
                break
        norm = np.float32(0.0)
        for j in range(rows.shape[1]):
            norm += rows[i, j] * rows[i, j]
        labels[i] = label
        distances[i] = max(norm - np.float32(2.0) * best, np.float32(0.0))


def _spread(rows: np.ndarray, n_clusters: int, random: np.random.Generator) -> np.ndarray:
    """k-means++ centres: each next one far from those before, by squared distance."""
    norms = np.einsum("nd,nd->n", rows, rows)
    centres = np.empty((n_clusters, rows.shape[1]), dtype=np.float32)
    centres[0] = rows[random.integers(len(rows))]
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    for k in range(1, n_clusters):
        last = centres[k - 1]
        distances = norms - 2 * (rows @ last) + last @ last
        np.minimum(nearest, np.maximum(distances, 0), out=nearest)
        cumulated = np.cumsum(nearest, dtype=np.float64)
        if cumulated[-1] > 0:
            drawn = np.searchsorted(cumulated, random.random() * cumulated[-1], side="right")
        else:  # fewer different rows than centres
            drawn = random.integers(len(rows))
        centres[k] = rows[min(int(drawn), len(rows) - 1)]
    return centres


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
