"""The one loop: for each split, for each recogniser: fit, score, keep; then fuse and measure.

A run has a folder. Scores go into ``scores/SPLIT/METHOD.npz`` (and ``.csv``) as soon as they are
there, so that a run that was stopped goes on where it was: what is finished is taken from the
folder, provided the folder is of the same videos, splits, seed and version.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from compare import fusion, metrics
from compare.benchmark import methods, run_folder
from compare.benchmark.methods import Factory, Method
from compare.datasets import Dataset, Split, Unreadable, check_videos
from compare.fusion import FusionRule
from compare.metrics import Evaluation
from compare.scores import ScoreTable, write_whole

Role = Literal["method", "fusion", "yardstick"]
PACKAGES = ("trajfuse", "numpy", "scipy", "scikit-learn", "opencv-contrib-python", "numba", "torch")
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Result:
    """Scores and measures of one method, yardstick or fusion rule over all splits.

    Seconds are summed over the splits; those of a fusion rule are 0. `resumed` says that some of
    the scores were taken from the run's folder (their seconds are those of when they were made).
    """

    label: str
    role: Role
    tables: tuple[ScoreTable, ...]
    evaluation: Evaluation
    fit_seconds: float = 0.0
    score_seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    rule: FusionRule | None = None
    resumed: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that a report says.

    `peak_memory` is in bytes: of this process, and of the largest process that it started.
    `unable` says why a yardstick could not run.
    """

    dataset: Dataset
    results: tuple[Result, ...]
    excluded: tuple[Unreadable, ...]
    unable: Mapping[str, str]
    seed: int
    command: str
    started: str
    seconds: float
    peak_memory: Mapping[str, int]
    versions: Mapping[str, str]

    def of(self, role: Role) -> tuple[Result, ...]:
        """Return the results of one role, in the order of the run."""
        return tuple(result for result in self.results if result.role == role)


@dataclass(frozen=True)
class _Plan:
    """What was asked for, resolved."""

    methods: list[Method]
    yardsticks: list[Method]
    unable: dict[str, str]
    rules: list[FusionRule]
    factories: Mapping[str, Factory]


