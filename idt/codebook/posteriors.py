"""Sums over rows, weighted by their posteriors under a mixture: all that fitting and encoding need.

Nearly all posteriors of a row are nothing. Expanded squares, fast but short of digits, say which
components come near a row; the densities of those few are computed from the differences, and only
they enter the sums. Blocks of rows are worked by as many threads as numba is allowed, and summed
in their order, so that the number of threads changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numba
import numpy as np
from numba import njit

from idt.lanes import WIDTH, bits_above, fill, highest, larger, load, store

BLOCK_ROWS = 2048  # summed in float32 before they are added to float64
MAX_CUTOFF = 21.0  # nats below the best component: posteriors there, 1e-9, are beyond float32
MARGIN = 2.5  # nats, what posteriors below the smallest that counts may still add to their sum
ALL_EIGHT = 2**WIDTH - 1
# Of every set of eight scores, as bits: how many they are, and where they stand, those first.
_BITS = np.arange(2**WIDTH)[:, None] >> np.arange(WIDTH) & 1
COUNTS = _BITS.sum(axis=1)
PLACES = np.argsort(1 - _BITS, axis=1, kind="stable").astype(np.int32)
REACH = 1e15  # how large a standardised value may be before float32 squares could overflow


@dataclass(frozen=True)
class Statistics:
    """Sums over rows, weighted by their posteriors, about the means of the components.

    Attributes
    ----------
    n_rows
        Rows summed.
    log_likelihood
        Sum over rows, nats.
    mass
        float64 (n_components,): posteriors.
    first
        float64 (n_components, dimension): posterior times (row - mean).
    second
        float64 (n_components, dimension): posterior times (row - mean) squared.
    """

    n_rows: int
    log_likelihood: float
    mass: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def zeros(cls, n_components: int, dimension: int) -> Statistics:
        """Sums over no rows."""
        shape = (n_components, dimension)
        return cls(0, 0.0, np.zeros(n_components), np.zeros(shape), np.zeros(shape))

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.n_rows + other.n_rows,
            self.log_likelihood + other.log_likelihood,
            self.mass + other.mass,
            self.first + other.first,
            self.second + other.second,
        )


class Scorer:
    """The parameters of a mixture as its kernels take them.

    Parameters
    ----------
    weights
        float64 (n_components,), positive.
    means, variances
        float32 (n_components, dimension).
    """

    def __init__(self, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> None:
        self.means = means
        precisions = 1 / variances.astype(np.float64)
        centre = weights @ means.astype(np.float64)
        around = means - centre
        normalisers = np.log(weights) - 0.5 * np.log(2 * np.pi / precisions).sum(axis=1)
        # log(weight * density) = constant + sum over dimensions of x (linear + x * square), where
        # x = row - centre: squares keep their digits near the origin.
        self.centre = centre.astype(np.float32)
        self.linears = np.ascontiguousarray((around * precisions).T, dtype=np.float32)
        self.squares = np.ascontiguousarray(-0.5 * precisions.T, dtype=np.float32)
        constants = normalisers - 0.5 * (around**2 * precisions).sum(axis=1)
        self.constants = constants.astype(np.float32)
        # The same from differences: normaliser - sum of half_precision (row - mean)².
        self.normalisers = normalisers.astype(np.float32)
        self.half_precisions = (0.5 * precisions).astype(np.float32)
        self.variances = variances

    def gather(self, rows: np.ndarray, *, min_posterior: float = 0.0) -> Statistics:
        """Sum rows, float32 (n, dimension) and finite; n may be 0.

        Parameters
        ----------
        rows
            The rows.
        min_posterior
            Posteriors below this count as 0.

        Raises
        ------
        ValueError
            A value is so far from the mixture that float32 cannot square it.
        """
        n_components, dimension = self.means.shape
        check_reach(rows, self.variances)
        mass = np.zeros(n_components)
        moments = np.zeros((2, n_components, dimension))
        log_likelihood = 0.0
        for likelihood, block_mass, block_moments in self._blocks(rows, min_posterior):
            log_likelihood += likelihood
            mass += block_mass
            moments += block_moments
        return Statistics(len(rows), log_likelihood, mass, moments[0], moments[1])

    def _blocks(
        self, rows: np.ndarray, min_posterior: float
    ) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        """Log-likelihood, mass and moments of each block of rows, in order."""
        work = partial(self._gather_block, min_posterior=min_posterior)
        blocks = [rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS)]
        n_threads = min(numba.get_num_threads(), len(blocks))
        if n_threads <= 1:
            yield from map(work, blocks)
            return
        with ThreadPoolExecutor(n_threads) as threads:
            # A few blocks at a time, so that what waits to be added stays small.
            for start in range(0, len(blocks), 8 * n_threads):
                yield from threads.map(work, blocks[start : start + 8 * n_threads])

    def _gather_block(
        self, rows: np.ndarray, *, min_posterior: float
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Sum one block in float32."""
        cutoff = MAX_CUTOFF
        if min_posterior > 0:
            cutoff = min(cutoff, MARGIN - math.log(min_posterior))
        mass = np.zeros(len(self.means), dtype=np.float32)
        moments = np.zeros((2, *self.means.shape), dtype=np.float32)
        log_likelihood = _add_posteriors(
            rows,
            self.centre,
            self.linears,
            self.squares,
            self.constants,
            self.means,
            self.half_precisions,
            self.normalisers,
            np.float32(cutoff),
            np.float32(min_posterior),
            mass,
            moments[0],
            moments[1],
        )
        return log_likelihood, mass, moments


