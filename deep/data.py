"""From video files to batches: decode once, keep small frames and flow, cut clips out of them.

A video is decoded once. Its frames, the shorter side brought to the stored size, and the flow
between them are kept as uint8 in two HDF5 files, read back frame by frame; frames serve several
kinds of flow and the methods that need none. Stored frames are RGB, flow is as in `deep.flow`, in
pixels of the stored size.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import torch

from deep import flow as optical
from deep.clips import Clip, ClipSpec
from deep.flow import FlowSettings
from idt import jobs, video

FRAMES_VERSION = 1  # raised when the same settings give other bytes


@dataclass(frozen=True)
class Stored:
    """A decoded video on disk.

    Attributes
    ----------
    video
        The file that was decoded.
    frames
        HDF5 file with the dataset ``frames``, uint8 (frame, row, column, 3), RGB.
    flow
        HDF5 file with the dataset ``flow``, uint8 (field, row, column, 2), or 4 with the flow
        backward; None where none was asked for. n frames have n - 1 fields, a single frame has
        one, of no motion.
    n_frames
        Number of frames that were decoded.
    height, width
        Of the stored frames, in pixels.
    """

    video: Path
    frames: Path
    flow: Path | None
    n_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class View:
    """What is cut out of every frame and field of a clip, the same for all: a box and a mirror."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How clips become tensors.

    Parameters
    ----------
    size
        Side of the network's square input in pixels.
    scale
        Least share of the frame's height and of its width that a training view keeps; both are
        drawn independently from ``[scale, 1]`` and the box is brought to ``size`` x ``size``
        (Feichtenhofer et al. 2016 jitter both sides by a quarter). Tests see the whole frame.
    mirror
        Whether training views are flipped at random.
    subtract_mean
        Whether each flow field loses its mean vector, the two-stream paper's compensation of
        camera motion. The mean is taken over the whole field, before the box is cut.
    bound
        Of the stored flow, see `deep.flow`.
    """

    size: int = 112
    scale: float = 0.75
    mirror: bool = True
    subtract_mean: bool = True
    bound: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, got {self.scale}; try 0.75")
        if self.size < 16:
            raise ValueError(f"size must be at least 16 pixels, got {self.size}; try 112")

    def random_view(self, stored: Stored, rng: np.random.Generator) -> View:
        """Draw a training view."""
        height, width = (
            int(np.rint(side * rng.uniform(self.scale, 1.0)))
            for side in (stored.height, stored.width)
        )
        return View(
            top=int(rng.integers(0, stored.height - height + 1)),
            left=int(rng.integers(0, stored.width - width + 1)),
            height=height,
            width=width,
            flip=self.mirror and bool(rng.integers(2)),
        )


@dataclass(frozen=True)
class Batch:
    """One step's worth of clips.

    Attributes
    ----------
    rgb : Tensor of float32, shape (batch, segment, 3, frame, row, column)
        In [0, 1].
    flow : Tensor of float32, shape (batch, segment, 2, time, row, column), or None
        Pixels per frame, channels ``(dx, dy)``; None for networks that see none.
    labels : Tensor of int64, shape (batch,)
    """

    rgb: torch.Tensor
    flow: torch.Tensor | None
    labels: torch.Tensor


def store(
    path: str | Path, *, folder: Path, side: int = 128, flow: FlowSettings | None = None
) -> Stored:
    """Decode a video into the cache, or find it there.

    Parameters
    ----------
    path
        A video file. What is cached is known by its absolute path, size and time of change.
    folder
        The cache; made where it does not exist.
    side
        Length of the stored frames' shorter side in pixels, at least 32.
    flow
        Which flow to keep; None for frames alone.

    Raises
    ------
    idt.video.VideoError
        The video cannot be read.
    """
    if side < optical.MIN_SIDE:
        raise ValueError(f"side must be at least {optical.MIN_SIDE} pixels, got {side}; try 128")
    path = Path(path)
    if not path.is_file():
        raise video.VideoError(path, "no such file")
    folder.mkdir(parents=True, exist_ok=True)
    state = path.stat()
    settings: dict[str, Any] = {
        "path": str(path.resolve()),
        "size": state.st_size,
        "changed_ns": state.st_mtime_ns,
        "version": FRAMES_VERSION,
        "side": side,
    }
    frames_file = folder / f"{_key(settings)}.frames.h5"
    if not _is_made_by(frames_file, settings):
        resized = (_resized(frame, side) for frame in video.frames(path))
        _write(frames_file, "frames", resized, settings)
    with h5py.File(frames_file) as opened:
        n_frames, height, width, _ = opened["frames"].shape
    flow_file = None
    if flow is not None:
        flow_settings = {**settings, "flow": flow.fingerprint()}
        flow_file = folder / f"{_key(flow_settings)}.flow.h5"
        if not _is_made_by(flow_file, flow_settings):
            still = np.full((height, width, flow.n_channels), optical.ZERO, np.uint8)
            fields = optical.fields(_stored_frames(frames_file), settings=flow)
            _write(flow_file, "flow", fields if n_frames > 1 else [still], flow_settings)
    return Stored(path, frames_file, flow_file, n_frames, height, width)


def store_all(
    videos: Sequence[str | Path],
    *,
    folder: Path,
    side: int = 128,
    flow: FlowSettings | None = None,
    workers: int = 1,
    verbose: bool = False,
) -> list[jobs.Outcome[str | Path, Stored]]:
    """`store` for many videos; a video that cannot be read becomes an outcome with its error."""
    work = partial(store, folder=Path(folder), side=side, flow=flow)
    label = "frames" if flow is None else "frames and flow"
    return jobs.run(work, videos, label=label, workers=workers, verbose=verbose)


def read_clip(
    stored: Stored, clip: Clip, view: View, cutting: Cutting
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cut one clip out of a stored video.

    Parameters
    ----------
    stored
        With flow, where the clip has fields.
    clip
        Which frames and fields.
    view
        Which part of them. A box of another size than the input is resized (bilinear when it grows,
        by area when it shrinks), flow without change of its values: a pixel per frame stays a pixel
        of the stored video.
    cutting
        Input size and mean subtraction.

    Returns
    -------
    rgb : ndarray of float32, shape (segment, 3, frame, row, column)
        In [0, 1].
    flow : ndarray of float32, shape (segment, 2, time, row, column), or None
        Pixels per frame. In a flipped view the x components are negated. None for a clip without
        fields.
    """
    size = cutting.size
    n_segments, n_images = clip.frames.shape
    rgb = np.empty((n_segments, 3, n_images, size, size), np.float32)
    with h5py.File(stored.frames) as file:
        for segment, image in np.ndindex(n_segments, n_images):
            pixels = _cut(file["frames"][clip.frames[segment, image]], view, size)
            rgb[segment, :, image] = pixels.transpose(2, 0, 1) / np.float32(255)
    n_fields = clip.fields.shape[1] + clip.backward.shape[1]
    if not n_fields:
        return mirrored(rgb, None) if view.flip else (rgb, None)
    flow = np.empty((n_segments, 2, n_fields, size, size), np.float32)
    for segment, motion in enumerate(_motion(stored, clip, cutting)):
        for time, field in enumerate(motion):
            flow[segment, :, time] = _cut(field, view, size).transpose(2, 0, 1)
    return mirrored(rgb, flow) if view.flip else (rgb, flow)


