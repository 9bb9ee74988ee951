"""Tables of videos: a CSV with a path, and as wanted a label and a group, in every row."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from idt.paths import leads_outside


class Row(NamedTuple):
    """A video of the table; empty where there is no label or group."""

    path: str
    label: str
    group: str


def read_table(table: Path, *, labelled: bool, allow_outside: bool = False) -> list[Row]:
    """Read the videos of a CSV.

    Parameters
    ----------
    table
        UTF-8, with a line of column names: path, from the CSV's folder, label and group; others are
        not read.
    labelled
        Whether every row needs a label.
    allow_outside
        Accept paths outside the CSV's folder.

    Returns
    -------
    list of Row
        At least one, in the order of the file; paths as they are written, each once.

    Raises
    ------
    ValueError
        The file is no such table; names the line and what is wrong there.
    FileNotFoundError
        There is no such file, or a path leads to nothing.
    """
    needed = ["path", "label"] if labelled else ["path"]
    rows: list[Row] = []
    seen: set[str] = set()
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in needed if name not in (reader.fieldnames or [])]
            if missing:
                raise ValueError(
                    f"{table} must have the columns {', '.join(needed)}, got none named "
                    f"{', '.join(missing)}; put column names in its first line"
                )
            for cells in reader:
                row = Row(*(cells.get(name) or "" for name in Row._fields))
                where = f"line {reader.line_num} of {table}"
                if not row.path or (labelled and not row.label):
                    raise ValueError(
                        f"every row must have a value for {', '.join(needed)}, got an empty one "
                        f"in {where}; fill it in"
                    )
                if row.path in seen:
                    raise ValueError(
                        f"paths must be unique, got {row.path!r} again in {where}; remove one"
                    )
                if not allow_outside and leads_outside(row.path):
                    raise ValueError(
                        f"every path must lie in the CSV's folder, got {row.path!r} in {where}; "
                        "move the video there, or give --allow-outside"
                    )
                if not (table.parent / row.path).exists():
                    raise FileNotFoundError(
                        f"every path must be a video or a folder, got {row.path!r} in {where}; "
                        "paths count from the CSV's folder"
                    )
                seen.add(row.path)
                rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{table} must be a CSV file in UTF-8: {error}; save it again as one"
        ) from error
    if not rows:
        raise ValueError(f"{table} must have at least one row, got none; list the videos")
    return rows
