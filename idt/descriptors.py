"""HOG, HOF, MBHx and MBHy: how each descriptor votes.

A descriptor has a name, a number of bins, and a function that fills the votes of a frame pair; the
summing, normalising and pooling is the same for all and stands in `idt.histogram`. HOG reads the
previous grey frame; HOF and MBH read the stabilised flow.

References
----------
Wang, Klaeser, Schmid, Liu, Dense Trajectories and Motion Boundary Descriptors for Action
Recognition, IJCV 2013, section 3.3. Dalal, Triggs, Schmid, Human Detection Using Oriented
Histograms of Flow and Appearance, ECCV 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit

from idt.histogram import N_DIRECTIONS, Votes
from idt.surf import fast_atan2

# Bin of a direction and bin of its mirror image add up to this, modulo 8: left and right change
# places where the x component changes its sign, up and down where the y component does.
LEFT_RIGHT, UP_DOWN = 4, 0
ZERO_FLOW = np.float32(0.4)  # pixels per frame; slower flow votes for the zero bin


@dataclass(frozen=True)
class Descriptor:
    """A histogram descriptor.

    Attributes
    ----------
    name
        As in the trajectory table.
    n_bins
        8 directions, or 9 with a zero bin.
    vote
        ``vote(grey, flow, votes)`` fills the votes from the previous grey frame, uint8
        (row, column), and the stabilised flow, float32 (2, row, column).
    mirror_sum
        ``LEFT_RIGHT`` or ``UP_DOWN``: what changes places where left and right of the video do.
        The flow's x component changes its sign in a mirror, and with it both of its gradients:
        that along x, turned twice, stays as it was.
    """

    name: str
    n_bins: int
    vote: Callable[[np.ndarray, np.ndarray, Votes], None]
    mirror_sum: int


@njit(cache=True, nogil=True, error_model="numpy")
def _vote_direction(
    dx: np.ndarray, dy: np.ndarray, bins: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """Split the magnitude of each vector of a row between its direction's bin and the next."""
    # Short loops over few arrays: the compiler proves these apart and vectorises them.
    for x in range(len(dx)):
        high[x] = fast_atan2(dy[x], dx[x]) * np.float32(N_DIRECTIONS / 360)
    for x in range(len(dx)):
        bins[x] = np.uint8(np.int32(high[x]) & 7)
    for x in range(len(dx)):
        low[x] = np.sqrt(dx[x] * dx[x] + dy[x] * dy[x])
    for x in range(len(dx)):
        share = high[x] - np.float32(np.int32(high[x]))
        high[x] = low[x] * share
        low[x] *= np.float32(1) - share


@njit(cache=True, nogil=True, error_model="numpy")
def _vote_gradients(image: np.ndarray, bins: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Vote with the [-1 0 1] gradients of an image; they are 0 across a mirrored border."""
    n_rows, n_columns = image.shape
    dx = np.zeros(n_columns, np.float32)
    dy = np.zeros(n_columns, np.float32)
    for y in range(n_rows):
        for x in range(1, n_columns - 1):
            dx[x] = np.float32(image[y, x + 1]) - np.float32(image[y, x - 1])
        if y > 0 and y < n_rows - 1:
            for x in range(n_columns):
                dy[x] = np.float32(image[y + 1, x]) - np.float32(image[y - 1, x])
        else:
            for x in range(n_columns):
                dy[x] = 0
        _vote_direction(dx, dy, bins[y], low[y], high[y])


@njit(cache=True, nogil=True, error_model="numpy")
def _vote_flow(
    flow: np.ndarray, threshold: np.float32, bins: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """Vote with flow vectors; slow ones vote 1 for the zero bin."""
    for y in range(flow.shape[1]):
        _vote_direction(flow[0, y], flow[1, y], bins[y], low[y], high[y])
        for x in range(flow.shape[2]):
            magnitude = np.sqrt(flow[0, y, x] * flow[0, y, x] + flow[1, y, x] * flow[1, y, x])
            if magnitude <= threshold:
                bins[y, x] = 8
                low[y, x] = 1
                high[y, x] = 0


def vote_hog(grey: np.ndarray, flow: np.ndarray, votes: Votes) -> None:
    """Histogram of oriented gradients: the grey frame's gradients."""
    _vote_gradients(grey, votes.bin, votes.low, votes.high)


def vote_hof(grey: np.ndarray, flow: np.ndarray, votes: Votes) -> None:
    """Histogram of optical flow: the flow's directions, and a bin for no motion."""
    _vote_flow(flow, ZERO_FLOW, votes.bin, votes.low, votes.high)


def vote_mbhx(grey: np.ndarray, flow: np.ndarray, votes: Votes) -> None:
    """Motion boundary histogram: gradients of the flow's x component."""
    _vote_gradients(flow[0], votes.bin, votes.low, votes.high)


def vote_mbhy(grey: np.ndarray, flow: np.ndarray, votes: Votes) -> None:
    """Motion boundary histogram: gradients of the flow's y component."""
    _vote_gradients(flow[1], votes.bin, votes.low, votes.high)


HOG = Descriptor("hog", N_DIRECTIONS, vote_hog, LEFT_RIGHT)
HOF = Descriptor("hof", N_DIRECTIONS + 1, vote_hof, LEFT_RIGHT)
MBHX = Descriptor("mbhx", N_DIRECTIONS, vote_mbhx, UP_DOWN)
MBHY = Descriptor("mbhy", N_DIRECTIONS, vote_mbhy, LEFT_RIGHT)

HISTOGRAM_DESCRIPTORS = (HOG, HOF, MBHX, MBHY)

# Of a trajectory, in the order of the reference program's columns.
DESCRIPTORS = ("trajectory", *(descriptor.name for descriptor in HISTOGRAM_DESCRIPTORS))
