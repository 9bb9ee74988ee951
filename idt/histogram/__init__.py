"""Histograms of orientations: planes of votes, integral histograms, pooling along tracks.

A descriptor votes once per pixel: a bin with a weight, and the next direction with another. Votes
are summed over cells through an integral histogram, normalised per frame and averaged over the
frames of a time cell.

References
----------
Wang, Klaeser, Schmid, Liu, Dense Trajectories and Motion Boundary Descriptors for Action
Recognition, IJCV 2013, section 3.3.
"""

from idt.histogram.pooling import (
    N_CELLS,
    N_TIME_CELLS,
    PATCH_SIZE,
    Windows,
    empty_sums,
    place_windows,
    pool,
    take_means,
)
from idt.histogram.votes import N_DIRECTIONS, Votes, integrate

__all__ = [
    "N_CELLS",
    "N_DIRECTIONS",
    "N_TIME_CELLS",
    "PATCH_SIZE",
    "Votes",
    "Windows",
    "empty_sums",
    "integrate",
    "place_windows",
    "pool",
    "take_means",
]
