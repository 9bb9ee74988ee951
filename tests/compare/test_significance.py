from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from compare import metrics, significance
from compare.scores import ScoreTable
from compare.significance import Outcomes, paired


def by_enumeration(difference: np.ndarray, units: Sequence[str], weights: np.ndarray) -> float:
    """Share of all 2**n patterns of signs of the units that reach as far."""
    names = sorted(set(units))
    sums = [
        sum(d * w for d, u, w in zip(difference, units, weights, strict=True) if u == name)
        for name in names
    ]
    found = abs(sum(sums))
    reached = [
        abs(sum(sign * value for sign, value in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    return float(np.mean(np.array(reached) >= found - 1e-9))


def outcomes(right: Sequence[Sequence[int]], splits: Sequence[str], ids: Sequence[str]) -> Outcomes:
    """Outcomes of one method; classes alternate."""
    truth = tuple("xy"[k % 2] for k in range(len(ids)))
    wrong = {"x": "y", "y": "x"}
    said = tuple(
        tuple(t if r else wrong[t] for t, r in zip(truth, row, strict=True)) for row in right
    )
    rows = tuple(zip(splits, ids, strict=True))
    return Outcomes(rows, truth, said, np.array(right, dtype=bool))


@given(
    st.lists(
        st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from("abcdefg")), min_size=1, max_size=25
    ),
    st.sampled_from(["same", "two splits", "odd"]),
)
def test_sign_flip_against_enumeration(drawn: list[tuple[int, str]], weighting: str) -> None:
    difference = np.array([d for d, _ in drawn])
    units = [u for _, u in drawn]
    n = len(drawn)
    weights = {
        "same": np.ones(n),
        "two splits": np.where(np.arange(n) % 2, 1.0, 0.5),
        "odd": 1 + np.sqrt(np.arange(1, n + 1)),
    }[weighting]
    found = significance.sign_flip(difference, units, weights=weights)
    assert found.p == pytest.approx(by_enumeration(difference, units, weights))
    assert "exact" in found.method or found.p == 1


def test_sign_flip_by_hand() -> None:
    """Groups differ by +2, +1, -1: of 8 patterns those with |sum| >= 2 are 6."""
    found = significance.sign_flip(np.array([1, 1, 1, -1, 0]), [*"aabcd"])
    assert found.p == 6 / 8
    assert found.method == "exact sign-flip by group, 3 of 4 differ"
    assert significance.sign_flip(np.zeros(4), [*"abcd"]).p == 1


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_and_the_sign_flip_by_video(fixed: int, broken: int) -> None:
    found = significance.mcnemar(fixed, broken)
    if fixed + broken:
        assert found.p == pytest.approx(stats.binomtest(fixed, fixed + broken, 0.5).pvalue)
    difference = np.repeat([1, -1, 0], [fixed, broken, 5])
    flipped = significance.sign_flip(difference, [str(k) for k in range(len(difference))])
    assert found.p == pytest.approx(flipped.p, abs=1e-12)


def test_mcnemar_by_hand() -> None:
    assert significance.mcnemar(5, 1).p == pytest.approx(2 * (1 + 6) / 2**6)
    assert significance.mcnemar(0, 0).p == 1
    with pytest.raises(ValueError, match="0 or more, got -1"):
        significance.mcnemar(-1, 2)


def test_drawn_patterns_come_near_the_exact_value() -> None:
    rng = np.random.default_rng(1)
    sums = rng.integers(-2, 4, size=40)
    exact = paired._convolved(sums)
    assert paired._drawn(sums.astype(float), 0, 100_000) == pytest.approx(exact, abs=0.005)
    assert paired._drawn(np.full(60, 1.0), 0, 999) == 1 / 1000  # never 0
    weights = 1 + rng.uniform(size=400)
    difference = rng.integers(-1, 2, size=400)
    units = [str(k // 4) for k in range(400)]
    found = significance.sign_flip(difference, units, weights=weights, seed=3)
    assert "100,000 drawn" in found.method
    assert found == significance.sign_flip(difference, units, weights=weights, seed=3)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(significance.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(significance.holm([0.6, 0.02, 0.5]), [1, 0.06, 1])
    assert significance.holm([]).size == 0
    with pytest.raises(ValueError, match=r"0\.\.1"):
        significance.holm([0.5, 1.2])


@pytest.mark.parametrize(
    ("difference", "units", "message"),
    [([], [], "1 or more"), ([1], ["a", "b"], "same videos"), ([2], ["a"], r"-1\.\.1")],
)
def test_malformed_sign_flip(difference: list[int], units: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        significance.sign_flip(np.array(difference), units)


def test_by_group_keeps_the_error_rate_that_by_video_exceeds() -> None:
    """Two methods of the same accuracy, each right or wrong on whole groups."""
    rng = np.random.default_rng(11)
    units = [str(k // 8) for k in range(320)]
    by_group = by_video = 0
    for _ in range(400):
        a, b = (np.repeat(rng.uniform(size=40) < 0.8, 8) for _ in range(2))
        difference = b.astype(int) - a
        by_group += significance.sign_flip(difference, units).p < 0.05
        by_video += significance.mcnemar(int(np.sum(b & ~a)), int(np.sum(a & ~b))).p < 0.05
    assert by_group / 400 <= 0.08
    assert by_video / 400 > 0.25


def test_compare_by_hand() -> None:
    ids = [*"abcdefgh"]
    groups = dict(zip(ids, [*"pppqqrrs"], strict=True))
    methods = {
        "one": outcomes([[1, 0, 0, 1, 0, 0, 0, 1]], ["s"] * 8, ids),
        "two": outcomes([[1, 1, 1, 0, 1, 1, 1, 1]], ["s"] * 8, ids),
        "same": outcomes([[1, 0, 0, 1, 0, 0, 0, 1]], ["s"] * 8, ids),
    }
    pairs = [("one", "two"), ("one", "same")]
    found, same = significance.compare(methods, pairs, groups=groups)
    assert found.difference == pytest.approx(4 / 8)
    # groups differ by +2, 0, +2, 0
    assert found.test.p == 0.5
    assert found.test.method == "exact sign-flip by group, 2 of 4 differ"
    assert found.adjusted == 1  # two tests, .5 each
    assert found.by_video == significance.mcnemar(5, 1)
    assert found.classes == ("x", "y")
    assert found.fixed.tolist() == [3, 2]  # c e g, b f
    assert found.broken.tolist() == [0, 1]  # d
    assert found.complementarity.oracle == 1
    assert (same.difference, same.test.p) == (0, 1)
    ungrouped, _ = significance.compare(methods, pairs)
    assert ungrouped.test.p == pytest.approx(significance.mcnemar(5, 1).p)
    assert "by video" in ungrouped.test.method


def test_splits_are_joined_by_video() -> None:
    """A video that three splits test is one source: thrice the rows, the same p."""
    rng = np.random.default_rng(2)
    first, second = (rng.uniform(size=(1, 30)) < p for p in (0.5, 0.8))
    ids = [f"v{k:02}" for k in range(30)]
    once = {
        "a": outcomes(first.tolist(), ["1"] * 30, ids),
        "b": outcomes(second.tolist(), ["1"] * 30, ids),
    }
    splits = np.repeat(["1", "2", "3"], 30).tolist()
    thrice = {
        "a": outcomes(np.tile(first, 3).tolist(), splits, ids * 3),
        "b": outcomes(np.tile(second, 3).tolist(), splits, ids * 3),
    }
    (alone,), (joined,) = (significance.compare(m, [("a", "b")]) for m in (once, thrice))
    assert joined.test.p == pytest.approx(alone.test.p)
    assert joined.by_video.p == pytest.approx(alone.by_video.p)
    assert joined.by_video.method.startswith("exact sign-flip by video")
    assert alone.by_video.method.startswith("exact McNemar")
    assert joined.interval.low == pytest.approx(alone.interval.low, abs=0.02)


def test_splits_of_unlike_size_count_the_same() -> None:
    ids = [*"abcdef"]
    splits = ["1", "1", "2", "2", "2", "2"]
    methods = {
        "a": outcomes([[0, 0, 1, 1, 0, 0]], splits, ids),
        "b": outcomes([[1, 1, 1, 1, 0, 1]], splits, ids),
    }
    (found,) = significance.compare(methods, [("a", "b")])
    assert found.difference == pytest.approx((2 / 2 + 1 / 4) / 2)
    standing = significance.standing("b", methods["b"])
    assert standing.accuracy == pytest.approx((1 + 3 / 4) / 2)
    assert standing.interval.low < standing.accuracy < standing.interval.high


def test_seeds_are_a_source_of_variance() -> None:
    """Methods that differ by less than their seeds do: each pair of seeds 'proves' it."""
    ids = [f"v{k:03}" for k in range(200)]
    shares = {"a": (0.60, 0.70, 0.80), "b": (0.65, 0.75, 0.85)}
    methods = {
        name: outcomes(
            [[int(k < share * 200) for k in range(200)] for share in of], ["s"] * 200, ids
        )
        for name, of in shares.items()
    }
    (found,) = significance.compare(methods, [("a", "b")])
    assert found.difference == pytest.approx(0.05)
    assert found.test.p > 0.3
    assert "3 and 3 seeds" in found.test.method
    assert found.interval.low < -0.03
    assert found.by_video.p < 0.01
    single = {name: outcomes(m.right[:1].tolist(), ["s"] * 200, ids) for name, m in methods.items()}
    (naive,) = significance.compare(single, [("a", "b")])
    assert naive.test.p < 0.01
    assert significance.standing("a", methods["a"]).n_seeds == 3


def test_a_gain_stands_beside_its_control() -> None:
    rng = np.random.default_rng(4)
    ids = [f"v{k:03}" for k in range(300)]
    methods = {
        name: outcomes((rng.uniform(size=(1, 300)) < p).tolist(), ["s"] * 300, ids)
        for name, p in (("net", 0.6), ("net+idt", 0.9), ("net+net", 0.65))
    }
    with_control, without = significance.gains(
        methods, [("net", "net+idt", "net+net"), ("net", "net+idt", None)]
    )
    assert with_control.control is not None
    assert with_control.over_control is not None
    assert (with_control.over_control.first, with_control.over_control.second) == (
        "net+net",
        "net+idt",
    )
    assert with_control.fused.difference == pytest.approx(
        with_control.control.difference + with_control.over_control.difference
    )
    assert without.control is without.over_control is None
    family = [
        with_control.fused.test.p,
        with_control.control.test.p,
        with_control.over_control.test.p,
        without.fused.test.p,
    ]
    assert with_control.control.adjusted == pytest.approx(significance.holm(family)[1])


def test_what_does_not_belong_together_is_named() -> None:
    a = outcomes([[1, 0, 1]], ["s"] * 3, [*"pqr"])
    b = outcomes([[1, 0, 1]], ["s", "s", "t"], [*"pqr"])
    with pytest.raises(ValueError, match=r"2 that are not in both: 'r \(s\)', 'r \(t\)'"):
        significance.compare({"a": a, "b": b}, [("a", "b")])
    with pytest.raises(ValueError, match="among 'a', got 'c'"):
        significance.compare({"a": a}, [("a", "c")])
    with pytest.raises(ValueError, match="two methods, got 'a' twice"):
        significance.compare({"a": a}, [("a", "a")])
    with pytest.raises(ValueError, match="a group, got none for 1: 'r'"):
        significance.compare({"a": a, "b": a}, [("a", "b")], groups={"p": "g", "q": "h"})
    with pytest.raises(ValueError, match="2 or more groups, got only 'g'"):
        significance.standing("a", a, groups=dict.fromkeys("pqr", "g"))
    with pytest.raises(ValueError, match="one per seed, got none"):
        significance.outcomes([])


def test_outcomes_come_from_evaluations() -> None:
    truth = {"a": "x", "b": "y", "c": "x"}
    evaluations = []
    for said in ("xyy", "xxx"):
        values = np.array([[name == c for c in "xy"] for name in said], dtype=float)
        table = ScoreTable(("a", "b", "c"), ("x", "y"), values, "logit", "m", "s")
        evaluations.append(metrics.evaluate([table], truth))
    found = significance.outcomes(evaluations)
    assert found.rows == (("s", "a"), ("s", "b"), ("s", "c"))
    assert found.right.tolist() == [[True, True, False], [True, False, True]]
    np.testing.assert_allclose(found.mean, [1, 0.5, 0.5])
    assert found.predicted[1] == ("x", "x", "x")
    other = ScoreTable(("a",), ("x", "y"), np.array([[1.0, 0]]), "logit", "m", "s")
    with pytest.raises(ValueError, match="seeds must be tested on the same videos"):
        significance.outcomes([evaluations[0], metrics.evaluate([other], truth)])


def test_above_chance_by_hand() -> None:
    """Two groups of two classes each and one of a single class; all six orders of the labels."""
    truth = ("x", "y", "x", "y", "y", "z")
    said = ("x", "y", "x", "y", "x", "z")
    right = np.array([[t == p for t, p in zip(truth, said, strict=True)]])
    rows = tuple(("split", id) for id in ("a1", "a2", "b1", "b2", "b3", "c1"))
    groups = {id: id[0] for _, id in rows}
    chance = significance.above_chance(Outcomes(rows, truth, (said,), right), groups=groups)
    # group a: 1 right on average; b: its x is said of the first and of the third, its two y of one
    expected = 1 + (2 * 1 / 3 + 1 * 2 / 3) + 1
    assert chance.accuracy == pytest.approx(expected / 6)
    # as many right in half of a's orders, times those of b with x in front or behind
    assert chance.test.p == pytest.approx(1 / 2 * 2 / 3, abs=0.02)
    assert "within groups" in chance.test.method


def test_a_method_that_knows_the_footage_alone_is_at_chance() -> None:
    """Every clip is taken for its footage's commonest class, which is right two times of three."""
    ids = [f"{group}{k}" for group in "abcdefgh" for k in range(3)]
    truth = tuple(id[0] if id[1] != "0" else "other" for id in ids)
    said = tuple(id[0] for id in ids)
    rows = tuple(("split", id) for id in ids)
    found = Outcomes(
        rows, truth, (said,), np.array([[t == p for t, p in zip(truth, said, strict=True)]])
    )
    groups = {id: id[0] for id in ids}
    chance = significance.above_chance(found, groups=groups)
    assert chance.accuracy == pytest.approx(2 / 3)
    assert chance.test.p == 1
    assert significance.above_chance(found).test.p < 0.001  # without groups it seems to know


def test_chance_holds_its_level_and_takes_seeds_and_splits() -> None:
    rng = np.random.default_rng(3)
    rows = tuple((f"split{k % 2}", f"{k // 10}-{k}") for k in range(40))
    groups = {id: id.split("-")[0] for _, id in rows}
    found_p = []
    for seed in range(200):
        truth = tuple(rng.choice(["x", "y", "z"], 40))
        said = tuple(tuple(rng.choice(["x", "y", "z", "never seen"], 40)) for _ in range(2))
        right = np.array([[t == p for t, p in zip(truth, each, strict=True)] for each in said])
        found = Outcomes(rows, truth, said, right)
        found_p.append(
            significance.above_chance(found, groups=groups, seed=seed, n_draws=199).test.p
        )
    assert 0.01 <= np.mean(np.array(found_p) <= 0.05) <= 0.1


def test_above_chance_wants_a_group_for_every_video() -> None:
    found = outcomes([[1, 0]], ["s", "s"], ["a", "b"])
    with pytest.raises(ValueError, match="every video must have a group, got none for 1: 'b'"):
        significance.above_chance(found, groups={"a": "g"})
    with pytest.raises(ValueError, match="n_draws must be 1 or more, got 0"):
        significance.above_chance(found, n_draws=0)
