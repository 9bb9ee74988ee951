"""Median of 5 x 5 neighbours, by programs of smaller and larger that have no branches.

The five numbers of every column are sorted once for all windows that see the column. Where then
each row of a window is sorted as well, 12 of the 25 numbers cannot be the median, and the rows need
not be sorted further than the other 13 ask for. The programs were found by a search; by the 0-1
principle a program of smaller and larger is right where it is right on zeros and ones.

References
----------
Knuth, The Art of Computer Programming 3, section 5.3.4: networks for sorting, the 0-1 principle.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.lanes import WIDTH, Lanes, larger, load, smaller, store

RADIUS = 2  # pixels


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _top_two(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> tuple[Lanes, Lanes]:
    """The two largest of five, ascending."""
    least, most = smaller(d, e), larger(d, e)
    low, high = smaller(b, most), larger(b, most)
    third = larger(a, low)
    first, third = larger(third, c), smaller(third, c)
    first = larger(first, least)
    return larger(third, smaller(first, high)), larger(first, high)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _bottom_two(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> tuple[Lanes, Lanes]:
    """The two smallest of five, ascending."""
    most, least = larger(d, e), smaller(d, e)
    high, low = larger(b, least), smaller(b, least)
    third = smaller(a, high)
    first, third = smaller(third, c), larger(third, c)
    first = smaller(first, most)
    return smaller(first, low), smaller(third, larger(first, low))


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _top_three(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """The three largest of five, ascending."""
    low_0, high_0 = smaller(a, e), larger(a, e)
    low_1, high_1 = smaller(c, d), larger(c, d)
    low_2, high_2 = smaller(low_1, high_0), larger(low_1, high_0)
    low_3, high_3 = smaller(b, high_1), larger(b, high_1)
    third = larger(low_3, larger(low_0, low_2))
    second = smaller(high_3, high_2)
    return smaller(third, second), larger(third, second), larger(high_3, high_2)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _bottom_three(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """The three smallest of five, ascending."""
    high_0, low_0 = larger(a, e), smaller(a, e)
    high_1, low_1 = larger(c, d), smaller(c, d)
    high_2, low_2 = larger(high_1, low_0), smaller(high_1, low_0)
    high_3, low_3 = larger(b, low_1), smaller(b, low_1)
    third = smaller(high_3, smaller(high_0, high_2))
    second = larger(low_3, low_2)
    return smaller(low_3, low_2), smaller(third, second), larger(third, second)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _middle_three(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """The three middle ones of five, ascending."""
    low_0, high_0 = smaller(a, b), larger(a, b)
    low_1, high_1 = smaller(d, e), larger(d, e)
    low_2, high_2 = smaller(low_0, high_1), larger(low_0, high_1)
    low_3, high_3 = smaller(high_0, c), larger(high_0, c)
    low_4, high_4 = smaller(low_2, low_3), larger(low_2, low_3)
    low_5, high_5 = smaller(high_4, low_1), larger(high_4, low_1)
    upper = smaller(high_3, high_2)
    return larger(low_4, low_5), smaller(upper, high_5), larger(upper, high_5)


@njit(cache=True, nogil=True, error_model="numpy")
def _sort_columns(plane: np.ndarray, y: int, columns: np.ndarray) -> None:
    """Sort rows y - 2 to y + 2 column by column into five rows, with a margin on both sides."""
    n_rows, n_columns = plane.shape
    pitch, last = columns.shape[1], n_rows - 1
    first, second = max(y - 2, 0) * n_columns, max(y - 1, 0) * n_columns
    third = y * n_columns
    fourth, fifth = min(y + 1, last) * n_columns, min(y + 2, last) * n_columns
    for x in range(0, n_columns, WIDTH):
        a, b, c = load(plane, first + x), load(plane, second + x), load(plane, third + x)
        d, e = load(plane, fourth + x), load(plane, fifth + x)
        a, b = smaller(a, b), larger(a, b)
        d, e = smaller(d, e), larger(d, e)
        c, e = smaller(c, e), larger(c, e)
        c, d = smaller(c, d), larger(c, d)
        a, d = smaller(a, d), larger(a, d)
        a, c = smaller(a, c), larger(a, c)
        b, e = smaller(b, e), larger(b, e)
        b, d = smaller(b, d), larger(b, d)
        b, c = smaller(b, c), larger(b, c)
        i = WIDTH + x
        store(columns, i, a)
        store(columns, i + pitch, b)
        store(columns, i + 2 * pitch, c)
        store(columns, i + 3 * pitch, d)
        store(columns, i + 4 * pitch, e)
    for r in range(5):
        for k in range(RADIUS):
            columns[r, WIDTH - 1 - k] = columns[r, WIDTH]
            columns[r, WIDTH + n_columns + k] = columns[r, WIDTH + n_columns - 1]


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _five(columns: np.ndarray, i: int) -> tuple[Lanes, Lanes, Lanes, Lanes, Lanes]:
    """Five neighbours along a row around a flat index."""
    return (
        load(columns, i - 2),
        load(columns, i - 1),
        load(columns, i),
        load(columns, i + 1),
        load(columns, i + 2),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def filter_median(plane: np.ndarray, out: np.ndarray) -> None:
    """Median of 5 x 5 neighbours of every pixel; beyond the border the nearest pixel counts.

    Both are float32 (row, column) from `idt.lanes.empty`, and different ones.
    """
    n_rows, n_columns = plane.shape
    pitch = n_columns + 3 * WIDTH
    columns = np.empty((5, pitch), np.float32)
    for y in range(n_rows):
        _sort_columns(plane, y, columns)
        for x in range(0, n_columns, WIDTH):
            # Rows a to e of the window, its columns 0 to 4; after sorting both, the larger stand
            # to the right and below.
            i = WIDTH + x
            a3, a4 = _top_two(*_five(columns, i))
            b2, b3, b4 = _top_three(*_five(columns, i + pitch))
            c1, c2, c3 = _middle_three(*_five(columns, i + 2 * pitch))
            d0, d1, d2 = _bottom_three(*_five(columns, i + 3 * pitch))
            e0, e1 = _bottom_two(*_five(columns, i + 4 * pitch))
            low_0 = larger(larger(a3, b2), smaller(b4, d1))
            low_1 = larger(larger(c1, d0), smaller(b3, smaller(d2, e1)))
            high = smaller(c3, e0)
            least, most = smaller(c2, high), larger(c2, high)
            low_2, high_2 = smaller(a4, low_0), larger(a4, low_0)
            middle = larger(least, low_2)
            upper = smaller(most, high_2)
            low_3, high_3 = smaller(low_1, middle), larger(low_1, middle)
            store(out, y * n_columns + x, larger(low_3, smaller(upper, high_3)))
