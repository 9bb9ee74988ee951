"""Rules that learn: that they find what is right, look at no test video, and are not optimistic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from compare import fusion, scores
from compare.fusion import FittedOnTestError, FusionRule
from compare.fusion.weights import simplex
from compare.scores import ScoreTable

CLASSES = tuple("wxyz")


def rule(kind: str, n: int = 2, scale: str = "none") -> FusionRule:
    return FusionRule(kind, tuple("abc"[:n]), (1 / n,) * n, kind, scale)


def tables(
    strengths: tuple[float, ...],
    n: int,
    rng: np.random.Generator,
    *,
    start: int = 0,
    shared: float = 0.0,
    group_size: int = 5,
) -> tuple[list[ScoreTable], dict[str, str], dict[str, str]]:
    """Scores that are `strength` for the true class plus noise of deviation 1.

    With independent noise the likelihood of a class is a sum weighted with the strengths: these are
    the right weights. `shared` is the part of the noise that videos of a group have in common.
    """
    ids = tuple(f"g{(start + k) // group_size}_{start + k}" for k in range(n))
    groups = {id: id.split("_")[0] for id in ids}
    labels = rng.integers(0, len(CLASSES), n)
    names, member = np.unique([groups[id] for id in ids], return_inverse=True)
    made = []
    for name, strength in zip("abc", strengths, strict=False):
        noise = rng.normal(size=(n, len(CLASSES)))
        common = rng.normal(size=(len(names), len(CLASSES)))[member]
        scores = strength * np.eye(len(CLASSES))[labels]
        scores = scores + (1 - shared) ** 0.5 * noise + shared**0.5 * common
        made.append(ScoreTable(ids, CLASSES, scores, "logit", name, "s"))
    truth = {id: CLASSES[k] for id, k in zip(ids, labels, strict=True)}
    return made, truth, groups


def accuracy(table: ScoreTable, truth: dict[str, str]) -> float:
    return float(np.mean(table.scores.argmax(axis=1) == scores.labels_of(table, truth)))


@pytest.mark.parametrize(
    ("kind", "right"),
    [("grid", (0.7, 0.3)), ("logistic", (0.7, 0.3)), ("logistic", (0.5, 0.3, 0.2))],
)
def test_the_right_weights_are_found(kind: str, right: tuple[float, ...]) -> None:
    for seed in range(3):
        strengths = tuple(3 * each for each in right)
        given, truth, _ = tables(strengths, 6000, np.random.default_rng(seed))
        learned = fusion.fit(rule(kind, len(right)), given, truth, test=())
        assert learned.rule.weights == pytest.approx(right, abs=0.05)


def test_the_logistic_rule_finds_the_scale_too() -> None:
    """Its scores are logits: of the deviations given, the true log odds."""
    given, truth, _ = tables((2.0, 1.0), 6000, np.random.default_rng(0))
    learned = fusion.fit(rule("logistic"), given, truth, test=())
    probe = [
        ScoreTable(("new",), CLASSES, np.array([[each, 0, 0, 0]]), "logit", name, "s")
        for name, each in (("a", 1.0), ("b", 2.0))
    ]
    table = learned.apply(probe)
    assert table.kind == "logit"
    assert table.scores[0, 0] - table.scores[0, 1] == pytest.approx(2 * 1 + 1 * 2, rel=0.1)


def test_a_method_that_knows_nothing_gets_next_to_nothing() -> None:
    given, truth, _ = tables((3.0, 0.0), 3000, np.random.default_rng(1))
    for kind in ("grid", "logistic"):
        assert fusion.fit(rule(kind), given, truth, test=()).rule.weights[1] < 0.12


def test_svm_learns_what_a_weighted_sum_cannot() -> None:
    """A method that calls every class by its neighbour's name."""
    rng = np.random.default_rng(2)
    given, truth, _ = tables((0.5, 3.0), 2000, rng)
    tested, tested_truth, _ = tables((0.5, 3.0), 2000, rng, start=10_000)
    for each in (given, tested):
        turned = np.roll(each[1].scores, 1, axis=1)
        each[1] = ScoreTable(each[1].ids, CLASSES, turned, "logit", "b", "s")
    by = {
        kind: accuracy(
            fusion.fit(rule(kind), given, truth, test=tested[0].ids).apply(tested), tested_truth
        )
        for kind in ("svm", "grid")
    }
    assert by["svm"] > by["grid"] + 0.3


