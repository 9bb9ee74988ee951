"""Which videos of a data set can be decoded at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compare.datasets.dataset import Dataset
from idt import jobs, video


@dataclass(frozen=True)
class Unreadable:
    """A video that cannot be decoded, and why."""

    id: str
    reason: str


def check_videos(
    dataset: Dataset, *, workers: jobs.Workers = 1, verbose: bool = False
) -> tuple[Unreadable, ...]:
    """Decode every video of a data set once and return those that cannot be read, with reasons.

    Raises
    ------
    idt.jobs.WorkerLost
        A worker was killed, or ended by a limit, over a video, which may be no fault of the
        video's: a data set must not shrink by that. Names the video. One that crashes the decoder
        is one that cannot be read.
    """
    outcomes = jobs.run(
        _count_frames,
        [clip.path for clip in dataset.videos],
        label="checking videos",
        workers=workers,
        verbose=verbose,
    )
    bad = []
    for clip, outcome in zip(dataset.videos, outcomes, strict=True):
        if isinstance(outcome.error, video.VideoError):
            at = "" if outcome.error.frame is None else f"at frame {outcome.error.frame}: "
            bad.append(Unreadable(clip.id, at + outcome.error.reason))
        elif outcome.refused:
            bad.append(Unreadable(clip.id, str(outcome.error)))
        else:
            outcome.result()
    return tuple(bad)


def _count_frames(path: Path) -> int:
    return sum(1 for _ in video.frames(path))
