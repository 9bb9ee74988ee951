"""Video files to frames: the only decoder of the project.

Frames are ``(row, column, 3)`` uint8 arrays in OpenCV's BGR order. OpenCV decodes; where it yields
nothing (AV1 and a few pixel formats in the pip wheels), PyAV is tried, and only when that fails too
is the file refused. A declared frame count is never believed: frames are read until they end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

# What is wrong with a file is said once, by VideoError, and not by FFmpeg on standard error too.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_SIDE = 4096  # pixels; a header that claims more is refused before memory is taken


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


def probe(path: str | Path) -> VideoInfo:
    """Read the header and the first frame of a video.

    Parameters
    ----------
    path
        A video file.

    Returns
    -------
    VideoInfo
        Width and height in pixels as decoded (rotation applied), frames per second (0 where the
        file gives none) and the declared number of frames.

    Raises
    ------
    VideoError
        The file is missing, is no video, or gives not one frame.
    """
    path = _checked_path(path)
    frame = next(frames(path))
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        declared = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    finally:
        capture.release()
    return VideoInfo(
        path=path,
        width=frame.shape[1],
        height=frame.shape[0],
        fps=float(fps) if np.isfinite(fps) and fps > 0 else 0.0,
        declared_frames=int(declared) if np.isfinite(declared) and declared > 0 else 0,
    )


def frames(path: str | Path, *, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Decode a video frame by frame.

    Parameters
    ----------
    path
        A video file.
    start, stop
        0-based range of frames, as in ``range(start, stop)``; `stop=None` reads to the end.

    Yields
    ------
    ndarray of uint8, shape (row, column, 3)
        BGR frames, all of one size. Each is an array of its own that may be kept.

    Raises
    ------
    VideoError
        The file is missing, empty, not a video, gives not one frame, is larger than 4096 pixels a
        side, or changes its size in mid-stream (the frame is named).
    """
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(
            f"start and stop must be 0 <= start <= stop, got {start} and {stop}; "
            "count frames from 0"
        )
    path = _checked_path(path)
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(_decoded(path)):
        if shape is None:
            shape = frame.shape
            _check_side(path, frame.shape[1], frame.shape[0])
        elif frame.shape != shape:
            raise VideoError(
                path,
                f"the size changes from {shape[1]}x{shape[0]} to {frame.shape[1]}x"
                f"{frame.shape[0]} pixels; re-encode it at one size",
                frame=index,
            )
        if stop is not None and index >= stop:
            return
        if index >= start:
            yield frame


def read(path: str | Path, *, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Decode a whole video, or a range of it, into one uint8 array (frame, row, column, 3), BGR.

    Takes `n_frames` times a frame's memory; use `frames` to stream. Raises as `frames` does.
    """
    decoded = list(frames(path, start=start, stop=stop))
    if not decoded:
        raise VideoError(path, f"no frame in the range {start} to {stop}")
    return np.stack(decoded)


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise VideoError(path, "no such file")
    if not path.is_file():
        raise VideoError(path, "not a file")
    if path.stat().st_size == 0:
        raise VideoError(path, "the file is empty (0 bytes)")
    return path


def _check_side(path: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        raise VideoError(
            path,
            f"frames are {width}x{height} pixels, more than {MAX_SIDE} a side; scale it down first",
        )


def _decoded(path: Path) -> Iterator[np.ndarray]:
    """Frames from the first decoder that yields any."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if capture.isOpened():
            _check_side(
                path,
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            )
            ok, frame = capture.read()
            if ok:
                while ok:
                    yield frame
                    ok, frame = capture.read()
                return
    except cv2.error as error:
        raise VideoError(path, f"OpenCV cannot decode it ({error.err})") from error
    finally:
        capture.release()
    yield from _decoded_by_av(path)


def _decoded_by_av(path: Path) -> Iterator[np.ndarray]:
    """Frames through PyAV, for files out of which OpenCV gets nothing."""
    n_frames = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(path, "it has no video stream")
            stream = container.streams.video[0]
            _check_side(path, stream.codec_context.width, stream.codec_context.height)
            for frame in container.decode(stream):
                n_frames += 1
                yield frame.to_ndarray(format="bgr24")
    except (av.FFmpegError, MemoryError) as error:
        if n_frames == 0:
            raise VideoError(path, f"no decoder can read it ({error})") from error
        raise VideoError(path, f"decoding fails ({error})", frame=n_frames) from error
    if n_frames == 0:
        raise VideoError(path, "not one frame can be decoded")
