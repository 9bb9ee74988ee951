"""Encodings of a data set in one file, written row by row as videos are encoded.

The file is HDF5: `encodings` float32 (n, n_columns) in one piece, so that it opens memory-mapped,
`ids`, `checksums` int64 (n,) and, as attributes, settings and versions. While rows come in it is
called ``NAME.part``; a checksum stands where a row is done. Rows are written in place by whichever
process made them. An interrupted run goes on with the rows that are missing or do not fit their
checksums, and the last row done renames the file: it is there whole or not at all, and its bytes do
not depend on interruptions, on the number of workers or on the order of rows.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import h5py
import numpy as np

from idt.arrays import dataset, open_hdf5
from idt.jobs import Outcome, Workers, run, whole_file
from idt.jobs.lock import Busy, holder, locked
from idt.trajectories import provenance

FORMAT = "trajfuse encodings 1"
ALIGNMENT = 64  # bytes
MISSING = -1  # where a row's CRC-32 will stand

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Encodings:
    """A file of encodings, open for reading.

    Attributes
    ----------
    path
        Where it is.
    ids
        Names of the rows.
    values
        float32 (n, n_columns), memory-mapped: rows are read from disk as they are used.
    settings
        What the encodings were made with.
    versions
        Of the packages that made them.
    """

    path: Path
    ids: tuple[str, ...]
    values: np.ndarray
    settings: dict[str, Any]
    versions: dict[str, str]

    @classmethod
    def open(cls, path: str | Path, *, settings: Mapping[str, Any] | None = None) -> Encodings:
        """Open a finished file.

        Parameters
        ----------
        path
            Written by `encode_into`.
        settings
            What the encodings must have been made with; None takes any.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            It is not a file of encodings, is not finished, or was made with other settings.
        """
        header = _read_header(Path(path))
        if settings is not None:
            _check_same(header, {"settings": _plain(settings)})
        n_missing = np.count_nonzero(_map(header, what="checksums") == MISSING)
        if n_missing:
            raise ValueError(
                f"{header.place.path} must be finished, got {n_missing} rows that are not done; "
                "run the encoding again"
            )
        return cls(header.place.path, header.ids, _map(header), header.settings, header.versions)

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Rows of some ids, int64 (len(ids),), in their order.

        Raises
        ------
        ValueError
            An id that is not there.
        """
        places = {name: row for row, name in enumerate(self.ids)}
        absent = [name for name in ids if name not in places]
        if absent:
            raise ValueError(
                f"ids must be in {self.path}, got {absent[0]!r} and {len(absent) - 1} more that are"
                " not; encode these videos too"
            )
        return np.array([places[name] for name in ids], dtype=np.int64)

    def check(self) -> None:
        """Read all rows and compare them with their checksums.

        Raises
        ------
        ValueError
            Rows changed since they were written; names the first.
        """
        missing = _missing_rows(_read_header(self.path))
        if len(missing):
            raise ValueError(
                f"{self.path} must be as it was written, got {len(missing)} rows that changed, "
                f"first {self.ids[missing[0]]!r}; delete the file and encode again"
            )


