from __future__ import annotations

import csv
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from compare import datasets
from compare.benchmark import methods
from compare.datasets import Dataset, Video
from idt import video


@pytest.fixture(scope="module")
def stress(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("stress", project / "scripts/stress.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stress"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_copies_are_read_as_they_were_written(stress: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, size=(24, 34, 3), dtype=np.uint8) for _ in range(4)]
    stress.write_lossless(tmp_path / "v.mkv", frames)
    np.testing.assert_array_equal(list(video.frames(tmp_path / "v.mkv")), frames)
    clip = Video(tmp_path / "v.mkv", "v", "a")
    for kind, level in (("dark", 1.0), ("shake", 0.0)):
        same = stress.disturbed(clip, kind=kind, level=level, seed=0)
        np.testing.assert_array_equal(same, frames)
    dark = stress.disturbed(clip, kind="dark", level=0.1, seed=0)
    assert abs(np.array(dark) - np.array(frames) * 0.1).max() <= 0.5
    order = stress.disturbed(clip, kind="shuffle", level=1.0, seed=1)
    assert {f.tobytes() for f in order} == {f.tobytes() for f in frames}
    assert len(order) == 4
    still = stress.background(clip)
    np.testing.assert_array_equal(still[0], np.rint(np.median(frames, axis=0)))
    assert all((frame == still[0]).all() for frame in still)


def test_shaking_moves_a_picture_by_no_more_than_its_share(stress: ModuleType) -> None:
    x = np.arange(200, dtype=np.uint8)
    frame = np.repeat(np.tile(x, (100, 1))[..., None], 3, axis=2)  # brightness tells the column
    moved = stress.shaken([frame] * 50, 0.05, np.random.default_rng(0))
    starts = np.array([each[50, 0, 0] for each in moved])
    assert starts.min() >= 0
    assert starts.max() <= 20  # 0.05 of 200, and moved by as much
    assert np.ptp(starts) > 12
    (again,) = stress.shaken([frame], 0.05, np.random.default_rng(0))
    scale = (int(again[50, 150, 0]) - int(again[50, 50, 0])) / 100
    assert scale == pytest.approx(0.9, abs=0.02)


def test_fewer_clips_are_among_more(stress: ModuleType, dataset: Dataset) -> None:
    (split,) = dataset.splits
    drawn = [stress.fewer(dataset, split, size, 3) for size in (1, 2, 4)]
    assert [len(each.train) for each in drawn] == [3, 6, 12]
    assert set(drawn[0].train) < set(drawn[1].train) < set(drawn[2].train) == set(split.train)
    assert [dataset.truth[id] for id in drawn[0].train] == list(dataset.class_names)
    with pytest.raises(ValueError, match="got 5 where 'hug' has 4 in 'split'"):
        stress.fewer(dataset, split, 5, 3)


def test_all_stages(
    stress: ModuleType,
    clips: Path,
    tmp_path: Path,
    fakes: Mapping[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(methods, "find", lambda names: fakes)
    line = [str(clips / "data.csv"), "--out", str(tmp_path / "out"), "--quiet", "--sizes", "1,2"]
    line += ["--methods", "idt-fv,two-stream", "--fuse", "average", "--stills", "flow-hist"]
    line += ["--n-folds", "2", "--csv", str(tmp_path / "rows.csv")]
    stress.main(line)
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert capsys.readouterr().out == (tmp_path / "rows.csv").read_text()
    found = {(row["stage"], row["condition"]) for row in rows}
    assert {c for s, c in found if s == "train"} == {"1 clips a class", "2 clips a class", "all"}
    assert {c for s, c in found if s == "disturb"} == {
        *("as they are", "shake 0.02", "shake 0.05", "dark 0.4", "dark 0.15", "dark 0.05"),
        "shuffle 1",
    }
    assert {c for s, c in found if s == "background"} == {"clips", "background alone", "chance"}
    by = {(r["stage"], r["condition"], r["method"]): r for r in rows}
    assert by["train", "all", "average"]["videos"] == "12"
    assert by["disturb", "dark 0.4", "idt-fv"]["videos"] == "12"
    # The fake knows a clip by its name: of the same clips as they are, the two stages agree.
    assert (
        by["disturb", "as they are", "idt-fv"]["accuracy"]
        == by["train", "all", "idt-fv"]["accuracy"]
    )
    assert by["folds", "grouped", "idt-fv"]["groups"] == "4"
    assert by["folds", "random", "idt-fv"]["videos"] == "24"
    fitted = fakes["idt-fv"].func.fitted  # type: ignore[attr-defined]
    fitted.clear()
    stress.main(line)
    assert fitted == []  # it goes on where it was
    with pytest.raises(SystemExit):
        stress.main([*line, "--stages", "train,night"])
    assert "got night" in capsys.readouterr().err


def test_folds_need_groups(
    stress: ModuleType, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    for name in ("hug", "kick"):
        for take in "abc":
            write_video(tmp_path / "set" / name / f"{name}_{take}.avi")
    dataset = datasets.load(tmp_path / "set", folds=2)
    with pytest.raises(ValueError, match="must have groups for the stage 'folds'"):
        stress.run_folds(dataset, None)
