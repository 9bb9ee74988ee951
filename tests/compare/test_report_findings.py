from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compare import metrics, report, significance
from compare.report import pareto, texts, videos
from compare.report.cost import Cost, read_costs
from compare.report.study import Study, of_tables
from compare.scores import ScoreTable

CLASSES = ("x", "y", "z")
IDS = tuple(f"v{k:02}" for k in range(24))
TRUTH = {id: CLASSES[k % 3] for k, id in enumerate(IDS)}
GROUPS = {id: f"g{k // 2}" for k, id in enumerate(IDS)}


def table(
    method: str,
    right: Sequence[bool],
    *,
    fuses: Mapping[str, float] | None = None,
    kind: str = "weighted",
    **about: object,
) -> ScoreTable:
    truth = [k % 3 for k in range(24)]
    said = [t if r else (t + 1) % 3 for t, r in zip(truth, right, strict=True)]
    if fuses:
        about |= {"rule": method, "kind": kind, "normalisation": "unit", "weights": dict(fuses)}
    return ScoreTable(IDS, CLASSES, np.eye(3)[said], "decision", method, "s", about)


def study_of(*tables: ScoreTable, groups: Mapping[str, str] | None = GROUPS) -> Study:
    evaluations = {t.method: [metrics.evaluate([t], TRUTH, groups=groups)] for t in tables}
    return of_tables(
        {t.method: [t] for t in tables}, evaluations, name="set", truth=TRUTH, groups=groups
    )


def first(n: int) -> list[bool]:
    """The first n videos are right."""
    return [k < n for k in range(24)]


def test_a_place_says_what_is_beyond_chance() -> None:
    study = study_of(table("weak", first(2)), table("good", first(24)), table("same", first(22)))
    found = report.find(study)
    places = {rank.entry.label: (rank.best, rank.worst) for rank in found.ranks}
    assert [rank.entry.label for rank in found.ranks] == ["good", "same", "weak"]
    assert places == {"good": (1, 2), "same": (1, 2), "weak": (3, 3)}
    by_hand = significance.holm([pair.test.p for pair in found.pairs])
    assert [pair.adjusted for pair in found.pairs] == by_hand.tolist()


def test_the_share_of_draws_in_which_a_method_is_first() -> None:
    """The better by one of 12 groups leads unless that group is not drawn; then they halve it."""
    study = study_of(table("a", first(22)), table("b", first(24)))
    shares = {rank.entry.label: rank.first for rank in report.find(study).ranks}
    missed = (11 / 12) ** 12
    assert shares["a"] == pytest.approx(missed / 2, abs=0.01)
    assert sum(share for share in shares.values() if share) == pytest.approx(1)


def test_yardsticks_take_no_part_in_tests() -> None:
    found = report.find(study_of(table("flow-hist", first(24)), table("net", first(12))))
    assert [rank.entry.label for rank in found.ranks] == ["net", "flow-hist"]
    assert (found.ranks[1].best, found.ranks[1].first) == (None, None)
    assert found.pairs == ()


def test_too_few_groups_are_said_to_tell_nothing_apart() -> None:
    few = {id: f"g{k // 6}" for k, id in enumerate(IDS)}
    tables = [table("a", first(24)), table("b", first(0))]
    study = study_of(*tables, groups=few)
    assert "With 4 groups no p can be below" in texts.about_intervals(report.find(study))
    text = texts.about_intervals(report.find(study_of(*tables)))
    assert "no p can be below" not in text


def test_gains_from_idt_stand_beside_the_strongest_control_of_the_same_way() -> None:
    half = {"rgb": 0.5, "idt": 0.5}
    study = study_of(
        table("rgb", first(10)),
        table("flow", first(11)),
        table("pose", first(9)),
        table("idt", first(12)),
        table("rgb+idt", first(16), fuses=half),
        table("rgb+flow", first(14), fuses={"rgb": 0.5, "flow": 0.5}),
        table("rgb+pose", first(13), fuses={"rgb": 0.5, "pose": 0.5}),
        table("rgb*flow", first(18), fuses={"rgb": 0.5, "flow": 0.5}, kind="product"),
        table("rgb~flow", first(17), fuses={"rgb": 0.9, "flow": 0.1}),
        table("flow*idt", first(15), fuses={"flow": 0.5, "idt": 0.5}, kind="max"),
        table("mixed+idt", first(15), fuses={"rgb+idt": 0.5, "idt": 0.5}),
    )
    asked = report.gains_from_idt(study)
    assert asked == [("rgb", "rgb+idt", "rgb+flow"), ("flow", "flow*idt", None)]
    found = report.find(study)
    assert [gain.fused.second for gain in found.gains] == ["rgb+idt", "flow*idt"]
    over = found.gains[0].over_control
    assert over is not None
    assert over.difference == pytest.approx(2 / 24)
    with pytest.raises(ValueError, match="got 'none such'"):
        report.find(study, gains=[("rgb", "none such", None)])


