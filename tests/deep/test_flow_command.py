"""``trajfuse deep flow``: from a table of videos to folders that networks train on."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deep import cli

Clips = tuple[list[Path], list[int]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run ``python -m deep ARGUMENTS`` in this process and return the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["deep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        return code if isinstance(code, int) else 0

    return run


def test_a_table_becomes_folders_that_a_network_trains_on(
    call: Callable[..., int], clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for path in clips[0][:2]:
        shutil.copy(path, tmp_path / "in")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    table = tmp_path / "videos.csv"
    rows = ["in/0.mp4,right,a", "in/1.mp4,left,b", "bad.mp4,left,b"]
    table.write_text("path,label,group\n" + "\n".join(rows) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    options = ["--algorithm", "farneback", "--quiet"]
    assert call("flow", table, "-o", out, *options) == 0
    said = capsys.readouterr()
    assert f"{out}: 2 videos, 30 fields of flow" in said.out
    assert "left out: cannot read video" in said.err
    assert sorted(path.name for path in (out / "in").iterdir()) == ["0", "1"]
    with (out / "videos.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"path": "in/0", "label": "right", "group": "a"},
            {"path": "in/1", "label": "left", "group": "b"},
        ]
    network = tmp_path / "n.safetensors"
    line = ["train", out / "videos.csv", "-o", network, "--model", "two-stream", "--quiet"]
    line += ["--backbone", "small", "--epochs", 1, "--option", "passes=1", "--option", "size=32"]
    assert call(*line) == 2
    assert "algorithm 'farneback' where 'dis-medium' is needed" in capsys.readouterr().err
    assert call(*line, "--option", "algorithm=farneback") == 0
    assert "two-stream on 2 videos" in capsys.readouterr().out
    scores = tmp_path / "s.npz"
    assert call("predict", out / "videos.csv", network, "-o", scores, "--quiet") == 0
    (out / "in" / "1" / "flow_x_00004.jpg").unlink()
    assert call("predict", out / "videos.csv", network, "-o", scores, "--quiet") == 0
    assert "left out: cannot read video" in (said := capsys.readouterr().err)
    assert "flow x of number 4 is missing" in said


def test_videos_by_name(
    call: Callable[..., int], clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--layout", "uv", "--base", 0, "--own-bounds", "--warped", "--quiet"]
    assert call("flow", *clips[0][:2], "-o", tmp_path, *options, "--side", 0) == 0
    assert "2 videos, 30 fields" in capsys.readouterr().out
    assert (tmp_path / "u" / "0" / "frame000000.jpg").is_file()
    assert (tmp_path / "img" / "1" / "frame000015.jpg").is_file()
    assert call("flow", clips[0][0], clips[0][0], "-o", tmp_path) == 2
    assert "which would both be written to '0'" in capsys.readouterr().err
    assert call("flow", tmp_path / "none.mp4", "-o", tmp_path) == 2
    assert "every video must exist, got" in capsys.readouterr().err
    empty = tmp_path / "empty.csv"
    empty.write_text("path,label\n")
    assert call("flow", empty, "-o", tmp_path) == 2
    assert "got no rows" in capsys.readouterr().err
    empty.write_text("file\na.mp4\n")
    assert call("flow", empty, "-o", tmp_path) == 2
    assert "got none in line 2" in capsys.readouterr().err
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    assert call("flow", bad, "-o", tmp_path, "--quiet") == 2
    assert "at least one video must be readable" in capsys.readouterr().err
    assert call("flow", clips[0][0], "-o", tmp_path, "--device", "cuda") == 2
    assert "device must be cpu for dis-medium" in capsys.readouterr().err
