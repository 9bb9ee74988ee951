"""The script that makes the README's tables: folds, stages that resume, on a tiny data set."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest

SMALL = {"n_components": 2, "n_samples": 500, "stabilise": "none"}


@pytest.fixture
def script(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(project / "scripts"))
    yield importlib.import_module("reproduce")
    for name in ("reproduce", "studies"):
        sys.modules.pop(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes, two sets of two sequences, named as UT-Interaction is."""
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "ut_interaction.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "fold", "set"])
        for index in range(8):
            set_, fold, label = 1 + index // 4, 1 + index // 2 % 2, ("across", "along")[index % 2]
            path = f"set{set_}_{fold}_{label}.avi"
            _write(folder / path, along=index % 2, seed=index)
            writer.writerow([path, label, f"seq{set_}{fold}", fold, f"set{set_}"])
    return folder


def _write(path: Path, *, along: int, seed: int) -> None:
    """A textured square that swings over a textured ground."""
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.integers(60, 190, (15, 18)), np.ones((4, 4))).astype(np.uint8)
    patch = np.kron(rng.integers(0, 256, (7, 7)), np.ones((4, 4))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = ground.shape
        stream.pix_fmt = "bgr0"
        for t in range(20):
            offset = round(10 * np.sin(0.5 * t))
            y, x = (16 + offset, 22) if along else (16, 22 + offset)
            image = ground.copy()
            image[y : y + 28, x : x + 28] = patch
            frame = np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, options)])
    assert script.main() == 0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_stage_writes_rows_and_does_no_fold_twice(
    script: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = sys.modules["studies"]
    made = [
        studies.Study("by sequence", "idt-fv", SMALL, studies.UT, folds="sequences"),
        studies.Study(
            "bags",
            "idt-bof",
            {"n_words": 8, "n_init": 1, "descriptors": "hog/mbhx", "grids": "1x1x1/t2"}
            | {"stabilise": "none"},
            studies.UT,
        ),
    ]
    monkeypatch.setitem(script.STAGES, "sequences", lambda: made)
    worked: list[str] = []
    score_fold = studies.score_fold

    def count(job: Any) -> None:
        worked.append(f"{job.study.name} {job.fold}")
        score_fold(job)

    monkeypatch.setattr(studies, "score_fold", count)
    table, runs = tmp_path / "table.csv", tmp_path / "runs"
    arguments = ["--csv", table, "--runs", runs, "--data", data, "--workers", 1]
    run(script, monkeypatch, *arguments, "--tables", "sequences")
    assert worked == [
        *(f"by sequence set{set_} sequence {fold}" for set_ in (1, 2) for fold in (1, 2)),
        *(f"bags fold {fold}" for fold in (1, 2)),
    ]
    rows = rows_of(table)
    assert rows_of(runs / "sequences.csv") == rows
    settings = {row["setting"]: row for row in rows}
    kinds = ("all", "mbh", "trajectory", "hog", "hof", "mbhx", "mbhy")
    parts = ("", ", set1", ", set2")
    assert list(settings) == [
        *(f"by sequence: {kind}{part}" for kind in kinds for part in parts),
        *(f"bags: {kind}{other}" for kind in ("all", "hog", "mbhx") for other in ("", " + t2")),
    ]
    both, first, second = (float(settings[f"by sequence: all{p}"]["accuracy"]) for p in parts)
    assert both == pytest.approx((first + second) / 2)
    assert both > 0.5

    run(script, monkeypatch, *arguments, "--tables", "sequences")  # nothing is left to do
    assert len(worked) == 6
    assert rows_of(table) == rows
    last = studies.jobs_of(made[1], data=data, runs=runs)[-1]
    last.path.unlink()  # as if it had been stopped there
    made[0] = studies.Study("by sequence", "idt-fv", SMALL | {"seed": 1}, studies.UT)
    run(script, monkeypatch, *arguments, "--tables", "sequences")
    assert worked[6:] == ["by sequence fold 1", "by sequence fold 2", "bags fold 2"]


def test_all_stages_can_be_made_and_are_tested_on_all_clips(
    script: ModuleType, shared: Path, tmp_path: Path
) -> None:
    rows = []
    for stage in script.STAGES.values():
        for study in stage():
            rows.append((study.data, study.method, study.name, study.options.get("seed")))
            study.recogniser(tmp_path).settings()
            jobs = sys.modules["studies"].jobs_of(study, data=shared / "data", runs=tmp_path)
            clips = study.clips(shared / "data")
            assert len(jobs) == {"sequences": 20 // (2 if study.of else 1), "five": 5}[study.folds]
            of_group = {clip.group: study.fold_of(clip) for clip in clips}
            assert all(of_group[clip.group] == study.fold_of(clip) for clip in clips)
    assert len(set(rows)) == len(rows)


def test_unknown_tables_are_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(SystemExit):
        run(script, monkeypatch, "--csv", tmp_path / "a.csv", "--tables", "demos")
    assert "--tables must be among classic, demo" in capsys.readouterr().err
