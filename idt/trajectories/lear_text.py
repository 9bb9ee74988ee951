"""The reference program's text: one trajectory a line, numbers with a tab after each.

Columns are the ten of place and statistics, then trajectory, HOG, HOF, MBHx and MBHy; the first
two groups with six decimals, the others with seven. A file does not say how many numbers a
descriptor has: 436 columns are those of the usual settings, others have to be told.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BufferedReader
from itertools import islice
from pathlib import Path

import numpy as np
from numba import njit

from idt.trajectories.columns import (
    BLOCK_ROWS,
    META_COLUMNS,
    USUAL_DIMENSIONS,
    Rows,
    ordered_dimensions,
    refusal,
)

LARGEST = 1e11  # a number of seven decimals still fits 64 bits
LARGEST_FLOAT = float(np.finfo(np.float32).max)
LONGEST = 22  # characters of such a number with its sign, point and tab
MAX_LINE = 1 << 20  # characters, 47,000 numbers; a packed file without line ends could be endless
GZIP_LEVEL = 1  # higher ones take longer than the extraction and save a tenth


@njit(cache=True, nogil=True, error_model="numpy")
def _print_rows(rows: np.ndarray, n_short: int, out: np.ndarray) -> int:
    """Print rows as text, `n_short` columns with 6 decimals, others with 7; returns the length.

    A float32 times 10^7 is exact in float64, so that rounding it gives the digits of C's printf.
    """
    end = 0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            value = float(rows[i, j])
            n_decimals = 6 if j < n_short else 7
            number = np.int64(np.rint(abs(value) * (1e6 if j < n_short else 1e7)))
            if math.copysign(1.0, value) < 0:
                out[end] = ord("-")
                end += 1
            n_digits = n_decimals + 1
            limit = np.int64(10) ** n_digits
            while number >= limit:
                limit *= 10
                n_digits += 1
            last = end + n_digits
            for k in range(n_digits + 1):
                if k == n_decimals:
                    out[last - k] = ord(".")
                else:
                    out[last - k] = ord("0") + number % 10
                    number //= 10
            out[last + 1] = ord("\t")
            end = last + 2
        out[end] = ord("\n")
        end += 1
    return end


def to_text(meta: np.ndarray, descriptors: Mapping[str, np.ndarray]) -> bytes:
    r"""Format rows as the reference program does.

    Parameters
    ----------
    meta
        float32 (n, 10), finite.
    descriptors
        By name, float32 (n, dimension), in the order of the columns.

    Returns
    -------
    bytes
        n lines, each number followed by a tab and the last one by a line feed too; equal to what
        C's ``printf`` gives for ``%f`` and ``%.7f``.

    Raises
    ------
    ValueError
        A number's magnitude is 1e11 or more, or it is not finite.
    """
    rows = np.concatenate([meta, *descriptors.values()], axis=1).astype(np.float32, copy=False)
    if not (np.abs(rows) < LARGEST).all():
        raise ValueError(
            f"numbers of a table must be finite and below {LARGEST:g} to be written as text, got "
            f"{rows[~(np.abs(rows) < LARGEST)][0]}; write another form"
        )
    n_short = meta.shape[1]
    if "trajectory" in descriptors:
        n_short += descriptors["trajectory"].shape[1]
    out = np.empty(rows.shape[0] * (rows.shape[1] * LONGEST + 1), np.uint8)
    return out[: _print_rows(rows, n_short, out)].tobytes()


def write(path: Path, blocks: Iterable[Rows], *, compressed: bool) -> None:
    """Write rows to a file; equal rows give equal bytes, whatever the file's name and the time."""
    lines = (to_text(meta, descriptors) for meta, descriptors in blocks)
    with path.open("wb") as target:
        if compressed:
            with gzip.GzipFile("", "wb", GZIP_LEVEL, target, mtime=0) as packed:
                packed.writelines(lines)
        else:
            target.writelines(lines)


def read(path: Path, *, dimensions: Mapping[str, int] | None = None) -> Rows:
    """Read a text file, written by the reference program or here, gzipped if it ends in ``.gz``.

    Parameters
    ----------
    path
        The file.
    dimensions
        Numbers of every descriptor by name; None takes those of the usual settings, 436 columns.

    Returns
    -------
    tuple
        float32 (n, 10), and by name float32 (n, dimension).

    Raises
    ------
    ValueError
        A line has another number of columns, what is no finite number stands in it, or the file is
        cut off; the line is named.
    """
    sizes = ordered_dimensions(USUAL_DIMENSIONS if dimensions is None else dimensions)
    widths = [len(META_COLUMNS), *sizes.values()]
    bounds = np.cumsum(widths)[:-1]
    parts: list[list[np.ndarray]] = [[np.zeros((0, width), np.float32)] for width in widths]
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for first, lines in _numbered(file):
                rows = _parsed(path, first, lines, sum(widths))
                for part, columns in zip(parts, np.split(rows, bounds, axis=1), strict=True):
                    part.append(columns.copy())
    except (OSError, EOFError, zlib.error) as error:
        raise refusal(path, error) from error
    meta, *descriptors = (np.concatenate(part) for part in parts)
    return meta, dict(zip(sizes, descriptors, strict=True))


def _numbered(file: BufferedReader | gzip.GzipFile) -> Iterator[tuple[int, list[bytes]]]:
    """Lines, `BLOCK_ROWS` at a time, with the number of the first, from 1."""
    first = 1
    remaining = iter(lambda: file.readline(MAX_LINE), b"")
    while lines := list(islice(remaining, BLOCK_ROWS)):
        yield first, lines
        first += len(lines)


def _parsed(path: Path, first: int, lines: Sequence[bytes], n_columns: int) -> np.ndarray:
    """Numbers of some lines, float32 (n, n_columns)."""
    if lines[-1].endswith(b"\n") and all(line.strip() for line in lines):
        try:
            with np.errstate(over="ignore"):
                rows = np.loadtxt(lines, np.float32, comments=None, ndmin=2)
        except ValueError:
            rows = np.empty((0, 0), np.float32)
        if rows.shape == (len(lines), n_columns) and np.isfinite(rows).all():
            return rows
    for number, line in enumerate(lines, first):
        _check_line(path, number, line, n_columns)
    raise refusal(path, f"lines {first} to {first + len(lines) - 1} hold what is no number")


def _check_line(path: Path, number: int, line: bytes, n_columns: int) -> None:
    """Refuse a line with a reason, or find nothing wrong."""
    if len(line) >= MAX_LINE:
        raise refusal(path, f"line {number} has more than {MAX_LINE} characters")
    fields = line.split()
    if len(fields) != n_columns:
        raise refusal(
            path,
            f"line {number} has {len(fields)} columns, not {n_columns}",
            advice=f"the usual settings give {len(META_COLUMNS) + sum(USUAL_DIMENSIONS.values())}, "
            "for others give dimensions (--dimensions), the size of each descriptor by name",
        )
    for column, field in enumerate(fields, 1):
        try:
            value = float(field)
        except ValueError:
            raise refusal(
                path, f"line {number} holds {field[:20]!r} in column {column}, which is no number"
            ) from None
        if not abs(value) <= LARGEST_FLOAT:
            raise refusal(
                path, f"line {number} holds {value} in column {column}, which is not finite"
            )
    if not line.endswith(b"\n"):
        raise refusal(path, f"line {number} has no end: the file is cut off")
