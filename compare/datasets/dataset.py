"""The Dataset: videos, classes and splits, checked as a whole before any video is worked on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

N_NAMED = 5  # how many offenders an error lists before it only counts


@dataclass(frozen=True)
class Video:
    """One clip: where it lies, its id (unique in the data set), its class and its group.

    Clips of one group (an actor, a source film) are not independent and never stand on both sides
    of a split.
    """

    path: Path
    id: str
    label: str
    group: str | None = None


@dataclass(frozen=True)
class Split:
    """Ids of the videos that train and of those that test."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Videos, their classes, and one or more splits; checked as a whole when made.

    Parameters
    ----------
    name
        What reports call it.
    root
        Folder against which the videos' paths were written.
    videos
        All clips; ids unique, and a group either for all of them or for none.
    class_names
        Classes in the order of the integer labels.
    splits
        At least one; in each, every class has a training video.
    protocol
        One line for the report: how the splits came about.
    official
        Numbers of the published splits that `splits` are, each whole; () where they are others.

    Raises
    ------
    ValueError
        Names the rule that is broken, and by which videos, classes or groups.
    """

    name: str
    root: Path
    videos: tuple[Video, ...]
    class_names: tuple[str, ...]
    splits: tuple[Split, ...]
    protocol: str
    official: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_videos(self)
        for split in self.splits:
            _check_split(self, split)

    @property
    def by_id(self) -> dict[str, Video]:
        """The videos under their ids."""
        return {clip.id: clip for clip in self.videos}

    @property
    def truth(self) -> dict[str, str]:
        """The class name of each video id."""
        return {clip.id: clip.label for clip in self.videos}

    @property
    def groups(self) -> dict[str, str] | None:
        """The group of each video id; None where the data set has no groups."""
        groups = {clip.id: clip.group for clip in self.videos if clip.group is not None}
        return groups or None

    def at_absolute_paths(self) -> Dataset:
        """Return the data set with paths that mean the same in any working folder."""
        clips = (replace(clip, path=clip.path.absolute()) for clip in self.videos)
        return replace(self, videos=tuple(clips))

    def without(self, ids: Collection[str]) -> Dataset:
        """Leave videos out of the data set and of every split, which is then no official one.

        Raises
        ------
        ValueError
            A class loses its last training video, or a split its last test video.
        """
        left_out = frozenset(ids)
        if not left_out:
            return self
        splits = tuple(
            Split(
                split.name,
                tuple(id for id in split.train if id not in left_out),
                tuple(id for id in split.test if id not in left_out),
            )
            for split in self.splits
        )
        videos = tuple(clip for clip in self.videos if clip.id not in left_out)
        try:
            return replace(self, videos=videos, splits=splits, official=())
        except ValueError as error:
            error.add_note(
                f"({len(left_out)} videos were left out as unreadable: {named(sorted(left_out))})"
            )
            raise


def _check_videos(dataset: Dataset) -> None:
    ids = [clip.id for clip in dataset.videos]
    if not ids:
        raise ValueError("a data set must have videos, got none")
    repeated = [id for id, n in Counter(ids).items() if n > 1]
    if repeated:
        raise ValueError(f"ids must be unique, got more than once: {named(repeated)}")
    places = Counter(os.path.normpath(clip.path) for clip in dataset.videos)
    repeated = [place for place, n in places.items() if n > 1]
    if repeated:
        raise ValueError(f"each video must be listed once, got more than once: {named(repeated)}")
    grouped = sum(clip.group is not None for clip in dataset.videos)
    if grouped not in (0, len(ids)):
        lacking = [clip.id for clip in dataset.videos if clip.group is None]
        raise ValueError(f"all videos or none must have a group, got none for {named(lacking)}")
    if len(dataset.class_names) < 2:
        raise ValueError(
            f"a data set must have 2 or more classes, got {named(dataset.class_names)}"
        )
    unknown = {clip.label for clip in dataset.videos} - set(dataset.class_names)
    if unknown:
        raise ValueError(f"labels must be among class_names, got {named(sorted(unknown))}")
    if not dataset.splits:
        raise ValueError("a data set must have a split, got none")


def _check_split(dataset: Dataset, split: Split) -> None:
    known = dataset.by_id
    for side, ids in (("train", split.train), ("test", split.test)):
        if not ids:
            raise ValueError(f"split {split.name!r} must have {side} videos, got none")
        unknown = [id for id in ids if id not in known]
        if unknown:
            raise ValueError(
                f"split {split.name!r} must name videos of the data set, got {named(unknown)}"
            )
        repeated = [id for id, n in Counter(ids).items() if n > 1]
        if repeated:
            raise ValueError(
                f"split {split.name!r} must name a video once, got twice: {named(repeated)}"
            )
    both = sorted(set(split.train) & set(split.test))
    if both:
        raise ValueError(
            f"split {split.name!r} must keep train and test apart, got on both sides the videos "
            f"{named(both)}"
        )
    groups = dataset.groups or {}
    trained = {groups[id] for id in split.train if id in groups}
    shared = sorted(trained & {groups[id] for id in split.test if id in groups})
    if shared:
        raise ValueError(
            f"split {split.name!r} must keep each group on one side, got on both the groups "
            f"{named(shared)}; clips of one group are not independent"
        )
    lacking = sorted(set(dataset.class_names) - {known[id].label for id in split.train})
    if lacking:
        raise ValueError(
            f"split {split.name!r} must have a training video of every class, got none of "
            f"{named(lacking)}; add some or leave the class out"
        )


def groups_of(ids: Iterable[str], groups: Mapping[str, str]) -> list[str]:
    """The group of each video id.

    Raises
    ------
    ValueError
        Videos have none; the message names them.
    """
    ids = list(ids)
    lacking = sorted({id for id in ids if id not in groups})
    if lacking:
        raise ValueError(
            f"every video must have a group, got none for {len(lacking)}: {named(lacking)}"
        )
    return [groups[id] for id in ids]


def named(names: Sequence[str], limit: int = N_NAMED) -> str:
    """Quote the first few names and count the rest."""
    return joined([repr(name) for name in names], limit)


def joined(texts: Sequence[str], limit: int = N_NAMED) -> str:
    """Join the first few texts and count the rest."""
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
