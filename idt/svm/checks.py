"""What the machines ask of rows, labels and options before any work."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse


def check_matrix(X: ArrayLike) -> np.ndarray:
    """X as an array, not copied, with its shape and type checked but none of its values read."""
    if sparse.issparse(X):
        raise TypeError("X must be a dense array, got a sparse matrix; call its toarray()")
    array = np.asanyarray(X)
    if array.dtype.kind == "O":
        array = array.astype(np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"X must have the shape (n_rows, n_columns), got {array.shape}; give one encoding a row"
        )
    if array.dtype.kind not in "fiub":
        raise ValueError(f"X must be real numbers, got {array.dtype}; convert to float32")
    return array


def check_width(X: np.ndarray, n_columns: int) -> None:
    """Refuse rows that are not those of training."""
    if X.shape[1] != n_columns:
        raise ValueError(
            f"X must have {n_columns} columns, as in training, got {X.shape[1]}; encode with the "
            "same codebook"
        )


def check_finite(block: np.ndarray, axis: str, place: slice) -> np.ndarray:
    """Refuse NaN and infinity, which spread into the extremes."""
    if not (np.isfinite(block.min()) and np.isfinite(block.max())):
        raise ValueError(
            f"X must be finite, got NaN or infinity among {axis} {place.start} to {place.stop - 1};"
            " leave these rows out or encode them again"
        )
    return block


def check_labels(y: ArrayLike, n_rows: int, n_classes: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Classes (n_classes,), sorted, and the place of each row's class among them, int64 (n_rows,).

    Given `n_classes`, labels are integers from 0 and every class has a row.
    """
    labels = np.asarray(y)
    if labels.shape != (n_rows,):
        raise ValueError(
            f"y must have the shape ({n_rows},), one label a row of X, got {labels.shape}; give "
            "both for the same videos"
        )
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise ValueError(
            f"y must be classes, got fractions, NaN or infinity in {labels.dtype} (Unknown label "
            "type: continuous); number the classes"
        )
    if n_classes is not None:
        _check_numbered(labels, n_classes)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y must hold two classes or more, got one class, {classes[0]}; add videos of another"
        )
    return classes, codes.astype(np.int64)


def _check_numbered(labels: np.ndarray, n_classes: int) -> None:
    """Refuse labels that are not 0 to n_classes - 1, each there."""
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        least = labels.min() if labels.dtype.kind in "iuf" else labels[0]
        raise ValueError(
            f"y must be integers from 0, got {labels.dtype} from {least}; number the classes"
        )
    if labels.max() >= n_classes:
        raise ValueError(
            f"y must be below n_classes={n_classes}, got {labels.max()}; count all classes"
        )
    counts = np.bincount(labels, minlength=n_classes)
    if not counts.all():
        empty = ", ".join(map(str, np.flatnonzero(counts == 0)[:10]))
        raise ValueError(
            f"y must hold every class from 0 to {n_classes - 1}, got no row of class {empty}; add "
            "videos of it or number the classes without gaps"
        )


def check_groups(groups: Sequence[Hashable] | np.ndarray, n_rows: int) -> np.ndarray:
    """Number of each row's group, int64 (n_rows,), of two groups or more."""
    names = np.asarray(groups)
    if names.shape != (n_rows,):
        raise ValueError(
            f"groups must have the shape ({n_rows},), one group a row of X, got {names.shape}; give"
            " both for the same videos"
        )
    found, numbers = np.unique(names, return_inverse=True)
    if len(found) < 2:
        raise ValueError(
            f"groups must be two or more, got one, {found[0]}; nothing is left to train on"
        )
    return numbers.astype(np.int64)


def check_options(
    *, C: float, tol: float, max_iter: int, choices: Mapping[str, tuple[object, tuple[str, ...]]]
) -> None:
    """Refuse hyper-parameters that cannot be; `choices` holds name: (value, valid values)."""
    if not 0 < C < np.inf:
        raise ValueError(f"C must be positive and finite, got {C}; 100 is usual")
    if not 0 < tol < np.inf:
        raise ValueError(f"tol must be positive and finite, got {tol}; 1e-4 is usual")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter}; allow more steps")
    for name, (value, valid) in choices.items():
        if value not in valid:
            raise ValueError(f"{name} must be one of {', '.join(valid)}, got {value!r}; choose one")
