"""UCF101 and HMDB51 by their official split files, with the videos or without them.

**UCF101** (Soomro, Zamir & Shah 2012): ``classInd.txt``, ``trainlist01.txt`` and ``testlist01.txt``
to ``03``; 101 classes, 13,320 clips. A clip ``v_Archery_g03_c02.avi`` is of group ``Archery_g03``;
the same group number in another class is another source.

**HMDB51** (Kuehne et al. 2011): ``CLASS_test_splitN.txt`` with a flag per clip, 1 trains, 2 tests,
0 does neither; 70 and 30 of each of the 51 classes. What stands before the class's name in a clip's
name is the source's title; with the class it is the clip's group. Titles alone cannot be: the
official splits put some on both sides, in different classes.

Counts are checked: a list that was changed is no official split.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from compare.datasets.dataset import Dataset, Split, Video
from compare.datasets.places import kept, locate

UCF101 = "UCF101"
HMDB51 = "HMDB51"
SPLITS = (1, 2, 3)
UCF101_CLASSES = 101
UCF101_COUNTS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}  # clips that train and test
HMDB51_CLASSES = 51
HMDB51_COUNTS = (70, 30)  # of each class, in each split
UCF101_GROUP = re.compile(r"v_\w+?_(g[0-9]+)_c[0-9]+")
# title and class, visible parts, camera motion, people, direction, quality, take
HMDB51_NAME = re.compile(r"(.+)_[a-z]_[a-z]{2}_np[0-9]+_[a-z]{2}_[a-z]{3}_[0-9]+\.avi")


def ucf101(
    lists: str | Path,
    *,
    videos: str | Path | None = None,
    splits: Sequence[int] = SPLITS,
    allow_missing: bool = False,
) -> Dataset:
    """Read UCF101 from its official split files.

    Parameters
    ----------
    lists
        Folder with ``classInd.txt``, ``trainlist0N.txt`` and ``testlist0N.txt``.
    videos
        Folder with the clips, in class folders or not, upper and lower case alike (copies differ in
        HandstandPushups and HandStandPushups). None: only ids, classes, groups and splits.
    splits
        Numbers of the splits, among 1, 2 and 3.
    allow_missing
        Leave out clips that are not in `videos`, and say so in `Dataset.protocol`.

    Raises
    ------
    FileNotFoundError
        A list, or a clip, is not there.
    ValueError
        A list is not as published; the message says in what.
    """
    folder = Path(lists)
    numbers = _checked_splits(splits)
    classes = _read_classes(folder / "classInd.txt")
    read: dict[int, tuple[list[str], list[str]]] = {}
    for number in numbers:
        train = _read_ucf101(folder / f"trainlist{number:02}.txt", classes, labelled=True)
        test = _read_ucf101(folder / f"testlist{number:02}.txt", classes, labelled=False)
        if (len(train), len(test)) != UCF101_COUNTS[number]:
            wanted = " and ".join(map(str, UCF101_COUNTS[number]))
            raise ValueError(
                f"split {number} of {UCF101} must have {wanted} clips to train and test, got "
                f"{len(train)} and {len(test)} in {str(folder)!r}; give a changed list as a list "
                "of your own"
            )
        read[number] = train, test
    ids = sorted({id for sides in read.values() for side in sides for id in side})
    clips = [Video(Path(id), id, id.partition("/")[0], _ucf101_group(id)) for id in ids]
    return _assembled(UCF101, folder, clips, classes, read, videos, allow_missing)


def hmdb51(
    lists: str | Path,
    *,
    videos: str | Path | None = None,
    splits: Sequence[int] = SPLITS,
    allow_missing: bool = False,
) -> Dataset:
    """Read HMDB51 from its official split files; parameters and errors as for `ucf101`.

    `lists` holds ``CLASS_test_splitN.txt``. Clips that no asked split uses are left out.
    """
    folder = Path(lists)
    numbers = _checked_splits(splits)
    classes = sorted(
        path.name.removesuffix("_test_split1.txt") for path in folder.glob("*_test_split1.txt")
    )
    if len(classes) != HMDB51_CLASSES:
        raise ValueError(
            f"{HMDB51} must have {HMDB51_CLASSES} files CLASS_test_split1.txt, got {len(classes)} "
            f"in {str(folder)!r}"
        )
    read: dict[int, tuple[list[str], list[str]]] = {}
    for number in numbers:
        sides: tuple[list[str], list[str]] = ([], [])
        for name in classes:
            for side, ids in zip(sides, _read_hmdb51(folder, name, number), strict=True):
                side.extend(ids)
        read[number] = sides
    ids = sorted({id for sides in read.values() for side in sides for id in side})
    clips = [Video(Path(id), id, id.partition("/")[0], _hmdb51_group(id)) for id in ids]
    return _assembled(HMDB51, folder, clips, classes, read, videos, allow_missing)


def _assembled(
    name: str,
    folder: Path,
    clips: Sequence[Video],
    classes: Sequence[str],
    read: dict[int, tuple[list[str], list[str]]],
    videos: str | Path | None,
    allow_missing: bool,
) -> Dataset:
    found, notes = locate(clips, videos, allow_missing=allow_missing, key=str.casefold)
    splits = kept(
        [Split(f"split {n}", tuple(train), tuple(test)) for n, (train, test) in read.items()], found
    )
    whole = len(found) == len(clips)
    protocol = f"official split{'s' if len(read) > 1 else ''} {', '.join(map(str, read))}"
    return Dataset(
        name=name,
        root=folder if videos is None else Path(videos),
        videos=tuple(found),
        class_names=tuple(classes),
        splits=splits,
        protocol=f"{protocol}; {notes}" if notes else protocol,
        official=tuple(read) if whole else (),
    )


def _read_classes(path: Path) -> list[str]:
    """Class names of ``classInd.txt``, in the order of their numbers."""
    rows = [line.split() for line in lines_of(path)]
    numbered = [(row[0], row[1]) for row in rows if len(row) == 2]
    wanted = [str(number) for number in range(1, UCF101_CLASSES + 1)]
    if len(numbered) != len(rows) or [number for number, _ in numbered] != wanted:
        raise ValueError(
            f"{str(path)!r} must number {UCF101_CLASSES} classes from 1 on, one a line, got "
            f"{len(rows)} lines"
        )
    return [name for _, name in numbered]


def _read_ucf101(path: Path, classes: Sequence[str], *, labelled: bool) -> list[str]:
    """Ids of one list; a training list's numbers must be those of the classes."""
    ids = []
    for line in lines_of(path):
        id, _, number = line.partition(" ")
        folder = id.partition("/")[0]
        if folder not in classes:
            raise ValueError(f"{str(path)!r} must name clips as CLASS/CLIP.avi, got {line!r}")
        if labelled and number.strip() != str(classes.index(folder) + 1):
            raise ValueError(
                f"{str(path)!r} must give {folder!r} its number of classInd.txt, "
                f"{classes.index(folder) + 1}, got {line!r}"
            )
        ids.append(id)
    return ids


