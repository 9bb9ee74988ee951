"""KTH and UT-Interaction: acted sets whose file names say who acts, what and where.

**KTH** (Schüldt, Laptev & Caputo 2004): ``person07_boxing_d3_uncomp.avi``; 6 classes, 25 people, 4
scenarios. The people are the groups. Of the 600 clips one was never published,
``person13_handclapping_d3``.

**UT-Interaction** (Ryoo & Aggarwal 2009), segmented: ``17_3_0.avi`` is clip 17, of sequence 3, of
class 0. Sequences 1 to 10 are set 1, 11 to 20 set 2; the sequences are the groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from compare.datasets.dataset import Dataset, Split, Video, named
from compare.datasets.folds import splits_by_value
from idt.video import VIDEO_SUFFIXES

KTH_CLASSES = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")
KTH_TESTED = frozenset((2, 3, 5, 6, 7, 8, 9, 10, 22))  # people; the authors' division
KTH_NAME = re.compile(r"person(\d\d)_([a-z]+)_d(\d)(?:_uncomp)?")
KTH_PEOPLE, KTH_SCENARIOS, KTH_CLIPS = 25, 4, 599
UT_CLASSES = ("handshake", "hug", "kick", "point", "punch", "push")  # in the order of their numbers
UT_NAME = re.compile(r"(?:set[12]_)?(\d+)_(\d+)_(\d)")
UT_SEQUENCES = 10  # in each of the two sets
UT_CLIPS = 60  # in each of the two sets
KTHFolds = Literal["official", "people"]


def kth(
    videos: str | Path, *, folds: KTHFolds = "official", allow_missing: bool = False
) -> Dataset:
    """Read KTH from the folder in which its clips lie, in class folders or not.

    Parameters
    ----------
    videos
        The folder; ids are paths below it.
    folds
        ``"official"``: the authors' people 2, 3, 5 to 10 and 22 test, the other 16 (their training
        and validation people) train. ``"people"``: each of the 25 people is left out in turn.
    allow_missing
        Accept fewer than the 599 clips, and say so in `Dataset.protocol`.
    """
    if folds not in ("official", "people"):
        raise ValueError(f"folds must be 'official' or 'people' for KTH, got {folds!r}")
    clips, n_ignored = _read(Path(videos), _kth_clip)
    _check_count("KTH", len(clips), KTH_CLIPS, allow_missing)
    people = [(clip.id, str(clip.group).removeprefix("person ")) for clip in clips]
    if folds == "people":
        splits = splits_by_value([(id, str(int(person))) for id, person in people])
        protocol = "each person left out in turn"
    else:
        tested = {id for id, person in people if int(person) in KTH_TESTED}
        train = tuple(clip.id for clip in clips if clip.id not in tested)
        test = tuple(clip.id for clip in clips if clip.id in tested)
        splits = (Split("official", train, test),)
        protocol = "official division: 9 people test, the other 16 train"
    whole = len(clips) == KTH_CLIPS
    return Dataset(
        name="KTH",
        root=Path(videos),
        videos=tuple(clips),
        class_names=KTH_CLASSES,
        splits=splits,
        protocol=protocol + _notes(len(clips), KTH_CLIPS, n_ignored),
        official=(1,) if whole and folds == "official" else (),
    )


def ut_interaction(
    videos: str | Path, *, sets: Sequence[int] = (1, 2), allow_missing: bool = False
) -> Dataset:
    """Read UT-Interaction's segmented clips from the folder in which they lie.

    Within each set each of the ten sequences is left out in turn: ten splits for one set, twenty
    for both.

    Parameters
    ----------
    videos
        The folder; ids are paths below it. ``set1_`` before a clip's name is allowed.
    sets
        1, 2 or both.
    allow_missing
        Accept fewer than 60 clips a set, and say so in `Dataset.protocol`.
    """
    chosen = tuple(sets)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= {1, 2}:
        raise ValueError(f"sets must be 1, 2 or both, each once, got {chosen}")
    found, n_ignored = _read(Path(videos), _ut_clip)
    clips = [clip for clip in found if _ut_set(clip) in chosen]
    splits: list[Split] = []
    for number in chosen:
        members = [clip for clip in clips if _ut_set(clip) == number]
        _check_count(f"UT-Interaction set {number}", len(members), UT_CLIPS, allow_missing)
        folds = splits_by_value([(c.id, str(c.group).removeprefix("sequence ")) for c in members])
        splits += [
            Split(f"set {number} {split.name.replace('fold', 'sequence')}", split.train, split.test)
            for split in folds
        ]
    text = f"set{'s' if len(chosen) > 1 else ''} {' and '.join(map(str, chosen))}"
    wanted = UT_CLIPS * len(chosen)
    return Dataset(
        name="UT-Interaction",
        root=Path(videos),
        videos=tuple(clips),
        class_names=UT_CLASSES,
        splits=tuple(splits),
        protocol=f"{text}: each sequence left out in turn within its set"
        + _notes(len(clips), wanted, n_ignored),
        official=chosen if len(clips) == wanted else (),
    )


def _read(root: Path, clip_of: Callable[[Path, str], Video | None]) -> tuple[list[Video], int]:
    """All clips below a folder in natural order, and how many videos had no such name."""
    if not root.is_dir():
        raise FileNotFoundError(f"videos must be a folder, got {str(root)!r}, which is none")
    clips, ignored = [], 0
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            clip = clip_of(path, path.relative_to(root).as_posix())
            clips += [clip] if clip is not None else []
            ignored += clip is None
    if not clips:
        raise FileNotFoundError(
            f"videos must hold clips named as the set's are, got none in {str(root)!r}"
        )
    stems = [clip.path.stem for clip in clips]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise ValueError(f"clips must lie in the folder once, got twice: {named(repeated)}")
    return clips, ignored


def _kth_clip(path: Path, id: str) -> Video | None:
    found = KTH_NAME.fullmatch(path.stem)
    if found is None:
        return None
    person, label, scenario = int(found[1]), found[2], int(found[3])
    if label not in KTH_CLASSES:
        raise ValueError(f"a clip of KTH must be of {named(KTH_CLASSES, 6)}, got {id!r}")
    if not (1 <= person <= KTH_PEOPLE and 1 <= scenario <= KTH_SCENARIOS):
        raise ValueError(
            f"a clip of KTH must be of person 1 to {KTH_PEOPLE} and scenario 1 to "
            f"{KTH_SCENARIOS}, got {id!r}"
        )
    return Video(path, id, label, f"person {person:02}")


def _ut_clip(path: Path, id: str) -> Video | None:
    found = UT_NAME.fullmatch(path.stem)
    if found is None:
        return None
    sequence, label = int(found[2]), int(found[3])
    if not (1 <= sequence <= 2 * UT_SEQUENCES and label < len(UT_CLASSES)):
        raise ValueError(
            f"a clip of UT-Interaction must be of sequence 1 to {2 * UT_SEQUENCES} and class 0 to "
            f"{len(UT_CLASSES) - 1}, got {id!r}"
        )
    return Video(path, id, UT_CLASSES[label], f"sequence {sequence:02}")


def _ut_set(clip: Video) -> int:
    return 1 if int(str(clip.group).removeprefix("sequence ")) <= UT_SEQUENCES else 2


def _check_count(name: str, found: int, wanted: int, allow_missing: bool) -> None:
    if found > wanted or (found < wanted and not allow_missing):
        raise ValueError(
            f"{name} must have {wanted} clips, got {found}; add what is missing, or allow missing "
            "clips"
        )


def _notes(found: int, wanted: int, ignored: int) -> str:
    text = f"; {wanted - found} missing videos were left out" if found < wanted else ""
    return text + (f"; {ignored} videos of other names were ignored" if ignored else "")
