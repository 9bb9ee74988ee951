"""Scores of a split's training videos by models that did not see their group.

Rules that learn are fitted to these. A recogniser that has ``cross_scores`` makes them itself; for
any other, folds of the training videos are drawn by group, and each is scored by a recogniser that
was fitted to the others. Every fold's scores are kept as soon as they are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from compare.benchmark import run_folder
from compare.benchmark.kept import keep, taken
from compare.benchmark.methods import Factory, Method
from compare.benchmark.scoring import cross_scored, scored
from compare.datasets import Dataset, Split, inner_folds
from compare.scores import ScoreTable


def inner(dataset: Dataset, split: Split, *, n_folds: int, seed: int) -> Dataset:
    """Return the data set with folds of a split's training videos, by group, as its splits.

    Raises
    ------
    ValueError
        There are fewer groups than folds, or a class has no video outside some fold.
    """
    try:
        folds = inner_folds(dataset, split, n_folds=n_folds, seed=seed)
        return replace(dataset, splits=folds, official=())
    except ValueError as error:
        error.add_note(f"(in the inner folds of {split.name!r}, which rules that learn need)")
        raise


def held_out_scores(
    method: Method,
    factory: Factory,
    split: Split,
    dataset: Dataset,
    *,
    folder: Path,
    n_folds: int,
    common: Mapping[str, Any],
    console: Console,
) -> ScoreTable:
    """Score a split's training videos, each by a model that did not see its group.

    Parameters
    ----------
    method, factory, split, dataset
        What is fitted, and to which videos.
    folder
        Of the run; what is finished there is taken.
    n_folds
        Folds that groups are dealt to.
    common
        ``seed``, ``workers``, ``verbose`` and ``cache`` for the recogniser.
    console
        Told what goes on.

    Returns
    -------
    ScoreTable
        Of `split.train`, in its order. ``"held out"`` in its provenance says how it was made;
        seconds are the sums over folds.
    """
    path = run_folder.held_out_path(folder, split.name, n_folds, method.label)
    if path.is_file():
        return taken(path, method, split, dataset, split.train)
    table = cross_scored(method, factory, split, dataset, common, n_folds=n_folds)
    if table is None:
        folds = inner(dataset, split, n_folds=n_folds, seed=common["seed"])
        parts = []
        for fold in folds.splits:
            part = path.parent / run_folder.slug(fold.name) / path.name
            if part.is_file():
                parts.append(taken(part, method, fold, folds, fold.test))
                continue
            about = f"{split.name}, {method.label}: inner {fold.name} of {n_folds}"
            console.print(about, markup=False, soft_wrap=True)
            try:
                parts.append(scored(method, factory, fold, folds, common))
            except Exception as error:
                error.add_note(f"(for rules that learn, in {split.name!r})")
                raise
            keep(parts[-1], part)
        table = _together(parts, split)
        how = f"{n_folds} folds of the training videos, by group where there are groups"
    else:
        how = f"the recogniser's own cross_scores, {n_folds} folds"
    table = replace(table, provenance={**table.provenance, "held out": how})
    keep(table, path)
    return table


def _together(parts: list[ScoreTable], split: Split) -> ScoreTable:
    """Put the folds' tables one below the other, in the order of the training videos."""
    first = parts[0]
    whole = replace(
        first,
        ids=tuple(id for part in parts for id in part.ids),
        scores=np.concatenate([part.scores for part in parts]),
        split=split.name,
        provenance={
            **first.provenance,
            "fit_seconds": round(sum(p.provenance["fit_seconds"] for p in parts), 3),
            "score_seconds": round(sum(p.provenance["score_seconds"] for p in parts), 3),
        },
    )
    return whole.aligned(split.train, first.classes)
