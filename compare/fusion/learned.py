"""Rules that learn: weights fitted to held-out scores, never to what they are tested on.

Scores of the videos that a method was trained on are better than it is; scores of the test videos
are what is to be measured. Weights are therefore fitted to scores of training videos by models that
did not see their group, or to groups held out for it. `fit` is told what will be tested and refuses
to look at it; what it returns refuses to be applied to what it was fitted to.

Where only test scores exist, as in files that others published, `cross_fit` learns the weights for
each group from all other groups, and says in the result that this lies outside the official
protocol: under it, test labels teach nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compare.datasets.dataset import groups_of, named
from compare.fusion.calibration import Calibration, calibrate
from compare.fusion.rules import FusionRule, combined, fused_table, joined_for, stacked
from compare.fusion.weights import best_point, fit_svm, likeliest, right_under, simplex
from compare.scores import Kind, ScoreTable, labels_of

OUTSIDE = "outside the official protocol: weights of each group learned from the other test groups"
N_FOLDS = 10  # of groups, for rules that are not cheap to fit without each group in turn


class FittedOnTestError(ValueError):
    """A rule that would be tested on what it was fitted to; the message names the videos."""


@dataclass(frozen=True, eq=False)
class LearnedRule:
    """A fitted rule: what it learned, and from which videos and groups.

    `rule` has the learned weights; `scores_of` maps scores (n_methods, n_videos, n_classes) on the
    rule's scale to fused ones, of the kind `kind`.
    """

    rule: FusionRule
    classes: tuple[str, ...]
    calibrations: Mapping[str, Calibration]
    fitted_on: frozenset[str]
    fitted_groups: frozenset[str]
    scores_of: Callable[[np.ndarray], np.ndarray]
    kind: Kind

    def apply(
        self,
        tables: Sequence[ScoreTable],
        *,
        groups: Mapping[str, str] | None = None,
        tolerant: Collection[str] = (),
    ) -> ScoreTable:
        """Fuse tables of videos that the rule was not fitted to; see `compare.fusion.fuse`.

        Raises
        ------
        FittedOnTestError
            A video, or by `groups` a group, took part in fitting.
        """
        joined = joined_for(tables, self.rule, tolerant=tolerant)
        _refuse_overlap(joined[0].ids, groups, self.fitted_on, self.fitted_groups)
        return self._applied(joined)

    def _applied(self, joined: Sequence[ScoreTable]) -> ScoreTable:
        joined = [table.aligned(table.ids, self.classes) for table in joined]
        calibrated = _calibrated(joined, self.calibrations)
        values = self.scores_of(stacked(calibrated, self.rule))
        about: dict[str, Any] = {"fitted on": len(self.fitted_on)}
        if self.calibrations:
            about["calibration"] = {
                name: {"kind": each.kind, "T": each.temperature}
                if each.kind == "temperature"
                else {"kind": each.kind}
                for name, each in self.calibrations.items()
            }
        return fused_table(joined, self.rule, values, self.kind, **about)


def fit(
    rule: FusionRule,
    tables: Sequence[ScoreTable],
    truth: Mapping[str, str],
    *,
    test: Collection[str],
    groups: Mapping[str, str] | None = None,
    calibration: str | None = None,
    tolerant: Collection[str] = (),
) -> LearnedRule:
    """Fit a rule to held-out scores.

    Parameters
    ----------
    rule
        One that learns; or a fixed one, for its tables to be calibrated.
    tables
        Per method, scores of training videos by models that did not see their group, or of videos
        held out for this.
    truth
        The class of each of their videos.
    test
        Ids of the videos that will be tested.
    groups
        The group of each video, of both sides, where there are groups.
    calibration
        None, ``"temperature"`` or ``"platt"``: turn each table into probabilities first.
    tolerant
        What may differ between spellings, see `compare.scores.join`.

    Raises
    ------
    FittedOnTestError
        `tables` hold a video of `test`, or of a group that `test` has videos of.
    ValueError
        As `compare.fusion.fuse`; or a class without a video for the SVM.
    """
    joined = joined_for(tables, rule, tolerant=tolerant)
    _refuse_overlap(joined[0].ids, groups, test, _groups(test, groups))
    return _fitted(rule, joined, truth, groups, calibration)


def cross_fit(
    rule: FusionRule,
    tables: Sequence[ScoreTable],
    truth: Mapping[str, str],
    groups: Mapping[str, str],
    *,
    calibration: str | None = None,
    n_folds: int | None = None,
    seed: int = 0,
    tolerant: Collection[str] = (),
) -> ScoreTable:
    """Fuse test scores by a rule that is fitted, for each group, to other groups of the same test.

    Parameters
    ----------
    rule, tables, truth, calibration, tolerant
        As for `fit`.
    groups
        The group of each video: clips that are not independent of each other.
    n_folds
        Groups are dealt into so many folds, each scored by what the others teach. None: without
        each group in turn for ``grid`` alone, else `N_FOLDS`, or the number of groups if smaller.
    seed
        Of the folds.

    Returns
    -------
    ScoreTable
        With ``"protocol"`` in its provenance, which says that it is outside the official one, and
        ``"weights"``, the mean over videos.
    """
    joined = joined_for(tables, rule, tolerant=tolerant)
    crossed = [table.method for table in joined if "protocol" in table.provenance]
    if crossed:
        raise ValueError(
            f"tables must not be cross-fitted themselves, got {named(crossed)}, whose scores of "
            "other groups have seen each group's labels; fuse their methods by one rule"
        )
    ids = joined[0].ids
    names, member = np.unique(groups_of(ids, groups), return_inverse=True)
    if len(names) < 2 or (n_folds is not None and not 2 <= n_folds <= len(names)):
        raise ValueError(
            f"groups must be 2 or more and folds no more than groups, got {len(names)} groups and "
            f"{n_folds} folds"
        )
    if rule.kind == "grid" and n_folds is None and calibration is None:
        return _grid_without_each(rule, joined, truth, member)
    n_folds = min(N_FOLDS, len(names)) if n_folds is None else n_folds
    dealt = np.random.default_rng(seed).permutation(len(names)) % n_folds
    fold_of = dealt[member]
    values = np.empty(joined[0].scores.shape)
    weights = np.zeros(len(rule.methods))
    for fold in range(n_folds):
        inside = np.flatnonzero(fold_of == fold)
        others = [_rows(table, np.flatnonzero(fold_of != fold)) for table in joined]
        learned = _fitted(rule, others, truth, groups, calibration)
        table = learned._applied([_rows(each, inside) for each in joined])
        values[inside] = table.aligned(table.ids, joined[0].classes).scores
        weights += np.array(learned.rule.weights) * len(inside) / len(ids)
    fitted = replace(rule, weights=tuple(weights.tolist()))
    about: dict[str, Any] = {"protocol": OUTSIDE, "folds of groups": n_folds}
    if calibration:
        about["calibration"] = calibration
    return fused_table(joined, fitted, values, learned.kind, **about)


def picked_on_test(
    rule: FusionRule, tables: Sequence[ScoreTable], truth: Mapping[str, str]
) -> float:
    """Return the accuracy of a rule that is fitted to the very videos it is measured on.

    No result: the optimism of picking weights on the test set is this less the accuracy of
    `cross_fit`. For ``grid`` it is that of the best weights of the grid.
    """
    joined = joined_for(tables, rule)
    labels = labels_of(joined[0], truth)
    if rule.kind == "grid":
        right = right_under(stacked(joined, rule), labels, simplex(len(joined)))
        return float(right.mean(axis=1).max())
    table = _fitted(rule, joined, truth, None, None)._applied(joined)
    return float(np.mean(table.scores.argmax(axis=1) == labels))


def _fitted(
    rule: FusionRule,
    joined: Sequence[ScoreTable],
    truth: Mapping[str, str],
    groups: Mapping[str, str] | None,
    calibration: str | None,
) -> LearnedRule:
    labels = labels_of(joined[0], truth)
    calibrations = (
        {table.method: calibrate(calibration, table, truth) for table in joined}
        if calibration
        else {}
    )
    stack = stacked(_calibrated(joined, calibrations), rule)
    kind: Kind = "decision"
    if rule.kind == "svm":
        scores_of = fit_svm(stack, labels, joined[0].classes)
    else:
        if rule.kind == "grid":
            points = simplex(len(joined))
            weights = best_point(
                points, right_under(stack, labels, points).sum(axis=1), len(labels)
            )
            rule = replace(rule, weights=tuple(weights.tolist()))
            scale = 1.0
        elif rule.kind == "logistic":
            weights = likeliest(stack, labels)
            scale, kind = float(weights.sum()), "logit"
            shares = weights / scale if scale > 0 else np.full(len(weights), 1 / len(weights))
            rule = replace(rule, weights=tuple(shares.tolist()))
        else:
            scale, kind = 1.0, combined(stack[:, :1], rule)[1]
        fixed = replace(rule, kind="weighted") if rule.learns else rule

        def scores_of(values: np.ndarray) -> np.ndarray:
            return scale * combined(values, fixed)[0]

    ids = joined[0].ids
    return LearnedRule(
        rule=rule,
        classes=joined[0].classes,
        calibrations=calibrations,
        fitted_on=frozenset(ids),
        fitted_groups=frozenset(_groups(ids, groups)),
        scores_of=scores_of,
        kind=kind,
    )


def _calibrated(
    joined: Sequence[ScoreTable], calibrations: Mapping[str, Calibration]
) -> list[ScoreTable]:
    return [calibrations[table.method].apply(table) if calibrations else table for table in joined]


def _rows(table: ScoreTable, rows: np.ndarray) -> ScoreTable:
    ids = tuple(table.ids[row] for row in rows.tolist())
    return replace(table, ids=ids, scores=table.scores[rows])


def _refuse_overlap(
    ids: Sequence[str],
    groups: Mapping[str, str] | None,
    other_ids: Collection[str],
    other_groups: Collection[str],
) -> None:
    both = [id for id in ids if id in set(other_ids)]
    if both:
        raise FittedOnTestError(
            f"weights must not be fitted to videos that are tested, got {len(both)} on both sides: "
            f"{named(both)}; fit them to cross-validated scores of training videos"
        )
    shared = sorted(_groups(ids, groups) & set(other_groups)) if other_groups else []
    if shared:
        raise FittedOnTestError(
            f"weights must not be fitted to groups that are tested, got {len(shared)} on both "
            f"sides: {named(shared)}; clips of one group are not independent"
        )


def _groups(ids: Collection[str], groups: Mapping[str, str] | None) -> set[str]:
    """Groups of videos; none where there are no groups."""
    return set() if groups is None else set(groups_of(ids, groups))


def _grid_without_each(
    rule: FusionRule, joined: Sequence[ScoreTable], truth: Mapping[str, str], member: np.ndarray
) -> ScoreTable:
    """Cross-fit the grid without each group in turn, out of one table of what is right."""
    stack, labels = stacked(joined, rule), labels_of(joined[0], truth)
    points = simplex(len(joined))
    right = right_under(stack, labels, points)
    n_groups = int(member.max()) + 1
    of_group = np.stack([np.bincount(member, weights=row, minlength=n_groups) for row in right])
    without = of_group.sum(axis=1, keepdims=True) - of_group
    n_others = len(labels) - np.bincount(member)
    weights = np.stack(
        [best_point(points, column, n) for column, n in zip(without.T, n_others, strict=True)]
    )[member]
    values = np.einsum("vm,mvc->vc", weights, stack)
    fitted = replace(rule, weights=tuple((weights.mean(axis=0)).tolist()))
    return fused_table(
        joined, fitted, values, "decision", protocol=OUTSIDE, **{"folds of groups": n_groups}
    )