@pytest.mark.parametrize(
    ("label", "is_idt"),
    [("idt", True), ("iDT-FV", True), ("dt-fv", True), ("ltc_idt", True), ("width", False)],
)
def test_dense_trajectories_are_known_by_name(label: str, is_idt: bool) -> None:
    assert study_of(table(label, first(3))).entries[0].handcrafted == is_idt


def test_methods_with_other_classes_are_refused_and_other_orders_are_not() -> None:
    a = table("a", first(20))
    turned = a.aligned(IDS, ("z", "x", "y"))
    study = study_of(a, replace(turned, method="b"))
    for entry in study.entries:
        assert entry.evaluation.classes == CLASSES
        assert entry.evaluation.confusion.tolist() == study.entries[0].evaluation.confusion.tolist()
    other = ScoreTable(IDS, (*CLASSES, "more"), np.eye(4)[[0] * 24], "decision", "c", "s")
    with pytest.raises(ValueError, match="same classes, got differing ones for 'c': 'more'"):
        study_of(a, other)


def test_a_fusion_costs_what_its_methods_cost_and_what_is_unknown_stays_so() -> None:
    study = study_of(
        table("a", first(9), fit_seconds=10.0, score_seconds=1, parameters=3e6),
        table("b", first(8), fit_seconds=5.0, score_seconds=2, pretraining="ImageNet"),
        table("a+b", first(10), fuses={"a": 0.5, "b": 0.5}),
        table("(a+b)+a", first(11), fuses={"a+b": 0.5, "a": 0.5}),
        table("with another", first(11), fuses={"a": 0.5, "not here": 0.5}),
    )
    cost = {entry.label: entry.cost for entry in study.entries}
    assert cost["a"] == Cost(10.0, 1.0, None, 3e6, None)
    assert cost["a+b"] == cost["(a+b)+a"] == Cost(15.0, 3.0, None, None, "ImageNet")
    assert cost["with another"] == Cost()
    learned = table("grid", first(9), fuses={"a": 1, "a+b": 0}, kind="grid", fit_seconds=60.0)
    study = study_of(
        table("a", first(9), fit_seconds=1.0),
        table("b", first(9), fit_seconds=5.0),
        table("a+b", first(9), fuses={"a": 0.5, "b": 0.5}),
        learned,
    )
    assert study.named("grid").cost.fit_seconds == 1 + 5 + 60


def test_costs_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("method,fit_seconds,memory_gib,pretraining\nnet,60,1.5,Kinetics\nidt,,,\n")
    assert read_costs(path) == {
        "net": Cost(fit_seconds=60, memory_bytes=1.5 * 2**30, pretraining="Kinetics"),
        "idt": Cost(),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method,price\na,1\n", "must have columns among"),
        ("method,fit_seconds\na,fast\n", "line 2 must hold numbers of 0 or more, got 'fast'"),
        ("method,fit_seconds\na,-1\n", "got '-1'"),
        ("method,fit_seconds\na,nan\n", "got 'nan'"),
        ("method,fit_seconds\na,1\na,2\n", "line 3 must name a method of its own, got 'a' again"),
    ],
)
def test_wrong_costs_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "costs.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_costs(tmp_path / "costs.csv")


def test_front_by_hand() -> None:
    assert pareto.front([1, 2, 3, 2], [0.5, 0.7, 0.6, 0.4]) == [True, True, False, False]
    assert pareto.front([1, 1], [0.5, 0.5]) == [True, True]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_what_is_off_the_front_is_beaten_by_what_is_on_it(points: list[tuple[int, int]]) -> None:
    costs, accuracies = [float(c) for c, _ in points], [float(a) for _, a in points]
    on = pareto.front(costs, accuracies)
    for cost, accuracy, is_on in zip(costs, accuracies, on, strict=True):
        beaten = any(
            c <= cost and a >= accuracy and (c < cost or a > accuracy)
            for c, a, best in zip(costs, accuracies, on, strict=True)
            if best
        )
        assert beaten != is_on


