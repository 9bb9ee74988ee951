"""Spatio-temporal grids: cells of the video in which trajectories are encoded by themselves.

A grid cuts the frame into rows and columns and the video's time into spans, all of equal size. Its
cells are numbered row by row, in a row column by column, in a column span by span.

References
----------
Laptev, Marszałek, Schmid and Rozenfeld, Learning realistic human actions from movies, CVPR 2008,
section 3.2. Wang, Kläser, Schmid and Liu, Dense trajectories and motion boundary descriptors for
action recognition, IJCV 2013, section 5.1: 1x1, 2x2 and h3x1, each with t1 and t2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_NAME = re.compile(r"(?:([hv]?)(\d{1,2})x(\d{1,2})(?:[xt](\d{1,2}))?|t(\d{1,2}))")
_FORMS = "such as 1x1x1, 2x2 or 2x2t3 (rows x columns, spans), h3x1, v1x3 or t2"


@dataclass(frozen=True)
class Grid:
    """A regular grid over frame and time.

    Attributes
    ----------
    n_rows, n_columns
        Parts of the frame's height and width, from 1 to 99.
    n_spans
        Parts of the video's time, from 1 to 99.
    """

    n_rows: int = 1
    n_columns: int = 1
    n_spans: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 1 <= value <= 99:
                raise ValueError(f"{name} must be from 1 to 99, got {value}; 1 does not divide")

    @classmethod
    def parse(cls, name: str) -> Grid:
        """Make the grid that a name tells.

        Parameters
        ----------
        name
            ``"RxC"``: R rows and C columns; ``"RxCtT"`` or ``"RxCxT"``: these in each of T spans of
            time; ``"tT"``: T spans of the whole frame. ``"hRx1"`` (horizontal bands) and ``"v1xC"``
            (vertical ones) are the literature's names for ``"Rx1"`` and ``"1xC"``.

        Raises
        ------
        ValueError
            The name is not of these forms.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"grid must be a name {_FORMS}, got {name!r}; write it in that form")
        bands, rows, columns, spans, only_spans = found.groups()
        across = {"h": columns, "v": rows}.get(bands, "1")
        if across is not None and int(across) != 1:
            raise ValueError(
                f"grid {name!r} must have one {'column' if bands == 'h' else 'row'}, as its bands "
                f"go from side to side, got {across}; leave out the {bands!r}"
            )
        return cls(int(rows or 1), int(columns or 1), int(spans or only_spans or 1))

    @property
    def name(self) -> str:
        """The shortest usual name, which `parse` reads: 1x1x1, t2, h3x1, v1x3, 2x2t2."""
        time = f"t{self.n_spans}" if self.n_spans > 1 else ""
        if self.n_rows == self.n_columns == 1:
            return time or "1x1x1"
        bands = "h" if self.n_columns == 1 else "v" if self.n_rows == 1 else ""
        return f"{bands}{self.n_rows}x{self.n_columns}{time}"

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.n_rows * self.n_columns * self.n_spans

    def cells(self, positions: ArrayLike) -> np.ndarray:
        """Cell of each trajectory.

        Parameters
        ----------
        positions
            (n, 3): x, y and time, each from 0 to 1, the last cell with its far edge: the columns
            ``x_pos``, ``y_pos`` and ``t_pos`` of `idt.trajectories.Trajectories`.

        Returns
        -------
        ndarray of int64, (n,)
            From 0 to n_cells - 1.

        Raises
        ------
        ValueError
            Not of this shape, or outside 0 to 1.
        """
        places = np.asarray(positions, dtype=np.float64)
        if places.ndim != 2 or places.shape[1] != 3:
            raise ValueError(
                f"positions must have the shape (n, 3), got {places.shape}; give x, y and time of "
                "every trajectory"
            )
        outside = ~((places >= 0) & (places <= 1)).all(axis=1)  # NaN is outside
        if outside.any():
            first = int(outside.argmax())
            raise ValueError(
                f"positions must be from 0 to 1, got {places[first].tolist()} in row {first}; "
                "divide by width, height and number of frames"
            )
        sizes = np.array([self.n_columns, self.n_rows, self.n_spans])
        columns, rows, spans = np.minimum((places * sizes).astype(np.int64), sizes - 1).T
        return (rows * self.n_columns + columns) * self.n_spans + spans


def parse_grids(names: Iterable[str]) -> tuple[Grid, ...]:
    """Make grids that are used beside each other.

    Parameters
    ----------
    names
        As `Grid.parse` takes them.

    Raises
    ------
    ValueError
        No name, one text instead of a list, a name that tells no grid, or two that tell the same.
    """
    if isinstance(names, str):
        raise ValueError(
            f"grids must be a list of names, got the text {names!r}; write [{names!r}]"
        )
    grids = tuple(Grid.parse(name) for name in names)
    if not grids:
        raise ValueError("grids must be one or more, got none; '1x1x1' is the whole video")
    repeated = [grid.name for i, grid in enumerate(grids) if grid in grids[:i]]
    if repeated:
        raise ValueError(f"grids must differ, got {repeated[0]} twice; leave one out")
    return grids


def cells_of(grids: Sequence[Grid], positions: ArrayLike | None, n_rows: int) -> np.ndarray:
    """Cell of each trajectory in each grid.

    Parameters
    ----------
    grids
        One or more.
    positions
        (n_rows, 3), as `Grid.cells` takes them; None will do where no grid divides the video.
    n_rows
        Number of trajectories.

    Returns
    -------
    ndarray of int64, (n_rows, n_grids)

    Raises
    ------
    ValueError
        Positions are missing, not those of as many trajectories, or not from 0 to 1.
    """
    if all(grid.n_cells == 1 for grid in grids):
        return np.zeros((n_rows, len(grids)), dtype=np.int64)
    if positions is None:
        raise ValueError(
            "positions must be given where a grid divides the video, got none; pass tables, or "
            "an array 'positions' with x, y and time of every trajectory"
        )
    cells = np.stack([grid.cells(positions) for grid in grids], axis=1)
    if len(cells) != n_rows:
        raise ValueError(
            f"positions must be those of the {n_rows} trajectories, got {len(cells)}; give one "
            "row for each"
        )
    return cells
