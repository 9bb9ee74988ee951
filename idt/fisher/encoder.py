"""Fisher vectors of whole videos, by descriptor and by cell of spatio-temporal grids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import Codebook, check_descriptors
from idt.codebook.videos import Source, Video, batches, open_source
from idt.extract import ExtractOptions
from idt.fisher.vector import (
    BLOCK_ROWS,
    check_parts,
    count_features,
    normalised,
    sum_gradients,
    warn_of_few,
)
from idt.grids import cells_of, parse_grids


class FisherVectorEncoder:
    """Fisher vectors of whole videos: those of all descriptors of a codebook, one after another.

    Where grids divide the video, the vector of a descriptor is that of each cell of the first grid,
    then of each cell of the second, and so on. A cell without a trajectory is all zeros.

    Parameters
    ----------
    codebook
        Fitted. Its `gmms_` give the order of the parts in the vector: the descriptors, or one joint
        part.
    improved
        Signed square root and L2 norm, for each descriptor and cell.
    weights
        Put the weight part before mean and deviation parts, see `idt.fisher.vector`.
    grids
        Names of spatio-temporal grids, see `idt.grids.Grid.parse`.
    final_l2
        Scale the whole vector to L2 norm 1 at the end.
    backend
        Who sums: ``"native"``, or ``"vlfeat"``, which has no weight part.

    Raises
    ------
    ValueError
        The codebook is not fitted, or an option is not one of these.
    """

    def __init__(
        self,
        codebook: Codebook,
        *,
        improved: bool = True,
        weights: bool = False,
        grids: Iterable[str] = ("1x1x1",),
        final_l2: bool = False,
        backend: str = "native",
    ) -> None:
        if not hasattr(codebook, "gmms_"):
            raise ValueError("codebook must be fitted, got one that is not; fit or load it first")
        check_parts(weights=weights, backend=backend)
        self.codebook = codebook
        self.improved = improved
        self.weights = weights
        self.grids = parse_grids(grids)
        self.final_l2 = final_l2
        self.backend = backend

    @property
    def n_cells(self) -> int:
        """Number of cells of all grids."""
        return sum(grid.n_cells for grid in self.grids)

    @property
    def parts(self) -> dict[str, slice]:
        """Where each part of the codebook stands in the vector, all its cells together."""
        parts, start = {}, 0
        for name, gmm in self.codebook.gmms_.items():
            stop = start + self.n_cells * count_features(gmm, weights=self.weights)
            parts[name] = slice(start, stop)
            start = stop
        return parts

    @property
    def channels(self) -> dict[tuple[str, str, int], slice]:
        """Where each cell of each part stands in the vector: ``channels["hog", "h3x1", 0]``."""
        channels, start = {}, 0
        for part, gmm in self.codebook.gmms_.items():
            for grid in self.grids:
                for cell in range(grid.n_cells):
                    stop = start + count_features(gmm, weights=self.weights)
                    channels[part, grid.name, cell] = slice(start, stop)
                    start = stop
        return channels

    @property
    def n_features(self) -> int:
        """Length of the vector."""
        return max(part.stop for part in self.parts.values())

    def feature_names(self) -> np.ndarray:
        """Name every number, object (n_features,): part, grid, cell, parameter, component.

        ``hog_h3x1_2_mean_5_40`` is the mean part of HOG in the third cell of h3x1, component 5,
        dimension 40, all counted from 0.
        """
        cells = [f"{grid.name}_{cell}" for grid in self.grids for cell in range(grid.n_cells)]
        names = []
        for part, gmm in self.codebook.gmms_.items():
            n_components, dimension = gmm.means_.shape
            ends = [f"weight_{k}" for k in range(n_components - 1)] if self.weights else []
            ends += [
                f"{parameter}_{k}_{d}"
                for parameter in ("mean", "deviation")
                for k in range(n_components)
                for d in range(dimension)
            ]
            names += [f"{part}_{cell}_{end}" for cell in cells for end in ends]
        return np.array(names, dtype=object)

    def accumulator(self) -> VideoAccumulator:
        """Start a video whose trajectories come block by block."""
        return VideoAccumulator(self)

    def encode(self, video: Video) -> np.ndarray:
        """Encode one video.

        Parameters
        ----------
        video
            A table, or arrays by name, (n, dimension): the same n trajectories in every array; n
            may be 0. There may be more descriptors than the codebook has, but not fewer. Where a
            grid divides the video, arrays take one more by the name ``positions``: (n, 3), x, y and
            time in the video, from 0 to 1.

        Returns
        -------
        ndarray of float32, (n_features,)

        Raises
        ------
        ValueError
            A descriptor is missing, of another dimension or length, or not finite; a table was made
            with other settings than the codebook's.
        ModuleNotFoundError
            The backend is VLFeat, and cyvlfeat is not installed.

        Warns
        -----
        FewTrajectoriesWarning
            n is 0, and the vector is all zeros; or n is 1.
        """
        return self.encode_source(video)

    def encode_source(
        self, source: Source, *, options: ExtractOptions | None = None, threads: int = 1
    ) -> np.ndarray:
        """Encode a video as it is extracted, or a file of trajectories.

        No descriptor is stored: memory does not grow with the length of the video. Where a grid
        divides time, the frames are counted first.

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
        opened = open_source(source, options=options, threads=threads)
        self.codebook.check_source(opened)
        accumulator = self.accumulator()
        with_time = any(grid.n_spans > 1 for grid in self.grids)
        for batch in batches(opened, with_time=with_time):
            accumulator.add(batch.descriptors, positions=batch.positions)
        return accumulator.finish()


