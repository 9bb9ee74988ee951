"""One recogniser on one split: fitted, and asked for scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from compare.benchmark.effort import Effort, measured
from compare.benchmark.methods import Factory, Method, Recogniser
from compare.benchmark.result import versions
from compare.datasets import Dataset, Split
from compare.scores import ScoreTable, warn_of_flat


def scored(
    method: Method, factory: Factory, split: Split, dataset: Dataset, common: Mapping[str, Any]
) -> ScoreTable:
    """Fit one recogniser on a split's training videos and score its test videos."""
    with _named(method, split):
        recogniser = factory(**common)
        paths, labels, groups = training(split, dataset)
        with measured() as fitting:
            recogniser.fit(paths, labels, groups=groups, class_names=list(dataset.class_names))
        clips = dataset.by_id
        with measured() as scoring:
            values = recogniser.scores([clips[id].path for id in split.test])
        efforts = fitting, scoring
        return _table(recogniser, values, split.test, method, split, dataset, common, efforts)


def cross_scored(
    method: Method,
    factory: Factory,
    split: Split,
    dataset: Dataset,
    common: Mapping[str, Any],
    *,
    n_folds: int,
) -> ScoreTable | None:
    """Let a recogniser score a split's training videos group by group; None where it cannot."""
    with _named(method, split):
        recogniser = factory(**common)
        own = getattr(recogniser, "cross_scores", None)
        if own is None:
            return None
        paths, labels, groups = training(split, dataset)
        with measured() as effort:
            kept_apart = list(split.train) if groups is None else groups
            values = own(paths, labels, kept_apart, n_folds=n_folds)
        efforts = effort, Effort()
        return _table(recogniser, values, split.train, method, split, dataset, common, efforts)


def training(split: Split, dataset: Dataset) -> tuple[list[Path], list[int], list[str] | None]:
    """Return paths, labels and groups (None where there are none) of a split's training videos."""
    clips = dataset.by_id
    label_of = {name: label for label, name in enumerate(dataset.class_names)}
    train = [clips[id] for id in split.train]
    groups = None if dataset.groups is None else [str(clip.group) for clip in train]
    return [clip.path for clip in train], [label_of[clip.label] for clip in train], groups


def _table(
    recogniser: Recogniser,
    values: np.ndarray,
    ids: tuple[str, ...],
    method: Method,
    split: Split,
    dataset: Dataset,
    common: Mapping[str, Any],
    efforts: tuple[Effort, Effort],
) -> ScoreTable:
    """Make the table of a recogniser's scores, with what made them and what that took."""
    fitting, scoring = efforts
    known = {
        "peak_memory_bytes": max((e.peak_bytes for e in efforts if e.peak_bytes), default=None),
        "parameters": getattr(recogniser, "n_parameters_", None),
        "pretraining": getattr(recogniser, "pretraining", None),
    }
    table = ScoreTable(
        ids=ids,
        classes=dataset.class_names,
        scores=values,
        kind=getattr(recogniser, "score_kind", "decision"),
        method=method.label,
        split=split.name,
        provenance={
            "settings": settings_of(recogniser),
            "seed": common["seed"],
            "fit_seconds": round(fitting.seconds, 3),
            "score_seconds": round(scoring.seconds, 3),
            **{name: value for name, value in known.items() if value is not None},
            "versions": versions(),
        },
    )
    warn_of_flat(table)
    return table


def settings_of(recogniser: Recogniser) -> dict[str, Any]:
    """What made a recogniser's scores, as a table's file keeps it."""
    return json.loads(json.dumps(recogniser.settings(), default=str))


@contextmanager
def _named(method: Method, split: Split) -> Iterator[None]:
    """Add to an error which method and split it comes from."""
    try:
        yield
    except Exception as error:
        error.add_note(f"(in method {method.label!r}, {split.name!r})")
        raise
