"""Ways to break a file: bits, lengths, headers, numbers; for `torture.py`.

An archive or a gzipped text guards its content by checksums, so that a flipped bit never gets past
them: half of these are broken inside and packed again.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable

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
    if random.random() < 0.5:
        if content[:2] == b"PK":
            return _repacked(content, random, other)
        if content[:2] == b"\x1f\x8b":
            return gzip.compress(mutate(gzip.decompress(content), random, other=other), 1)
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


def _repacked(content: bytes, random: np.random.Generator, other: bytes) -> bytes:
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
