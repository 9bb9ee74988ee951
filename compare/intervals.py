"""Confidence intervals of an accuracy and of a difference between two, by groups of videos.

Clips cut from one source succeed and fail together. An interval that takes each as an independent
trial (`wilson`) is then too narrow: at an intra-group correlation of 0.1 in groups of six it covers
88 % of the time and not 95 %. All others here take units, that is groups, or the videos themselves
where a video is tested in several splits, and trust only the variation between units.

**Default** (`accuracy_interval`). The variance between units gives the number of independent videos
that would vary as much, the effective n. It is cut to ``n (z / t)²``, with the t quantile of one
less degree of freedom than there are units (Korn & Graubard 1998), and the limits are those of
Jeffreys' interval for that many trials: asymmetric near 1, where a symmetric interval fails.
``scripts/simulate_coverage.py`` measures all that are given here: of those, this one alone stays
within 95 ± 1.5 % for accuracies of .5 to .95 with 20 groups of 6 and with 700 of 5. With 20 groups
of 6 at .97 to .99 it covers 98 to 98.5 %: even all 120 videos right, one draw in seven at .98, do
not speak against .98, so that no interval can lie above the truth, and 1.6 % lie below it. Ten
groups of 12 cover 93.5 % at .9 and .95, 98.5 % at .98; 5 of 20 cover 96 to 99.5 %.

**Differences** (`difference_interval`). The same variance of the paired differences, t quantile,
symmetric limits. One imagined video that changed, either way, keeps it from having no width where
nothing did, in the manner of Bonett & Price 2012; their two make it too wide with 20 groups.

**Seeds.** Given the outcomes of several seeds, the variance between seeds is added to that between
units, after what is only units reacting differently to seeds has been taken off it, so that it is
not counted twice; degrees of freedom by Satterthwaite. Two or three seeds make wide intervals: that
is what they say.

References
----------
Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
Korn & Graubard, "Confidence intervals for proportions with small expected number of positive counts
estimated from survey data", Survey Methodology 1998.
Brown, Cai & DasGupta, "Interval estimation for a binomial proportion", Statistical Science 2001,
section 3.1.3 (Jeffreys).
Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
paired data", Journal of Educational and Behavioral Statistics 2012.
Davison & Hinkley, "Bootstrap methods and their application", 1997, section 3.8 (resampling
clusters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy import special

CONFIDENCE = 0.95
N_DRAWS = 10_000  # bootstrap draws: the 2.5 % quantile then rests on 250 of them
MIN_UNITS = 2
DIGITS = 12  # of a share, beyond which lies rounding
NO_VARIANCE = 1e-24  # what rounding leaves of a variance of 0
BLOCK = 4_000_000  # cells of a block of bootstrap draws: 32 MB of counts


@dataclass(frozen=True)
class Interval:
    """A confidence interval, as fractions, and the method by which it was found."""

    low: float
    high: float
    method: str


def wilson(n_right: int, n_tested: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for a share, every video taken as an independent trial."""
    if not 0 <= n_right <= n_tested or n_tested < 1:
        raise ValueError(
            f"n_right and n_tested must be 0 <= n_right <= n_tested, 1 or more tested, got "
            f"{n_right} and {n_tested}"
        )
    z2 = NormalDist().inv_cdf(1 - _alpha(confidence) / 2) ** 2
    share = n_right / n_tested
    middle = (share + z2 / (2 * n_tested)) / (1 + z2 / n_tested)
    variance = share * (1 - share) / n_tested + z2 / (4 * n_tested**2)
    half = (z2 * variance) ** 0.5 / (1 + z2 / n_tested)
    return Interval(max(0.0, middle - half), min(1.0, middle + half), "Wilson, by video")


def accuracy_interval(
    right: np.ndarray,
    units: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    unit: str = "group",
    confidence: float = CONFIDENCE,
) -> Interval:
    """Interval of a weighted accuracy from the variation between units; the default everywhere.

    Parameters
    ----------
    right : ndarray of bool or float, shape (n_videos,) or (n_seeds, n_videos)
        Which videos are right, or with which share. A video that several splits test stands there
        once for each, in one unit.
    units
        The group of each video; 2 or more different ones.
    weights : ndarray, shape (n_videos,), optional
        Positive; None: all the same. ``1 / (n_splits * n_videos_of_its_split)`` makes the accuracy
        the mean over splits.
    unit
        What the units are called in the interval's `method`.
    confidence
        Of the interval, 0 to 1.

    Notes
    -----
    Where every unit has the same share right (all videos right, say) the variance says nothing; the
    effective n is then the number of units, as if a unit's videos were one.
    """
    alpha = _alpha(confidence)
    outcomes = _checked_outcomes(right, "right")
    member, of_video = _checked_units(units, weights, outcomes)
    weight = np.bincount(member, weights=of_video)
    sums = _unit_sums(outcomes, member, of_video)
    share = min(1.0, max(0.0, round(float(sums.sum(axis=1).mean()), DIGITS)))
    n_units = 1 / np.sum(weight**2)
    variance, freedom = _total(_parts(sums, weight))
    n = n_units if variance < NO_VARIANCE else share * (1 - share) / variance
    n = min(n, 1 / np.sum(of_video**2))
    trials = n * (_z(alpha) / special.stdtrit(freedom, 1 - alpha / 2)) ** 2
    a, b = share * trials + 0.5, (1 - share) * trials + 0.5
    return Interval(
        0.0 if share <= 0 else float(special.betaincinv(a, b, alpha / 2)),
        1.0 if share >= 1 else float(special.betaincinv(a, b, 1 - alpha / 2)),
        f"Jeffreys at effective n = {n:.1f}, {_by(unit, weight, freedom, outcomes)}",
    )


