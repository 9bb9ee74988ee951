"""Arrays out of files that lie: sizes, links, packing; nothing is taken that is not there."""

from __future__ import annotations

import fcntl
import io
import re
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from idt.arrays import BrokenArrayError, dataset, open_hdf5, read_members, read_npy, read_npz

ARRAYS = {
    "whole": np.arange(6, dtype=np.int16).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "texts": np.array(["a", "üñï"]),
    "empty": np.zeros((0, 4), np.float32),
    "single": np.array(3.5),
}
TERABYTE = (1 << 20, 1 << 20)


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    stream = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


def write_member(path: Path, content: bytes, packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content, packing)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_comes_back(save, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", **ARRAYS)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), array)
    assert list(read_npz(tmp_path / "a.npz", ["texts", "absent"])) == ["texts"]
    records = np.zeros(3, [("x", "<f4"), ("y", "<i2", (2,))])
    np.save(tmp_path / "a.npy", records)
    assert read_npy(tmp_path / "a.npy").dtype == records.dtype


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "header cannot be read"),
        (b"\x93NUMPY\x03\x00", r"form 1\.0 or 2\.0, got \(3, 0\)"),
        (header(TERABYTE), "4398046511104 bytes, and 0 are there"),
        (header((2,)) + bytes(7), "8 bytes, and 7 are there"),
        (header((2,)) + bytes(9), "8 bytes, and 9 are there"),
        (header((-1, 4)), r"must have a shape, got \(-1, 4\)"),
        (header((0,) * 70), "cannot be"),
        (header((1,), "|O") + b"cos\nsystem\n.", "pickled objects, which are not read"),
        (header((2,)).replace(b"}", b"("), "header cannot be read"),
        (header((2,)).replace(b"<f4", b"<q9"), "header cannot be read"),
    ],
)
def test_headers_that_lie(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(BrokenArrayError, match=reason):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(BrokenArrayError, match=f"(?s)array 'a'.*{reason}|{reason}"):
        read_npz(write_member(tmp_path / "a.npz", content))


def test_memory_is_not_taken_for_what_is_declared_alone(tmp_path: Path) -> None:
    path = write_member(tmp_path / "a.npz", header(TERABYTE) + bytes(100), zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    (tmp_path / "a.npy").write_bytes(header((1 << 36,)))
    tracemalloc.start()
    with pytest.raises(BrokenArrayError):
        read_npz(path)
    with pytest.raises(BrokenArrayError):
        read_npy(tmp_path / "a.npy")
    # The archive's own table declares 1 GB for what has 300 bytes.
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BrokenArrayError):
        read_npz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e7


def test_archives_that_grow_or_repeat(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(100_000))
    with pytest.raises(BrokenArrayError, match="at most 5000 bytes, got 800128 unpacked"):
        read_members(tmp_path / "a.npz", limit=5000)
    with pytest.raises(BrokenArrayError, match="it is compressed"):
        read_npz(tmp_path / "a.npz", packed=False)
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", b"x")
    with pytest.raises(BrokenArrayError, match="another method"):
        read_npz(tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("a.npy", b"x")
        archive.writestr("a", b"x")
    with pytest.raises(BrokenArrayError, match="holds 'a' twice"):
        read_npz(tmp_path / "c.npz")


def test_a_damaged_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(100.0))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[300] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(BrokenArrayError, match="CRC"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def write_hdf5(path: Path) -> Path:
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["a"] = np.arange(4.0)
    with h5py.File(path, "w") as file:
        file["plain"] = np.arange(4.0)
        file["texts"] = ["a", "ü"]
        file["group/inner"] = np.arange(3)
        file.create_dataset("huge", shape=TERABYTE, dtype="f4", chunks=(64, 64))
        file.create_dataset("packed", data=np.zeros(100), compression="gzip")
        file["soft"] = h5py.SoftLink("/plain")
        file["away"] = h5py.ExternalLink("other.h5", "/a")
        layout = h5py.VirtualLayout((4,), "f8")
        layout[:] = h5py.VirtualSource("other.h5", "a", (4,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (4,), "f8", external=[("other.h5", 0, 32)])
        file.create_dataset("list", (2,), h5py.vlen_dtype(np.int32))
        file["nothing"] = h5py.Empty("f4")
    return path


def test_data_sets_of_the_file_itself_alone(tmp_path: Path) -> None:
    refused = {
        "huge": "declares (1048576, 1048576)",
        "packed": "compressed",
        "soft": "no data set 'soft' of its own",
        "away": "of its own",
        "virtual": "stands in other files",
        "raw": "stands in other files",
        "list": "holds object",
        "nothing": "no data set",
        "group": "no data set",
        "absent": "no data set 'absent'",
    }
    with open_hdf5(write_hdf5(tmp_path / "a.h5")) as file:
        assert dataset(file, "plain")[()].tolist() == [0, 1, 2, 3]
        assert dataset(file, "texts").asstr()[:].tolist() == ["a", "ü"]
        assert dataset(file["group"], "inner").shape == (3,)
        for name, reason in refused.items():
            with pytest.raises(BrokenArrayError, match=re.escape(reason)):
                dataset(file, name)


def test_a_file_that_is_open_for_writing_is_not_read(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5")
    with (tmp_path / "a.h5").open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as HDF5 does
        with pytest.raises(BrokenArrayError, match=r"it cannot be read: .*unable to lock file"):
            open_hdf5(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(BrokenArrayError, match="it cannot be read"):
        open_hdf5(tmp_path / "b.h5")
    with pytest.raises(FileNotFoundError):
        open_hdf5(tmp_path / "none.h5")
