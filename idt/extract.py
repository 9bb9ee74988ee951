"""The one loop from a video to its trajectories.

Per frame: grey pyramid, SURF, flow, camera motion, warped flow; then on every scale the histograms,
the tracks' next point and the new seeds. Frames are streamed: what is kept of the past is one frame
and the live tracks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from idt.camera import SEED, CameraMotion, camera_motion, flow_pairs, match_keypoints, warp_frame
from idt.descriptors import HISTOGRAM_DESCRIPTORS
from idt.flow import expand, flow_pyramid
from idt.histogram import N_CELLS, N_TIME_CELLS, Votes, integrate, pool_along_tracks
from idt.pyramid import MAX_SCALES, PATCH_SIZE, Scale, grey_pyramid, scales, to_grey
from idt.sampling import STRIDE, corners, min_eigenvalues, seed_points
from idt.surf import Keypoints, detect_and_describe
from idt.tracking import LENGTH, Tracks, describe_tracks
from idt.trajectories import META_COLUMNS, Trajectories, provenance
from idt.video import VideoError, frames

MIN_SIDE = 16  # pixels; smaller frames hold no flow window


@dataclass(frozen=True)
class ExtractOptions:
    """Settings of an extraction; the defaults are the reference program's.

    Attributes
    ----------
    track_length
        Steps of a trajectory, in frames.
    stride
        Pixels between seeds.
    patch_size
        Side in pixels of the window that is described.
    n_cells, n_time_cells
        Cells of the window along x and y, and along time.
    max_scales
        Largest number of scales.
    seed
        Start of RANSAC's random numbers.
    """

    track_length: int = LENGTH
    stride: int = STRIDE
    patch_size: int = PATCH_SIZE
    n_cells: int = N_CELLS
    n_time_cells: int = N_TIME_CELLS
    max_scales: int = MAX_SCALES
    seed: int = SEED

    def __post_init__(self) -> None:
        for name in ("track_length", "stride", "n_cells", "n_time_cells", "max_scales"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}; raise it")
        if self.patch_size < self.n_cells:
            raise ValueError(
                f"patch_size must be at least n_cells = {self.n_cells} pixels, got "
                f"{self.patch_size}; enlarge it"
            )
        if self.n_time_cells > self.track_length:
            raise ValueError(
                f"n_time_cells must be at most track_length = {self.track_length}, got "
                f"{self.n_time_cells}; lower it"
            )


@dataclass
class _Level:
    """What one scale carries from frame to frame."""

    scale: Scale
    tracks: Tracks
    votes: Votes
    sums: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class _Frame:
    """What is computed once of a frame and serves it as the current and as the previous one."""

    pyramid: list[np.ndarray]
    eigenvalues: list[np.ndarray]
    expansions: list[np.ndarray]
    keypoints: Keypoints | None


def extract(
    video: str | Path | Iterable[np.ndarray],
    *,
    options: ExtractOptions | None = None,
    homographies: Mapping[int, np.ndarray] | None = None,
    name: str | None = None,
) -> Trajectories:
    """Extract improved dense trajectories.

    Parameters
    ----------
    video
        A video file, or its frames: uint8 (row, column, 3), BGR, of one size.
    options
        Settings; the defaults are the reference program's.
    homographies
        Known camera motion: frame index (from 1) to a 3 x 3 matrix that maps the previous frame's
        pixels to that frame's. Frames without one have no camera motion. None estimates it.
    name
        What the table and errors call the video; None takes the file's name.

    Returns
    -------
    Trajectories
        Sorted by last frame, scale, and raster order of the seeds; empty where the video has no
        more frames than `track_length`.

    Raises
    ------
    VideoError
        The video cannot be read, or its frames are smaller than 16 pixels a side.

    References
    ----------
    Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013.
    """
    options = options or ExtractOptions()
    if isinstance(video, (str, Path)):
        source: Iterable[np.ndarray] = frames(video)
        name = name or Path(video).name
    else:
        source, name = video, name or "frames"
    levels: list[_Level] = []
    blocks: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    previous: _Frame | None = None
    n_frames, height, width = 0, 0, 0
    for index, image in enumerate(source):
        if index == 0:
            height, width = image.shape[:2]
            if min(width, height) < MIN_SIDE:
                raise VideoError(
                    name, f"frames are {width}x{height} pixels, fewer than {MIN_SIDE} a side"
                )
            levels = _start_levels(width, height, options)
        current = _analyse(to_grey(image), levels, with_keypoints=homographies is None)
        if previous is not None:
            known = None if homographies is None else homographies.get(index, np.eye(3))
            flows, stabilised = _flows(previous, current, levels, known, options)
            for k, level in enumerate(levels):
                _track(level, previous.pyramid[k], flows[k], stabilised[k], options)
                blocks.extend(_complete(level, index, options))
        for k, level in enumerate(levels):
            seeds = seed_points(
                current.eigenvalues[k], level.tracks.positions(), stride=options.stride
            )
            _seed(level, seeds, options)
        previous = current
        n_frames = index + 1
    if n_frames == 0:
        raise VideoError(name, "it has no frames")
    info = {
        "video": {"name": name, "width": width, "height": height, "n_frames": n_frames},
        "settings": asdict(options) | {"homographies": homographies is not None},
        "versions": provenance(),
    }
    return _table(blocks, (width, height, n_frames), options, info)


def _start_levels(width: int, height: int, options: ExtractOptions) -> list[_Level]:
    """Pyramid levels with no tracks yet."""
    return [
        _Level(scale, Tracks(options.track_length), Votes.empty(scale.height, scale.width))
        for scale in scales(
            width, height, patch_size=options.patch_size, max_scales=options.max_scales
        )
    ]


def _analyse(grey: np.ndarray, levels: list[_Level], *, with_keypoints: bool) -> _Frame:
    """Pyramid, eigenvalues, polynomial expansions and keypoints of a frame."""
    level_scales = [level.scale for level in levels]
    pyramid = grey_pyramid(grey, level_scales)
    return _Frame(
        pyramid=pyramid,
        eigenvalues=[min_eigenvalues(image) for image in pyramid],
        expansions=expand(grey, level_scales),
        keypoints=detect_and_describe(grey) if with_keypoints else None,
    )


def _flows(
    previous: _Frame,
    current: _Frame,
    levels: list[_Level],
    known: np.ndarray | None,
    options: ExtractOptions,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Flow between two frames, and flow with the camera's motion taken out, on every scale."""
    flows = flow_pyramid(previous.expansions, current.expansions)
    homography = known
    if homography is None:
        homography = _estimate_motion(previous, current, flows[0], options).homography
    warped = warp_frame(previous.pyramid[0], current.pyramid[0], homography)
    expansions = expand(warped, [level.scale for level in levels])
    return flows, flow_pyramid(previous.expansions, expansions)