def test_svm_of_two_classes_has_two_columns() -> None:
    rng = np.random.default_rng(3)
    given, truth, _ = tables((2.0, 2.0), 200, rng)
    two = [ScoreTable(t.ids, ("w", "x"), t.scores[:, :2], "logit", t.method, "s") for t in given]
    halves = {id: name if name in "wx" else "w" for id, name in truth.items()}
    learned = fusion.fit(rule("svm"), two, halves, test=())
    new, new_truth, _ = tables((2.0, 2.0), 100, rng, start=1000)
    new = [ScoreTable(t.ids, ("w", "x"), t.scores[:, :2], "logit", t.method, "s") for t in new]
    known = [k for k, id in enumerate(new[0].ids) if new_truth[id] in "wx"]
    said = learned.apply(new).scores[known].argmax(axis=1)
    assert np.mean(said == ["wx".index(new_truth[new[0].ids[k]]) for k in known]) > 0.6


def test_svm_and_platt_need_every_class() -> None:
    given, truth, _ = tables((2.0, 2.0), 60, np.random.default_rng(4))
    without = {id: "w" if name == "z" else name for id, name in truth.items()}
    with pytest.raises(ValueError, match=r"every class must have a video .* none for 'z'"):
        fusion.fit(rule("svm"), given, without, test=())
    with pytest.raises(ValueError, match=r"every class must have a video .* none for 'z'"):
        fusion.calibrate("platt", given[0], without)


def test_fitting_on_test_videos_is_refused_by_name() -> None:
    given, truth, groups = tables((2.0, 2.0), 40, np.random.default_rng(5))
    with pytest.raises(FittedOnTestError, match="got 2 on both sides: 'g0_0', 'g1_7'"):
        fusion.fit(rule("grid"), given, truth, test=["g1_7", "g0_0", "other"])
    with pytest.raises(FittedOnTestError, match="got 40 on both sides"):
        fusion.fit(rule("grid"), given, truth, test=()).apply(given)
    with pytest.raises(FittedOnTestError, match=r"groups that are tested, got 1 .*: 'g3'"):
        fusion.fit(rule("grid"), given, truth, test=["new"], groups={**groups, "new": "g3"})
    learned = fusion.fit(rule("grid"), given, truth, test=["new"], groups={**groups, "new": "n"})
    new = [ScoreTable(("new",), CLASSES, np.eye(4)[:1], "logit", name, "s") for name in "ab"]
    with pytest.raises(FittedOnTestError, match="'g3'"):
        learned.apply(new, groups={"new": "g3"})
    assert learned.apply(new, groups={"new": "n"}).provenance["fitted on"] == 40


@pytest.mark.parametrize("kind", ["grid", "logistic"])
def test_cross_fitting_looks_at_no_label_of_the_group_it_scores(kind: str) -> None:
    given, truth, groups = tables((1.0, 1.0), 60, np.random.default_rng(6))
    before = fusion.cross_fit(rule(kind), given, truth, groups, n_folds=12)
    changed = {id: CLASSES[(CLASSES.index(name) + 1) % 4] if groups[id] == "g4" else name
               for id, name in truth.items()}  # fmt: skip
    after = fusion.cross_fit(rule(kind), given, changed, groups, n_folds=12)
    own = [groups[id] == "g4" for id in before.ids]
    np.testing.assert_array_equal(before.scores[own], after.scores[own])
    if kind == "logistic":
        assert not np.array_equal(before.scores, after.scores)


def test_the_grid_without_each_group_is_that_of_as_many_folds() -> None:
    given, truth, groups = tables((1.0, 0.7, 0.4), 100, np.random.default_rng(7), shared=0.5)
    at_once = fusion.cross_fit(rule("grid", 3), given, truth, groups)
    one_by_one = fusion.cross_fit(rule("grid", 3), given, truth, groups, n_folds=20)
    np.testing.assert_allclose(at_once.scores, one_by_one.scores, atol=1e-6)
    for table in (at_once, one_by_one):
        assert table.provenance["folds of groups"] == 20
        assert table.provenance["protocol"].startswith("outside the official protocol")
    for name in "abc":
        assert at_once.provenance["weights"][name] == pytest.approx(
            one_by_one.provenance["weights"][name]
        )


