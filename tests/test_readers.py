"""Files that are well formed and make no sense, one of each kind that readers once fell over."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from compare import datasets
from compare.benchmark.spec_file import read_spec
from compare.doctor import examine_flow, examine_run
from compare.report.cost import read_costs
from compare.report.stored import read_run
from compare.scores import ScoreTable, foreign, is_table, read_listing
from deep.data import read_frames, store
from deep.recogniser import NetworkRecogniser
from deep.weights import WeightsError, load, save
from idt.codebook import Codebook
from idt.recogniser import FlowHistogramRecogniser
from idt.trajectories import Trajectories
from idt.video import VideoError, frames, frames_with_vectors

DEEP = "[" * 100_000  # JSON and TOML recurse


def write_clip(path: Path, codec: str = "ffv1", n_frames: int = 3) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for t in range(n_frames):
            image = np.full((48, 64, 3), 60 * t % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(stream.encode())
    return path


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_WHAT"))
    for read in (frames, frames_with_vectors):
        with pytest.raises(VideoError, match=r"a\.mkv.*names no codec that can be decoded"):
            list(read(path))


class TestTables:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        table = Trajectories(np.ones((3, 10), np.float32), {"hog": np.ones((3, 4), np.float32)})
        table.save(tmp_path / "a.npz")
        return tmp_path / "a.npz"

    @pytest.mark.parametrize(("info", "reason"), [("[]", "no dictionary"), (DEEP, "too deeply")])
    def test_info_of_another_form(self, path: Path, info: str, reason: str) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            np.savez(path, **{**arrays, "info": np.array(info)})
        with pytest.raises(ValueError, match=rf"a\.npz.*{reason}"):
            Trajectories.load(path)

    def test_a_line_without_end(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"1" * (3 << 20))
        with pytest.raises(ValueError, match="line 1 has more than 1048576 characters"):
            Trajectories.load(tmp_path / "a.txt")

    def test_arrays_of_another_type(self, path: Path) -> None:
        np.savez(path, meta=np.array(["a"]), hog=np.ones((1, 4)))
        with pytest.raises(ValueError, match=r"a\.npz"):
            Trajectories.load(path)


@pytest.mark.parametrize("head", [DEEP, "[]", '{"format": "trajfuse codebook 1"}'])
def test_a_codebook_with_another_head(head: str, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((20, 4), np.float32)
    Codebook(2).fit({"hog": rows}).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        known = {**arrays, "head": np.frombuffer(head.encode(), np.uint8)}
    np.savez(tmp_path / "a.npz", **known)
    with pytest.raises(ValueError, match=r"a\.npz.* must be a whole codebook"):
        Codebook.load(tmp_path / "a.npz")


def test_settings_of_a_codebook_that_are_no_settings(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((20, 4), np.float32)
    Codebook(2).fit({"hog": rows}).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        head = json.loads(arrays["head"].tobytes())
        for settings in ({"n_components": 1e999}, {"n_components": "2"}, [], {"n_components": -1}):
            text = json.dumps({**head, "settings": settings}).encode()
            changed: dict[str, Any] = {**arrays, "head": np.frombuffer(text, np.uint8)}
            np.savez(tmp_path / "b.npz", **changed)
            with pytest.raises(ValueError, match=r"b\.npz.* must be a whole codebook"):
                Codebook.load(tmp_path / "b.npz")


class TestScores:
    def test_a_table_that_tells_nonsense_of_itself(self, tmp_path: Path) -> None:
        table = ScoreTable(("a", "b"), ("x", "y"), np.ones((2, 2)), "logit", "net", "1")
        table.save(tmp_path / "a.csv")
        text = (tmp_path / "a.csv").read_text(encoding="utf-8").partition("\n")[2]
        for about, reason in (
            ('{"kind": "logit", "method": 3}', "as texts"),
            ('{"kind": "logit", "provenance": []}', "as texts"),
            ('{"kind": "logit", "provenance": {"versions": []}}', "versions by package"),
            (DEEP, "describe itself in JSON"),
        ):
            (tmp_path / "a.csv").write_text(f"# trajfuse-scores {about}\n{text}")
            with pytest.raises(ValueError, match=rf"a\.csv.*{reason}"):
                ScoreTable.load(tmp_path / "a.csv")

    def test_an_archive_that_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npz"
        table = ScoreTable(("a", "b"), ("x", "y"), np.ones((2, 2)), "logit", "net", "1")
        table.save(path)
        assert is_table(path)
        content = path.read_bytes()
        path.write_bytes(content.replace(b"PK\x01\x02", b"XX\x01\x02"))
        assert not is_table(path)
        with pytest.raises(ValueError, match=r"a\.npz' is no table of scores"):
            ScoreTable.load(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("scores.npy", b"\x93NUMPY\x01\x00\x06\x00{'a':\n")
        with pytest.raises(ValueError, match=r"a\.npz' is no file of scores"):
            foreign.read(path)

    def test_labels_that_are_no_numbers(self, tmp_path: Path) -> None:
        labels = np.array([np.inf, 1.0])
        np.savez(tmp_path / "a.npz", scores=np.ones((2, 3)), labels=labels)
        with pytest.raises(ValueError, match=r"a\.npz.*labels must be whole numbers"):
            foreign.read(tmp_path / "a.npz")


class TestLists:
    def test_a_label_in_the_billions(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").write_text("a/1.avi 0\nb/2.avi 99999999999999\n")
        (tmp_path / "val.txt").write_text("a/3.avi 0\n")
        with pytest.raises(ValueError, match="got 99999999999999 in a list of 3 videos"):
            datasets.load(tmp_path, form="lists", must_exist=False)

    def test_errors_name_their_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("path,label,split\nx.avi,a,train\ny.avi,b,dev\n")
        with pytest.raises(ValueError, match="split must be") as caught:
            datasets.load(tmp_path / "a.csv", must_exist=False)
        assert "a.csv" in caught.value.__notes__[0]
        (tmp_path / "a.txt").write_text("c/x 1\nc/x 1\n")
        with pytest.raises(ValueError, match=r"a\.txt' is no list .* got twice: 'c/x'"):
            read_listing(tmp_path / "a.txt")
        (tmp_path / "b.csv").write_text('id,label\n"a"b,c\n')
        with pytest.raises(ValueError, match=r"b\.csv' must be a CSV file"):
            read_listing(tmp_path / "b.csv")

    @pytest.mark.parametrize("content", [b"method\n\xff", b"method,fit_seconds\na\n", b""])
    def test_costs(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "c.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"c\.csv"):
            read_costs(tmp_path / "c.csv")

    def test_a_spec_without_end(self, tmp_path: Path) -> None:
        (tmp_path / "s.toml").write_text(f"data = {DEEP}")
        with pytest.raises(ValueError, match=r"must be a TOML file, got .*s\.toml"):
            read_spec(tmp_path / "s.toml")


class TestRuns:
    @pytest.mark.parametrize("text", [DEEP, "[]", '{"identity": {"seed": [], "version": "1"}}'])
    def test_a_run_that_is_none(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text(text)
        (tmp_path / "results.json").write_text(text)
        finding = examine_run(tmp_path)[0]
        assert finding.level == "error"
        assert "is not the folder of a run" in finding.what
        with pytest.raises(ValueError, match=r"results\.json' must be what a run writes"):
            read_run(tmp_path)

    def test_numbers_far_apart_are_a_gap_and_no_list(self, tmp_path: Path) -> None:
        (tmp_path / "clip").mkdir()
        for number in ("00001", "99999999999999"):
            (tmp_path / "clip" / f"img_{number}.jpg").write_bytes(b"x")
        told = [each.what for each in examine_flow(tmp_path) if each.level == "error"]
        assert any("1 streams have gaps: clip (images 2)" in what for what in told)


class TestStored:
    def test_broken_frames_are_stored_again_or_told(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "a.mkv")
        (tmp_path / "kept").mkdir()
        kept = store(clip, folder=tmp_path / "kept", side=32)
        whole = read_frames(kept, 3)
        content = kept.frames.read_bytes()
        for broken in (b"", content[:300], content[:-3000], bytes(len(content))):
            kept.frames.write_bytes(broken)
            with pytest.raises(ValueError, match=rf"{kept.frames.name}.*delete it and run again"):
                read_frames(kept, 3)
            again = store(clip, folder=tmp_path / "kept", side=32)
            np.testing.assert_array_equal(read_frames(again, 3), whole)

    def test_a_kept_histogram(self, tmp_path: Path) -> None:
        clips = [write_clip(tmp_path / f"{name}.mkv") for name in "ab"]
        FlowHistogramRecogniser(cache=tmp_path).fit(clips, [0, 1])
        kept = next(tmp_path.glob("**/a-*.flow-hist.npy"))
        for content in (kept.read_bytes()[:-8], b"", npy(np.zeros(3, np.float32))):
            kept.write_bytes(content)
            with pytest.raises(ValueError, match=rf"{re.escape(kept.name)}.*delete it"):
                FlowHistogramRecogniser(cache=tmp_path).fit(clips, [0, 1])


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_weights_that_declare_another_network(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mkv", n_frames=12) for name in "ab"]
    recogniser = NetworkRecogniser(
        model="two-stream", backbone="small", epochs=1, size=32, n_clips=1, side=32
    )
    recogniser.fit(clips, [0, 1]).save(tmp_path / "w.safetensors")
    tensors, settings = load(tmp_path / "w.safetensors")
    for name, value, reason in (
        ("class_names", [str(n) for n in range(100_000)], "of another shape"),
        ("recipe", {**settings["recipe"], "epochs": "a"}, "do not describe a network"),
        ("model", "../x", "do not describe a network"),
        ("flow", {"bound": -1}, "do not describe a network"),
        ("clips", {"segments": 1e999, "strides": [1, 1]}, "do not describe a network"),
        ("side", "a", "do not describe a network"),
    ):
        save(tmp_path / "x.safetensors", tensors, settings={**settings, name: value})
        with pytest.raises(WeightsError, match=reason) as caught:
            NetworkRecogniser.load(tmp_path / "x.safetensors")
        assert "x.safetensors" in str(caught.value)
