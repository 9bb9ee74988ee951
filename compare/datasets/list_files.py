"""Data sets from the list files of TSN and mmaction2, and from Kinetics' tables.

**Lists**: a line a video, ``PATH LABEL``, or ``PATH FRAMES LABEL`` where the path is a folder of
frames; labels are numbers from 0. A file whose name says train has its partner in the file that
says val or test instead.

**Kinetics**: ``label,youtube_id,time_start,time_end,split``, a row a clip; the clip's file is
``ID_START_END.mp4`` with six digits each. Clips of one YouTube video are a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from compare.datasets.class_folders import compiled
from compare.datasets.csv_file import read_csv, require_columns
from compare.datasets.dataset import Dataset, Split, Video, named
from compare.datasets.folds import natural
from compare.datasets.official import lines_of
from compare.datasets.places import kept, locate
from idt.paths import leads_outside

TESTED = ("test", "testing", "val", "validate", "validation")  # in the place of train in a name
NUMBERED_CLASS = re.compile(r"\s*\d+[\s,]+(.+)")
UCF_GROUP = re.compile(r"(?:.*/)?v_(\w+_g\d+)_c\d+(?:\.\w+)?")
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
KINETICS_TESTED = ("validate", "val", "test")


def from_lists(
    lists: Sequence[tuple[str | Path, str | Path]],
    *,
    name: str,
    videos: str | Path | None = None,
    classes: str | Path | None = None,
    prefix: str = "",
    group_pattern: str | None = None,
    allow_missing: bool = False,
) -> Dataset:
    """Read a data set from pairs of list files, one pair a split.

    Parameters
    ----------
    lists
        (training list, test list) of each split.
    name
        What reports call the data set.
    videos
        Folder below which the listed paths lie; None: they are not looked for.
    classes
        File with a class a line, in the order of the labels, numbered or not. None: the folder in
        which a label's videos lie, where each label has one of its own, else the label's number.
    prefix
        What all listed paths begin with and ids do without. Absolute paths need one, unless they
        begin with `videos`.
    group_pattern
        Regular expression whose first group is the video's group. None: the group of UCF101's
        names (``v_CLASS_gNN_cNN``) where all have one, else no groups; `Dataset.protocol` says.
    allow_missing
        Leave out what is not in `videos`.
    """
    if not lists:
        raise ValueError("lists must be one pair of files per split, got none")
    labels: dict[str, int] = {}
    splits = []
    for number, (train, test) in enumerate(lists, start=1):
        sides = []
        for path in (Path(train), Path(test)):
            rows = list(_read_list(path, prefix, videos))
            for id, label in rows:
                if labels.setdefault(id, label) != label:
                    raise ValueError(
                        f"{id!r} must have one label, got {labels[id]} and, in {str(path)!r}, "
                        f"{label}"
                    )
            sides.append(tuple(id for id, _ in rows))
        splits.append(Split(f"split {number}", sides[0], sides[1]))
    class_names = _class_names(labels, classes)
    groups, grouped = _groups(labels, group_pattern)
    clips = [Video(Path(id), id, class_names[n], groups.get(id)) for id, n in labels.items()]
    found, notes = locate(clips, videos, allow_missing=allow_missing)
    pairs = f"{len(splits)} pair{'s' if len(splits) > 1 else ''} of list files; {grouped}"
    return Dataset(
        name=name,
        root=Path(lists[0][0]).parent if videos is None else Path(videos),
        videos=tuple(found),
        class_names=tuple(class_names),
        splits=kept(splits, found),
        protocol=f"{pairs}; {notes}" if notes else pairs,
    )


def list_pairs(folder: str | Path) -> list[tuple[Path, Path]]:
    """Find the training lists of a folder and the test list of each, in natural order."""
    folder = Path(folder)
    trains = sorted(
        (p for p in folder.glob("*.txt") if "train" in p.stem.lower()),
        key=lambda p: natural(p.name),
    )
    if not trains:
        raise FileNotFoundError(f"data must hold a list *train*.txt, got none in {str(folder)!r}")
    pairs = []
    for train in trains:
        tests = [
            path
            for word in TESTED
            if (path := train.with_name(re.sub("train(ing)?", word, train.name))).is_file()
        ]
        if len(tests) != 1:
            raise ValueError(
                f"{train.name!r} must have one partner that says {', '.join(TESTED)} in place of "
                f"train, got {named([p.name for p in tests]) or 'none'}"
            )
        pairs.append((train, tests[0]))
    kinds = sorted({re.sub(r"\d+", "N", train.name) for train in trains})
    if len(kinds) > 1:
        raise ValueError(
            f"data must hold lists of one kind, got {named(kinds)} in {str(folder)!r}; give each "
            "kind a folder of its own"
        )
    return pairs


def kinetics(
    tables: Sequence[str | Path],
    *,
    videos: str | Path | None = None,
    allow_missing: bool = False,
) -> Dataset:
    """Read a data set from Kinetics' tables.

    Parameters
    ----------
    tables
        CSV files; rows whose ``split`` is train train, those of validate (or val) test, or those of
        test where there are none of validate. Without that column the file's name says it.
    videos
        Folder with the clips, named ``ID_START_END.mp4``, in class folders or not; None: they are
        not looked for. Ids are ``CLASS/ID_START_END``.
    allow_missing
        Leave out clips that are not in `videos`, as many of Kinetics are no longer to be had.
    """
    sides: dict[str, list[Video]] = {}
    for table in map(Path, tables):
        columns, rows = read_csv(table)
        require_columns(columns, KINETICS_COLUMNS, table)
        for line, row in rows:
            side = row.get("split") or table.stem
            if not row["label"]:
                raise ValueError(f"{str(table)!r} line {line} must have a label, got an empty cell")
            try:
                start, end = (round(float(row[key])) for key in ("time_start", "time_end"))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"{str(table)!r} line {line} must give times: {error}") from error
            id = f"{row['label']}/{row['youtube_id']}_{start:06}_{end:06}"
            sides.setdefault(side, []).append(Video(Path(id), id, row["label"], row["youtube_id"]))
    tested = next((side for side in KINETICS_TESTED if side in sides), None)
    if "train" not in sides or tested is None:
        raise ValueError(
            f"tables must have rows of train and of {' or '.join(KINETICS_TESTED)}, got "
            f"{named(sorted(sides)) or 'none'}"
        )
    clips = [*sides["train"], *sides[tested]]
    split = Split(tested, tuple(c.id for c in sides["train"]), tuple(c.id for c in sides[tested]))
    found, notes = locate(clips, videos, allow_missing=allow_missing)
    protocol = f"Kinetics tables: train, tested on {tested}; groups are YouTube videos"
    return Dataset(
        name=Path(tables[0]).resolve().parent.name,
        root=Path(tables[0]).parent if videos is None else Path(videos),
        videos=tuple(found),
        class_names=tuple(sorted({clip.label for clip in clips})),
        splits=kept([split], found),
        protocol=f"{protocol}; {notes}" if notes else protocol,
    )


def _read_list(path: Path, prefix: str, videos: str | Path | None) -> Iterator[tuple[str, int]]:
    """(id, label) of each line."""
    rows = [line.split() for line in lines_of(path)]
    framed = all(len(row) > 2 and row[-2].isdecimal() for row in rows)
    for row in rows:
        listed = " ".join(row[: -2 if framed else -1])
        if not listed or not row[-1].isdecimal():
            raise ValueError(
                f"{str(path)!r} must hold lines PATH LABEL or PATH FRAMES LABEL, got "
                f"{' '.join(row)!r}"
            )
        if not listed.startswith(prefix):
            raise ValueError(
                f"paths of {str(path)!r} must begin with prefix {prefix!r}, got {listed!r}"
            )
        id = listed.removeprefix(prefix).lstrip("/") if prefix else listed
        if videos is not None and PurePosixPath(id).is_relative_to(Path(videos).as_posix()):
            id = PurePosixPath(id).relative_to(Path(videos).as_posix()).as_posix()
        if leads_outside(id):
            raise ValueError(
                f"paths of {str(path)!r} must lie below the videos' folder, got {listed!r}; give "
                "what they all begin with as prefix"
            )
        yield id, int(row[-1])


def _class_names(labels: dict[str, int], classes: str | Path | None) -> list[str]:
    n_classes = max(labels.values()) + 1
    if n_classes > len(labels):  # before as many names are made up
        raise ValueError(
            f"labels must be numbers from 0 of classes that have videos, got {n_classes - 1} in a "
            f"list of {len(labels)} videos"
        )
    if classes is not None:
        rows = lines_of(Path(classes))
        numbered = [NUMBERED_CLASS.fullmatch(row) for row in rows]
        names = [m[1].strip() if m else row.strip() for m, row in zip(numbered, rows, strict=True)]
        if len(names) < n_classes or len(set(names)) < len(names):
            raise ValueError(
                f"{str(classes)!r} must name {n_classes} or more classes, each once, got "
                f"{len(names)}, {len(set(names))} of them different"
            )
        return names
    folder_of: dict[int, set[str]] = {}
    for id, label in labels.items():
        folder_of.setdefault(label, set()).add(PurePosixPath(id).parent.name)
    folders = [next(iter(f)) for _, f in sorted(folder_of.items()) if len(f) == 1]
    if len(set(folders)) == n_classes and "" not in folders:
        return folders
    return [str(label) for label in range(n_classes)]


def _groups(labels: dict[str, int], group_pattern: str | None) -> tuple[dict[str, str], str]:
    """Group of each id, and what to say about where it is from."""
    pattern = compiled(group_pattern) or UCF_GROUP
    matches = {id: pattern.search(id) for id in labels}
    lacking = [id for id, found in matches.items() if found is None]
    if lacking and group_pattern is None:
        return {}, "no groups"
    if lacking:
        raise ValueError(
            f"group_pattern must match every video, got no match of {group_pattern!r} in "
            f"{named(lacking)}"
        )
    told = "groups by the names UCF101 gives" if group_pattern is None else "groups by pattern"
    return {id: found[1] for id, found in matches.items() if found is not None}, told
