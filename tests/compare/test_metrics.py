from __future__ import annotations

import itertools

import numpy as np
import pytest

from compare import metrics
from compare.scores import ScoreTable

TRUTH = np.array([0, 0, 0, 1, 1, 2])
SAID = np.array([0, 0, 1, 1, 2, 2])


def scores_for(said: list[str], ids: list[str], split: str = "s") -> ScoreTable:
    values = np.array([[name == c for c in "xyz"] for name in said], dtype=float)
    return ScoreTable(tuple(ids), tuple("xyz"), values, "decision", "m", split)


def test_measures_by_hand() -> None:
    assert metrics.accuracy(TRUTH, SAID, n_classes=3) == pytest.approx(4 / 6)
    assert metrics.confusion(TRUTH, SAID, n_classes=3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    np.testing.assert_allclose(metrics.recall(TRUTH, SAID, n_classes=3), [2 / 3, 1 / 2, 1])
    expected = (2 / 3 + 1 / 2 + 1) / 3
    assert metrics.mean_class_accuracy(TRUTH, SAID, n_classes=3) == pytest.approx(expected)


def test_a_class_that_is_never_tested_counts_for_nothing() -> None:
    assert np.isnan(metrics.recall(TRUTH, SAID, n_classes=4)[3])
    assert metrics.mean_class_accuracy(TRUTH, SAID, n_classes=4) == pytest.approx(
        metrics.mean_class_accuracy(TRUTH, SAID, n_classes=3)
    )


@pytest.mark.parametrize("measure", [metrics.accuracy, metrics.mean_class_accuracy])
def test_perfect_and_hopeless(measure) -> None:  # type: ignore[no-untyped-def]
    assert measure(TRUTH, TRUTH, n_classes=3) == 1
    assert measure(TRUTH, (TRUTH + 1) % 3, n_classes=3) == 0


@pytest.mark.parametrize(
    "measure",
    [metrics.accuracy, metrics.mean_class_accuracy, metrics.recall, metrics.confusion],
)
@pytest.mark.parametrize(
    ("truth", "said", "message"),
    [
        ([], [], "1 or more, got 0 and 0"),
        ([0, 1], [0], "same number of videos"),
        ([0, 3], [0, 1], r"truth must lie in 0..2, got 0..3"),
        ([0, 1], [-1, 1], r"predicted must lie in 0..2"),
        ([[0], [1]], [0, 1], "truth must be integers of shape"),
        ([0.0, 1.0], [0, 1], "truth must be integers"),
    ],
)
def test_malformed_input(measure, truth, said, message) -> None:  # type: ignore[no-untyped-def]
    given = [np.array(v, dtype=None if v else int) for v in (truth, said)]
    with pytest.raises(ValueError, match=message):
        measure(*given, n_classes=3)


@pytest.mark.parametrize(
    ("n_right", "n_tested", "low", "high"),
    [  # worked out from the score interval's quadratic, to 4 digits
        (33, 37, 0.7529, 0.9571),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson(n_right: int, n_tested: int, low: float, high: float) -> None:
    interval = metrics.wilson(n_right, n_tested)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)
    z = 1.959963984540054
    for bound in (interval.low, interval.high):  # where the score test just rejects
        if 0 < bound < 1 - 1e-12:
            distance = abs(n_right / n_tested - bound)
            assert distance == pytest.approx(z * (bound * (1 - bound) / n_tested) ** 0.5)


@pytest.mark.parametrize(("n_right", "n_tested"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_of_impossible_counts(n_right: int, n_tested: int) -> None:
    with pytest.raises(ValueError, match="n_right <= n_tested"):
        metrics.wilson(n_right, n_tested)


def test_group_bootstrap_against_all_draws() -> None:
    """Three groups can be drawn in 27 ways: the quantiles come from their exact distribution."""
    right = np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)
    groups = ["a", "a", "b", "b", "b", "c", "c"]
    members = {name: right[[g == name for g in groups]] for name in "abc"}
    exact = sorted(
        float(np.mean(np.concatenate([members[name] for name in drawn])))
        for drawn in itertools.product("abc", repeat=3)
    )
    interval = metrics.group_bootstrap(right, groups, n_draws=50_000, confidence=0.8)
    assert interval.low == pytest.approx(np.quantile(exact, 0.1, method="inverted_cdf"))
    assert interval.high == pytest.approx(np.quantile(exact, 0.9, method="inverted_cdf"))


def test_group_bootstrap_is_seeded_and_wider_than_by_video_where_groups_agree() -> None:
    right = np.repeat(np.random.default_rng(0).uniform(size=30) < 0.7, 10)
    groups = [f"g{k // 10}" for k in range(300)]
    once = metrics.group_bootstrap(right, groups, seed=1)
    assert once == metrics.group_bootstrap(right, groups, seed=1)
    few = [metrics.group_bootstrap(right, groups, seed=seed, n_draws=5) for seed in range(4)]
    assert len({interval.low for interval in few}) > 1
    by_video = metrics.wilson(int(right.sum()), 300)
    assert once.high - once.low > 2 * (by_video.high - by_video.low)


@pytest.mark.parametrize(
    ("groups", "more", "message"),
    [
        (["a", "a", "a"], {}, "2 or more different ones, got 1"),
        (["a", "b"], {}, "of the same videos"),
        (["a", "b", "b"], {"n_draws": 0}, "n_draws must be 1 or more"),
        (["a", "b", "b"], {"confidence": 1.0}, "between 0 and 1"),
    ],
)
def test_malformed_bootstrap(groups: list[str], more: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.group_bootstrap(np.array([1, 0, 1], dtype=bool), groups, **more)  # type: ignore[arg-type]


def test_evaluate_joins_by_id_and_pools_splits() -> None:
    truth = {"a": "x", "b": "y", "c": "z", "d": "x"}
    groups = {"a": "g1", "b": "g1", "c": "g2", "d": "g2"}
    tables = [
        scores_for(["y", "x"], ["b", "a"], "one"),
        scores_for(["z", "y", "x"], ["c", "d", "a"], "two"),
    ]
    tables[1] = tables[1].aligned(tables[1].ids, ["z", "x", "y"])
    found = metrics.evaluate(tables, truth, groups=groups)
    assert (found.n_right, found.n_tested) == (4, 5)
    assert found.accuracy == pytest.approx(0.8)
    assert found.accuracy_by_split == {"one": 1.0, "two": pytest.approx(2 / 3)}
    assert found.classes == ("x", "y", "z")
    assert found.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert found.mean_class_accuracy == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found.n_groups == 2
    assert found.by_group is not None
    wrong = [p for p in found.predictions if not p.right]
    assert [(p.id, p.split, p.truth, p.predicted) for p in wrong] == [("d", "two", "x", "y")]
    assert metrics.evaluate(tables, truth).by_group is None
    one = metrics.evaluate(tables, truth, groups=dict.fromkeys(truth, "g"))
    assert one.by_group is None
    assert one.n_groups == 1


def test_evaluate_refuses_what_does_not_fit() -> None:
    table = scores_for(["x"], ["a"])
    with pytest.raises(ValueError, match="got none"):
        metrics.evaluate([], {})
    with pytest.raises(ValueError, match="one per split"):
        metrics.evaluate([table, table], {"a": "x"})
    with pytest.raises(ValueError, match="a class among the table's, got none for 1: 'a'"):
        metrics.evaluate([table], {"b": "x"})
    with pytest.raises(ValueError, match="got none for 1: 'a'"):
        metrics.evaluate([table], {"a": "jump"})
    other = ScoreTable(("a",), ("x", "q"), np.ones((1, 2)), "logit", "m", "t")
    with pytest.raises(ValueError, match=r"same classes, .*'q'"):
        metrics.evaluate([table, other], {"a": "x"})


def test_change_names_what_was_fixed_and_broken() -> None:
    truth = dict(zip("abcd", "xxyy", strict=True))
    before = metrics.evaluate([scores_for(["x", "y", "y", "x"], list("abcd"))], truth)
    after = metrics.evaluate([scores_for(["x", "x", "z", "x"], list("abcd"))], truth)
    found = metrics.change(before, after)
    assert [(a.id, a.predicted, b.predicted) for a, b in found.fixed] == [("b", "y", "x")]
    assert [(a.id, a.predicted, b.predicted) for a, b in found.broken] == [("c", "y", "z")]
    np.testing.assert_allclose(found.recall, [0.5, -0.5, np.nan])
    other = metrics.evaluate([scores_for(["x"], ["a"])], truth)
    with pytest.raises(ValueError, match="same test videos"):
        metrics.change(before, other)
