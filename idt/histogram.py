"""Histograms of orientations: planes of votes, integral histograms, pooling along tracks.

A descriptor votes once per pixel: a bin with a weight, and the next direction with another. Votes
are summed over cells through an integral histogram, normalised per frame and averaged over the
frames of a time cell.

References
----------
Wang, Klaeser, Schmid, Liu, Dense Trajectories and Motion Boundary Descriptors for Action
Recognition, IJCV 2013, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

N_DIRECTIONS = 8
EPSILON = np.float32(0.05)  # added to every bin before it is normalised, Wang & Schmid 2013
PATCH_SIZE = 32  # pixels
N_CELLS = 2  # along x and along y
N_TIME_CELLS = 3


@dataclass(frozen=True)
class Votes:
    """Votes of every pixel: `low` goes into `bin`, `high` into the next direction.

    `bin` is uint8 (row, column); `low` and `high` are float32 (row, column). Bins from 8 on are no
    directions and have no neighbour: their `high` must be 0.
    """

    bin: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def empty(cls, n_rows: int, n_columns: int) -> Votes:
        """Votes of unset values, to be filled by a descriptor."""
        shape = (n_rows, n_columns)
        return cls(
            np.empty(shape, np.uint8), np.empty(shape, np.float32), np.empty(shape, np.float32)
        )


def _integrator(n_bins: int) -> Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]:
    """Compile the summation for a number of bins, which the inner loops then know."""
    width = N_DIRECTIONS * -(-n_bins // N_DIRECTIONS)  # whole vectors, so that the sums vectorise

    @njit(cache=True, nogil=True, error_model="numpy")
    def _integrate(bins: np.ndarray, low: np.ndarray, high: np.ndarray, out: np.ndarray) -> None:
        """Integral histogram (row + 1, (column + 1) * bin) of a plane of votes."""
        n_rows, n_columns = bins.shape
        row = np.empty(n_columns * width, np.float32)
        for i in range(out.shape[1]):
            out[0, i] = 0
        for y in range(n_rows):
            for i in range(len(row)):
                row[i] = 0
            for x in range(n_columns):
                first = np.uint64(bins[y, x])
                row[np.uint64(x * width) + first] = low[y, x]
                if first < N_DIRECTIONS:
                    second = (first + np.uint64(1)) % np.uint64(N_DIRECTIONS)
                    row[np.uint64(x * width) + second] = high[y, x]
            for i in range(width, n_columns * width):
                row[i] += row[i - width]
            above, below = out[y, n_bins:], out[y + 1, n_bins:]
            for k in range(n_bins):
                out[y + 1, k] = 0
            if n_bins == width:
                for i in range(n_columns * n_bins):
                    below[i] = above[i] + row[i]
            else:
                for x in range(n_columns):
                    for k in range(n_bins):
                        below[x * n_bins + k] = above[x * n_bins + k] + row[x * width + k]

    return _integrate


INTEGRATORS = {n_bins: _integrator(n_bins) for n_bins in (8, 9)}


def integrate(votes: Votes, n_bins: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """Sum votes into an integral histogram.

    Parameters
    ----------
    votes
        One plane of votes.
    n_bins
        8 for directions alone, 9 for directions and a zero bin.
    out
        float32, one-dimensional and large enough: memory for the result; None takes new memory.

    Returns
    -------
    ndarray of float32, shape (row + 1, column + 1, n_bins)
        ``out[y, x]`` is the histogram of the pixels above and left of (x, y).
    """
    if n_bins not in INTEGRATORS:
        raise ValueError(
            f"n_bins must be one of {sorted(INTEGRATORS)}, got {n_bins}; "
            "add its integrator to idt.histogram"
        )
    n_rows, n_columns = votes.bin.shape
    size = (n_rows + 1) * (n_columns + 1) * n_bins
    memory = np.empty(size, np.float32) if out is None else out[:size]
    rows = memory.reshape(n_rows + 1, (n_columns + 1) * n_bins)
    INTEGRATORS[n_bins](votes.bin, votes.low, votes.high, rows)
    return rows.reshape(n_rows + 1, n_columns + 1, n_bins)


@njit(cache=True, nogil=True, error_model="numpy")
def _pool(
    integral: np.ndarray,
    points: np.ndarray,
    age: np.ndarray,
    live: np.ndarray,
    patch_size: int,
    n_cells: int,
    frames_per_cell: int,
    rootl1: bool,
    out: np.ndarray,
) -> None:
    """Add the normalised histogram around each track's last point but one to its time cell."""
    n_rows, n_columns, n_bins = integral.shape
    n_rows -= 1
    n_columns -= 1
    cell = patch_size // n_cells
    block = np.empty(n_cells * n_cells * n_bins, np.float32)
    for i in range(len(live)):
        slot = live[i]
        step = age[slot] - 1
        time_cell = step // frames_per_cell
        if time_cell >= out.shape[1]:
            continue
        left = int(np.rint(points[slot, step, 0])) - patch_size // 2
        top = int(np.rint(points[slot, step, 1])) - patch_size // 2
        left = max(min(left, n_columns - patch_size), 0)
        top = max(min(top, n_rows - patch_size), 0)
        total = np.float32(0)
        position = 0
        for cx in range(n_cells):
            x0 = min(left + cx * cell, n_columns)
            x1 = min(x0 + cell, n_columns)
            for cy in range(n_cells):
                y0 = min(top + cy * cell, n_rows)
                y1 = min(y0 + cell, n_rows)
                for k in range(n_bins):
                    value = (integral[y1, x1, k] - integral[y1, x0, k]) - (
                        integral[y0, x1, k] - integral[y0, x0, k]
                    )
                    value = max(value, np.float32(0)) + EPSILON
                    block[position] = value
                    total += value if rootl1 else value * value
                    position += 1
        scale = np.float32(1) / (total if rootl1 else np.sqrt(total))
        for k in range(position):
            value = block[k] * scale
            out[slot, time_cell, k] += np.sqrt(value) if rootl1 else value


def pool_along_tracks(
    integral: np.ndarray,
    points: np.ndarray,
    age: np.ndarray,
    live: np.ndarray,
    out: np.ndarray,
    *,
    patch_size: int = PATCH_SIZE,
    n_cells: int = N_CELLS,
    frames_per_cell: int = 5,
    normalise: str = "rootl1",
) -> None:
    """Describe one frame of every live track and add it to the track's time cell.

    The window of `patch_size` pixels around the rounded point is shifted, not cropped, where it
    would leave the image. Its cells' histograms, each bin raised by 0.05, are normalised together.

    Parameters
    ----------
    integral
        What `integrate` returned for the frame.
    points, age, live
        The columns of `idt.tracking.Tracks`; the last point but one is described.
    out
        float32 (slot, time cell, cell x * cell y * bin), added to.
    patch_size
        Side of the window in pixels.
    n_cells
        Cells along x and along y; x is the outer one in `out`.
    frames_per_cell
        Frames of a time cell.
    normalise
        ``"rootl1"``: divide by the sum, then take square roots (Wang & Schmid 2013);
        ``"l2"``: divide by the Euclidean norm (dense trajectories, 2011).
    """
    if normalise not in ("rootl1", "l2"):
        raise ValueError(f"normalise must be 'rootl1' or 'l2', got {normalise!r}; choose one")
    _pool(
        integral,
        points,
        age,
        live,
        patch_size,
        n_cells,
        frames_per_cell,
        normalise == "rootl1",
        out,
    )