def _read_hmdb51(folder: Path, name: str, number: int) -> tuple[list[str], list[str]]:
    """Ids of one class that train and that test in one split."""
    path = folder / f"{name}_test_split{number}.txt"
    sides: dict[str, list[str]] = {"0": [], "1": [], "2": []}
    for line in lines_of(path):
        clip, _, flag = line.strip().rpartition(" ")
        if flag not in sides or not clip:
            raise ValueError(f"{str(path)!r} must give each clip a flag 0, 1 or 2, got {line!r}")
        sides[flag].append(f"{name}/{clip.strip()}")
    counts = len(sides["1"]), len(sides["2"])
    if counts != HMDB51_COUNTS:
        wanted = " and ".join(map(str, HMDB51_COUNTS))
        raise ValueError(
            f"{str(path)!r} must have {wanted} clips to train and test, got {counts[0]} and "
            f"{counts[1]}"
        )
    return sides["1"], sides["2"]


def _ucf101_group(id: str) -> str:
    folder, _, clip = id.partition("/")
    found = UCF101_GROUP.match(clip)
    if found is None:
        raise ValueError(f"a clip of {UCF101} must be named v_CLASS_gNN_cNN, got {id!r}")
    return f"{folder}_{found[1]}"


def _hmdb51_group(id: str) -> str:
    folder, _, clip = id.partition("/")
    found = HMDB51_NAME.fullmatch(clip)
    if found is None or not found[1].endswith(f"_{folder}"):
        raise ValueError(
            f"a clip of {HMDB51} must be named TITLE_CLASS_ and six attributes, got {id!r}"
        )
    return f"{folder}: {found[1].removesuffix(f'_{folder}')}"


def _checked_splits(splits: Iterable[int]) -> tuple[int, ...]:
    numbers = tuple(splits)
    if not numbers or any(n not in SPLITS for n in numbers) or max(Counter(numbers).values()) > 1:
        raise ValueError(f"splits must be among 1, 2 and 3, each once, got {numbers}")
    return numbers


def lines_of(path: Path) -> list[str]:
    """Lines that are not blank, of a text file in UTF-8."""
    if not path.is_file():
        raise FileNotFoundError(f"split lists must be there, got no file {str(path)!r}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} must be a list in UTF-8: {error}") from error
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise ValueError(f"{str(path)!r} must list clips, got only blank lines")
    return filled
