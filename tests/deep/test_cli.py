from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deep import cli

Clips = tuple[list[Path], list[int]]
TRAIN = ["--epochs", "1", "--backbone", "small", "--quiet"]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run ``python -m deep ARGUMENTS`` in this process and return the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["deep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        return code if isinstance(code, int) else 0

    return run


def write_table(folder: Path, clips: Clips, extra: str = "") -> Path:
    table = folder / "data.csv"
    names = ["right", "left"]
    rows = [f"{p},{names[label]},g" for p, label in zip(*clips, strict=True)][:4]
    table.write_text("path,label,group\n" + "\n".join(rows) + "\n" + extra, encoding="utf-8")
    return table


def test_train_and_predict(
    call: Callable[..., int],
    clips: Clips,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad é.mp4").write_bytes(b"no video")
    table = write_table(tmp_path, clips, "bad é.mp4,left,g\n")
    network, scores = tmp_path / "n.safetensors", tmp_path / "s.npz"
    assert call("train", table, "-o", network, *TRAIN, "--cache", cache) == 0
    said = capsys.readouterr()
    assert "on 4 videos" in said.out
    assert "left out: cannot read video" in said.err
    assert "bad é.mp4" in said.err
    assert call("predict", table, network, "-o", scores, "--quiet", "--cache", cache) == 0
    with np.load(scores, allow_pickle=False) as found:
        assert found["ids"].tolist() == [str(path) for path in clips[0][:4]]
        assert found["classes"].tolist() == ["left", "right"]
        assert found["scores"].shape == (4, 2)
        assert found["scores"].dtype == np.float32
        assert np.all(np.isfinite(found["scores"]))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na.mp4,x\n", "must have the columns path, label, got none named path"),
        ("path,label\nnone.mp4,x\n", "got 'none.mp4' in line 2"),
        ("path,label\nbad.mp4,\n", "got an empty one in line 2"),
        ("path,label\nbad.mp4,x\nbad.mp4,y\n", "got 'bad.mp4' again in line 3"),
        ("path,label\n", "at least one row"),
        ("path,label\nbad.mp4,x\n", "at least one video must be readable, got none of 1"),
    ],
)
def test_wrong_tables_are_one_line_and_code_2(
    call: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    message: str,
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    table = tmp_path / "data.csv"
    table.write_text(content, encoding="utf-8")
    assert call("train", table, "-o", tmp_path / "n.safetensors", *TRAIN) == 2
    said = capsys.readouterr().err
    (error,) = [line for line in said.splitlines() if not line.startswith("left out")]
    assert error.startswith("error: ")
    assert message in error


def test_other_mistakes(
    call: Callable[..., int], clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path, clips)
    network = tmp_path / "n.safetensors"
    assert call("train", table, "-o", network, "--model", "vgg", "--quiet") == 2
    assert "model must be one of conv-fusion, fstcn, two-stream" in capsys.readouterr().err
    assert call("train", table, "-o", tmp_path / "no" / "n.safetensors") == 2
    assert "make the folder first" in capsys.readouterr().err
    assert call("predict", table, network, "-o", tmp_path / "s.npz") == 2
    assert "no such file" in capsys.readouterr().err
    assert call("train", tmp_path / "none.csv", "-o", network) == 2
    assert "none.csv" in capsys.readouterr().err


def test_debug_shows_the_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = ["deep", "--debug", "predict", "none.csv", "none", "-o", str(tmp_path / "s.npz")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(FileNotFoundError):
        cli.main()


def test_list(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    said = capsys.readouterr().out
    for name in ("two-stream", "conv-fusion", "small", "efficientnet-lite0"):
        assert name in said


def test_help_imports_nothing_heavy(project: Path) -> None:
    code = (
        "import sys, deep.cli; "
        "print(*[m for m in ('torch', 'cv2', 'numpy', 'av') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