def difference_interval(
    first: np.ndarray,
    second: np.ndarray,
    units: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    unit: str = "group",
    confidence: float = CONFIDENCE,
) -> Interval:
    """Interval of the accuracy of `second` less that of `first` on the same videos.

    Parameters
    ----------
    first, second : ndarray of bool or float, shape (n_videos,) or (n_seeds, n_videos)
        Which videos are right, or with which share; the numbers of seeds may differ.
    units, weights, unit, confidence
        As for `accuracy_interval`.
    """
    alpha = _alpha(confidence)
    compared = _compared(first, second, units, weights)
    n_videos = 1 / np.sum(compared.of_video**2)
    spread = (compared.variance + 1 / (n_videos + 1) ** 2) ** 0.5
    half = float(special.stdtrit(compared.freedom, 1 - alpha / 2)) * spread
    most = max(np.atleast_2d(first), np.atleast_2d(second), key=len)
    return Interval(
        max(-1.0, compared.difference - half),
        min(1.0, compared.difference + half),
        f"paired t, {_by(unit, compared.weight, compared.freedom, most)}",
    )


def difference_t(
    first: np.ndarray,
    second: np.ndarray,
    units: Sequence[str],
    *,
    weights: np.ndarray | None = None,
) -> tuple[float, float]:
    """Student's t of the accuracy of `second` less that of `first`, and its degrees of freedom.

    Parameters are those of `difference_interval`; no imagined video takes part. Without any
    variation the statistic is 0 or infinite.
    """
    compared = _compared(first, second, units, weights)
    if compared.variance > NO_VARIANCE:
        return compared.difference / compared.variance**0.5, compared.freedom
    if abs(compared.difference) < 10**-DIGITS:
        return 0.0, compared.freedom
    return float(np.copysign(np.inf, compared.difference)), compared.freedom


