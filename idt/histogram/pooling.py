"""Histograms of windows around tracks, normalised per frame and summed over time cells.

The integral histogram of a frame is never stored: windows take what they need of its rows as these
pass by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from idt.histogram.votes import N_DIRECTIONS, Votes, add_row, check_bins
from idt.lanes import WIDTH, fetch, fill, larger, load, root, store

EPSILON = np.float32(0.05)  # added to every bin before it is normalised, Wang & Schmid 2013
PATCH_SIZE = 32  # pixels
N_CELLS = 2  # along x and along y
N_TIME_CELLS = 3
WINDOWS_AHEAD = 16  # whose sums are fetched from memory while others are added


def empty_sums(n_slots: int, n_time_cells: int, n_cells: int, n_bins: int) -> np.ndarray:
    """Memory for what `pool` adds up, float32 (time cell, slot, cell x * cell y * bin or more).

    What is behind the bins lets every row begin with whole lanes.
    """
    n_values = n_cells * n_cells * n_bins
    return np.empty((n_time_cells, n_slots, -(-n_values // WIDTH) * WIDTH), np.float32)


@dataclass(frozen=True)
class Windows:
    """Windows of one frame around its live tracks, one size for all.

    `first`, int64 (row + 1,), tells where the windows of every top row begin in `left`, int64 (n,),
    which holds their leftmost columns. In the tracks' order, `order`, int64 (n,), tells where in
    `left` a track's window is, `sums`, int64 (n,), the row to which its histogram is added, and
    `begins`, bool (n,), whether it is the row's first.
    """

    patch_size: int
    first: np.ndarray
    left: np.ndarray
    order: np.ndarray
    sums: np.ndarray
    begins: np.ndarray


@njit(cache=True, nogil=True, error_model="numpy")
def _place_windows(
    points: np.ndarray,
    age: np.ndarray,
    live: np.ndarray,
    patch_size: int,
    n_columns: int,
    frames_per_cell: int,
    n_time_cells: int,
    first: np.ndarray,
    left: np.ndarray,
    order: np.ndarray,
    sums: np.ndarray,
    begins: np.ndarray,
) -> int:
    """Fill the arrays of `Windows` and give the number of windows."""
    n_rows = len(first) - 1
    half = patch_size // 2
    lefts, tops = np.empty(len(live), np.int64), np.empty(len(live), np.int64)
    ends = np.zeros(n_rows, np.int64)
    n = 0
    for i in range(len(live)):
        slot = live[i]
        step = age[slot] - 1
        time_cell = step // frames_per_cell
        if time_cell < n_time_cells:
            x = int(np.rint(points[slot, step, 0])) - half
            y = int(np.rint(points[slot, step, 1])) - half
            lefts[n] = max(min(x, n_columns - patch_size), 0)
            tops[n] = max(min(y, n_rows - patch_size), 0)
            ends[tops[n]] += 1
            sums[n] = time_cell * len(points) + slot
            begins[n] = step == time_cell * frames_per_cell
            n += 1
    first[0] = 0
    for y in range(n_rows):
        first[y + 1] = first[y] + ends[y]
        ends[y] = first[y]
    for i in range(n):
        k = ends[tops[i]]
        ends[tops[i]] += 1
        left[k], order[i] = lefts[i], k
    return n


def place_windows(
    points: np.ndarray,
    age: np.ndarray,
    live: np.ndarray,
    shape: tuple[int, ...],
    *,
    patch_size: int = PATCH_SIZE,
    frames_per_cell: int = 5,
    n_time_cells: int = N_TIME_CELLS,
) -> Windows:
    """Place a window around the last point but one of every live track.

    The window of `patch_size` pixels around the rounded point is shifted, not cropped, where it
    would leave the image.

    Parameters
    ----------
    points, age, live
        The columns of `idt.tracking.Tracks`; all live tracks have moved once or more.
    shape
        Rows and columns of the frame.
    patch_size
        Side of the window in pixels.
    frames_per_cell
        Frames of a time cell.
    n_time_cells
        Time cells of a track; there is no window after the last one.
    """
    first = np.empty(shape[0] + 1, np.int64)
    left, order, sums = np.empty((3, len(live)), np.int64)
    begins = np.empty(len(live), np.bool_)
    n = _place_windows(
        points,
        age,
        live,
        patch_size,
        shape[1],
        frames_per_cell,
        n_time_cells,
        first,
        left,
        order,
        sums,
        begins,
    )
    return Windows(patch_size, first, left[:n], order[:n], sums[:n], begins[:n])


@njit(cache=True, nogil=True, error_model="numpy")
def _cut_strips(
    bins: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    first: np.ndarray,
    left: np.ndarray,
    patch_size: int,
    strips: np.ndarray,
    rest_strips: np.ndarray,
) -> None:
    """Fill differences along x of integral histograms, where windows' cells begin and end.

    The rows of the integral histogram pass by, so that it stays in the nearest cache. `strips` is
    (window, border, cell x, 8), `rest_strips` (window, border, cell x) or empty.
    """
    n_rows, n_columns = bins.shape
    n_borders, n_cells = strips.shape[1:3]
    cell = patch_size // n_cells
    row = np.zeros((n_columns + 1, N_DIRECTIONS), np.float32)
    rest = np.zeros(n_columns + 1 if len(rest_strips) else 0, np.float32)
    for y in range(n_rows + 1):
        if y > 0:
            add_row(bins[y - 1], low[y - 1], high[y - 1], row, rest)
        for border in range(n_borders):
            top = y - border * cell
            if top < 0 and y == n_rows:
                top = 0  # the windows are higher than the frame
            if top < 0 or top >= n_rows:
                continue
            for w in range(first[top], first[top + 1]):
                for c in range(n_cells):
                    x0 = min(left[w] + c * cell, n_columns)
                    x1 = min(x0 + cell, n_columns)
                    strip = load(row, x1 * N_DIRECTIONS) - load(row, x0 * N_DIRECTIONS)
                    store(strips, ((w * n_borders + border) * n_cells + c) * N_DIRECTIONS, strip)
                    if len(rest):
                        rest_strips[w, border, c] = rest[x1] - rest[x0]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_normalised(
    strips: np.ndarray,
    rest_strips: np.ndarray,
    order: np.ndarray,
    sums: np.ndarray,
    begins: np.ndarray,
    rootl1: bool,
    out: np.ndarray,
) -> None:
    """Normalise the windows' histograms and add each to its row of `out`."""
    n_borders, n_cells = strips.shape[1:3]
    n_bins = N_DIRECTIONS + (len(rest_strips) > 0)
    n_values, pitch = n_cells * n_cells * n_bins, out.shape[1]
    nought, epsilon = fill(np.float32(0)), fill(EPSILON)
    blocks = np.zeros((4, pitch), np.float32)
    b0, b1, b2, b3 = blocks[0], blocks[1], blocks[2], blocks[3]
    totals = np.empty(4, np.float32)
    for start in range(0, len(sums), 4):
        stop = min(start + 4, len(sums))
        for i in range(start, stop):
            w = order[i]
            block = (i - start) * pitch
            for c in range(n_cells):
                for r in range(n_cells):
                    above = ((w * n_borders + r) * n_cells + c) * N_DIRECTIONS
                    below = above + n_cells * N_DIRECTIONS
                    value = larger(nought, load(strips, below) - load(strips, above)) + epsilon
                    store(blocks, block + (c * n_cells + r) * n_bins, value)
                    if len(rest_strips):
                        number = rest_strips[w, r + 1, c] - rest_strips[w, r, c]
                        k = (c * n_cells + r) * n_bins + N_DIRECTIONS
                        blocks[i - start, k] = max(number, np.float32(0)) + EPSILON
        # A sum waits for each addition: four at a time wait together.
        t0 = t1 = t2 = t3 = np.float32(0)
        for k in range(n_values):
            t0 += b0[k] if rootl1 else b0[k] * b0[k]
            t1 += b1[k] if rootl1 else b1[k] * b1[k]
            t2 += b2[k] if rootl1 else b2[k] * b2[k]
            t3 += b3[k] if rootl1 else b3[k] * b3[k]
        totals[0], totals[1], totals[2], totals[3] = t0, t1, t2, t3
        for i in range(start, stop):
            total = totals[i - start]
            scale = fill(np.float32(1) / (total if rootl1 else np.sqrt(total)))
            ahead = sums[min(i + WINDOWS_AHEAD, len(sums) - 1)] * pitch
            for k in range(0, pitch, WIDTH):
                place = sums[i] * pitch + k
                value = load(blocks, (i - start) * pitch + k) * scale
                value = root(value) if rootl1 else value
                store(out, place, value if begins[i] else load(out, place) + value)
                fetch(out, ahead + k)


