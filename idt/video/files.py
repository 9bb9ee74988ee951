"""Video files and folders of images to frames.

Frames are ``(row, column, 3)`` uint8 arrays in OpenCV's BGR order. OpenCV decodes; where it yields
nothing (AV1 and a few pixel formats in the pip wheels), PyAV is tried, and only when that fails too
is the file refused. A declared frame count is never believed: frames are read until they end. That
a size changes on the way is found out beside the decoding, see `idt.video.sizes`.
A folder's images are its frames, in the order of the numbers in their names; flow that lies beside
them, ``flow_x_00001.jpg`` and ``flow_y_00001.jpg``, is none of them.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from idt.video.sizes import coded_sizes

# What is wrong with a file is said once, by VideoError, and not by FFmpeg on standard error too.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_SIDE = 4096  # pixels; a header that claims more is refused before memory is taken
BURST_BYTES = 1 << 21  # of frames that are decoded in a row before the first is given out
LARGEST_SIDE = 16384  # pixels; what is scaled down has to be decoded first
UNKNOWN_CODEC = "its header names no codec that can be decoded; re-encode it"
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".webp"}
)
FLOW_IMAGES = ("flow_x", "flow_y")  # how files begin that are no frames


class VideoError(ValueError):
    """A video that cannot be used, with the file, the frame (0-based) and the reason."""

    def __init__(self, path: str | Path, reason: str, *, frame: int | None = None) -> None:
        self.path = Path(path)
        self.frame = frame
        self.reason = reason
        where = "" if frame is None else f" at frame {frame}"
        super().__init__(f"cannot read video {str(self.path)!r}{where}: {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_error, (self.path, self.reason, self.frame)


def _rebuild_error(path: Path, reason: str, frame: int | None) -> VideoError:
    """Unpickle a VideoError that comes back from a worker process."""
    return VideoError(path, reason, frame=frame)


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself; `declared_frames` is often wrong, and 0 where none are."""

    path: Path
    width: int
    height: int
    fps: float
    declared_frames: int


def probe(path: str | Path, *, max_side: int | None = None) -> VideoInfo:
    """Read the header and the first frame of a video.

    Parameters
    ----------
    path
        A video file, or a folder of images.
    max_side
        As for `frames`.

    Returns
    -------
    VideoInfo
        Width and height in pixels as `frames` gives them (rotated and scaled down), frames per
        second (0 where the file gives none) and the declared number of frames; of a folder the
        number of images.

    Raises
    ------
    VideoError
        The file is missing, is no video, or gives not one frame.
    """
    path = checked_path(path)
    frame = next(frames(path, max_side=max_side))
    return VideoInfo(
        path=path,
        width=frame.shape[1],
        height=frame.shape[0],
        fps=0.0 if path.is_dir() else _header(path, cv2.CAP_PROP_FPS),
        declared_frames=declared_frames(path),
    )


def declared_frames(path: str | Path) -> int:
    """Number of frames that a file claims to have, of a folder that of its images.

    Nothing is decoded. 0 where the file does not say; `VideoError` where there is none.
    """
    path = checked_path(path)
    if path.is_dir():
        return len(_image_files(path))
    return int(_header(path, cv2.CAP_PROP_FRAME_COUNT))


