"""Decode a video once and keep its small frames and its flow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from deep import flow as optical
from deep.flow import FlowSettings
from idt import jobs, video
from idt.arrays import BrokenArrayError, dataset, open_hdf5

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
    if not _is_made_by(frames_file, "frames", settings):
        resized = (_resized(frame, side) for frame in video.frames(path))
        _write(frames_file, "frames", resized, settings)
    n_frames, height, width, _ = _shape(frames_file, "frames")
    flow_file = None
    if flow is not None:
        flow_settings = {**settings, "flow": flow.fingerprint()}
        flow_file = folder / f"{_key(flow_settings)}.flow.h5"
        if not _is_made_by(flow_file, "flow", flow_settings):
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
    workers: jobs.Workers = 1,
    verbose: bool = False,
) -> list[jobs.Outcome[str | Path, Stored]]:
    """`store` for many videos; a video that cannot be read becomes an outcome with its error."""
    work = partial(store, folder=Path(folder), side=side, flow=flow)
    label = "frames" if flow is None else "frames and flow"
    return jobs.run(work, videos, label=label, workers=workers, verbose=verbose)


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
    with open_stored(stored.frames, "frames") as kept:
        images = np.stack([kept[int(index)] for index in middles])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) / np.float32(255)


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
    with open_stored(path, "frames") as kept:
        yield from kept


def _key(settings: dict[str, Any]) -> str:
    """Make a file name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def open_stored(path: Path, name: str) -> Iterator[h5py.Dataset]:
    """Open what `store` wrote, ``frames`` or ``flow``: uint8 (frame, row, column, channel).

    Raises
    ------
    ValueError
        It is broken; the message says what to do.
    """
    try:
        with open_hdf5(path) as opened:
            kept = dataset(opened, name)
            if kept.dtype != np.uint8 or kept.ndim != 4 or not kept.size:
                raise BrokenArrayError(f"{name} are {kept.dtype} {kept.shape}")
            yield kept
    except (OSError, RuntimeError, BrokenArrayError) as error:
        raise ValueError(
            f"{str(path)!r} must be what was stored of a video, got a broken file ({error}); "
            "delete it and run again"
        ) from error


def _shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of stored images."""
    with open_stored(path, name) as kept:
        return kept.shape


def _is_made_by(path: Path, name: str, settings: dict[str, Any]) -> bool:
    """Say whether a cache file is there, whole, and says that these settings made it."""
    try:
        with open_stored(path, name) as kept:
            return bool(json.loads(kept.file.attrs["settings"]) == settings)
    except (KeyError, TypeError, ValueError):
        return False


def _write(path: Path, name: str, images: Iterable[np.ndarray], settings: dict[str, Any]) -> None:
    """Write images one by one as a dataset, whole or not at all."""
    # Without a cache a full disk is an error where an image is written, not a crash at the end.
    with jobs.whole_file(path) as temporary, h5py.File(temporary, "w", rdcc_nbytes=0) as opened:
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
