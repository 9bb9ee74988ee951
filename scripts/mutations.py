"""Ways to break a file: bits, lengths, headers, numbers; for `torture.py`.

Checksums and headers turn most broken bits away before anything is read. So half of the files that
have any are broken inside: unpacked, changed, and packed again with what guards them put right.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable

import h5py
import numpy as np

HEADER = 512  # bytes in which most that is declared stands
NUMBERS = (b"\xff" * 8, b"\xff\xff\xff\x7f", b"\xff" * 7 + b"\x7f", b"\0" * 8, b"\0\0\0\x80")
WORDS = (
    *(b"", b"nan", b"inf", b"-1", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}"),
    *(b"../../x", b"/etc/passwd", b"\0", b"\n", b'"', b"\xff\xfe", "\u00fc\u2028".encode()),
)

Mutation = Callable[[bytearray, np.random.Generator, bytes], bytes]


def mutate(content: bytes, random: np.random.Generator, *, other: bytes) -> bytes:
    """Break a file in one way; `other` is a file of the same kind, which lends its header."""
    inside = next((way for mark, way in INSIDE if mark in content[:16]), None)
    if inside is not None and random.random() < 0.6:
        return inside(bytearray(content), random, other)
    if not content:
        return other[: int(random.integers(1, HEADER))]
    ways = MUTATIONS if _is_text(content) else MUTATIONS[:-1]
    way = ways[int(random.integers(len(ways)))]
    return way(bytearray(content), random, other)


def _flip_bits(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    end = min(len(content), HEADER) if random.random() < 0.5 else len(content)
    for place in random.integers(0, end, int(random.integers(1, 17))):
        content[place] ^= 1 << int(random.integers(8))
    return bytes(content)


def _cut(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    end = HEADER if random.random() < 0.3 else len(content)
    return bytes(content[: int(random.integers(0, min(end, len(content))))])


def _swap_header(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    n = int(random.integers(4, HEADER))
    return other[:n] + bytes(content[n:])


def _declare(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    number = NUMBERS[int(random.integers(len(NUMBERS)))]
    end = HEADER if random.random() < 0.7 else len(content)
    place = int(random.integers(0, min(end, len(content))))
    content[place : place + len(number)] = number
    return bytes(content)


def _move_block(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    first, second = sorted(int(n) for n in random.integers(0, len(content) + 1, 2))
    block = bytes(content[first:second])[: 1 << 16]
    place = int(random.integers(0, len(content) + 1))
    return bytes(content[:place]) + block + bytes(content[place:])


def _fill_block(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    place, n = int(random.integers(0, len(content))), int(random.integers(1, 256))
    zeros = random.random() < 0.5
    block = bytes(n) if zeros else random.integers(0, 256, n, np.uint8).tobytes()
    content[place : place + n] = block
    return bytes(content)


def _swap_word(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    words = list(re.finditer(rb"[\w.+-]+", bytes(content)))
    if not words:
        return b"\0"
    found = words[int(random.integers(len(words)))]
    content[found.start() : found.end()] = WORDS[int(random.integers(len(WORDS)))]
    return bytes(content)


MUTATIONS: tuple[Mutation, ...] = (
    *(_flip_bits, _flip_bits, _cut, _swap_header, _declare, _move_block, _fill_block),
    _swap_word,  # of texts alone
)


def _is_text(content: bytes) -> bool:
    return b"\0" not in content[:HEADER]


def _repacked(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    """An archive with one member broken, and checksums that are right."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(packed, "w") as made:
        names = archive.namelist()
        chosen = names[int(random.integers(len(names)))]
        for entry in archive.infolist():
            data = archive.read(entry)
            if entry.filename == chosen:
                data = mutate(data, random, other=other)
            made.writestr(entry.filename, data, entry.compress_type)
    return packed.getvalue()


def _zipped(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    return gzip.compress(mutate(gzip.decompress(content), random, other=other), 1)


def _another_array(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    """A whole array of another content: text that is broken, other numbers, shape or type."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except ValueError:  # of objects
        return _flip_bits(content, random, other)
    made = io.BytesIO()
    np.save(made, _changed(array, random))
    return made.getvalue()


def _changed(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An array that is not what it should be, of the usual number of values or none."""
    if array.dtype == np.uint8 and array.tobytes()[:1] == b"{":
        return np.frombuffer(_swap_word(bytearray(array.tobytes()), random, b""), np.uint8)
    if array.dtype.kind == "U" and array.ndim == 0:
        return np.array(_swapped_text(str(array), random))
    if array.dtype.kind not in "biuf" or array.dtype.names:
        return array[:0]
    with np.errstate(all="ignore"):
        ways: tuple[Callable[[], np.ndarray], ...] = (
            lambda: array[:0] if array.ndim else array[None],
            lambda: array.ravel(),
            lambda: array[None],
            lambda: array.astype(np.complex128),
            lambda: array.astype(np.int8),
            lambda: array.astype("S3"),
            lambda: np.full(array.shape, np.nan),
            lambda: np.full(array.shape, -1.0),
            lambda: np.full(array.shape, np.inf),
            lambda: np.full(array.shape, 1e300),
            lambda: np.zeros((0, 1 << 40)),
        )
        return ways[int(random.integers(len(ways)))]()


def _swapped_text(text: str, random: np.random.Generator) -> str:
    return _swap_word(bytearray(text.encode()), random, b"").decode("utf-8", "replace")


def _another_header(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    """A safetensors file whose JSON is broken, with its length put right."""
    length = int.from_bytes(content[:8], "little")
    header = _swap_word(content[8 : 8 + length], random, b"")
    return len(header).to_bytes(8, "little") + header + bytes(content[8 + length :])


def _another_tree(content: bytearray, random: np.random.Generator, other: bytes) -> bytes:
    """A whole HDF5 file with an attribute or a data set that is not what it should be."""
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        found: list[str] = []
        file.visit(found.append)
        if file.attrs and random.random() < 0.5:
            name = sorted(file.attrs)[int(random.integers(len(file.attrs)))]
            value = file.attrs[name]
            del file.attrs[name]
            if random.random() < 0.8:
                file.attrs[name] = _swapped_text(str(value), random).replace("\0", "?")
            return _closed(file, stream)
        name = found[int(random.integers(len(found)))]
        old = file[name]
        array = old[()] if isinstance(old, h5py.Dataset) else np.zeros((2, 2))
        del file[name]
        kind = int(random.integers(8))
        if kind == 0:
            file[name] = h5py.ExternalLink("other.h5", "/")
        elif kind == 1:
            file.create_group(name)
        elif kind == 2:
            file[name] = h5py.SoftLink("/nowhere")
        elif kind == 3:
            file.create_dataset(name, shape=(1 << 20, 1 << 20), dtype="f4", chunks=(64, 64))
        elif kind == 4 and array.ndim:
            file.create_dataset(name, data=array, compression="gzip", chunks=array.shape)
        elif kind > 4:
            file[name] = _changed(np.asarray(array), random) if array.dtype.kind != "O" else [1.0]
        return _closed(file, stream)


def _closed(file: h5py.File, stream: io.BytesIO) -> bytes:
    file.close()
    return stream.getvalue()


# What a file begins with, and how it is broken inside.
INSIDE: tuple[tuple[bytes, Mutation], ...] = (
    (b"PK", _repacked),
    (b"\x1f\x8b", _zipped),
    (b"\x93NUMPY", _another_array),
    (b"\x89HDF", _another_tree),
    (b"\0\0\0\0\0{", _another_header),
)