def _header(path: Path, quantity: int) -> float:
    """Number from a file's header; 0 where it is none above 0."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        number = float(capture.get(quantity))
    finally:
        capture.release()
    return number if np.isfinite(number) and number > 0 else 0.0


def frames(
    path: str | Path,
    *,
    start: int = 0,
    stop: int | None = None,
    max_side: int | None = None,
    threads: int | None = None,
) -> Iterator[np.ndarray]:
    """Decode a video frame by frame.

    Parameters
    ----------
    path
        A video file, or a folder of images (png, jpg, bmp, tif, ppm, pgm, webp), which are taken in
        the order of the numbers in their names.
    start, stop
        0-based range of frames, as in ``range(start, stop)``; `stop=None` reads to the end.
    max_side
        Pixels, at least 1. Frames with a longer side are scaled down to it, by the mean over each
        pixel's area, and keep their aspect. None refuses frames of more than 4096 pixels a side.
    threads
        Number of threads that decode a file, at least 1; None lets the decoder choose.

    Yields
    ------
    ndarray of uint8, shape (row, column, 3)
        BGR frames, all of one size. Each is an array of its own that may be kept.

    Raises
    ------
    VideoError
        The file is missing, empty, not a video, gives not one frame, is larger than 4096 pixels a
        side (16384 where `max_side` is given), or changes its size in mid-stream (the frame is
        named). Of a folder, that it has no images, or the image that cannot be used.
    """
    check_range(start, stop, max_side)
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}; give a number of threads")
    path = checked_path(path)
    limit = MAX_SIDE if max_side is None else LARGEST_SIDE
    source = _decoded_images(path, limit) if path.is_dir() else _decoded(path, limit, threads)
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(_in_bursts(islice(source, stop))):
        if shape is None:
            shape = frame.shape
            _check_side(path, frame.shape[1], frame.shape[0], limit)
        elif frame.shape != shape:
            raise size_change(path, shape[1::-1], frame.shape[1::-1], index)
        if index >= start:
            yield shrink(frame, max_side)


def _in_bursts(source: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Decode some frames in a row: the decoder's tables stay in the cache for all but the first."""
    failure: VideoError | None = None
    burst: deque[np.ndarray] = deque()
    is_done = False
    while not is_done:
        n_bytes = 0
        try:
            while n_bytes < BURST_BYTES and not is_done:
                frame = next(source, None)
                if frame is None:
                    is_done = True
                else:
                    burst.append(frame)
                    n_bytes += frame.nbytes
        except VideoError as error:  # behind the frames that come before it
            failure, is_done = error, True
        while burst:
            yield burst.popleft()
    if failure is not None:
        raise failure


def read(
    path: str | Path, *, start: int = 0, stop: int | None = None, max_side: int | None = None
) -> np.ndarray:
    """Decode a whole video, or a range of it, into one uint8 array (frame, row, column, 3), BGR.

    Takes `n_frames` times a frame's memory; use `frames` to stream, which tells the parameters too.
    Raises as `frames` does.
    """
    decoded = list(frames(path, start=start, stop=stop, max_side=max_side))
    if not decoded:
        raise VideoError(path, f"no frame in the range {start} to {stop}")
    return np.stack(decoded)


def check_range(start: int, stop: int | None, max_side: int | None) -> None:
    """Refuse a range of frames, or a longest side, that cannot be."""
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(
            f"start and stop must be 0 <= start <= stop, got {start} and {stop}; "
            "count frames from 0"
        )
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side must be at least 1 pixel, got {max_side}; raise it")


def shrink(frame: np.ndarray, max_side: int | None) -> np.ndarray:
    """Scale a frame down to a longest side, by the mean over each pixel's area.

    Parameters
    ----------
    frame
        uint8 (row, column) or (row, column, 3).
    max_side
        Pixels; frames with no longer side, and all where it is None, come back as they are.
    """
    height, width = frame.shape[:2]
    longest = max(height, width)
    if max_side is None or longest <= max_side:
        return frame
    size = [max(round(side * max_side / longest), 1) for side in (width, height)]
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def content_hash(path: str | Path) -> str:
    """Tell a video by its bytes, whatever its name, place and time.

    Parameters
    ----------
    path
        A video file, or a folder of images.

    Returns
    -------
    str
        SHA-256 as 64 hexadecimal digits: of the file's bytes, as ``sha256sum`` prints it; of a
        folder, of its images' own SHA-256, 32 bytes each, in the order of the frames.

    Raises
    ------
    VideoError
        The file is missing or empty, or the folder has no images.
    """
    path = checked_path(path)
    if path.is_dir():
        digests = [_file_digest(image) for image in _image_files(path)]
        return hashlib.sha256(b"".join(digests)).hexdigest()
    return _file_digest(path).hex()


def size_change(
    path: Path, before: tuple[int, ...], after: tuple[int, ...], frame: int
) -> VideoError:
    """Error about a file whose frames change from one width and height to another."""
    return VideoError(
        path,
        f"the size changes from {before[0]}x{before[1]} to {after[0]}x{after[1]} pixels; "
        "re-encode it at one size",
        frame=frame,
    )


def _file_digest(path: Path) -> bytes:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def checked_path(path: str | Path) -> Path:
    """A path that is a folder, or a file with something in it."""
    path = Path(path)
    if not path.exists():
        raise VideoError(path, "no such file")
    if path.is_dir():
        return path
    if not path.is_file():
        raise VideoError(path, "neither a file nor a folder")
    if path.stat().st_size == 0:
        raise VideoError(path, "the file is empty (0 bytes)")
    return path