def test_what_is_cross_fitted_stays_labelled_and_is_not_learned_from() -> None:
    given, truth, groups = tables((1.0, 0.7, 0.4), 60, np.random.default_rng(14))
    net = fusion.cross_fit(FusionRule("net", ("a", "b"), (0.5, 0.5), "grid"), given, truth, groups)
    both = fusion.fuse([net, given[2]], FusionRule("both", ("net", "c"), (0.5, 0.5)))
    assert both.provenance["protocol"] == net.provenance["protocol"]
    again = FusionRule("again", ("net", "c"), (0.5, 0.5), "logistic")
    with pytest.raises(ValueError, match="must not be cross-fitted themselves, got 'net'"):
        fusion.cross_fit(again, [net, given[2]], truth, groups)


def test_cross_fitting_needs_groups() -> None:
    given, truth, groups = tables((1.0, 1.0), 20, np.random.default_rng(8))
    with pytest.raises(ValueError, match="must have a group, got none for 1: 'g0_0'"):
        fusion.cross_fit(
            rule("grid"), given, truth, {k: v for k, v in groups.items() if k != "g0_0"}
        )
    with pytest.raises(ValueError, match=r"2 or more .* got 1 groups"):
        fusion.cross_fit(rule("grid"), given, truth, dict.fromkeys(groups, "g"))
    with pytest.raises(ValueError, match="got 4 groups and 5 folds"):
        fusion.cross_fit(rule("grid"), given, truth, groups, n_folds=5)


def true_accuracy(weights: tuple[float, ...], strengths: tuple[float, ...]) -> float:
    """Chance that a weighted sum of such scores is right: the true class's tops three others."""
    lead = float(np.dot(weights, strengths) / np.linalg.norm(weights))
    x = np.linspace(-8, 12, 2001)
    return float(np.trapezoid(norm.pdf(x - lead) * norm.cdf(x) ** (len(CLASSES) - 1), x))


@pytest.mark.parametrize("kind", ["grid", "logistic"])
def test_cross_fitted_accuracy_is_unbiased_and_picking_on_test_is_not(kind: str) -> None:
    """200 small test sets, against what the weights that were learned get in the long run."""
    rng = np.random.default_rng(9)
    strengths = (1.2, 0.8, 0.5)
    gaps, optimism = [], []
    for _ in range(200):
        given, truth, groups = tables(strengths, 45, rng, group_size=15)
        crossed = accuracy(fusion.cross_fit(rule(kind, 3), given, truth, groups, n_folds=3), truth)
        expected = []
        for group in sorted(set(groups.values())):
            others = [id for id in given[0].ids if groups[id] != group]
            rows = [k for k, id in enumerate(given[0].ids) if groups[id] != group]
            rest = [
                ScoreTable(tuple(others), CLASSES, t.scores[rows], "logit", t.method, "s")
                for t in given
            ]
            learned = fusion.fit(rule(kind, 3), rest, truth, test=())
            expected.append(true_accuracy(learned.rule.weights, strengths))
        gaps.append(crossed - np.mean(expected))
        optimism.append(fusion.picked_on_test(rule(kind, 3), given, truth) - crossed)
    error = np.std(gaps) / len(gaps) ** 0.5
    assert error < 0.007
    assert abs(np.mean(gaps)) < 3 * error
    assert np.mean(optimism) > 3 * np.std(optimism) / len(optimism) ** 0.5


def test_the_simplex() -> None:
    points = simplex(2)
    assert points[:, 0].tolist() == pytest.approx(np.linspace(0, 1, 101).tolist())
    for n in (2, 3, 4, 5, 6, 9, 40):
        points = simplex(n)
        assert len(points) <= 1001
        np.testing.assert_allclose(points.sum(axis=1), 1)
        assert points.min() >= 0
        assert len(np.unique(points, axis=0)) == len(points)
        for corner in np.eye(n):
            assert (points == corner).all(axis=1).any()


def test_calibration_turns_logits_into_what_they_mean() -> None:
    """Logits at three times their scale: the temperature is 3, and the error goes."""
    rng = np.random.default_rng(10)
    logits = rng.normal(size=(8000, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) > rng.random((8000, 1))).argmax(axis=1)
    ids = tuple(map(str, range(8000)))
    truth = {id: CLASSES[k] for id, k in zip(ids, labels, strict=True)}
    table = ScoreTable(ids, CLASSES, 3 * logits, "logit", "a", "s")
    fitted = fusion.calibrate("temperature", table, truth)
    assert fitted.temperature == pytest.approx(3, rel=0.05)
    made = fitted.apply(table)
    assert made.kind == "probability"
    assert fusion.table_error(table, truth) > 0.1
    assert fusion.table_error(made, truth) < 0.02
    softmaxed = ScoreTable(ids, CLASSES, _softmax(3 * logits), "probability", "a", "s")
    assert fusion.calibrate("temperature", softmaxed, truth).temperature == pytest.approx(
        fitted.temperature, rel=0.01
    )


