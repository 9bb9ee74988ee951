"""The file of encodings: interruption, other settings, damage, and reading without this project."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from idt.encodings import Encodings, encode_into

N_COLUMNS = 37
IDS = ["a/1.avi", "a/2.avi", "b/Ünïcode.avi", "b/4.avi", "c/5.avi"]
SETTINGS = {"codebook": "0123", "improved": True, "dimensions": (30, 96)}


def encoded(item: int) -> np.ndarray:
    return np.random.default_rng(item).standard_normal(N_COLUMNS).astype(np.float32)


def interrupted(item: int) -> np.ndarray:
    if item == 3:
        raise KeyboardInterrupt
    return encoded(item)


def broken(item: int) -> np.ndarray:
    if item in (1, 3):
        raise OSError(f"video {item} has no frames")
    return encoded(item)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def write(path: Path, encode=encoded, **changes: Any) -> Encodings:
    options = {"ids": IDS, "n_columns": N_COLUMNS, "settings": SETTINGS} | changes
    return encode_into(path, encode, range(len(options["ids"])), **options)


class TestWriting:
    def test_values_ids_settings_and_versions(self, tmp_path: Path) -> None:
        found = write(tmp_path / "set.h5")
        np.testing.assert_array_equal(found.values, np.stack([encoded(i) for i in range(5)]))
        assert found.values.dtype == np.float32
        assert isinstance(found.values, np.memmap)
        assert found.values.flags.aligned
        assert found.ids == tuple(IDS)
        assert found.settings == {"codebook": "0123", "improved": True, "dimensions": [30, 96]}
        assert "trajfuse" in found.versions
        assert visible(tmp_path) == ["set.h5"]
        np.testing.assert_array_equal(found.rows_of(["c/5.avi", "a/1.avi"]), [4, 0])

    def test_any_reader_of_hdf5_reads_it(self, tmp_path: Path) -> None:
        write(tmp_path / "set.h5")
        with h5py.File(tmp_path / "set.h5") as file:
            np.testing.assert_array_equal(file["encodings"][2], encoded(2))
            assert file["ids"].asstr()[2] == IDS[2]
            assert json.loads(file.attrs["settings"])["codebook"] == "0123"

    def test_interrupted_work_goes_on_and_gives_the_same_bytes(self, tmp_path: Path) -> None:
        write(tmp_path / "whole.h5")
        time.sleep(1.1)  # HDF5 can write the second of the day into a file
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "set.h5", interrupted)
        assert [path.name for path in tmp_path.glob("set*")] == ["set.h5.part"]
        made = []

        def rest(item: int) -> np.ndarray:
            made.append(item)
            return encoded(item)

        write(tmp_path / "set.h5", rest)
        assert made == [3, 4]
        assert (tmp_path / "set.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
        write(tmp_path / "set.h5", rest)  # finished: nothing is encoded again
        assert made == [3, 4]

    def test_workers_give_the_same_bytes(self, tmp_path: Path) -> None:
        write(tmp_path / "one.h5")
        write(tmp_path / "two.h5", workers=2)
        assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()

    def test_a_row_that_did_not_reach_the_disk_is_encoded_again(self, tmp_path: Path) -> None:
        write(tmp_path / "whole.h5")
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "set.h5", interrupted)
        content = bytearray((tmp_path / "set.h5.part").read_bytes())
        place = content.index(encoded(1).tobytes())
        content[place : place + 8] = bytes(8)
        (tmp_path / "set.h5.part").write_bytes(content)
        write(tmp_path / "set.h5")
        assert (tmp_path / "set.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()

    def test_failures_keep_the_other_rows(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="video 1 has no frames") as caught:
            write(tmp_path / "set.h5", broken)
        assert "2 of 5 encodings failed, first 'a/2.avi'" in caught.value.__notes__[0]
        assert not (tmp_path / "set.h5").exists()
        made = []
        write(tmp_path / "set.h5", lambda item: made.append(item) or encoded(item))
        assert made == [1, 3]


def slow(item: int) -> np.ndarray:
    time.sleep(0.02)
    return encoded(item)


class TestInterference:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
    def test_a_kill_at_any_moment_loses_no_row(self, tmp_path: Path) -> None:
        fork = multiprocessing.get_context("fork")
        write(tmp_path / "whole.h5")
        path = tmp_path / "set.h5"
        for wait in (0.0, 0.01, 0.03, 0.05):
            process = fork.Process(target=write, args=(path, slow))
            process.start()
            time.sleep(wait)
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            assert not path.exists()
        write(path)
        assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
        assert visible(tmp_path) == ["set.h5", "whole.h5"]

    def test_a_second_writer_is_refused_and_readers_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "set.h5"

        def meddled(item: int) -> np.ndarray:
            with pytest.raises(BlockingIOError, match=f"got process {os.getpid()} on"):
                write(path)
            with pytest.raises(FileNotFoundError, match=f"process {os.getpid()} .* is writing it"):
                Encodings.open(path)
            return encoded(item)

        write(path, meddled)
        np.testing.assert_array_equal(Encodings.open(path).values[4], encoded(4))
        assert visible(tmp_path) == ["set.h5"]

    def test_a_part_that_is_broken_is_begun_anew(self, tmp_path: Path) -> None:
        (tmp_path / "set.h5.part").write_bytes(bytes(1000))
        with pytest.warns(UserWarning, match=r"set.h5.part.* it is encoded from the start"):
            found = write(tmp_path / "set.h5")
        found.check()

    def test_a_part_that_nobody_writes(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "set.h5", interrupted)
        with pytest.raises(FileNotFoundError, match=r"'set.h5.part' is not finished"):
            Encodings.open(tmp_path / "set.h5")

    def test_settings_of_another_form(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "set.h5", "w") as file:
            file.attrs["format"] = "trajfuse encodings 1"
            file.attrs["settings"] = "[]"
            file.attrs["versions"] = "{}"
            file["ids"] = ["a", "b"]
            file["checksums"] = np.zeros(2, "<i8")
            file["encodings"] = np.zeros((2, 3), "<f4")
        with pytest.raises(ValueError, match="settings or versions are no dictionary"):
            Encodings.open(tmp_path / "set.h5")


class TestRefusals:
    @pytest.mark.parametrize("finished", [True, False])
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"settings": SETTINGS | {"codebook": "4567"}}, "settings .*'4567'.*got .*'0123'"),
            ({"settings": {"improved": True}}, "settings of .* must be .*None"),
            ({"ids": [*IDS[:4], "d/5.avi"]}, "ids of .* must be 5 ids, not the same"),
            ({"ids": IDS[:4]}, "ids of .* must be 4 ids"),
            ({"n_columns": 36}, "n_columns of .* must be 36, got 37"),
        ],
    )
    def test_other_work(self, tmp_path: Path, finished: bool, changes: dict, message: str) -> None:
        if finished:
            write(tmp_path / "set.h5")
        else:
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path / "set.h5", interrupted)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "set.h5", **changes)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_part_of_other_versions(self, tmp_path: Path, monkeypatch) -> None:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "set.h5", interrupted)
        monkeypatch.setattr("idt.encodings.provenance", lambda: {"trajfuse": "9"})
        with pytest.raises(ValueError, match=r"versions of .* must be .*'9'"):
            write(tmp_path / "set.h5")

    def test_open_with_other_settings(self, tmp_path: Path) -> None:
        write(tmp_path / "set.h5")
        Encodings.open(tmp_path / "set.h5", settings=SETTINGS)
        with pytest.raises(ValueError, match=r"settings of .*'improved': False.*got.*True"):
            Encodings.open(tmp_path / "set.h5", settings=SETTINGS | {"improved": False})

    def test_open_before_the_end(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "set.h5", interrupted)
        with pytest.raises(ValueError, match="must be finished, got 2 rows that are not done"):
            Encodings.open(tmp_path / "set.h5.part")

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no file of encodings"):
            Encodings.open(tmp_path / "set.h5")
        (tmp_path / "text.h5").write_text("nothing")
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["encodings"] = np.zeros((2, 3))
        write(tmp_path / "set.h5")
        content = (tmp_path / "set.h5").read_bytes()
        (tmp_path / "short.h5").write_bytes(content[:-50])
        for name in ("text.h5", "other.h5", "short.h5"):
            with pytest.raises(ValueError, match="must be a file of encodings"):
                Encodings.open(tmp_path / name)

    def test_a_changed_row_is_named(self, tmp_path: Path) -> None:
        found = write(tmp_path / "set.h5")
        found.check()
        content = bytearray((tmp_path / "set.h5").read_bytes())
        content[content.index(encoded(3).tobytes()) + 5] ^= 1
        (tmp_path / "set.h5").write_bytes(content)
        with pytest.raises(ValueError, match=r"1 rows that changed, first 'b/4.avi'"):
            found.check()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"ids": []}, "ids must be one for each of the 0 items, at least one"),
            ({"ids": ["a", "b", "a"]}, "got 'a' twice"),
            ({"ids": ["a", ""]}, "ids must be text"),
            ({"ids": [1, 2]}, "ids must be text"),
            ({"n_columns": 0}, "n_columns must be at least 1"),
            ({"settings": {"path": Path("x")}}, "settings must be plain values"),
            ({"settings": {"tol": float("nan")}}, "settings must be plain values"),
        ],
    )
    def test_arguments(self, tmp_path: Path, changes: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "set.h5", **changes)
        assert list(tmp_path.iterdir()) == []

    def test_encodings_that_do_not_fit(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"encoding of 'a/1.avi' must be 37 finite numbers"):
            write(tmp_path / "set.h5", lambda item: np.full(N_COLUMNS, np.nan))
        with pytest.raises(ValueError, match=r"got \(3,\)"):
            write(tmp_path / "set.h5", lambda item: np.zeros(3))

    def test_ids_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="got 'x' and 1 more"):
            write(tmp_path / "set.h5").rows_of(["a/1.avi", "x", "y"])

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no folder"):
            write(tmp_path / "none" / "set.h5")
