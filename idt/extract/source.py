"""Where an extraction's frames come from: a file, a folder of images, or arrays.

What is given in the video's own pixels (people's boxes, known camera motion, motion vectors) is
brought to the frames that are worked on here, which `max_side` may have scaled down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from idt.extract.stages import Stages
from idt.flow import codec_flow
from idt.video import LARGEST_SIDE, VideoError, frames, frames_with_vectors, shrink


@dataclass(frozen=True)
class Shrinkage:
    """Pixels that are worked on for a pixel of the video, along x and y: at most 1."""

    x: float = 1.0
    y: float = 1.0

    @classmethod
    def between(cls, whole: np.ndarray, small: np.ndarray) -> Shrinkage:
        """From a frame of the video to what it was scaled down to."""
        return cls(small.shape[1] / whole.shape[1], small.shape[0] / whole.shape[0])

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Bring boxes, float32 (n, 5), along; scores stay as they are."""
        corners = np.array([self.x, self.y, self.x, self.y])
        moved = boxes.astype(np.float32)
        moved[:, :4] = boxes[:, :4] * corners + (corners - 1) / 2
        return moved

    def homography(self, homography: np.ndarray) -> np.ndarray:
        """Bring a homography, (3, 3), along: S H S^-1, where S scales about pixels' outer edges."""
        scaling = np.array(
            [[self.x, 0, (self.x - 1) / 2], [0, self.y, (self.y - 1) / 2], [0, 0, 1]], np.float64
        )
        return scaling @ homography @ np.linalg.inv(scaling)


@dataclass(frozen=True)
class Picture:
    """A frame as it is worked on.

    Attributes
    ----------
    index
        0-based number in the video.
    image
        uint8 (row, column, 3), BGR; (row, column), grey, where the flow is the codec's.
    shrinkage
        How it was scaled down.
    blocks
        Flow into this frame on a grid of 8 x 8 pixels of the video, float32 (2, row, column), in
        the video's pixels, see `idt.flow.codec_flow`; None where the flow is not the codec's.
    """

    index: int
    image: np.ndarray
    shrinkage: Shrinkage = Shrinkage()
    blocks: np.ndarray | None = None


def pictures(
    video: Path | Iterable[np.ndarray],
    *,
    name: str,
    start: int,
    stop: int | None,
    step: int,
    max_side: int | None,
    threads: int,
    with_vectors: bool,
    stages: Stages,
) -> Iterator[Picture]:
    """Decode a range of a video's frames.

    Parameters
    ----------
    video
        A file, a folder of images, or uint8 arrays.
    name
        What errors call arrays.
    start, stop, max_side, threads
        As in `idt.extract.Extraction`.
    step
        From one frame that is given to the next.
    with_vectors
        Give the flow of the codec's motion vectors, and grey frames.
    stages
        Where the time is told.

    Raises
    ------
    VideoError
        The video cannot be read, has no motion vectors, or ends before `start`.
    """
    n_decoded = 0
    if with_vectors:
        source = _with_blocks(video, name, max_side, stages)
    else:
        source = _plain(video, name, max_side, threads, stages)
    for picture in islice(source, stop):
        n_decoded += 1
        if picture.index >= start and (picture.index - start) % step == 0:
            yield picture
    if n_decoded <= start:
        path = video if isinstance(video, Path) else name
        reason = "it has no frames"
        if n_decoded:
            reason = f"it ends after {n_decoded} frames, before start = {start}; start earlier"
        raise VideoError(path, reason)


def _plain(
    video: Path | Iterable[np.ndarray],
    name: str,
    max_side: int | None,
    threads: int,
    stages: Stages,
) -> Iterator[Picture]:
    """Frames alone."""
    if isinstance(video, Path):
        # Scaled down here, where the size before is still known.
        limit = None if max_side is None else LARGEST_SIDE
        images = frames(video, max_side=limit, threads=threads)
    else:
        images = _of_one_size(video, name)
    index = 0
    while True:
        with stages("decoding"):
            whole = next(images, None)
            if whole is None:
                return
            image = shrink(whole, max_side)
        yield Picture(index, image, Shrinkage.between(whole, image))
        index += 1


def _of_one_size(images: Iterable[np.ndarray], name: str) -> Iterator[np.ndarray]:
    """Arrays, as long as they have the first one's size."""
    size: tuple[int, ...] | None = None
    for index, image in enumerate(images):
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            raise VideoError(
                name,
                f"the size changes from {size[1]}x{size[0]} to {image.shape[1]}x{image.shape[0]} "
                "pixels; give frames of one size",
                frame=index,
            )
        yield image


def _with_blocks(
    video: Path | Iterable[np.ndarray], name: str, max_side: int | None, stages: Stages
) -> Iterator[Picture]:
    """Grey frames with the flow of their motion vectors."""
    if not isinstance(video, Path):
        raise VideoError(name, "arrays have no motion vectors; use another flow (--flow farneback)")
    decoded = frames_with_vectors(video)
    index, blocks = 0, None
    while True:
        with stages("decoding"):
            frame = next(decoded, None)
            if frame is None:
                return
            image = shrink(frame.grey, max_side)
        with stages("flow"):
            # An I picture repeats the flow before it, so all are computed, from the first one on.
            blocks = codec_flow(
                frame.vectors,
                *frame.grey.shape,
                past=frame.past,
                future=frame.future,
                before=blocks,
            )
        yield Picture(index, image, Shrinkage.between(frame.grey, image), blocks)
        index += 1
