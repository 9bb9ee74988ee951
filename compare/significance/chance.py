"""Does a method know the classes at all? Its outcomes beside those with labels permuted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compare import metrics
from compare.datasets.dataset import groups_of
from compare.significance.comparison import Outcomes
from compare.significance.paired import Test

N_PERMUTATIONS = 10_000  # p-values down to 1e-4
BLOCK = 1_000_000  # labels that are permuted at a time


@dataclass(frozen=True)
class Chance:
    """The accuracy that a method has on average where labels are permuted, and the test.

    `test` has the one-sided p-value of an accuracy as high as the one that was found.
    """

    accuracy: float
    test: Test


def above_chance(
    found: Outcomes,
    *,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
    n_draws: int = N_PERMUTATIONS,
) -> Chance:
    """Test one method's accuracy against chance, by permuting labels inside each group.

    If a method told nothing of a group's videos but whose group they are, their labels could change
    places without harm. So what footage alone gives away is chance here, and more than the share of
    the commonest class; groups whose videos are all of one class tell nothing, and the p-value is 1
    where there are no others.

    Parameters
    ----------
    found
        Outcomes of one method, of one seed or several: labels change places for all seeds alike.
    groups
        The group of each video id; None where there are no groups: labels then change places among
        all videos of a split.
    seed, n_draws
        Of the permutations.

    Raises
    ------
    ValueError
        A video has no group, or `n_draws` is below 1.

    Notes
    -----
    The found labels count among those drawn, and the p-value is never 0 (Phipson & Smyth 2010).
    """
    if n_draws < 1:
        raise ValueError(f"n_draws must be 1 or more, got {n_draws}")
    weights = metrics.split_weights([split for split, _ in found.rows])
    ids = [id for _, id in found.rows]
    of_id = [""] * len(ids) if groups is None else groups_of(ids, groups)
    units = [(split, group) for (split, _), group in zip(found.rows, of_id, strict=True)]
    classes, truth = np.unique(np.array(found.truth), return_inverse=True)
    said = np.array([[_index(classes, name) for name in row] for row in found.predicted])
    rng = np.random.default_rng(seed)
    reached, mean = np.zeros(n_draws), 0.0
    for unit in sorted(set(units)):
        rows = np.array([k for k, other in enumerate(units) if other == unit])
        weight = weights[rows[0]] / len(said)  # the same for all videos of a split
        votes = (said[:, rows, None] == np.arange(len(classes))).sum(axis=0)  # (video, class)
        counts = np.bincount(truth[rows], minlength=len(classes))
        mean += weight * float((votes @ counts).sum()) / len(rows)
        step = max(1, BLOCK // len(rows))
        for start in range(0, n_draws, step):
            n = min(step, n_draws - start)
            labels = rng.permuted(np.tile(truth[rows], (n, 1)), axis=1)
            reached[start : start + n] += weight * votes[np.arange(len(rows)), labels].sum(axis=1)
    accuracy = float(found.mean @ weights)
    p = (1 + int(np.sum(reached >= accuracy - 1e-9))) / (n_draws + 1)
    where = "splits" if groups is None else "groups"
    return Chance(mean, Test(p, f"one-sided, {n_draws:,} permutations of labels within {where}"))


def _index(classes: np.ndarray, name: str) -> int:
    """Place of a class among those of the test videos; -1 where it is none of them."""
    place = int(np.searchsorted(classes, name))
    return place if place < len(classes) and classes[place] == name else -1
