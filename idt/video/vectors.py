"""Motion vectors that a codec has left in a video file, with the frames' luma.

An encoder has already looked for every block's motion; the decoder only has to hand it on. MPEG-1,
-2 and -4, H.263, H.264 and their relatives have vectors. Codecs of single pictures (MJPEG, FFV1)
have none, and FFmpeg keeps those of HEVC, VP9 and AV1 to itself.

References
----------
Kantorov & Laptev, Efficient feature extraction, encoding and classification for action recognition,
CVPR 2014, section 3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.codec.context import Flags2
from av.sidedata.sidedata import Type

from idt.video.files import MAX_SIDE, UNKNOWN_CODEC, VideoError, checked_path, size_change

VECTOR = np.dtype(  # FFmpeg's AVMotionVector
    [
        ("source", "<i4"),
        ("w", "u1"),
        ("h", "u1"),
        ("src_x", "<i2"),
        ("src_y", "<i2"),
        ("dst_x", "<i2"),
        ("dst_y", "<i2"),
        ("flags", "<u8"),
        ("motion_x", "<i4"),
        ("motion_y", "<i4"),
        ("motion_scale", "<u2"),
    ],
    align=True,
)
PICTURES = {2: "P", 3: "B", 4: "P", 6: "P", 7: "B"}  # AVPictureType, where it is not I
MAX_DELAY = 16  # pictures; no codec keeps more of them
MAX_SILENT = 16  # first frames without a vector, after which none is expected any more
ADVICE = "use another flow (--flow farneback)"
FULL_RANGE = 2  # AVCOL_RANGE_JPEG

# Luma runs from 16 to 235 in most files.
FULL_LEVELS = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class CodecFrame:
    """A frame and the motion that it was coded with.

    Attributes
    ----------
    grey
        uint8 (row, column), luma spread over 0 to 255.
    picture
        ``"I"``, without vectors; ``"P"``, predicted from the past; ``"B"``, from past and future.
    vectors
        `VECTOR` (n,), a block each: `source` (negative: past, positive: future), size `w`, `h` and
        centre `dst_x`, `dst_y` in this frame, and the way from there to the centre in the source,
        `motion_x` / `motion_scale` and `motion_y` / `motion_scale` pixels.
    past, future
        Frames from the past reference to this one, and from this one to the future reference;
        0 where there is none.
    """

    grey: np.ndarray
    picture: str
    vectors: np.ndarray
    past: int
    future: int


@dataclass(frozen=True)
class _Coded:
    """What is known of a frame before it is decoded: its place in the file, and its use."""

    order: int
    disposable: bool


@dataclass
class _Picture:
    """A decoded frame whose references are still being looked for."""

    index: int
    order: int
    is_reference: bool
    grey: np.ndarray
    kind: str
    vectors: np.ndarray
    past: int = 0
    successor: _Picture | None = None


def frames_with_vectors(path: str | Path) -> Iterator[CodecFrame]:
    """Decode a video with its motion vectors, frame by frame, in the order of display.

    Vectors refer to the nearest reference picture that was decoded before. H.264 may choose an
    older one for a block, which FFmpeg does not tell: such vectors come out too long. FFmpeg does
    not tell the vectors of MPEG-4's B pictures either: these get the next reference picture's,
    as if the motion between two references were even. And of MPEG-4 with B pictures, the very last
    picture comes without its vectors.

    Parameters
    ----------
    path
        A video file.

    Yields
    ------
    CodecFrame
        With arrays of its own that may be kept.

    Raises
    ------
    VideoError
        The file cannot be read, is turned by its header, changes its size, is larger than 4096
        pixels a side, or has no motion vectors: not one in the first 16 frames, or in all of a
        shorter video.
    """
    path = checked_path(path)
    if path.is_dir():
        raise VideoError(path, f"a folder has no motion vectors; {ADVICE}")
    n_frames, found = 0, False
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError(path, "it has no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(path, UNKNOWN_CODEC)
            codec = stream.codec_context.name
            if stream.codec.intra_only:
                raise _silent(path, codec)
            for frame in _with_references(_decoded(path, container, stream), codec == "mpeg4"):
                n_frames += 1
                found = found or len(frame.vectors) > 0
                if not found and n_frames >= MAX_SILENT:
                    raise _silent(path, codec)
                yield frame
    except (av.FFmpegError, MemoryError) as error:
        if n_frames == 0:
            raise VideoError(path, f"no decoder can read it ({error})") from error
        raise VideoError(path, f"decoding fails ({error})", frame=n_frames) from error
    if n_frames == 0:
        raise VideoError(path, "not one frame can be decoded")
    if n_frames > 1 and not found:
        raise _silent(path, codec)


def _silent(path: Path, codec: str) -> VideoError:
    return VideoError(path, f"its codec, {codec}, gives no motion vectors; {ADVICE}")


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[_Picture]:
    """Pictures in the order of display, each with its place in the order of decoding."""
    context = stream.codec_context
    context.flags2 |= Flags2.export_mvs
    context.copy_opaque = True
    context.thread_count = 1  # slices of small frames are not worth a thread
    length_size = _length_size(context)
    shape: tuple[int, int] | None = None
    index = 0
    for order, packet in enumerate(container.demux(stream)):
        # PyAV keys this by the object's address: it must be an object of its own.
        packet.opaque = _Coded(order, _is_disposable(context.name, packet, length_size))
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            return  # where OpenCV ends, too
        for frame in frames:
            shape = _checked_shape(path, frame, index, shape)
            kind = PICTURES.get(int(frame.pict_type), "I")
            coded = frame.opaque or _Coded(index, False)
            is_reference = not coded.disposable and (kind != "B" or context.name == "h264")
            yield _Picture(index, coded.order, is_reference, _luma(frame), kind, _vectors(frame))
            index += 1


def _checked_shape(
    path: Path, frame: Any, index: int, shape: tuple[int, int] | None
) -> tuple[int, int]:
    """Height and width of a frame that is neither too large, nor of another size, nor turned."""
    height, width = frame.height, frame.width
    if shape is not None and shape != (height, width):
        raise size_change(path, shape[::-1], (width, height), index)
    if max(height, width) > MAX_SIDE:
        raise VideoError(
            path,
            f"frames are {width}x{height} pixels, more than {MAX_SIDE} a side; scale it down first",
        )
    turned = frame.side_data.get(Type.DISPLAYMATRIX)
    if turned is not None and not np.array_equal(
        np.frombuffer(turned, "<i4")[[0, 1, 3, 4]], [65536, 0, 0, 65536]
    ):
        raise VideoError(
            path,
            "its header turns the frames, which motion vectors do not follow; "
            f"{ADVICE}, or re-encode it upright",
        )
    return height, width


def _luma(frame: Any) -> np.ndarray:
    """Grey levels of a frame out of its luma plane; other formats are converted."""
    kind = frame.format
    if kind.is_rgb or not kind.is_planar or kind.components[0].bits != 8:
        return frame.to_ndarray(format="gray")
    plane = frame.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[
        : frame.height, : frame.width
    ]
    if frame.color_range == FULL_RANGE or kind.name.startswith(("yuvj", "gray")):
        return luma.copy()
    return cv2.LUT(luma, FULL_LEVELS)


def _vectors(frame: Any) -> np.ndarray:
    """Motion vectors of a frame, copied: PyAV's array would keep the whole frame."""
    vectors = frame.side_data.get(Type.MOTION_VECTORS)
    return np.empty(0, VECTOR) if vectors is None else np.array(vectors.to_ndarray(), VECTOR)


