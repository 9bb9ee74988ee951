"""Votes of pixels, and their integral histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from idt.lanes import choose_equal, fill, load, ramp, store

N_DIRECTIONS = 8


@dataclass(frozen=True)
class Votes:
    """Votes of every pixel: `low` goes into `bin`, `high` into the next direction.

    `bin` is uint8 (row, column); `low` and `high` are float32 (row, column). Bin 8 is no
    direction and has no neighbour: its `high` must be 0.
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


@njit(cache=True, nogil=True, error_model="numpy")
def add_row(
    bins: np.ndarray, low: np.ndarray, high: np.ndarray, sums: np.ndarray, rest: np.ndarray
) -> None:
    """Bring a row of an integral histogram down by a row of votes.

    It lies in `sums`, (column + 1, 8), and `rest`, (column + 1,), the bin that is no direction;
    `rest` is empty where there is no such bin.
    """
    nought, one = fill(np.float32(0)), fill(np.float32(1))
    direction = ramp()
    before = choose_equal(direction, nought, fill(np.float32(N_DIRECTIONS - 1)), direction - one)
    total, rest_total = nought, np.float32(0)
    for x in range(len(bins)):
        first = fill(np.float32(bins[x]))
        votes = choose_equal(first, direction, fill(low[x]), nought)
        total = total + choose_equal(first, before, fill(high[x]), votes)
        i = (x + 1) * N_DIRECTIONS
        store(sums, i, load(sums, i) + total)
        if len(rest):
            rest_total += low[x] if bins[x] == N_DIRECTIONS else np.float32(0)
            rest[x + 1] += rest_total


@njit(cache=True, nogil=True, error_model="numpy")
def _integrate(bins: np.ndarray, low: np.ndarray, high: np.ndarray, out: np.ndarray) -> None:
    """Fill an integral histogram, (row + 1, column + 1, bin)."""
    sums = np.zeros((out.shape[1], N_DIRECTIONS), np.float32)
    rest = np.zeros(out.shape[1] * (out.shape[2] - N_DIRECTIONS), np.float32)
    out[0] = 0
    for y in range(bins.shape[0]):
        add_row(bins[y], low[y], high[y], sums, rest)
        out[y + 1, :, :N_DIRECTIONS] = sums
        if len(rest):
            out[y + 1, :, N_DIRECTIONS] = rest


def integrate(votes: Votes, n_bins: int) -> np.ndarray:
    """Sum votes into an integral histogram.

    Parameters
    ----------
    votes
        One plane of votes.
    n_bins
        8 for directions alone, 9 for directions and a zero bin.

    Returns
    -------
    ndarray of float32, shape (row + 1, column + 1, n_bins)
        ``out[y, x]`` is the histogram of the pixels above and left of (x, y).
    """
    check_bins(n_bins)
    n_rows, n_columns = votes.bin.shape
    out = np.empty((n_rows + 1, n_columns + 1, n_bins), np.float32)
    _integrate(votes.bin, votes.low, votes.high, out)
    return out


def check_bins(n_bins: int) -> None:
    """Refuse numbers of bins that votes do not have."""
    if n_bins not in (N_DIRECTIONS, N_DIRECTIONS + 1):
        raise ValueError(
            f"n_bins must be {N_DIRECTIONS} or {N_DIRECTIONS + 1}, got {n_bins}; vote for "
            "directions, and for one bin more at most"
        )
