"""One pass over a video, as it is asked for: what goes in, what comes out, and what made it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from idt.camera import HumanBoxes
from idt.descriptors import HISTOGRAM_DESCRIPTORS
from idt.extract.level import Block
from idt.extract.loop import Step, track
from idt.extract.options import ExtractOptions
from idt.extract.source import Picture, pictures
from idt.extract.stages import Stages
from idt.jobs import progress
from idt.trajectories import META_COLUMNS, TableWriter, Trajectories, provenance, time_positions
from idt.video import VideoError, check_range, content_hash, declared_frames

MIN_SIDE = 16  # pixels; smaller frames hold no flow window


class Extraction:
    """One pass over one video.

    Parameters
    ----------
    video
        A video file, a folder of images, or the frames: uint8 (row, column, 3), BGR, of one size.
        Only files have motion vectors.
    options
        Settings; None takes the reference program's.
    homographies
        Known camera motion: frame index (from 1) to a 3 x 3 matrix that maps the previous frame's
        pixels to that frame's, in the video's own pixels. Frames without one have no camera motion.
        None estimates it.
    boxes
        People, in whose boxes nothing is matched, in the video's own pixels, see
        `idt.camera.read_boxes`; None for no boxes.
    start, stop
        Range of frames, as in ``range(start, stop)``.
    max_side
        Frames with a longer side are scaled down to it, boxes and homographies with them, and
        trajectories are told in the pixels that result; None refuses those above 4096 pixels.
    threads
        Number of threads that work on the video, at least 1. The result does not depend on it.
    name
        What the table and errors call the video; None takes the file's name.

    Attributes
    ----------
    stages : Stages
        Where the time went.
    n_frames, width, height : int
        Of the frames that are worked on, as far as the pass has come.

    Raises
    ------
    ValueError
        The range of frames holds none, `max_side` is less than 1 pixel, or homographies from frame
        to frame are given where frames are left out.
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
        check_range(start, stop, max_side)
        if stop == start:
            raise ValueError(f"stop must be above start = {start}, got {stop}; raise it")
        self.options = options or ExtractOptions()
        if homographies is not None and self.options.frame_step > 1:
            raise ValueError(
                f"frame_step must be 1 where homographies are given, got {self.options.frame_step};"
                " they go from frame to frame"
            )
        self.homographies = homographies
        self.boxes = boxes
        self.start, self.stop, self.max_side = start, stop, max_side
        self.threads = threads
        self.video: Path | Iterable[np.ndarray] = (
            Path(video) if isinstance(video, (str, Path)) else video
        )
        self.path = self.video if isinstance(self.video, Path) else None
        self.name = name or ("frames" if self.path is None else self.path.name)
        self.stages = Stages()
        self.n_frames = self.width = self.height = 0

    @cached_property
    def declared_frames(self) -> int:
        """Number of frames that the file claims to have; 0 where it does not say."""
        return 0 if self.path is None else declared_frames(self.path)

    @cached_property
    def content(self) -> str | None:
        """SHA-256 of the file or folder, see `idt.video.content_hash`; None for arrays."""
        return None if self.path is None else content_hash(self.path)

    @property
    def expected_frames(self) -> int | None:
        """Number of frames to work on by the file's own count; None where it does not say."""
        if not self.declared_frames:
            return None
        stop = self.declared_frames if self.stop is None else min(self.stop, self.declared_frames)
        return len(range(self.start, stop, self.options.frame_step))

    @property
    def expected_steps(self) -> int | None:
        """Number of steps by the file's own count, for progress; None where it does not say."""
        return None if self.expected_frames is None else max(self.expected_frames - 1, 0)

    def table(self) -> Trajectories:
        """Work through the video and gather everything in memory; errors as in `steps`."""
        blocks = list(self.blocks())
        dimensions = self.dimensions()
        meta = np.concatenate(
            [np.zeros((0, len(META_COLUMNS)), np.float32), *(b.meta for b in blocks)]
        )
        meta[:, -1] = time_positions(meta[:, 0], **self.clock(self.n_frames))
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

        Raises
        ------
        VideoError
            As in `steps`; nothing is written.
        ValueError
            No form has that suffix, or there is no such `dtype`.
        FileNotFoundError
            The folder of `path` does not exist.
        """
        n_rows = 0
        with TableWriter(path, dimensions=self.dimensions(), dtype=dtype) as writer:
            total = self.expected_steps if verbose else None
            steps = progress(self.steps(), label=self.name, total=total, verbose=verbose)
            for step in steps:
                for block in step.blocks:
                    n_rows += len(block.meta)
                    with self.stages("output"):
                        writer.append(block.meta, block.descriptors)
            with self.stages("output"):
                writer.finish(self.info(), **self.clock(self.n_frames))
        return n_rows

    def blocks(self) -> Iterator[Block]:
        """Work through the video and give trajectories as they end.

        Yields
        ------
        Block
            By last frame, scale, and raster order of the seeds; errors as in `steps`.
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
            The video cannot be read, ends before `start`, has no motion vectors where they are
            asked for, or its frames are smaller than 16 pixels a side.
        """
        self.n_frames = 0
        yield from track(
            self._pictures(),
            self.options,
            homographies=self.homographies,
            boxes=self.boxes,
            threads=self.threads,
            stages=self.stages,
        )
        end = self.start + self.n_frames  # known only where no frame is left out
        whole = self.options.frame_step == 1 and (self.stop is None or end < self.stop)
        if self.boxes is not None and whole:
            self.boxes.check_length(end)

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
        source: dict[str, Any] = {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "start": self.start,
            "stop": self.stop,
            "n_frames": self.n_frames,
        }
        notes = []
        if self.path is not None:
            source["declared_frames"] = self.declared_frames
            source["sha256"] = self.content
            if self.expected_frames not in (None, self.n_frames):
                notes.append(
                    f"the file declares {self.expected_frames} frames, {self.n_frames} were decoded"
                )
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
                "max_side": self.max_side,
            },
            "versions": provenance(),
            "notes": notes,
        }

    def clock(self, n_frames: int) -> dict[str, int]:
        """What places in time are told from, in the video's frames, see `time_positions`.

        Parameters
        ----------
        n_frames
            Number of frames that are worked on.
        """
        step = self.options.frame_step
        return {
            "start": self.start,
            "n_frames": n_frames * step,
            "track_length": self.options.track_length * step,
        }

    def _pictures(self) -> Iterator[Picture]:
        """Frames, counted as they come."""
        source = pictures(
            self.video,
            name=self.name,
            start=self.start,
            stop=self.stop,
            step=self.options.frame_step,
            max_side=self.max_side,
            threads=self.threads,
            with_vectors=self.options.flow == "codec",
            stages=self.stages,
        )
        for picture in source:
            if not self.n_frames:
                self.height, self.width = picture.image.shape[:2]
                self._check_size()
            self.n_frames += 1
            yield picture

    def _check_size(self) -> None:
        """Refuse frames that hold no flow window."""
        if min(self.width, self.height) < MIN_SIDE:
            raise VideoError(
                self.path or self.name,
                f"frames are {self.width}x{self.height} pixels, fewer than {MIN_SIDE} a side",
            )


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
