r"""The Fisher vector of some rows under a mixture.

For rows :math:`x_n`, n = 1 … N, of one descriptor after PCA, and a mixture of K Gaussians with
weights :math:`w_k`, means :math:`\mu_k` and standard deviations :math:`\sigma_k`, the posterior
:math:`\gamma_n(k)` of component k given :math:`x_n` weighs

.. math::

    G_{\alpha,k} = \frac{1}{N \sqrt{w_k}} \sum_n \left[ \gamma_n(k) - w_k \right]

    G_{\mu,k} = \frac{1}{N \sqrt{w_k}} \sum_n \gamma_n(k) \frac{x_n - \mu_k}{\sigma_k}

    G_{\sigma,k} = \frac{1}{N \sqrt{2 w_k}} \sum_n \gamma_n(k)
        \left[ \frac{(x_n - \mu_k)^2}{\sigma_k^2} - 1 \right]

(division and squares by dimension): the gradients of the mean log-likelihood, each divided by the
root of its Fisher information. The vector is all :math:`G_\mu`, component after component, then all
:math:`G_\sigma`: 2 K D numbers. Improved means a signed square root of every number and then L2
norm 1.

The weight part :math:`G_\alpha`, where it is asked for, stands first: weights are
:math:`w_k = \exp \alpha_k / \sum_j \exp \alpha_j`, which a constant added to all :math:`\alpha`
leaves as they are. So one of its numbers follows from the others,
:math:`\sum_k \sqrt{w_k} G_{\alpha,k} = 0`, and that of the last component is left out, as if
:math:`\alpha_K` were held at 0: (2 D + 1) K - 1 numbers in all. Sánchez et al. keep all K.

References
----------
Perronnin, Sánchez and Mensink, Improving the Fisher kernel for large-scale image classification,
ECCV 2010. Sánchez, Perronnin, Mensink and Verbeek, Image classification with the Fisher vector:
theory and practice, IJCV 2013, algorithm 1. Wang and Schmid, Action
recognition with improved trajectories, ICCV 2013.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import PCA, DiagonalGMM, check_rows
from idt.codebook.mixture import check_backend
from idt.codebook.vlfeat import sum_gradients as sum_gradients_by_vlfeat

BLOCK_ROWS = 16_384  # rows reduced at a time
MIN_POSTERIOR = 1e-6  # posteriors below count as 0, as they do in VLFeat


class FewTrajectoriesWarning(UserWarning):
    """A video of no trajectory, or of a single one, was encoded."""


class FisherAccumulator:
    """Fisher vector of one descriptor, its rows added block by block.

    Parameters
    ----------
    gmm
        Fitted mixture.
    pca
        Applied to every row first; None takes rows as they are.
    improved
        Signed square root and L2 norm.
    weights
        Put the weight part first.
    backend
        Who sums: ``"native"``, or ``"vlfeat"``, which has no weight part.
    """

    def __init__(
        self,
        gmm: DiagonalGMM,
        *,
        pca: PCA | None = None,
        improved: bool = True,
        weights: bool = False,
        backend: str = "native",
    ) -> None:
        check_parts(weights=weights, backend=backend)
        self.gmm = gmm
        self.pca = pca
        self.improved = improved
        self.weights = weights
        self.backend = backend
        self.n_rows = 0
        self._sum = np.zeros(count_features(gmm, weights=weights))

    def add(self, rows: ArrayLike) -> None:
        """Add rows, (n, dimension); n may be 0.

        Raises
        ------
        ValueError
            Rows of another dimension, or not finite.
        ModuleNotFoundError
            The backend is VLFeat, and cyvlfeat is not installed.
        """
        first = self.gmm.means_ if self.pca is None else self.pca.components_
        rows = check_rows(rows, n_columns=first.shape[1])
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            if self.pca is not None:
                block = self.pca.transform(block)
            self._sum += sum_gradients(self.gmm, block, weights=self.weights, backend=self.backend)
            self.n_rows += len(block)

    def finish(self) -> np.ndarray:
        """Return the Fisher vector of all rows so far, float32 (n_features,).

        Warns
        -----
        FewTrajectoriesWarning
            No row was added, and the vector is all zeros; or a single one.
        """
        warn_of_few(self.n_rows)
        return normalised(self._sum, self.n_rows, improved=self.improved).astype(np.float32)


def fisher_vector(
    rows: ArrayLike,
    gmm: DiagonalGMM,
    *,
    pca: PCA | None = None,
    improved: bool = True,
    weights: bool = False,
    backend: str = "native",
) -> np.ndarray:
    """Encode the rows of one descriptor, formulas at the head of this module.

    Parameters
    ----------
    rows
        (n, dimension), finite.
    gmm
        Fitted mixture.
    pca
        Applied to every row first.
    improved
        Signed square root and L2 norm.
    weights
        Put the weight part first.
    backend
        ``"native"``, or ``"vlfeat"``, which has no weight part.

    Returns
    -------
    ndarray of float32, (2 * n_components * dimension,), with weights (n_components - 1) more
        Weight part if asked for, mean part, deviation part.

    Warns
    -----
    FewTrajectoriesWarning
        There is no row, and the vector is all zeros; or a single one.
    """
    accumulator = FisherAccumulator(
        gmm, pca=pca, improved=improved, weights=weights, backend=backend
    )
    accumulator.add(rows)
    return accumulator.finish()


def check_parts(*, weights: bool, backend: str) -> None:
    """Refuse what a backend cannot compute."""
    check_backend(backend)
    if weights and backend == "vlfeat":
        raise ValueError(
            "weights must be False with the backend 'vlfeat', which has no weight part, got True; "
            "take the backend 'native'"
        )


def count_features(gmm: DiagonalGMM, *, weights: bool) -> int:
    """Length of the Fisher vector."""
    return 2 * gmm.means_.size + (len(gmm.means_) - 1 if weights else 0)


def sum_gradients(gmm: DiagonalGMM, rows: np.ndarray, *, weights: bool, backend: str) -> np.ndarray:
    """N times the Fisher vector of N rows, not improved, float64: vectors of blocks add up."""
    if backend == "vlfeat":
        return sum_gradients_by_vlfeat(rows, gmm.weights_, gmm.means_, gmm.variances_)
    sums = gmm.statistics(rows, min_posterior=MIN_POSTERIOR)
    variances = gmm.variances_.astype(np.float64)
    roots = np.sqrt(gmm.weights_)
    of_means = sums.first / np.sqrt(variances) / roots[:, None]
    of_deviations = (sums.second / variances - sums.mass[:, None]) / (math.sqrt(2) * roots)[:, None]
    parts = [of_means.ravel(), of_deviations.ravel()]
    if weights:
        of_weights = (sums.mass - len(rows) * gmm.weights_) / roots
        parts.insert(0, of_weights[:-1])
    return np.concatenate(parts)


def normalised(sums: np.ndarray, n_rows: int, *, improved: bool) -> np.ndarray:
    """Mean of sums (n_features,) over rows; improved: signed square root and L2 norm."""
    vector = sums / max(n_rows, 1)
    if not improved:
        return vector
    norm = math.sqrt(np.abs(vector).sum())  # of the square roots that follow
    return np.sign(vector) * np.sqrt(np.abs(vector)) / (norm if norm > 0 else 1.0)


def warn_of_few(n_rows: int) -> None:
    """Warn of a video that has no trajectory, or a single one."""
    if n_rows < 2:
        told = "a single trajectory: the encoding is that of one row"
        if n_rows == 0:
            told = "no trajectories: the encoding is all zeros"
        warnings.warn(FewTrajectoriesWarning(told), stacklevel=3)
