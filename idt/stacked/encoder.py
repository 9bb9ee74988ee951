"""Stacked Fisher vectors of whole videos."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook.videos import Source, Video
from idt.extract import ExtractOptions
from idt.fisher.vector import (
    FewTrajectoriesWarning,
    count_features,
    normalised,
    sum_gradients,
    warn_of_few,
)
from idt.stacked.codebook import StackedCodebook
from idt.stacked.volumes import LocalAccumulator


class StackedEncoder:
    """Stacked Fisher vectors of whole videos, with the plain ones before them by option.

    Parameters
    ----------
    codebook
        Fitted.
    plain
        Put the plain Fisher vector, that of all trajectories, first.
    """

    def __init__(self, codebook: StackedCodebook, *, plain: bool = True) -> None:
        if not hasattr(codebook, "gmms_"):
            raise ValueError("codebook must be fitted, got one that is not; fit or load it first")
        self.codebook = codebook
        self.plain = plain

    @property
    def parts(self) -> dict[str, slice]:
        """Where each part stands: ``"hog"``, if there, is plain, ``"hog_stacked"`` is stacked."""
        plain = self.codebook.first.gmms_ if self.plain else {}
        layers = plain | {f"{name}_stacked": gmm for name, gmm in self.codebook.gmms_.items()}
        parts, start = {}, 0
        for name, gmm in layers.items():
            stop = start + count_features(gmm, weights=False)
            parts[name] = slice(start, stop)
            start = stop
        return parts

    @property
    def n_features(self) -> int:
        """Length of the vector."""
        return max(part.stop for part in self.parts.values())

    def feature_names(self) -> np.ndarray:
        """Name every number, object (n_features,): part and place in it, ``hog_stacked_17``."""
        return np.array(
            [
                f"{name}_{i}"
                for name, part in self.parts.items()
                for i in range(part.stop - part.start)
            ],
            dtype=object,
        )

    def accumulator(self) -> StackedAccumulator:
        """Start a video whose trajectories come block by block."""
        return StackedAccumulator(self)

    def encode(self, video: Video) -> np.ndarray:
        """Encode one video.

        Parameters
        ----------
        video
            A table, or arrays by name, (n, dimension), and ``positions``, (n, 3): the same n
            trajectories in every array, x, y and time in the video from 0 to 1; n may be 0.

        Returns
        -------
        ndarray of float32, (n_features,)

        Raises
        ------
        ValueError
            A descriptor is missing, of another dimension or length, or not finite; positions are
            missing; a table was made with other settings than the codebook's.

        Warns
        -----
        FewTrajectoriesWarning
            n is 0, and the vector is all zeros; or n is 1; or no sub-volume holds enough, and the
            stacked part is all zeros.
        """
        return self.encode_source(video)

    def encode_source(
        self, source: Source, *, options: ExtractOptions | None = None, threads: int = 1
    ) -> np.ndarray:
        """Encode a video as it is extracted, or a file of trajectories.

        No descriptor is stored: memory does not grow with the length of the video, whose frames
        are counted first.

        Parameters
        ----------
        source
            The path of a video, an extraction, the path of a table, or a table.
        options, threads
            Of the extraction of a path, as in `idt.extract.Extraction`.

        Returns
        -------
        ndarray of float32, (n_features,)

        Raises
        ------
        VideoError
            The video cannot be read.
        ValueError
            As in `encode`.

        Warns
        -----
        FewTrajectoriesWarning
            As in `encode`.
        """
        return self.finish(self.codebook.gather(source, options=options, threads=threads))

    def finish(self, first: LocalAccumulator) -> np.ndarray:
        """Return the vector of what the first layer has summed, float32 (n_features,).

        Warns
        -----
        FewTrajectoriesWarning
            As in `encode`.
        """
        warn_of_few(first.n_rows)
        local, min_rows = first.local(), self.codebook.min_rows
        if first.n_rows > 1 and not len(next(iter(local.values()))):
            warnings.warn(
                FewTrajectoriesWarning(
                    f"{first.n_rows} trajectories, and no sub-volume holds {min_rows}: the stacked "
                    "part is all zeros"
                ),
                stacklevel=2,
            )
        vectors = list(first.whole().values()) if self.plain else []
        for part, gmm in self.codebook.gmms_.items():
            rows = self.codebook.projections_[part].transform(local[part])
            sums = sum_gradients(gmm, rows, weights=False, backend=gmm.backend)
            vectors.append(normalised(sums, len(rows), improved=True))
        return np.concatenate(vectors).astype(np.float32)


class StackedAccumulator:
    """Stacked Fisher vector of one video, its trajectories added block by block.

    Made by `StackedEncoder.accumulator`. Memory is that of 96 Fisher vectors of the first layer,
    and as much again while a block is added: 0.2 GB at the usual sizes. A block takes a while of
    its own: give thousands of trajectories.
    """

    def __init__(self, encoder: StackedEncoder) -> None:
        self._encoder = encoder
        self._first = LocalAccumulator(encoder.codebook.first, min_rows=encoder.codebook.min_rows)

    @property
    def n_rows(self) -> int:
        """Trajectories so far."""
        return self._first.n_rows

    def add(
        self, descriptors: Mapping[str, ArrayLike], *, positions: ArrayLike | None = None
    ) -> None:
        """Add trajectories, see `LocalAccumulator.add`; a refused block changes nothing."""
        self._first.add(descriptors, positions=positions)

    def finish(self) -> np.ndarray:
        """Return the vector of all trajectories so far, float32 (n_features,).

        Warns
        -----
        FewTrajectoriesWarning
            As in `StackedEncoder.encode`.
        """
        return self._encoder.finish(self._first)