def encode_into(
    path: str | Path,
    encode: Callable[[Item], np.ndarray],
    items: Sequence[Item],
    *,
    ids: Sequence[str],
    n_columns: int,
    settings: Mapping[str, Any],
    workers: Workers = 1,
    verbose: bool = False,
) -> Encodings:
    """Encode items into a file, and go on where an earlier run of the same work stopped.

    Memory holds one encoding a worker, whatever the number of items.

    Parameters
    ----------
    path
        Of the finished file; ``.part`` is added to its name until then.
    encode
        Takes one item and gives its encoding, (n_columns,), finite. It is called again only for
        rows that are not done, so it must give the same for the same item. With more than one
        worker it must pickle.
    items
        One each row: paths of videos, say.
    ids
        Names of the rows, each once.
    n_columns
        Numbers of an encoding.
    settings
        All that decides the encodings, codebook included (its key, say), as plain values that JSON
        holds.
    workers
        Processes, or an executor, as for `idt.jobs.run`; another machine's must see the file.
    verbose
        Show progress on standard error.

    Returns
    -------
    Encodings
        The finished file.

    Raises
    ------
    ValueError
        Ids that do not fit the items; a file or part that was made with other settings, versions,
        ids or columns; an encoding of another shape, or not finite.
    FileNotFoundError
        The folder does not exist.
    BlockingIOError
        Another process is writing the same file.
    Exception
        What `encode` raised for the first item that failed, once all others are done and kept.

    Warns
    -----
    UserWarning
        An earlier run's part is broken, and is begun anew.
    """
    path = Path(path)
    made: dict[str, Any] = {
        "ids": _check_ids(ids, len(items)),
        "n_columns": _check_columns(n_columns),
        "settings": _plain(settings),
    }
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r}; make it, or write elsewhere")
    with _alone(path):
        if path.exists():
            _check_same(_read_header(path), made)
            return Encodings.open(path)
        made["versions"] = provenance()
        part = _part_of(path)
        header = _begun(part, made)
        outcomes: list[Outcome[tuple[int, str, Item], None]] = run(
            partial(_encode_row, header.place, encode),
            [(int(row), ids[row], items[row]) for row in _missing_rows(header)],
            label="encoding",
            workers=workers,
            verbose=verbose,
        )
        failed = [(each.item[1], each.error) for each in outcomes if each.error is not None]
        if failed:
            name, error = failed[0]
            error.add_note(
                f"{len(failed)} of {len(items)} encodings failed, first {name!r}; the others are "
                f"kept in {part}: mend the cause and run again"
            )
            raise error
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    return Encodings.open(path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same file; the lock's file stays, and is empty."""
    try:
        with locked(_lock_of(path)):
            yield
    except Busy as error:
        raise BlockingIOError(
            f"{str(path)!r} must be written by one process at a time, got {error}, which is at it; "
            "wait for its end, or encode into another file"
        ) from None


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _part_of(path: Path) -> Path:
    """Where rows stand until all are done."""
    return path.with_name(f"{path.name}.part")


def _begun(part: Path, made: dict[str, Any]) -> _Header:
    """Header of the file that rows go to: of an earlier run's, or of a new one."""
    if part.exists():
        try:
            header = _read_header(part)
        except ValueError as error:
            warnings.warn(f"{error}; it is encoded from the start", stacklevel=3)
        else:
            _check_same(header, made)
            return header
    with whole_file(part) as temporary:
        _create(temporary, **made)
    return _read_header(part)


class _Place(NamedTuple):
    """Where numbers stand in a file: offsets in bytes."""

    path: Path
    n_columns: int
    values: int
    checksums: int


class _Header(NamedTuple):
    """What a file says of itself."""

    place: _Place
    ids: tuple[str, ...]
    settings: dict[str, Any]
    versions: dict[str, str]


def _create(
    path: Path,
    *,
    ids: tuple[str, ...],
    n_columns: int,
    settings: dict[str, Any],
    versions: dict[str, str],
) -> None:
    """Write a file that has all but its rows."""
    names = [name.encode() for name in ids]
    in_one_piece = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    in_one_piece.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # rows have their place from the start
    in_one_piece.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    in_one_piece.set_obj_track_times(False)  # the same bytes at any time
    # Aligned, so that mapped rows are arrays like any other.
    with h5py.File(path, "w", alignment_threshold=1, alignment_interval=ALIGNMENT) as file:
        file.attrs["format"] = FORMAT
        file.attrs["settings"] = json.dumps(settings, sort_keys=True)
        file.attrs["versions"] = json.dumps(versions, sort_keys=True)
        text = h5py.string_dtype("utf-8", max(map(len, names)))
        file.create_dataset("ids", data=np.array(names, dtype=text))
        file.create_dataset("checksums", data=np.full(len(ids), MISSING, dtype="<i8"))
        shape = h5py.h5s.create_simple((len(ids), n_columns))
        h5py.h5d.create(file.id, b"encodings", h5py.h5t.IEEE_F32LE, shape, in_one_piece)


def _read_header(path: Path) -> _Header:
    """Read and check all but the numbers."""
    if not path.exists():
        raise FileNotFoundError(f"no file of encodings {str(path)!r}; {_why_absent(path)}")
    try:
        with open_hdf5(path) as file:
            form = file.attrs.get("format")
            if not isinstance(form, str) or form != FORMAT:
                raise ValueError(f"its form is {form!r}, not {FORMAT!r}")
            values, checksums = dataset(file, "encodings"), dataset(file, "checksums")
            offsets = values.id.get_offset(), checksums.id.get_offset()
            ids = tuple(dataset(file, "ids").asstr()[:].tolist())
            settings = json.loads(file.attrs["settings"])
            versions = json.loads(file.attrs["versions"])
            if not isinstance(settings, dict) or not isinstance(versions, dict):
                raise ValueError("its settings or versions are no dictionary")
            fits = values.shape[:1] == checksums.shape == (len(ids),) and values.ndim == 2
            if not fits or (values.dtype, checksums.dtype) != ("<f4", "<i8") or None in offsets:
                raise ValueError("its rows are not float32 and int64, each in one piece, one an id")
            n_columns = values.shape[1]
            ends = offsets[0] + 4 * values.size, offsets[1] + 8 * checksums.size
            if path.stat().st_size < max(ends):
                raise ValueError("it ends before its last row")
    except Exception as error:  # whatever a broken file sets off in HDF5
        raise ValueError(
            f"{str(path)!r} must be a file of encodings, got another or a broken one: {error}; "
            "delete it and encode again"
        ) from error
    return _Header(_Place(path, n_columns, *offsets), ids, settings, versions)


def _why_absent(path: Path) -> str:
    """What to do about a file that is not there."""
    writer = holder(_lock_of(path))
    if writer is not None:
        return f"{writer} is writing it: wait until it is finished"
    if _part_of(path).exists():
        return f"{_part_of(path).name!r} is not finished: run the encoding again"
    return "encode the data set first"


def _map(header: _Header, *, what: str = "values") -> np.ndarray:
    """Rows or checksums, mapped for reading."""
    place, n = header.place, len(header.ids)
    if what == "checksums":
        return np.memmap(place.path, dtype="<i8", mode="r", offset=place.checksums, shape=(n,))
    return np.memmap(
        place.path, dtype="<f4", mode="r", offset=place.values, shape=(n, place.n_columns)
    )


def _missing_rows(header: _Header) -> np.ndarray:
    """Rows without a checksum, or that do not fit theirs, int64 (n_missing,)."""
    checksums, values = _map(header, what="checksums"), _map(header)
    fits = [
        known != MISSING and zlib.crc32(row) == known
        for known, row in zip(checksums.tolist(), values, strict=True)
    ]
    return np.flatnonzero(~np.array(fits))


def _encode_row(
    place: _Place, encode: Callable[[Item], np.ndarray], work: tuple[int, str, Item]
) -> None:
    """Encode one item and write its row, then its checksum."""
    row, name, item = work
    encoding = np.ascontiguousarray(encode(item), dtype="<f4")
    if encoding.shape != (place.n_columns,) or not np.isfinite(encoding).all():
        raise ValueError(
            f"the encoding of {name!r} must be {place.n_columns} finite numbers, got "
            f"{encoding.shape} with {np.count_nonzero(~np.isfinite(encoding))} others; mend encode"
        )
    data = encoding.tobytes()
    checksum = zlib.crc32(data).to_bytes(8, "little")
    with place.path.open("r+b") as file:
        file.seek(place.values + row * len(data))
        file.write(data)
        file.flush()  # the checksum only behind a row that is there
        file.seek(place.checksums + row * len(checksum))
        file.write(checksum)


def _check_same(header: _Header, made: Mapping[str, Any]) -> None:
    """Refuse a file that does not come from the work at hand, and name the first difference."""
    for name, wanted in made.items():
        found: Any = header.place.n_columns if name == "n_columns" else getattr(header, name)
        if found == wanted:
            continue
        if isinstance(wanted, dict):
            keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
            found, wanted = ({key: each.get(key) for key in keys} for each in (found, wanted))
        elif name == "ids":
            found, wanted = f"{len(found)} ids", f"{len(wanted)} ids, not the same"
        raise ValueError(
            f"{name} of {header.place.path} must be {wanted}, got {found}; delete the file, or "
            "encode into another"
        )


def _check_ids(ids: Sequence[str], n_items: int) -> tuple[str, ...]:
    """Ids as a tuple of strings, one an item, each once."""
    names = tuple(ids)
    if len(names) != n_items or not names:
        raise ValueError(
            f"ids must be one for each of the {n_items} items, at least one, got {len(names)}; "
            "give both from the same list"
        )
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueError(f"ids must be text without NUL, got {name!r}; name the videos")
    if len(set(names)) != len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"ids must be there once each, got {twice!r} twice; name the videos apart")
    return names


def _check_columns(n_columns: int) -> int:
    if n_columns < 1:
        raise ValueError(f"n_columns must be at least 1, got {n_columns}; give the encoder's size")
    return int(n_columns)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from disk."""
    try:
        return json.loads(json.dumps(dict(settings), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"settings must be plain values that JSON holds, got another: {error}; give numbers, "
            "text, lists and dictionaries"
        ) from error
