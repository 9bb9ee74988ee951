from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compare import fusion, metrics
from compare.fusion import FusionRule
from compare.scores import ScoreJoinError, ScoreTable

METHODS = ["idt-fv", "two-stream", "conv-fusion"]


def table(method: str, scores: object, ids: str = "abcd", **more: object) -> ScoreTable:
    values = np.array(scores, dtype=float)
    classes = tuple("xyz"[: values.shape[1]])
    settings = {"kind": "decision", "split": "s", "classes": classes, **more}
    return ScoreTable(ids=tuple(ids[: len(values)]), scores=values, method=method, **settings)  # type: ignore[arg-type]


def test_rules_are_read() -> None:
    rules = fusion.parse_rules("average, weighted:2/1/1,average:idt-fv+conv-fusion", METHODS)
    third = 1 / 3
    assert rules == [
        FusionRule("average", tuple(METHODS), (third, third, third)),
        FusionRule("weighted:2/1/1", tuple(METHODS), (0.5, 0.25, 0.25)),
        FusionRule("average:idt-fv+conv-fusion", ("idt-fv", "conv-fusion"), (0.5, 0.5)),
    ]
    assert fusion.parse_rules("", METHODS) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean", "must be one of average; .*weighted.*, got 'mean'"),
        ("Average", "must be one of"),
        ("average:", "must be one of"),
        ("average:idt-fv", "2 or more different methods, got 'idt-fv'"),
        ("average:idt-fv+idt-fv", "2 or more different methods"),
        ("average:idt-fv+lstm", r"methods of this run \(idt-fv, .*\), got 'lstm'"),
        ("average,average", "given once, got twice: average"),
        ("weighted", "one weight for each .*, got 0 for 3"),
        ("weighted:", "one weight for each .*, got 0 for 3"),
        ("weighted:0.5/0.5", "one weight for each .*, got 2 for 3"),
        ("weighted:1/1/x", "numbers separated by '/'"),
        ("weighted:1//1", "numbers separated by '/'"),
        ("weighted:1/-1/1", "0 or more, and not all 0"),
        ("weighted:0/0/0", "not all 0"),
        ("weighted:1/nan/1", "finite"),
        ("weighted:1/inf/1", "finite"),
    ],
)
def test_wrong_rules_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fusion.parse_rules(text, METHODS)


def test_one_method_cannot_be_fused() -> None:
    for text in ("average", "weighted:1"):
        with pytest.raises(ValueError, match="2 or more"):
            fusion.parse_rules(text, ["idt-fv"])


def test_unit_by_hand() -> None:
    rows = fusion.unit(np.array([[3.0, 0, 0], [0, 2, 1], [5, 5, 5]]), "decision")
    expected = [np.array([2, -1, -1]) / 6**0.5, np.array([-1, 1, 0]) / 2**0.5, np.zeros(3)]
    np.testing.assert_allclose(rows, expected, atol=1e-15)


def test_unit_of_equal_float32_scores_is_silent() -> None:
    rows = np.array([[0.1, 0.1, 0.1], [1e-30, 1e-30, 1e-30], [0, 0, 0]], np.float32)
    rows[0, 2] = np.nextafter(np.float32(0.1), np.float32(1))
    assert not fusion.unit(rows, "logit").any()


def test_logits_and_their_softmax_say_the_same() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        fusion.unit(logits, "logit"), fusion.unit(softmax, "probability"), atol=1e-12
    )
    assert np.isfinite(fusion.unit(np.array([[1.0, 0, 0]]), "probability")).all()


@given(
    values=hnp.arrays(float, (3, 4), elements=st.integers(-50, 50).map(float)),
    scale=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
)
def test_unit_hears_neither_scale_nor_shift(values: np.ndarray, scale: float, shift: float) -> None:
    once = fusion.unit(values, "logit")
    np.testing.assert_allclose(fusion.unit(scale * values + shift, "logit"), once, atol=1e-9)
    length = np.linalg.norm(once, axis=1)
    np.testing.assert_allclose(length, (np.ptp(values, axis=1) > 0).astype(float), atol=1e-9)


