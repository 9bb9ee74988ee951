"""Seeded k-means: the words of a vocabulary, and where a mixture starts from.

Blocks of rows are worked by as many threads as numba is allowed; what they find goes to the places
of its rows, so that the number of threads changes nothing.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from idt.codebook.rows import check_rows

BLOCK_ROWS = 2048  # that a thread takes at a time
TILE_WORDS = 256  # centres whose scores stay in the first cache beside four rows
START_ROWS = 8  # for each word: the rows that a start is spread over
REACH = 1e15  # how large a value may be before its float32 square could overflow
LEAST = -1e38  # below every score


class KMeans:
    """Words of one descriptor: centres of Lloyd's k-means, the best of several starts.

    Parameters
    ----------
    n_words
        Number of centres.
    n_init
        Starts, each a greedy k-means++ on rows of its own draw; the one that ends with the lowest
        inertia is kept.
    max_iter
        Most rounds of each start.
    tol
        Stop when a round lowers the mean squared distance by less than this share.
    seed
        Of the starts. The result does not depend on the number of threads.

    Attributes
    ----------
    centres_ : float32 (n_words, dimension)
    inertia_ : float
        Sum over the training rows of the squared distance to the nearest centre.
    inertias_ : list of float
        That of every start.
    n_iter_ : int
        Rounds of the start that was kept.

    References
    ----------
    Wang, Kläser, Schmid and Liu, Dense trajectories and motion boundary descriptors for action
    recognition, IJCV 2013, section 5.1: 4,000 words of 100,000 rows, the best of 8 starts. Arthur
    and Vassilvitskii, k-means++: the advantages of careful seeding, SODA 2007. Here k-means++ looks
    at 8 rows a word, not at all of them: with 4,000 words it would otherwise take most of the time.
    """

    def __init__(
        self,
        n_words: int = 4000,
        *,
        n_init: int = 8,
        max_iter: int = 100,
        tol: float = 1e-4,
        seed: int = 0,
    ) -> None:
        if n_words < 1:
            raise ValueError(f"n_words must be at least 1, got {n_words}; ask for more")
        if n_init < 1:
            raise ValueError(f"n_init must be at least 1, got {n_init}; allow a start")
        if max_iter < 1:
            raise ValueError(f"max_iter must be at least 1, got {max_iter}; allow more rounds")
        if not tol >= 0:
            raise ValueError(f"tol must be at least 0, got {tol}; 0 goes on to the end")
        self.n_words = n_words
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.seed = seed

    centres_: np.ndarray
    inertia_: float
    inertias_: list[float]
    n_iter_: int

    @classmethod
    def from_centres(cls, centres: ArrayLike) -> KMeans:
        """Make words of centres found elsewhere, (n_words, dimension); they have no inertia."""
        checked = check_rows(centres, name="centres", min_rows=1)
        words = cls(len(checked), n_init=1)
        words._set(checked)
        words.inertia_, words.inertias_, words.n_iter_ = math.nan, [], 0
        return words

    def fit(self, rows: ArrayLike, *, start: ArrayLike | None = None) -> KMeans:
        """Find the centres.

        Parameters
        ----------
        rows
            (n, dimension), at least as many as words.
        start
            Centres to start from, (n_words, dimension), instead of `n_init` drawn ones.

        Returns
        -------
        KMeans
            This object.

        Raises
        ------
        ValueError
            Bad or too few rows, or a `start` that does not fit.
        """
        checked = check_rows(rows, min_rows=self.n_words)
        offset = _middle(checked)
        centred = checked - offset  # distances by products keep their digits near the origin
        check_reach(centred)
        if start is None:
            work = partial(self._start, centred)
            with ThreadPoolExecutor(min(numba.get_num_threads(), self.n_init)) as threads:
                starts = list(threads.map(work, range(self.n_init)))
        else:
            given = check_rows(start, name="start", n_columns=checked.shape[1])
            if len(given) != self.n_words:
                raise ValueError(
                    f"start must have {self.n_words} rows, one a word, got {len(given)}; give all "
                    "centres"
                )
            starts = [given - offset]
        self.inertias_, self.inertia_ = [], math.inf
        for centres in starts:
            centres, labels, n_iter = _improve(
                centred, centres, max_iter=self.max_iter, tol=self.tol
            )
            self.inertias_.append(_add_squares(centred, centres, labels))
            if self.inertias_[-1] < self.inertia_:
                self.inertia_, self.n_iter_ = self.inertias_[-1], n_iter
                self._set(centres + offset)
        return self

    def predict(self, rows: ArrayLike) -> np.ndarray:
        """Nearest centre of each row (n, dimension), int64 (n,); the first of equally near ones."""
        centred = check_rows(rows, n_columns=self.centres_.shape[1]) - self._offset
        check_reach(centred)
        return self._finder.find(centred)[0]

    def _set(self, centres: np.ndarray) -> None:
        self.centres_ = centres
        self._offset = _middle(centres)
        check_reach(centres - self._offset)
        self._finder = Finder(centres - self._offset)

    def _start(self, rows: np.ndarray, i: int) -> np.ndarray:
        """Centres of the i-th start."""
        random = np.random.default_rng([self.seed, i])
        n_drawn = min(len(rows), START_ROWS * self.n_words)
        drawn = rows[np.sort(random.choice(len(rows), n_drawn, replace=False))]
        return _spread(drawn, self.n_words, random)


def cluster(
    rows: np.ndarray, n_clusters: int, *, seed: int = 0, max_iter: int = 20, tol: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's k-means from one k-means++ start over all rows.

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
    """
    offset = _middle(rows)
    rows = rows - offset
    centres = _spread(rows, n_clusters, np.random.default_rng(seed))
    centres, labels, _ = _improve(rows, centres, max_iter=max_iter, tol=tol)
    return centres + offset, labels


