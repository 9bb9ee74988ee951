"""Decode a video once and keep its small frames and its flow."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from deep import flow as optical
from deep.data.given import given_fields, given_flow
from deep.flow import FlowFolder, FlowSettings
from idt import jobs, video
from idt.arrays import BrokenArrayError, dataset, open_hdf5

FRAMES_VERSION = 1  # raised when the same settings give other bytes


@dataclass(frozen=True)
class Stored:
    """A decoded video on disk.

    Attributes
    ----------
    video
        The file, or the folder of images, that was decoded.
    frames
        HDF5 file with the dataset ``frames``, uint8 (frame, row, column, 3), RGB.
    flow
        HDF5 file with the dataset ``flow``, uint8 (field, row, column, 2), or 4 with the flow
        backward; None where none was asked for. n frames have n - 1 fields, a single frame has
        one, of no motion. Where each field has bounds of its own, the dataset ``bounds``, float32
        (field, channel).
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
    path: str | Path,
    *,
    folder: Path,
    side: int = 128,
    flow: FlowSettings | None = None,
    device: str = "cpu",
) -> Stored:
    """Decode a video into the cache, or find it there; its frames and its flow in one pass.

    Parameters
    ----------
    path
        A video file, or a folder of images, with or without flow beside them
        (`deep.flow.read_folder`). What is cached is known by its absolute path, size and time of
        change.
    folder
        The cache; made where it does not exist.
    side
        Length of the stored frames' shorter side in pixels, at least 32.
    flow
        Which flow to keep; None for frames alone. Of a folder with flow beside its images that flow
        is kept, and refused where it was made in another way.
    device
        Where TV-L1 flow is computed, see `deep.flow.fields`.

    Raises
    ------
    idt.video.VideoError
        The video cannot be read, or images and flow of a folder do not fit.
    ValueError
        `side` is too small, or the flow of a folder is not the one that is wanted.
    """
    if side < optical.MIN_SIDE:
        raise ValueError(f"side must be at least {optical.MIN_SIDE} pixels, got {side}; try 128")
    path = Path(path)
    beside = given_flow(path, flow, side=side)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**_identity(path), "version": FRAMES_VERSION, "side": side}
    frames_file = folder / f"{_key(settings)}.frames.h5"
    flow_file = None
    with ExitStack() as files:
        known = _is_made_by(frames_file, "frames", settings)
        if known:
            images = _stored_frames(frames_file)
        else:
            images = files.enter_context(_rows(frames_file, "frames", settings)).keep(
                decoded(path, side)
            )
        if flow is not None:
            flow_settings = {**settings, "flow": flow.fingerprint()}
            if beside is not None:
                places = [each[0].parent for each in (beside.x, beside.y) if each]
                flow_settings["beside"] = [_identity(place) for place in places]
            flow_file = folder / f"{_key(flow_settings)}.flow.h5"
            if not _is_made_by(flow_file, "flow", flow_settings):
                rows = files.enter_context(_rows(flow_file, "flow", flow_settings))
                _keep_flow(rows, images, flow, beside, device=device)
        if not known:
            for _ in images:  # what the flow had no need for
                pass
    n_frames, height, width, _ = _shape(frames_file, "frames")
    return Stored(path, frames_file, flow_file, n_frames, height, width)


def store_all(
    videos: Sequence[str | Path],
    *,
    folder: Path,
    side: int = 128,
    flow: FlowSettings | None = None,
    device: str = "cpu",
    workers: jobs.Workers = 1,
    verbose: bool = False,
) -> list[jobs.Outcome[str | Path, Stored]]:
    """`store` for many videos; a video that cannot be read becomes an outcome with its error.

    Flow of folders that is not the one that is wanted, and a device that is not there, are refused
    before anything is decoded. Folders whose last field is left out are named in one warning.
    """
    surplus = []
    if flow is not None:
        if not flow.is_given:
            optical.check_device(flow, device)
        for path in map(Path, videos):
            with suppress(video.VideoError):  # which `store` says of that video alone
                beside = given_flow(path, flow, side=side)
                if beside is not None and beside.surplus:
                    surplus.append(path.name)
    if surplus:
        warnings.warn(
            f"{len(surplus)} of {len(videos)} folders hold as many fields of flow as images, such "
            f"as {surplus[0]!r}; the last field, which leads out of the video, is left out",
            stacklevel=2,
        )
    work = partial(store, folder=Path(folder), side=side, flow=flow, device=device)
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
    images, _ = read_images(stored.frames, "frames", middles.astype(np.intp))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)) / np.float32(255)


def _identity(path: Path) -> dict[str, Any]:
    """Tell a video or a folder, as it is now, from any other."""
    state = path.stat()
    known = {
        "path": str(path.resolve()),
        "size": state.st_size,
        "changed_ns": state.st_mtime_ns,
    }
    return {**known, "files": jobs.file_key(path, {})} if path.is_dir() else known


def decoded(path: Path, side: int | None) -> Iterator[np.ndarray]:
    """RGB frames of a video, the shorter side brought to `side` pixels; None leaves their size."""
    for frame in video.frames(path):
        yield np.ascontiguousarray(_resized(frame, side or min(frame.shape[:2]))[..., ::-1])


def _resized(frame: np.ndarray, side: int) -> np.ndarray:
    """Bring the shorter side of a frame to `side` pixels."""
    ratio = side / min(frame.shape[:2])
    if ratio == 1:
        return frame
    size = max(side, round(frame.shape[1] * ratio)), max(side, round(frame.shape[0] * ratio))
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, size, interpolation=method))


