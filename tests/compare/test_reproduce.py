"""The script that makes the README's tables: folds, stages that resume, on a tiny data set."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest

from compare import fusion
from compare.scores import ScoreTable
from deep.recogniser import NetworkRecogniser

SMALL = {"n_components": 2, "n_samples": 500, "stabilise": "none"}


@pytest.fixture
def script(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(project / "scripts"))
    yield importlib.import_module("reproduce")
    for name in ("reproduce", "studies", "trainings"):
        sys.modules.pop(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes, two sets of two sequences, named as UT-Interaction is."""
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "ut_interaction.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "fold", "set", "split"])
        for index in range(8):
            set_, fold, label = 1 + index // 4, 1 + index // 2 % 2, ("across", "along")[index % 2]
            path = f"set{set_}_{fold}_{label}.avi"
            _write(folder / path, along=index % 2, seed=index)
            split = ("train", "test")[fold - 1]
            writer.writerow([path, label, f"seq{set_}{fold}", fold, f"set{set_}", split])
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


NETWORKS = ("spatial", "temporal", "sum-fusion", "conv-fusion", "fstcn")


def test_networks_are_trained_once_and_told_by_seed_and_as_their_mean(
    script: ModuleType,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trainings = sys.modules["trainings"]
    small = {"size": 48, "side": 48, "backbone": "small", "n_clips": 1, "grid": 1}
    monkeypatch.setattr(trainings, "OPTIONS", small)
    monkeypatch.setitem(trainings.SHARE_OF_EPOCHS, trainings.UT, 1 / 36)
    monkeypatch.setitem(trainings.SEEDS, trainings.UT, (0, 1))
    monkeypatch.delitem(trainings.SEEDS, trainings.TENNIS)
    trained: list[tuple[str, int]] = []
    fit = NetworkRecogniser.fit

    def count(self: NetworkRecogniser, *videos: Any, **about: Any) -> NetworkRecogniser:
        trained.append((self.model, self.seed))
        return fit(self, *videos, **about)

    monkeypatch.setattr(NetworkRecogniser, "fit", count)
    runs = tmp_path / "runs"
    folders = ["--csv", tmp_path / "table.csv", "--runs", runs, "--data", data, "--workers", 1]
    run(script, monkeypatch, *folders, "--tables", "training")
    models = ["two-stream", "two-stream", "conv-fusion", "conv-fusion", "fstcn"]
    assert trained == [(model, seed) for seed in (0, 1) for model in models]
    rows = rows_of(tmp_path / "table.csv")
    assert rows_of(runs / "training.csv") == rows
    assert [(row["method"], row["seed"]) for row in rows] == [
        (name, seed) for name in (*NETWORKS, "late-fusion") for seed in ("0", "1", "0/1")
    ]
    found = {(row["method"], row["seed"]): row for row in rows}
    for first, second, mean in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        both = (float(first["accuracy"]) + float(second["accuracy"])) / 2
        assert float(mean["accuracy"]) == pytest.approx(both, abs=1e-4)
        assert float(mean["low"]) <= float(mean["accuracy"]) <= float(mean["high"])
        assert "chance 0.500, p = " in first["setting"]
        assert mean["setting"].startswith("mean of 2 seeds, chance 0.500, p = ")
    seconds = [float(found[name, "0"]["seconds"]) for name in ("spatial", "temporal")]
    assert float(found["late-fusion", "0"]["seconds"]) == pytest.approx(sum(seconds), abs=0.11)
    assert told_in(runs) == [
        ("ut_interaction, frames and flow", 4),
        *(
            part
            for seed in (0, 1)
            for part in (
                *((f"ut_interaction {seed}, {name}", 3) for name in NETWORKS),
                (f"ut_interaction {seed}", 4),
            )
        ),
    ]
    assert "training, ut_interaction 1, fstcn: " in capfd.readouterr().err

    # as if it had been stopped in the last training, and before the minutes of seed 0 were told
    next(runs.glob("training/*-1/scores/*/fstcn.npz")).unlink()
    lines = (runs / "minutes.csv").read_text().splitlines(keepends=True)
    (runs / "minutes.csv").write_text("".join(lines[-6:]))
    run(script, monkeypatch, *folders, "--tables", "training")
    assert told_in(runs)[6:] == [
        ("ut_interaction, frames and flow", 4),
        *((f"ut_interaction 0, {name}", 3) for name in NETWORKS),
        ("ut_interaction 0", 4),
        ("ut_interaction 1, fstcn", 3),
        ("ut_interaction 1", 4),
    ]
    assert trained[10:] == [("fstcn", 1)]
    again = rows_of(tmp_path / "table.csv")
    assert [row | {"seconds": ""} for row in again] == [row | {"seconds": ""} for row in rows]


def told_in(runs: Path) -> list[tuple[str, int]]:
    """Parts whose minutes are kept, and the number of cells."""
    with (runs / "minutes.csv").open(newline="") as file:
        return [(row[1], len(row)) for row in csv.reader(file)]


def test_towers_that_were_trained_alone_are_fused_as_two_stream_does(
    script: ModuleType, data: Path, tmp_path: Path
) -> None:
    """The log of its scores is the log of the mean softmax of its heads' logits."""
    trainings = sys.modules["trainings"]
    videos = sorted(data.glob("*.avi"))
    network = NetworkRecogniser(
        model="two-stream", backbone="small", size=48, side=48, epochs=1, cache=tmp_path
    )
    said = network.fit(videos, [0, 1] * 4).evaluate(videos)
    tables = [
        ScoreTable(tuple(map(str, videos)), ("a", "b"), logits, "logit", name, "all")
        for name, logits in said.logits.items()
    ]
    [rule] = fusion.parse_rules(trainings.RULE, ["spatial", "temporal"])
    fused = fusion.fuse(tables, rule)
    np.testing.assert_allclose(fused.scores, np.exp(said.scores), rtol=1e-5)


def test_epochs_of_the_networks(script: ModuleType, tmp_path: Path, requires: Any) -> None:
    """Tennis7's clips, three and a half times as many, are gone through half as often."""
    trainings = sys.modules["trainings"]
    requires("efficientnet_lite_pytorch")
    epochs = {}
    for data in ("ut_interaction", "tennis7"):
        made = trainings.Training(data, 0, tmp_path, tmp_path, 1).factories()
        recipes = {name: make().settings()["recipe"] for name, make in made.items()}
        assert {recipe["size"] for recipe in recipes.values()} == {112}
        epochs[data] = [recipe["epochs"] for recipe in recipes.values()]
    assert [2 * n for n in epochs["tennis7"]] == epochs["ut_interaction"]


def test_on_a_gpu_all_folds_stand_in_for_the_split(
    script: ModuleType, data: Path, tmp_path: Path
) -> None:
    cpu, gpu = (
        sys.modules["trainings"].Training("ut_interaction", 0, data, tmp_path, 1, device)
        for device in ("cpu", "cuda")
    )
    assert [len(each.dataset().splits) for each in (cpu, gpu)] == [1, 2]
    assert cpu.folder != gpu.folder


def test_validation_sees_no_clip_that_the_split_tests(
    script: ModuleType, shared: Path, tmp_path: Path, requires: Any
) -> None:
    requires("efficientnet_lite_pytorch")
    make = partial(sys.modules["trainings"].Training, "tennis7", 0, shared / "data", tmp_path, 1)
    usual, inner = make(), make(validates=True)
    [split] = usual.dataset().splits
    folds = inner.dataset().splits
    assert len(folds) == 4
    assert sorted(id for fold in folds for id in fold.test) == sorted(split.train)
    assert all(sorted(fold.train + fold.test) == sorted(split.train) for fold in folds)
    assert inner.folder != usual.folder
    assert inner.frames == usual.frames


def test_validation_compares_late_fusion_of_every_pair_of_candidates(
    script: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = sys.modules["trainings"]
    table = data / "ut_interaction.csv"
    clips = rows_of(table)
    for clip in clips:  # set 2 is tested; what is trained on keeps two folds
        clip |= {"split": "test", "fold": "3"} if clip["set"] == "set2" else {"split": "train"}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(clips[0]))
        writer.writeheader()
        writer.writerows(clips)
    small = {"size": 48, "side": 48, "backbone": "small", "n_clips": 1, "epochs": 1}
    spatial, temporal = trainings.TOWERS
    candidates = {
        spatial: {spatial: small},
        temporal: {temporal: small, "temporal-warped": small | {"warped": True}},
    }
    monkeypatch.setattr(trainings, "CANDIDATES", candidates)
    monkeypatch.setattr(trainings, "OPTIONS", {})
    make = partial(script.run_training, seeds={trainings.UT: (0,)}, validates=True)
    monkeypatch.setitem(script.TABLES, "validation", make)
    folders = ["--runs", tmp_path / "runs", "--data", data, "--workers", 1]
    run(script, monkeypatch, "--csv", tmp_path / "a.csv", *folders, "--tables", "validation")
    rows = rows_of(tmp_path / "a.csv")
    towers = [spatial, temporal, "temporal-warped"]
    pairs = [f"{spatial} and {temporal}", f"{spatial} and temporal-warped"]
    assert [row["method"] for row in rows] == [*towers, *pairs]
    assert {row["table"] for row in rows} == {"validation"}
    kept = list((tmp_path / "runs").rglob("scores/*/*.npz"))
    scored = [id for path in kept for id in np.load(path)["ids"]]
    assert len(kept) == (3 + 2) * 2
    assert sorted(set(scored)) == [clip["path"] for clip in clips if clip["split"] == "train"]


def test_unknown_tables_are_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with pytest.raises(SystemExit):
        run(script, monkeypatch, "--csv", tmp_path / "a.csv", "--tables", "demos")
    assert "--tables must be among classic, demo" in capsys.readouterr().err
