"""One scale of an extraction: its live tracks and what has been described of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from idt.descriptors import HISTOGRAM_DESCRIPTORS
from idt.extract.codec_scale import FACTOR
from idt.extract.options import ExtractOptions
from idt.extract.stages import Stages
from idt.histogram import Votes, empty_sums, place_windows, pool, take_means
from idt.pyramid import Scale
from idt.sampling import seed_points
from idt.tracking import Tracks, describe_tracks
from idt.trajectories import META_COLUMNS


@dataclass(frozen=True)
class Block:
    """Trajectories that ended in one frame on one scale.

    Attributes
    ----------
    scale
        Where they were tracked.
    meta
        float32 (n, 10), as in `idt.trajectories`; the three positions are not filled in yet.
    descriptors
        By name, float32 (n, dimension).
    points
        float32 (n, track_length + 1, 2), the unstabilised track in full-resolution pixels.
    """

    scale: Scale
    meta: np.ndarray
    descriptors: dict[str, np.ndarray]
    points: np.ndarray


class Level:
    """Tracks of one scale.

    Parameters
    ----------
    scale
        The scale.
    options
        Settings.
    stages
        Where the time is told.

    Attributes
    ----------
    patch_size, stride : int
        As in the options, in this scale's pixels: less where the flow is the codec's.
    """

    def __init__(self, scale: Scale, options: ExtractOptions, stages: Stages) -> None:
        self.scale = scale
        self.options = options
        self.stages = stages
        shrunk_by = FACTOR if options.flow == "codec" else 1
        self.patch_size = max(round(options.patch_size / shrunk_by), options.n_cells)
        self.stride = -(-options.stride // shrunk_by)
        self.vote_factor = np.float32(shrunk_by)
        self.tracks = Tracks(options.track_length)
        self.histograms = [d for d in HISTOGRAM_DESCRIPTORS if d.name in options.descriptors]
        self.votes = Votes.empty(scale.height, scale.width)
        self.frames_per_cell = options.track_length // options.n_time_cells
        self.sums = self._empty_sums()

    def seed(self, eigenvalues: np.ndarray) -> None:
        """Begin tracks where the frame has texture and no live track."""
        with self.stages("seeding"):
            tracks = self.tracks
            n_before = tracks.capacity
            tracks.start(seed_points(eigenvalues, tracks.positions(), stride=self.stride))
            if tracks.capacity > n_before:
                for name, sums in self._empty_sums().items():
                    sums[:, :n_before] = self.sums[name]
                    self.sums[name] = sums

    def advance(
        self, grey: np.ndarray, flow: np.ndarray, described: np.ndarray, freed: np.ndarray
    ) -> None:
        """Move the tracks one frame on and describe the previous frame around them.

        Parameters
        ----------
        grey
            uint8 (row, column), the previous frame.
        flow, described, freed
            float32 (2, row, column), as in `idt.extract.motion.Pair`.
        """
        tracks, options = self.tracks, self.options
        with self.stages("tracking"):
            tracks.advance(flow, described, freed, factor=self.scale.factor)
        # HOF tells motion from none in pixels of the video.
        voting = described if self.vote_factor == 1 else described * self.vote_factor
        with self.stages("pooling"):
            windows = place_windows(
                tracks.points,
                tracks.age,
                tracks.live,
                grey.shape,
                patch_size=self.patch_size,
                frames_per_cell=self.frames_per_cell,
                n_time_cells=options.n_time_cells,
            )
        for descriptor in self.histograms:
            with self.stages(f"{descriptor.name} votes"):
                descriptor.vote(grey, voting, self.votes)
            with self.stages("pooling"):
                pool(
                    self.votes,
                    descriptor.n_bins,
                    windows,
                    self.sums[descriptor.name],
                    n_cells=options.n_cells,
                    normalise=options.normalise,
                )

    def complete(self, frame: int) -> Block | None:
        """Take out the tracks that have reached their length; None where none is valid."""
        with self.stages("tracking"):
            options, factor = self.options, self.scale.factor
            slots = self.tracks.complete()
            if not len(slots):
                return None
            valid, statistics, shapes = describe_tracks(
                self.tracks, slots, factor=factor, remove_camera=options.removes_camera_tracks
            )
            if not valid.any():
                return None
            kept = slots[valid]
            meta = np.zeros((len(kept), len(META_COLUMNS)), np.float32)
            meta[:, 0] = frame
            meta[:, 1:6] = statistics[valid]
            meta[:, 6] = factor
            descriptors = {}
            if "trajectory" in options.descriptors:
                descriptors["trajectory"] = shapes[valid]
            for descriptor in self.histograms:
                descriptors[descriptor.name] = take_means(
                    self.sums[descriptor.name],
                    kept,
                    options.n_cells**2 * descriptor.n_bins,
                    frames_per_cell=self.frames_per_cell,
                )
            points = self.tracks.points[kept] * np.float32(factor)
            return Block(self.scale, meta, descriptors, points)

    def _empty_sums(self) -> dict[str, np.ndarray]:
        """Memory for the sums of every descriptor and slot."""
        n_slots, n_cells = self.tracks.capacity, self.options.n_cells
        return {
            d.name: empty_sums(n_slots, self.options.n_time_cells, n_cells, d.n_bins)
            for d in self.histograms
        }
