from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, top_k_accuracy_score

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
    with pytest.raises(ValueError, match=r"among its classes .* got others for 1: 'a' none"):
        metrics.evaluate([table], {"b": "x"})
    with pytest.raises(ValueError, match="got others for 1: 'a' 'jump'"):
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
    assert found.fixed_by_class.tolist() == [1, 0, 0]
    assert found.broken_by_class.tolist() == [0, 1, 0]
    other = metrics.evaluate([scores_for(["x"], ["a"])], truth)
    with pytest.raises(ValueError, match="same test videos"):
        metrics.change(before, other)


SCORES = np.array([[3, 2, 1], [1, 3, 2], [2, 2, 1], [0, 1, 5]], dtype=float)


def test_ranked_measures_by_hand() -> None:
    truth = np.array([0, 2, 1, 2])
    assert metrics.top_k_accuracy(SCORES, truth, k=1) == 0.5  # the tie goes to the first class
    assert metrics.top_k_accuracy(SCORES, truth, k=2) == 1
    # class 1's column 2 3 2 1, its video the third: ranked 2 or 3 of 4, both tied enter together
    # class 2's column 1 2 1 5, its videos the second and fourth: ranked first
    np.testing.assert_allclose(metrics.average_precision(SCORES, truth), [1, 1 / 3, 1])
    assert metrics.mean_average_precision(SCORES, truth) == pytest.approx(7 / 9)
    truth = np.array([0, 0, 1, 1])
    found = metrics.average_precision(SCORES, truth)  # class 0's column 3 1 2 0
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 2, (1 / 3 + 2 / 4) / 2, np.nan])


@given(
    st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(3, 7), st.sampled_from([2, 5, 1000])
)
def test_ranked_measures_against_scikit_learn(
    seed: int, n_videos: int, n_classes: int, n_levels: int
) -> None:
    """Few levels make ties, which enter together."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(n_levels, size=(n_videos, n_classes)).astype(np.float32)
    truth = rng.integers(n_classes, size=n_videos)
    found = metrics.average_precision(scores, truth)
    for label in range(n_classes):
        if (truth == label).any():
            expected = average_precision_score(truth == label, scores[:, label])
            assert found[label] == pytest.approx(expected)
        else:
            assert np.isnan(found[label])
    distinct = scores + np.linspace(0, 0.5, n_classes)  # scikit-learn breaks ties otherwise
    expected = top_k_accuracy_score(truth, distinct, k=2, labels=range(n_classes))
    assert metrics.top_k_accuracy(distinct, truth, k=2) == pytest.approx(expected)
    assert metrics.top_k_accuracy(scores, truth, k=1) == np.mean(scores.argmax(axis=1) == truth)


@pytest.mark.parametrize(
    "measure",
    [metrics.top_k_accuracy, metrics.average_precision, metrics.mean_average_precision],
)
@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.ones(4), [0, 0, 0, 0], "scores must be finite numbers of shape"),
        (np.full((1, 6), np.nan), [0], "scores must be finite"),
        (np.ones((2, 6)), [0], "same videos, got 2 and 1"),
        (np.ones((1, 6)), [6], r"truth must lie in 0\.\.5"),
    ],
)
def test_malformed_scores(measure, scores, truth, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        measure(scores, np.array(truth))
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.3"):
        metrics.top_k_accuracy(SCORES, np.array([0, 1, 2, 0]), k=4)


def test_the_mean_over_splits_and_its_interval() -> None:
    truth = {"a": "x", "b": "y", "c": "z", "d": "x", "e": "y"}
    tables = [
        scores_for(["x", "z"], ["a", "b"], "one"),
        scores_for(["z", "x", "y", "x"], ["c", "d", "e", "a"], "two"),
    ]
    found = metrics.evaluate(tables, truth)
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.split_mean == pytest.approx(3 / 4)
    assert found.split_mean_interval.low < 3 / 4 < found.split_mean_interval.high
    assert "by video (5" in found.split_mean_interval.method
    assert "by video (5" in found.by_video.method  # a is tested twice
    groups = dict(zip("abcde", "gghhi", strict=True))
    grouped = metrics.evaluate(tables, truth, groups=groups)
    assert "by group (3" in grouped.split_mean_interval.method
    single = metrics.evaluate(tables[1:], truth)
    assert single.by_video.method == single.split_mean_interval.method == "Wilson, by video"
    np.testing.assert_allclose(metrics.split_weights(["s", "t", "t", "t"]), [1 / 2] + 3 * [1 / 6])
    with pytest.raises(ValueError, match="a group, got none for 1: 'e'"):
        metrics.evaluate(tables, truth, groups={k: v for k, v in groups.items() if k != "e"})


def test_average_precision_is_taken_in_each_split() -> None:
    """A split whose scores are ten times as large must not outrank the other's."""
    truth = {"a": "x", "b": "y", "c": "x", "d": "y"}
    one = ScoreTable(("a", "b"), ("x", "y"), np.array([[2, 1], [1, 2.0]]), "logit", "m", "one")
    two = ScoreTable(("c", "d"), ("x", "y"), np.array([[20, 19], [19, 20]]), "logit", "m", "two")
    assert metrics.evaluate([one, two], truth).mean_average_precision == 1
    assert metrics.evaluate([one, two], truth).top5 is None


def test_top5_is_measured_with_more_than_five_classes() -> None:
    classes = tuple("uvwxyz")
    values = np.array([[6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1.0]])
    table = ScoreTable(("a", "b"), classes, values, "logit", "m", "s")
    assert metrics.evaluate([table], {"a": "z", "b": "y"}).top5 == 0.5


def test_complementarity_by_hand() -> None:
    first = np.array([1, 1, 0, 0, 1], dtype=bool)
    second = np.array([1, 0, 1, 0, 1], dtype=bool)
    found = metrics.complementarity(first, second)
    parts = (found.both_right, found.only_first, found.only_second, found.double_fault)
    assert parts == pytest.approx((0.4, 0.2, 0.2, 0.2))
    assert found.oracle == pytest.approx(0.8)
    assert found.disagreement == pytest.approx(0.4)
    weighted = metrics.complementarity(first, second, weights=np.array([1, 1, 1, 7, 0.0]))
    assert weighted.double_fault == pytest.approx(0.7)
    halves = metrics.complementarity(np.array([0.5]), np.array([0.5]))  # two seeds each
    assert halves.double_fault == pytest.approx(0.25)
    with pytest.raises(ValueError, match="same shape"):
        metrics.complementarity(first, second[:2])
