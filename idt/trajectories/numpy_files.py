"""Tables in NumPy's own files: `.npz` holds an array a descriptor, `.npy` a record a trajectory.

Both are written block by block with the headers of `numpy.lib.format`, so that memory does not grow
with the table, and hold no pickles.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.lib import format as npy_format

from idt.arrays import read_npy as array_of
from idt.arrays import read_npz as arrays_of
from idt.trajectories.columns import BLOCK_ROWS, META_COLUMNS, Content, plain_info, refusal
from idt.trajectories.hdf5 import blocks

PERMISSIONS = 0o644 << 16  # of what `unzip` makes out of an archive's member


def write_npz(table: h5py.File, path: Path) -> None:
    """Write arrays `meta`, one a descriptor, and `info` as a JSON string."""
    arrays = {"meta": table["meta"], **dict(table["descriptors"].items())}
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, values in arrays.items():
            with _member(archive, name) as file:
                _write_header(file, values.dtype, values.shape)
                for first in range(0, len(values), BLOCK_ROWS):
                    file.write(values[first : first + BLOCK_ROWS].tobytes())
        with _member(archive, "info") as file:
            npy_format.write_array(file, np.array(table.attrs["info"]), allow_pickle=False)


def read_npz(path: Path) -> Content:
    """Read arrays by name; `info` may be missing."""
    try:
        arrays = arrays_of(path)
        info = plain_info(str(arrays.pop("info", "{}")))
        meta = arrays.pop("meta").astype(np.float32)
        return meta, {name: values.astype(np.float32) for name, values in arrays.items()}, info
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise refusal(path, error) from error


def write_npy(table: h5py.File, path: Path) -> None:
    """Write one record a trajectory: the ten columns by name, then each descriptor's numbers."""
    stored = table["descriptors"]
    fields: list[Any] = [(name, "<f4") for name in META_COLUMNS]
    fields += [(name, values.dtype.str, values.shape[1:]) for name, values in stored.items()]
    record = np.dtype(fields)
    with path.open("wb") as file:
        _write_header(file, record, table["meta"].shape[:1])
        for meta, descriptors in blocks(table):
            records = np.empty(len(meta), record)
            for column, name in enumerate(META_COLUMNS):
                records[name] = meta[:, column]
            for name, values in descriptors.items():
                records[name] = values
            file.write(records.tobytes())


def read_npy(path: Path) -> Content:
    """Read records; the form has no place for the info."""
    try:
        records = array_of(path)
        names = records.dtype.names
        if names is None or records.ndim != 1 or names[: len(META_COLUMNS)] != META_COLUMNS:
            raise TypeError(f"it must hold records of {', '.join(META_COLUMNS)} and descriptors")
        meta = np.empty((len(records), len(META_COLUMNS)), np.float32)
        for column, name in enumerate(META_COLUMNS):
            meta[:, column] = records[name]
        rest = names[len(META_COLUMNS) :]
        return meta, {name: records[name].astype(np.float32) for name in rest}, {}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise refusal(path, error) from error


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open an array of an archive for writing; equal tables give equal bytes, whatever the time."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.external_attr = PERMISSIONS
    return archive.open(entry, "w", force_zip64=True)


def _write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Write what stands before an array's numbers in row-major order."""
    described = {
        "descr": npy_format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    npy_format.write_array_header_1_0(file, described)