def test_fusing_by_hand() -> None:
    left = table("a", [[3, 0, 0], [0, 2, 1]])
    right = table("b", [[0, 20, 10], [30, 0, 0]])
    (rule,) = fusion.parse_rules("weighted:3/1", ["a", "b"])
    fused = fusion.fuse([left, right], rule)
    u, v = np.array([2, -1, -1]) / 6**0.5, np.array([-1, 1, 0]) / 2**0.5
    expected = [0.75 * u + 0.25 * v, 0.75 * v + 0.25 * u]
    np.testing.assert_allclose(fused.scores, expected, atol=1e-7)
    assert (fused.method, fused.kind, fused.split) == ("weighted:3/1", "decision", "s")
    assert fused.provenance["weights"] == {"a": 0.75, "b": 0.25}


def test_a_weight_of_zero_takes_a_method_out() -> None:
    rng = np.random.default_rng(1)
    left, right = table("a", rng.normal(size=(4, 3))), table("b", rng.normal(size=(4, 3)))
    fused = fusion.fuse([left, right], FusionRule("r", ("a", "b"), (1.0, 0.0)))
    assert (fused.scores.argmax(axis=1) == left.scores.argmax(axis=1)).all()


@given(rows=st.permutations(range(6)), columns=st.permutations(range(3)), seed=st.integers(0, 99))
def test_order_of_rows_and_columns_changes_nothing(
    rows: list[int], columns: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ids, classes = tuple("abcdef"), ("x", "y", "z")
    left = ScoreTable(ids, classes, rng.normal(size=(6, 3)), "decision", "a", "s")
    right = ScoreTable(ids, classes, rng.normal(size=(6, 3)), "logit", "b", "s")
    moved = right.aligned([ids[k] for k in rows], [classes[k] for k in columns])
    rule = FusionRule("average", ("a", "b"), (0.5, 0.5))
    expected = fusion.fuse([left, right], rule)
    for tables in ([left, moved], [moved, left]):
        fused = fusion.fuse(tables, rule)
        assert fused.ids == ids
        np.testing.assert_array_equal(fused.scores, expected.scores)


def test_the_trap_of_row_order_inside_classes() -> None:
    """Rows shuffled inside classes leave each accuracy as it is and lift a fusion by position."""
    rng = np.random.default_rng(5)
    n_classes, n_each = 4, 60
    truth = np.repeat(np.arange(n_classes), n_each)
    difficulty = rng.normal(size=(len(truth), n_classes))  # what both methods find hard
    own = np.eye(n_classes)[truth]
    ids = tuple(f"v{k:03d}" for k in range(len(truth)))
    names = tuple("wxyz")
    label_of = {id: names[k] for id, k in zip(ids, truth, strict=True)}
    rows = [1.3 * own + difficulty + 0.3 * rng.normal(size=own.shape) for _ in range(2)]
    left = ScoreTable(ids, names, rows[0], "decision", "a", "s")
    within = np.concatenate([rng.permutation(n_each) + n_each * k for k in range(n_classes)])
    right = ScoreTable(tuple(ids[k] for k in within), names, rows[1][within], "logit", "b", "s")
    by_position = (fusion.unit(left.scores, "logit") + fusion.unit(right.scores, "logit")).argmax(1)
    rule = FusionRule("average", ("a", "b"), (0.5, 0.5))
    by_id = metrics.evaluate([fusion.fuse([left, right], rule)], label_of)
    in_order = ScoreTable(ids, names, rows[1], "logit", "b", "s")
    honest = metrics.evaluate([fusion.fuse([left, in_order], rule)], label_of)
    assert metrics.evaluate([right], label_of).accuracy == pytest.approx(
        float(np.mean(rows[1][within].argmax(1) == truth))  # the files look sound one by one
    )
    assert by_id.accuracy == honest.accuracy
    assert float(np.mean(by_position == truth)) > honest.accuracy + 0.1


def test_swapped_class_columns_are_put_right() -> None:
    left = table("a", [[3, 0, 0], [0, 3, 0]])
    right = table("b", [[0, 3, 0], [3, 0, 0]], classes=("y", "x", "z"))
    fused = fusion.fuse([left, right], FusionRule("r", ("a", "b"), (0.5, 0.5)))
    np.testing.assert_allclose(fused.scores, fusion.unit(left.scores, "logit"), atol=1e-7)


def test_tables_that_do_not_belong_together() -> None:
    rule = FusionRule("r", ("a", "b"), (0.5, 0.5))
    left = table("a", np.eye(3))
    with pytest.raises(ScoreJoinError, match="same videos"):
        fusion.fuse([left, table("b", np.eye(3), ids="abd")], rule)
    with pytest.raises(ValueError, match="got none for b"):
        fusion.fuse([left], rule)
    with pytest.raises(ValueError, match="got 'a' twice"):
        fusion.fuse([left, left], rule)
    with pytest.raises(ValueError, match="of one split, got 'a' of 's', 'b' of 't'"):
        fusion.fuse([left, table("b", np.eye(3), split="t")], rule)


LOGITS = np.log([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("none", [[3, -1, 0], [0, 0, 0]]),
        ("l2", [[3 / 10**0.5, -1 / 10**0.5, 0], [0, 0, 0]]),
        ("l1", [[1, 0, 0], [0, 0, 0]]),
        ("rank", [[1, 0, 0.5], [0.5, 0.5, 0.5]]),
        ("zscore", [[7 / 26**0.5, -5 / 26**0.5, -2 / 26**0.5], [0, 0, 0]]),
    ],
)
def test_scales_by_hand(name: str, rows: list[list[float]]) -> None:
    made = fusion.normalised(np.array([[3.0, -1, 0], [0, 0, 0]]), "logit", name)
    np.testing.assert_allclose(made, rows, atol=1e-12)


def test_softmax_leaves_probabilities_alone() -> None:
    p = np.exp(LOGITS)
    np.testing.assert_allclose(fusion.normalised(LOGITS + 5, "logit", "softmax"), p)
    np.testing.assert_array_equal(fusion.normalised(p, "probability", "softmax"), p)
    with pytest.raises(ValueError, match=r"one of none, softmax, .*, got 'minmax'"):
        fusion.normalised(p, "probability", "minmax")


@given(
    values=hnp.arrays(float, (3, 4), elements=st.integers(-9, 9).map(float)),
    name=st.sampled_from(sorted(fusion.NORMALISATIONS)),
)
def test_scales_look_at_one_video_at_a_time(values: np.ndarray, name: str) -> None:
    at_once = fusion.normalised(values, "logit", name)
    assert np.isfinite(at_once).all()
    for row, alone in zip(values, at_once, strict=True):
        np.testing.assert_allclose(fusion.normalised(row[None], "logit", name)[0], alone)


def test_terms_scales_and_names_are_read() -> None:
    rules = fusion.parse_rules(
        "net=weighted@none:2*a+b,all=weighted@l2:0.75*net+0.25*c,product:1/1/2,borda,max:a+c,"
        "logistic@softmax",
        ["a", "b", "c"],
        learned=True,
    )
    third = 1 / 3
    assert rules == [
        FusionRule("net", ("a", "b"), (2 / 3, third), "weighted", "none"),
        FusionRule("all", ("net", "c"), (0.75, 0.25), "weighted", "l2"),
        FusionRule("product:1/1/2", ("a", "b", "c"), (0.25, 0.25, 0.5), "product", "softmax"),
        FusionRule("borda", ("a", "b", "c"), (third, third, third), "weighted", "rank"),
        FusionRule("max:a+c", ("a", "c"), (0.5, 0.5), "max", "softmax"),
        FusionRule("logistic@softmax", ("a", "b", "c"), (third,) * 3, "logistic", "softmax"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("average@minmax", "scale of 'average@minmax' must be one of none, softmax"),
        ("product@l2", "scale of 'product@l2' must be one of softmax, got 'l2'"),
        ("max:2*a+b", "must have no weights, got"),
        ("grid:2*a+b", "must have no weights, got"),
        ("weighted:2*a+x*b", "must give numbers"),
        ("weighted:2*a+d", r"name methods of this run \(a, b\), got 'd'"),
        ("b=average", "must have names of their own, got b"),
        ("late=average:a+early,early=average", "got 'early'"),
        ("logistic", "learns from scores of training videos"),
    ],
)
def test_wrong_terms_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fusion.parse_rules(text, ["a", "b"], learned="grid" in text)


def test_rules_by_hand() -> None:
    left = table("a", LOGITS, kind="logit")
    right = table("b", [[0.5, 0.5, 0], [0.1, 0.1, 0.8]], kind="probability")
    p = np.exp(LOGITS)

    def fused(text: str) -> ScoreTable:
        (rule,) = fusion.parse_rules(text, ["a", "b"])
        return fusion.fuse([left, right], rule)

    np.testing.assert_allclose(fused("max").scores, np.maximum(p, right.scores), rtol=1e-6)
    product = np.sqrt(p * np.maximum(right.scores, 1e-7))
    product /= product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fused("product").scores, product, rtol=1e-5)
    assert fused("product").kind == "probability"
    np.testing.assert_allclose(
        fused("borda").scores, [[0.875, 0.625, 0], [0.125, 0.625, 0.75]], atol=1e-7
    )
    weights = np.array([[[0.55], [0.25]], [[0.25], [0.7]]])  # (3 max - 1) / 2 of a, of b
    expected = (weights * np.stack([p, right.scores])).sum(axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(fused("sci").scores, expected, rtol=1e-6)
    raw = fused("weighted@none:3*a+1*b").scores
    np.testing.assert_allclose(raw, 0.75 * LOGITS + 0.25 * right.scores, rtol=1e-6)


def test_sci_of_extremes() -> None:
    p = np.array([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(fusion.sci(p), [1, 0, 1 / 3])
    np.testing.assert_allclose(fusion.sci_mean(p[[0, 1]]), p[0])
    np.testing.assert_allclose(fusion.sci_mean(p[[1, 1]]), p[1])
    with pytest.raises(ValueError, match="2 or more classes, got 1"):
        fusion.sci(p[:, :1])


def test_all_equal_scores_and_one_class() -> None:
    flat = table("a", np.zeros((2, 3)), kind="logit")
    sharp = table("b", [[3, 0, 1], [0, 3, 1]], kind="logit")
    for text in ("average", "weighted@l2:1/1", "product", "borda", "sci", "average@l1"):
        (rule,) = fusion.parse_rules(text, ["a", "b"])
        assert fusion.fuse([flat, sharp], rule).scores.argmax(axis=1).tolist() == [0, 1]
    one = [table(name, np.ones((2, 1))) for name in "ab"]
    for text in ("average", "borda", "max"):
        (rule,) = fusion.parse_rules(text, ["a", "b"])
        assert np.isfinite(fusion.fuse(one, rule).scores).all()


def test_a_rule_that_learns_is_not_fused_unfitted() -> None:
    (rule,) = fusion.parse_rules("grid", ["a", "b"], learned=True)
    with pytest.raises(ValueError, match="must be fitted before it is used"):
        fusion.fuse([table("a", np.eye(3)), table("b", np.eye(3))], rule)


def test_a_tolerant_join_is_told() -> None:
    left, right = table("a", np.eye(2), classes=("x", "y")), table("b", np.eye(2), ids="ABCD")
    rule = FusionRule("r", ("a", "b"), (0.5, 0.5))
    right = ScoreTable(right.ids, ("X", "y"), right.scores, "decision", "b", "s")
    with pytest.raises(ScoreJoinError, match=r"they agree but for case .*--tolerant case"):
        fusion.fuse([left, right], rule)
    fused = fusion.fuse([left, right], rule, tolerant=["case"])
    assert (fused.ids, fused.classes) == (left.ids, left.classes)
    assert fused.provenance["matched"]["b"] == {
        "videos": {"tolerant": ["case"], "renamed": 2, "first": [["A", "a"], ["B", "b"]]},
        "classes": {"tolerant": ["case"], "renamed": 1, "first": [["X", "x"]]},
    }
