from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare import benchmark, datasets, fusion, metrics
from compare.benchmark import effort, loop
from compare.datasets import Dataset
from compare.scores import ScoreTable

Fakes = Mapping[str, Callable[..., Any]]
METHODS = "idt-fv,two-stream,conv-fusion"


@pytest.fixture
def run(dataset: Dataset, fakes: Fakes, tmp_path: Path) -> Callable[..., benchmark.Run]:
    given = {"dataset": dataset, "specification": METHODS, "out": tmp_path / "run"}
    return lambda **changes: benchmark.run(**{**given, "recognisers": fakes, **changes})


def test_a_run_from_videos_to_measures(
    run: Callable[..., benchmark.Run], fakes: Fakes, dataset: Dataset, tmp_path: Path
) -> None:
    finished = run(fuse="average,weighted:0.5/0.25/0.25", command="trajfuse compare run")
    assert [(r.label, r.role) for r in finished.results] == [
        ("idt-fv", "method"),
        ("two-stream", "method"),
        ("conv-fusion", "method"),
        ("average", "fusion"),
        ("weighted:0.5/0.25/0.25", "fusion"),
        ("flow-hist", "yardstick"),
    ]
    (split,) = dataset.splits
    recogniser = fakes["idt-fv"]()
    recogniser.fit(
        [dataset.by_id[id].path for id in split.train],
        [dataset.class_names.index(dataset.truth[id]) for id in split.train],
        class_names=dataset.class_names,
    )
    alone = recogniser.scores([dataset.by_id[id].path for id in split.test])
    (table,) = finished.results[0].tables
    assert table.ids == split.test
    np.testing.assert_array_equal(table.scores, alone)
    said = [dataset.class_names[k] for k in alone.argmax(axis=1)]
    n_right = sum(a == dataset.truth[id] for a, id in zip(said, split.test, strict=True))
    assert finished.results[0].evaluation.n_right == n_right
    assert finished.results[0].settings == {"skill": 1.2, "scale": 1.0}
    assert finished.unable == {"frame-features": "there is no recogniser of that name"}
    assert min(finished.peak_memory.values()) >= 0
    assert finished.peak_memory["this process"] > 2**20


def test_what_a_run_keeps(run: Callable[..., benchmark.Run], tmp_path: Path) -> None:
    finished = run(fuse="weighted:0.5/0.25/0.25", seed=3)
    folder = tmp_path / "run" / "scores" / "split"
    names = {"idt-fv", "two-stream", "conv-fusion", "flow-hist", "weighted-0.5-0.25-0.25"}
    assert {p.name for p in folder.iterdir()} == {
        f"{n}{s}" for n in names for s in (".npz", ".csv")
    }
    kept = ScoreTable.load(folder / "idt-fv.npz")
    as_text = ScoreTable.load(folder / "idt-fv.csv")
    np.testing.assert_array_equal(kept.scores, finished.results[0].tables[0].scores)
    np.testing.assert_array_equal(kept.scores, as_text.scores)
    assert kept.provenance["seed"] == 3
    assert kept.provenance["settings"] == {"skill": 1.2, "scale": 1.0}
    assert kept.provenance["versions"]["numpy"] == np.__version__
    assert kept.provenance["fit_seconds"] >= 0
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["seed"] == 3
    assert [r["label"] for r in results["results"]][3] == "weighted:0.5/0.25/0.25"
    assert results["results"][3]["settings"]["weights"]["idt-fv"] == 0.5
    tables = [ScoreTable.load(folder / f"{n}.npz") for n in METHODS.split(",")]
    (rule,) = fusion.parse_rules("weighted:0.5/0.25/0.25", METHODS.split(","))
    np.testing.assert_array_equal(
        fusion.fuse(tables, rule).scores, finished.of("fusion")[0].tables[0].scores
    )


