from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from compare import intervals


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
    interval = intervals.wilson(n_right, n_tested)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)
    z = 1.959963984540054
    for bound in (interval.low, interval.high):  # where the score test just rejects
        if 0 < bound < 1 - 1e-12:
            distance = abs(n_right / n_tested - bound)
            assert distance == pytest.approx(z * (bound * (1 - bound) / n_tested) ** 0.5)


@pytest.mark.parametrize(("n_right", "n_tested"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_of_impossible_counts(n_right: int, n_tested: int) -> None:
    with pytest.raises(ValueError, match="n_right <= n_tested"):
        intervals.wilson(n_right, n_tested)


def test_group_bootstrap_against_all_draws() -> None:
    """Three groups can be drawn in 27 ways: the quantiles come from their exact distribution."""
    right = np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)
    groups = ["a", "a", "b", "b", "b", "c", "c"]
    members = {name: right[[g == name for g in groups]] for name in "abc"}
    exact = sorted(
        float(np.mean(np.concatenate([members[name] for name in drawn])))
        for drawn in itertools.product("abc", repeat=3)
    )
    interval = intervals.group_bootstrap(right, groups, n_draws=50_000, confidence=0.8)
    assert interval.low == pytest.approx(np.quantile(exact, 0.1, method="inverted_cdf"))
    assert interval.high == pytest.approx(np.quantile(exact, 0.9, method="inverted_cdf"))


def test_group_bootstrap_is_seeded_and_wider_than_by_video_where_groups_agree() -> None:
    right = np.repeat(np.random.default_rng(0).uniform(size=30) < 0.7, 10)
    groups = [f"g{k // 10}" for k in range(300)]
    once = intervals.group_bootstrap(right, groups, seed=1)
    assert once == intervals.group_bootstrap(right, groups, seed=1)
    few = [intervals.group_bootstrap(right, groups, seed=seed, n_draws=5) for seed in range(4)]
    assert len({interval.low for interval in few}) > 1
    by_video = intervals.wilson(int(right.sum()), 300)
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
        intervals.group_bootstrap(np.array([1, 0, 1], dtype=bool), groups, **more)  # type: ignore[arg-type]


def test_accuracy_interval_by_hand() -> None:
    """Four groups of two, shares 1, 1, .5, 0: mean .625, its variance the groups' over 4."""
    right = np.array([1, 1, 1, 1, 1, 0, 0, 0], dtype=bool)
    groups = [*"aabbccdd"]
    found = intervals.accuracy_interval(right, groups)
    variance = np.var([1, 1, 0.5, 0], ddof=1) / 4
    n = 0.625 * 0.375 / variance
    trials = n * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 3)) ** 2
    jeffreys = stats.beta(0.625 * trials + 0.5, 0.375 * trials + 0.5)
    assert (found.low, found.high) == pytest.approx((jeffreys.ppf(0.025), jeffreys.ppf(0.975)))
    assert found.method == (
        f"Jeffreys at effective n = {n:.1f}, by group (4, 3 degrees of freedom)"
    )


def test_units_of_one_video_give_nearly_the_interval_by_video() -> None:
    right = np.arange(500) % 5 > 0
    found = intervals.accuracy_interval(right, [str(k) for k in range(500)], unit="video")
    by_video = intervals.wilson(400, 500)
    assert (found.low, found.high) == pytest.approx((by_video.low, by_video.high), abs=1e-3)
    assert "by video (500, 499 degrees" in found.method


def test_a_video_tested_three_times_counts_once() -> None:
    right = np.arange(60) % 3 > 0
    once = intervals.accuracy_interval(right, [str(k) for k in range(60)])
    thrice = intervals.accuracy_interval(np.tile(right, 3), [str(k) for k in range(60)] * 3)
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))


def test_weights_make_it_the_mean_over_splits() -> None:
    """A split of 4 and one of 8: its interval is that of the groups' weighted sums."""
    rng = np.random.default_rng(0)
    right = rng.uniform(size=12) < 0.6
    groups = [*"aabb", *"ccddeeff"]
    weights = np.repeat([1 / 8, 1 / 16], [4, 8])
    found = intervals.accuracy_interval(right, groups, weights=weights)
    share = (right[:4].mean() + right[4:].mean()) / 2
    assert found.low < share < found.high
    copies = intervals.accuracy_interval(
        np.concatenate([right[:4], right]), [*"aabb", *groups]
    )  # the small split twice: the same weights in another way
    assert (found.low, found.high) == pytest.approx((copies.low, copies.high), abs=0.02)


