"""Inner products of all pairs of rows, out of encodings in memory or on disk.

The products are summed over blocks of columns. A file of encodings is row-major, so a block is a
piece of every row. The blocks are as wide as memory allows (56 kB of each row at 9,537 rows): once
the file is in the file cache, it is copied in a second whatever the width, but where the cache is
smaller than the file every block reads pages of its neighbours anew. A 4.2 GB file whose pages were
dropped before each block was read 3 times over with blocks of 64 kB, 18 times with 7 kB.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.linalg.blas import ssyrk

from idt.svm.checks import check_finite, check_matrix

BLOCK_NUMBERS = 1 << 27  # of X, copied at a time where X is not float32 in memory: 512 MB


def gram_matrix(X: ArrayLike) -> np.ndarray:
    """Inner products of all pairs of rows.

    The Gram matrix of several descriptors is the sum of their Gram matrices: compute
    ``gram_matrix(X[:, part])`` for each once, and train any subset on the sum with
    ``LinearSVM(kernel="precomputed")``.

    Parameters
    ----------
    X
        Real (n, n_columns); read by blocks of columns, so a `numpy.memmap` will do.

    Returns
    -------
    ndarray of float32, (n, n)
        Symmetric to the last bit.

    Raises
    ------
    ValueError
        X holds NaN or infinity, or numbers too large for float32 products.
    """
    X = check_matrix(X)
    gram = np.zeros((len(X), len(X)), dtype=np.float32, order="F")
    for columns in _column_blocks(X.shape[1], len(X)):
        # The block has no name, which would keep it while the next is read.
        gram = ssyrk(1.0, _block(X, columns).T, beta=1.0, c=gram, trans=1, overwrite_c=1)
    gram = gram.T
    mirror(gram)
    _check_products(gram.diagonal())
    return gram


def cross_gram(X: ArrayLike, training: ArrayLike) -> np.ndarray:
    """Inner products of new rows with training rows.

    Parameters
    ----------
    X
        Real (m, n_columns), read by blocks of columns.
    training
        Real (n, n_columns), read likewise.

    Returns
    -------
    ndarray of float32, (m, n)

    Raises
    ------
    ValueError
        Rows of two lengths, NaN or infinity, or numbers too large for float32 products.
    """
    X, training = check_matrix(X), check_matrix(training)
    if X.shape[1] != training.shape[1]:
        raise ValueError(
            f"X must have {training.shape[1]} columns, as the training rows, got {X.shape[1]}; "
            "encode both with the same codebook"
        )
    products = np.zeros((len(X), len(training)), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # the check below says it better
        for columns in _column_blocks(X.shape[1], len(X) + len(training)):
            products += _block(X, columns) @ _block(training, columns).T
    _check_products(products)
    return products


@njit(cache=True, nogil=True)
def mirror(matrix: np.ndarray) -> None:
    """Copy the lower triangle of a square matrix to the upper, by tiles that stay in the cache."""
    n = len(matrix)
    for i_tile in range(0, n, 64):
        for j_tile in range(0, i_tile + 1, 64):
            for i in range(i_tile, min(i_tile + 64, n)):
                for j in range(j_tile, min(j_tile + 64, i)):
                    matrix[j, i] = matrix[i, j]


def _column_blocks(n_columns: int, n_rows: int) -> list[slice]:
    """Cut the columns into blocks of `BLOCK_NUMBERS` numbers."""
    width = max(1, BLOCK_NUMBERS // n_rows)
    starts = range(0, n_columns, width)
    return [slice(start, min(start + width, n_columns)) for start in starts]


def _block(X: np.ndarray, columns: slice) -> np.ndarray:
    """Some columns, float32 in C order, finite."""
    block = np.ascontiguousarray(X[:, columns], dtype=np.float32)
    return check_finite(block, "columns", columns)


def _check_products(products: np.ndarray) -> None:
    """Refuse sums that float32 could not hold."""
    if not (np.isfinite(products.min()) and np.isfinite(products.max())):
        raise ValueError(
            "X must have rows whose squares float32 holds, got a larger row; scale the columns"
        )
