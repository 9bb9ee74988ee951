"""The one loop from a video to its trajectories.

Frames are streamed: what is kept of the past is one frame, the live tracks, and the few frames that
are worked on side by side where there are several threads. Tracks move on the calling thread; the
rest of a frame's work does not depend on them and is shared out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np

from idt.camera import HumanBoxes
from idt.descriptors import HISTOGRAM_DESCRIPTORS
from idt.extract.crew import Crew
from idt.extract.level import Block, Level
from idt.extract.motion import Frame, Motion, Pair
from idt.extract.options import ExtractOptions
from idt.extract.stages import Stages
from idt.jobs import progress
from idt.pyramid import scales
from idt.trajectories import META_COLUMNS, TableWriter, Trajectories, provenance, time_positions
from idt.video import VideoError, content_hash, frames, probe

MIN_SIDE = 16  # pixels; smaller frames hold no flow window


@dataclass(frozen=True)
class Step:
    """What one frame brought: the motion into it and the trajectories that end in it.

    `levels` are the live tracks after the step, which change with the next one.
    """

    index: int
    image: np.ndarray
    pair: Pair
    levels: list[Level]
    blocks: list[Block]


class Extraction:
    """One pass over one video.

    Parameters
    ----------
    video
        A video file, a folder of images, or the frames: uint8 (row, column, 3), BGR, of one size.
    options
        Settings; None takes the reference program's.
    homographies
        Known camera motion: frame index (from 1) to a 3 x 3 matrix that maps the previous frame's
        pixels to that frame's. Frames without one have no camera motion. None estimates it.
    boxes
        People, in whose boxes nothing is matched, see `idt.camera.read_boxes`; None for no boxes.
    start, stop
        Range of frames, as in ``range(start, stop)``.
    max_side
        Frames with a longer side are scaled down to it; None refuses those above 4096 pixels.
    threads
        Number of threads that work on the video, at least 1. The result does not depend on it.
    name
        What the table and errors call the video; None takes the file's name.

    Attributes
    ----------
    stages : Stages
        Where the time went.
    n_frames, width, height : int
        As far as the pass has come.
    """

    def __init__(
        self,
        video: str | Path | Iterable[np.ndarray],
        *,
        options: ExtractOptions | None = None,
        homographies: Mapping[int, np.ndarray] | None = None,
        boxes: HumanBoxes | None = None,
        start: int = 0,
        stop: int | None = None,
        max_side: int | None = None,
        threads: int = 1,
        name: str | None = None,
    ) -> None:
        self.options = options or ExtractOptions()
        self.homographies = homographies
        self.boxes = boxes
        self.start, self.stop, self.max_side = start, stop, max_side
        self.threads = threads
        self.path = Path(video) if isinstance(video, (str, Path)) else None
        self.given: Iterable[np.ndarray] = () if isinstance(video, (str, Path)) else video
        self.name = name or ("frames" if self.path is None else self.path.name)
        self.stages = Stages()
        self.n_frames = self.width = self.height = 0

    @cached_property
    def declared_frames(self) -> int:
        """Number of frames that the file claims to have; 0 where it does not say."""
        if self.path is None:
            return 0
        return probe(self.path, max_side=self.max_side).declared_frames

    def table(self) -> Trajectories:
        """Work through the video and gather everything in memory."""
        blocks = list(self.blocks())
        dimensions = self.dimensions()
        meta = np.concatenate(
            [np.zeros((0, len(META_COLUMNS)), np.float32), *(b.meta for b in blocks)]
        )
        meta[:, -1] = time_positions(meta[:, 0], **self._clock())
        descriptors = {
            name: np.concatenate(
                [np.zeros((0, size), np.float32), *(b.descriptors[name] for b in blocks)]
            )
            for name, size in dimensions.items()
        }
        return Trajectories(meta, descriptors, self.info())

    def save(self, path: str | Path, *, dtype: str = "float16", verbose: bool = False) -> int:
        """Work through the video and write a file, whole or not at all, in bounded memory.

        Parameters
        ----------
        path
            The suffix decides the form, see `idt.trajectories.TableWriter`.
        dtype
            ``"float16"`` or ``"float32"``, of the descriptors in the binary forms.
        verbose
            Show progress with the time left on standard error.

        Returns
        -------
        int
            Number of trajectories.
        """
        n_rows = 0
        with TableWriter(path, dimensions=self.dimensions(), dtype=dtype) as writer:
            total = self._expected_frames() if verbose else None
            steps = progress(self.steps(), label=self.name, total=total, verbose=verbose)
            for step in steps:
                for block in step.blocks:
                    n_rows += len(block.meta)
                    with self.stages("output"):
                        writer.append(block.meta, block.descriptors)
            with self.stages("output"):
                writer.finish(self.info(), **self._clock())
        return n_rows

    def blocks(self) -> Iterator[Block]:
        """Work through the video and give trajectories as they end.

        Yields
        ------
        Block
            By last frame, scale, and raster order of the seeds.
        """
        for step in self.steps():
            yield from step.blocks

    def steps(self) -> Iterator[Step]:
        """Work through the video frame by frame.

        Yields
        ------
        Step
            One for every frame but the first.

        Raises
        ------
        VideoError
            The video cannot be read, or its frames are smaller than 16 pixels a side.
        """
        self.n_frames = 0
        images = self._images()
        first = next(images, None)
        if first is None:
            raise VideoError(self.name, "it has no frames")
        self.height, self.width = first[1].shape[:2]
        if min(self.width, self.height) < MIN_SIDE:
            raise VideoError(
                self.name,
                f"frames are {self.width}x{self.height} pixels, fewer than {MIN_SIDE} a side",
            )
        options = self.options
        motion = Motion(
            scales(
                self.width,
                self.height,
                patch_size=options.patch_size,
                max_scales=options.max_scales,
            ),
            options,
            homographies=self.homographies,
            boxes=self.boxes,
            stages=self.stages,
        )
        levels = [Level(scale, options, self.stages) for scale in motion.levels]
        previous: Frame | None = None
        for image, current, pair in self._worked(chain([first], images), motion):
            self.n_frames += 1
            if previous is not None and pair is not None:
                yield Step(
                    current.index, image, pair, levels, self._track(levels, previous, current, pair)
                )
            if (self.n_frames - 1) % options.interval == 0:
                for level, eigenvalues in zip(levels, current.eigenvalues, strict=True):
                    level.seed(eigenvalues)
            previous = current
        if self.boxes is not None and self.stop is None:
            self.boxes.check_length(self.start + self.n_frames)

    def dimensions(self) -> dict[str, int]:
        """Numbers of every descriptor that is kept, by name."""
        options = self.options
        sizes = {"trajectory": 2 * options.track_length}
        for descriptor in HISTOGRAM_DESCRIPTORS:
            cells = options.n_time_cells * options.n_cells**2
            sizes[descriptor.name] = cells * descriptor.n_bins
        return {name: sizes[name] for name in options.descriptors}

    def info(self) -> dict[str, Any]:
        """What made the table; complete once the video has been worked through."""
        source = {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "start": self.start,
            "n_frames": self.n_frames,
        }
        notes = []
        if self.path is not None:
            source["declared_frames"] = self.declared_frames
            source["sha256"] = content_hash(self.path)
            expected = self._expected_frames()
            if expected not in (None, self.n_frames):
                notes.append(f"the file declares {expected} frames, {self.n_frames} were decoded")
        if self.n_frames <= self.options.track_length:
            needed = self.options.track_length + 1
            notes.append(f"no trajectories: a track takes {needed} frames, got {self.n_frames}")
        return {
            "video": source,
            "settings": asdict(self.options)
            | {
                "descriptors": list(self.options.descriptors),
                "homographies": self.homographies is not None,
                "boxes": self.boxes is not None,
            },
            "versions": provenance(),
            "notes": notes,
        }

    def _clock(self) -> dict[str, int]:
        """What places in time are told from."""
        return {
            "start": self.start,
            "n_frames": self.n_frames,
            "track_length": self.options.track_length,
        }

    def _expected_frames(self) -> int | None:
        """Number of frames in the range by the file's own count; None where it does not say."""
        if not self.declared_frames:
            return None
        stop = self.declared_frames if self.stop is None else min(self.stop, self.declared_frames)
        return max(stop - self.start, 0)

    def _images(self) -> Iterator[tuple[int, np.ndarray]]:
        """Frames with their index."""
        if self.path is None:
            images: Iterator[np.ndarray] = islice(self.given, self.start, self.stop)
        else:
            images = frames(self.path, start=self.start, stop=self.stop, max_side=self.max_side)
        for index in count(self.start):
            with self.stages("decoding"):
                image = next(images, None)
            if image is None:
                return
            yield index, image

    def _worked(
        self, images: Iterable[tuple[int, np.ndarray]], motion: Motion
    ) -> Iterator[tuple[np.ndarray, Frame, Pair | None]]:
        """Frames and the motion into each, in order, several worked on at a time."""
        ahead = 2 * self.threads - 2
        waiting: deque[tuple[np.ndarray, Future[Frame], Future[Pair] | None]] = deque()
        last: Future[Frame] | None = None

        with Crew(self.threads) as crew:

            def first_done() -> tuple[np.ndarray, Frame, Pair | None]:
                image, frame, pair = waiting.popleft()
                return image, crew.result(frame), None if pair is None else crew.result(pair)

            def relate(before: Future[Frame], after: Future[Frame]) -> Pair:
                return motion.relate(before.result(), after.result())

            for index, image in images:
                frame = crew.submit(motion.analyse, index, image)
                pair = None if last is None else crew.submit(relate, last, frame)
                waiting.append((image, frame, pair))
                last = frame
                if len(waiting) > ahead:
                    yield first_done()
            while waiting:
                yield first_done()

    def _track(
        self, levels: list[Level], previous: Frame, current: Frame, pair: Pair
    ) -> list[Block]:
        """Move the tracks of every level and take out those that are complete."""
        blocks = []
        for k, level in enumerate(levels):
            level.advance(previous.pyramid[k], pair.flows[k], pair.described[k], pair.freed[k])
            block = level.complete(current.index)
            if block is not None:
                block.meta[:, 7] = np.clip(block.meta[:, 1] / self.width, 0, 0.999)
                block.meta[:, 8] = np.clip(block.meta[:, 2] / self.height, 0, 0.999)
                blocks.append(block)
        return blocks


def extract(
    video: str | Path | Iterable[np.ndarray],
    *,
    options: ExtractOptions | None = None,
    homographies: Mapping[int, np.ndarray] | None = None,
    threads: int = 1,
    name: str | None = None,
) -> Trajectories:
    """Extract improved dense trajectories.

    The parameters are those of `Extraction`, which also streams, writes files and takes boxes.

    Returns
    -------
    Trajectories
        Sorted by last frame, scale, and raster order of the seeds; empty where the video has no
        more frames than a track has steps.

    Raises
    ------
    VideoError
        The video cannot be read, or its frames are smaller than 16 pixels a side.

    References
    ----------
    Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013.
    """
    return Extraction(
        video, options=options, homographies=homographies, threads=threads, name=name
    ).table()
