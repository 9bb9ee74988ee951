"""What is inside others' score files: arrays, and as far as they say, names, labels and classes.

========================  ==========================================================================
form                      content
========================  ==========================================================================
``.npz`` of TSN           ``scores`` (pickled objects: per video an array of frames, crops, classes,
                          and its label), ``labels``; no names
``.npz`` of CoViAR,       the same, with ``names``
DMC-Net
``.pkl`` of mmaction2     a list of dictionaries with ``pred_score`` and ``gt_label`` (tensors or
                          arrays), or of arrays; seldom names
``.mat``                  a matrix of scores; where there are any, a cell array of names and a
                          vector of labels
``.npy``                  a matrix of scores
``.csv``                  a header with the classes, and per row the video's name and its scores
========================  ==========================================================================

Nothing in them is run: pickled content goes through `compare.scores.pickled`.
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compare.scores import pickled
from compare.scores.files import CSV_MARK
from idt.arrays import read_header, read_members
from idt.matlab import read_mat

MAX_BYTES = pickled.MAX_BYTES  # of one array, unpacked
MAX_LABEL = 1 << 31
NAME_COLUMNS = ("id", "name", "video", "video_id", "path", "filename")
SAMPLE_NAMES = ("filename", "video_id", "frame_dir", "img_key", "id")  # of mmaction2's dictionaries
BROKEN = (ValueError, OSError, MemoryError, KeyError, TypeError, csv.Error)


@dataclass(frozen=True, eq=False)
class Foreign:
    """A file's content before anything is known of its rows and columns.

    `scores` is float64 (n_rows, n_columns); `names`, `labels` (n_rows,) and `classes` are None
    where the file does not say.
    """

    scores: np.ndarray
    names: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] | None = None


def read(path: str | Path, *, variable: str | None = None) -> Foreign:
    """Read a score file of another program, by its suffix.

    Parameters
    ----------
    path
        ``.npz``, ``.npy``, ``.pkl``, ``.mat`` or ``.csv``.
    variable
        ``.mat`` and ``.npz``: the name of the scores, where there are several matrices.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is cut short, hostile, too large or of another form.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a file of scores, got {str(path)!r}: no file")
    readers: Mapping[str, Callable[[Path, str | None], Foreign]] = {
        ".npz": _read_npz,
        ".npy": _read_npy,
        ".pkl": _read_pkl,
        ".mat": _read_mat,
        ".csv": _read_csv,
    }
    if path.suffix not in readers:
        raise ValueError(f"path must end in {', '.join(readers)}, got {str(path)!r}")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{str(path)!r} must have at most {MAX_BYTES} bytes, got {path.stat().st_size}; "
            "average frames and crops before writing scores"
        )
    try:
        return readers[path.suffix](path, variable)
    except BROKEN as error:
        raise ValueError(f"{str(path)!r} is no file of scores: {_text(error)}") from error


def is_table(path: str | Path) -> bool:
    """Whether a file is a table of this project rather than another program's."""
    path = Path(path)
    if path.suffix == ".csv" and path.is_file():
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.readline(len(CSV_MARK) + 1).startswith(CSV_MARK)
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {"ids.npy", "classes.npy", "scores.npy"} <= set(archive.namelist())
    except Exception:  # of a broken archive; whoever reads it says what is wrong
        return False


def _read_npz(path: Path, variable: str | None) -> Foreign:
    wanted = variable or "scores"
    members = read_members(path, (wanted, "labels", "names"), limit=MAX_BYTES)
    if wanted not in members:
        raise ValueError(f"it must hold an array {wanted!r}, got {', '.join(members) or 'none'}")
    found = {name: _array(bytes(content)) for name, content in members.items()}
    return Foreign(
        scores=_averaged(found[wanted]),
        names=_texts(found["names"]) if "names" in found else None,
        labels=_labels(found["labels"]) if "labels" in found else None,
    )


def _read_npy(path: Path, variable: str | None) -> Foreign:
    return Foreign(_averaged(_array(path.read_bytes())))


def _read_pkl(path: Path, variable: str | None) -> Foreign:
    content = pickled.load(path.read_bytes())
    if isinstance(content, np.ndarray):
        return Foreign(_averaged(content))
    if not isinstance(content, list) or not content:
        raise ValueError(f"it must hold a list of results, got {type(content).__name__}")
    if not all(isinstance(each, dict) for each in content):
        return Foreign(_averaged(content))
    rows = [_item(each, ("pred_score", "pred_scores")) for each in content]
    labels = [_item(each, ("gt_label", "gt_labels"), optional=True) for each in content]
    key = next((name for name in SAMPLE_NAMES if name in content[0]), None)
    return Foreign(
        scores=_averaged(rows),
        names=None if key is None else tuple(str(each[key]) for each in content),
        labels=None if any(label is None for label in labels) else _labels(labels),
    )


