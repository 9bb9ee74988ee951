"""Tables written while the rows come in: memory stays the same whatever the video's length.

Rows are gathered in an HDF5 file beside the one that is written. `.h5` is that file; the other
forms are made from it block by block at the end, when the video's length is known.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from idt.jobs import whole_file
from idt.trajectories import hdf5, lear_text, numpy_files
from idt.trajectories.columns import (
    BLOCK_ROWS,
    META_COLUMNS,
    ordered_dimensions,
    time_positions,
)
from idt.trajectories.half import all_finite, round_to_half

FORMS = (".h5", ".npz", ".npy", ".txt", ".txt.gz")
DTYPES = ("float16", "float32")
PRINTED = "-"  # standard output
TEXT = (".txt", ".txt.gz", PRINTED)
BATCH_ROWS = 4096  # gathered before they are written: some 4 MB


class TableWriter:
    """Write a trajectory table block by block, whole or not at all.

    Parameters
    ----------
    path
        The suffix decides the form: ``.h5``, ``.npz``, ``.npy`` (one record a trajectory), ``.txt``
        or ``.txt.gz`` (the reference program's text); ``-`` prints that text. A file that is there
        is replaced once the new one is whole. ``.npy`` and text do not keep the info.
    dimensions
        Numbers of every descriptor by name.
    dtype
        ``"float16"`` or ``"float32"``, of the descriptors; text is always written from float32.

    Attributes
    ----------
    n_rows : int
        Rows that came in.

    Raises
    ------
    ValueError
        The suffix, the dtype or a descriptor's name or dimension cannot be written.
    FileNotFoundError
        The folder does not exist.
    IsADirectoryError
        `path` is a folder.

    Examples
    --------
    >>> with TableWriter("clip.h5", dimensions={"hog": 96}) as writer:  # doctest: +SKIP
    ...     for meta, descriptors in blocks:
    ...         writer.append(meta, descriptors)
    ...     writer.finish(info, start=0, n_frames=90, track_length=15)
    """

    def __init__(
        self, path: str | Path, *, dimensions: Mapping[str, int], dtype: str = "float16"
    ) -> None:
        self.path = Path(path)
        self._form = PRINTED if str(path) == PRINTED else form_of(path)
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be {' or '.join(DTYPES)}, got {dtype!r}; choose one")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"no folder {str(self.path.parent)!r}; make it, or write elsewhere"
            )
        if self._form != PRINTED and self.path.is_dir():
            raise IsADirectoryError(f"path must be a file, got the folder {str(path)!r}; rename it")
        self.n_rows = 0
        self._file: h5py.File | None = None
        self._finished = False
        stored = "float32" if self._form in TEXT else dtype
        self._meta = np.empty((BATCH_ROWS, len(META_COLUMNS)), np.float32)
        self._descriptors = {
            name: np.empty((BATCH_ROWS, size), stored)
            for name, size in ordered_dimensions(dimensions).items()
        }
        self._n_waiting = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._gathered = stack.enter_context(_temporary_file(self.path, self._form))
            self._file = stack.enter_context(hdf5.create(self._gathered, like=self._descriptors))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file = None
        # After a failed write the file cannot be closed well either; the first error counts.
        with nullcontext() if kind is None else suppress(OSError, RuntimeError):
            self._stack.close()
        if kind is None and not self._finished:
            raise RuntimeError(
                f"the writer of {str(self.path)!r} must be finished, got {self.n_rows} rows alone; "
                "call finish() in the with block"
            )

    def append(self, meta: np.ndarray, descriptors: Mapping[str, np.ndarray]) -> None:
        """Add rows.

        Parameters
        ----------
        meta
            float32 (n, 10), `META_COLUMNS`; `finish` can fill the last column.
        descriptors
            By name, (n, dimension).

        Raises
        ------
        ValueError
            A descriptor is missing, unknown, or of another shape, or what came in before holds a
            number that is not finite or does not fit the dtype.
        """
        self._opened()
        self._check_block(meta, descriptors)
        done = 0
        while done < len(meta):
            n_taken = min(len(meta) - done, BATCH_ROWS - self._n_waiting)
            free = slice(self._n_waiting, self._n_waiting + n_taken)
            self._meta[free] = meta[done : done + n_taken]
            with np.errstate(over="ignore", invalid="ignore"):  # told when the batch is written
                for name, values in self._descriptors.items():
                    new = descriptors[name][done : done + n_taken]
                    if values.dtype == np.float16 and new.dtype == np.float32:
                        round_to_half(new, values[free])
                    else:
                        values[free] = new
            done += n_taken
            self._n_waiting += n_taken
            self.n_rows += n_taken
            if self._n_waiting == BATCH_ROWS:
                self._write_batch()

    def finish(
        self,
        info: Mapping[str, Any],
        *,
        start: int = 0,
        n_frames: int | None = None,
        track_length: int | None = None,
    ) -> None:
        """Fill the place in time and give the file its name.

        Parameters
        ----------
        info
            What made the table; JSON can hold it.
        start, n_frames, track_length
            See `time_positions`; without the last two the column stays as it came in.

        Raises
        ------
        ValueError
            A number is not finite or does not fit the dtype.
        """
        file = self._opened()
        self._write_batch()
        if n_frames is not None and track_length is not None:
            _fill_time(file["meta"], start=start, n_frames=n_frames, track_length=track_length)
        elif n_frames is not None or track_length is not None:
            raise ValueError(
                f"n_frames and track_length must both be given or none, got {n_frames} and "
                f"{track_length}; places in time need both"
            )
        with _one_line_errors(self.path):
            file.attrs["info"] = json.dumps(dict(info))
            file.flush()
        if self._form == PRINTED:
            for meta, descriptors in hdf5.blocks(file):
                sys.stdout.write(lear_text.to_text(meta, descriptors).decode("ascii"))
            sys.stdout.flush()
        else:
            with whole_file(self.path) as target:
                self._make(file, target)
        self._file = None
        self._finished = True

    def _make(self, file: h5py.File, target: Path) -> None:
        """Turn the gathered rows into the form that is asked for."""
        if self._form == ".h5":
            file.close()
            self._gathered.replace(target)
        elif self._form == ".npz":
            numpy_files.write_npz(file, target)
        elif self._form == ".npy":
            numpy_files.write_npy(file, target)
        else:
            lear_text.write(target, hdf5.blocks(file), compressed=self._form == ".txt.gz")

    def _opened(self) -> h5py.File:
        if self._file is None:
            raise RuntimeError(
                f"the writer of {str(self.path)!r} is not open; use it in its with block, before "
                "finish()"
            )
        return self._file

    def _check_block(self, meta: np.ndarray, descriptors: Mapping[str, np.ndarray]) -> None:
        """Refuse rows that do not fit the table."""
        expected = {"meta": len(META_COLUMNS)}
        expected |= {name: values.shape[1] for name, values in self._descriptors.items()}
        given = {"meta": meta, **descriptors}
        if given.keys() != expected.keys():
            raise ValueError(
                f"descriptors must be {', '.join(self._descriptors) or 'none'}, got "
                f"{', '.join(descriptors) or 'none'}; give what the writer was made for"
            )
        for name, size in expected.items():
            if given[name].shape != (len(meta), size):
                raise ValueError(
                    f"{name} must have the shape {(len(meta), size)}, got {given[name].shape}; "
                    "give one row a trajectory"
                )

    def _write_batch(self) -> None:
        """Move the rows that wait to the file."""
        filled = slice(0, self._n_waiting)
        meta = self._meta[filled]
        descriptors = {name: values[filled] for name, values in self._descriptors.items()}
        for name, values in {"meta": meta, **descriptors}.items():
            if not all_finite(values):
                row = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise ValueError(
                    f"{name} must hold finite numbers that fit {values.dtype}, got another in row "
                    f"{self.n_rows - self._n_waiting + row}; mend it, or take float32"
                )
        with _one_line_errors(self.path):
            hdf5.append(self._opened(), meta, descriptors)
        self._n_waiting = 0


def form_of(path: str | Path) -> str:
    """Suffix that decides a file's form, one of `FORMS`.

    Raises
    ------
    ValueError
        It is none of them.
    """
    name = Path(path).name.lower()
    for form in sorted(FORMS, key=len, reverse=True):
        if name.endswith(form):
            return form
    raise ValueError(f"path must end in {', '.join(FORMS)}, got {str(path)!r}; choose a form")


@contextmanager
def _temporary_file(path: Path, form: str) -> Iterator[Path]:
    """Give an empty file, beside `path` where one is written, and remove it at the end."""
    folder = None if form == PRINTED else path.parent
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".rows", dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Say shortly what HDF5 fills a page with."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None) or errno.EIO
        raise OSError(
            number,
            f"rows of {str(path)!r} cannot be stored: {os.strerror(number)}; make room, or write "
            "elsewhere",
        ) from error


def _fill_time(meta: h5py.Dataset, *, start: int, n_frames: int, track_length: int) -> None:
    """Fill the last column of a stored table."""
    for first in range(0, len(meta), BLOCK_ROWS):
        part = slice(first, first + BLOCK_ROWS)
        rows = meta[part]
        rows[:, META_COLUMNS.index("t_pos")] = time_positions(
            rows[:, 0], start=start, n_frames=n_frames, track_length=track_length
        )
        meta[part] = rows
