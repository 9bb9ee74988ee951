"""Gaussian mixture with diagonal covariances, and the statistics of rows under it.

Nearly all posteriors of a row are nothing. A matrix product therefore only says which components
come near a row; their densities are computed from the differences themselves, and only they enter
the sums. This costs less than dense posteriors and keeps the digits that expanded squares lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from idt.codebook import kmeans
from idt.codebook.rows import check_rows

BLOCK_ROWS = 2048  # rows scored against all components at a time
MAX_KMEANS_ROWS = 128  # for each component
CUTOFF = 21.0  # nats below the best component: posteriors there, 1e-9, are beyond float32
DEAD_MASS = 1.0  # rows; a component with less is restarted


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


class DiagonalGMM:
    """Mixture of Gaussians with diagonal covariances, fitted by expectation-maximisation.

    Parameters
    ----------
    n_components
        Number of Gaussians.
    max_iter
        Most iterations.
    tol
        Stop when the mean log-likelihood of a row rises by less than this, nats.
    variance_floor
        Least variance of a component, as a share of the variance of all rows, by dimension.
    seed
        Of the k-means start.

    Attributes
    ----------
    weights_ : float64 (n_components,)
    means_, variances_ : float32 (n_components, dimension)
    log_likelihoods_ : list of float
        Mean log-likelihood of a row, nats, under the mixture that each iteration started from. It
        never falls beyond rounding, except right after a restart.
    restarts_ : list of int
        Iterations (places in `log_likelihoods_`) that ended with a dead component restarted.
    converged_ : bool
        Whether `tol` was reached within `max_iter`.

    References
    ----------
    Perronnin, Sánchez and Mensink, Improving the Fisher kernel for large-scale image
    classification, ECCV 2010.
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        max_iter: int = 100,
        tol: float = 5e-3,
        variance_floor: float = 1e-3,
        seed: int = 0,
    ) -> None:
        if n_components < 1:
            raise ValueError(f"n_components must be at least 1, got {n_components}; ask for more")
        if max_iter < 1:
            raise ValueError(f"max_iter must be at least 1, got {max_iter}; allow more iterations")
        if not tol >= 0:
            raise ValueError(f"tol must be at least 0, got {tol}; 0 uses all iterations")
        if not 0 < variance_floor < 1:
            raise ValueError(
                f"variance_floor must be between 0 and 1, got {variance_floor}; it is a share of "
                "the variance of all rows"
            )
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.seed = seed

    weights_: np.ndarray
    means_: np.ndarray
    variances_: np.ndarray
    log_likelihoods_: list[float]
    restarts_: list[int]
    converged_: bool

    @classmethod
    def from_parameters(
        cls, weights: ArrayLike, means: ArrayLike, variances: ArrayLike
    ) -> DiagonalGMM:
        """Make a mixture of parameters found elsewhere.

        Parameters
        ----------
        weights
            (n_components,), positive, of sum 1.
        means
            (n_components, dimension).
        variances
            (n_components, dimension), positive.

        Raises
        ------
        ValueError
            Shapes that do not fit, or values that are not those of a mixture.
        """
        means = check_rows(means, name="means", min_rows=1)
        variances = check_rows(
            variances, name="variances", n_columns=means.shape[1], min_rows=len(means)
        )
        weights = np.asarray(weights, dtype=np.float64)
        if len(variances) != len(means) or weights.shape != (len(means),):
            raise ValueError(
                f"weights, means and variances must be of as many components, got "
                f"{weights.shape}, {means.shape} and {variances.shape}; take all from one mixture"
            )
        if not (weights > 0).all() or not math.isclose(weights.sum(), 1, abs_tol=1e-4):
            raise ValueError(
                f"weights must be positive and of sum 1, got {weights.min():.3g} or more, of sum "
                f"{weights.sum():.6g}; leave out components without weight"
            )
        if not (variances >= np.finfo(np.float32).tiny).all():
            raise ValueError(
                f"variances must be positive, got {variances.min():.3g}; floor them first"
            )
        mixture = cls(len(means))
        mixture.weights_, mixture.means_, mixture.variances_ = weights, means, variances
        mixture.log_likelihoods_, mixture.restarts_, mixture.converged_ = [], [], True
        return mixture

    def fit(self, rows: ArrayLike, *, start: DiagonalGMM | None = None) -> DiagonalGMM:
        """Fit the mixture.

        Parameters
        ----------
        rows
            (n, dimension), at least as many as components.
        start
            A mixture to start from, instead of k-means.

        Returns
        -------
        DiagonalGMM
            This object.

        Raises
        ------
        ValueError
            Bad or too few rows, rows all the same, or a `start` that does not fit.
        """
        rows = check_rows(rows, min_rows=max(2, self.n_components))
        spread = rows.var(axis=0, dtype=np.float64)
        if not spread.max(initial=0) > 0:
            raise ValueError("rows must differ, got all the same; draw them from more videos")
        floor = np.maximum(spread * self.variance_floor, spread.max() * 1e-6)
        if start is None:
            self._start(rows, floor)
        elif start.means_.shape != (self.n_components, rows.shape[1]):
            raise ValueError(
                f"start must have means of shape {(self.n_components, rows.shape[1])}, got "
                f"{start.means_.shape}; start from a mixture of the same size"
            )
        else:
            self._set(start.weights_, start.means_, np.maximum(start.variances_, floor))
        self.log_likelihoods_, self.restarts_, self.converged_ = [], [], False
        for iteration in range(self.max_iter):
            statistics = self.statistics(rows)
            self.log_likelihoods_.append(statistics.log_likelihood / len(rows))
            if self._has_settled():
                self.converged_ = True
                break
            if self._maximise(statistics, floor):
                self.restarts_.append(iteration)
        return self

    def statistics(self, rows: ArrayLike, *, min_posterior: float = 0.0) -> Statistics:
        """Sum what expectation-maximisation and Fisher vectors need to know of rows.

        Parameters
        ----------
        rows
            (n, dimension); n may be 0.
        min_posterior
            Posteriors below this count as 0.
        """
        rows = check_rows(rows, n_columns=self.means_.shape[1])
        scorer = self._scorer()
        n_components, dimension = self.means_.shape
        mass = np.zeros(n_components)
        first = np.zeros((n_components, dimension))
        second = np.zeros((n_components, dimension))
        log_likelihood = 0.0
        for begin in range(0, len(rows), BLOCK_ROWS):
            block = rows[begin : begin + BLOCK_ROWS]
            scores = scorer.scores(block)
            sums = np.zeros((n_components, 1 + 2 * dimension), dtype=np.float32)
            log_likelihood += _add_posteriors(
                scores,
                block,
                self.means_,
                scorer.half_precisions,
                scorer.offsets,
                np.float32(min_posterior),
                sums,
            )
            mass += sums[:, 0]
            first += sums[:, 1 : 1 + dimension]
            second += sums[:, 1 + dimension :]
        return Statistics(len(rows), log_likelihood, mass, first, second)

    def score(self, rows: ArrayLike) -> float:
        """Mean log-likelihood of a row, nats."""
        statistics = self.statistics(check_rows(rows, min_rows=1))
        return statistics.log_likelihood / statistics.n_rows

    def posteriors(self, rows: ArrayLike) -> np.ndarray:
        """Probability of each component given each row, float32 (n, n_components)."""
        rows = check_rows(rows, n_columns=self.means_.shape[1])
        scorer = self._scorer()
        out = np.empty((len(rows), len(self.means_)), dtype=np.float32)
        for begin in range(0, len(rows), BLOCK_ROWS):
            block = slice(begin, begin + BLOCK_ROWS)
            out[block] = scorer.scores(rows[block])
            out[block] -= out[block].max(axis=1, keepdims=True)
            np.exp(out[block], out=out[block])
            out[block] /= out[block].sum(axis=1, keepdims=True)
        return out

    def _start(self, rows: np.ndarray, floor: np.ndarray) -> None:
        """Start from the clusters of k-means on a part of the rows."""
        random = np.random.default_rng(self.seed)
        n_drawn = min(len(rows), MAX_KMEANS_ROWS * self.n_components)
        drawn = rows[np.sort(random.choice(len(rows), n_drawn, replace=False))]
        centres, labels = kmeans.cluster(drawn, self.n_components, seed=self.seed)
        counts = np.bincount(labels, minlength=self.n_components)
        squares = np.zeros(centres.shape)
        kmeans.add_rows((drawn - centres[labels]) ** 2, labels, squares)
        # One row more of average spread and weight each, so that a cluster of one row can grow.
        within = squares.sum(axis=0) / n_drawn
        variances = (squares + within) / (counts + 1)[:, None]
        weights = (counts + 1) / (n_drawn + self.n_components)
        self._set(weights, centres, np.maximum(variances, floor))

    def _set(self, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> None:
        self.weights_ = np.array(weights, dtype=np.float64)
        self.means_ = np.array(means, dtype=np.float32, order="C")
        self.variances_ = np.array(variances, dtype=np.float32, order="C")

    def _maximise(self, statistics: Statistics, floor: np.ndarray) -> bool:
        """Set the mixture that explains the statistics best; say whether one was restarted."""
        mass = np.maximum(statistics.mass, np.finfo(np.float64).tiny)[:, None]
        shift = statistics.first / mass
        means = self.means_ + shift
        variances = np.maximum(statistics.second / mass - shift**2, floor)
        weights = statistics.mass / statistics.mass.sum()
        dead = np.flatnonzero(statistics.mass < DEAD_MASS)
        for k in dead:
            # Two halves of the heaviest component, apart along its widest axis: together they have
            # its mean and its variances, so that the likelihood hardly changes.
            heaviest = int(weights.argmax())
            axis = int((variances[heaviest] / floor).argmax())
            variances[k], means[k] = variances[heaviest], means[heaviest]
            apart = 0.5 * math.sqrt(variances[heaviest, axis])
            means[heaviest, axis] -= apart
            means[k, axis] += apart
            variances[[heaviest, k], axis] *= 0.75
            weights[[heaviest, k]] = weights[heaviest] / 2
        self._set(weights / weights.sum(), means, np.maximum(variances, floor))
        return len(dead) > 0

    def _has_settled(self) -> bool:
        """Whether the last iteration gained less than `tol` and restarted nothing."""
        if len(self.log_likelihoods_) < 2 or len(self.log_likelihoods_) - 2 in self.restarts_:
            return False
        return self.log_likelihoods_[-1] - self.log_likelihoods_[-2] < self.tol

    def _scorer(self) -> _Scorer:
        """What scoring needs of the parameters, in float32."""
        means, variances = self.means_.astype(np.float64), self.variances_.astype(np.float64)
        centre = (self.weights_ @ means).astype(np.float32)
        around = means - centre
        normaliser = np.log(self.weights_) - 0.5 * np.log(2 * np.pi * variances).sum(axis=1)
        return _Scorer(
            centre=centre,
            columns=np.concatenate([(around / variances).T, -0.5 / variances.T]).astype(np.float32),
            constants=(normaliser - 0.5 * (around**2 / variances).sum(axis=1)).astype(np.float32),
            half_precisions=(0.5 / variances).astype(np.float32),
            offsets=normaliser.astype(np.float32),
            reach=math.sqrt(1e30 * min(variances.min(), 1.0)),
        )


@dataclass(frozen=True)
class _Scorer:
    """Logarithm of weight times density as a product: [x, x²] (n, 2 d) by (2 d, k), plus (k,)."""

    centre: np.ndarray  # taken off rows first: squares keep their digits near the origin
    columns: np.ndarray
    constants: np.ndarray
    half_precisions: np.ndarray  # (k, d), and
    offsets: np.ndarray  # (k,): the same from differences, offsets - sum of them times (x - mean)²
    reach: float  # how far from the centre squares stay finite in float32

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Score rows, float32 (n, d), to float32 (n, k)."""
        dimension = rows.shape[1]
        squares = np.empty((len(rows), 2 * dimension), dtype=np.float32)
        centred = np.subtract(rows, self.centre, out=squares[:, :dimension])
        farthest = max(centred.max(initial=0), -centred.min(initial=0))
        if farthest > self.reach:
            raise ValueError(
                f"rows must be of the size of those fitted, got a value {farthest:.3g} from the "
                "mean; check the scale of the descriptor"
            )
        np.square(centred, out=squares[:, dimension:])
        scores = squares @ self.columns
        scores += self.constants
        return scores


# fastmath: maxima and sums are vectorised only where their order is free. Inputs are finite.
@njit(cache=True, nogil=True, fastmath=True)
def _add_posteriors(
    scores: np.ndarray,
    rows: np.ndarray,
    means: np.ndarray,
    half_precisions: np.ndarray,
    offsets: np.ndarray,
    min_posterior: np.float32,
    sums: np.ndarray,
) -> float:
    """Add [posterior, posterior * difference, posterior * difference²] to sums (k, 1 + 2 d).

    `scores` (n, k) pick the components; the densities of those picked come from the differences
    of `rows` (n, d) and `means` (k, d). Return the log-likelihood.
    """
    n_rows, n_components = scores.shape
    dimension = rows.shape[1]
    picked = np.empty(n_components + 1, dtype=np.int64)
    values = np.empty(n_components + 1, dtype=np.float32)
    log_likelihood = 0.0
    for i in range(n_rows):
        best = np.float32(-np.inf)
        for k in range(n_components):
            best = max(best, scores[i, k])
        least = best - np.float32(CUTOFF)
        n_picked = 0
        for k in range(n_components):  # no branch: nobody can foretell it
            picked[n_picked] = k
            n_picked += scores[i, k] >= least
        best = np.float32(-np.inf)
        for p in range(n_picked):
            k = picked[p]
            distance = np.float32(0.0)
            for j in range(dimension):
                difference = rows[i, j] - means[k, j]
                distance += difference * difference * half_precisions[k, j]
            values[p] = offsets[k] - distance
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
            sums[k, 0] += posterior
            for j in range(dimension):
                difference = rows[i, j] - means[k, j]
                weighted = posterior * difference
                sums[k, 1 + j] += weighted
                sums[k, 1 + dimension + j] += weighted * difference
    return log_likelihood
