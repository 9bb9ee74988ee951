"""Linear support vector machine for few rows and very many columns.

A Fisher vector has 109,056 numbers and a data set some thousand videos: the dual problem lives on
the Gram matrix, which is built once, by blocks of columns, for all classes. Coordinate descent on
it costs one row of the Gram matrix an update, whatever the number of columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from sklearn.utils import Tags

from idt.svm.checks import check_finite, check_labels, check_matrix, check_options, check_width
from idt.svm.gram import gram_matrix
from idt.svm.one_versus_rest import OneVersusRest

LOSSES = ("squared_hinge", "hinge")
KERNELS = ("linear", "precomputed")
BLOCK_NUMBERS = 1 << 24  # of X, in whole rows, read at a time: 64 MB in float32


# No fastmath: infinities mark bounds that are not there.
@njit(cache=True, nogil=True)
def _descend(
    gram: np.ndarray,
    signs: np.ndarray,
    ridge: float,
    upper: float,
    tol: float,
    max_iter: int,
    seed: int,
    order: np.ndarray,
    duals: np.ndarray,
) -> int:
    """Coordinate descent with shrinking on gram (n, n) and signs (n,), into duals (n,).

    The intercept is the weight of a column of ones, which adds 1 to every inner product. `order`
    (n,) is a permutation of the rows, reordered in place. Return the passes taken.
    """
    n = len(signs)
    outputs = np.zeros(n)  # of the present weights without the intercept, one a row
    intercept = 0.0
    n_active = n
    highest, lowest = np.inf, -np.inf  # projected gradients of the pass before
    state = np.uint64(seed) * np.uint64(2654435769) + np.uint64(88172645463325252)
    for n_passes in range(1, max_iter + 1):
        now_highest, now_lowest = 0.0, 0.0  # one row alone must not look settled
        for t in range(n_active):
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            other = t + np.int64(state % np.uint64(n_active - t))
            order[t], order[other] = order[other], order[t]
        t = 0
        while t < n_active:
            i = order[t]
            gradient = signs[i] * (outputs[i] + intercept) - 1.0 + ridge * duals[i]
            projected = gradient
            if duals[i] <= 0.0:
                if gradient > highest:
                    n_active -= 1
                    order[t], order[n_active] = order[n_active], order[t]
                    continue
                projected = min(gradient, 0.0)
            elif duals[i] >= upper:
                if gradient < lowest:
                    n_active -= 1
                    order[t], order[n_active] = order[n_active], order[t]
                    continue
                projected = max(gradient, 0.0)
            now_highest = max(now_highest, projected)
            now_lowest = min(now_lowest, projected)
            if abs(projected) > 1e-12:
                old = duals[i]
                duals[i] = min(max(old - gradient / (gram[i, i] + 1.0 + ridge), 0.0), upper)
                step = (duals[i] - old) * signs[i]
                intercept += step
                row = gram[i]
                for j in range(n):
                    outputs[j] += step * row[j]
            t += 1
        if now_highest - now_lowest <= tol:
            if n_active == n:
                return n_passes
            n_active = n  # look at all rows once more before believing it
            highest, lowest = np.inf, -np.inf
            continue
        highest = now_highest if now_highest > 0 else np.inf
        lowest = now_lowest if now_lowest < 0 else -np.inf
    return max_iter


class LinearSVM(OneVersusRest):
    r"""One-vs-rest linear support vector machine, solved on the Gram matrix.

    For each class, with signs :math:`y_i` of +1 for its rows and -1 for the others, it minimises

    .. math:: \tfrac{1}{2} (\|w\|^2 + b^2) + C \sum_i \ell(1 - y_i (w \cdot x_i + b))

    with :math:`\ell(t) = \max(t, 0)^2` or :math:`\max(t, 0)`: the objective of scikit-learn's
    `LinearSVC` with ``intercept_scaling=1``.

    Parameters
    ----------
    C
        Weight of the losses, positive.
    loss
        ``"squared_hinge"`` or ``"hinge"``.
    kernel
        ``"linear"`` takes rows of encodings. ``"precomputed"`` takes inner products: those of all
        pairs of training rows, (n, n), to train (`gram_matrix`), those of new rows with training
        rows, (m, n), to score (`cross_gram`); sums over descriptors train on these descriptors
        together.
    tol
        Stop when the projected gradients of a class, and 0, differ by no more than this:
        LIBLINEAR's rule, which without the 0 stops where all rows have the same gradient.
    max_iter
        Most passes over the rows for each class.
    seed
        Of the order of the rows.

    Attributes
    ----------
    classes_ : (n_classes,)
        Labels, sorted.
    coef_ : float32 (n_classes, n_columns)
        Only with ``kernel="linear"``.
    intercept_ : float32 (n_classes,)
    dual_coef_ : float64 (n_classes, n_rows)
        Sign times dual variable of each training row.
    n_iter_ : int64 (n_classes,)
        Passes that each class took.
    n_features_in_ : int

    References
    ----------
    Hsieh, Chang, Lin, Keerthi and Sundararajan, A dual coordinate descent method for large-scale
    linear SVM, ICML 2008: algorithm 3, here with gradients kept up to date through the Gram matrix.
    """

    coef_: np.ndarray

    def __init__(
        self,
        C: float = 100.0,
        *,
        loss: str = "squared_hinge",
        kernel: str = "linear",
        tol: float = 1e-4,
        max_iter: int = 10_000,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.loss = loss
        self.kernel = kernel
        self.tol = tol
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, *, n_classes: int | None = None) -> LinearSVM:
        """Train on all rows.

        Parameters
        ----------
        X
            Real (n_rows, n_columns), or inner products (n_rows, n_rows). Rows are read by blocks
            and never copied whole, so a `numpy.memmap` will do.
        y
            (n_rows,) labels of two classes or more.
        n_classes
            Given, labels are integers from 0 to n_classes - 1 and every class has a row.

        Returns
        -------
        LinearSVM
            This object.

        Raises
        ------
        ValueError
            An option that is not valid, values that are not finite, labels of another length, one
            class only, a class of `n_classes` without rows.

        Warns
        -----
        NotConvergedWarning
            A class took all of `max_iter`.
        """
        X = self._check_rows(X)
        classes, codes = check_labels(y, len(X), n_classes)
        self._fit_pairs(self._pairs(X), codes, len(classes))
        self.classes_ = classes
        self.n_features_in_ = X.shape[1]
        if self.kernel == "linear":
            self.coef_ = self._weights(X)
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Score rows for each class, float32 (n, n_classes), also for two classes.

        Parameters
        ----------
        X
            (n, n_columns), or inner products with the training rows, (n, n_rows); read by blocks.

        Raises
        ------
        ValueError
            Rows of another length, or not finite.
        """
        self._check_fitted()
        X = check_matrix(X)
        check_width(X, self.n_features_in_)
        scores = np.empty((len(X), len(self.classes_)), dtype=np.float32)
        for rows, block in _row_blocks(X):
            if self.kernel == "linear":
                scores[rows] = block @ self.coef_.T + self.intercept_
            else:
                scores[rows] = self._score_pairs(block)
        return scores

    @property
    def n_parameters(self) -> int:
        """How many numbers scoring takes: weights, or dual variables, and intercepts."""
        weights = self.coef_ if self.kernel == "linear" else self.dual_coef_
        return weights.size + self.intercept_.size

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _check_rows(self, X: ArrayLike) -> np.ndarray:
        choices = {"loss": (self.loss, LOSSES), "kernel": (self.kernel, KERNELS)}
        check_options(C=self.C, tol=self.tol, max_iter=self.max_iter, choices=choices)
        X = check_matrix(X)
        if self.kernel == "precomputed" and X.shape[0] != X.shape[1]:
            raise ValueError(
                f"X must be square, inner products of all pairs of training rows, got {X.shape}; "
                "give gram_matrix of the rows"
            )
        return X

    def _pairs(self, X: np.ndarray) -> np.ndarray:
        if self.kernel == "linear":
            return gram_matrix(X)
        gram = np.ascontiguousarray(X, dtype=np.float32)
        return check_finite(gram, "rows", slice(0, len(gram)))

    def _fit_pairs(self, pairs: np.ndarray, codes: np.ndarray, n_classes: int) -> None:
        self._solve_all(pairs, codes, n_classes)

    def _score_pairs(self, pairs: np.ndarray) -> np.ndarray:
        return pairs @ self.dual_coef_.T.astype(np.float32) + self.intercept_

    def _weights(self, X: np.ndarray) -> np.ndarray:
        """Rows weighed by their dual variables and summed, float32 (n_classes, n_columns)."""
        weights = np.zeros((len(self.dual_coef_), X.shape[1]), dtype=np.float32)
        duals = self.dual_coef_.astype(np.float32)
        for rows, block in _row_blocks(X):
            weights += duals[:, rows] @ block
        return weights

    def _solve(
        self, matrix: np.ndarray, codes: np.ndarray, positive: int
    ) -> tuple[np.ndarray, float, int]:
        squared = self.loss == "squared_hinge"
        signs = np.where(codes == positive, 1.0, -1.0)
        duals = np.zeros(len(codes))
        n_passes = _descend(
            matrix,
            signs,
            0.5 / self.C if squared else 0.0,
            np.inf if squared else self.C,
            self.tol,
            self.max_iter,
            self.seed,
            np.random.default_rng(self.seed).permutation(len(codes)),
            duals,
        )
        duals *= signs
        return duals, duals.sum(), n_passes


def _row_blocks(X: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of rows, float32 and finite, with their places: a file is read in its order."""
    n_rows = max(1, BLOCK_NUMBERS // X.shape[1])
    for start in range(0, len(X), n_rows):
        rows = slice(start, min(start + n_rows, len(X)))
        yield rows, check_finite(np.asarray(X[rows], dtype=np.float32), "rows", rows)