def run(
    dataset: Dataset,
    specification: str,
    *,
    out: str | Path,
    fuse: str = "",
    seed: int = 0,
    workers: int = 1,
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
        whose finished scores are then taken.
    fuse
        Rules as `compare.fusion.parse_rules` reads them.
    seed, workers, verbose
        Handed to every recogniser; `verbose` also tells on standard error what goes on.
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
    """
    plan = _plan(dataset, specification, fuse, with_yardsticks, recognisers)
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    folder = Path(out)
    run_folder.check_folder(folder, overwrite)

    console = Console(stderr=True, quiet=not verbose, highlight=False)
    started, clock = datetime.now(UTC), time.perf_counter()
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
    tables, resumed = _score_all(plan, dataset, folder, common, console)
    results = [_measured(m, "method", tables, dataset, resumed) for m in plan.methods]
    results += [_fused(rule, tables, dataset, folder) for rule in plan.rules]
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
        peak_memory=_peak_memory(),
        versions=versions(),
    )
    text = json.dumps(summary(finished), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "results.json", text.encode())
    return finished


def summary(run: Run) -> dict[str, Any]:
    """Return everything about a run but its scores, JSON-able."""
    return {
        "format": FORMAT,
        "dataset": {
            "name": run.dataset.name,
            "protocol": run.dataset.protocol,
            "classes": list(run.dataset.class_names),
            "n_videos": len(run.dataset.videos),
            "splits": {s.name: [len(s.train), len(s.test)] for s in run.dataset.splits},
        },
        "results": [_result_summary(result) for result in run.results],
        "excluded": {bad.id: bad.reason for bad in run.excluded},
        "yardsticks_not_run": dict(run.unable),
        "seed": run.seed,
        "command": run.command,
        "started": run.started,
        "seconds": round(run.seconds, 3),
        "peak_memory_bytes": dict(run.peak_memory),
        "versions": dict(run.versions),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, the system and the packages behind a result."""
    system = f"{platform.system()} {platform.machine()}"
    found = {"python": platform.python_version(), "system": system}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _result_summary(result: Result) -> dict[str, Any]:
    measured = result.evaluation
    by_group = measured.by_group
    return {
        "label": result.label,
        "role": result.role,
        "accuracy": measured.accuracy,
        "mean_class_accuracy": measured.mean_class_accuracy,
        "n_right": measured.n_right,
        "n_tested": measured.n_tested,
        "top5": measured.top5,
        "mean_average_precision": measured.mean_average_precision,
        "split_mean": measured.split_mean,
        "interval_of_split_mean": asdict(measured.split_mean_interval),
        "interval_by_video": asdict(measured.by_video),
        "interval_by_group": None if by_group is None else asdict(by_group),
        "n_groups": measured.n_groups,
        "accuracy_by_split": measured.accuracy_by_split,
        "recall": {
            name: None if value != value else float(value)
            for name, value in zip(measured.classes, measured.recall, strict=True)
        },
        "confusion": measured.confusion.tolist(),
        "fit_seconds": round(result.fit_seconds, 3),
        "score_seconds": round(result.score_seconds, 3),
        "settings": dict(result.settings),
        "resumed": result.resumed,
    }


def _plan(
    dataset: Dataset,
    specification: str,
    fuse: str,
    with_yardsticks: bool,
    recognisers: Mapping[str, Factory] | None,
) -> _Plan:
    """Work out what is to be run, and refuse what cannot be, before anything is."""
    asked = methods.parse_methods(specification)
    rules = fusion.parse_rules(fuse, [method.label for method in asked])
    names = {method.name for method in asked} | set(methods.YARDSTICKS if with_yardsticks else ())
    factories = methods.find(names) if recognisers is None else recognisers
    methods.check(asked, factories)
    able, unable = methods.yardsticks(asked, factories) if with_yardsticks else ([], {})
    labels = [method.label for method in [*asked, *able]]
    run_folder.check_names([*labels, *(rule.name for rule in rules)])
    run_folder.check_names([split.name for split in dataset.splits])
    return _Plan(asked, able, unable, rules, factories)


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
                table = _taken(path, method, split, dataset)
                resumed.add(method.label)
            else:
                about += f"{len(split.train)} videos train, {len(split.test)} test"
                console.print(about, markup=False, soft_wrap=True)
                table = _scored(method, plan.factories[method.name], split, dataset, common)
                _keep(table, path)
            tables[method.label].append(table)
    return tables, resumed


def _scored(
    method: Method, factory: Factory, split: Split, dataset: Dataset, common: Mapping[str, Any]
) -> ScoreTable:
    """Fit one recogniser on a split's training videos and score its test videos."""
    clips = dataset.by_id
    label_of = {name: label for label, name in enumerate(dataset.class_names)}
    train = [clips[id] for id in split.train]
    groups = None if dataset.groups is None else [str(clip.group) for clip in train]
    try:
        recogniser = factory(**common, **method.options)
        clock = time.perf_counter()
        recogniser.fit(
            [clip.path for clip in train],
            [label_of[clip.label] for clip in train],
            groups=groups,
            class_names=list(dataset.class_names),
        )
        fitted = time.perf_counter()
        values = recogniser.scores([clips[id].path for id in split.test])
        done = time.perf_counter()
        return ScoreTable(
            ids=split.test,
            classes=dataset.class_names,
            scores=values,
            kind=getattr(recogniser, "score_kind", "decision"),
            method=method.label,
            split=split.name,
            provenance={
                "settings": json.loads(json.dumps(recogniser.settings(), default=str)),
                "seed": common["seed"],
                "fit_seconds": round(fitted - clock, 3),
                "score_seconds": round(done - fitted, 3),
                "versions": versions(),
            },
        )
    except Exception as error:
        error.add_note(f"(in method {method.label!r}, {split.name!r})")
        raise


def _keep(table: ScoreTable, path: Path) -> None:
    """Write the CSV first: the npz is what says that a method is finished."""
    table.save(path.with_suffix(".csv"))
    table.save(path)


def _taken(path: Path, method: Method, split: Split, dataset: Dataset) -> ScoreTable:
    table = ScoreTable.load(path)
    if (table.method, table.split) != (method.label, split.name):
        raise ValueError(
            f"{str(path)!r} must hold the scores of {method.label!r} for {split.name!r}, got those "
            f"of {table.method!r} for {table.split!r}; remove it or start over with --overwrite"
        )
    return table.aligned(split.test, dataset.class_names)


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
        fit_seconds=sum(table.provenance["fit_seconds"] for table in of_method),
        score_seconds=sum(table.provenance["score_seconds"] for table in of_method),
        settings=of_method[0].provenance["settings"],
        resumed=method.label in resumed,
    )


def _fused(
    rule: FusionRule,
    tables: Mapping[str, Sequence[ScoreTable]],
    dataset: Dataset,
    folder: Path,
) -> Result:
    fused = []
    for index, split in enumerate(dataset.splits):
        table = fusion.fuse([tables[name][index] for name in rule.methods], rule)
        _keep(table, run_folder.score_path(folder, split.name, rule.name))
        fused.append(table)
    return Result(
        label=rule.name,
        role="fusion",
        tables=tuple(fused),
        evaluation=metrics.evaluate(fused, dataset.truth, groups=dataset.groups),
        settings=fused[0].provenance,
        rule=rule,
    )


def _peak_memory() -> dict[str, int]:
    """Peak resident bytes of this process and of the largest that it has started and ended."""
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return {
        "this process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
        "largest worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * scale,
    }
