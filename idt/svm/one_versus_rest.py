"""One class against the rest: what the machines share, whatever their matrix of pairs."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut
from sklearn.utils.validation import check_is_fitted

from idt.svm.checks import check_groups, check_labels


class NotConvergedWarning(UserWarning):
    """A solver stopped at `max_iter`, before `tol`."""


class OneVersusRest(ClassifierMixin, BaseEstimator, ABC):
    """Dual machines of all classes on one matrix of pairs of rows.

    A subclass tells how the pairs come about (`_pairs`), how machines are trained on them and score
    by them (`_fit_pairs`, `_score_pairs`), and how one class is solved (`_solve`).
    """

    max_iter: int
    classes_: np.ndarray
    dual_coef_: np.ndarray
    intercept_: np.ndarray
    n_iter_: np.ndarray
    n_features_in_: int

    @abstractmethod
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Score rows for each class, float32 (n, n_classes)."""

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Class of the highest score of each row, (n,)."""
        best = self.decision_function(X).argmax(axis=1)
        return self.classes_[best]

    def cross_scores(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: Sequence[Hashable] | np.ndarray,
        *,
        n_folds: int | None = None,
        n_classes: int | None = None,
    ) -> np.ndarray:
        """Score every row by a machine that saw no row of its group; the object stays as it is.

        The pairs are computed once; a fold costs a part of their matrix and its training.

        Parameters
        ----------
        X, y, n_classes
            As for `fit`.
        groups
            (n_rows,): rows of one group are held out together.
        n_folds
            Number of folds that the groups are dealt out to, largest first to the smallest fold;
            None leaves out one group at a time. Nothing is drawn by lot.

        Returns
        -------
        ndarray of float32, (n_rows, n_classes)
            Decision values, columns in the order of the sorted classes.

        Raises
        ------
        ValueError
            As in `fit`; groups of another length, a number of folds that they do not allow, a class
            that a fold holds out whole.
        """
        X = self._check_rows(X)
        classes, codes = check_labels(y, len(X), n_classes)
        folds = list(_group_folds(check_groups(groups, len(X)), n_folds))
        for kept, _ in folds:
            absent = np.setdiff1d(np.arange(len(classes)), codes[kept])
            if len(absent):
                raise ValueError(
                    f"groups must leave rows of every class to train on, got class "
                    f"{classes[absent[0]]} held out whole; leave one group out at a time, or give "
                    "it rows in another group"
                )
        pairs = self._pairs(X)
        scores = np.empty((len(X), len(classes)), dtype=np.float32)
        for kept, held_out in folds:
            machine = clone(self)
            machine._fit_pairs(pairs[np.ix_(kept, kept)], codes[kept], len(classes))
            scores[held_out] = machine._score_pairs(pairs[np.ix_(held_out, kept)])
        return scores

    @abstractmethod
    def _check_rows(self, X: ArrayLike) -> np.ndarray:
        """Check the options and what `fit` takes as X."""

    @abstractmethod
    def _pairs(self, X: np.ndarray) -> np.ndarray:
        """What is known of all pairs of training rows: (n, n) or (n, n, n_channels)."""

    @abstractmethod
    def _fit_pairs(self, pairs: np.ndarray, codes: np.ndarray, n_classes: int) -> None:
        """Train on pairs of training rows."""

    @abstractmethod
    def _score_pairs(self, pairs: np.ndarray) -> np.ndarray:
        """Decision values, float32 (m, n_classes), by pairs of new rows and training rows."""

    @abstractmethod
    def _solve(
        self, matrix: np.ndarray, codes: np.ndarray, positive: int
    ) -> tuple[np.ndarray, float, int]:
        """Signed dual variables (n,) of a class, its intercept, and steps taken."""

    def _solve_all(self, matrix: np.ndarray, codes: np.ndarray, n_classes: int) -> None:
        """Train all classes side by side on the matrix (n, n) of their inner products."""
        # With two classes the second problem is the first with all signs turned.
        solved = [0] if n_classes == 2 else range(n_classes)
        with ThreadPoolExecutor(numba.get_num_threads()) as threads:
            results = list(threads.map(partial(self._solve, matrix, codes), solved))
        if n_classes == 2:
            duals, intercept, n_iter = results[0]
            results.append((-duals, -intercept, n_iter))
        self.dual_coef_ = np.stack([duals for duals, _, _ in results])
        self.intercept_ = np.array([intercept for _, intercept, _ in results], dtype=np.float32)
        self.n_iter_ = np.array([n_iter for _, _, n_iter in results])
        n_late = int((self.n_iter_ >= self.max_iter).sum())
        if n_late:
            warnings.warn(
                NotConvergedWarning(
                    f"{n_late} of {n_classes} classes took all of max_iter={self.max_iter}; scale "
                    "the columns or allow more"
                ),
                stacklevel=4,
            )

    def _check_fitted(self) -> None:
        check_is_fitted(self, "dual_coef_")


def _group_folds(
    groups: np.ndarray, n_folds: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to train on and rows that are held out."""
    n_groups = int(groups.max()) + 1
    if n_folds is None:
        splitter = LeaveOneGroupOut()
    elif 2 <= n_folds <= n_groups:
        splitter = GroupKFold(n_folds)
    else:
        raise ValueError(
            f"n_folds must be from 2 to the number of groups, {n_groups}, got {n_folds}; None "
            "leaves out one at a time"
        )
    yield from splitter.split(groups, groups=groups)