def _estimate_motion(
    previous: _Frame, current: _Frame, flow: np.ndarray, options: ExtractOptions
) -> CameraMotion:
    """Camera motion from flow at the previous frame's corners and from SURF."""
    assert previous.keypoints is not None
    assert current.keypoints is not None
    by_flow = flow_pairs(flow, corners(previous.eigenvalues[0]))
    by_surf = match_keypoints(previous.keypoints, current.keypoints)
    return camera_motion(by_flow, by_surf, seed=options.seed)


def _seed(level: _Level, seeds: np.ndarray, options: ExtractOptions) -> None:
    """Begin tracks and make room for their histograms."""
    tracks = level.tracks
    tracks.start(seeds)
    fresh = tracks.live[len(tracks.live) - len(seeds) :]
    for descriptor in HISTOGRAM_DESCRIPTORS:
        size = options.n_cells**2 * descriptor.n_bins
        sums = level.sums.get(descriptor.name)
        if sums is None or len(sums) < tracks.capacity:
            grown = np.zeros((tracks.capacity, options.n_time_cells, size), np.float32)
            if sums is not None:
                grown[: len(sums)] = sums
            level.sums[descriptor.name] = sums = grown
        sums[fresh] = 0


def _track(
    level: _Level,
    grey: np.ndarray,
    flow: np.ndarray,
    stabilised: np.ndarray,
    options: ExtractOptions,
) -> None:
    """Move the tracks of a scale one frame on and describe the frame around them."""
    tracks = level.tracks
    tracks.advance(flow, stabilised)
    for descriptor in HISTOGRAM_DESCRIPTORS:
        descriptor.vote(grey, stabilised, level.votes)
        pool_along_tracks(
            integrate(level.votes, descriptor.n_bins),
            tracks.points,
            tracks.age,
            tracks.live,
            level.sums[descriptor.name],
            patch_size=options.patch_size,
            n_cells=options.n_cells,
            frames_per_cell=options.track_length // options.n_time_cells,
        )


def _complete(
    level: _Level, frame: int, options: ExtractOptions
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Rows of the valid tracks that reached their length in this frame."""
    slots = level.tracks.complete()
    if not len(slots):
        return
    valid, statistics, shapes = describe_tracks(level.tracks, slots, factor=level.scale.factor)
    if not valid.any():
        return
    meta = np.zeros((int(valid.sum()), len(META_COLUMNS)), np.float32)
    meta[:, 0] = frame
    meta[:, 1:6] = statistics[valid]
    meta[:, 6] = level.scale.factor
    frames_per_cell = np.float32(options.track_length // options.n_time_cells)
    descriptors = {"trajectory": shapes[valid]}
    for name, sums in level.sums.items():
        descriptors[name] = sums[slots[valid]].reshape(len(meta), -1) / frames_per_cell
    yield meta, descriptors


def _table(
    blocks: list[tuple[np.ndarray, dict[str, np.ndarray]]],
    size: tuple[int, int, int],
    options: ExtractOptions,
    info: dict[str, Any],
) -> Trajectories:
    """Join blocks of rows and fill the columns that need the video's whole length."""
    width, height, n_frames = size
    dimensions = {"trajectory": 2 * options.track_length}
    for descriptor in HISTOGRAM_DESCRIPTORS:
        dimensions[descriptor.name] = options.n_time_cells * options.n_cells**2 * descriptor.n_bins
    meta = np.concatenate([np.zeros((0, len(META_COLUMNS)), np.float32), *(m for m, _ in blocks)])
    meta[:, 7] = meta[:, 1] / width
    meta[:, 8] = meta[:, 2] / height
    meta[:, 9] = (meta[:, 0] - options.track_length / 2) / n_frames
    np.clip(meta[:, 7:10], 0, 0.999, out=meta[:, 7:10])
    descriptors = {
        name: np.concatenate([np.zeros((0, dimension), np.float32), *(d[name] for _, d in blocks)])
        for name, dimension in dimensions.items()
    }
    return Trajectories(meta, descriptors, info)
