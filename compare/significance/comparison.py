"""Methods set side by side: their standings, differences and gains, jointly over splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from compare import intervals, metrics
from compare.datasets.dataset import groups_of, named
from compare.intervals import CONFIDENCE, MIN_UNITS, Interval
from compare.metrics import Complementarity, Evaluation
from compare.significance.paired import Test, holm, mcnemar, sign_flip


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Which test videos one method gets right, over all splits and seeds.

    `right` (n_seeds, n_rows) has a column for each (split, id) of `rows`; `truth` and `predicted`
    say what each video is and what it was taken for by each seed.
    """

    rows: tuple[tuple[str, str], ...]
    truth: tuple[str, ...]
    predicted: tuple[tuple[str, ...], ...]
    right: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Share of the seeds that get each video right: float64 (n_rows,)."""
        return self.right.mean(axis=0)


@dataclass(frozen=True, eq=False)
class Standing:
    """One method's accuracy: the mean over splits and seeds, with its interval."""

    method: str
    accuracy: float
    interval: Interval
    n_seeds: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """Method `second` against method `first` on the same test videos.

    `difference` is the accuracy (mean over splits and seeds) of `second` less that of `first`.
    `test` decides, `by_video` is the second opinion; `adjusted` is the p-value of `test` after
    Holm's adjustment for all pairs compared at once. `fixed` and `broken` count test videos that
    `second` alone, or `first` alone, gets right, by true class in the order of `classes`; with
    several seeds they are means over all pairs of seeds.
    """

    first: str
    second: str
    difference: float
    interval: Interval
    test: Test
    by_video: Test
    adjusted: float
    complementarity: Complementarity
    classes: tuple[str, ...]
    fixed: np.ndarray
    broken: np.ndarray


@dataclass(frozen=True, eq=False)
class Gain:
    """What fusing brought, beside what the same-family control brought; None: no control given.

    `over_control` compares the fused method with the control, which is the question that matters:
    does the other family add what a second model of the same family does not?
    """

    fused: Comparison
    control: Comparison | None
    over_control: Comparison | None


def outcomes(evaluations: Sequence[Evaluation]) -> Outcomes:
    """Bring one method's evaluations, one per seed, into rows by split and id.

    Raises
    ------
    ValueError
        None are given, or seeds are tested on other videos.
    """
    if not evaluations:
        raise ValueError("evaluations must be one per seed, got none")
    said = [{(p.split, p.id): p for p in each.predictions} for each in evaluations]
    rows = sorted(said[0])
    for other in said[1:]:
        _require_same_rows("seeds", set(said[0]), set(other))
    return Outcomes(
        rows=tuple(rows),
        truth=tuple(said[0][row].truth for row in rows),
        predicted=tuple(tuple(each[row].predicted for row in rows) for each in said),
        right=np.array([[each[row].right for row in rows] for each in said]),
    )


def standing(
    method: str,
    of_method: Outcomes,
    *,
    groups: Mapping[str, str] | None = None,
    confidence: float = CONFIDENCE,
) -> Standing:
    """Accuracy of one method as the mean over splits and seeds, with its interval."""
    weights = metrics.split_weights([split for split, _ in of_method.rows])
    units, unit = _units(of_method.rows, groups)
    return Standing(
        method=method,
        accuracy=float(of_method.mean @ weights),
        interval=intervals.accuracy_interval(
            of_method.right, units, weights=weights, unit=unit, confidence=confidence
        ),
        n_seeds=len(of_method.right),
    )


