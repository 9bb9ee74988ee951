"""Scores that a run keeps in its folder, and which of them a later start may take.

What is taken has to be what would be made again: scores of the same method, split and videos, by
the same settings and versions. Scores of other settings are never mixed with new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compare.benchmark import run_folder
from compare.benchmark.methods import Factory, Method
from compare.benchmark.result import versions
from compare.benchmark.scoring import settings_of
from compare.datasets import Dataset, Split
from compare.datasets.dataset import named
from compare.scores import ScoreTable

CHANGE_SCORES = ("trajfuse", "numpy", "opencv-contrib-python", "torch")  # packages that may


def keep(table: ScoreTable, path: Path) -> None:
    """Write the CSV first: the npz is what says that a method is finished."""
    table.save(path.with_suffix(".csv"))
    table.save(path)


def taken(
    path: Path, method: Method, split: Split, dataset: Dataset, ids: tuple[str, ...]
) -> ScoreTable:
    """Read what `keep` wrote, after a check that it is of this method, split and videos."""
    table = _of_method(path, method)
    if table.split != split.name:
        raise ValueError(
            f"{str(path)!r} must hold scores for {split.name!r}, got those for {table.split!r}; "
            "remove it or start over with --overwrite"
        )
    return table.aligned(ids, dataset.class_names)


def check(
    folder: Path,
    methods: Sequence[Method],
    factories: Mapping[str, Factory],
    splits: Sequence[Split],
    common: Mapping[str, Any],
) -> None:
    """Refuse scores in a run's folder that were made with other settings than those asked for now.

    Parameters
    ----------
    folder, splits
        Of the run.
    methods, factories
        What is asked for, and by label what makes each; only those are made of which scores are
        kept.
    common
        Keywords of the factories.

    Raises
    ------
    ValueError
        Names the files, what differs, and what to do.
    """
    for method in methods:
        paths = [path for split in splits for path in run_folder.kept(folder, split, method.label)]
        if not paths:
            continue
        now = {"settings": settings_of(factories[method.label](**common)), "versions": versions()}
        others = {
            path: each for path in paths if (each := _differing(_of_method(path, method), now))
        }
        if others:
            differing = dict.fromkeys(text for each in others.values() for text in each)
            raise ValueError(
                f"scores in the run's folder must be of the settings asked for now, got others for "
                f"{method.label!r} ({', '.join(differing)}) in {named(list(map(str, others)))}; "
                "remove these files to have them made again, or start over with --overwrite or in "
                "another folder"
            )


def _of_method(path: Path, method: Method) -> ScoreTable:
    table = ScoreTable.load(path)
    if table.method != method.label:
        raise ValueError(
            f"{str(path)!r} must hold the scores of {method.label!r}, got those of "
            f"{table.method!r}; remove it or start over with --overwrite"
        )
    return table


def _differing(table: ScoreTable, now: Mapping[str, Any]) -> list[str]:
    """Say in what a kept table's settings and versions differ from those of now."""
    about = table.provenance
    then = _flat(about.get("settings"))
    today = _flat(now["settings"])
    for name in CHANGE_SCORES:
        then[f"version of {name}"] = about.get("versions", {}).get(name)
        today[f"version of {name}"] = now["versions"][name]
    names = [name for name in {**then, **today} if then.get(name) != today.get(name)]
    return [f"{name} {then.get(name)!r} then, {today.get(name)!r} now" for name in names]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Settings of settings under one name: ``recipe.epochs``."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= _flat(each, f"{prefix}.{key}" if prefix else str(key))
    return found
