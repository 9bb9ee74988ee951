from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from deep import cli, models
from deep.backbones import cross_modality
from deep.backbones.tower import Tower
from deep.recogniser import NetworkRecogniser
from idt import jobs

Clips = tuple[list[Path], list[int]]
ASKED = "--allow-outside"  # the clips lie in a folder of the whole session's
TRAIN = ["--epochs", "1", "--backbone", "small", "--quiet", ASKED]


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
    assert call("predict", table, network, "-o", scores, "--quiet", "--cache", cache, ASKED) == 0
    with np.load(scores, allow_pickle=False) as found:
        assert found["ids"].tolist() == [str(path) for path in clips[0][:4]]
        assert found["classes"].tolist() == ["left", "right"]
        assert found["scores"].shape == (4, 2)
        assert found["scores"].dtype == np.float32
        assert np.all(np.isfinite(found["scores"]))
        assert found["logits_fused"].shape == found["logits_temporal"].shape == (4, 2)
        mean = (found["logits_fused"] + found["logits_temporal"]) / 2
        np.testing.assert_allclose(found["scores"], mean, rtol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {
        "bad é.mp4", "data.csv", "n.log.csv", "n.safetensors", "s.npz"
    }  # fmt: skip
    # labels of another network
    table.write_text(table.read_text(encoding="utf-8").replace(",left", ",up"), encoding="utf-8")
    assert call("predict", table, network, "-o", scores, "--quiet", "--cache", cache, ASKED) == 2
    assert "must be of the network's classes left, right, got up;" in capsys.readouterr().err


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


@pytest.mark.parametrize("command", ["train", "predict", "flow"])
def test_a_video_that_workers_die_over_is_named_and_not_left_out(
    command: str,
    call: Callable[..., int],
    clips: Clips,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lose(items: list[Any], *_: object, **__: object) -> list[jobs.Outcome[Any, Any]]:
        return [jobs.Outcome(item, error=jobs.WorkerLost("it hung"), tries=2) for item in items]

    table = write_table(tmp_path, clips)
    trained = NetworkRecogniser(model="two-stream", backbone="small")
    trained.class_names_ = ["left", "right"]
    monkeypatch.setattr(NetworkRecogniser, "load", lambda path, **_: trained)
    monkeypatch.setattr(NetworkRecogniser, "prepare", lambda self, videos: lose(videos))
    monkeypatch.setattr("deep.data.exporting.export_all", lose)
    line = {
        "train": [table, "-o", tmp_path / "n.safetensors", *TRAIN],
        "predict": [table, "n.safetensors", "-o", tmp_path / "s.npz", "--quiet", ASKED],
        "flow": [table, "-o", tmp_path / "flow", "--quiet", ASKED],
    }[command]
    assert call(command, *line) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"error: every item must come through, got '{clips[0][0]}' lost: it hung"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_torchrun_trains_as_one_process_does(
    call: Callable[..., int], project: Path, clips: Clips, tmp_path: Path
) -> None:
    """Batches of 5, 5 and 2 clips in two epochs, shared by the command that --help names."""
    table = write_table(tmp_path, clips)
    recipe = "dropout=0 stack=2 size=32 passes=3 batch_size=5 optimiser=sgd".split()
    options = [text for each in recipe for text in ("--option", each)]
    options += ["--model", "two-stream", "--side", "32", "--cache", str(tmp_path), *TRAIN]
    options += ["--epochs", "2"]
    alone, shared = tmp_path / "alone.safetensors", tmp_path / "shared.safetensors"
    assert call("train", table, "-o", alone, *options) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", "-m", "deep", "train", table, "-o", shared, *options],
        env={**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "torchrun --nproc-per-node 2 -m deep train" in (cli.train_network.__doc__ or "")
    assert done.stdout.count("two-stream on 4 videos, loss ") == 1  # the first process' word
    losses, of_both = (losses_of(path.with_suffix(".log.csv")) for path in (alone, shared))
    assert len(losses) == 2
    np.testing.assert_allclose(of_both, losses, rtol=1e-4)
    found = load_file(shared)
    for name, tensor in load_file(alone).items():
        # float32 sums over another order of clips, through six steps
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def losses_of(log: Path) -> list[float]:
    with log.open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_other_mistakes(
    call: Callable[..., int], clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path, clips)
    network = tmp_path / "n.safetensors"
    assert call("train", table, "-o", network, "--model", "vgg", "--quiet", ASKED) == 2
    assert "model must be one of conv-fusion, fstcn, two-stream" in capsys.readouterr().err
    assert call("train", table, "-o", tmp_path / "no" / "n.safetensors") == 2
    assert "make the folder first" in capsys.readouterr().err
    assert call("predict", table, network, "-o", tmp_path / "s.npz", ASKED) == 2
    assert "no such file" in capsys.readouterr().err
    assert call("train", tmp_path / "none.csv", "-o", network) == 2
    assert "none.csv" in capsys.readouterr().err


def test_options_of_the_training(
    call: Callable[..., int],
    clips: Clips,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names, network = ["right", "left"], tmp_path / "n.safetensors"
    rows = [f"{p},{names[label]},{i // 2}" for i, (p, label) in enumerate(zip(*clips, strict=True))]
    table = tmp_path / "data.csv"
    table.write_text("path,label,group\n" + "\n".join(rows) + "\n", encoding="utf-8")
    line = ["train", table, "-o", network, "--model", "two-stream", "--backbone", "small"]
    line += [
        "--epochs",
        "2",
        "--quiet",
        "--cache",
        cache,
        "--side",
        "48",
        "--option",
        "size=32",
        ASKED,
    ]
    more = ["--mode", "last", "--validation", "0.5", "--option", "patience=1"]
    log = tmp_path / "log.csv"
    assert call(*line, *more, "--precision", "bfloat16", "--log", log) == 0
    with log.open(newline="") as file:
        (first, *_) = list(csv.DictReader(file))
    assert 0 <= float(first["validation_accuracy"]) <= 1
    with safe_open(network, framework="pt") as stored:
        settings = json.loads(stored.metadata()["trajfuse"])["settings"]
    assert settings["mode"] == "last"
    assert settings["validation"] == 0.5
    assert settings["side"] == 48
    checkpoint = tmp_path / "n.checkpoint.safetensors"
    checkpoint.write_bytes(b"broken")
    capsys.readouterr()
    assert call(*line) == 2
    assert "checkpoint must be whole, got: cannot read weights" in capsys.readouterr().err
    assert call(*line, "--restart", "--network-weights", network) == 0
    assert not checkpoint.exists()
    for wrong, message in (
        (["--device", "cuda:50"], "device must be a GPU that torch"),
        (["--mode", "x"], "mode must be one of recipe, all, last, scratch, got 'x'"),
        (["--protocol", "x"], "protocol must be one of ten-crops, whole-frame, snippets, got 'x'"),
        (["--option", "patience=1"], "patience must go with validation"),
    ):
        capsys.readouterr()
        assert call(*line, *wrong) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "predict"])
def test_help_has_an_example(
    command: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, "--help") == 0
    assert f"Example: trajfuse deep {command}" in capsys.readouterr().out


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


def test_list_of_parameters(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", "--params", "--format", "csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(table[0]) == ["name", "parameters", "published"]
    rows = {row["name"]: (int(row["parameters"]), row["published"]) for row in table}
    assert len(rows) == len(table) == sum(len(models.variants(m)) for m in models.available())
    assert rows["conv-fusion:table1-sum-softmax"] == (181_335_594, "181.42 M")
    assert rows["conv-fusion:table1-conv-relu5"] == (97_761_221, "97.58 M")
    assert rows["conv-fusion:table1-bilinear-relu5"] == (13_137_248, "6.61 M + SVM")
    assert rows["conv-fusion:table2-relu5-fc8"] == (181_860_394, "181.68 M")
    assert rows["conv-fusion:vgg-16-late"] == (269_358_474, "")
    assert rows["conv-fusion:vgg-16-both-towers"] == (283_514_762, "")
    assert rows["conv-fusion:vgg-16-one-tower"] == (163_555_109, "")
    assert rows["two-stream:table3-vgg-m-late"] == (181_335_594, "")
    assert call("list", "--params") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "parameters", "published"]
    assert any(line.split()[-3:] == ["97,761,221", "97.58", "M"] for line in lines)
    assert call("list", "--format", "csv") == 2
    assert "add --params" in capsys.readouterr().err
    assert call("list", "--params", "--format", "json") == 2
    assert "format must be one of text, csv, got 'json'" in capsys.readouterr().err


@pytest.mark.parametrize("row", models.variants("conv-fusion"))
def test_every_row_of_conv_fusions_tables_is_built_by_name(
    row: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("show", "layers", f"conv-fusion:{row}", "--classes", "51") == 0
    *layers, last = capsys.readouterr().out.splitlines()
    total = sum(int(line.split()[1].replace(",", "")) for line in layers)
    assert last.split() == ["all", f"{total:,}"]


def test_show_with_options(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["backbone=vgg-16-tiny", "at=relu5+fc8", "fusion=conv+sum", "scales=[1, 1]"]
    words = [word for option in options for word in ("--option", option)]
    assert call("show", "layers", "conv-fusion", *words) == 0
    assert "joins.relu5_3.fusion.conv " in capsys.readouterr().out
    assert call("show", "layers", "conv-fusion", "--option", "fusions=sum") == 2
    assert "option of conv-fusion must be of at, backbone, " in capsys.readouterr().err
    assert call("show", "layers", "conv-fusion", "--option", "fusion") == 2
    assert "option must be written NAME=VALUE, got 'fusion'" in capsys.readouterr().err
    assert call("show", "layers", "conv-fusion", "--variant", "table9") == 2
    assert "variant of conv-fusion must be one of table1-" in capsys.readouterr().err


def test_train_with_options_and_published_weights(
    call: Callable[..., int],
    clips: Clips,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table, network = write_table(tmp_path, clips), tmp_path / "n.safetensors"
    tower = Tower("vgg-16-tiny", modality="rgb", n_times=1, num_classes=1000)
    torch.save(tower.backbone.state_dict(), tmp_path / "vgg.pth")
    line = ["train", table, "-o", network, "--epochs", "1", "--quiet", "--cache", cache, ASKED]
    line += ["--model", "two-stream", "--backbone", "vgg-16-tiny", "--option", "stack=2"]
    line += ["--option", "learning_rate=0", "--option", "n_clips=1"]
    weights = tmp_path / "vgg.pth"
    assert call(*line, "--spatial-weights", weights, "--temporal-weights", weights) == 0
    with safe_open(network, framework="pt") as stored:
        first = stored.get_tensor("temporal.tower.backbone.features.0.weight")
        settings = json.loads(stored.metadata()["trajfuse"])["settings"]
    expected = cross_modality(tower.backbone.state_dict()["features.0.weight"], 4)
    assert torch.equal(first, expected)
    assert settings["start"] == {"spatial": "vgg.pth", "temporal": "vgg.pth"}
    assert (settings["recipe"]["size"], settings["recipe"]["stack"]) == (64, 2)
    capsys.readouterr()
    only = ["--option", "streams=temporal", "--spatial-weights", weights]
    assert call(*line, *only) == 2
    assert (
        "start must be of temporal, network for two-stream, got 'spatial'"
        in capsys.readouterr().err
    )
    assert call(*line, "--option", "fusion=sum") == 2
    assert "recipe must be of size, " in capsys.readouterr().err


def test_help_imports_nothing_heavy(project: Path) -> None:
    code = (
        "import sys, deep.cli; "
        "print(*[m for m in ('torch', 'cv2', 'numpy', 'av') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