def _motion(stored: Stored, clip: Clip, cutting: Cutting) -> Iterator[np.ndarray]:
    """Flow of each chunk, float32 (time, row, column, 2): forward, then backward."""
    if stored.flow is None:
        raise ValueError(f"stored must have flow, got none for {stored.video}; give `store` flow")
    with h5py.File(stored.flow) as file:
        for forward, backward in zip(clip.fields, clip.backward, strict=True):
            levels = _slab(file["flow"], forward)[..., :2]
            if len(backward):
                if file["flow"].shape[-1] < 4:
                    raise ValueError(
                        f"stored must have flow backward, got none for {stored.video}; give "
                        "`store` flow with backward=True"
                    )
                levels = np.concatenate([levels, _slab(file["flow"], backward)[..., 2:]])
            motion = optical.dequantise(levels, bound=cutting.bound)
            means = np.array([cv2.mean(field)[:2] for field in motion], np.float32)
            if clip.along_paths:
                motion = optical.follow(motion)
            yield motion - means[:, None, None] if cutting.subtract_mean else motion


def read_frames(stored: Stored, n_frames: int) -> np.ndarray:
    """Read whole frames at equal spacing.

    Parameters
    ----------
    stored
        Flow is not needed.
    n_frames
        How many; the middles of as many equal parts of the video, repeated in a short one.

    Returns
    -------
    ndarray of float32, shape (n_frames, 3, row, column)
        RGB in [0, 1] at the stored size.
    """
    middles = (np.arange(n_frames) + 0.5) * stored.n_frames / n_frames
    with h5py.File(stored.frames) as opened:
        images = np.stack([opened["frames"][int(index)] for index in middles])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) / np.float32(255)


