from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare import benchmark, datasets, fusion, report
from compare.benchmark import methods
from compare.datasets import Dataset
from compare.fusion import Encodings, kernel_sum
from compare.scores import ScoreTable
from idt.svm import LinearSVM

Fakes = Mapping[str, Callable[..., Any]]
PAIR = "idt-fv,two-stream"


class Coded:
    """A recogniser whose encodings depend on the file's name alone: its class, and noise."""

    fitted = 0

    def __init__(
        self, *, power: int = 1, seed: int = 0, workers: int = 1, verbose: bool = False, cache: Any
    ) -> None:
        self.power = power

    def fit(self, videos: Sequence[Path], labels: Sequence[int], **_: Any) -> Coded:
        Coded.fitted += 1
        self.svm_ = LinearSVM(C=100.0).fit(self.encode(videos), np.asarray(labels))
        return self

    def encode(self, videos: Sequence[Path]) -> np.ndarray:
        rows = []
        for video in videos:
            own = sum(map(ord, Path(video).stem[:4]))
            noise = np.random.default_rng([self.power, *Path(video).stem.encode()])
            signal = np.random.default_rng(own).normal(size=9)
            rows.append(signal + self.power * noise.normal(size=9))
        return np.array(rows, np.float32)

    def scores(self, videos: Sequence[Path]) -> np.ndarray:
        return self.svm_.decision_function(self.encode(videos))

    @property
    def n_parameters_(self) -> int:
        return self.svm_.n_parameters

    @property
    def pretraining(self) -> str:
        return f"set {self.power}"

    def settings(self) -> dict[str, Any]:
        return {"power": self.power}


@pytest.fixture
def run(dataset: Dataset, fakes: Fakes, tmp_path: Path) -> Callable[..., benchmark.Run]:
    given: dict[str, Any] = {"dataset": dataset, "specification": PAIR, "out": tmp_path / "run"}
    given |= {"recognisers": fakes, "with_yardsticks": False, "n_inner_folds": 2}
    return lambda **changes: benchmark.run(**{**given, **changes})


def test_weights_are_learned_from_training_videos_of_other_groups(
    run: Callable[..., benchmark.Run], fakes: Fakes, dataset: Dataset
) -> None:
    finished = run(fuse="average,grid,logistic", seed=2)
    (split,) = dataset.splits
    held_out = []
    for name in PAIR.split(","):
        scored: dict[str, np.ndarray] = {}
        for fold in datasets.inner_folds(dataset, split, n_folds=2, seed=2):
            assert not {dataset.groups[id] for id in fold.train} & {  # type: ignore[index]
                dataset.groups[id]  # type: ignore[index]
                for id in fold.test
            }
            made = fakes[name](seed=2)
            paths = [dataset.by_id[id].path for id in fold.train]
            labels = [dataset.class_names.index(dataset.truth[id]) for id in fold.train]
            made.fit(paths, labels, class_names=dataset.class_names)
            tested = made.scores([dataset.by_id[id].path for id in fold.test])
            scored |= dict(zip(fold.test, tested, strict=True))
        rows = np.stack([scored[id] for id in split.train])
        held_out.append(
            ScoreTable(split.train, dataset.class_names, rows, "decision", name, split.name)
        )
    for result in finished.of("fusion")[1:]:
        (rule,) = fusion.parse_rules(result.label, PAIR.split(","), learned=True)
        learned = fusion.fit(rule, held_out, dataset.truth, test=split.test, groups=dataset.groups)
        expected = learned.apply([r.tables[0] for r in finished.of("method")])
        np.testing.assert_array_equal(result.tables[0].scores, expected.scores)
        assert result.rule is not None
        assert result.rule.weights == learned.rule.weights
        assert result.settings["weights by split"] == {"split": result.settings["weights"]}