def test_the_same_seed_gives_the_same_scores(
    run: Callable[..., benchmark.Run], tmp_path: Path
) -> None:
    runs = [run(seed=seed, out=tmp_path / name) for seed, name in ((1, "a"), (1, "b"), (2, "c"))]
    scores = [each.results[0].tables[0].scores for each in runs]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_folds_are_tested_each_and_pooled(
    run: Callable[..., benchmark.Run], clips: Path, fakes: Fakes
) -> None:
    folds = datasets.load(clips / "data.csv", folds=4)
    finished = run(dataset=folds, fuse="average", with_yardsticks=False)
    for result in finished.results:
        assert len(result.tables) == 4
        assert result.evaluation.n_tested == 24
        assert result.evaluation.n_groups == 4
    assert len(fakes["idt-fv"].func.fitted) == 12  # type: ignore[attr-defined]  # a partial


def test_a_stopped_run_goes_on(
    run: Callable[..., benchmark.Run], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped") as caught:
        run(recognisers={**fakes, "two-stream": stop})
    assert caught.value.__notes__ == ["(in method 'two-stream', 'split')"]
    monkeypatch.setattr(fakes["idt-fv"].func, "fit", stop)  # type: ignore[attr-defined]  # a partial
    with pytest.raises(RuntimeError, match="stopped") as caught:
        run()
    assert caught.value.__notes__ == ["(in method 'two-stream', 'split')"]  # idt-fv is there
    monkeypatch.undo()
    finished = run()
    assert [r.resumed for r in finished.results] == [True, False, False, False]
    monkeypatch.setattr(fakes["idt-fv"].func, "fit", stop)  # type: ignore[attr-defined]  # a partial
    again = run(fuse="average")
    assert all(r.resumed for r in again.results if r.role != "fusion")
    for result, before in zip(again.of("method"), finished.of("method"), strict=True):
        np.testing.assert_array_equal(result.tables[0].scores, before.tables[0].scores)
        assert result.fit_seconds == before.fit_seconds


def test_a_folder_of_another_run_is_refused(run: Callable[..., benchmark.Run], clips: Path) -> None:
    run(seed=1)
    with pytest.raises(ValueError, match=r"with others \(seed 1 then, 2 now\)"):
        run(seed=2)
    folds = datasets.load(clips / "data.csv", folds="half")
    with pytest.raises(ValueError, match=r"with others \(splits "):
        run(seed=1, dataset=folds)
    assert run(seed=2, overwrite=True).seed == 2
    assert not run(seed=1, overwrite=True).results[0].resumed


def test_scores_of_other_settings_are_refused_before_any_work(
    run: Callable[..., benchmark.Run], fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fuse="grid", n_inner_folds=2)
    other = {**fakes, "two-stream": partial(fakes["two-stream"], scale=21)}
    made = fakes["idt-fv"].func.fitted  # type: ignore[attr-defined]  # a partial
    made.clear()
    with pytest.raises(ValueError, match="settings asked for now") as caught:
        run(recognisers=other)
    said = str(caught.value)
    assert "for 'two-stream' (scale 20 then, 21 now) in " in said
    kept = [tmp_path / f"run/{part}/two-stream.npz" for part in ("scores/split",)]
    kept += sorted((tmp_path / "run/held-out").rglob("two-stream.npz"))
    assert len(kept) == 4  # tested, two inner folds, both together
    assert str(kept[0]) in said
    assert made == []
    for path in kept:
        path.unlink()
    again = run(recognisers=other, fuse="grid", n_inner_folds=2)
    assert [r.resumed for r in again.results] == [True, False, True, False, True]
    monkeypatch.setattr(
        "compare.benchmark.kept.versions", lambda: {**benchmark.versions(), "torch": "9"}
    )
    with pytest.raises(ValueError, match=r"version of torch '.*' then, '9' now"):
        run(recognisers=other)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_things_is_refused_and_left_alone(
    run: Callable[..., benchmark.Run], tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other things"):
        run(overwrite=overwrite)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]
    with pytest.raises(ValueError, match="is a file"):
        run(out=tmp_path / "run/thesis.tex", overwrite=overwrite)


def test_files_that_overwriting_leaves(run: Callable[..., benchmark.Run], tmp_path: Path) -> None:
    run()
    (tmp_path / "run/notes.txt").write_text("mine")
    (tmp_path / "run/cache").mkdir()
    (tmp_path / "run/cache/tracks").touch()
    run(specification="idt-fv", overwrite=True, with_yardsticks=False)
    assert (tmp_path / "run/notes.txt").read_text() == "mine"
    assert (tmp_path / "run/cache/tracks").exists()
    assert {p.stem for p in (tmp_path / "run/scores/split").iterdir()} == {"idt-fv"}


def test_scores_of_another_method_are_not_taken(
    run: Callable[..., benchmark.Run], tmp_path: Path
) -> None:
    run()
    folder = tmp_path / "run/scores/split"
    (folder / "two-stream.npz").write_bytes((folder / "idt-fv.npz").read_bytes())
    with pytest.raises(ValueError, match="must hold the scores of 'two-stream'"):
        run()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"specification": "idt-fv,lstm"}, "method must be one of .*idt-fv.*, got 'lstm'"),
        ({"specification": "idt-fv:K=3"}, "options of 'idt-fv' must be among"),
        ({"fuse": "mean"}, "fusion rule must be one of"),
        ({"fuse": "weighted:1/1"}, "one weight for each"),
        ({"fuse": "average:idt-fv+flow-hist"}, "methods of this run"),
        ({"specification": "idt-fv:salt=a/b,idt-fv:salt=a?b"}, "names must differ"),
        ({"workers": 0}, "workers must be at least 1, got 0; give"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(
    run: Callable[..., benchmark.Run],
    fakes: Fakes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setattr(loop, "check_videos", lambda *a, **k: pytest.fail("work began"))
    with pytest.raises(ValueError, match=message):
        run(**changes)
    assert not (tmp_path / "run").exists()


def test_unreadable_videos_are_left_out_for_all(
    fakes: Fakes, tmp_path: Path, write_rows: Callable[..., Path], write_video: Callable[..., Path]
) -> None:
    rows = []
    for name in ("hug_1", "hug_2", "kick_1", "kick_2", "hug_3", "kick_3", "wave_1", "wave_2"):
        path = write_video(tmp_path / f"{name}.avi")
        rows.append([path.name, name[:-2], "test" if name in ("hug_3", "kick_3") else "train"])
    (tmp_path / "hug_2.avi").write_bytes(b"")
    (tmp_path / "kick_3.avi").write_text("no video")
    path = write_rows(tmp_path / "set.csv", ["path", "label", "split"], rows)
    finished = benchmark.run(
        datasets.load(path), METHODS, fuse="average", out=tmp_path / "run", recognisers=fakes
    )
    assert [bad.id for bad in finished.excluded] == ["hug_2.avi", "kick_3.avi"]
    assert {result.tables[0].ids for result in finished.results} == {("hug_3.avi",)}
    fitted = fakes["idt-fv"].func.fitted  # type: ignore[attr-defined]  # a partial
    assert {"hug_2.avi" in each for each in fitted} == {False}
    assert "0 bytes" in benchmark.summary(finished)["excluded"]["hug_2.avi"]
    (tmp_path / "hug_1.avi").write_bytes(b"")
    with pytest.raises(ValueError, match="training video of every class, got none of 'hug'"):
        benchmark.run(datasets.load(path), METHODS, out=tmp_path / "other", recognisers=fakes)


class Broken:
    """A recogniser whose scores are no scores."""

    def __init__(self, *, values: Any, **_: Any) -> None:
        self.values = values

    def fit(self, *_: Any, **__: Any) -> Broken:
        return self

    def scores(self, videos: list[Path]) -> np.ndarray:
        return self.values(len(videos))

    def settings(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda n: np.full((n, 3), np.nan), "finite"),
        (lambda n: np.zeros((n, 2)), "shape"),
        (lambda n: np.zeros((n + 1, 3)), "shape"),
    ],
)
def test_scores_that_are_none_are_refused_with_the_method(
    run: Callable[..., benchmark.Run], values: Callable[[int], np.ndarray], message: str
) -> None:
    table = {"idt-fv": partial(Broken, values=values)}
    with pytest.raises(ValueError, match=message) as caught:
        run(specification="idt-fv", recognisers=table)
    assert caught.value.__notes__ == ["(in method 'idt-fv', 'split')"]