def test_points_lie_inside_the_picture_in_order() -> None:
    points = [
        pareto.Point(k, f"m{k}", "method", cost, 0.5 + k / 10, 0.4 + k / 10, 0.55 + k / 10)
        for k, cost in enumerate((3.0, 40.0, 5000.0))
    ]
    drawn = pareto.picture(points, unit="seconds")
    xs = [point["x"] for point in drawn["points"]]  # type: ignore[attr-defined]
    ys = [point["y"] for point in drawn["points"]]  # type: ignore[attr-defined]
    assert xs == sorted(xs)
    assert ys == sorted(ys, reverse=True)
    assert pareto.LEFT <= xs[0] <= xs[-1] <= pareto.WIDTH - pareto.RIGHT
    assert pareto.TOP <= ys[-1] <= ys[0] <= pareto.HEIGHT - pareto.BOTTOM
    marks = [mark["text"] for mark in drawn["x_marks"]]  # type: ignore[attr-defined]
    assert marks == ["10 s", "1 min", "10 min", "1 h"]


@pytest.mark.parametrize(
    ("unit", "cost", "marks"),
    [
        ("seconds", 225, ["2 min", "5 min"]),
        ("seconds", 0.3, ["0.2 s", "0.5 s"]),
        ("parameters", 3e6, ["2 M", "5 M"]),
        ("bytes", 1.5 * 2**30, ["1 GiB", "2 GiB"]),
    ],
)
def test_marks_are_round_where_costs_are_alike(unit: str, cost: float, marks: list[str]) -> None:
    points = [pareto.Point(k, "m", "method", cost, 0.5, 0.4, 0.6) for k in range(3)]
    drawn = pareto.picture(points, unit=unit)
    assert [mark["text"] for mark in drawn["x_marks"]] == marks
    first, *others = (point["x"] for point in drawn["points"])
    assert sorted(other - first for other in others) == [-2 * pareto.RADIUS, 2 * pareto.RADIUS]


def test_disputed_videos_come_most_disputed_first() -> None:
    right = [[True, True, False, True], [True, True, False, False], [True, False, False, False]]
    tables = [table(f"m{k}", [*of, *([True] * 20)]) for k, of in enumerate(right)]
    study = study_of(*tables, table("m3", first(24)))
    rows = videos.disputed(study.entries)
    assert [(row.id, sum(row.right)) for row in rows] == [*(("v03", 2), ("v01", 3), ("v02", 1))]
    assert rows[0].said == ("x", "y", "y", "x")
    lines = videos.as_csv(rows, study.entries).splitlines()
    assert lines[0] == "split,id,truth,n_right,m0,m1,m2,m3"
    assert lines[1] == "s,v03,x,2,x,y,y,x"


def test_pictures_are_of_clips_that_are_there_and_decode(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    clip = write_video(tmp_path / "v00.avi", 6)
    broken = tmp_path / "v01.avi"
    broken.write_bytes(b"no video")
    study = replace(
        study_of(table("a", first(3))),
        paths={"v00": clip, "v01": broken, "v02": tmp_path / "none.avi"},
    )
    found = videos.pictures(study, IDS)
    assert set(found) == {"v00"}
    data = base64.b64decode(found["v00"].removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (24, 96, 3)
    levels = [int(picture[12, 16 + 32 * k].mean()) for k in range(3)]
    assert levels == pytest.approx([40, 120, 160], abs=6)  # frames 1, 3 and 4; JPEG twice


def test_a_page_of_many_videos_stays_under_two_megabytes() -> None:
    rng = np.random.default_rng(0)
    classes = tuple(f"class {k:03d}" for k in range(101))
    ids = tuple(f"{'long name ' * 12}{k:05d}" for k in range(3000))
    truth = {id: classes[k % 101] for k, id in enumerate(ids)}
    own = 2.5 * np.eye(101)[np.arange(3000) % 101]
    tables = [
        ScoreTable(ids, classes, own + rng.normal(size=own.shape), "decision", f"m{k}", "s", about)
        for k, about in enumerate([{}, {}, *[{"rule": "r", "weights": {"m0": 1.0}}] * 8])
    ]
    evaluations = {t.method: [metrics.evaluate([t], truth)] for t in tables}
    study = of_tables({t.method: [t] for t in tables}, evaluations, name="many", truth=truth)
    text = report.as_html(study, report.find(study))
    assert 500_000 < len(text.encode()) < 2_000_000
    assert "all stand in videos.csv" in text