def check_reach(rows: np.ndarray, variances: np.ndarray) -> None:
    """Refuse rows so far from a mixture of these variances that float32 cannot square them."""
    farthest = max(abs(float(rows.max(initial=0))), abs(float(rows.min(initial=0))))
    if farthest > REACH * math.sqrt(min(float(variances.min()), 1.0)):
        raise ValueError(
            f"rows must be of the size of those that the mixture was fitted on, got a value of "
            f"{farthest:.3g}; check the scale of the descriptor"
        )


# fastmath, here and below: sums and maxima are vectorised only where their order is free. Whatever
# comes in is finite.
@njit(cache=True, nogil=True, fastmath=True)
def score_four(
    x: np.ndarray,
    linears: np.ndarray,
    squares: np.ndarray,
    constants: np.ndarray,
    scores: np.ndarray,
) -> None:
    """Put constants (k,) + sum of x (linear + x * square) in scores (4, k or more).

    x is (4, d), linears and squares are (d, k).
    """
    dimension = x.shape[1]
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    for k in range(constants.size):
        s0[k] = s1[k] = s2[k] = s3[k] = constants[k]
    # Four rows and two dimensions at once: each parameter loaded serves four products.
    for j in range(0, dimension - 1, 2):
        a0, a1, a2, a3 = x[0, j], x[1, j], x[2, j], x[3, j]
        b0, b1, b2, b3 = x[0, j + 1], x[1, j + 1], x[2, j + 1], x[3, j + 1]
        for k in range(constants.size):
            la, qa, lb, qb = linears[j, k], squares[j, k], linears[j + 1, k], squares[j + 1, k]
            s0[k] += a0 * (la + a0 * qa) + b0 * (lb + b0 * qb)
            s1[k] += a1 * (la + a1 * qa) + b1 * (lb + b1 * qb)
            s2[k] += a2 * (la + a2 * qa) + b2 * (lb + b2 * qb)
            s3[k] += a3 * (la + a3 * qa) + b3 * (lb + b3 * qb)
    if dimension % 2:
        j = dimension - 1
        a0, a1, a2, a3 = x[0, j], x[1, j], x[2, j], x[3, j]
        for k in range(constants.size):
            la, qa = linears[j, k], squares[j, k]
            s0[k] += a0 * (la + a0 * qa)
            s1[k] += a1 * (la + a1 * qa)
            s2[k] += a2 * (la + a2 * qa)
            s3[k] += a3 * (la + a3 * qa)


@njit(cache=True, nogil=True, fastmath=True)
def _add_posteriors(
    rows: np.ndarray,
    centre: np.ndarray,
    linears: np.ndarray,
    squares: np.ndarray,
    constants: np.ndarray,
    means: np.ndarray,
    half_precisions: np.ndarray,
    normalisers: np.ndarray,
    cutoff: np.float32,
    min_posterior: np.float32,
    mass: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> float:
    """Add rows (n, d) to mass (k,), first and second (k, d); return their log-likelihood."""
    n_rows, dimension = rows.shape
    n_components = constants.size
    x = np.zeros((4, dimension), dtype=np.float32)
    width = (n_components + WIDTH - 1) // WIDTH * WIDTH
    scores = np.full((4, width), -np.inf, dtype=np.float32)
    picked = np.empty(width + WIDTH, dtype=np.int32)
    values = np.empty(n_components, dtype=np.float32)
    log_likelihood = 0.0
    for start in range(0, n_rows, 4):
        n_here = min(4, n_rows - start)
        for r in range(n_here):
            for j in range(dimension):
                x[r, j] = rows[start + r, j] - centre[j]
        score_four(x, linears, squares, constants, scores)
        for r in range(n_here):
            n_picked = _pick(scores, r * width, cutoff, picked)
            best = np.float32(-np.inf)
            for p in range(n_picked):
                k = picked[p]
                distance = np.float32(0.0)
                for j in range(dimension):
                    difference = rows[start + r, j] - means[k, j]
                    distance += difference * difference * half_precisions[k, j]
                values[p] = normalisers[k] - distance
                best = max(best, values[p])
            total = np.float32(0.0)
            for p in range(n_picked):
                values[p] = np.exp(values[p] - best)
                total += values[p]
            log_likelihood += best + np.log(total)
            for p in range(n_picked):
                posterior = values[p] / total
                if posterior < min_posterior:
                    continue
                k = picked[p]
                mass[k] += posterior
                for j in range(dimension):
                    difference = rows[start + r, j] - means[k, j]
                    weighted = posterior * difference
                    first[k, j] += weighted
                    second[k, j] += weighted * difference
    return log_likelihood


@njit(cache=True, nogil=True)
def _pick(scores: np.ndarray, start: int, cutoff: np.float32, picked: np.ndarray) -> int:
    """Write the places of a row of scores at most cutoff below the largest; return their number.

    The row begins at `start` in memory and ends with the array's width, whole eights.
    """
    width = scores.shape[1]
    most = load(scores, start)
    for k in range(WIDTH, width, WIDTH):
        most = larger(most, load(scores, start + k))
    least = fill(highest(most) - cutoff)
    n_picked = 0
    for k in range(0, width, WIDTH):  # no branch: nothing could foretell it
        near = ALL_EIGHT ^ bits_above(least, load(scores, start + k))
        store(picked, n_picked, load(PLACES, near * WIDTH) + fill(np.int32(k)))
        n_picked += COUNTS[near]
    return n_picked
