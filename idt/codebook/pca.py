"""Principal components of one descriptor."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook.rows import check_rows

BLOCK_ROWS = 8192  # rows centred in float64 at a time


class PCA:
    """Principal components, with a sign that does not depend on the machine.

    Parameters
    ----------
    n_components
        Dimension after reduction; None halves it, rounded up (Perronnin et al. 2010, Wang &
        Schmid 2013).
    whiten
        Divide every component by its standard deviation.

    Attributes
    ----------
    mean_ : float32 (dimension,)
    components_ : float32 (n_components, dimension)
        Orthonormal rows, by falling variance; the entry of largest magnitude is positive.
    explained_variance_ : float32 (n_components,)
    """

    def __init__(self, n_components: int | None = None, *, whiten: bool = False) -> None:
        self.n_components = n_components
        self.whiten = whiten

    mean_: np.ndarray
    components_: np.ndarray
    explained_variance_: np.ndarray

    def fit(self, rows: ArrayLike) -> PCA:
        """Find the components.

        Parameters
        ----------
        rows
            (n, dimension), at least two and at least as many as components.

        Returns
        -------
        PCA
            This object.

        Raises
        ------
        ValueError
            Bad or too few rows, more components than dimensions, or (whitening) a component
            without variance.
        """
        rows = check_rows(rows)
        dimension = rows.shape[1]
        n_components = (dimension + 1) // 2 if self.n_components is None else self.n_components
        if not 1 <= n_components <= dimension:
            raise ValueError(
                f"n_components must be from 1 to the dimension {dimension}, got {n_components}; "
                "keep fewer components"
            )
        rows = check_rows(rows, min_rows=max(2, n_components))
        mean = rows.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((dimension, dimension))
        for start in range(0, len(rows), BLOCK_ROWS):
            centred = rows[start : start + BLOCK_ROWS] - mean
            covariance += centred.T @ centred
        variances, vectors = np.linalg.eigh(covariance / (len(rows) - 1))
        variances, vectors = variances[::-1][:n_components], vectors.T[::-1][:n_components]
        if self.whiten and variances[-1] <= 1e-9 * variances[0]:
            raise ValueError(
                f"rows must vary along all {n_components} components to be whitened, got "
                f"{np.count_nonzero(variances > 1e-9 * variances[0])} that do; keep fewer or do "
                "not whiten"
            )
        largest = np.abs(vectors).argmax(axis=1)
        signs = np.sign(vectors[np.arange(n_components), largest])
        self.mean_ = mean.astype(np.float32)
        self.components_ = np.ascontiguousarray(vectors * signs[:, None], dtype=np.float32)
        self.explained_variance_ = np.maximum(variances, 0).astype(np.float32)
        return self

    def transform(self, rows: ArrayLike) -> np.ndarray:
        """Project rows, float32 (n, dimension), to float32 (n, n_components)."""
        rows = check_rows(rows, n_columns=self.mean_.size)
        projected = (rows - self.mean_) @ self.components_.T
        if self.whiten:
            projected /= np.sqrt(self.explained_variance_)
        return projected
