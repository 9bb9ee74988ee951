r"""Multi-channel RBF-χ² support vector machine for bags of features.

A channel is a histogram: the words of one descriptor in one cell of a grid. With the distance

.. math:: D_c(a, b) = \tfrac{1}{2} \sum_n \frac{(a_n - b_n)^2}{a_n + b_n}

over the words n of channel c (0/0 counts 0) and its mean :math:`A_c` over all pairs of different
training rows, the kernel of C channels is :math:`K = \exp(-\tfrac{1}{C} \sum_c D_c / A_c)`.

The papers have no 1/C. Their sum is about C for the mean pair of rows: with the 15 channels of five
descriptors in a grid of three cells K is 3e-7 there, less than float32 can add to an intercept, and
what is left of the decision is the intercepts'.

References
----------
Zhang, Marszałek, Lazebnik and Schmid, Local features and kernels for classification of texture and
object categories, IJCV 2007, section 3.3. Wang, Kläser, Schmid and Liu, Dense trajectories and
motion boundary descriptors for action recognition, IJCV 2013, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from sklearn.utils import Tags

from idt.svm.checks import check_finite, check_labels, check_matrix, check_options, check_width
from idt.svm.gram import mirror
from idt.svm.one_versus_rest import OneVersusRest
from idt.svm.pair_descent import descend_pairs

KERNELS = ("chi_square", "precomputed")
STRIPE = 16  # rows that a thread takes at a time
TILE_NUMBERS = 1 << 16  # of rows that stay in the cache while a stripe is held against them: 256 kB
BLOCK_NUMBERS = 1 << 24  # distances of new rows to training rows at a time: 64 MB
TINY = np.float32(1e-30)  # makes 0/0 a 0


# Adding in any order and not testing divisors lets the loop be vectorised: 3 times the speed.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def _fill_distances(
    first: np.ndarray, second: np.ndarray, start: int, triangle: bool, out: np.ndarray
) -> None:
    """χ² distances of rows `start` to `start` + `STRIPE` of `first` to those of `second`.

    `triangle` leaves out pairs above the diagonal.
    """
    n_columns = first.shape[1]
    stop = min(start + STRIPE, len(first))
    n_second = stop if triangle else len(second)
    width = max(1, TILE_NUMBERS // n_columns)
    for tile in range(0, n_second, width):
        for i in range(start, stop):
            last = min(tile + width, i + 1 if triangle else n_second)
            for j in range(tile, last):
                total = np.float32(0)
                for k in range(n_columns):
                    difference = first[i, k] - second[j, k]
                    total += difference * difference / (first[i, k] + second[j, k] + TINY)
                out[i, j] = np.float32(0.5) * total


def chi_square_distances(
    X: ArrayLike, training: ArrayLike | None = None, *, channels: Sequence[slice] | None = None
) -> np.ndarray:
    """χ² distances of all pairs of rows in each channel.

    Computed once, they train machines on any channels: ``distances[:, :, [0, 3]]`` with
    ``ChiSquareSVM(kernel="precomputed")``.

    Parameters
    ----------
    X
        Real (m, n_columns), 0 or more.
    training
        Real (n, n_columns), 0 or more; None takes X.
    channels
        Columns of each channel, which together are all columns once; None takes one channel.

    Returns
    -------
    ndarray of float32, (m, n, n_channels)
        A view: each channel lies in C order by itself.

    Raises
    ------
    ValueError
        Negative numbers, NaN or infinity; rows of two lengths; channels that overlap or leave
        columns out.
    """
    X = check_matrix(X)
    other = None if training is None else check_matrix(training)
    if other is not None:
        check_width(X, other.shape[1])
    parts = _check_channels(channels, X.shape[1])
    n = len(X) if other is None else len(other)
    distances = np.empty((len(parts), len(X), n), dtype=np.float32)
    for part, out in zip(parts, distances, strict=True):
        _distances(_histograms(X, part), None if other is None else _histograms(other, part), out)
    return np.moveaxis(distances, 0, -1)


class ChiSquareSVM(OneVersusRest):
    """One-vs-rest support vector machine on the RBF-χ² kernel of one or more channels.

    Each class is the problem of scikit-learn's `SVC` for two classes: hinge loss, and an intercept
    that is not regularised (the one of `LinearSVM` is).

    Parameters
    ----------
    C
        Weight of the losses, positive.
    channels
        Columns of each channel, which together are all columns once; None takes one channel.
    kernel
        ``"chi_square"`` takes rows of histograms. ``"precomputed"`` takes χ² distances by channel
        (`chi_square_distances`): of all pairs of training rows, (n, n, n_channels), to train, of
        new rows to training rows, (m, n, n_channels), to score; `channels` is not used.
    tol
        Stop when no pair of rows violates the optimality conditions by more than this.
    max_iter
        Most steps for each class, each of one pair of rows.

    Attributes
    ----------
    classes_ : (n_classes,)
        Labels, sorted.
    scales_ : float64 (n_channels,)
        Mean distance between different training rows.
    rows_ : (n_rows, n_columns)
        The training rows, not copied; only with ``kernel="chi_square"``.
    intercept_ : float32 (n_classes,)
    dual_coef_ : float64 (n_classes, n_rows)
        Sign times dual variable of each training row.
    n_iter_ : int64 (n_classes,)
        Steps that each class took.
    n_features_in_ : int
        Columns, or training rows of precomputed distances.
    """

    scales_: np.ndarray
    rows_: np.ndarray

    def __init__(
        self,
        C: float = 100.0,
        *,
        channels: Sequence[slice] | None = None,
        kernel: str = "chi_square",
        tol: float = 1e-3,
        max_iter: int = 1_000_000,
    ) -> None:
        self.C = C
        self.channels = channels
        self.kernel = kernel
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: ArrayLike, y: ArrayLike, *, n_classes: int | None = None) -> ChiSquareSVM:
        """Train on all rows; two matrices of pairs are held, whatever the number of channels.

        Parameters
        ----------
        X
            Histograms, real (n_rows, n_columns), 0 or more; or distances (n_rows, n_rows,
            n_channels).
        y
            (n_rows,) labels of two classes or more.
        n_classes
            Given, labels are integers from 0 to n_classes - 1 and every class has a row.

        Returns
        -------
        ChiSquareSVM
            This object.

        Raises
        ------
        ValueError
            An option that is not valid, negative numbers, NaN or infinity, labels of another
            length, one class only, a class of `n_classes` without rows, a channel in which all rows
            are equal.

        Warns
        -----
        NotConvergedWarning
            A class took all of `max_iter`.
        """
        X = self._check_rows(X)
        classes, codes = check_labels(y, len(X), n_classes)
        if self.kernel == "precomputed":
            self._fit_pairs(self._pairs(X), codes, len(classes))
        else:
            parts = _check_channels(self.channels, X.shape[1])
            self._train(_by_channel(X, None, parts), codes, len(classes))
            self.rows_ = X
        self.classes_ = classes
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Score rows for each class, float32 (n, n_classes), also for two classes.

        Parameters
        ----------
        X
            Histograms (n, n_columns), or distances (n, n_rows, n_channels).

        Raises
        ------
        ValueError
            Rows of another length, negative or not finite; another number of channels.
        """
        self._check_fitted()
        X = check_matrix(X) if self.kernel == "chi_square" else _check_distances(X)
        check_width(X, self.n_features_in_)
        scores = np.empty((len(X), len(self.classes_)), dtype=np.float32)
        n_rows = max(1, BLOCK_NUMBERS // self.dual_coef_.shape[1])
        for start in range(0, len(X), n_rows):
            rows = slice(start, start + n_rows)
            if self.kernel == "chi_square":
                parts = _check_channels(self.channels, X.shape[1])
                scores[rows] = self._score(_by_channel(X[rows], self.rows_, parts))
            else:
                scores[rows] = self._score_pairs(X[rows])
        return scores

    @property
    def n_parameters(self) -> int:
        """How many numbers scoring takes: support vectors, their dual variables, the rest."""
        n_support = int(self.dual_coef_.any(axis=0).sum())
        of_each = self.n_features_in_ if self.kernel == "chi_square" else 0
        n_duals = len(self.dual_coef_) * n_support
        return n_support * of_each + n_duals + self.intercept_.size + self.scales_.size

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.three_d_array = tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _check_rows(self, X: ArrayLike) -> np.ndarray:
        choices = {"kernel": (self.kernel, KERNELS)}
        check_options(C=self.C, tol=self.tol, max_iter=self.max_iter, choices=choices)
        if self.kernel == "chi_square":
            return check_matrix(X)
        distances = _check_distances(X)
        if distances.shape[0] != distances.shape[1]:
            raise ValueError(
                "X must hold the distances of all pairs of training rows, (n, n, n_channels), got "
                f"{distances.shape}; give chi_square_distances of the rows"
            )
        return distances

    def _pairs(self, X: np.ndarray) -> np.ndarray:
        if self.kernel == "precomputed":
            return X
        return chi_square_distances(X, channels=self.channels)

    def _fit_pairs(self, pairs: np.ndarray, codes: np.ndarray, n_classes: int) -> None:
        self._train(np.moveaxis(pairs, -1, 0), codes, n_classes)

    def _score_pairs(self, pairs: np.ndarray) -> np.ndarray:
        if pairs.shape[-1] != len(self.scales_):
            raise ValueError(
                f"X must hold distances in {len(self.scales_)} channels, as in training, got "
                f"{pairs.shape[-1]}; take the same channels"
            )
        return self._score(np.moveaxis(pairs, -1, 0))

    def _train(self, distances: Iterable[np.ndarray], codes: np.ndarray, n_classes: int) -> None:
        """Train on distances (n, n), one channel after another."""
        exponents = np.zeros((len(codes), len(codes)), dtype=np.float32)
        scales = []
        for c, each in enumerate(distances):
            scale = each.sum(dtype=np.float64) / max(1, len(codes) * (len(codes) - 1))
            if not scale > 0:
                raise ValueError(
                    f"X must differ between rows in every channel, got equal rows in channel {c}; "
                    "leave the channel out"
                )
            exponents -= each * np.float32(1 / scale)
            scales.append(scale)
        self.scales_ = np.array(scales)
        exponents /= np.float32(len(scales))
        self._solve_all(np.exp(exponents, out=exponents), codes, n_classes)

    def _score(self, distances: Iterable[np.ndarray]) -> np.ndarray:
        """Decision values by distances (m, n), one channel after another."""
        exponents: np.ndarray = np.zeros(1, dtype=np.float32)
        for each, scale in zip(distances, self.scales_, strict=True):
            exponents = exponents - each * np.float32(1 / scale)
        exponents /= np.float32(len(self.scales_))
        return np.exp(exponents) @ self.dual_coef_.T.astype(np.float32) + self.intercept_

    def _solve(
        self, matrix: np.ndarray, codes: np.ndarray, positive: int
    ) -> tuple[np.ndarray, float, int]:
        signs = np.where(codes == positive, 1.0, -1.0)
        duals = np.zeros(len(codes))
        intercept, n_steps = descend_pairs(matrix, signs, self.C, self.tol, self.max_iter, duals)
        return signs * duals, intercept, n_steps


def _by_channel(
    X: np.ndarray, other: np.ndarray | None, parts: Sequence[slice]
) -> Iterator[np.ndarray]:
    """Distances (m, n) of rows to other rows, or to each other, a channel at a time."""
    out = np.empty((len(X), len(X) if other is None else len(other)), dtype=np.float32)
    for part in parts:
        second = None if other is None else _histograms(other, part)
        yield _distances(_histograms(X, part), second, out)


def _distances(first: np.ndarray, second: np.ndarray | None, out: np.ndarray) -> np.ndarray:
    """Distances of all pairs, by stripes of rows side by side."""
    triangle = second is None
    other = first if second is None else second

    def fill(start: int) -> None:
        _fill_distances(first, other, start, triangle, out)

    with ThreadPoolExecutor(numba.get_num_threads()) as threads:
        list(threads.map(fill, range(0, len(first), STRIPE)))
    if triangle:
        mirror(out)
    return out


def _histograms(X: np.ndarray, columns: slice) -> np.ndarray:
    """Columns of a channel, float32 in C order, finite and not negative."""
    block = np.ascontiguousarray(X[:, columns], dtype=np.float32)
    check_finite(block, "columns", columns)
    if block.min() < 0:
        raise ValueError(
            f"X must be 0 or more, got {block.min()} among columns {columns.start} to "
            f"{columns.stop - 1}; Negative values in data are no histogram"
        )
    return block


def _check_distances(X: ArrayLike) -> np.ndarray:
    """Distances by channel, finite and not negative."""
    distances = np.asanyarray(X)
    if distances.ndim != 3 or 0 in distances.shape or distances.dtype.kind not in "fiu":
        raise ValueError(
            "X must hold real distances (n_rows, n_training_rows, n_channels), got "
            f"{distances.dtype} {distances.shape}; give those of chi_square_distances"
        )
    if not (distances.min() >= 0 and np.isfinite(distances.max())):
        raise ValueError(
            "X must hold distances of 0 or more, got negative ones, NaN or infinity; give those of "
            "chi_square_distances"
        )
    return distances.astype(np.float32, copy=False)


def _check_channels(channels: Sequence[slice] | None, n_columns: int) -> list[slice]:
    """Channels as slices that cover every column once; they may stand in any order."""
    if channels is None:
        return [slice(0, n_columns)]
    for channel in channels:
        if not isinstance(channel, slice) or channel.step not in (None, 1):
            raise ValueError(
                f"channels must be slices of columns without a step, got {channel!r}; give "
                "slice(start, stop)"
            )
    parts = [slice(*channel.indices(n_columns)[:2]) for channel in channels]
    reached = 0
    for part, channel in sorted(zip(parts, channels, strict=True), key=lambda pair: pair[0].start):
        if part.stop <= part.start or (channel.stop or 0) > n_columns:
            raise ValueError(
                f"channels must hold columns, from 0 to {n_columns}, got {channel}; give the "
                "slices of these encodings"
            )
        if part.start != reached:
            fault = "overlap at" if part.start < reached else "leave out"
            raise ValueError(
                f"channels must cover each of {n_columns} columns once, got channels that {fault} "
                f"column {min(part.start, reached)}; give one slice a histogram"
            )
        reached = part.stop
    if reached != n_columns:
        raise ValueError(
            f"channels must cover each of {n_columns} columns once, got channels that leave out "
            f"column {reached}; give one slice a histogram"
        )
    return parts
