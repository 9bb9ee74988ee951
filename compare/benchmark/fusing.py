"""Fusion rules over a run's scores: fixed ones, and those that learn from its training videos."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compare import fusion, metrics
from compare.benchmark import run_folder
from compare.benchmark.kept import keep
from compare.benchmark.result import Result
from compare.datasets import Dataset
from compare.fusion import CALIBRATIONS, FusionRule, LearnedRule
from compare.scores import ScoreTable

AUTO = "auto"
CHOICES = (AUTO, "none", *CALIBRATIONS)

# A method's label and the position of a split give scores of the split's training videos.
HeldOut = Callable[[str, int], ScoreTable]


def check(rules: Sequence[FusionRule], calibration: str) -> None:
    """Refuse rules over rules that learn, and a calibration that is none or that nothing needs.

    Scores of training videos by a rule that learns have seen the labels.
    """
    if calibration not in CHOICES:
        raise ValueError(f"calibrate must be one of {', '.join(CHOICES)}, got {calibration!r}")
    if calibration in CALIBRATIONS and not any(rule.learns for rule in rules):
        raise ValueError(
            f"calibrate must be given for fusion rules that learn, got {calibration!r} without "
            "one; it is fitted as they are"
        )
    learned = {rule.name for rule in rules if rule.learns}
    for rule in rules:
        over = [name for name in rule.methods if name in learned]
        if over:
            raise ValueError(
                f"fusion rule {rule.name!r} must not be over rules that learn, got "
                f"{', '.join(map(repr, over))}; fuse their methods by one rule"
            )


def fused(
    rules: Sequence[FusionRule],
    tables: Mapping[str, Sequence[ScoreTable]],
    dataset: Dataset,
    folder: Path,
    held_out: HeldOut,
    *,
    calibration: str = AUTO,
) -> list[Result]:
    """Fuse methods' tables by each rule, keep the scores in the run's folder, and measure them.

    Parameters
    ----------
    rules
        In their order; a rule may be over earlier fixed ones.
    tables
        By method, one per split.
    dataset, folder
        Of the run.
    held_out
        Called for rules that learn only.
    calibration
        Turns scores into probabilities before a rule that learns mixes them: one of `CHOICES`.
        ``auto`` is a temperature, where the rule mixes kinds of scores, as margins with logits.
    """
    known = {name: list(each) for name, each in tables.items()}
    fixed = {rule.name: rule for rule in rules if not rule.learns}
    made: dict[tuple[str, int], ScoreTable] = {}

    def training(name: str, index: int) -> ScoreTable:
        """Held-out scores of a method, or of a fixed rule over methods."""
        if (name, index) not in made:
            made[name, index] = (
                fusion.fuse([training(m, index) for m in fixed[name].methods], fixed[name])
                if name in fixed
                else held_out(name, index)
            )
        return made[name, index]

    results = []
    for rule in rules:
        of_rule = [
            _fused_split(rule, known, dataset, index, training, _members(rule, fixed), calibration)
            for index in range(len(dataset.splits))
        ]
        for table in of_rule:
            keep(table, run_folder.score_path(folder, table.split, rule.name))
        known[rule.name] = of_rule
        results.append(_result(rule, of_rule, dataset))
    return results


def _members(rule: FusionRule, fixed: Mapping[str, FusionRule]) -> set[str]:
    """Methods of a rule, and of the fixed rules that it is over."""
    each = [_members(fixed[name], fixed) if name in fixed else {name} for name in rule.methods]
    return set().union(*each)


def _fused_split(
    rule: FusionRule,
    tables: Mapping[str, Sequence[ScoreTable]],
    dataset: Dataset,
    index: int,
    training: HeldOut,
    members: Collection[str],
    calibration: str,
) -> ScoreTable:
    tested = [tables[name][index] for name in rule.methods]
    if not rule.learns:
        return fusion.fuse(tested, rule)
    groups = dataset.groups
    learned = fusion.fit(
        rule,
        [training(name, index) for name in rule.methods],
        dataset.truth,
        test=dataset.splits[index].test,
        groups=groups,
        calibration=_calibration(tested, calibration),
    )
    table = learned.apply(tested, groups=groups)
    seconds = sum(_seconds(training(name, index)) for name in members)
    about = {**table.provenance, "fit_seconds": round(seconds, 3)}
    if learned.calibrations:
        about["calibration"] = _calibration_errors(learned, about["calibration"], tested, dataset)
    return replace(table, provenance=about)


def _calibration(tables: Sequence[ScoreTable], asked: str) -> str | None:
    """Decide how tables are calibrated; None: not at all."""
    if asked == AUTO:
        return "temperature" if len({table.kind for table in tables}) > 1 else None
    return None if asked == "none" else asked


def _calibration_errors(
    learned: LearnedRule,
    told: Mapping[str, Mapping[str, Any]],
    tested: Sequence[ScoreTable],
    dataset: Dataset,
) -> dict[str, dict[str, Any]]:
    """Say of each calibration how far off test videos are before it and after it, 0 to 1."""
    found = {}
    for table in tested:
        made = learned.calibrations[table.method].apply(table)
        found[table.method] = {
            **told[table.method],
            "error_before": fusion.table_error(table, dataset.truth),
            "error_after": fusion.table_error(made, dataset.truth),
        }
    return found


def _result(rule: FusionRule, of_rule: Sequence[ScoreTable], dataset: Dataset) -> Result:
    settings: dict[str, Any] = dict(of_rule[0].provenance)
    if rule.learns:
        by_split = {table.split: dict(table.provenance["weights"]) for table in of_rule}
        mean = {name: float(np.mean([w[name] for w in by_split.values()])) for name in rule.methods}
        settings |= {"weights": mean, "weights by split": by_split}
        rule = replace(rule, weights=tuple(mean.values()))
    return Result(
        label=rule.name,
        role="fusion",
        tables=tuple(of_rule),
        evaluation=metrics.evaluate(of_rule, dataset.truth, groups=dataset.groups),
        settings=settings,
        rule=rule,
    )


def _seconds(table: ScoreTable) -> float:
    return float(table.provenance["fit_seconds"] + table.provenance["score_seconds"])
