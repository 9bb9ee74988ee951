"""Folds: from the values that videos carry, or drawn so that groups stay together."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from compare.datasets.dataset import Dataset, Split, Video, named

DEFAULT_FOLDS = 5


def group_folds(videos: Sequence[Video], *, n_folds: int, seed: int = 0) -> tuple[Split, ...]:
    """Draw folds that keep groups together and spread every class as evenly as may be.

    Groups are taken from the largest to the smallest (ties in an order drawn from `seed`); each
    goes to the fold in which the sum of squared class counts grows least. A video without a group
    is a group of its own.
    """
    members: dict[str, list[Video]] = defaultdict(list)
    for clip in videos:
        members[f"group {clip.group}" if clip.group is not None else f"id {clip.id}"].append(clip)
    if not 2 <= n_folds <= len(members):
        raise ValueError(
            f"folds must be between 2 and the number of groups, {len(members)}, got {n_folds}; "
            "ask for fewer folds or give finer groups"
        )
    order = list(members)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    counts = [Counter[str]() for _ in range(n_folds)]
    fold_of: dict[str, int] = {}
    for group in order:
        added = Counter(clip.label for clip in members[group])
        growth = [sum(2 * c[name] * n + n * n for name, n in added.items()) for c in counts]
        fold = min(range(n_folds), key=lambda k: (growth[k], counts[k].total(), k))
        counts[fold] += added
        fold_of.update((clip.id, fold) for clip in members[group])
    return splits_by_value([(clip.id, str(fold_of[clip.id] + 1)) for clip in videos])


def inner_folds(
    dataset: Dataset, split: Split, *, n_folds: int = DEFAULT_FOLDS, seed: int = 0
) -> tuple[Split, ...]:
    """Draw folds of a split's training videos alone, for validation.

    Each returned split trains on most of them and tests on the rest; no group stands on both sides,
    and no test video of `split` on either. Parameters are those of `group_folds`.
    """
    clips = dataset.by_id
    return group_folds([clips[id] for id in split.train], n_folds=n_folds, seed=seed)


def splits_by_value(fold_of: Sequence[tuple[str, str]]) -> tuple[Split, ...]:
    """Make one split per value: its (id, value) videos test, all others train."""
    empty = [id for id, value in fold_of if not value]
    if empty:
        raise ValueError(f"every video must have a fold, got an empty cell for {named(empty)}")
    values = sorted({value for _, value in fold_of}, key=natural)
    if len(values) < 2:
        raise ValueError(f"folds must take 2 or more values, got only {named(values)}")
    return tuple(
        Split(
            f"fold {value}",
            tuple(id for id, v in fold_of if v != value),
            tuple(id for id, v in fold_of if v == value),
        )
        for value in values
    )


def text_of_folds(videos: Sequence[Video], n_folds: int, seed: int) -> str:
    """Describe drawn folds in one line, for `Dataset.protocol`."""
    unit = "group" if videos and videos[0].group is not None else "video (no groups given)"
    return f"{n_folds} folds drawn by {unit}, classes spread evenly, seed {seed}"


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key under which fold 10 comes after fold 9."""
    return [(0, int(p)) if p.isdigit() else (1, p) for p in re.split("([0-9]+)", text) if p]