def test_platt_agrees_with_scikit_learn() -> None:
    """One sigmoid per class, with Platt's targets: `sklearn.calibration`'s own."""
    from sklearn.calibration import _SigmoidCalibration

    given, truth, _ = tables((2.0,), 300, np.random.default_rng(11))
    fitted = fusion.calibrate("platt", given[0], truth)
    labels = scores.labels_of(given[0], truth)
    assert fitted.slopes is not None
    assert fitted.offsets is not None
    for k in range(4):
        values = given[0].scores[:, k].astype(float)
        theirs = _SigmoidCalibration().fit(values, (labels == k).astype(float))
        ours = 1 / (1 + np.exp(-(fitted.slopes[k] * values + fitted.offsets[k])))
        np.testing.assert_allclose(ours, theirs.predict(values), atol=2e-3)


def test_platt_stays_finite_where_classes_are_separable() -> None:
    ids = tuple("abcdefgh")
    truth = dict(zip(ids, "wwxxyyzz", strict=True))
    values = np.repeat(np.eye(4), 2, axis=0)
    table = ScoreTable(ids, CLASSES, values, "decision", "a", "s")
    made = fusion.calibrate("platt", table, truth).apply(table)
    assert made.scores.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    flat = ScoreTable(ids, CLASSES, np.zeros((8, 4)), "decision", "a", "s")
    even = fusion.calibrate("platt", flat, truth).apply(flat)
    np.testing.assert_allclose(even.scores, 0.25, atol=1e-6)


def test_calibration_error_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    labels = np.array([0, 1, 0, 0])
    bins = [abs(1 - 2 * 0.9 + 0), abs(1 - 0.6), abs(1 - 0.5)]
    assert fusion.calibration_error(p, labels) == pytest.approx(sum(bins) / 4)
    assert fusion.calibration_error(np.eye(2), np.array([0, 1])) == 0
    assert fusion.calibration_error(np.eye(2), np.array([1, 0])) == 1
    with pytest.raises(ValueError, match="same videos"):
        fusion.calibration_error(p, labels[:2])
    with pytest.raises(ValueError, match="temperature, platt, got 'isotonic'"):
        fusion.calibrate("isotonic", tables((1.0,), 5, np.random.default_rng(0))[0][0], {})


@pytest.mark.parametrize("calibration", ["temperature", "platt"])
def test_calibration_is_fitted_inside_the_folds(calibration: str) -> None:
    given, truth, groups = tables((2.0, 1.0), 200, np.random.default_rng(12))
    fixed = FusionRule("p", ("a", "b"), (0.5, 0.5), "product", "softmax")
    changed = {
        id: CLASSES[(CLASSES.index(name) + 1) % 4] if groups[id] == "g4" else name
        for id, name in truth.items()
    }
    before, after = (
        fusion.cross_fit(fixed, given, labels, groups, calibration=calibration, n_folds=30)
        for labels in (truth, changed)
    )
    own = [groups[id] == "g4" for id in before.ids]
    np.testing.assert_array_equal(before.scores[own], after.scores[own])
    assert not np.array_equal(before.scores, after.scores)
    assert before.kind == "probability"
    assert before.provenance["calibration"] == calibration


def test_columns_in_another_order_are_learned_and_applied_by_name() -> None:
    rng = np.random.default_rng(13)
    given, truth, _ = tables((2.0, 1.0), 300, rng)
    tested, _, _ = tables((2.0, 1.0), 50, rng, start=10_000)
    turned = [tested[0].aligned(tested[0].ids, CLASSES[::-1]), tested[1]]
    for kind in ("logistic", "svm"):
        learned = fusion.fit(rule(kind), given, truth, test=tested[0].ids, calibration="platt")
        one = learned.apply(tested)
        other = learned.apply(turned).aligned(one.ids, one.classes)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


def _softmax(values: np.ndarray) -> np.ndarray:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
