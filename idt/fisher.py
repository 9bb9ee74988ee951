r"""Improved Fisher vectors of the trajectories of a video.

For rows :math:`x_n`, n = 1 … N, of one descriptor after PCA, and a mixture of K Gaussians with
weights :math:`w_k`, means :math:`\mu_k` and standard deviations :math:`\sigma_k`, the posterior
:math:`\gamma_n(k)` of component k given :math:`x_n` weighs

.. math::

    G_{\mu,k} = \frac{1}{N \sqrt{w_k}} \sum_n \gamma_n(k) \frac{x_n - \mu_k}{\sigma_k}

    G_{\sigma,k} = \frac{1}{N \sqrt{2 w_k}} \sum_n \gamma_n(k)
        \left[ \frac{(x_n - \mu_k)^2}{\sigma_k^2} - 1 \right]

(division and squares by dimension). The vector is all :math:`G_\mu`, component after component,
then all :math:`G_\sigma`: 2 K D numbers. Improved means a signed square root of every number and
then L2 norm 1, for each descriptor by itself.

References
----------
Perronnin, Sánchez and Mensink, Improving the Fisher kernel for large-scale image classification,
ECCV 2010. Wang and Schmid, Action recognition with improved trajectories, ICCV 2013.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import PCA, Codebook, DiagonalGMM, check_rows
from idt.codebook.posteriors import Statistics

BLOCK_ROWS = 16_384  # rows reduced at a time
MIN_POSTERIOR = 1e-6  # posteriors below count as 0, as they do in VLFeat


class NoTrajectoriesWarning(UserWarning):
    """A video without a trajectory was encoded as zeros."""


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
    """

    def __init__(self, gmm: DiagonalGMM, *, pca: PCA | None = None, improved: bool = True) -> None:
        self.gmm = gmm
        self.pca = pca
        self.improved = improved
        self._sums = Statistics.zeros(*gmm.means_.shape)

    def add(self, rows: ArrayLike) -> None:
        """Add rows, (n, dimension); n may be 0.

        Raises
        ------
        ValueError
            Rows of another dimension, or not finite.
        """
        first = self.gmm.means_ if self.pca is None else self.pca.components_
        rows = check_rows(rows, n_columns=first.shape[1])
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            if self.pca is not None:
                block = self.pca.transform(block)
            self._sums += self.gmm.statistics(block, min_posterior=MIN_POSTERIOR)

    def finish(self) -> np.ndarray:
        """Return the Fisher vector of all rows so far, float32 (2 * n_components * dimension,).

        Warns
        -----
        NoTrajectoriesWarning
            No row was added; the vector is all zeros.
        """
        if self._sums.n_rows == 0:
            warnings.warn(
                NoTrajectoriesWarning("no trajectories: the Fisher vector is all zeros"),
                stacklevel=2,
            )
        return self._finish()

    def _finish(self) -> np.ndarray:
        """Fisher vector without the warning."""
        sums, variances = self._sums, self.gmm.variances_.astype(np.float64)
        weights = self.gmm.weights_[:, None]
        n_rows = max(sums.n_rows, 1)
        of_means = sums.first / np.sqrt(variances * weights) / n_rows
        of_deviations = (sums.second / variances - sums.mass[:, None]) / n_rows
        of_deviations /= np.sqrt(2 * weights)
        vector = np.concatenate([of_means.ravel(), of_deviations.ravel()])
        if self.improved:
            norm = math.sqrt(np.abs(vector).sum())  # of the square roots that follow
            vector = np.sign(vector) * np.sqrt(np.abs(vector)) / (norm if norm > 0 else 1.0)
        return vector.astype(np.float32)


