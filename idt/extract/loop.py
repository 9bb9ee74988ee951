"""The one loop from a video's frames to its trajectories.

Frames are streamed: what is kept of the past is one frame, the live tracks, and the few frames that
are worked on side by side where there are several threads. Tracks move on the calling thread; the
rest of a frame's work does not depend on them and is shared out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain

import numpy as np

from idt.camera import HumanBoxes
from idt.extract.crew import Crew
from idt.extract.level import Block, Level
from idt.extract.motion import Frame, Motion, Pair
from idt.extract.options import ExtractOptions
from idt.extract.source import Picture
from idt.extract.stages import Stages

LAST_POSITION = np.float32(0.999)  # the reference program's largest place in the frame
# Bytes; glibc's malloc keeps freed memory up to twice the largest block below 32 MiB that it freed.
LARGEST_KEPT = 31 * 2**20


@dataclass(frozen=True)
class Step:
    """What one frame brought: the motion into it and the trajectories that end in it.

    Attributes
    ----------
    index
        The frame's 0-based number in the video.
    image
        uint8 (row, column, 3), BGR, or grey (row, column) where the flow is the codec's; scaled
        down as `max_side` says.
    boxes
        People that were given or found, float32 (n, 5), in the image's pixels; None where nobody
        looked for any.
    pair
        The motion.
    levels
        The live tracks after the step, which change with the next one.
    blocks
        Trajectories, by scale.
    """

    index: int
    image: np.ndarray
    boxes: np.ndarray | None
    pair: Pair
    levels: list[Level]
    blocks: list[Block]


def track(
    source: Iterator[Picture],
    options: ExtractOptions,
    *,
    homographies: Mapping[int, np.ndarray] | None = None,
    boxes: HumanBoxes | None = None,
    threads: int = 1,
    stages: Stages,
) -> Iterator[Step]:
    """Work through pictures one by one.

    Parameters
    ----------
    source
        The pictures, of one size.
    options, homographies, boxes, threads
        As in `idt.extract.Extraction`.
    stages
        Where the time is told.

    Yields
    ------
    Step
        One for every picture but the first.
    """
    first = next(source, None)
    if first is None:
        return
    height, width = first.image.shape[:2]
    _keep_memory()
    motion = Motion(width, height, options, homographies=homographies, boxes=boxes, stages=stages)
    levels = [Level(scale, options, stages) for scale in motion.levels]
    previous: Frame | None = None
    for n_before, (current, pair) in enumerate(_worked(chain([first], source), motion, threads)):
        if previous is not None and pair is not None:
            blocks = _advance(levels, previous, current, pair)
            picture = current.picture
            yield Step(picture.index, picture.image, current.boxes, pair, levels, blocks)
        if n_before % options.interval == 0:
            for level, eigenvalues in zip(levels, current.eigenvalues, strict=True):
                level.seed(eigenvalues)
        previous = current


def _keep_memory() -> None:
    """Have planes reuse memory, which else goes back to the system and is faulted in every frame.

    Threads gain most: they wait for each other at page faults.
    """
    np.empty(LARGEST_KEPT, np.uint8)


def _worked(
    source: Iterable[Picture], motion: Motion, threads: int
) -> Iterator[tuple[Frame, Pair | None]]:
    """Frames and the motion into each, in order, several worked on at a time."""
    ahead = 2 * threads - 2
    waiting: deque[tuple[Future[Frame], Future[Pair] | None]] = deque()
    last: Future[Frame] | None = None

    with Crew(threads) as crew:

        def first_done() -> tuple[Frame, Pair | None]:
            frame, pair = waiting.popleft()
            return crew.result(frame), None if pair is None else crew.result(pair)

        def relate(before: Future[Frame], after: Future[Frame]) -> Pair:
            return motion.relate(before.result(), after.result())

        for picture in source:
            frame = crew.submit(motion.analyse, picture)
            waiting.append((frame, None if last is None else crew.submit(relate, last, frame)))
            last = frame
            if len(waiting) > ahead:
                yield first_done()
        while waiting:
            yield first_done()


def _advance(levels: list[Level], previous: Frame, current: Frame, pair: Pair) -> list[Block]:
    """Move the tracks of every level and take out those that are complete."""
    height, width = current.grey.shape
    blocks = []
    for k, level in enumerate(levels):
        level.advance(previous.pyramid[k], pair.flows[k], pair.described[k], pair.freed[k])
        block = level.complete(current.picture.index)
        if block is not None:
            block.meta[:, 7] = np.clip(block.meta[:, 1] / width, 0, LAST_POSITION)
            block.meta[:, 8] = np.clip(block.meta[:, 2] / height, 0, LAST_POSITION)
            blocks.append(block)
    return blocks