class VideoAccumulator:
    """Fisher vector of one video, its trajectories added block by block.

    Made by `FisherVectorEncoder.accumulator`. A block takes a while of its own: give some hundreds
    of trajectories at a time, and thousands with grids. Sums are kept for each combination of cells
    that trajectories fall into, so that each counts once however many grids there are.

    Attributes
    ----------
    n_rows : int
        Trajectories so far.
    """

    def __init__(self, encoder: FisherVectorEncoder) -> None:
        self.n_rows = 0
        self._encoder = encoder
        # By combination: number of trajectories, and sums of all parts one after another.
        self._sums: dict[tuple[int, ...], tuple[int, np.ndarray]] = {}

    def add(
        self, descriptors: Mapping[str, ArrayLike], *, positions: ArrayLike | None = None
    ) -> None:
        """Add trajectories; a block that is refused changes nothing.

        Parameters
        ----------
        descriptors
            By name, (n, dimension).
        positions
            (n, 3), x, y and time in the video, from 0 to 1; not needed where no grid divides it.

        Raises
        ------
        ValueError
            As in `FisherVectorEncoder.encode`.
        """
        codebook = self._encoder.codebook
        rows = check_descriptors(descriptors, dimensions=codebook.dimensions_)
        n_new = len(next(iter(rows.values())))
        cells = cells_of(self._encoder.grids, positions, n_new)
        sums = dict(self._sums)
        for start in range(0, n_new, BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            reduced = codebook.reduce({name: array[block] for name, array in rows.items()})
            combinations, which = np.unique(cells[block], axis=0, return_inverse=True)
            for i, combination in enumerate(map(tuple, combinations.tolist())):
                n_here, gradients = self._sum(reduced, np.flatnonzero(which.ravel() == i))
                if combination in sums:
                    n_before, before = sums[combination]
                    n_here, gradients = n_before + n_here, before + gradients
                sums[combination] = n_here, gradients
        self._sums = sums
        self.n_rows += n_new

    def finish(self) -> np.ndarray:
        """Return the vector of all trajectories so far, float32 (n_features,).

        Warns
        -----
        FewTrajectoriesWarning
            No trajectory was added, and the vector is all zeros; or a single one.
        """
        warn_of_few(self.n_rows)
        encoder = self._encoder
        lengths = [
            count_features(gmm, weights=encoder.weights) for gmm in encoder.codebook.gmms_.values()
        ]
        edges = np.cumsum(lengths)[:-1]
        cells: list[list[np.ndarray]] = []  # by cell, by part
        for place, grid in enumerate(encoder.grids):
            for cell in range(grid.n_cells):
                n_rows, total = 0, np.zeros(sum(lengths))
                for combination, (n_here, gradients) in sorted(self._sums.items()):
                    if combination[place] == cell:
                        n_rows, total = n_rows + n_here, total + gradients
                cells.append(
                    [
                        normalised(part, n_rows, improved=encoder.improved)
                        for part in np.split(total, edges)
                    ]
                )
        vector = np.concatenate([part for parts in zip(*cells, strict=True) for part in parts])
        if encoder.final_l2:
            vector /= math.sqrt(vector @ vector) or 1.0
        return vector.astype(np.float32)

    def _sum(self, reduced: dict[str, np.ndarray], chosen: np.ndarray) -> tuple[int, np.ndarray]:
        """Gradients of chosen rows, all parts one after another."""
        encoder = self._encoder
        gradients = [
            sum_gradients(
                gmm,
                reduced[part] if len(chosen) == len(reduced[part]) else reduced[part][chosen],
                weights=encoder.weights,
                backend=encoder.backend,
            )
            for part, gmm in encoder.codebook.gmms_.items()
        ]
        return len(chosen), np.concatenate(gradients)