def _item(sample: Mapping[Any, Any], keys: Sequence[str], *, optional: bool = False) -> Any:
    """A sample's value; versions name it otherwise and put it one level deeper, as ``item``."""
    value = next((sample[key] for key in keys if key in sample), None)
    if isinstance(value, dict):
        value = value.get("item")
    if value is None and not optional:
        raise ValueError(
            f"results must have {' or '.join(keys)}, got {', '.join(map(str, list(sample)[:9]))}"
        )
    return value


def _read_mat(path: Path, variable: str | None) -> Foreign:
    content = read_mat(path, limit=MAX_BYTES)
    numbers = {k: v for k, v in content.items() if v.dtype.kind in "fiu" and v.ndim == 2}
    matrices = [name for name, value in numbers.items() if min(value.shape) > 1]
    if variable is None and len(matrices) != 1:
        have = ", ".join(f"{name} {value.shape}" for name, value in content.items()) or "nothing"
        raise ValueError(f"it must hold one matrix of scores, got {have}; name it as variable")
    wanted = variable or matrices[0]
    if wanted not in numbers:
        raise ValueError(f"it must hold a matrix {wanted!r}, got {', '.join(content) or 'nothing'}")
    scores = np.asarray(numbers[wanted], dtype=np.float64)
    n = len(scores)
    vectors = [k for k, v in numbers.items() if k != wanted and v.size == n and 1 in v.shape]
    cells = [k for k, v in content.items() if v.size == n and v.dtype.kind in "OU"]
    for what, found in (("labels", vectors), ("names", cells)):
        if len(found) > 1:
            raise ValueError(f"it must hold one vector of {what}, got {', '.join(found)}")
    return Foreign(
        scores=scores,
        names=_texts(content[cells[0]]) if cells else None,
        labels=_labels(content[vectors[0]]) if vectors else None,
    )


def _read_csv(path: Path, variable: str | None) -> Foreign:
    text = path.read_text(encoding="utf-8-sig")
    header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    if header[0] not in NAME_COLUMNS or len(header) < 2:
        raise ValueError(
            f"its header must start with {', '.join(NAME_COLUMNS[:-1])} or {NAME_COLUMNS[-1]}, and "
            f"go on with the classes, got {header[:3]}"
        )
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"each row must have {len(header)} cells, got {len(row)}: {row[0]!r}")
    values = np.array([[float(cell) for cell in row[1:]] for row in rows], dtype=np.float64)
    values = values.reshape(len(rows), len(header) - 1)
    return Foreign(values, tuple(row[0] for row in rows), classes=tuple(header[1:]))


def _array(content: bytes) -> np.ndarray:
    """One array in NumPy's own form; pickled objects through the allow-list."""
    stream = io.BytesIO(content)
    shape, fortran, dtype = read_header(stream)
    rest = content[stream.tell() :]
    if dtype.hasobject:
        value = pickled.load(rest)
        if not isinstance(value, np.ndarray) or value.shape != shape:
            raise ValueError(f"a pickled array must have its header's shape {shape}")
        return value
    if dtype.kind not in "biufSU":
        raise ValueError(f"arrays must be of numbers or texts, got {dtype}")
    if len(rest) != math.prod(shape) * dtype.itemsize:
        raise ValueError(
            f"an array of shape {shape} and {dtype} must have {math.prod(shape) * dtype.itemsize} "
            f"bytes, got {len(rest)}; the file is cut short or broken"
        )
    return np.frombuffer(rest, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _averaged(values: Any) -> np.ndarray:
    """One row of scores per video: means over frames and crops."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        if values.ndim < 2 or values.size == 0:
            raise ValueError(f"scores must have a row per video, got shape {values.shape}")
        return values.astype(np.float64).reshape(len(values), -1, values.shape[-1]).mean(axis=1)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        values = values[:, 0]  # scores beside their label
    rows = []
    for index, value in enumerate(values):
        row = np.asarray(value)
        if row.dtype.kind not in "fiu" or row.ndim < 1 or row.size == 0:
            raise ValueError(
                f"scores of row {index} must be numbers, got {row.dtype} of shape {row.shape}"
            )
        rows.append(row.astype(np.float64).reshape(-1, row.shape[-1]).mean(axis=0))
    widths = sorted({len(row) for row in rows})
    if len(widths) != 1:
        raise ValueError(f"scores must be of as many classes in every row, got {widths or 'none'}")
    return np.stack(rows)


def _labels(values: Any) -> np.ndarray:
    """Class numbers, one per video."""
    flat = [np.asarray(value).reshape(-1) for value in values]
    if any(each.size != 1 or each.dtype.kind not in "iuf" for each in flat):
        raise ValueError("labels must be one number per video; several per video are not read")
    labels = np.array([each[0] for each in flat], dtype=np.float64)
    if not (np.abs(labels) < MAX_LABEL).all() or not (labels == np.round(labels)).all():
        raise ValueError("labels must be whole numbers")
    return labels.astype(np.int64)


def _texts(values: np.ndarray) -> tuple[str, ...]:
    texts = []
    for value in values.reshape(-1).tolist():
        while isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1).tolist()[0]
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        if not isinstance(value, str):
            raise ValueError(f"names must be texts, got {type(value).__name__}")
        texts.append(value.strip())
    return tuple(texts)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