@pytest.mark.parametrize("share", [0, 1])
def test_all_alike_is_as_if_a_group_were_one_video(share: int) -> None:
    found = intervals.accuracy_interval(np.full(40, bool(share)), [str(k // 4) for k in range(40)])
    trials = 10 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 9)) ** 2
    width = 1 - stats.beta.ppf(0.025, trials + 0.5, 0.5)
    assert found.high - found.low == pytest.approx(width)
    assert (found.high if share else found.low) == share
    uneven = np.repeat([1 / (3 * 7), 1 / (3 * 14), 1 / (3 * 19)], [7, 14, 19])  # no sum of 1.0
    split = intervals.accuracy_interval(
        np.full(40, bool(share)), [str(k // 4) for k in range(40)], weights=uneven
    )
    assert (split.high if share else split.low) == share
    assert split.high - split.low > width


def test_difference_interval_by_hand() -> None:
    """Three groups of two; second less first is +1, 0, +1 videos."""
    first = np.array([0, 1, 1, 0, 0, 0], dtype=bool)
    second = np.array([1, 1, 0, 1, 1, 0], dtype=bool)
    found = intervals.difference_interval(first, second, [*"aabbcc"])
    sums = np.array([1, 0, 1]) / 6
    residual = sums - sums.sum() / 3
    variance = 3 / 2 * np.sum(residual**2) + 1 / 7**2
    half = stats.t.ppf(0.975, 2) * variance**0.5
    assert (found.low, found.high) == pytest.approx((max(-1, 1 / 3 - half), min(1, 1 / 3 + half)))
    assert found.method == "paired t, by group (3, 2 degrees of freedom)"
    back = intervals.difference_interval(second, first, [*"aabbcc"])
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_no_change_still_has_a_width() -> None:
    right = np.arange(120) % 4 > 0
    found = intervals.difference_interval(right, right, [str(k // 6) for k in range(120)])
    assert found.high == -found.low == pytest.approx(stats.t.ppf(0.975, 19) / 121)


def test_seeds_widen_by_what_they_vary_and_by_no_more() -> None:
    rng = np.random.default_rng(3)
    groups = [str(k // 4) for k in range(400)]
    right = rng.uniform(size=400) < 0.7
    alone = intervals.accuracy_interval(right, groups)
    copies = intervals.accuracy_interval(np.stack([right] * 4), groups)
    assert (copies.low, copies.high) == pytest.approx((alone.low, alone.high))
    assert "100 and 4 seeds" in copies.method
    # Groups that are all alike, seeds that are not: by hand, the variance of the seeds' mean.
    of_seed = np.array([0.4, 0.6, 0.8, 0.8])
    varied = np.tile(np.arange(5) / 5 < of_seed[:, None], 80)
    wide = intervals.accuracy_interval(varied, [str(k // 5) for k in range(400)])
    n = 0.65 * 0.35 / (of_seed.var(ddof=1) / 4)
    trials = n * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 3)) ** 2
    jeffreys = stats.beta(0.65 * trials + 0.5, 0.35 * trials + 0.5)
    assert (wide.low, wide.high) == pytest.approx((jeffreys.ppf(0.025), jeffreys.ppf(0.975)))
    first = rng.uniform(size=(3, 400)) < 0.7
    both = intervals.difference_interval(first, varied, groups)
    single = intervals.difference_interval(first, varied.mean(axis=0), groups)
    assert both.high - both.low > single.high - single.low


def test_variance_over_seeds_is_right_on_average() -> None:
    """Groups, seeds and their crossing each vary; the estimate's mean is the true variance."""
    rng = np.random.default_rng(5)
    n_seeds, n_groups, draws = 4, 30, 600
    estimates, means = [], []
    for _ in range(draws):
        value = (
            0.5
            + 0.10 * rng.uniform(-1, 1, size=(1, n_groups))
            + 0.05 * rng.uniform(-1, 1, size=(n_seeds, 1))
            + 0.20 * rng.uniform(-1, 1, size=(n_seeds, n_groups))
        )
        weight = np.full(n_groups, 1 / n_groups)
        estimates.append(intervals._total(intervals._parts(value * weight, weight))[0])
        means.append(value.mean())
    true = (0.1**2 / n_groups + 0.05**2 / n_seeds + 0.2**2 / n_groups / n_seeds) / 3
    assert np.var(means) == pytest.approx(true, rel=0.2)
    assert np.mean(estimates) == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize(("n_groups", "n_videos"), [(20, 6), (700, 5)])
@pytest.mark.parametrize("accuracy", [0.7, 0.9])
def test_the_default_covers(n_groups: int, n_videos: int, accuracy: float) -> None:
    """Intra-group correlation .1; scripts/simulate_coverage.py does more of the same."""
    rng = np.random.default_rng([n_groups, round(100 * accuracy)])
    spread = 9.0  # of the beta distribution: 1 / correlation - 1
    groups = np.repeat(np.arange(n_groups), n_videos).astype(np.str_)
    n = 1500
    covered = by_video = 0
    for _ in range(n):
        own = rng.beta(accuracy * spread, (1 - accuracy) * spread, size=n_groups)
        right = (rng.uniform(size=(n_groups, n_videos)) < own[:, None]).ravel()
        found = intervals.accuracy_interval(right, groups)  # type: ignore[arg-type]
        covered += found.low <= accuracy <= found.high
        naive = intervals.wilson(int(right.sum()), right.size)
        by_video += naive.low <= accuracy <= naive.high
    assert 0.935 <= covered / n <= 0.965
    assert by_video / n < 0.925


def test_draws_share_groups_between_columns_and_blocks_do_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    right = rng.uniform(size=(300, 2)) < 0.7
    groups = [str(k // 6) for k in range(300)]
    both = intervals.bootstrap_draws(right, groups, seed=4, n_draws=200)
    one = intervals.bootstrap_draws(right[:, 1:], groups, seed=4, n_draws=200)
    np.testing.assert_allclose(both[:, 1:], one)
    same = intervals.bootstrap_draws(right[:, [0, 0]], groups, n_draws=50)
    np.testing.assert_array_equal(same[:, 0], same[:, 1])
    monkeypatch.setattr(intervals, "BLOCK", 170)  # three draws a block
    np.testing.assert_allclose(intervals.bootstrap_draws(right, groups, seed=4, n_draws=200), both)


def test_the_bootstrap_agrees_with_the_default_where_groups_are_many() -> None:
    rng = np.random.default_rng(2)
    right = rng.uniform(size=3000) < np.repeat(rng.beta(7, 3, size=600), 5)
    groups = [str(k // 5) for k in range(3000)]
    default, drawn = (
        f(right, groups) for f in (intervals.accuracy_interval, intervals.group_bootstrap)
    )
    assert (drawn.low, drawn.high) == pytest.approx((default.low, default.high), abs=2e-3)
    assert drawn.method == "percentiles of 10,000 draws of 600 groups"


@pytest.mark.parametrize(
    ("right", "units", "more", "message"),
    [
        ([], [], {}, "must have shape"),
        ([0, 1], ["a"], {}, "same videos, got 2 and 1"),
        ([0, 1], ["a", "a"], {}, "2 or more different ones, got 1"),
        ([0, 2], ["a", "b"], {}, r"0\.\.1"),
        ([0, 1], ["a", "b"], {"weights": np.array([1.0, 0.0])}, "2 positive numbers"),
        ([0, 1], ["a", "b"], {"confidence": 0.0}, "between 0 and 1"),
    ],
)
def test_malformed_intervals(right, units, more, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        intervals.accuracy_interval(np.array(right), units, **more)
    if right:
        with pytest.raises(ValueError, match=message):
            intervals.difference_interval(np.array(right), np.array(right), units, **more)


def test_t_of_a_difference() -> None:
    """Three groups of one video, two seeds against one: by hand."""
    first = np.array([[0, 0, 1], [0, 1, 1]], dtype=bool)
    second = np.array([1, 1, 1], dtype=bool)
    statistic, freedom = intervals.difference_t(first, second, [*"abc"])
    paired = np.array([1, 0.5, 0])
    between = 3 / 2 * np.sum(((paired - 0.5) / 3) ** 2)
    # seeds: .333, .667; crossed residuals are -+1/6 of the weights but for group b, twice that
    crossed = np.array([[1, -2, 1], [-1, 2, -1]]) / 18
    interaction = 3 / 2 * np.sum(crossed**2)
    seeds = max(0, (np.var([1 / 3, 2 / 3], ddof=1) - interaction) / 2)
    total = between + seeds
    assert statistic == pytest.approx(0.5 / total**0.5)
    assert freedom == pytest.approx(total**2 / (between**2 / 2 + seeds**2 / 1))
    assert intervals.difference_t(second, second, [*"abc"])[0] == 0
    assert intervals.difference_t(second, ~second, [*"abc"])[0] == -np.inf
