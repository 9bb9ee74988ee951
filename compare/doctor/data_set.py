"""A data set: what its lists name and its folder lacks, what cannot be decoded, what is too short.

The examination loads the lists alone first, then looks for the clips; so a set with missing clips
is told in full, where a run would stop at the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compare import datasets
from compare.datasets import Dataset, Video
from compare.datasets.dataset import joined, named
from compare.datasets.places import locate
from compare.doctor.finding import Finding
from idt import jobs, video

TRACK = 15  # pairs of frames in a trajectory, so that a shorter clip has none
ACTED = ("kth", "ut-interaction")  # forms whose list is the folder itself
NOT_LOOKED_FOR = "videos not looked for"  # in the protocol of a set of lists alone
EXACT = ("lists", "kinetics")  # forms whose clips' names are taken as they are written


@dataclass(frozen=True)
class Examined:
    """Findings on a data set.

    `ids` are of the listed videos; `n_frames` the frames of each that was decoded; `dataset` is the
    set with its videos in their places, None unless all are there and none is known to be broken.
    """

    findings: list[Finding]
    ids: tuple[str, ...] = ()
    n_frames: Mapping[str, int] = field(default_factory=dict)
    dataset: Dataset | None = None


def examine_data(
    data: str | Path,
    *,
    decode: bool = True,
    workers: jobs.Workers = 1,
    verbose: bool = False,
    **options: Any,
) -> Examined:
    """Examine a data set.

    Parameters
    ----------
    data, options
        As for `compare.datasets.load`, except `must_exist` and `allow_missing`.
    decode
        Decode every clip; else only its file is looked for.
    workers, verbose
        Processes or an executor, as for `idt.jobs.run`, that decode, and whether progress is shown.
    """
    try:
        whole, here = _loaded(data, options)
    except (ValueError, OSError) as error:
        note = " ".join([str(error), *getattr(error, "__notes__", ())])
        advice = "mend the lists or the folder, or give other options; see the message"
        return Examined([Finding("data", "error", note, advice)])
    ids = tuple(clip.id for clip in whole.videos)
    if here is None:
        text, advice = "clips were not looked for", "give --videos, the folder that holds them"
        return Examined([*_counts(whole, set(ids)), Finding("data", "warning", text, advice)], ids)
    findings = _counts(whole, {clip.id for clip in here})
    n_frames, broken = _decoded(here, workers, verbose) if decode else ({}, {})
    if broken:
        findings.append(
            Finding(
                "data",
                "error",
                f"{len(broken)} of {len(here)} videos cannot be decoded: "
                + joined([f"{id} ({why})" for id, why in broken.items()]),
                "fetch them again; a run leaves them out for all methods alike and says so",
            )
        )
    elif n_frames:
        total = sum(n_frames.values())
        findings.append(Finding("data", "fine", f"what is there decodes, {total} frames"))
    findings += _short(n_frames)
    complete = len(here) == len(ids) and not broken
    found = replace(whole, videos=tuple(here)) if complete else None
    return Examined(findings, ids, n_frames, found)


def _loaded(data: str | Path, options: Mapping[str, Any]) -> tuple[Dataset, list[Video] | None]:
    """The data set as listed, and its videos that are there; None where they are not looked for."""
    given = {key: value for key, value in options.items() if value is not None}
    videos, form = given.pop("videos", None), given.get("form")
    if form in ACTED:
        whole = datasets.load(data, **given, allow_missing=True)
    else:
        whole = datasets.load(data, **given, must_exist=False)
    if videos is None and NOT_LOOKED_FOR in whole.protocol:
        return whole, None
    if videos is None:
        return whole, [clip for clip in whole.videos if clip.path.exists()]
    key = str if form in EXACT else str.casefold
    try:
        return whole, locate(whole.videos, videos, allow_missing=True, key=key)[0]
    except FileNotFoundError:  # not one of them is there
        if not Path(videos).is_dir():
            raise
        return whole, []


def _counts(whole: Dataset, there: set[str]) -> list[Finding]:
    """Compare what is listed with what is there, split by split."""
    findings = [
        Finding(
            "data",
            "fine",
            f"{whole.name}: {len(whole.videos)} videos of {len(whole.class_names)} classes; "
            + whole.protocol,
        )
    ]
    missing = [clip.id for clip in whole.videos if clip.id not in there]
    if missing:
        findings.append(
            Finding(
                "data",
                "error",
                f"{len(missing)} of {len(whole.videos)} listed videos are missing: "
                + named(missing),
                "add them; or run with --allow-missing, outside the official protocol",
            )
        )
    for split in whole.splits:
        sides = {"train": split.train, "test": split.test}
        parts = [f"{len(there & set(ids))} of {len(ids)} to {s}" for s, ids in sides.items()]
        lost = [label for label in whole.class_names if _gone(whole, split.train, there, label)]
        text = f"{split.name}: {' and '.join(parts)}"
        if lost:
            advice = "add clips of these classes: nothing can be trained without"
            text += f"; none to train of {named(lost)}"
            findings.append(Finding("data", "error", text, advice))
        else:
            findings.append(Finding("data", "fine", text))
    if whole.groups is None:
        findings.append(
            Finding(
                "data",
                "warning",
                "no groups: clips of one source may stand on both sides of drawn folds",
                "give a column 'group', or --group-pattern",
            )
        )
    return findings


def _gone(whole: Dataset, ids: tuple[str, ...], there: set[str], label: str) -> bool:
    truth = whole.truth
    return not any(truth[id] == label and id in there for id in ids)


def _decoded(
    clips: Sequence[Video], workers: jobs.Workers, verbose: bool
) -> tuple[dict[str, int], dict[str, str]]:
    """Decoded frames of each video, and what is wrong with those that have none."""
    outcomes = jobs.run(
        count_frames,
        [clip.path.absolute() for clip in clips],
        label="decoding",
        workers=workers,
        verbose=verbose,
    )
    n_frames, broken = {}, {}
    for clip, outcome in zip(clips, outcomes, strict=True):
        if isinstance(outcome.error, video.VideoError):
            at = "" if outcome.error.frame is None else f"frame {outcome.error.frame}: "
            broken[clip.id] = at + outcome.error.reason
        elif isinstance(outcome.error, OSError):
            broken[clip.id] = str(outcome.error)
        else:
            n_frames[clip.id] = outcome.result()
    return n_frames, broken


def count_frames(path: Path) -> int:
    """Count the frames that a video decodes to."""
    return sum(1 for _ in video.frames(path))


def _short(n_frames: Mapping[str, int]) -> list[Finding]:
    short = [id for id, n in n_frames.items() if n <= TRACK]
    if not short:
        return []
    return [
        Finding(
            "data",
            "warning",
            f"{len(short)} videos have {TRACK} frames or fewer, and so no trajectories: "
            + named(short),
            "fetch longer cuts, or leave them out of the lists",
        )
    ]