@pytest.mark.parametrize("asked", ["auto", "none", "temperature", "platt"])
def test_margins_and_logits_are_calibrated_before_they_are_mixed(
    run: Callable[..., benchmark.Run], fakes: Fakes, dataset: Dataset, tmp_path: Path, asked: str
) -> None:
    class Logits(fakes["two-stream"].func):  # type: ignore[misc, name-defined]
        score_kind = "logit"

    made = {**fakes, "two-stream": partial(Logits, skill=1.0, scale=20, salt="b")}
    finished = run(fuse="average,grid@softmax", recognisers=made, calibration=asked)
    fixed, mixed = finished.of("fusion")
    assert "calibration" not in fixed.settings
    kind = {"auto": "temperature", "none": None}.get(asked, asked)
    (split,) = dataset.splits
    kept = [
        ScoreTable.load(tmp_path / f"run/held-out/split/2-folds/{name}.npz")
        for name in PAIR.split(",")
    ]
    assert [table.kind for table in kept] == ["decision", "logit"]
    (rule,) = fusion.parse_rules("grid@softmax", PAIR.split(","), learned=True)
    fitted = fusion.fit(rule, kept, dataset.truth, test=split.test, calibration=kind)
    tested = [result.tables[0] for result in finished.of("method")]
    np.testing.assert_array_equal(mixed.tables[0].scores, fitted.apply(tested).scores)
    if kind is None:
        assert "calibration" not in mixed.settings
        return
    for table in tested:
        about = mixed.settings["calibration"][table.method]
        calibrated = fusion.calibrate(kind, kept[tested.index(table)], dataset.truth).apply(table)
        assert about["kind"] == kind
        assert about["error_before"] == fusion.table_error(table, dataset.truth)
        assert about["error_after"] == fusion.table_error(calibrated, dataset.truth)
    page = report.as_html(study := report.of_run(finished), report.find(study))
    errors = mixed.settings["calibration"]["two-stream"]
    said = f"two-stream {100 * errors['error_before']:.1f} % before"
    assert said in page