def fisher_vector(
    rows: ArrayLike, gmm: DiagonalGMM, *, pca: PCA | None = None, improved: bool = True
) -> np.ndarray:
    """Encode the rows of one descriptor, formulas at the head of this module.

    Parameters
    ----------
    rows
        (n, dimension), finite. With n = 0 the vector is zeros and `NoTrajectoriesWarning` is given.
    gmm
        Fitted mixture.
    pca
        Applied to every row first.
    improved
        Signed square root and L2 norm.

    Returns
    -------
    ndarray of float32, (2 * n_components * dimension,)
        Mean part, then deviation part.
    """
    accumulator = FisherAccumulator(gmm, pca=pca, improved=improved)
    accumulator.add(rows)
    return accumulator.finish()


class FisherVectorEncoder:
    """Fisher vectors of whole videos: those of all descriptors of a codebook, one after another.

    Parameters
    ----------
    codebook
        Fitted. Its `dimensions_` give the order of the descriptors in the vector.
    improved
        Signed square root and L2 norm, for each descriptor.
    """

    def __init__(self, codebook: Codebook, *, improved: bool = True) -> None:
        self.codebook = codebook
        self.improved = improved

    @property
    def parts(self) -> dict[str, slice]:
        """Where each descriptor stands in the vector."""
        parts, start = {}, 0
        for name, gmm in self.codebook.gmms_.items():
            stop = start + 2 * gmm.means_.size
            parts[name] = slice(start, stop)
            start = stop
        return parts

    @property
    def n_features(self) -> int:
        """Length of the vector."""
        return sum(2 * gmm.means_.size for gmm in self.codebook.gmms_.values())

    def accumulator(self) -> VideoAccumulator:
        """Start a video whose trajectories come block by block."""
        return VideoAccumulator(self.codebook, improved=self.improved)

    def encode(self, descriptors: Mapping[str, ArrayLike]) -> np.ndarray:
        """Encode one video.

        Parameters
        ----------
        descriptors
            By name, (n, dimension): the same n trajectories in every array; n may be 0. There may
            be more descriptors than the codebook has, but not fewer.

        Returns
        -------
        ndarray of float32, (n_features,)

        Raises
        ------
        ValueError
            A descriptor is missing, of another dimension or length, or not finite.

        Warns
        -----
        NoTrajectoriesWarning
            n is 0; the vector is all zeros.
        """
        accumulator = self.accumulator()
        accumulator.add(descriptors)
        return accumulator.finish()


class VideoAccumulator:
    """Fisher vector of one video, its trajectories added block by block.

    Made by `FisherVectorEncoder.accumulator`.
    """

    def __init__(self, codebook: Codebook, *, improved: bool) -> None:
        self.n_rows = 0
        self._dimensions = codebook.dimensions_
        self._parts = {
            name: FisherAccumulator(gmm, pca=codebook.pcas_[name], improved=improved)
            for name, gmm in codebook.gmms_.items()
        }

    def add(self, descriptors: Mapping[str, ArrayLike]) -> None:
        """Add trajectories, (n, dimension) by name; a block that is refused changes nothing."""
        missing = [name for name in self._parts if name not in descriptors]
        if missing:
            raise ValueError(
                f"descriptors must hold {', '.join(self._parts)}, got none for "
                f"{', '.join(missing)}; extract these too"
            )
        block = {
            name: check_rows(
                descriptors[name], name=f"descriptor {name!r}", n_columns=self._dimensions[name]
            )
            for name in self._parts
        }
        lengths = {name: len(rows) for name, rows in block.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"descriptors must have one row for each trajectory, got {lengths}; give all "
                "arrays the same rows"
            )
        for name, rows in block.items():
            self._parts[name].add(rows)
        self.n_rows += len(next(iter(block.values())))

    def finish(self) -> np.ndarray:
        """Return the vector of all trajectories so far, float32 (n_features,).

        Warns
        -----
        NoTrajectoriesWarning
            No trajectory was added; the vector is all zeros.
        """
        if self.n_rows == 0:
            warnings.warn(
                NoTrajectoriesWarning("no trajectories: the Fisher vector is all zeros"),
                stacklevel=2,
            )
        return np.concatenate([part._finish() for part in self._parts.values()])
