"""Data sets from a CSV file with one row per video."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from compare.datasets.dataset import Dataset, Split, Video, joined, named
from compare.datasets.folds import DEFAULT_FOLDS, group_folds, splits_by_value, text_of_folds
from idt.paths import leads_outside

Row = tuple[int, dict[str, str]]  # line in the file, cells by column
SIDES = ("train", "test")  # of a split


def from_csv(
    path: str | Path,
    *,
    folds: str | int | None = None,
    seed: int = 0,
    allow_outside: bool = False,
    must_exist: bool = True,
) -> Dataset:
    """Read a data set from a CSV file.

    Parameters
    ----------
    path
        UTF-8, with a header. Columns: ``path`` (relative to the file's folder; as written it is
        the video's id), ``label``, and optionally ``group``, ``split`` (train or test) and others.
    folds
        Name of the column that says in which fold a row is tested, or a number of folds to draw by
        group; a column of nothing but ``train`` and ``test`` is one split. None takes the column
        ``split`` where there is one, else draws 5 folds.
    seed
        Of folds that are drawn.
    allow_outside
        Accept absolute paths and paths that climb out of the file's folder.
    must_exist
        Raise where a row's file is not there; else they are not looked for.

    Raises
    ------
    FileNotFoundError
        The CSV file, or a file that one of its rows names, does not exist.
    ValueError
        Anything else that is wrong, with the line.
    """
    path = Path(path)
    columns, rows = read_csv(path)
    require_columns(columns, ("path", "label"), path)
    videos = _videos_of_rows(rows, path.parent, "group" in columns, allow_outside, must_exist)
    if isinstance(folds, int) or (folds is not None and folds not in columns and folds.isdigit()):
        splits = group_folds(videos, n_folds=int(folds), seed=seed)
        protocol = text_of_folds(videos, int(folds), seed)
    elif folds is not None and not {row.get(folds) for _, row in rows} <= set(SIDES):
        require_columns(columns, (folds,), path)
        splits = splits_by_value(
            [(clip.id, row[folds]) for clip, (_, row) in zip(videos, rows, strict=True)]
        )
        protocol = f"each value of column {folds!r} tested in turn, the others train"
    elif folds is not None or "split" in columns:
        column = folds or "split"
        splits = (_column_split(videos, rows, column),)
        protocol = f"column {column!r}: train and test"
    else:
        splits = group_folds(videos, n_folds=DEFAULT_FOLDS, seed=seed)
        protocol = text_of_folds(videos, DEFAULT_FOLDS, seed)
    return Dataset(
        name=path.stem,
        root=path.parent,
        videos=tuple(videos),
        class_names=tuple(sorted({clip.label for clip in videos})),
        splits=splits,
        protocol=protocol,
    )


def read_csv(path: Path) -> tuple[list[str], list[Row]]:
    """Header and (line, row) pairs; cells are stripped, blank lines skipped."""
    if not path.is_file():
        raise FileNotFoundError(
            f"data must be a CSV file or a folder, got {str(path)!r}, which does not exist"
        )
    rows: list[Row] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [cell.strip() for cell in next(reader, [])]
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise ValueError(
                        f"{str(path)!r} line {reader.line_num} must have {len(columns)} cells as "
                        f"its header has, got {len(cells)}"
                    )
                stripped = (cell.strip() for cell in cells)
                rows.append((reader.line_num, dict(zip(columns, stripped, strict=True))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{str(path)!r} must be a CSV file in UTF-8: {error}") from error
    repeated = [name for name, n in Counter(columns).items() if n > 1]
    if repeated:
        raise ValueError(f"{str(path)!r} must name a column once, got twice: {named(repeated)}")
    if not rows:
        raise ValueError(f"{str(path)!r} must have rows below a header, got none")
    return columns, rows


def require_columns(columns: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    """Raise ValueError, naming those that lack, unless a file has all the columns."""
    lacking = [name for name in wanted if name not in columns]
    if lacking:
        raise ValueError(
            f"{str(path)!r} must have a column {named(lacking)}, got only {named(columns, 12)}"
        )


def _videos_of_rows(
    rows: Iterable[Row], root: Path, grouped: bool, allow_outside: bool, must_exist: bool
) -> list[Video]:
    videos, seen = [], dict[str, int]()
    missing = []
    for line, row in rows:
        for column in ("path", "label", *(("group",) if grouped else ())):
            if not row[column]:
                raise ValueError(f"line {line} must have a {column}, got an empty cell")
        id = row["path"]
        if id in seen:
            raise ValueError(
                f"line {line} must name a video of its own, got {id!r}, which line {seen[id]} "
                "names already"
            )
        seen[id] = line
        if not allow_outside and leads_outside(id):
            raise ValueError(
                f"line {line} must name a path inside the CSV's folder, got {id!r}; move the "
                "video there or allow paths outside"
            )
        if must_exist and not (root / id).is_file():
            missing.append(f"line {line}: {id!r}")
        videos.append(Video(root / id, id, row["label"], row["group"] if grouped else None))
    if missing:
        raise FileNotFoundError(
            f"each row must name a file that exists in {str(root)!r}, got {len(missing)} that do "
            f"not: {joined(missing)}"
        )
    return videos


def _column_split(videos: Sequence[Video], rows: Sequence[Row], column: str) -> Split:
    sides: dict[str, list[str]] = {side: [] for side in SIDES}
    for clip, (line, row) in zip(videos, rows, strict=True):
        if row[column] not in sides:
            raise ValueError(
                f"{column} must be 'train' or 'test', got {row[column]!r} in line {line}; "
                "leave other rows out"
            )
        sides[row[column]].append(clip.id)
    return Split(column, tuple(sides["train"]), tuple(sides["test"]))
