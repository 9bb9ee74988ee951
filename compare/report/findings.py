"""What a study finds: ranking, what of it is more than chance, and gains beside their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from compare import metrics, significance
from compare.intervals import MIN_UNITS, N_DRAWS, bootstrap_draws
from compare.report.study import Entry, Study
from compare.significance import Comparison, Gain, Outcomes, Standing

LEVEL = 0.05  # of the p-values after Holm's adjustment


@dataclass(frozen=True, eq=False)
class Rank:
    """A place in the ranking.

    `best` and `worst` bound the place: 1 more than the number of methods that are better, and the
    number of methods less those that are worse, beyond chance (`LEVEL`, Holm). `first` is the share
    of bootstrap draws of groups in which the method comes first. Yardsticks take no part in tests;
    their `best`, `worst` and `first` are None.
    """

    entry: Entry
    standing: Standing
    best: int | None
    worst: int | None
    first: float | None


@dataclass(frozen=True, eq=False)
class Findings:
    """The ranking, most accurate first and yardsticks last; all pairs; gains; by what they are.

    `unit` is ``"group"`` or ``"video"``.
    """

    ranks: tuple[Rank, ...]
    pairs: tuple[Comparison, ...]
    gains: tuple[Gain, ...]
    unit: str
    n_units: int


def find(study: Study, *, gains: Sequence[tuple[str, str, str | None]] | None = None) -> Findings:
    """Rank the methods of a study, test all pairs of them, and set gains beside controls.

    Parameters
    ----------
    study
        Methods tested on the same videos.
    gains
        (base, fused, control or None) by name; None: `gains_from_idt`.

    Raises
    ------
    ValueError
        Methods are tested on other videos, or a gain names an unknown method.
    """
    outcomes = {e.label: significance.outcomes(e.evaluations) for e in study.entries}
    tested = {id for _, id in next(iter(outcomes.values())).rows}
    groups = study.groups
    if groups is not None and len({groups[id] for id in tested if id in groups}) < MIN_UNITS:
        groups = None
    standings = [
        significance.standing(e.label, outcomes[e.label], groups=groups)
        if len(tested) >= MIN_UNITS
        else Standing(e.label, e.accuracy, e.evaluation.by_video, len(e.evaluations))
        for e in study.entries
    ]
    compared = [e.label for e in study.of("method", "fusion")]
    enough = len(tested) >= MIN_UNITS
    pairs = significance.compare(
        outcomes, list(combinations(compared, 2)) if enough else [], groups=groups, seed=study.seed
    )
    asked = gains_from_idt(study) if gains is None else gains
    for trio in asked:
        for name in trio:
            if name is not None:
                study.named(name)
    return Findings(
        ranks=_ranks(study, standings, pairs, _firsts(outcomes, compared, groups, study.seed)),
        pairs=pairs,
        gains=significance.gains(outcomes, asked if enough else [], groups=groups, seed=study.seed),
        unit="video" if groups is None else "group",
        n_units=len(tested) if groups is None else len({groups[id] for id in tested}),
    )


def gains_from_idt(study: Study) -> list[tuple[str, str, str | None]]:
    """Find what was fused with dense trajectories, and the same-family control of each.

    A fusion of one entry with one of dense trajectories (`Entry.handcrafted`) is held against that
    entry. Its control is the entry fused in the same way, with the same weight, with another that
    has no dense trajectories in it; of several controls the most accurate, which is the hardest to
    beat.
    """
    by_label = {entry.label: entry for entry in study.entries}

    def pure(label: str) -> bool:
        """Whether nothing behind an entry is, or may be, dense trajectories."""
        entry = by_label.get(label)
        if entry is None or entry.handcrafted:
            return False
        return all(pure(member) for member in entry.members if member != label)

    fusions = [e for e in study.of("fusion") if len(e.members) == 2]
    found: list[tuple[str, str, str | None]] = []
    for fused in fusions:
        weight = dict(zip(fused.members, fused.weights, strict=True))
        hand = [m for m in fused.members if m in by_label and by_label[m].handcrafted]
        rest = [m for m in fused.members if m not in hand and pure(m)]
        if len(hand) != 1 or len(rest) != 1:
            continue
        base = rest[0]
        controls = [
            each
            for each in fusions
            if base in each.members
            and each.way == fused.way
            and all(pure(member) for member in each.members)
            and _same(dict(zip(each.members, each.weights, strict=True))[base], weight[base], fused)
        ]
        best = max(controls, key=lambda each: each.accuracy, default=None)
        found.append((base, fused.label, None if best is None else best.label))
    return found


def _same(one: float, other: float, fused: Entry) -> bool:
    """Whether weights are alike; those that are learned need not be."""
    learned = fused.way[:1] and fused.way[0] in ("grid", "logistic", "svm")
    return bool(learned) or abs(one - other) < 1e-6


def _firsts(
    outcomes: dict[str, Outcomes],
    compared: Sequence[str],
    groups: Mapping[str, str] | None,
    seed: int,
) -> dict[str, float]:
    """Share of draws in which each comes first; where several do, a share of the draw each."""
    rows = outcomes[compared[0]].rows if compared else ()
    units = [id if groups is None else groups[id] for _, id in rows]
    if len(set(units)) < MIN_UNITS:
        return {}
    drawn = bootstrap_draws(
        np.column_stack([outcomes[label].mean for label in compared]),
        units,
        weights=metrics.split_weights([split for split, _ in rows]),
        seed=seed,
        n_draws=N_DRAWS,
    )
    best = drawn >= drawn.max(axis=1, keepdims=True) - 1e-12  # rounding
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return dict(zip(compared, shares.tolist(), strict=True))


def _ranks(
    study: Study,
    standings: Sequence[Standing],
    pairs: Sequence[Comparison],
    firsts: dict[str, float],
) -> tuple[Rank, ...]:
    beyond = [p for p in pairs if p.adjusted < LEVEL and p.difference]
    better = [(p.second, p.first) if p.difference > 0 else (p.first, p.second) for p in beyond]
    n = len(study.of("method", "fusion"))
    found = []
    for entry, standing in zip(study.entries, standings, strict=True):
        in_race = entry.role != "yardstick"
        found.append(
            Rank(
                entry=entry,
                standing=standing,
                best=1 + sum(loser == entry.label for _, loser in better) if in_race else None,
                worst=n - sum(winner == entry.label for winner, _ in better) if in_race else None,
                first=firsts.get(entry.label),
            )
        )
    return tuple(
        sorted(found, key=lambda r: (r.entry.role == "yardstick", -round(r.standing.accuracy, 12)))
    )