def test_measures_agree_with_the_kept_scores(
    run: Callable[..., benchmark.Run], dataset: Dataset
) -> None:
    for result in run(fuse="average").results:
        measured = metrics.evaluate(result.tables, dataset.truth, groups=dataset.groups)
        assert measured.accuracy == result.evaluation.accuracy
        assert measured.by_group == result.evaluation.by_group


class Costly:
    """Holds memory, here and in a process of its own, and says what it learned."""

    pretraining = "ImageNet"
    n_parameters_ = 1234

    def __init__(self, **_: Any) -> None:
        pass

    def fit(self, videos: list[Path], *_: Any, **__: Any) -> Costly:
        self.held = bytes(40 * 2**20)
        line = "held = b'x' * (100 << 20); print(flush=True); input()"
        child = subprocess.Popen(
            [sys.executable, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        looked = threading.Event()
        looked.wait(3 * effort.INTERVAL)
        child.communicate(b"\n")
        return self

    def scores(self, videos: list[Path]) -> np.ndarray:
        return np.eye(3)[[0] * len(videos)]

    def settings(self) -> dict[str, Any]:
        return {}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system has no /proc")
def test_what_methods_cost(run: Callable[..., benchmark.Run], clips: Path, fakes: Fakes) -> None:
    folds = datasets.load(clips / "data.csv", folds="half")
    before = effort.resident_bytes(os.getpid())
    assert before is not None
    finished = run(
        dataset=folds,
        specification="costly,idt-fv",
        recognisers={"costly": Costly, **fakes},
        with_yardsticks=False,
    )
    costs = benchmark.summary(finished)["results"][0]["cost_by_split"]
    assert list(costs) == ["fold 0", "fold 1"]
    for cost in costs.values():
        assert before + 100 * 2**20 < cost["peak_memory_bytes"] < before + 400 * 2**20
        assert cost["fit_seconds"] >= 3 * effort.INTERVAL
        assert (cost["parameters"], cost["pretraining"]) == (1234, "ImageNet")
    assert "parameters" not in finished.results[1].tables[0].provenance  # it does not say
    assert finished.results[0].fit_seconds == sum(c["fit_seconds"] for c in costs.values())


def test_memory_of_what_has_ended_or_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "PROCESSES", tmp_path)
    assert effort.resident_bytes(1) is None
    assert effort.largest_alive() == 0
    with effort.measured() as took:
        pass
    assert took.peak_bytes is None
    assert took.seconds > 0
    for process, pages, children in ((1, 30, "2 3 "), (2, 12, "")):
        (tmp_path / str(process) / "task/9").mkdir(parents=True)
        (tmp_path / str(process) / "statm").write_text(f"99 {pages} 7 1 0 3 0")
        (tmp_path / str(process) / "task/9/children").write_text(children)
    assert effort.resident_bytes(1) == 42 * os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "2/status").write_text("Name:\tworker\nVmHWM:\t     900 kB\nVmRSS:\t     48 kB\n")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert effort.largest_alive() == 900 * 1024  # and nothing of process 3, which has ended


def test_what_several_were_trained_on_before() -> None:
    assert effort.trained_before(["nothing", "ImageNet", "a.pth (spatial); ImageNet"]) == (
        "ImageNet; a.pth (spatial)"
    )
    assert effort.trained_before(["nothing", "nothing"]) == "nothing"
