"""Variables of MATLAB's files of version 5 (save -v6 and -v7), in plain Python.

Readers in native code trust the lengths that such a file declares, and a broken one can take the
whole process down; here every length is held against the bytes that are there before it is used.
What comes back has the form that `scipy.io.loadmat` gives: numbers as arrays of two dimensions or
more, in the type of their class, text as arrays of strings, cells as arrays of objects, structs as
records of objects. Sparse matrices, objects and functions are left out.

References
----------
MathWorks, MAT-File Format, 2023: "Level 5 MAT-File Format".
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idt.arrays import MAX_UNPACKED

HEADER_BYTES = 128
HDF5_VERSION = 0x0200  # of files of version 7.3
VERSION = 0x0100
MATRIX, COMPRESSED = 14, 15
_INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4")
NUMBERS = dict(enumerate(_INTEGERS, 1)) | {7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, CHAR = 1, 2, 4
CLASSES = {6: "f8", 7: "f4", **dict(enumerate((*_INTEGERS, "i8", "u8"), 8))}
COMPLEX, LOGICAL = 0x0800, 0x0200
MAX_DEPTH = 16  # cells in cells; networks have four
MAX_AXES = 32  # of NumPy's own, half


class MatlabError(ValueError):
    """Why a file is no MATLAB file that can be read, without its name."""


class _Element(NamedTuple):
    """A type, and the bytes of it."""

    kind: int
    data: memoryview


def read_mat(
    path: str | Path, names: tuple[str, ...] | None = None, *, limit: int = MAX_UNPACKED
) -> dict[str, np.ndarray]:
    """Read the variables of a file; nothing in it is run.

    Parameters
    ----------
    path
        The file.
    names
        Variables to read; None reads all. Others are stepped over.
    limit
        Bytes that a compressed variable may have.

    Returns
    -------
    dict of str to ndarray
        In the file's order.

    Raises
    ------
    MatlabError
        It is of another version, is not whole, or declares more than it holds.
    OSError
        It cannot be opened.
    """
    content = memoryview(Path(path).read_bytes())
    order = _byte_order(content)
    found: dict[str, np.ndarray] = {}
    for element in _elements(content[HEADER_BYTES:], order, padded=False):
        if element.kind == COMPRESSED:
            element = _unpacked(element.data, order, limit)
        if element.kind != MATRIX:
            raise MatlabError(f"it holds an element of type {element.kind} among its variables")
        name, value = _Matrix(element.data, order).read(names)
        if value is not None:
            found[name] = value
    return found


def _byte_order(content: memoryview) -> str:
    """``<`` or ``>``, out of the header."""
    mark = bytes(content[HEADER_BYTES - 2 : HEADER_BYTES])
    if mark not in (b"IM", b"MI"):
        raise MatlabError("it must be of MATLAB 5 form; save it with save(..., '-v7')")
    order = "<" if mark == b"IM" else ">"
    version = int(np.frombuffer(content[HEADER_BYTES - 4 : HEADER_BYTES - 2], f"{order}u2")[0])
    if version == HDF5_VERSION:
        raise MatlabError("it is of MATLAB's version 7.3; save it again with save(..., '-v7')")
    if version != VERSION:
        raise MatlabError(f"it is of version {version:#x}; save it again with save(..., '-v7')")
    return order


def _elements(data: memoryview, order: str, *, padded: bool = True) -> Iterator[_Element]:
    """Elements one after another; those inside a matrix are padded to 8 bytes."""
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise MatlabError("it ends in the middle of an element")
        first, second = (int(n) for n in np.frombuffer(data[place : place + 8], f"{order}u4"))
        if first >> 16:  # four bytes or fewer stand in the tag itself
            kind, start, size = first & 0xFFFF, place + 4, first >> 16
            end = place + 8
        else:
            kind, start, size = first, place + 8, second
            end = start + size
            if padded or kind != COMPRESSED:
                end = min(start + -(-size // 8) * 8, max(len(data), start + size))
        if start + size > min(end, len(data)):
            raise MatlabError(f"an element declares {size} bytes, and {len(data) - start} are left")
        yield _Element(kind, data[start : start + size])
        place = end


def _unpacked(data: memoryview, order: str, limit: int) -> _Element:
    """The one element that is compressed."""
    packed = zlib.decompressobj()
    try:
        content = packed.decompress(data, limit)
    except zlib.error as error:
        raise MatlabError(f"a compressed variable is damaged ({error})") from error
    if packed.unconsumed_tail:
        raise MatlabError(f"a variable must have at most {limit} bytes, got more unpacked")
    if not packed.eof:
        raise MatlabError("a compressed variable is cut off")
    elements = list(_elements(memoryview(content), order))
    if len(elements) != 1:
        raise MatlabError(f"a compressed variable holds {len(elements)} elements")
    return elements[0]


class _Matrix:
    """What stands in an element of type miMATRIX, read part by part."""

    def __init__(self, data: memoryview, order: str, depth: int = 0) -> None:
        self.order = order
        self.depth = depth
        self.parts = _elements(data, order)
        self.n_bytes = len(data)

    def read(self, names: tuple[str, ...] | None = None) -> tuple[str, np.ndarray | None]:
        """Name and value; None for what is not asked for, or of a kind that is left out."""
        if not self.n_bytes:  # an empty matrix in a cell
            return "", np.zeros((0, 0))
        flags = self._numbers(2)
        if len(flags) < 1:
            raise MatlabError("a variable has no flags")
        kind = int(flags[0]) & 0xFF
        if kind not in (CELL, STRUCT, CHAR, *CLASSES):
            return "", None
        shape = tuple(int(n) for n in self._numbers(MAX_AXES))
        if len(shape) < 2 or min(shape) < 0:
            raise MatlabError(f"a variable declares the shape {shape}")
        name = bytes(self._next().data).decode("latin-1")
        if names is not None and name not in names:
            return name, None
        if self.depth > MAX_DEPTH:
            raise MatlabError(f"its cells lie more than {MAX_DEPTH} levels deep")
        if kind == CELL:
            return name, self._cells(shape)
        if kind == STRUCT:
            return name, self._struct(shape)
        if kind == CHAR:
            return name, self._text(shape)
        return name, self._array(shape, int(flags[0]), CLASSES[kind])

    def _next(self) -> _Element:
        try:
            return next(self.parts)
        except StopIteration:
            raise MatlabError("a variable is cut off") from None

    def _numbers(self, at_most: int) -> np.ndarray:
        """Numbers of an element, as they are stored."""
        kind, data = self._next()
        if kind not in NUMBERS:
            raise MatlabError(f"an element of type {kind} stands where numbers are needed")
        dtype = np.dtype(self.order + NUMBERS[kind])
        if len(data) % dtype.itemsize or len(data) > at_most * dtype.itemsize:
            raise MatlabError(f"{len(data)} bytes of {dtype} stand where {at_most} numbers do")
        return np.frombuffer(data, dtype)

    def _array(self, shape: tuple[int, ...], flags: int, dtype: str) -> np.ndarray:
        size = math.prod(shape)
        values = self._stored(size).astype(dtype)
        if flags & COMPLEX:
            whole = np.empty(size, np.complex128)
            whole.real, whole.imag = values, self._stored(size)
            values = whole
        if flags & LOGICAL:
            values = values.astype(np.uint8)
        return values.reshape(shape, order="F")

    def _stored(self, size: int) -> np.ndarray:
        """As many numbers as a shape has; they may be stored in a smaller type."""
        values = self._numbers(size)
        if len(values) != size:
            raise MatlabError(f"a variable of {size} numbers holds {len(values)}")
        return values

    def _text(self, shape: tuple[int, ...]) -> np.ndarray:
        """Rows of characters as strings."""
        kind, data = self._next()
        if kind not in TEXTS:
            raise MatlabError(f"an element of type {kind} stands where text is needed")
        coding = TEXTS[kind]
        if coding in ("utf-16", "utf-32"):
            coding += "-le" if self.order == "<" else "-be"
        text = bytes(data).decode(coding, "replace")
        if len(text) != math.prod(shape):
            raise MatlabError(f"a text of shape {shape} holds {len(text)} characters")
        if not text:
            return np.zeros(0, "U1")
        letters = np.array(list(text)).reshape(shape, order="F")
        rows = letters.reshape(-1, shape[-1]) if len(shape) == 2 else letters.reshape(shape[0], -1)
        return np.array(["".join(row) for row in rows.tolist()])

    def _cells(self, shape: tuple[int, ...]) -> np.ndarray:
        """Values of cells."""
        size = self._counted(shape)
        cells = np.empty(size, object)
        for index in range(size):
            cells[index] = self._value()
        return cells.reshape(shape, order="F")

    def _struct(self, shape: tuple[int, ...]) -> np.ndarray:
        """Records whose fields are objects."""
        length = int(self._numbers(1).sum())
        data = bytes(self._next().data)
        if data and (length < 1 or len(data) % length):
            raise MatlabError(f"names of fields have {len(data)} bytes, {length} each")
        found = [data[place : place + length] for place in range(0, len(data), max(length, 1))]
        names = [name.partition(b"\0")[0].decode("latin-1") for name in found]
        if not all(names) or len(set(names)) < len(names):
            raise MatlabError(f"fields of a struct must have a name each, got {names[:9]}")
        if not names:
            return np.zeros(shape, [])
        size = self._counted((*shape, len(names)))
        records = np.empty(size // len(names), [(name, object) for name in names])
        for index in range(len(records)):
            for name in names:
                records[name][index] = self._value()
        return records.reshape(shape, order="F")

    def _counted(self, shape: tuple[int, ...]) -> int:
        """Number of values in cells or fields, each of which takes a tag at least."""
        size = math.prod(shape)
        if size * 8 > self.n_bytes:
            raise MatlabError(f"{shape} values are declared, and {self.n_bytes} bytes are there")
        return size

    def _value(self) -> Any:
        kind, data = self._next()
        if kind != MATRIX:
            raise MatlabError(f"an element of type {kind} stands where a matrix is needed")
        return _Matrix(data, self.order, self.depth + 1).read()[1]
