"""MATLAB's files: as SciPy reads them, and refused where lengths or types are not right."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from idt.matlab import HEADER_BYTES, MatlabError, read_mat

CELLS = np.empty((2, 3), object)
for _place, _value in zip(
    np.ndindex(2, 3),
    (np.arange(3.0), "abc", np.array(["ab", "cd"]), np.float32(3), np.zeros((0, 0)), {"x": 1}),
    strict=True,
):
    CELLS[_place] = _value
VARIABLES: dict[str, Any] = {
    "numbers": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    "cells": CELLS,
    "struct": {"x": 1.5, "y": "text", "z": {"q": np.arange(3)}},
    "structs": np.array([(1, "a"), (2, "b")], dtype=[("f", object), ("g", object)]),
    "text": "üñï",
    "none": "",
    "complex": np.array([[1 + 2j, 3.0]]),
    "wide": np.array([[2**62, -1]]),
}


def same(a: Any, b: Any) -> bool:
    """Equal in shape, type and content, all the way down."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.names:
        return all(same(a[n], b[n]) for n in a.dtype.names)
    if a.dtype == object:
        return all(same(x, y) for x, y in zip(a.ravel(), b.ravel(), strict=True))
    return bool(np.array_equal(a, b))


@pytest.mark.parametrize("packed", [False, True])
def test_variables_are_those_that_scipy_reads(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, VARIABLES, do_compression=packed)
    found, known = read_mat(path), loadmat(path)
    assert list(found) == list(VARIABLES)
    for name in VARIABLES:
        assert same(found[name], known[name]), name
    assert list(read_mat(path, ("text", "absent"))) == ["text"]


def test_score_files_of_others_are_those_that_scipy_reads(shared: Path) -> None:
    for name in ("ltc_idt/hmdb_idt_split1.mat", "hidden_two_stream/temporal_tvl1_split01.mat"):
        path = shared / "scores" / name
        found, known = read_mat(path), loadmat(path, mat_dtype=True)
        assert found.keys() == {key for key in known if key[0] != "_"}
        assert all(same(found[key], known[key]) for key in found)


def test_kinds_that_are_left_out(tmp_path: Path) -> None:
    from scipy.sparse import eye_array

    savemat(tmp_path / "a.mat", {"sparse": eye_array(3).tocsc(), "a": 1.0})
    assert list(read_mat(tmp_path / "a.mat")) == ["a"]
    savemat(tmp_path / "a.mat", {"empty": {}, "a": 1.0})
    assert "a" in read_mat(tmp_path / "a.mat")


def patched(path: Path, place: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + place : HEADER_BYTES + place + len(content)] = content
    path.write_bytes(data)
    return path


HUGE = b"\xff\xff\xff\x7f"


@pytest.mark.parametrize(
    ("place", "content", "reason"),
    [
        (0, b"\x63\0\0\0", "element of type 99"),
        (4, HUGE, "declares 2147483647 bytes"),
        (8, b"\x63\0\0\0", "type 99 stands where numbers"),  # of flags
        (12, HUGE, "declares 2147483647 bytes"),
        (28, HUGE, "declares 2147483647 bytes"),  # of dimensions
        (32, HUGE, "holds 2"),
        (32, b"\xff\xff\xff\xff", r"declares the shape \(-1, 1\)"),
        (40, b"\x01\0\xff\0", "declares 255 bytes"),  # of the name
        (48, b"\x63\0\0\0", "type 99"),  # of the numbers
        (52, b"\x08\0\0\0", "2 numbers holds 1"),
    ],
)
def test_lengths_and_types_that_lie(
    place: int, content: bytes, reason: str, tmp_path: Path
) -> None:
    savemat(tmp_path / "a.mat", {"a": np.array([[1.5], [2.5]])})
    tracemalloc.start()
    with pytest.raises(MatlabError, match=reason):
        read_mat(patched(tmp_path / "a.mat", place, content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


@pytest.mark.parametrize("packed", [False, True])
def test_any_cut_and_any_byte_is_data_or_an_error(packed: bool, tmp_path: Path) -> None:
    """SciPy's own reader ends the process on some of these."""
    path = tmp_path / "a.mat"
    savemat(path, {"c": CELLS, "s": VARIABLES["structs"]}, do_compression=packed)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for place in range(HEADER_BYTES, len(content), 11):
        broken = bytearray(content)
        broken[place] = random.integers(256)
        for data in (content[:place], bytes(broken)):
            path.write_bytes(data)
            with suppress(ValueError):
                read_mat(path)


def test_a_packed_variable_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"a": np.zeros(100_000)}, do_compression=True)
    with pytest.raises(MatlabError, match="at most 1000 bytes"):
        read_mat(path, limit=1000)
    content = bytearray(path.read_bytes())
    content[-20] ^= 255
    path.write_bytes(content)
    with pytest.raises(MatlabError, match="damaged"):
        read_mat(path)


def test_cells_declared_in_great_number_or_depth(tmp_path: Path) -> None:
    cell: Any = np.zeros(1)
    for _ in range(20):
        outer = np.empty((1, 1), object)
        outer[0, 0] = cell
        cell = outer
    path = tmp_path / "a.mat"
    savemat(path, {"c": cell})
    with pytest.raises(MatlabError, match="16 levels deep"):
        read_mat(path)
    savemat(path, {"c": CELLS})
    with pytest.raises(MatlabError, match="values are declared"):
        read_mat(patched(path, 32, HUGE))


@pytest.mark.parametrize(
    ("version", "reason"),
    [(b"\x00\x02IM", r"version 7\.3"), (b"\x00\x01XX", "MATLAB 5"), (b"\x07\x01IM", "0x107")],
)
def test_versions(version: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB".ljust(124) + version)
    with pytest.raises(MatlabError, match=reason):
        read_mat(tmp_path / "a.mat")