def _keep_flow(
    rows: _Rows,
    images: Iterator[np.ndarray],
    flow: FlowSettings,
    beside: FlowFolder | None,
    *,
    device: str,
) -> None:
    """Fill the file of the flow: computed from the images, or read from beside them."""
    size: tuple[int, ...] = ()
    n_images = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal size, n_images
        for image in images:
            size, n_images = image.shape[:2], n_images + 1
            yield image

    if beside is None:
        fields = optical.fields(counted(), settings=flow, device=device)
    else:
        for _ in counted():
            pass
        fields = given_fields(beside, bound=flow.bound, n_images=n_images, size=size)
    bounds = []
    for field in fields:
        own = optical.largest(field)
        rows.append(optical.quantise(field, bound=own if flow.bound is None else flow.bound))
        bounds.append(own)
    if not bounds:  # a single frame
        rows.append(np.full((*size, flow.n_channels), optical.ZERO, np.uint8))
        bounds.append(np.ones(flow.n_channels, np.float32))
    if flow.bound is None:
        rows.file["bounds"] = np.stack(bounds)


def _stored_frames(path: Path) -> Iterator[np.ndarray]:
    with open_stored(path, "frames") as kept:
        yield from kept


def _key(settings: dict[str, Any]) -> str:
    """Make a file name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Layout:
    """Where the images of a file that `store` wrote stand in it.

    Attributes
    ----------
    shape
        Image, row, column and channel; a byte each.
    places : ndarray of int64, shape (image,)
        Bytes from the start of the file.
    bounds : ndarray of float32, shape (image, channel), or None
        Of flow whose fields have bounds of their own.
    """

    shape: tuple[int, int, int, int]
    places: np.ndarray
    bounds: np.ndarray | None


def read_images(path: Path, name: str, indices: np.ndarray) -> tuple[np.ndarray, Layout]:
    """Read images of what `store` wrote, ``frames`` or ``flow``.

    HDF5 tells once where they stand; after that they are read from there, which takes no lock.

    Returns
    -------
    ndarray of uint8, shape (index, row, column, channel)
        In the order of `indices`, which may repeat.
    Layout
        Of the file.

    Raises
    ------
    ValueError
        It is broken; the message says what to do.
    """
    with _whole_or_told(path):
        state = path.stat()
        layout = _layout(path, name, state.st_size, state.st_mtime_ns)
        if indices.max() >= layout.shape[0]:
            raise BrokenArrayError(f"{name} are {layout.shape[0]}, image {indices.max()} is wanted")
        images = np.empty((len(indices), *layout.shape[1:]), np.uint8)
        with path.open("rb", buffering=0) as file:
            for image, place in zip(images, layout.places[indices], strict=True):
                file.seek(place)
                if file.readinto(image.data) != image.size:
                    raise BrokenArrayError(f"{name} end too early")
        return images, layout


@lru_cache(maxsize=8192)
def _layout(path: Path, name: str, size: int, changed_ns: int) -> Layout:
    """Ask HDF5 for the layout of a file, once as long as its size and time of change stay."""
    with open_stored(path, name) as kept:
        n_images, n_bytes = len(kept), int(np.prod(kept.shape[1:]))
        if kept.chunks is None:
            first = kept.id.get_offset()
            places = [None if first is None else first + k * n_bytes for k in range(n_images)]
        elif kept.chunks == (1, *kept.shape[1:]):
            chunks = (kept.id.get_chunk_info_by_coord((k, 0, 0, 0)) for k in range(n_images))
            places = [chunk.byte_offset for chunk in chunks]
        else:
            raise BrokenArrayError(f"{name} are stored in pieces of {kept.chunks}")
        if None in places:
            raise BrokenArrayError(f"{name} were not all written")
        bounds = None
        if "bounds" in kept.file:
            bounds = dataset(kept.file, "bounds")[:]
            if bounds.shape != (n_images, kept.shape[3]):
                raise BrokenArrayError(f"bounds are {bounds.shape}")
        return Layout(kept.shape, np.array(places), bounds)


@contextmanager
def open_stored(path: Path, name: str) -> Iterator[h5py.Dataset]:
    """Open what `store` wrote, ``frames`` or ``flow``: uint8 (frame, row, column, channel).

    Raises
    ------
    ValueError
        It is broken; the message says what to do.
    """
    with _whole_or_told(path), open_hdf5(path) as opened:
        kept = dataset(opened, name)
        if kept.dtype != np.uint8 or kept.ndim != 4 or not kept.size:
            raise BrokenArrayError(f"{name} are {kept.dtype} {kept.shape}")
        yield kept


@contextmanager
def _whole_or_told(path: Path) -> Iterator[None]:
    """Turn what a broken file sets off into an error that says what to do."""
    try:
        yield
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


@contextmanager
def _rows(path: Path, name: str, settings: dict[str, Any]) -> Iterator[_Rows]:
    """Open a cache file to be written, whole or not at all."""
    # Without a cache a full disk is an error where an image is written, not a crash at the end.
    with jobs.whole_file(path) as temporary, h5py.File(temporary, "w", rdcc_nbytes=0) as file:
        yield _Rows(file, name)
        file.attrs["settings"] = json.dumps(settings)


@dataclass
class _Rows:
    """Images that are written one by one as a dataset."""

    file: h5py.File
    name: str

    def append(self, image: np.ndarray) -> None:
        """Write the next image."""
        if self.name not in self.file:
            self.file.create_dataset(
                self.name,
                shape=(0, *image.shape),
                maxshape=(None, *image.shape),
                chunks=(1, *image.shape),
                dtype=np.uint8,
            )
        dataset = self.file[self.name]
        dataset.resize(len(dataset) + 1, axis=0)
        dataset[-1] = image

    def keep(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Give images on once they are written."""
        for image in images:
            self.append(image)
            yield image