@njit(cache=True, nogil=True, error_model="numpy")
def _pool(
    bins: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    first: np.ndarray,
    left: np.ndarray,
    order: np.ndarray,
    sums: np.ndarray,
    begins: np.ndarray,
    patch_size: int,
    n_cells: int,
    n_rest: int,
    rootl1: bool,
    out: np.ndarray,
) -> None:
    """Add the windows' normalised histograms to the rows of `out`; see `pool`."""
    n_windows = len(left)
    strips = np.empty((n_windows, n_cells + 1, n_cells, N_DIRECTIONS), np.float32)
    rest_strips = np.empty((n_windows * n_rest, n_cells + 1, n_cells), np.float32)
    _cut_strips(bins, low, high, first, left, patch_size, strips, rest_strips)
    _add_normalised(strips, rest_strips, order, sums, begins, rootl1, out)


def pool(
    votes: Votes,
    n_bins: int,
    windows: Windows,
    out: np.ndarray,
    *,
    n_cells: int = N_CELLS,
    normalise: str = "rootl1",
) -> None:
    """Describe the windows of one frame and add each to its track's time cell.

    The histograms of a window's cells, each bin raised by 0.05, are normalised together.

    Parameters
    ----------
    votes
        The frame's votes.
    n_bins
        8 for directions alone, 9 for directions and a zero bin.
    windows
        What `place_windows` returned for the frame.
    out
        What `empty_sums` returned, with a row for every slot: a time cell's first frame is put
        there, the others are added.
    n_cells
        Cells along x and along y; x is the outer one in `out`.
    normalise
        ``"rootl1"``: divide by the sum, then take square roots (Wang & Schmid 2013);
        ``"l2"``: divide by the Euclidean norm (dense trajectories, 2011).
    """
    check_bins(n_bins)
    if normalise not in ("rootl1", "l2"):
        raise ValueError(f"normalise must be 'rootl1' or 'l2', got {normalise!r}; choose one")
    _pool(
        votes.bin,
        votes.low,
        votes.high,
        windows.first,
        windows.left,
        windows.order,
        windows.sums,
        windows.begins,
        windows.patch_size,
        n_cells,
        n_bins - N_DIRECTIONS,
        normalise == "rootl1",
        out.reshape(-1, out.shape[2]),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _take_means(sums: np.ndarray, slots: np.ndarray, n_frames: np.float32, out: np.ndarray) -> None:
    """Fill `out`, (track, time cell, value), with the sums of slots over the number of frames."""
    for i in range(len(slots)):
        for t in range(out.shape[1]):
            row, target = sums[t, slots[i]], out[i, t]
            for k in range(len(target)):
                target[k] = row[k] / n_frames


def take_means(
    sums: np.ndarray, slots: np.ndarray, n_values: int, *, frames_per_cell: int = 5
) -> np.ndarray:
    """Descriptor of complete tracks: float32 (n, time cell * cell x * cell y * bin).

    Parameters
    ----------
    sums
        What `pool` has added up.
    slots
        The tracks' slots, int64 (n,).
    n_values
        Numbers of a time cell: cells along x, by cells along y, by bins.
    frames_per_cell
        Frames of a time cell.
    """
    out = np.empty((len(slots), len(sums), n_values), np.float32)
    _take_means(sums, slots, np.float32(frames_per_cell), out)
    return out.reshape(len(slots), -1)
