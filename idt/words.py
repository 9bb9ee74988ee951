"""Videos told by the words of a vocabulary: a channel for each descriptor and cell.

Bag of features and VLAD differ in what they sum over the rows of a channel. All else is the same
and stands here: which rows belong to which cell, blocks of trajectories one after another, and
where each channel stands in the vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import KMeans, Vocabulary, check_descriptors
from idt.codebook.kmeans import check_reach
from idt.codebook.videos import Source, Video, batches, open_source
from idt.extract import ExtractOptions
from idt.fisher.vector import warn_of_few
from idt.grids import cells_of, parse_grids

Channel: TypeAlias = tuple[str, str, int]  # descriptor, grid, cell of that grid


def words_of(vocabulary: Vocabulary) -> dict[str, KMeans]:
    """Words of each descriptor; a vocabulary that is not fitted is refused."""
    if not hasattr(vocabulary, "kmeans_"):
        raise ValueError("vocabulary must be fitted, got one that is not; fit or load it first")
    return vocabulary.kmeans_


class ChannelSums(Protocol):
    """Sums of one descriptor in every cell."""

    def add(self, rows: np.ndarray, cells: np.ndarray) -> None:
        """Add float32 rows (n, dimension), each in cells (n_grids, n) of all grids together."""

    def finish(self) -> np.ndarray:
        """Return what a channel holds, normalised, float64 (n_cells, numbers of a channel)."""


class WordEncoder:
    """Encodings of whole videos by the words of a vocabulary.

    The vector holds, for each descriptor of the vocabulary, the channel of each cell of the first
    grid, then of each cell of the second, and so on. A cell without a trajectory is all zeros.

    Parameters
    ----------
    vocabulary
        Fitted.
    shapes
        By descriptor, the shape of what a channel holds.
    starts
        By descriptor, what makes the sums of a new video for a number of cells.
    grids
        Names of spatio-temporal grids, see `idt.grids.Grid.parse`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        starts: Mapping[str, Callable[[int], ChannelSums]],
        grids: Iterable[str],
    ) -> None:
        self.vocabulary = vocabulary
        self.shapes = dict(shapes)
        self.starts = dict(starts)
        self.grids = parse_grids(grids)

    @property
    def n_cells(self) -> int:
        """Number of cells of all grids."""
        return sum(grid.n_cells for grid in self.grids)

    @property
    def channels(self) -> dict[Channel, slice]:
        """Where each channel stands in the vector: ``channels["hog", "h3x1", 0]``."""
        channels, start = {}, 0
        for name, shape in self.shapes.items():
            for grid in self.grids:
                for cell in range(grid.n_cells):
                    stop = start + math.prod(shape)
                    channels[name, grid.name, cell] = slice(start, stop)
                    start = stop
        return channels

    @property
    def parts(self) -> dict[str, slice]:
        """Where each descriptor stands in the vector, all its cells together."""
        parts, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + self.n_cells * math.prod(shape)
            parts[name] = slice(start, stop)
            start = stop
        return parts

    @property
    def n_features(self) -> int:
        """Length of the vector."""
        return self.n_cells * sum(math.prod(shape) for shape in self.shapes.values())

    def feature_names(self) -> np.ndarray:
        """Name every number, object (n_features,): descriptor, grid, cell, place in the channel.

        ``hog_h3x1_2_17`` is word 17 of HOG in the third cell of h3x1, all counted from 0.
        """
        names = [
            "_".join(map(str, (*channel, *place)))
            for channel in self.channels
            for place in np.ndindex(self.shapes[channel[0]])
        ]
        return np.array(names, dtype=object)

    def accumulator(self) -> WordAccumulator:
        """Start a video whose trajectories come block by block."""
        return WordAccumulator(self)

    def encode(self, video: Video) -> np.ndarray:
        """Encode one video.

        Parameters
        ----------
        video
            A table, or arrays by name, (n, dimension): the same n trajectories in every array; n
            may be 0. There may be more descriptors than the vocabulary has, but not fewer. Where a
            grid divides the video, arrays take one more by the name ``positions``: (n, 3), x, y and
            time in the video, from 0 to 1.

        Returns
        -------
        ndarray of float32, (n_features,)

        Raises
        ------
        ValueError
            A descriptor is missing, of another dimension or length, or not finite; a table was made
            with other settings than the vocabulary's.

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
        self.vocabulary.check_source(opened)
        accumulator = self.accumulator()
        with_time = any(grid.n_spans > 1 for grid in self.grids)
        for batch in batches(opened, with_time=with_time):
            accumulator.add(batch.descriptors, positions=batch.positions)
        return accumulator.finish()


class WordAccumulator:
    """Encoding of one video, its trajectories added block by block.

    Made by `WordEncoder.accumulator`.

    Attributes
    ----------
    n_rows : int
        Trajectories so far.
    """

    def __init__(self, encoder: WordEncoder) -> None:
        self.n_rows = 0
        self._encoder = encoder
        self._sums = {name: start(encoder.n_cells) for name, start in encoder.starts.items()}

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
            As in `WordEncoder.encode`.
        """
        vocabulary, grids = self._encoder.vocabulary, self._encoder.grids
        rows = check_descriptors(descriptors, dimensions=vocabulary.dimensions_)
        n_new = len(next(iter(rows.values())))
        firsts = np.cumsum([0, *(grid.n_cells for grid in grids[:-1])])
        cells = cells_of(grids, positions, n_new).T + firsts[:, None]
        reduced = {name: vocabulary.reduce(name, array) for name, array in rows.items()}
        for array in reduced.values():
            check_reach(array)
        for name, array in reduced.items():
            self._sums[name].add(array, cells)
        self.n_rows += n_new

    def finish(self) -> np.ndarray:
        """Return the vector of all trajectories so far, float32 (n_features,).

        Warns
        -----
        FewTrajectoriesWarning
            No trajectory was added, and the vector is all zeros; or a single one.
        """
        warn_of_few(self.n_rows)
        vector = np.concatenate([sums.finish().ravel() for sums in self._sums.values()])
        return vector.astype(np.float32)