def _length_size(context: Any) -> int:
    """Bytes that give a unit's length in H.264 as MP4 stores it; 0 where start codes part units."""
    header = bytes(context.extradata or b"")
    return (header[4] & 3) + 1 if len(header) > 4 and header[0] == 1 else 0


def _is_disposable(codec: str, packet: Any, length_size: int) -> bool:
    """Whether no other picture refers to this one: only H.264 says so in the packet."""
    if codec != "h264":
        return False
    data = bytes(packet)
    start = 0 if length_size else data.find(b"\0\0\1")
    while 0 <= start and start + max(length_size, 3) < len(data):
        first = data[start + (length_size or 3)]
        if first & 31 in (1, 2, 5):  # a slice
            return first >> 5 & 3 == 0
        if length_size:
            start += length_size + int.from_bytes(data[start : start + length_size], "big")
        else:
            start = data.find(b"\0\0\1", start + 3)
    return False


def _with_references(pictures: Iterator[_Picture], b_is_mute: bool) -> Iterator[CodecFrame]:
    """Frames with the distances to their references; a B picture waits for the one to come."""
    references: deque[tuple[int, int]] = deque(maxlen=2 * MAX_DELAY)
    held: deque[_Picture] = deque()
    for picture in pictures:
        earlier = (index for index, order in reversed(references) if order < picture.order)
        picture.past = picture.index - next(earlier, picture.index)
        if picture.is_reference:
            references.append((picture.index, picture.order))
            for waiting in held:
                if waiting.successor is None and picture.order < waiting.order:
                    waiting.successor = picture
        held.append(picture)
        while held and (
            held[0].kind != "B"
            or held[0].successor is not None
            or picture.index - held[0].index >= MAX_DELAY
        ):
            yield _finished(held.popleft(), b_is_mute)
    for picture in held:
        yield _finished(picture, b_is_mute)


def _finished(picture: _Picture, b_is_mute: bool) -> CodecFrame:
    """The frame of a picture; where B pictures are mute, with the next reference's vectors."""
    vectors, past, successor = picture.vectors, picture.past, picture.successor
    future = successor.index - picture.index if successor is not None else 0
    if b_is_mute and picture.kind == "B":
        vectors, past, future = np.empty(0, VECTOR), 0, 0
        if successor is not None:
            vectors, past = successor.vectors, successor.past
    return CodecFrame(picture.grey, picture.kind, vectors, past, future)
