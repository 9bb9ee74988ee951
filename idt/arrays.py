"""Arrays out of files that nobody vouches for: sizes are checked before memory is taken.

A header of a hundred bytes can declare a terabyte, a small archive can unpack to one, and an HDF5
file can name other files to read from. Here an array is taken only where the file holds as many
bytes as its header declares, nothing is unpickled, and nothing outside the file is read.
Errors tell the reason alone; whoever calls knows what the file should be, and says so.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import h5py
import numpy as np

MAX_UNPACKED = 1 << 30  # bytes that a compressed archive may grow to
BLOCK = 1 << 20  # bytes that are unpacked at a time
LONGEST_HEADER = 1 << 16  # bytes, more than NumPy believes
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class BrokenArrayError(ValueError):
    """Why no array can be taken from a file, without the file's name."""


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read what stands before an array's numbers in NumPy's form.

    Returns
    -------
    tuple
        Shape, whether columns come first, and dtype; the stream stands at the numbers.

    Raises
    ------
    BrokenArrayError
        It is no such header.
    """
    with _broken("its header cannot be read"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a header that Python 2 wrote
        version = np.lib.format.read_magic(stream)
        if version not in HEADERS:
            raise BrokenArrayError(f"arrays must be of form 1.0 or 2.0, got {version}")
        shape, fortran, dtype = HEADERS[version](stream)
    if min(shape, default=0) < 0:
        raise BrokenArrayError(f"an array must have a shape, got {shape}")
    return shape, fortran, dtype


def read_npy(path: str | Path) -> np.ndarray:
    """Read the one array of an ``.npy`` file; nothing is unpickled.

    Raises
    ------
    BrokenArrayError
        It is no such file, holds objects, or is not as long as its header declares.
    OSError
        It cannot be opened.
    """
    return _array(bytearray(Path(path).read_bytes()))


def read_npz(
    path: str | Path, names: Iterable[str] | None = None, *, packed: bool = True
) -> dict[str, np.ndarray]:
    """Read arrays of an ``.npz`` archive by name; nothing is unpickled.

    Parameters
    ----------
    path, names, packed
        As for `read_members`.

    Raises
    ------
    BrokenArrayError
        As for `read_members`; or a member is none of NumPy's arrays, holds objects, or is not as
        long as its header declares.
    OSError
        It cannot be opened.
    """
    arrays = {}
    for name, content in read_members(path, names, packed=packed).items():
        with _broken(f"array {name!r}"):
            arrays[name] = _array(content)
    return arrays


def read_members(
    path: str | Path,
    names: Iterable[str] | None = None,
    *,
    packed: bool = True,
    limit: int = MAX_UNPACKED,
) -> dict[str, bytearray]:
    """Read the bytes of an ``.npz`` archive's arrays, by name without ``.npy``.

    Parameters
    ----------
    path
        The file.
    names
        What to take, as far as it is there; None takes all.
    packed
        Whether it may be compressed.
    limit
        Bytes that all that is taken may have unpacked, where they are more than the file's.

    Raises
    ------
    BrokenArrayError
        It is no such archive, is damaged, has a name twice, or is too large.
    OSError
        It cannot be opened.
    """
    path = Path(path)
    limit = max(limit, path.stat().st_size)
    with path.open("rb") as file, _broken("it cannot be read"), zipfile.ZipFile(file) as archive:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in entries:
                raise BrokenArrayError(f"it holds {name!r} twice")
            if entry.compress_type not in (PACKINGS if packed else PACKINGS[:1]):
                raise BrokenArrayError(
                    "it is compressed" + (" by another method than numpy's" if packed else "")
                )
            entries[name] = entry
        wanted = entries if names is None else [name for name in names if name in entries]
        total = sum(entries[name].file_size for name in wanted)
        if total > limit:
            raise BrokenArrayError(
                f"what it holds must have at most {limit} bytes, got {total} unpacked"
            )
        return {name: _unpacked(archive, entries[name]) for name in wanted}


def open_hdf5(path: str | Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises
    ------
    BrokenArrayError
        It is no such file, or is open for writing.
    OSError
        It is not there, or may not be read.
    """
    with Path(path).open("rb"), _broken("it cannot be read"):
        return h5py.File(path, "r")


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Find a data set of plain values that stand in the file itself, all of them.

    Raises
    ------
    BrokenArrayError
        There is none; it is a link, compressed, made of other files, of other values than numbers
        and text, or declares more values than the file holds.
    """
    with _broken(f"data set {name!r} cannot be read"):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise BrokenArrayError(f"it holds no data set {name!r} of its own")
        found = group[name]
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            raise BrokenArrayError(f"{name!r} is no data set")
        if found.is_virtual or found.external or found.id.get_create_plist().get_nfilters():
            raise BrokenArrayError(f"data set {name!r} is compressed, or stands in other files")
        if found.dtype.kind not in "biufS" and h5py.check_string_dtype(found.dtype) is None:
            raise BrokenArrayError(f"data set {name!r} holds {found.dtype}")
        held = found.file.id.get_filesize()
        if math.prod(found.shape) * found.dtype.itemsize > held:
            raise BrokenArrayError(
                f"data set {name!r} declares {found.shape} of {found.dtype}, and the file has "
                f"{held} bytes"
            )
        return found


@contextmanager
def _broken(what: str) -> Iterator[None]:
    """Turn whatever a broken file sets off in zipfile, NumPy or HDF5 into one error."""
    try:
        yield
    except BrokenArrayError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BrokenArrayError(f"{what}: {reason}") from error


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytearray:
    """Bytes of a member; memory grows with what is there, not with what is declared."""
    content = bytearray()
    with archive.open(entry) as member:
        while block := member.read(BLOCK):
            content += block
    return content


def _array(content: bytearray) -> np.ndarray:
    """The array that bytes hold, to the last of them; they stay its memory."""
    stream = io.BytesIO(content[:LONGEST_HEADER])
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise BrokenArrayError("it holds pickled objects, which are not read")
    wanted, held = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if wanted != held:
        raise BrokenArrayError(
            f"its header declares {shape} of {dtype}, {wanted} bytes, and {held} are there"
        )
    order: Literal["F", "C"] = "F" if fortran else "C"
    with _broken(f"an array of {shape} cannot be"):
        return np.ndarray(shape, dtype, buffer=content, offset=stream.tell(), order=order)
