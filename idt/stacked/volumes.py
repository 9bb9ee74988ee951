"""First layer: Fisher vectors of sub-volumes of a video.

Sub-volumes are half the frame's width or all of it, half its height or all, and a third of the
video's time, two thirds or all. They stand a quarter of the frame, and a sixth of the time, apart:
144 in all, each a union of the cells of one grid, in which trajectories are summed as they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import Codebook, check_descriptors
from idt.fisher.vector import BLOCK_ROWS, count_features, normalised, sum_gradients
from idt.grids import Grid, cells_of

GRID = Grid(4, 4, 6)  # rows, columns, spans
SIDES = (2, 4)  # rows, and columns, of a sub-volume: half and all, Peng et al. 2014
LENGTHS = (2, 4, 6)  # spans: T/3, 2T/3 and T


def sub_volumes() -> np.ndarray:
    """Cells of each sub-volume, bool (144, 96); the whole video comes last."""
    across = _stretches(GRID.n_rows, SIDES), _stretches(GRID.n_columns, SIDES)
    along = _stretches(GRID.n_spans, LENGTHS)
    return np.array(
        [
            (rows[:, None, None] & columns[:, None] & spans).ravel()
            for rows, columns, spans in product(*across, along)
        ]
    )


def _stretches(n_places: int, lengths: tuple[int, ...]) -> list[np.ndarray]:
    """All runs of these lengths among some places, bool (n_places,) each."""
    places = np.arange(n_places)
    return [
        (start <= places) & (places < start + length)
        for length in lengths
        for start in range(n_places - length + 1)
    ]


class LocalAccumulator:
    """Fisher vectors of a video's sub-volumes, its trajectories added block by block.

    Parameters
    ----------
    codebook
        Of the first layer, fitted.
    min_rows
        Trajectories that a sub-volume must hold, at least 1; others are left out.

    Attributes
    ----------
    n_rows : int
        Trajectories so far.
    """

    def __init__(self, codebook: Codebook, *, min_rows: int) -> None:
        self.n_rows = 0
        self._codebook = codebook
        self._min_rows = min_rows
        self._volumes = sub_volumes()
        self._counts = np.zeros(GRID.n_cells, dtype=np.int64)
        self._sums = {
            part: np.zeros((GRID.n_cells, count_features(gmm, weights=False)))
            for part, gmm in codebook.gmms_.items()
        }

    def add(self, descriptors: Mapping[str, ArrayLike], *, positions: ArrayLike | None) -> None:
        """Add trajectories; a block that is refused changes nothing.

        Parameters
        ----------
        descriptors
            By name, (n, dimension).
        positions
            (n, 3), x, y and time in the video, from 0 to 1.

        Raises
        ------
        ValueError
            A descriptor is missing, of another dimension or length, or not finite; positions are
            missing, or not those of these trajectories.
        """
        rows = check_descriptors(descriptors, dimensions=self._codebook.dimensions_)
        n_new = len(next(iter(rows.values())))
        cells = cells_of([GRID], positions, n_new)[:, 0]
        fresh = {part: np.zeros_like(sums) for part, sums in self._sums.items()}
        for start in range(0, n_new, BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            reduced = self._codebook.reduce({name: array[block] for name, array in rows.items()})
            for cell in np.unique(cells[block]):
                inside = cells[block] == cell
                for part, gmm in self._codebook.gmms_.items():
                    fresh[part][cell] += sum_gradients(
                        gmm, reduced[part][inside], weights=False, backend=self._codebook.backend
                    )
        for part, sums in fresh.items():
            self._sums[part] += sums
        self._counts += np.bincount(cells, minlength=GRID.n_cells)
        self.n_rows += n_new

    def local(self) -> dict[str, np.ndarray]:
        """Improved Fisher vectors of the sub-volumes that hold enough, by part.

        Returns
        -------
        dict of str to ndarray of float32, (n_volumes, 2 * n_components * dimension)
            The same sub-volumes in every array; n_volumes may be 0.
        """
        counts = self._volumes @ self._counts
        enough = counts >= self._min_rows
        chosen, n_rows = self._volumes[enough].astype(np.float64), counts[enough]
        local = {}
        for part, sums in self._sums.items():
            vectors = np.empty((len(chosen), sums.shape[1]), dtype=np.float32)
            for vector, volume, n_inside in zip(vectors, chosen, n_rows, strict=True):
                vector[:] = normalised(volume @ sums, int(n_inside), improved=True)
            local[part] = vectors
        return local

    def whole(self) -> dict[str, np.ndarray]:
        """Improved Fisher vector of the whole video, by part, float64."""
        return {
            part: normalised(sums.sum(axis=0), self.n_rows, improved=True)
            for part, sums in self._sums.items()
        }