def _check_side(
    path: Path, width: int, height: int, limit: int, *, frame: int | None = None
) -> None:
    """Refuse frames that are too large to be decoded."""
    if max(width, height) <= limit:
        return
    advice = "give max_side (--max-side) to have it scaled down"
    if max(width, height) > LARGEST_SIDE:
        advice = "scale it down first"
    raise VideoError(
        path, f"frames are {width}x{height} pixels, more than {limit} a side; {advice}", frame=frame
    )


def _decoded(path: Path, limit: int, threads: int | None) -> Iterator[np.ndarray]:
    """Frames from the first decoder that yields any."""
    settings = [] if threads is None else [cv2.CAP_PROP_N_THREADS, threads]
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, settings)
    try:
        if capture.isOpened():
            _check_side(
                path,
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
                limit,
            )
            n_frames, sizes = 0, coded_sizes(path)
            size = next(sizes, None)
            ok, frame = capture.read()
            while ok:
                yield frame
                n_frames += 1
                coded = next(sizes, size)
                size = size or coded
                if size is not None and coded is not None and coded != size:
                    raise size_change(path, size, coded, n_frames)
                ok, frame = capture.read()
            if n_frames:
                return
    except cv2.error as error:
        raise VideoError(path, f"OpenCV cannot decode it ({error.err})") from error
    finally:
        capture.release()
    yield from _decoded_by_av(path, limit, threads)


def _decoded_by_av(path: Path, limit: int, threads: int | None) -> Iterator[np.ndarray]:
    """Frames through PyAV, for files out of which OpenCV gets nothing."""
    n_frames = 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError(path, "it has no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(path, UNKNOWN_CODEC)
            stream.codec_context.thread_count = threads or 0
            _check_side(path, stream.codec_context.width, stream.codec_context.height, limit)
            for frame in container.decode(stream):
                n_frames += 1
                yield frame.to_ndarray(format="bgr24")
    except (av.FFmpegError, MemoryError) as error:
        if n_frames == 0:
            raise VideoError(path, f"no decoder can read it ({error})") from error
        raise VideoError(path, f"decoding fails ({error})", frame=n_frames) from error
    if n_frames == 0:
        raise VideoError(path, "not one frame can be decoded")


def _image_files(folder: Path) -> list[Path]:
    """Images of a folder, by the numbers in their names; hidden files and flow are left out."""
    images = [
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES
        and not entry.name.startswith(".")
        and not entry.name.lower().startswith(FLOW_IMAGES)
        and entry.is_file()
    ]
    if not images:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise VideoError(folder, f"the folder holds no images ({suffixes})")
    return sorted(images, key=_natural_order)


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    """Sort key that puts frame_10 after frame_9."""
    parts: list[str | int] = list(re.split("([0-9]+)", path.name.lower()))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, path.name


def _decoded_images(folder: Path, limit: int) -> Iterator[np.ndarray]:
    """Frames of a folder, of one size; errors name the image."""
    shape: tuple[int, ...] | None = None
    for index, path in enumerate(_image_files(folder)):
        image = _decoded_image(path, index, limit)
        if shape is None:
            shape = image.shape
        elif image.shape != shape:
            raise VideoError(
                path,
                f"it has {image.shape[1]}x{image.shape[0]} pixels, the first image of the folder "
                f"{shape[1]}x{shape[0]}; make all of one size",
                frame=index,
            )
        yield image


def _decoded_image(path: Path, index: int, limit: int) -> np.ndarray:
    """Image as a frame; its header is read first, so that an absurd size takes no memory."""
    try:
        content = path.read_bytes()
        with av.open(io.BytesIO(content)) as container:
            sizes = [(part.width, part.height) for part in container.streams.video]
    except (OSError, av.FFmpegError) as error:
        reason = f"it cannot be read as an image ({error.strerror})"
        raise VideoError(path, reason, frame=index) from error
    width, height = sizes[0] if sizes else (0, 0)
    if not width or not height:
        raise VideoError(path, "no size of an image can be read from its header", frame=index)
    _check_side(path, width, height, limit, frame=index)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise VideoError(path, f"OpenCV cannot decode it ({error.err})", frame=index) from error
    if image is None:
        raise VideoError(path, "it cannot be decoded as an image", frame=index)
    return image
