"""Grids: names, cells by hand, and what every grid must keep to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idt.grids import Grid, parse_grids

sizes = st.integers(1, 6)
grids = st.builds(Grid, sizes, sizes, sizes)
places = st.floats(0, 1, width=32)


@pytest.mark.parametrize(
    ("name", "shape", "canonical"),
    [
        ("1x1x1", (1, 1, 1), "1x1x1"),
        ("1x1", (1, 1, 1), "1x1x1"),
        ("t1", (1, 1, 1), "1x1x1"),
        ("h3x1", (3, 1, 1), "h3x1"),
        ("3x1", (3, 1, 1), "h3x1"),
        ("v1x4", (1, 4, 1), "v1x4"),
        ("2x2", (2, 2, 1), "2x2"),
        ("t2", (1, 1, 2), "t2"),
        ("h3x1t2", (3, 1, 2), "h3x1t2"),
        ("2x3x12", (2, 3, 12), "2x3t12"),
    ],
)
def test_names(name: str, shape: tuple[int, int, int], canonical: str) -> None:
    grid = Grid.parse(name)
    assert (grid.n_rows, grid.n_columns, grid.n_spans) == shape
    assert grid.n_cells == np.prod(shape)
    assert grid.name == canonical


@given(grid=grids)
def test_a_grid_is_read_back_from_its_name(grid: Grid) -> None:
    assert Grid.parse(grid.name) == grid


@pytest.mark.parametrize(
    "name", ["", "3", "h3", "x3", "2x", "2x2x", "t", "t2h3x1", "o2x2", "-1x2", "2x2t", "100x1"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="grid must be a name such as 1x1x1, 2x2"):
        Grid.parse(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("h3x2", "'h3x2' must have one column, .* got 2; leave out the 'h'"),
        ("v2x3t2", "'v2x3t2' must have one row, .* got 2; leave out the 'v'"),
        ("0x1", "n_rows must be from 1 to 99, got 0"),
        ("2x0", "n_columns must be from 1 to 99, got 0"),
        ("t0", "n_spans must be from 1 to 99, got 0"),
    ],
)
def test_impossible_grids_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid.parse(name)


def test_cells_by_hand() -> None:
    # Two rows, three columns, two spans.
    positions = [
        [0.0, 0.0, 0.0],  # the first
        [0.0, 0.0, 0.5],  # its second span
        [0.34, 0.0, 0.0],  # second column
        [0.0, 0.5, 0.0],  # second row
        [0.999, 0.999, 0.999],
        [1.0, 1.0, 1.0],  # the far edges are the last cell's
    ]
    cells = Grid(2, 3, 2).cells(positions)
    assert cells.dtype == np.int64
    assert cells.tolist() == [0, 1, 2, 6, 11, 11]
    assert Grid.parse("h3x1").cells([[0.9, 0.2, 0.9], [0.1, 0.7, 0.1]]).tolist() == [0, 2]


@given(grid=grids, position=st.tuples(places, places, places))
def test_a_cell_holds_its_positions(grid: Grid, position: tuple[float, float, float]) -> None:
    cell = int(grid.cells([position])[0])
    row, column, span = np.unravel_index(cell, (grid.n_rows, grid.n_columns, grid.n_spans))
    x, y, t = position
    for place, index, size in (
        (y, row, grid.n_rows),
        (x, column, grid.n_columns),
        (t, span, grid.n_spans),
    ):
        assert index - 1e-9 <= place * size <= index + 1


def test_no_positions_no_cells() -> None:
    assert Grid(2, 2).cells(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros(3), r"shape \(n, 3\), got \(3,\)"),
        (np.zeros((4, 2)), r"shape \(n, 3\), got \(4, 2\)"),
        ([[0, 0, 0], [0.5, 1.01, 0]], r"from 0 to 1, got \[0.5, 1.01, 0.0\] in row 1"),
        ([[0, -0.1, 0]], "from 0 to 1"),
        ([[0, 0, np.nan]], "from 0 to 1"),
    ],
)
def test_bad_positions_are_refused(positions: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid().cells(positions)


def test_lists_of_grids() -> None:
    assert parse_grids(["1x1", "h3x1"]) == (Grid(), Grid(3))
    with pytest.raises(ValueError, match="grids must differ, got h3x1 twice"):
        parse_grids(["h3x1", "t2", "3x1"])
    with pytest.raises(ValueError, match="one or more, got none"):
        parse_grids([])
    with pytest.raises(ValueError, match=r"list of names, got the text 't2'; write \['t2'\]"):
        parse_grids("t2")