def test_scores_of_one_kind_need_no_calibration(run: Callable[..., benchmark.Run]) -> None:
    assert "calibration" not in run(fuse="grid").of("fusion")[0].settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calibration": "isotonic"}, "calibrate must be one of auto, none, temperature, platt"),
        ({"calibration": "platt"}, "calibrate must be given for fusion rules that learn, got 'pla"),
    ],
)
def test_calibrations_that_cannot_be_are_refused(
    run: Callable[..., benchmark.Run], tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(fuse="average", **changes)
    assert not (tmp_path / "run").exists()


def test_no_model_behind_the_weights_saw_a_test_video(
    run: Callable[..., benchmark.Run], clips: Path, fakes: Fakes
) -> None:
    folds = datasets.load(clips / "data.csv", folds=4)
    finished = run(dataset=folds, fuse="grid")
    fitted = fakes["idt-fv"].func.fitted  # type: ignore[attr-defined]
    assert len(fitted) == 4 * 2 * (1 + 2)
    people = [{name.split("_")[1] for name in each} for each in fitted]
    assert sorted(map(len, people)) == [1] * 8 + [2] * 8 + [3] * 8  # of 3, inner folds of 2 and 1
    (result,) = finished.of("fusion")
    by_split = result.settings["weights by split"].values()
    assert result.settings["weights"]["idt-fv"] == pytest.approx(
        np.mean([w["idt-fv"] for w in by_split])
    )


def test_a_stopped_inner_fold_goes_on(
    run: Callable[..., benchmark.Run], fakes: Fakes, tmp_path: Path
) -> None:
    made = [0]

    def stops_at_third(**options: Any) -> Any:
        made[0] += 1
        if made[0] == 4:  # the split's own, one asked for cross_scores, and two folds
            raise RuntimeError("stopped")
        return fakes["idt-fv"](**options)

    with pytest.raises(RuntimeError, match="stopped") as caught:
        run(fuse="grid", recognisers={**fakes, "idt-fv": stops_at_third})
    assert caught.value.__notes__[-1] == "(for rules that learn, in 'split')"
    fitted = fakes["idt-fv"].func.fitted  # type: ignore[attr-defined]
    fitted.clear()
    finished = run(fuse="grid")
    assert len(fitted) == 3  # one fold of idt-fv, two of two-stream
    fitted.clear()
    again = run(fuse="grid,logistic")
    assert fitted == []
    np.testing.assert_array_equal(
        again.of("fusion")[0].tables[0].scores, finished.of("fusion")[0].tables[0].scores
    )
    kept = tmp_path / "run/held-out/split/2-folds"
    assert {p.name for p in kept.iterdir() if p.suffix == ".npz"} == {
        "idt-fv.npz",
        "two-stream.npz",
    }
    run(overwrite=True)
    assert not kept.exists()


def test_cross_scores_of_its_own_are_taken(
    run: Callable[..., benchmark.Run], fakes: Fakes, dataset: Dataset, tmp_path: Path
) -> None:
    fake = fakes["idt-fv"].func  # type: ignore[attr-defined]
    asked: list[Any] = []

    class Fast(fake):  # type: ignore[misc, valid-type]
        def cross_scores(
            self, videos: Any, labels: Any, groups: Any, *, n_folds: int
        ) -> np.ndarray:
            asked.append((list(videos), list(labels), list(groups)))
            assert n_folds == 2
            return np.eye(3, dtype=np.float32)[labels]

    finished = run(fuse="grid", recognisers={**fakes, "idt-fv": Fast})
    (split,) = dataset.splits
    ((videos, labels, groups),) = asked
    assert videos == [dataset.by_id[id].path for id in split.train]
    assert [dataset.class_names[k] for k in labels] == [dataset.truth[id] for id in split.train]
    assert groups == [dataset.by_id[id].group for id in split.train]
    kept = ScoreTable.load(tmp_path / "run/held-out/split/2-folds/idt-fv.npz")
    assert kept.ids == split.train
    assert kept.provenance["held out"] == "the recogniser's own cross_scores, 2 folds"
    assert finished.of("fusion")[0].settings["weights"]["idt-fv"] > 0.5  # it is never wrong


def test_rules_over_rules(run: Callable[..., benchmark.Run], tmp_path: Path) -> None:
    both = "both=average:idt-fv+two-stream"
    finished = run(specification=f"{PAIR},conv-fusion", fuse=f"{both},grid:both+conv-fusion")
    fixed, learned = finished.of("fusion")
    assert set(learned.settings["weights"]) == {"both", "conv-fusion"}
    names = ("idt-fv", "two-stream", "conv-fusion")
    kept = [ScoreTable.load(tmp_path / f"run/held-out/split/2-folds/{n}.npz") for n in names]
    about = [table.provenance for table in kept]
    assert fixed.fit_seconds == 0
    spent = sum(each["fit_seconds"] + each["score_seconds"] for each in about)
    assert learned.fit_seconds == pytest.approx(spent)
    with pytest.raises(ValueError, match="'average:g\\+conv-fusion' must not be over rules that"):
        run(
            specification=f"{PAIR},conv-fusion",
            fuse="g=grid:idt-fv+two-stream,average:g+conv-fusion",
        )


def test_too_few_groups_are_refused_before_any_work(
    run: Callable[..., benchmark.Run], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="between 2 and the number of groups, 2, got 5") as caught:
        run(fuse="svm", n_inner_folds=5)
    assert "inner folds of 'split'" in caught.value.__notes__[-1]
    assert not (tmp_path / "run").exists()
    assert len(run(fuse="average", n_inner_folds=5).of("fusion")) == 1  # needs none


def test_early_fusion_is_a_sum_of_kernels(
    run: Callable[..., benchmark.Run], dataset: Dataset
) -> None:
    coded = {"a": Coded, "b": partial(Coded, power=2)}
    early = "early:a:power=3/b"
    finished = run(specification=f"a,{early}", recognisers=coded, fuse=f"average:a+{early},grid")
    (split,) = dataset.splits
    paths = {s: [dataset.by_id[id].path for id in getattr(split, s)] for s in ("train", "test")}
    labels = np.array([dataset.class_names.index(dataset.truth[id]) for id in split.train])
    between: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for power in (3, 2):
        unit = {
            side: Encodings(tuple(map(str, each)), Coded(power=power, cache=None).encode(each), "x")
            for side, each in paths.items()
        }
        rows = {
            side: each.values / np.linalg.norm(each.values, axis=1, keepdims=True)
            for side, each in unit.items()
        }
        for side in between:
            between[side].append(rows[side] @ rows["train"].T)
    svm = LinearSVM(C=100.0, kernel="precomputed").fit(kernel_sum(between["train"]), labels)
    expected = svm.decision_function(kernel_sum(between["test"]))
    table = finished.results[1].tables[0]
    assert table.method == early
    np.testing.assert_allclose(table.scores, expected, atol=2e-2)  # two solvers' stopping rules
    np.testing.assert_array_equal(table.scores.argmax(axis=1), expected.argmax(axis=1))
    assert table.provenance["parameters"] == 3 * (9 + 1) + 3 * (9 + 1) + 3 * (18 + 1)
    assert table.provenance["pretraining"] == "set 3; set 2"
    assert finished.results[1].settings["parts"] == {"a:power=3": {"power": 3}, "b": {"power": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("early:idt-fv/two-stream", "must give encodings, got 'idt-fv', 'two-stream'; .* are b"),
        ("early:b/lstm", "method must be one of b, .*, got 'lstm'"),
        ("early:b:C=1/b", "options of 'b' must be among power, got 'C'"),
        ("early:b", "must be written early:METHOD/METHOD with two methods or more, got 'early:b'"),
        ("early", "must be written early:METHOD/METHOD"),
        ("early:b/", "must be written early:METHOD/METHOD"),
        ("early:b/early:b/idt-fv", "must be written early:METHOD/METHOD"),
        ("early:b/b", "given once, got twice: b"),
    ],
)
def test_early_fusion_that_cannot_be_is_refused(fakes: Fakes, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        methods.check(methods.parse_methods(text), {**fakes, "b": Coded})
