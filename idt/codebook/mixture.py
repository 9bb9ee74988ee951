"""Gaussian mixture with diagonal covariances, fitted by expectation-maximisation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import kmeans, vlfeat
from idt.codebook.posteriors import Scorer, Statistics
from idt.codebook.rows import check_rows

MAX_KMEANS_ROWS = 128  # for each component
DEAD_MASS = 1.0  # rows; a component with less is restarted, unless
DEAD_SHARE = 0.05  # rows are so few that this share of an even split is still less
BACKENDS = ("native", "vlfeat")


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
    backend
        Who iterates: ``"native"``, or ``"vlfeat"``: VLFeat through cyvlfeat, from the same start
        and with the same floor, restarts and stopping rule. It holds two arrays of (rows,
        n_components) posteriors and finds them three times an iteration.

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
        backend: str = "native",
    ) -> None:
        check_backend(backend)
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
        self.backend = backend

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
        ModuleNotFoundError
            The backend is VLFeat, and cyvlfeat is not installed.
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
            log_likelihood, *parameters = self._iterate(rows)
            self.log_likelihoods_.append(log_likelihood)
            if self._has_settled():
                self.converged_ = True
                break
            if self._replace(*parameters, floor=floor, n_rows=len(rows)):
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
        scorer = Scorer(self.weights_, self.means_, self.variances_)
        return scorer.gather(rows, min_posterior=min_posterior)

    def score(self, rows: ArrayLike) -> float:
        """Mean log-likelihood of a row, nats."""
        statistics = self.statistics(check_rows(rows, min_rows=1))
        return statistics.log_likelihood / statistics.n_rows

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

    def _iterate(self, rows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Mean log-likelihood of a row, and weights, means and variances that raise it."""
        if self.backend == "vlfeat":
            return vlfeat.iterate(rows, self.weights_, self.means_, self.variances_)
        statistics = self.statistics(rows)
        mass = np.maximum(statistics.mass, np.finfo(np.float64).tiny)[:, None]
        shift = statistics.first / mass
        variances = statistics.second / mass - shift**2
        weights = statistics.mass / statistics.mass.sum()
        return statistics.log_likelihood / len(rows), weights, self.means_ + shift, variances

    def _replace(
        self,
        weights: np.ndarray,
        means: np.ndarray,
        variances: np.ndarray,
        *,
        floor: np.ndarray,
        n_rows: int,
    ) -> bool:
        """Take new parameters, floored and with dead components restarted; say whether any was."""
        variances = np.maximum(variances, floor)
        least = min(DEAD_MASS / n_rows, DEAD_SHARE / len(weights))
        dead = np.flatnonzero(weights < least)
        for k in map(int, dead):
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


def check_backend(backend: str) -> None:
    """Refuse a name that is no backend."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be {' or '.join(BACKENDS)}, got {backend!r}; choose one")