def grid_views(stored: Stored, size: int, n: int) -> list[View]:
    """Boxes for testing, in raster order.

    Parameters
    ----------
    stored
        The video.
    size
        Side of the network's input in pixels.
    n
        1 for the whole frame; else n x n boxes of that size, or of the frame's shorter side where
        that is less, spread evenly from edge to edge.
    """
    if n < 1:
        raise ValueError(f"grid must be at least 1, got {n}; 3 gives nine crops")
    if n == 1:
        return [View(top=0, left=0, height=stored.height, width=stored.width)]
    side = min(size, stored.height, stored.width)
    tops, lefts = (
        np.rint(np.linspace(0, length - side, n)).astype(int)
        for length in (stored.height, stored.width)
    )
    return [View(int(top), int(left), side, side) for top in tops for left in lefts]


def mirrored(rgb: np.ndarray, flow: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Flip clips left to right: columns reversed, x components of the flow negated.

    Parameters
    ----------
    rgb : ndarray of float32, shape (..., 3, frame, row, column)
    flow : ndarray of float32, shape (..., 2, time, row, column), or None
    """
    rgb = rgb[..., ::-1].copy()
    if flow is None:
        return rgb, None
    flow = flow[..., ::-1].copy()
    flow[..., 0, :, :, :] *= -1
    return rgb, flow


def training_batches(
    videos: Sequence[Stored],
    labels: Sequence[int],
    *,
    spec: ClipSpec,
    cutting: Cutting,
    batch_size: int,
    n_clips: int,
    seed: int,
    epoch: int,
) -> Iterator[Batch]:
    """One epoch of random clips, classes drawn equally often.

    The clips depend on `seed`, `epoch` and their place in the epoch alone.

    Parameters
    ----------
    videos, labels
        The training set, one label per video.
    spec, cutting
        Form of the clips.
    batch_size
        Clips per batch; the last batch may be smaller.
    n_clips
        Clips in the epoch.
    seed, epoch
        Choose the random numbers.
    """
    rng = np.random.default_rng([seed, epoch])
    order = balanced_order(np.asarray(labels), n_clips, rng)

    def cut(place: int) -> tuple[np.ndarray, np.ndarray | None]:
        own = np.random.default_rng([seed, epoch, place])
        chosen = videos[order[place]]
        clip = spec.random(chosen.n_frames, own)
        return read_clip(chosen, clip, cutting.random_view(chosen, own), cutting)

    def collect(first: int) -> Batch:
        places = range(first, min(first + batch_size, n_clips))
        rgb, flow = zip(*(cut(place) for place in places), strict=True)
        chosen = np.asarray(labels, np.int64)[order[places.start : places.stop]]
        return Batch(
            torch.from_numpy(np.stack(rgb)),
            None if flow[0] is None else torch.from_numpy(np.stack(flow)),
            torch.from_numpy(chosen),
        )

    starts = range(0, n_clips, batch_size)
    with ThreadPoolExecutor(max_workers=1) as ahead:  # cuts the next batch while this one trains
        coming = ahead.submit(collect, starts[0])
        for following in starts[1:]:
            batch, coming = coming.result(), ahead.submit(collect, following)
            yield batch
        yield coming.result()


def balanced_order(labels: np.ndarray, n_clips: int, rng: np.random.Generator) -> np.ndarray:
    """Draw videos, every class equally often and in each class every video equally often.

    Parameters
    ----------
    labels : ndarray of int, shape (video,)
    n_clips
        How many indices to draw. Counts of two classes, and of two videos of a class, differ by
        one at most.
    rng
        Source of the order.

    Returns
    -------
    ndarray of int64, shape (n_clips,)
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rounds = -(-n_clips // len(members))
    classes = np.concatenate([rng.permutation(len(members)) for _ in range(rounds)])[:n_clips]
    order = np.empty(n_clips, np.int64)
    for index, videos in enumerate(members):
        places = np.flatnonzero(classes == index)
        passes = -(-len(places) // len(videos))
        cycle = [rng.permutation(videos) for _ in range(passes)]
        order[places] = np.concatenate([*cycle, np.empty(0, np.int64)])[: len(places)]
    return order


def _cut(image: np.ndarray, view: View, size: int) -> np.ndarray:
    """Cut a view's box out of (row, column, channel), brought to size x size."""
    box = image[view.top : view.top + view.height, view.left : view.left + view.width]
    if box.shape[:2] == (size, size):
        return box
    shrinks = box.shape[0] > size or box.shape[1] > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(box, (size, size), interpolation=method)


def _slab(dataset: h5py.Dataset, indices: np.ndarray) -> np.ndarray:
    """Read rows of a dataset in one piece; indices may repeat."""
    first = int(indices.min())
    return dataset[first : int(indices.max()) + 1][indices - first]


def _resized(frame: np.ndarray, side: int) -> np.ndarray:
    """Turn a BGR frame to RGB with its shorter side brought to `side`."""
    ratio = side / min(frame.shape[:2])
    if ratio != 1:
        size = (
            max(side, round(frame.shape[1] * ratio)),
            max(side, round(frame.shape[0] * ratio)),
        )
        method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
        frame = cv2.resize(frame, size, interpolation=method)
    return frame[..., ::-1]


def _stored_frames(path: Path) -> Iterator[np.ndarray]:
    with h5py.File(path) as opened:
        yield from opened["frames"]


def _key(settings: dict[str, Any]) -> str:
    """Make a file name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def _is_made_by(path: Path, settings: dict[str, Any]) -> bool:
    """Say whether a cache file is there, whole, and says that these settings made it."""
    try:
        with h5py.File(path) as opened:
            return bool(json.loads(opened.attrs["settings"]) == settings)
    except (OSError, KeyError, ValueError):
        return False


def _write(path: Path, name: str, images: Iterable[np.ndarray], settings: dict[str, Any]) -> None:
    """Write images one by one as a dataset, whole or not at all."""
    handle, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as opened:
            dataset: h5py.Dataset | None = None
            for index, image in enumerate(images):
                if dataset is None:
                    dataset = opened.create_dataset(
                        name,
                        shape=(0, *image.shape),
                        maxshape=(None, *image.shape),
                        chunks=(1, *image.shape),
                        dtype=np.uint8,
                    )
                dataset.resize(index + 1, axis=0)
                dataset[index] = image
            opened.attrs["settings"] = json.dumps(settings)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
