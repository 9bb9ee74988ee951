"""Tables in HDF5 files: what rows are appended to while they come in, and the native form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from idt.arrays import BrokenArrayError, dataset, open_hdf5
from idt.trajectories.columns import BLOCK_ROWS, META_COLUMNS, Content, Rows, plain_info, refusal

FORMAT = "trajfuse trajectories 1"
CHUNK_ROWS = 128  # the last chunk is written whole; small ones keep small tables small


def create(path: Path, *, like: Mapping[str, np.ndarray]) -> h5py.File:
    """Open a new file with no rows yet, for descriptors of given widths and dtypes."""
    # Without a cache a full disk is an error where rows are appended, not a crash at the end.
    file = h5py.File(path, "w", rdcc_nbytes=0)
    file.attrs["format"] = FORMAT
    _create_columns(file, "meta", len(META_COLUMNS), np.dtype(np.float32))
    group = file.create_group("descriptors", track_order=True)
    for name, values in like.items():
        _create_columns(group, name, values.shape[1], values.dtype)
    return file


def append(file: h5py.File, meta: np.ndarray, descriptors: Mapping[str, np.ndarray]) -> None:
    """Put rows after those that are there."""
    columns = {file["meta"]: meta}
    columns |= {file["descriptors"][name]: values for name, values in descriptors.items()}
    for stored, values in columns.items():
        first = len(stored)
        stored.resize(first + len(values), axis=0)
        stored[first:] = values


def blocks(file: h5py.File) -> Iterator[Rows]:
    """Read rows, `BLOCK_ROWS` at a time."""
    for first in range(0, len(file["meta"]), BLOCK_ROWS):
        part = slice(first, first + BLOCK_ROWS)
        yield (
            file["meta"][part],
            {name: values[part] for name, values in file["descriptors"].items()},
        )


def read(path: Path) -> Content:
    """Read a file as it is in memory: descriptors in float32."""
    with _opened(path) as file:
        return _content(file)


def read_origin(path: Path) -> tuple[dict[str, Any], set[str]]:
    """Read what made a file, and the dtypes of its descriptors, but no rows."""
    with _opened(path) as file:
        group = file["descriptors"]
        return plain_info(file.attrs["info"]), {str(dataset(group, name).dtype) for name in group}


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; what it lacks is said in one line."""
    try:
        with open_hdf5(path) as file:
            form = file.attrs.get("format")
            if not isinstance(form, str) or form != FORMAT:
                raise BrokenArrayError(f"its form is {form!r}, not {FORMAT!r}")
            yield file
    except Exception as error:  # whatever a broken file sets off in HDF5
        raise refusal(path, error) from error


def _create_columns(group: h5py.Group, name: str, size: int, dtype: np.dtype) -> None:
    """Make a data set that grows by rows."""
    group.create_dataset(
        name, shape=(0, size), maxshape=(None, size), chunks=(CHUNK_ROWS, size), dtype=dtype
    )


def _content(file: h5py.File) -> Content:
    """Everything that a file holds."""
    group = file["descriptors"]
    descriptors = {name: dataset(group, name)[()].astype(np.float32) for name in group}
    info = plain_info(file.attrs["info"])
    return dataset(file, "meta")[()].astype(np.float32), descriptors, info
