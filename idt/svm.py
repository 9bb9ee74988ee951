"""Linear support vector machine for few rows and very many columns.

A Fisher vector has 109,056 numbers and a data set some thousand videos: the dual problem lives on
the Gram matrix, which is built once, by blocks of columns, for all classes. Coordinate descent on
it costs one row of the Gram matrix an update, whatever the number of columns.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.linalg.blas import ssyrk

BLOCK_NUMBERS = 1 << 24  # numbers of X looked at at a time: 64 MB in float32
LOSSES = ("squared_hinge", "hinge")


class NotConvergedWarning(UserWarning):
    """Coordinate descent stopped at `max_iter`, before `tol`."""


class LinearSVM:
    r"""One-vs-rest linear support vector machine, solved on the Gram matrix.

    For each class, with signs :math:`y_i` of +1 for its rows and -1 for the others, it minimises

    .. math:: \tfrac{1}{2} (\|w\|^2 + b^2) + C \sum_i \ell(1 - y_i (w \cdot x_i + b))

    with :math:`\ell(t) = \max(t, 0)^2` or :math:`\max(t, 0)`: the objective of scikit-learn's
    `LinearSVC` with ``intercept_scaling=1``.

    Parameters
    ----------
    C
        Weight of the losses.
    loss
        ``"squared_hinge"`` or ``"hinge"``.
    tol
        Stop when the projected gradients of a class, and 0, differ by no more than this:
        LIBLINEAR's rule, which without the 0 stops where all rows have the same gradient.
    max_iter
        Most passes over the rows for each class.
    seed
        Of the order of the rows.

    Attributes
    ----------
    coef_ : float32 (n_classes, n_columns)
    intercept_ : float32 (n_classes,)
    dual_coef_ : float64 (n_classes, n_rows)
        Sign times dual variable of each training row.
    n_iter_ : int64 (n_classes,)
        Passes that each class took.

    References
    ----------
    Hsieh, Chang, Lin, Keerthi and Sundararajan, A dual coordinate descent method for large-scale
    linear SVM, ICML 2008: algorithm 3, here with gradients kept up to date through the Gram matrix.
    """

    def __init__(
        self,
        C: float = 100.0,
        *,
        loss: str = "squared_hinge",
        tol: float = 1e-4,
        max_iter: int = 10_000,
        seed: int = 0,
    ) -> None:
        if not 0 < C < np.inf:
            raise ValueError(f"C must be positive and finite, got {C}; 100 suits Fisher vectors")
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}; choose one")
        if not 0 < tol < np.inf:
            raise ValueError(f"tol must be positive and finite, got {tol}; 1e-4 is usual")
        if max_iter < 1:
            raise ValueError(f"max_iter must be at least 1, got {max_iter}; allow more passes")
        self.C = C
        self.loss = loss
        self.tol = tol
        self.max_iter = max_iter
        self.seed = seed

    coef_: np.ndarray
    intercept_: np.ndarray
    dual_coef_: np.ndarray
    n_iter_: np.ndarray

    def fit(self, X: ArrayLike, y: ArrayLike, *, n_classes: int | None = None) -> LinearSVM:
        """Train on all rows.

        Parameters
        ----------
        X
            (n_rows, n_columns), real; read by blocks of columns and never copied whole, so a
            `numpy.memmap` will do.
        y
            int (n_rows,), from 0 to n_classes - 1; every class has a row.
        n_classes
            Number of classes; None takes the largest label plus 1.

        Returns
        -------
        LinearSVM
            This object.

        Raises
        ------
        ValueError
            Values that are not finite, labels of another length, one class only, a class without
            rows.

        Warns
        -----
        NotConvergedWarning
            A class took all of `max_iter`.
        """
        X = _check_matrix(X)
        labels = _check_labels(y, len(X), n_classes)
        gram = gram_matrix(X)
        gram += 1.0  # the intercept is the weight of a column of ones
        self.dual_coef_, self.n_iter_ = self._solve(gram, labels)
        n_late = int((self.n_iter_ >= self.max_iter).sum())
        if n_late:
            warnings.warn(
                NotConvergedWarning(
                    f"{n_late} of {len(self.n_iter_)} classes took all of max_iter="
                    f"{self.max_iter} passes; scale the columns or allow more"
                ),
                stacklevel=2,
            )
        self.intercept_ = self.dual_coef_.sum(axis=1).astype(np.float32)
        self.coef_ = np.empty((len(self.dual_coef_), X.shape[1]), dtype=np.float32)
        narrow = self.dual_coef_.astype(np.float32)
        for columns in _column_blocks(X):
            np.matmul(narrow, _block(X, columns), out=self.coef_[:, columns])
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Score rows, (n, n_columns), for each class: float32 (n, n_classes), also for two classes.

        Raises
        ------
        ValueError
            Rows of another length, or not finite.
        """
        X = _check_matrix(X)
        if X.shape[1] != self.coef_.shape[1]:
            raise ValueError(
                f"X must have {self.coef_.shape[1]} columns, as in training, got {X.shape[1]}; "
                "encode with the same codebook"
            )
        scores = np.empty((len(X), len(self.coef_)), dtype=np.float32)
        n_rows = max(1, BLOCK_NUMBERS // max(1, X.shape[1]))
        for start in range(0, len(X), n_rows):
            rows = slice(start, start + n_rows)
            block = _check_finite(np.asarray(X[rows], dtype=np.float32), "rows", rows)
            np.matmul(block, self.coef_.T, out=scores[rows])
        scores += self.intercept_
        return scores

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Class of the highest score of each row, int64 (n,)."""
        return self.decision_function(X).argmax(axis=1)

    def _solve(self, gram: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Dual coefficients (n_classes, n) and passes (n_classes,); classes side by side."""
        n_classes = int(labels.max()) + 1
        squared = self.loss == "squared_hinge"
        solve = partial(
            _descend,
            gram,
            labels,
            ridge=0.5 / self.C if squared else 0.0,
            upper=np.inf if squared else self.C,
            tol=self.tol,
            max_iter=self.max_iter,
            seed=self.seed,
        )
        # With two classes the second problem is the first with all signs turned.
        solved = [0] if n_classes == 2 else range(n_classes)
        with ThreadPoolExecutor(numba.get_num_threads()) as threads:
            results = list(threads.map(solve, solved))
        if n_classes == 2:
            results.append((-results[0][0], results[0][1]))
        return np.stack([dual for dual, _ in results]), np.array([n for _, n in results])


def gram_matrix(X: np.ndarray) -> np.ndarray:
    """Inner products of all pairs of rows, float32 (n, n), out of (n, n_columns).

    Raises
    ------
    ValueError
        X holds NaN or infinity, or numbers too large for float32 products.
    """
    gram = np.zeros((len(X), len(X)), dtype=np.float32, order="F")
    for columns in _column_blocks(X):
        block = _check_finite(_block(X, columns), "columns", columns)
        gram = ssyrk(1.0, block.T, beta=1.0, c=gram, trans=1, overwrite_c=1)
    gram = gram.T
    _mirror(gram)
    if not np.isfinite(gram.diagonal().max(initial=0)):
        raise ValueError(
            "X must have rows whose squares float32 holds, got a larger row; scale the columns"
        )
    return gram


def _column_blocks(X: np.ndarray) -> list[slice]:
    """Cut the columns so that a block is of some megabytes."""
    width = max(1, BLOCK_NUMBERS // max(1, len(X)))
    return [slice(start, start + width) for start in range(0, X.shape[1], width)]


def _block(X: np.ndarray, columns: slice) -> np.ndarray:
    return np.ascontiguousarray(X[:, columns], dtype=np.float32)


def _check_matrix(X: ArrayLike) -> np.ndarray:
    """X as an array, not copied, with its shape and type checked but none of its values read."""
    array = np.asanyarray(X)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"X must have the shape (n_rows, n_columns), got {array.shape}; give one encoding a row"
        )
    if array.dtype.kind not in "fiub":
        raise ValueError(f"X must be real numbers, got {array.dtype}; convert to float32")
    return array


def _check_finite(block: np.ndarray, axis: str, place: slice) -> np.ndarray:
    """Refuse NaN and infinity, which spread into the extremes."""
    if not (np.isfinite(block.min()) and np.isfinite(block.max())):
        raise ValueError(
            f"X must be finite, got NaN or infinity among {axis} {place.start} to {place.stop - 1};"
            " leave these rows out or encode them again"
        )
    return block


def _check_labels(y: ArrayLike, n_rows: int, n_classes: int | None) -> np.ndarray:
    """Labels as int64, every class present."""
    labels = np.asarray(y)
    if labels.shape != (n_rows,):
        raise ValueError(
            f"y must have the shape ({n_rows},), one label a row of X, got {labels.shape}; give "
            "both for the same videos"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        least = labels.min() if labels.dtype.kind in "iuf" else labels[0]
        raise ValueError(
            f"y must be integers from 0, got {labels.dtype} from {least}; number the classes"
        )
    labels = labels.astype(np.int64)
    n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
    if labels.max() >= n_classes:
        raise ValueError(
            f"y must be below n_classes={n_classes}, got {labels.max()}; count all classes"
        )
    counts = np.bincount(labels, minlength=n_classes)
    if n_classes < 2:
        raise ValueError("y must hold two classes or more, got one; add videos of another class")
    if not counts.all():
        empty = ", ".join(map(str, np.flatnonzero(counts == 0)[:10]))
        raise ValueError(
            f"y must hold every class from 0 to {n_classes - 1}, got no row of class {empty}; add "
            "videos of it or number the classes without gaps"
        )
    return labels


@njit(cache=True, nogil=True)
def _mirror(gram: np.ndarray) -> None:
    """Copy the lower triangle of a square matrix to the upper, by tiles that stay in the cache."""
    n = len(gram)
    for i_tile in range(0, n, 64):
        for j_tile in range(0, i_tile + 1, 64):
            for i in range(i_tile, min(i_tile + 64, n)):
                for j in range(j_tile, min(j_tile + 64, i)):
                    gram[j, i] = gram[i, j]


def _descend(
    gram: np.ndarray,
    labels: np.ndarray,
    positive: int,
    *,
    ridge: float,
    upper: float,
    tol: float,
    max_iter: int,
    seed: int,
) -> tuple[np.ndarray, int]:
    """Signed dual variables of one class against the rest, and passes taken."""
    signs = np.where(labels == positive, 1.0, -1.0)
    duals = np.zeros(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    n_passes = _descend_dual(gram, signs, ridge, upper, tol, max_iter, seed, order, duals)
    return signs * duals, n_passes


# No fastmath: infinities mark bounds that are not there.
@njit(cache=True, nogil=True)
def _descend_dual(
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

    `order` (n,) is a permutation of the rows, reordered in place. Return the passes taken.
    """
    n = len(signs)
    outputs = np.zeros(n)  # of the present weights, one a row
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
            gradient = signs[i] * outputs[i] - 1.0 + ridge * duals[i]
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
                duals[i] = min(max(old - gradient / (gram[i, i] + ridge), 0.0), upper)
                step = (duals[i] - old) * signs[i]
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