class Finder:
    """Centres as the kernel that finds the nearest takes them.

    Parameters
    ----------
    centres
        float32 (n_words, dimension), about the origin.
    """

    def __init__(self, centres: np.ndarray) -> None:
        n_words, dimension = centres.shape
        width = min(TILE_WORDS, n_words)
        n_tiles = -(-n_words // width)
        padded = np.zeros((n_tiles * width, dimension), dtype=np.float32)
        padded[:n_words] = centres
        self.tiles = np.ascontiguousarray(
            padded.reshape(n_tiles, width, dimension).transpose(0, 2, 1)
        )
        self.constants = np.full(n_tiles * width, LEAST, dtype=np.float32)
        self.constants[:n_words] = -0.5 * np.einsum("kd,kd->k", centres, centres)

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest centre of float32 rows (n, dimension) and the squared distance to it.

        Returns
        -------
        labels
            int64 (n,).
        distances
            float32 (n,), by products: rounded as the squared norms of rows and centres are.
        """
        labels = np.empty(len(rows), dtype=np.int64)
        distances = np.empty(len(rows), dtype=np.float32)

        def work(first: int) -> None:
            part = slice(first, first + BLOCK_ROWS)
            _find_nearest(rows[part], self.tiles, self.constants, labels[part], distances[part])

        firsts = range(0, len(rows), BLOCK_ROWS)
        n_threads = min(numba.get_num_threads(), len(firsts))
        if n_threads <= 1:
            for first in firsts:
                work(first)
        else:
            with ThreadPoolExecutor(n_threads) as threads:
                list(threads.map(work, firsts))
        return labels, distances


# fastmath, here and below: sums and maxima are vectorised only where their order is free. Whatever
# comes in is finite.
@njit(cache=True, nogil=True, fastmath=True)
def _find_nearest(
    rows: np.ndarray,
    tiles: np.ndarray,
    constants: np.ndarray,
    labels: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Nearest centre of rows (n, d) by tiles (t, d, width), constants, into (n,) and (n,)."""
    n_rows, dimension = rows.shape
    width = tiles.shape[2]
    x = np.zeros((4, dimension), dtype=np.float32)
    scores = np.empty((4, width), dtype=np.float32)
    distances[:] = np.float32(2 * LEAST)
    for t in range(len(tiles)):
        for start in range(0, n_rows, 4):
            n_here = min(4, n_rows - start)
            x[:n_here] = rows[start : start + n_here]
            _score_four(x, tiles[t], constants[t * width : (t + 1) * width], scores)
            for r in range(n_here):
                best = np.float32(2 * LEAST)
                for k in range(width):
                    best = max(best, scores[r, k])
                if best > distances[start + r]:
                    label = 0
                    while scores[r, label] < best:
                        label += 1
                    distances[start + r] = best
                    labels[start + r] = t * width + label
    for i in range(n_rows):
        norm = np.float32(0.0)
        for j in range(dimension):
            norm += rows[i, j] * rows[i, j]
        distances[i] = max(norm - np.float32(2.0) * distances[i], np.float32(0.0))


@njit(cache=True, nogil=True, fastmath=True)
def _score_four(
    x: np.ndarray, linears: np.ndarray, constants: np.ndarray, scores: np.ndarray
) -> None:
    """Put constants (k,) + products of rows x (4, d) and linears (d, k) in scores (4, k)."""
    dimension = x.shape[1]
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    for k in range(constants.size):
        s0[k] = s1[k] = s2[k] = s3[k] = constants[k]
    # Four rows and four dimensions at once: each score loaded and stored takes four products.
    for j in range(0, dimension - 3, 4):
        a0, a1, a2, a3 = x[0, j], x[1, j], x[2, j], x[3, j]
        b0, b1, b2, b3 = x[0, j + 1], x[1, j + 1], x[2, j + 1], x[3, j + 1]
        c0, c1, c2, c3 = x[0, j + 2], x[1, j + 2], x[2, j + 2], x[3, j + 2]
        d0, d1, d2, d3 = x[0, j + 3], x[1, j + 3], x[2, j + 3], x[3, j + 3]
        for k in range(constants.size):
            a, b, c, d = linears[j, k], linears[j + 1, k], linears[j + 2, k], linears[j + 3, k]
            s0[k] += a0 * a + b0 * b + c0 * c + d0 * d
            s1[k] += a1 * a + b1 * b + c1 * c + d1 * d
            s2[k] += a2 * a + b2 * b + c2 * c + d2 * d
            s3[k] += a3 * a + b3 * b + c3 * c + d3 * d
    for j in range(dimension - dimension % 4, dimension):
        a0, a1, a2, a3 = x[0, j], x[1, j], x[2, j], x[3, j]
        for k in range(constants.size):
            a = linears[j, k]
            s0[k] += a0 * a
            s1[k] += a1 * a
            s2[k] += a2 * a
            s3[k] += a3 * a


def _middle(rows: np.ndarray) -> np.ndarray:
    """Mean row, float32 (dimension,)."""
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def check_reach(rows: np.ndarray) -> None:
    """Refuse values that float32 cannot square."""
    farthest = max(abs(float(rows.max(initial=0))), abs(float(rows.min(initial=0))))
    if farthest > REACH:
        raise ValueError(
            f"rows must be within {REACH:.0e} of their mean, got {farthest:.3g}; check the scale "
            "of the descriptor"
        )


def _improve(
    rows: np.ndarray, centres: np.ndarray, *, max_iter: int, tol: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Lloyd's rounds: centres, the nearest of each row, and the number of rounds."""
    labels, distances = Finder(centres).find(rows)
    before = distances.mean(dtype=np.float64)
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        centres = _move(rows, labels, distances, len(centres))
        labels, distances = Finder(centres).find(rows)
        now = distances.mean(dtype=np.float64)
        if before - now <= tol * now:
            break
        before = now
    return centres, labels, n_iter


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


@njit(cache=True, nogil=True)
def _add_squares(rows: np.ndarray, centres: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances of rows (n, d) to the centres (k, d) of their labels (n,)."""
    total = 0.0
    for i in range(len(rows)):
        for j in range(rows.shape[1]):
            total += float(rows[i, j] - centres[labels[i], j]) ** 2
    return total
