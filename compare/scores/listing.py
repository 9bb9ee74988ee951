"""Lists of videos and of classes, as data sets and programs write them, for files without names.

Rows of a score file without names mean the videos of some list, its columns the classes of another;
labels by number mean nothing without it. Read are

- one of the split files of UCF101: ``Class/clip.avi``, with or without a number;
- list files of TSN and mmaction2: ``path label`` or ``path n_frames label``;
- the folder of UCF101's or HMDB51's official split files, which give groups, too;
- a CSV with a column ``id`` or ``path``, and as wanted ``label`` and ``group``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compare.datasets.csv_file import read_csv
from compare.datasets.dataset import named
from compare.datasets.official import hmdb51, ucf101

PARTS = ("train", "test")
ID_COLUMNS = ("id", "path")


@dataclass(frozen=True)
class Listing:
    """Videos in the order of their list, with what the list says of them.

    Parameters
    ----------
    ids
        As written; unique.
    labels
        The class of each video, or None where the list does not say.
    groups
        The group of each video, or None.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        repeated = [id for id, n in Counter(self.ids).items() if n > 1]
        if repeated:
            raise ValueError(f"a list must name a video once, got twice: {named(repeated)}")
        if not self.ids:
            raise ValueError("a list must name videos, got none")

    @property
    def truth(self) -> dict[str, str]:
        """The class of each video id; empty where the list does not say."""
        return dict(zip(self.ids, self.labels or (), strict=False))


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Read class names, one a line, in the order of the columns.

    A number beside every name (``1 ApplyEyeMakeup`` or ``brush_hair 33``), from 0 or from 1 on, is
    the order then, whatever that of the lines.

    Raises
    ------
    ValueError
        A class twice, none, or numbers with a gap.
    """
    lines = [line.split() for line in _text(Path(path)).splitlines() if line.strip()]
    for number, name in ((0, slice(1, None)), (-1, slice(0, -1))):
        if lines and all(len(line) > 1 and line[number].isdigit() for line in lines):
            numbered = sorted((int(line[number]), " ".join(line[name])) for line in lines)
            order = [index for index, _ in numbered]
            if order not in (list(range(len(order))), list(range(1, len(order) + 1))):
                raise ValueError(
                    f"classes of {str(path)!r} must be numbered 0, 1, ... or 1, 2, ..., got "
                    f"{order[:5]}"
                )
            classes = tuple(text for _, text in numbered)
            break
    else:
        classes = tuple(" ".join(line) for line in lines)
    repeated = [name for name, n in Counter(classes).items() if n > 1]
    if repeated or not classes:
        raise ValueError(
            f"classes of {str(path)!r} must be names, each once, got {named(repeated) or 'none'}"
        )
    return classes


def read_listing(
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    split: int | None = None,
    part: str = "test",
) -> Listing:
    """Read a list of videos, see the module's docstring for its forms.

    Parameters
    ----------
    path
        A file, or the folder of UCF101's or HMDB51's split files.
    classes
        Names for labels by number, which count from 0 or, where there is no 0 but the number of
        classes, from 1.
    split, part
        For such a folder: number of the split, and ``"train"`` or ``"test"``.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such list, or it cannot be read; says which line and why.
    """
    path = Path(path)
    try:
        return _read(path, classes, split, part)
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{str(path)!r} is no list that can be used: {error}") from error


def _read(path: Path, classes: Sequence[str] | None, split: int | None, part: str) -> Listing:
    """Read a list of any of the forms."""
    if path.is_dir():
        return _read_official(path, split, part)
    if path.suffix == ".csv" and path.is_file():
        return _read_csv(path)
    rows = [line.split() for line in _text(path).splitlines() if line.strip()]
    ids = tuple(row[0] for row in rows)
    known = set(classes or ())
    folders = tuple(id.rpartition("/")[0] for id in ids)
    several = len(set(folders)) > 1 and all(name and "/" not in name for name in folders)
    if (set(folders) <= known) if known else several:
        return Listing(ids, folders)
    last = [row[-1] if len(row) > 1 else "" for row in rows]
    if not known or not all(cell.isdigit() for cell in last):
        return Listing(ids)
    numbers = [int(cell) for cell in last]
    order = list(classes or ())
    if not 0 < max(numbers) - min(numbers) + 1 <= len(order) or max(numbers) > len(order):
        raise ValueError(
            f"labels of {str(path)!r} must be numbers of {len(order)} classes, got "
            f"{min(numbers)} to {max(numbers)}"
        )
    if min(numbers) > 0 and max(numbers) < len(order):
        raise ValueError(
            f"labels of {str(path)!r} must have a 0 or a {len(order)}, got {min(numbers)} to "
            f"{max(numbers)}, which may count from 0 or from 1; write the names of the classes"
        )
    base = int(max(numbers) == len(order))
    return Listing(ids, tuple(order[number - base] for number in numbers))


def _read_official(folder: Path, split: int | None, part: str) -> Listing:
    """One side of an official split, with groups."""
    if part not in PARTS or split is None:
        raise ValueError(
            f"a folder of split files must be given with the number of the split, and train or "
            f"test, got {split} and {part!r} for {str(folder)!r}"
        )
    read = ucf101 if (folder / "classInd.txt").is_file() else hmdb51
    dataset = read(folder, splits=(split,))
    ids = dataset.splits[0].train if part == "train" else dataset.splits[0].test
    truth, groups = dataset.truth, dataset.groups or {}
    return Listing(ids, tuple(truth[id] for id in ids), tuple(groups[id] for id in ids))


def _read_csv(path: Path) -> Listing:
    columns, rows = read_csv(path)
    column = next((name for name in ID_COLUMNS if name in columns), None)
    if column is None:
        raise ValueError(
            f"{str(path)!r} must have a column 'id' or 'path', got {named(columns, 12)}"
        )
    told = [name for name in (column, "label", "group") if name in columns]
    for line, row in rows:
        empty = [name for name in told if not row[name]]
        if empty:
            raise ValueError(
                f"{str(path)!r} line {line} must have a {empty[0]}, got an empty cell; leave the "
                "column out where it is not known"
            )
    cells = {name: tuple(row[name] for _, row in rows) for name in told}
    return Listing(cells[column], cells.get("label"), cells.get("group"))


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"path must be a list of videos or classes, got {str(path)!r}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} must be a text file in UTF-8: {error}") from error
