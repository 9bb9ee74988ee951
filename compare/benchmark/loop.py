"""The one loop: for each split, for each recogniser: fit, score, keep; then fuse and measure.

A run has a folder. Scores go into ``scores/SPLIT/METHOD.npz`` (and ``.csv``) as soon as they are
there, so that a run that was stopped goes on where it was: what is finished is taken from the
folder, provided the folder is of the same videos, splits, seed and version, and the scores are of
the settings that are asked for now.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from compare import fusion, metrics
from compare.benchmark import fusing, held_out, kept, methods, run_folder
from compare.benchmark.methods import Factory, Method
from compare.benchmark.result import Result, Role, Run, peak_memory, summary, versions
from compare.benchmark.scoring import scored
from compare.datasets import Dataset, check_videos
from compare.datasets.folds import DEFAULT_FOLDS
from compare.fusion import FusionRule
from compare.scores import ScoreTable, write_whole
from idt.jobs import Workers


@dataclass(frozen=True)
class _Plan:
    """What was asked for, resolved."""

    methods: list[Method]
    yardsticks: list[Method]
    unable: dict[str, str]
    rules: list[FusionRule]
    factories: Mapping[str, Factory]  # by label


def run(
    dataset: Dataset,
    specification: str,
    *,
    out: str | Path,
    fuse: str = "",
    n_inner_folds: int = DEFAULT_FOLDS,
    calibration: str = fusing.AUTO,
    seed: int = 0,
    workers: Workers = 1,
    verbose: bool = False,
    with_yardsticks: bool = True,
    cache: str | Path | None = None,
    overwrite: bool = False,
    command: str = "",
    recognisers: Mapping[str, Factory] | None = None,
) -> Run:
    """Compare recognisers, and fusions of them, on a data set.

    Parameters
    ----------
    dataset
        Videos, classes and splits. Videos that cannot be decoded are left out for all alike.
    specification
        Methods as `compare.benchmark.methods.parse_methods` reads them.
    out
        Folder of the run: new, empty, or of a run of the same data, splits, seed and version,
        whose finished scores are then taken; those of other settings are refused.
    fuse
        Rules as `compare.fusion.parse_rules` reads them. Those that learn are fitted to scores of
        each split's training videos by models that did not see their group.
    n_inner_folds
        Folds by group that these scores are made in.
    calibration
        ``"auto"``, ``"none"``, ``"temperature"`` or ``"platt"``: what turns scores into
        probabilities before a rule that learns mixes them, see `compare.fusion.calibration`; it is
        fitted to the same scores. ``"auto"`` is a temperature where a rule mixes kinds of scores,
        as margins with logits, and nothing elsewhere.
    seed, workers, verbose
        Handed to every recogniser; `workers` is a number of processes, started for each step anew,
        or an executor that works on all steps of all methods, as for `idt.jobs.run`. Scores do not
        depend on it. `verbose` also tells on standard error what goes on.
    with_yardsticks
        Run the yardsticks too. They take no part in fusion unless they are named as methods.
    cache
        Where recognisers keep what they compute per video; None: ``out/cache``.
    overwrite
        Throw the scores and reports of an earlier run in `out` away first.
    command
        Shown in the report as what made it.
    recognisers
        Factories by name, in place of those of `idt` and `deep`.

    Returns
    -------
    Run
        All results; also written to ``results.json``.

    Raises
    ------
    ValueError
        Anything that is wrong with the request, before any work; or a recogniser's own error.
    idt.jobs.WorkerLost
        A worker died, or was ended by a limit, over a video twice; names it. What was done is kept,
        and another call goes on from there.
    """
    plan = _plan(dataset, specification, fuse, calibration, with_yardsticks, recognisers)
    if any(rule.learns for rule in plan.rules):
        for split in dataset.splits:
            held_out.inner(dataset, split, n_folds=n_inner_folds, seed=seed)
    if isinstance(workers, int) and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; give a number of processes")
    folder = Path(out)
    run_folder.check_folder(folder, overwrite)

    console = Console(stderr=True, quiet=not verbose, highlight=False)
    started, clock = datetime.now(UTC), time.perf_counter()
    dataset = dataset.at_absolute_paths()  # workers may have another working folder
    excluded = check_videos(dataset, workers=workers, verbose=verbose)
    for bad in excluded:
        console.print(
            f"left out: {bad.id}: {bad.reason}", markup=False, soft_wrap=True, style="yellow"
        )
    dataset = dataset.without({bad.id for bad in excluded})
    identity = run_folder.identity_of(dataset, seed=seed, version=versions()["trajfuse"])
    run_folder.open_folder(folder, identity, overwrite)
    common = {
        "seed": seed,
        "workers": workers,
        "verbose": verbose,
        "cache": folder / "cache" if cache is None else Path(cache),
    }
    kept.check(folder, [*plan.methods, *plan.yardsticks], plan.factories, dataset.splits, common)
    tables, resumed = _score_all(plan, dataset, folder, common, console)
    results = [_measured(m, "method", tables, dataset, resumed) for m in plan.methods]
    held = partial(
        _held_out,
        plan,
        dataset,
        folder=folder,
        n_folds=n_inner_folds,
        common=common,
        console=console,
    )
    results += fusing.fused(plan.rules, tables, dataset, folder, held, calibration=calibration)
    results += [_measured(m, "yardstick", tables, dataset, resumed) for m in plan.yardsticks]
    finished = Run(
        dataset=dataset,
        results=tuple(results),
        excluded=excluded,
        unable=plan.unable,
        seed=seed,
        command=command,
        started=started.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - clock,
        peak_memory=peak_memory(),
        versions=versions(),
    )
    text = json.dumps(summary(finished), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "results.json", text.encode())
    return finished


def _plan(
    dataset: Dataset,
    specification: str,
    fuse: str,
    calibration: str,
    with_yardsticks: bool,
    recognisers: Mapping[str, Factory] | None,
) -> _Plan:
    """Work out what is to be run, and refuse what cannot be, before anything is."""
    asked = methods.parse_methods(specification)
    rules = fusion.parse_rules(fuse, [method.label for method in asked], learned=True)
    fusing.check(rules, calibration)
    names = set().union(*(method.recognisers for method in asked))
    names |= set(methods.YARDSTICKS if with_yardsticks else ())
    factories = methods.find(names) if recognisers is None else recognisers
    methods.check(asked, factories)
    able, unable = methods.yardsticks(asked, factories) if with_yardsticks else ([], {})
    by_label = {m.label: methods.factory_of(m, factories) for m in [*asked, *able]}
    run_folder.check_names([*by_label, *(rule.name for rule in rules)])
    run_folder.check_names([split.name for split in dataset.splits])
    return _Plan(asked, able, unable, rules, by_label)


def _score_all(
    plan: _Plan,
    dataset: Dataset,
    folder: Path,
    common: Mapping[str, Any],
    console: Console,
) -> tuple[dict[str, list[ScoreTable]], set[str]]:
    """Return each method's tables, one per split, and the methods of which some were kept."""
    tables: dict[str, list[ScoreTable]] = defaultdict(list)
    resumed = set[str]()
    for split in dataset.splits:
        for method in [*plan.methods, *plan.yardsticks]:
            path = run_folder.score_path(folder, split.name, method.label)
            about = f"{split.name}, {method.label}: "
            if path.is_file():
                console.print(f"{about}taken from {path}", markup=False, soft_wrap=True)
                table = kept.taken(path, method, split, dataset, split.test)
                resumed.add(method.label)
            else:
                about += f"{len(split.train)} videos train, {len(split.test)} test"
                console.print(about, markup=False, soft_wrap=True)
                table = scored(method, plan.factories[method.label], split, dataset, common)
                kept.keep(table, path)
            tables[method.label].append(table)
    return tables, resumed


def _measured(
    method: Method,
    role: Role,
    tables: Mapping[str, Sequence[ScoreTable]],
    dataset: Dataset,
    resumed: set[str],
) -> Result:
    of_method = tables[method.label]
    return Result(
        label=method.label,
        role=role,
        tables=tuple(of_method),
        evaluation=metrics.evaluate(of_method, dataset.truth, groups=dataset.groups),
        settings=of_method[0].provenance["settings"],
        resumed=method.label in resumed,
    )


def _held_out(plan: _Plan, dataset: Dataset, label: str, index: int, **how: Any) -> ScoreTable:
    """Scores of a split's training videos by models of a method that did not see their group."""
    method = next(each for each in plan.methods if each.label == label)
    return held_out.held_out_scores(
        method, plan.factories[label], dataset.splits[index], dataset, **how
    )