def group_bootstrap(
    right: np.ndarray,
    groups: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
    n_draws: int = N_DRAWS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of accuracy when whole groups are drawn with replacement.

    With few groups it is too narrow (it covers about 91 % with 20), and where no video, or every
    video, is right it has no width. Parameters are those of `bootstrap_draws`, for one column.
    """
    alpha = _alpha(confidence)
    drawn = bootstrap_draws(
        np.asarray(right)[:, None], groups, weights=weights, seed=seed, n_draws=n_draws
    )
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    n_groups = len(set(groups))
    return Interval(
        float(low), float(high), f"percentiles of {n_draws:,} draws of {n_groups} groups"
    )


def bootstrap_draws(
    values: np.ndarray,
    groups: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
    n_draws: int = N_DRAWS,
) -> np.ndarray:
    """Weighted means of several columns, the same groups drawn with replacement for all of them.

    Parameters
    ----------
    values : ndarray, shape (n_videos, n_columns)
        Which videos are right, one method a column; or any other number per video.
    groups
        The group of each video; 2 or more different ones.
    weights : ndarray, shape (n_videos,), optional
        Positive; None: all the same.
    seed
        Of the draws.
    n_draws
        Number of draws, each of as many groups as there are.

    Returns
    -------
    ndarray of float64, shape (n_draws, n_columns)
    """
    columns = np.asarray(values, dtype=np.float64)
    if columns.ndim != 2:
        raise ValueError(f"values must have shape (n_videos, n_columns), got {columns.shape}")
    if n_draws < 1:
        raise ValueError(f"n_draws must be 1 or more, got {n_draws}")
    member, of_video = _checked_units(groups, weights, columns.T)
    weight = np.bincount(member, weights=of_video)
    sums = np.column_stack([_unit_sums(columns.T, member, of_video).T, weight])
    n_groups = len(weight)
    rng = np.random.default_rng(seed)
    means = np.empty((n_draws, columns.shape[1]))
    step = max(1, BLOCK // n_groups)
    for start in range(0, n_draws, step):
        n = min(step, n_draws - start)
        drawn = rng.integers(n_groups, size=(n, n_groups))
        drawn += n_groups * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_groups).reshape(n, n_groups)
        totals = counts @ sums
        means[start : start + n] = totals[:, :-1] / totals[:, -1:]
    return means


class _Compared(NamedTuple):
    """A paired difference, its variance, and the weights behind it."""

    difference: float
    variance: float
    freedom: float
    weight: np.ndarray  # of each unit
    of_video: np.ndarray


def _compared(
    first: np.ndarray, second: np.ndarray, units: Sequence[str], weights: np.ndarray | None
) -> _Compared:
    """Variance of the paired difference between units, and of each method's own seeds."""
    before, after = _checked_outcomes(first, "first"), _checked_outcomes(second, "second")
    if before.shape[1] != after.shape[1]:
        raise ValueError(
            f"first and second must be of the same videos, got {before.shape[1]} and "
            f"{after.shape[1]}"
        )
    member, of_video = _checked_units(units, weights, before)
    weight = np.bincount(member, weights=of_video)
    paired = after.mean(axis=0) - before.mean(axis=0)
    parts = _parts(_unit_sums(paired[None], member, of_video), weight)
    for outcomes in (before, after):
        parts += _parts(_unit_sums(outcomes, member, of_video), weight)[1:]
    variance, freedom = _total(parts)
    return _Compared(float(paired @ of_video), variance, freedom, weight, of_video)


def _parts(sums: np.ndarray, weight: np.ndarray) -> list[tuple[float, float]]:
    """(variance, degrees of freedom): between units, then between seeds where there are some.

    `sums` (n_seeds, n_units) holds each unit's weighted sum of outcomes.
    """
    n_seeds, n_units = sums.shape
    residual = sums - sums.sum(axis=1).mean() * weight
    scale = n_units / (n_units - 1)
    between = scale * float(np.sum(residual.mean(axis=0) ** 2))
    parts = [(between, max(1.0, 1 / float(np.sum(weight**2)) - 1))]
    if n_seeds > 1:
        of_seed = residual.sum(axis=1)
        crossed = residual - residual.mean(axis=0) - np.outer(of_seed - of_seed.mean(), weight)
        interaction = scale * float(np.sum(crossed**2)) / (n_seeds - 1)
        seeds = (float(np.var(of_seed, ddof=1)) - interaction) / n_seeds
        parts.append((max(0.0, seeds), n_seeds - 1.0))
    return parts


def _total(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Sum of variances, with Satterthwaite's degrees of freedom."""
    variance = sum(v for v, _ in parts)
    spread = sum(v**2 / freedom for v, freedom in parts)
    return variance, variance**2 / spread if spread > 0 else parts[0][1]


def _unit_sums(outcomes: np.ndarray, member: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sum of outcomes in each unit: (n_seeds, n_units)."""
    return np.stack([np.bincount(member, weights=row * weights) for row in outcomes])


def _by(unit: str, weight: np.ndarray, freedom: float, outcomes: np.ndarray) -> str:
    seeds = f" and {len(outcomes)} seeds" if len(outcomes) > 1 else ""
    return f"by {unit} ({len(weight)}{seeds}, {freedom:.3g} degrees of freedom)"


def _checked_outcomes(values: np.ndarray, name: str) -> np.ndarray:
    outcomes = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if outcomes.ndim != 2 or 0 in outcomes.shape:
        raise ValueError(
            f"{name} must have shape (n_videos,) or (n_seeds, n_videos), got {np.shape(values)}"
        )
    if not (outcomes.min() >= 0 and outcomes.max() <= 1):
        raise ValueError(f"{name} must lie in 0..1, got {outcomes.min()}..{outcomes.max()}")
    return outcomes


def _checked_units(
    units: Sequence[str], weights: np.ndarray | None, outcomes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Index of each video's unit, and its weight, with sum 1."""
    n_videos = outcomes.shape[1]
    if len(units) != n_videos:
        raise ValueError(
            f"outcomes and units must be of the same videos, got {n_videos} and {len(units)}"
        )
    names, member = np.unique(np.asarray(units, dtype=np.str_), return_inverse=True)
    if len(names) < MIN_UNITS:
        raise ValueError(f"units must be {MIN_UNITS} or more different ones, got {len(names)}")
    if weights is None:
        return member, np.full(n_videos, 1 / n_videos)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n_videos,) or not (np.isfinite(given).all() and given.min() > 0):
        raise ValueError(
            f"weights must be {n_videos} positive numbers, one per video, got shape {given.shape}"
        )
    return member, given / given.sum()


def _z(alpha: float) -> float:
    """Two-sided standard normal quantile."""
    return NormalDist().inv_cdf(1 - alpha / 2)


def _alpha(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return 1 - confidence
