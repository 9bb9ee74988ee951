"""Tables of scores: one row per video, one column per class, joined by name and never by place.

Two programs rarely write videos, or classes, in the same order. Fusing their rows by position
changes the result without an error; where only the order inside classes differs it even raises the
fused accuracy while every single accuracy stays as it was. A `ScoreTable` therefore always carries
its video ids and class names, and `join` refuses tables that differ, naming what differs.

On disk a table is an ``.npz`` of plain arrays (nothing pickled: ids, classes, scores, and a JSON
text with the rest) or a ``.csv`` with a first line ``# trajfuse-scores {...}`` of the same JSON.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from compare.datasets.dataset import named
from idt.jobs import whole_file

Kind = Literal["decision", "logit", "probability"]
KINDS: tuple[str, ...] = get_args(Kind)
FORMAT = 1
CSV_MARK = "# trajfuse-scores "


class ScoreJoinError(ValueError):
    """Tables of scores that do not belong together; the message names what differs."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one method on the test videos of one split.

    Parameters
    ----------
    ids
        Video ids, unique, one per row.
    classes
        Class names, unique, one per column.
    scores
        Shape (n_videos, n_classes), finite; larger means more likely. Kept as read-only float32.
    kind
        ``"decision"`` (an SVM's signed distances, or any scale of its own), ``"logit"`` (log
        odds up to a constant per video) or ``"probability"`` (non-negative, rows sum to 1).
    method, split
        What made the scores, and for which split's test videos.
    provenance
        JSON-able settings, versions and seconds behind the scores.

    Raises
    ------
    ValueError
        Names the rule that is broken and where.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    scores: np.ndarray
    kind: Kind
    method: str
    split: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(str(id) for id in self.ids))
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        object.__setattr__(self, "scores", _checked_scores(self))

    def aligned(self, ids: Sequence[str], classes: Sequence[str]) -> ScoreTable:
        """Return the same scores with rows and columns in another order.

        Raises
        ------
        ScoreJoinError
            `ids` or `classes` are not exactly this table's own.
        """
        _require_same("videos", self.ids, ids, self.method, "asked for")
        _require_same("classes", self.classes, classes, self.method, "asked for")
        row_of = {id: row for row, id in enumerate(self.ids)}
        column_of = {name: column for column, name in enumerate(self.classes)}
        rows = [row_of[id] for id in ids]
        columns = [column_of[name] for name in classes]
        return replace(
            self, ids=tuple(ids), classes=tuple(classes), scores=self.scores[rows][:, columns]
        )

    def save(self, path: str | Path) -> None:
        """Write the table whole or not at all, as ``.npz`` or ``.csv`` by the suffix of `path`."""
        path = Path(path)
        about = {
            "format": FORMAT,
            "kind": self.kind,
            "method": self.method,
            "split": self.split,
            "provenance": dict(self.provenance),
        }
        about_text = json.dumps(about, ensure_ascii=False, allow_nan=False)
        if path.suffix == ".npz":
            content = _npz_bytes(self, about_text)
        elif path.suffix == ".csv":
            content = _csv_bytes(self, about_text)
        else:
            raise ValueError(f"path must end in .npz or .csv, got {str(path)!r}")
        write_whole(path, content)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        kind: Kind | None = None,
        method: str | None = None,
        split: str | None = None,
    ) -> ScoreTable:
        """Read a table from ``.npz`` (arrays ids, classes, scores) or ``.csv`` (id, then classes).

        Parameters
        ----------
        path
            The file. Nothing in it is executed: pickled content is refused.
        kind, method, split
            Take precedence over the file's own. A file that says nothing of itself needs `kind`;
            `method` is then its name without suffix, `split` empty.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is no table of scores, with the reason.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path must be a table of scores, got {str(path)!r}: no file")
        if path.suffix == ".npz":
            ids, classes, scores, about = _read_npz(path)
        elif path.suffix == ".csv":
            ids, classes, scores, about = _read_csv(path)
        else:
            raise ValueError(f"path must end in .npz or .csv, got {str(path)!r}")
        kind = kind or about.get("kind")
        if kind is None:
            raise ValueError(
                f"kind must be given for {str(path)!r}, which does not say whether it holds "
                f"{_either(KINDS)} scores"
            )
        try:
            return cls(
                ids=ids,
                classes=classes,
                scores=scores,
                kind=kind,
                method=method or about.get("method") or path.stem,
                split=split or about.get("split") or "",
                provenance=about.get("provenance") or {},
            )
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is no valid table of scores: {error}") from error


def join(tables: Sequence[ScoreTable]) -> list[ScoreTable]:
    """Bring tables into the row and column order of the first, matched by id and class name.

    Raises
    ------
    ScoreJoinError
        Two tables score other videos or other classes; the message gives the first few on either
        side and how many there are.
    """
    if not tables:
        raise ValueError("tables must be one or more, got none")
    first, *others = tables
    for other in others:
        _require_same("videos", first.ids, other.ids, first.method, other.method)
        _require_same("classes", first.classes, other.classes, first.method, other.method)
    return [first, *(other.aligned(first.ids, first.classes) for other in others)]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, making its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_bytes(content)


def _checked_scores(table: ScoreTable) -> np.ndarray:
    """Scores as read-only float32, once everything about the table has been checked."""
    if table.kind not in KINDS:
        raise ValueError(f"kind must be {_either(KINDS)}, got {table.kind!r}")
    for name, values in (("ids", table.ids), ("classes", table.classes)):
        repeated = [value for value, n in Counter(values).items() if n > 1]
        if repeated:
            raise ValueError(f"{name} must be unique, got more than once: {named(repeated)}")
        if "" in values:
            raise ValueError(f"{name} must not be empty texts, got one at {values.index('')}")
    given = np.asarray(table.scores)
    if given.dtype.kind not in "fiu":
        raise ValueError(f"scores must be real numbers, got an array of {given.dtype}")
    wanted = (len(table.ids), len(table.classes))
    if given.shape != wanted:
        raise ValueError(
            f"scores must have shape (n_videos, n_classes) = {wanted}, got {given.shape}"
        )
    if 0 in wanted:
        raise ValueError(f"scores must have a row and a column, got shape {wanted}")
    with np.errstate(over="ignore"):
        scores = given.astype(np.float32)
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        rows = [table.ids[row] for row in np.flatnonzero(bad).tolist()]
        raise ValueError(f"scores must be finite, got NaN or infinity for {named(rows)}")
    if table.kind == "probability":
        _check_probabilities(table.ids, scores)
    scores.flags.writeable = False
    return scores


def _check_probabilities(ids: Sequence[str], scores: np.ndarray) -> None:
    sums = scores.sum(axis=1, dtype=np.float64)
    bad = (scores < 0).any(axis=1) | (np.abs(sums - 1) > 1e-3)
    if bad.any():
        rows = [ids[row] for row in np.flatnonzero(bad).tolist()]
        raise ValueError(
            "probabilities must be 0 or more and sum to 1 in every row, got others for "
            f"{named(rows)}; call the scores 'decision' or 'logit' if that is what they are"
        )


def _require_same(
    what: str, left: Sequence[str], right: Sequence[str], left_name: str, right_name: str
) -> None:
    """Raise unless both sides hold the same names, each once, in whatever order."""
    only_left = [name for name in left if name not in set(right)] if set(left) - set(right) else []
    missing = set(right) - set(left)
    only_right = [name for name in right if name in missing]
    sides = [
        f"{len(names)} only in {side!r} ({named(names)})"
        for side, names in ((left_name, only_left), (right_name, only_right))
        if names
    ]
    if sides:
        raise ScoreJoinError(
            f"tables of scores must have the same {what}, got {' and '.join(sides)}"
        )
    if len(left) != len(right):
        raise ScoreJoinError(
            f"tables of scores must name {what} once, got {len(left)} in {left_name!r} and "
            f"{len(right)} in {right_name!r}"
        )


def _npz_bytes(table: ScoreTable, about: str) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ids=np.array(table.ids, dtype=np.str_),
        classes=np.array(table.classes, dtype=np.str_),
        scores=table.scores,
        about=np.array(about, dtype=np.str_),
    )
    return buffer.getvalue()


def _csv_bytes(table: ScoreTable, about: str) -> bytes:
    buffer = io.StringIO(newline="")
    buffer.write(CSV_MARK + about + "\r\n")
    writer = csv.writer(buffer)
    writer.writerow(["id", *table.classes])
    for id, row in zip(table.ids, table.scores, strict=True):
        writer.writerow([id, *(str(score) for score in row)])  # shortest text that reads back
    return buffer.getvalue().encode()


_Parts = tuple[tuple[str, ...], tuple[str, ...], np.ndarray, dict[str, Any]]


def _read_npz(path: Path) -> _Parts:
    try:
        with zipfile.ZipFile(path):  # np.load would take any other array file for a table
            pass
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("ids", "classes", "scores") if name not in file]
            if missing:
                raise ValueError(f"it must hold arrays ids, classes and scores, got {file.files}")
            ids, classes, scores = file["ids"], file["classes"], file["scores"]
            about = str(file["about"][()]) if "about" in file else "{}"
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is no table of scores: {error}") from error
    for name, values in (("ids", ids), ("classes", classes)):
        if values.ndim != 1 or values.dtype.kind != "U":
            raise ValueError(
                f"{name} of {str(path)!r} must be a list of texts, got {values.dtype} of shape "
                f"{values.shape}"
            )
    return tuple(ids.tolist()), tuple(classes.tolist()), scores, _parsed_about(about, path)


def _read_csv(path: Path) -> _Parts:
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
        ]
    except (csv.Error, ValueError) as error:
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
    except json.JSONDecodeError as error:
        raise ValueError(f"{str(path)!r} must describe itself in JSON: {error}") from error
    if not isinstance(about, dict) or about.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{str(path)!r} must be of format {FORMAT}, got {text[:60]!r}; "
            "it was written by another version"
        )
    return about


def _either(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:-1]) + f" or {names[-1]!r}"
