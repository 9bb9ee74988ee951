"""The files of a `ScoreTable`: ``.npz`` of plain arrays, and ``.csv``; nothing is pickled."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idt.arrays import read_npz as read_arrays
from idt.jobs import whole_file

if TYPE_CHECKING:
    from compare.scores.table import ScoreTable

FORMAT = 1
CSV_MARK = "# trajfuse-scores "


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, making its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_bytes(content)


def npz_bytes(table: ScoreTable, about: str) -> bytes:
    """Return a table as an ``.npz`` file; `about` is its description in JSON."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ids=np.array(table.ids, dtype=np.str_),
        classes=np.array(table.classes, dtype=np.str_),
        scores=table.scores,
        about=np.array(about, dtype=np.str_),
    )
    return buffer.getvalue()


def csv_bytes(table: ScoreTable, about: str) -> bytes:
    """Return a table as a ``.csv`` file; `about` is its description in JSON."""
    buffer = io.StringIO(newline="")
    buffer.write(CSV_MARK + about + "\r\n")
    writer = csv.writer(buffer)
    writer.writerow(["id", *table.classes])
    for id, row in zip(table.ids, table.scores, strict=True):
        writer.writerow([id, *(str(score) for score in row)])  # shortest text that reads back
    return buffer.getvalue().encode()


_Parts = tuple[tuple[str, ...], tuple[str, ...], np.ndarray, dict[str, Any]]


def read_npz(path: Path) -> _Parts:
    """Return ids, classes, scores and description of an ``.npz`` file."""
    try:
        found = read_arrays(path)
        missing = [name for name in ("ids", "classes", "scores") if name not in found]
        if missing:
            raise ValueError(f"it must hold arrays ids, classes and scores, got {[*found]}")
        ids, classes, scores = found["ids"], found["classes"], found["scores"]
        about = str(found["about"][()]) if "about" in found else "{}"
    except (ValueError, OSError) as error:
        raise ValueError(f"{str(path)!r} is no table of scores: {error}") from error
    for name, values in (("ids", ids), ("classes", classes)):
        if values.ndim != 1 or values.dtype.kind != "U":
            raise ValueError(
                f"{name} of {str(path)!r} must be a list of texts, got {values.dtype} of shape "
                f"{values.shape}"
            )
    return tuple(ids.tolist()), tuple(classes.tolist()), scores, _parsed_about(about, path)


def read_csv(path: Path) -> _Parts:
    """Return ids, classes, scores and description of a ``.csv`` file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} must be a CSV file in UTF-8: {error}") from error
    about = "{}"
    if text.startswith(CSV_MARK):
        about, _, text = text.removeprefix(CSV_MARK).partition("\n")
    try:
        header, *rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row
        ] or [[""]]
    except csv.Error as error:
        raise ValueError(f"{str(path)!r} must be a CSV file with a header: {error}") from error
    if header[0] != "id" or len(header) < 2:
        raise ValueError(
            f"{str(path)!r} must have a header 'id,' and the class names, got {','.join(header)!r}"
        )
    scores = np.empty((len(rows), len(header) - 1))
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"{str(path)!r} must have {len(header)} cells in every row, got {len(row)} for "
                f"{row[0]!r}"
            )
        try:
            scores[index] = [float(cell) for cell in row[1:]]
        except ValueError as error:
            raise ValueError(
                f"{str(path)!r} must hold numbers, got for {row[0]!r}: {error}"
            ) from error
    return tuple(row[0] for row in rows), tuple(header[1:]), scores, _parsed_about(about, path)


def _parsed_about(text: str, path: Path) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} must describe itself in JSON: {error}") from error
    if not isinstance(about, dict) or about.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{str(path)!r} must be of format {FORMAT}, got {text[:60]!r}; "
            "it was written by another version"
        )
    texts = [about.get(name, "") for name in ("kind", "method", "split")]
    told = about.get("provenance", {})
    if not all(isinstance(each, str) for each in texts) or not isinstance(told, dict):
        raise ValueError(f"{str(path)!r} must tell kind, method and split as texts, got {texts}")
    if not isinstance(told.get("versions", {}), dict):
        raise ValueError(f"{str(path)!r} must tell versions by package, got {told['versions']!r}")
    return about
