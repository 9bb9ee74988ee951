"""Maps of a video's frames, summed along trajectories.

For a map C (row, column, frame, channel) and a trajectory through the cells (r_p, c_p) of the
frames t_p, p = 1 ... P, the descriptor is the sum over p of C(r_p, c_p, t_p, .), taken of one of

    spatio-temporal:  C(r, c, t, n) / max over r, c, t of |C(., ., ., n)|
    channel:          C(r, c, t, n) / max over n of |C(r, c, t, .)|

(Wang, Qiao and Tang, "Action Recognition with Trajectory-Pooled Deep-Convolutional Descriptors",
CVPR 2015, equations 2 to 4). The first gives every channel one range over the video, the second
every cell one range over its channels. The paper's maps follow a ReLU; magnitudes let maps with a
sign, linear bottlenecks', be normalised too. What is zero everywhere stays zero.

Maps come a few frames at a time, so memory does not grow with the video but for the sums, which are
of the descriptors' size: the factor of the spatio-temporal normalisation, known at the end alone,
does not depend on the place, so the sums are divided by it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from deep.tdd.lattice import Lattice

NORMALISATIONS = ("st", "channel", "none")  # spatio-temporal, channel, the maps as they are


class TrackPoints:
    """Points of trajectories on the frames of one video, in the order of the frames.

    Parameters
    ----------
    points : ndarray of float, shape (n, point, 2)
        (x, y) in pixels of the network's input image.
    frames : ndarray of int, shape (n, point)
        0-based frame of each point.
    """

    def __init__(self, points: np.ndarray, frames: np.ndarray) -> None:
        if points.ndim != 3 or points.shape[2] != 2 or points.shape[:2] != frames.shape:
            raise ValueError(
                "points must have the shape (n, point, 2) and frames (n, point), got "
                f"{points.shape} and {frames.shape}; give every point its frame"
            )
        self.n = len(points)
        order = np.argsort(frames, axis=None, kind="stable")
        self.points = points.reshape(-1, 2)[order]
        self.frames = frames.ravel()[order]
        self.owners = order // max(points.shape[1], 1)

    def between(self, first: int, stop: int) -> slice:
        """Where the points of the frames from `first` to before `stop` stand."""
        ends = np.searchsorted(self.frames, [first, stop])
        return slice(int(ends[0]), int(ends[1]))


class TrajectoryPool:
    """Descriptors of one layer's maps along a video's trajectories.

    Parameters
    ----------
    trajectories
        Their points.
    n_channels
        Of the maps.
    """

    def __init__(self, trajectories: TrackPoints, n_channels: int) -> None:
        self.trajectories = trajectories
        self._plain = np.zeros((trajectories.n, n_channels), np.float32)
        self._by_channel = np.zeros_like(self._plain)
        self._largest = np.zeros(n_channels, np.float32)

    def add(self, maps: np.ndarray, lattice: Lattice, *, first: int) -> None:
        """Add the maps of some frames; each frame of the video once.

        Parameters
        ----------
        maps : ndarray of float32, shape (frame, row, column, channel)
        lattice
            Of the maps on the network's input image.
        first
            Number of the first of these frames.
        """
        maps = np.ascontiguousarray(maps, np.float32)
        if maps.ndim != 4 or maps.shape[3] != len(self._largest):
            raise ValueError(
                f"maps must have the shape (frame, row, column, {len(self._largest)}), got "
                f"{maps.shape}; put the channels last"
            )
        here = self.trajectories.between(first, first + len(maps))
        rows, columns = lattice.cells(self.trajectories.points[here], maps.shape[1:3])
        _add_cells(
            maps,
            self.trajectories.frames[here] - first,
            rows,
            columns,
            self.trajectories.owners[here],
            self._plain,
            self._by_channel,
            self._largest,
        )

    def descriptors(self, normalisation: str) -> np.ndarray:
        """Give the descriptors, float32 (n, channel), by one of `NORMALISATIONS`."""
        if normalisation == "st":
            return self._plain / np.where(self._largest > 0, self._largest, 1)
        if normalisation == "channel":
            return self._by_channel
        if normalisation == "none":
            return self._plain
        raise ValueError(
            f"normalisation must be one of {', '.join(NORMALISATIONS)}, got {normalisation!r}; "
            "choose one"
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _add_cells(
    maps: np.ndarray,
    frames: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    owners: np.ndarray,
    plain: np.ndarray,
    by_channel: np.ndarray,
    largest: np.ndarray,
) -> None:
    """Add each point's cell, plain and over its largest magnitude, to the point's owner."""
    n_frames, n_rows, n_columns, n_channels = maps.shape
    factors = np.empty(maps.shape[:3], np.float32)
    for t in range(n_frames):
        for r in range(n_rows):
            for c in range(n_columns):
                cell = maps[t, r, c]
                top = np.float32(0)
                for k in range(n_channels):
                    size = abs(cell[k])
                    top = max(top, size)
                    largest[k] = max(largest[k], size)
                factors[t, r, c] = 1 / top if top > 0 else 0
    for i in range(len(frames)):
        t, r, c, owner = frames[i], rows[i], columns[i], owners[i]
        factor = factors[t, r, c]
        for k in range(n_channels):
            value = maps[t, r, c, k]
            plain[owner, k] += value
            by_channel[owner, k] += value * factor