def compare(
    methods: Mapping[str, Outcomes],
    pairs: Sequence[tuple[str, str]],
    *,
    groups: Mapping[str, str] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Compare pairs of methods on the same test videos, jointly over their splits.

    Parameters
    ----------
    methods
        Outcomes by method.
    pairs
        (first, second) names; all of them are one family for Holm's adjustment.
    groups
        The group of each video id; None where there are no groups: videos are then the units.
    confidence
        Of the intervals.
    seed
        Of drawn sign patterns.

    Raises
    ------
    ValueError
        A pair names an unknown method, one method twice, or methods tested on other videos.
    """
    found = [_compared(first, second, methods, groups, confidence, seed) for first, second in pairs]
    adjusted = holm([each.test.p for each in found]).tolist()
    return tuple(replace(each, adjusted=p) for each, p in zip(found, adjusted, strict=True))


def gains(
    methods: Mapping[str, Outcomes],
    asked: Sequence[tuple[str, str, str | None]],
    *,
    groups: Mapping[str, str] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[Gain, ...]:
    """Set the gains of fused methods beside those of their same-family controls.

    `asked` holds (base, fused, control or None); every comparison in all of them is one family for
    Holm's adjustment. Other parameters as for `compare`.
    """
    pairs = []
    for base, fused, control in asked:
        pairs.append((base, fused))
        if control is not None:
            pairs += [(base, control), (control, fused)]
    found = iter(compare(methods, pairs, groups=groups, confidence=confidence, seed=seed))
    return tuple(
        Gain(
            next(found),
            next(found) if control is not None else None,
            next(found) if control is not None else None,
        )
        for _, _, control in asked
    )


def _compared(
    first: str,
    second: str,
    methods: Mapping[str, Outcomes],
    groups: Mapping[str, str] | None,
    confidence: float,
    seed: int,
) -> Comparison:
    unknown = [name for name in (first, second) if name not in methods]
    if unknown:
        raise ValueError(
            f"pairs must name methods among {named(sorted(methods))}, got {named(unknown)}"
        )
    if first == second:
        raise ValueError(f"a pair must be of two methods, got {first!r} twice")
    a, b = methods[first], methods[second]
    _require_same_rows(f"{first!r} and {second!r}", set(a.rows), set(b.rows))
    weights = metrics.split_weights([split for split, _ in a.rows])
    units, unit = _units(a.rows, groups)
    paired = b.mean - a.mean
    interval = intervals.difference_interval(
        a.right, b.right, units, weights=weights, unit=unit, confidence=confidence
    )
    classes = sorted(set(a.truth))
    member = np.searchsorted(np.array(classes), np.array(a.truth))
    gained, lost = b.mean * (1 - a.mean), a.mean * (1 - b.mean)
    ids = [id for _, id in a.rows]
    if max(len(a.right), len(b.right)) > 1:
        test = _t_test(a, b, units, weights, unit)
    else:
        test = sign_flip(paired, units, weights=weights, unit=unit, seed=seed)
    return Comparison(
        first=first,
        second=second,
        difference=float(paired @ weights),
        interval=interval,
        test=test,
        by_video=_second_opinion(paired, ids, weights, seed),
        adjusted=test.p,
        complementarity=metrics.complementarity(a.mean, b.mean, weights=weights),
        classes=tuple(classes),
        fixed=np.bincount(member, weights=gained, minlength=len(classes)),
        broken=np.bincount(member, weights=lost, minlength=len(classes)),
    )


def _second_opinion(paired: np.ndarray, ids: Sequence[str], weights: np.ndarray, seed: int) -> Test:
    """McNemar's test where every video is tested once, else its like for repeated videos."""
    once = len(set(ids)) == len(ids)
    if once and not np.any(paired % 1):
        return mcnemar(int(np.sum(paired > 0)), int(np.sum(paired < 0)))
    return sign_flip(paired, ids, weights=weights, unit="video", seed=seed)


def _t_test(a: Outcomes, b: Outcomes, units: Sequence[str], weights: np.ndarray, unit: str) -> Test:
    """Two-sided p of no difference, with the variance of groups and of seeds."""
    statistic, freedom = intervals.difference_t(a.right, b.right, units, weights=weights)
    p = 2 * float(special.stdtr(freedom, -abs(statistic)))
    seeds = f"{len(a.right)} and {len(b.right)} seeds"
    return Test(p, f"t = {statistic:.2f} by {unit}, {seeds}, {freedom:.3g} degrees of freedom")


def _units(
    rows: Sequence[tuple[str, str]], groups: Mapping[str, str] | None
) -> tuple[list[str], str]:
    """The group of each row, or its video where there are no groups; and what that is called."""
    ids = [id for _, id in rows]
    if groups is None:
        return ids, "video"
    units = groups_of(ids, groups)
    if len(set(units)) < MIN_UNITS:
        raise ValueError(
            f"test videos must be of {MIN_UNITS} or more groups, got only {units[0]!r}; leave the "
            "groups out to take videos as independent"
        )
    return units, "group"


def _require_same_rows(what: str, left: set[tuple[str, str]], right: set[tuple[str, str]]) -> None:
    differing = sorted(left ^ right)
    if differing:
        shown = [f"{id} ({split or 'no split'})" for split, id in differing]
        raise ValueError(
            f"{what} must be tested on the same videos of the same splits, got {len(differing)} "
            f"that are not in both: {named(shown)}"
        )
