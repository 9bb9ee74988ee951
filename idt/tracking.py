"""Point tracks: moved by the flow, dropped at the border, tested for validity when complete.

Points are (x, y) in pixels of their scale; a track has `length` steps and `length` + 1 points.
Tracks move by the unwarped flow; the displacement kept as the trajectory shape is usually that of
the stabilised flow, so that a track at rest in the scene has a shape of zeros however the camera
moves.

References
----------
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

LENGTH = 15  # frames, Wang & Schmid 2013
MIN_STD = np.float32(np.sqrt(3.0))  # pixels; both below: a static track
MAX_STD = np.float32(50.0)  # pixels; either above: an erratic track
MAX_STEP = np.float32(20.0)  # pixels; a larger step that is also
MAX_STEP_SHARE = np.float32(0.7)  # more than this share of the length is a jump
MIN_STABILISED_STEP = np.float32(1.0)  # pixels; no step above: camera motion


@dataclass
class Tracks:
    """The live tracks of one scale.

    Slots are reused; `live` lists those in use, oldest track first and raster order among tracks of
    one age. Arrays indexed by slot grow when needed; `capacity` tells their length.
    """

    length: int = LENGTH
    points: np.ndarray = field(init=False)
    steps: np.ndarray = field(init=False)
    moved: np.ndarray = field(init=False)
    age: np.ndarray = field(init=False)
    live: np.ndarray = field(init=False)
    free: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1 frame, got {self.length}; 15 is usual")
        self.points = np.zeros((0, self.length + 1, 2), np.float32)
        self.steps = np.zeros((0, self.length, 2), np.float32)
        self.moved = np.zeros(0, np.float32)
        self.age = np.zeros(0, np.int64)
        self.live = np.zeros(0, np.int64)
        self.free = np.zeros(0, np.int64)

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return len(self.points)

    def positions(self) -> np.ndarray:
        """Current points (x, y) of the live tracks, float32 (n_live, 2)."""
        out = np.empty((len(self.live), 2), np.float32)
        _take_positions(self.points, self.age, self.live, out)
        return out

    def start(self, seeds: np.ndarray) -> np.ndarray:
        """Begin a track at every seed, float32 (n, 2); returns their slots."""
        missing = len(seeds) - len(self.free)
        if missing > 0:
            grown = max(missing, self.capacity)
            self.free = np.concatenate([self.free, np.arange(self.capacity, self.capacity + grown)])
            self.points = _grow(self.points, grown)
            self.steps = _grow(self.steps, grown)
            self.moved = _grow(self.moved, grown)
            self.age = _grow(self.age, grown)
        slots, self.free = self.free[: len(seeds)], self.free[len(seeds) :]
        _start(self.points, self.moved, self.age, slots, np.asarray(seeds, np.float32))
        self.live = np.concatenate([self.live, slots])
        return slots

    def advance(
        self, flow: np.ndarray, described: np.ndarray, freed: np.ndarray, *, factor: float
    ) -> None:
        """Move every live track one frame on; those that leave the image end.

        Parameters
        ----------
        flow
            float32 (2, row, column), planes (dx, dy) that move the points.
        described
            float32 (2, row, column), planes that give the trajectory its shape.
        freed
            float32 (2, row, column), planes without the camera's motion, which tell camera tracks.
        factor
            Takes the scale's pixels to full-resolution pixels.
        """
        n_live = len(self.live)
        slots = np.empty(n_live, np.int64)
        n_kept = _advance(
            self.points,
            self.steps,
            self.moved,
            self.age,
            self.live,
            flow,
            described,
            freed,
            np.float32(factor),
            slots,
        )
        self.live = slots[:n_kept]
        self.free = np.concatenate([self.free, slots[n_kept:]])

    def complete(self) -> np.ndarray:
        """Take out the tracks that have reached their length; returns their slots in order."""
        n_complete = _count_complete(self.age, self.live, self.length)
        slots, self.live = self.live[:n_complete], self.live[n_complete:]
        self.free = np.concatenate([self.free, slots])
        return slots


def _grow(array: np.ndarray, n_rows: int) -> np.ndarray:
    """Append rows of zeros."""
    return np.concatenate([array, np.zeros((n_rows, *array.shape[1:]), array.dtype)])


@njit(cache=True, nogil=True, error_model="numpy")
def _take_positions(points: np.ndarray, age: np.ndarray, live: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with the newest points of the live tracks."""
    for i in range(len(live)):
        slot = live[i]
        now = age[slot]
        out[i, 0], out[i, 1] = points[slot, now, 0], points[slot, now, 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _start(
    points: np.ndarray, moved: np.ndarray, age: np.ndarray, slots: np.ndarray, seeds: np.ndarray
) -> None:
    """Have a track begin in every slot."""
    for i in range(len(slots)):
        slot = slots[i]
        points[slot, 0, 0], points[slot, 0, 1] = seeds[i, 0], seeds[i, 1]
        moved[slot] = 0
        age[slot] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _count_complete(age: np.ndarray, live: np.ndarray, length: int) -> int:
    """Live tracks of full length; they stand first."""
    n = 0
    while n < len(live) and age[live[n]] == length:
        n += 1
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _advance(
    points: np.ndarray,
    steps: np.ndarray,
    moved: np.ndarray,
    age: np.ndarray,
    live: np.ndarray,
    flow: np.ndarray,
    described: np.ndarray,
    freed: np.ndarray,
    factor: np.float32,
    out: np.ndarray,
) -> int:
    """Add the flow at the rounded pixel to the newest point of every live track.

    Fills `out` with the slots of those that stay in the image, in order, then of those that leave
    it, and gives the number that stay.
    """
    n_rows, n_columns = flow.shape[1:]
    n_kept, n_left = 0, 0
    for i in range(len(live)):
        slot = live[i]
        now = age[slot]
        x = points[slot, now, 0]
        y = points[slot, now, 1]
        column = min(max(int(np.rint(x)), 0), n_columns - 1)
        row = min(max(int(np.rint(y)), 0), n_rows - 1)
        x += flow[0, row, column]
        y += flow[1, row, column]
        if x > 0 and x < n_columns and y > 0 and y < n_rows:
            out[n_kept] = slot
            n_kept += 1
            steps[slot, now, 0] = described[0, row, column]
            steps[slot, now, 1] = described[1, row, column]
            dx = freed[0, row, column] * factor
            dy = freed[1, row, column] * factor
            moved[slot] = max(moved[slot], np.sqrt(dx * dx + dy * dy))
            age[slot] = now + 1
            points[slot, now + 1, 0] = x
            points[slot, now + 1, 1] = y
        else:
            n_left += 1
            out[len(live) - n_left] = slot
    return n_kept


@njit(cache=True, nogil=True, error_model="numpy")
def _describe_tracks(
    points: np.ndarray,
    steps: np.ndarray,
    moved: np.ndarray,
    slots: np.ndarray,
    factor: np.float32,
    remove_camera: bool,
    valid: np.ndarray,
    statistics: np.ndarray,
    shapes: np.ndarray,
) -> None:
    """Test complete tracks; fill mean x, mean y, std x, std y, length and the normalised shape."""
    length = steps.shape[1]
    share = np.float32(1.0) / np.float32(length + 1)
    for i in range(len(slots)):
        track = points[slots[i]]
        step = steps[slots[i]]
        valid[i] = False
        mean_x = np.float32(0)
        mean_y = np.float32(0)
        for t in range(length + 1):
            mean_x += track[t, 0] * factor
            mean_y += track[t, 1] * factor
        mean_x *= share
        mean_y *= share
        std_x = np.float32(0)
        std_y = np.float32(0)
        for t in range(length + 1):
            dx = track[t, 0] * factor - mean_x
            dy = track[t, 1] * factor - mean_y
            std_x += dx * dx
            std_y += dy * dy
        std_x = np.sqrt(std_x * share)
        std_y = np.sqrt(std_y * share)
        if std_x < MIN_STD and std_y < MIN_STD:
            continue
        if std_x > MAX_STD or std_y > MAX_STD:
            continue
        total = np.float32(0)
        largest = np.float32(0)
        for t in range(length):
            dx = (track[t + 1, 0] - track[t, 0]) * factor
            dy = (track[t + 1, 1] - track[t, 1]) * factor
            distance = np.sqrt(dx * dx + dy * dy)
            total += distance
            largest = max(largest, distance)
        if largest > MAX_STEP and largest > total * MAX_STEP_SHARE:
            continue
        if remove_camera and moved[slots[i]] <= MIN_STABILISED_STEP:
            continue
        described_total = np.float32(0)
        for t in range(length):
            dx = step[t, 0] * factor
            dy = step[t, 1] * factor
            described_total += np.sqrt(dx * dx + dy * dy)
        valid[i] = True
        statistics[i, 0] = mean_x
        statistics[i, 1] = mean_y
        statistics[i, 2] = std_x
        statistics[i, 3] = std_y
        statistics[i, 4] = total
        for t in range(length):
            for c in range(2):
                shapes[i, 2 * t + c] = (
                    step[t, c] * factor / described_total if described_total > 0 else 0
                )


def describe_tracks(
    tracks: Tracks, slots: np.ndarray, *, factor: float, remove_camera: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test complete tracks and give the statistics and the shape of each.

    Parameters
    ----------
    tracks
        The scale's tracks.
    slots
        What `Tracks.complete` returned.
    factor
        Takes the scale's pixels to full-resolution pixels, in which all tests are made.
    remove_camera
        Drop tracks without a stabilised step above one pixel.

    Returns
    -------
    valid
        bool (n,), False for static, erratic and jumping tracks and for camera motion.
    statistics
        float32 (n, 5): mean x, mean y, standard deviation of x and of y, length, in full-resolution
        pixels of the unstabilised points. Rows that are not valid hold zeros.
    shapes
        float32 (n, 2 * length): the stabilised steps divided by the sum of their lengths.
    """
    valid = np.zeros(len(slots), np.bool_)
    statistics = np.zeros((len(slots), 5), np.float32)
    shapes = np.zeros((len(slots), 2 * tracks.length), np.float32)
    _describe_tracks(
        tracks.points,
        tracks.steps,
        tracks.moved,
        slots,
        np.float32(factor),
        remove_camera,
        valid,
        statistics,
        shapes,
    )
    return valid, statistics, shapes
