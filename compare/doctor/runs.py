"""The folder of a run: whole, of one piece, and not older than what it was made from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compare.benchmark import run_folder, versions
from compare.benchmark.kept import CHANGE_SCORES
from compare.datasets import Dataset
from compare.datasets.dataset import joined, named
from compare.doctor.finding import Finding
from compare.scores import ScoreTable

AGAIN = "start over with --overwrite, or in another folder"


def examine_run(folder: str | Path, *, dataset: Dataset | None = None) -> list[Finding]:
    """Examine the folder of a run.

    Parameters
    ----------
    folder
        What ``trajfuse compare run`` wrote to.
    dataset
        The data set as it is now, with its videos; None: not compared.

    Returns
    -------
    list of Finding
        Broken or missing tables, settings or versions that differ between tables, data or versions
        that have changed since, reports older than scores.
    """
    folder = Path(folder)
    try:
        identity = json.loads((folder / run_folder.RUN_FILE).read_text("utf-8"))["identity"]
        seed, version = identity["seed"], identity["version"]
        if not isinstance(seed, int):
            raise TypeError(f"seed is {seed!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        text = f"{str(folder)!r} is not the folder of a run: no {run_folder.RUN_FILE} that tells"
        return [Finding("run", "error", text, "give the folder that --out named")]
    tables, broken = _read(folder)
    text = f"{len(tables)} tables in {str(folder)!r}, seed {seed}, trajfuse {version}"
    findings = [Finding("run", "fine", text)]
    if broken:
        text = f"{len(broken)} tables cannot be read: {joined(broken)}"
        findings.append(Finding("run", "error", text, "remove them and run again"))
    findings += _unfinished(tables, dataset)
    findings += _mixed(tables, seed)
    findings += _stale(folder, tables, identity, dataset)
    return findings


def _read(folder: Path) -> tuple[dict[Path, ScoreTable], list[str]]:
    tables, broken = {}, []
    for path in sorted((folder / "scores").glob("*/*.npz")):
        try:
            tables[path] = ScoreTable.load(path)
        except (ValueError, OSError) as error:
            broken.append(f"{path.relative_to(folder)} ({error})")
    return tables, broken


def _unfinished(tables: Mapping[Path, ScoreTable], dataset: Dataset | None) -> list[Finding]:
    """Methods that lack a split."""
    of_method: dict[str, set[str]] = defaultdict(set)
    for table in tables.values():
        of_method[table.method].add(table.split)
    splits = set().union(*of_method.values())
    if dataset is not None:
        splits |= {split.name for split in dataset.splits}
    lacking = [
        f"{method} ({', '.join(sorted(splits - has))})"
        for method, has in of_method.items()
        if splits - has
    ]
    if not tables:
        advice = "run the same command again: it goes on"
        return [Finding("run", "warning", "no method is finished on any split", advice)]
    if not lacking:
        return [Finding("run", "fine", f"every method is finished on all {len(splits)} splits")]
    text = f"{len(lacking)} methods lack splits: {joined(lacking)}"
    return [Finding("run", "warning", text, "run the same command again: it goes on")]


def _mixed(tables: Mapping[Path, ScoreTable], seed: int) -> list[Finding]:
    """Settings that differ between a method's splits; versions and seeds that differ at all."""
    settings: dict[str, set[str]] = defaultdict(set)
    made_with: dict[str, set[str]] = defaultdict(set)
    seeds = set[int]()
    for table in tables.values():
        about = table.provenance
        if "settings" not in about:
            continue  # fused: out of other tables
        settings[table.method].add(json.dumps(about["settings"], sort_keys=True))
        seeds.add(about.get("seed", seed))
        for name in CHANGE_SCORES:
            made_with[name].add(str(about.get("versions", {}).get(name)))
    findings = []
    mixed = [f"{method} ({_differing(each)})" for method, each in settings.items() if len(each) > 1]
    if mixed:
        text = f"settings differ from split to split: {joined(mixed)}"
        findings.append(Finding("run", "error", text, AGAIN))
    if seeds - {seed}:
        text = f"tables of seeds {sorted(seeds | {seed})} in a run of seed {seed}"
        findings.append(Finding("run", "error", text, AGAIN))
    several = [f"{name} {', '.join(sorted(v))}" for name, v in made_with.items() if len(v) > 1]
    if several:
        text = f"tables were made with different versions: {joined(several)}"
        findings.append(Finding("run", "warning", text, AGAIN))
    return findings or [Finding("run", "fine", "one seed, one set of versions and settings")]


def _differing(texts: set[str]) -> str:
    """Name the settings in which JSON texts differ."""
    read: list[dict[str, Any]] = [json.loads(text) for text in texts]
    keys = sorted(set().union(*read))
    return ", ".join(key for key in keys if len({json.dumps(r.get(key)) for r in read}) > 1)


def _stale(
    folder: Path,
    tables: Mapping[Path, ScoreTable],
    identity: Mapping[str, Any],
    dataset: Dataset | None,
) -> list[Finding]:
    """Data or versions that have changed since, and results older than scores."""
    findings = []
    if dataset is not None:
        now = run_folder.identity_of(dataset, seed=identity["seed"], version=identity["version"])
        changed = [name for name in now if identity.get(name) != now[name]]
        if changed:
            text = f"the data is not what the run was of: {named(changed)} changed since"
            findings.append(Finding("run", "error", text, AGAIN))
    installed = versions()
    older = [
        f"{name} {then} then, {installed[name]} now"
        for name in CHANGE_SCORES
        for then in _told(tables, name)
        if then != installed[name]
    ]
    if older:
        text = f"scores are of other versions than are installed: {joined(older)}"
        findings.append(Finding("run", "warning", text, AGAIN))
    written = max((path.stat().st_mtime_ns for path in tables), default=0)
    late = [name for name in run_folder.WRITTEN if _older(folder / name, written)]
    if late and tables:
        text = f"older than the scores, or not there: {', '.join(late)}"
        advice = "run the same command again: it takes the scores and writes these"
        findings.append(Finding("run", "warning", text, advice))
    return findings or [Finding("run", "fine", "results are of these scores, data and versions")]


def _told(tables: Mapping[Path, ScoreTable], name: str) -> Sequence[str]:
    """Versions of a package that tables were made with, where they say."""
    told = (table.provenance.get("versions", {}).get(name) for table in tables.values())
    return sorted({version for version in told if version is not None})


def _older(path: Path, time: int) -> bool:
    return not path.is_file() or path.stat().st_mtime_ns < time
