"""How often do the intervals of `compare` hold the truth? Simulated, by number of groups.

Groups have an accuracy of their own, drawn from a beta distribution whose spread is the intra-group
correlation; their videos are right or wrong independently of each other given it. For differences,
two methods share groups: a normal copula makes both right together.

    python scripts/simulate_coverage.py --csv coverage.csv

prints and writes ``what,groups,videos,correlation,accuracy,method,coverage,below,above,width``:
percent of intervals that hold the truth, that lie wholly below and above it, and their mean width.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from statistics import NormalDist

import numpy as np
from scipy import special

from compare import intervals

COLUMNS = "what,groups,videos,correlation,accuracy,method,coverage,below,above,width".split(",")
SIZES = ((20, 6), (700, 5), (10, 12), (5, 20))
ACCURACIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
Method = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


def draw(
    rng: np.random.Generator, groups: int, videos: int, accuracy: float, correlation: float
) -> np.ndarray:
    """Which videos are right: bool (groups * videos,), groups one after the other."""
    spread = (1 - correlation) / correlation
    of_group = rng.beta(accuracy * spread, (1 - accuracy) * spread, size=groups)
    return (rng.uniform(size=(groups, videos)) < of_group[:, None]).ravel()


def draw_pair(
    rng: np.random.Generator, groups: int, videos: int, accuracies: tuple[float, float]
) -> np.ndarray:
    """Which videos two methods get right: bool (2, groups * videos).

    Of the latent normal's variance a share of .35 is the videos' own in both methods, .1 the
    group's in both, .05 the group's in each method alone.
    """
    shape = (2, groups, videos)
    latent = (
        0.35**0.5 * rng.normal(size=shape[1:])
        + 0.1**0.5 * rng.normal(size=(groups, 1))
        + 0.05**0.5 * rng.normal(size=(2, groups, 1))
        + 0.5**0.5 * rng.normal(size=shape)
    )
    limits = np.array([NormalDist().inv_cdf(p) for p in accuracies])
    return (latent < limits[:, None, None]).reshape(2, -1)


def default(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    found = intervals.accuracy_interval(right, groups.tolist())
    return found.low, found.high


def by_video(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    found = intervals.wilson(int(right.sum()), len(right))
    return found.low, found.high


def bootstrap(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    found = intervals.group_bootstrap(right, groups.tolist(), n_draws=1000)
    return found.low, found.high


def cluster_t(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    of_group = right.reshape(len(np.unique(groups)), -1).mean(axis=1)
    half = special.stdtrit(len(of_group) - 1, 0.975) * of_group.std(ddof=1) / len(of_group) ** 0.5
    return float(of_group.mean() - half), float(of_group.mean() + half)


def effective_wilson(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    of_group = right.reshape(len(np.unique(groups)), -1).mean(axis=1)
    share, variance = float(of_group.mean()), float(of_group.var(ddof=1)) / len(of_group)
    n = min(share * (1 - share) / variance, len(right)) if variance > 0 else len(of_group)
    n *= (1.959964 / special.stdtrit(len(of_group) - 1, 0.975)) ** 2
    z2 = 1.959964**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * (share * (1 - share) / n + z2 / (4 * n**2))) ** 0.5 / (1 + z2 / n)
    return middle - half, middle + half


METHODS: dict[str, Method] = {
    "default: Jeffreys, effective n": default,
    "Wilson, effective n": effective_wilson,
    "cluster t": cluster_t,
    "group bootstrap": bootstrap,
    "Wilson by video": by_video,
}


def accuracy_rows(repetitions: int, correlation: float) -> Iterator[list[str]]:
    for groups, videos in SIZES:
        member = np.repeat(np.arange(groups), videos).astype(np.str_)
        for accuracy in ACCURACIES:
            rng = np.random.default_rng([groups, round(100 * accuracy)])
            samples = [draw(rng, groups, videos, accuracy, correlation) for _ in range(repetitions)]
            for name, method in METHODS.items():
                few = samples[: repetitions // 10] if method is bootstrap else samples
                limits = np.array([method(sample, member) for sample in few])
                yield row("accuracy", groups, videos, correlation, accuracy, name, limits, accuracy)


def difference_rows(repetitions: int) -> Iterator[list[str]]:
    for groups, videos in SIZES:
        member = np.repeat(np.arange(groups), videos).astype(np.str_).tolist()
        for accuracies in ((0.7, 0.75), (0.85, 0.9), (0.95, 0.95), (0.95, 0.97)):
            rng = np.random.default_rng([groups, *(round(100 * p) for p in accuracies)])
            limits = []
            for _ in range(repetitions):
                first, second = draw_pair(rng, groups, videos, accuracies)
                found = intervals.difference_interval(first, second, member)
                limits.append((found.low, found.high))
            truth = accuracies[1] - accuracies[0]
            yield row(
                *("difference", groups, videos, 0.15, accuracies[1], "default: paired t"),
                *(np.array(limits), truth),
            )


def row(
    what: str,
    groups: int,
    videos: int,
    correlation: float,
    accuracy: float,
    method: str,
    limits: np.ndarray,
    truth: float,
) -> list[str]:
    below, above = np.mean(limits[:, 1] < truth), np.mean(limits[:, 0] > truth)
    numbers = 1 - below - above, below, above, np.mean(limits[:, 1] - limits[:, 0])
    about = [what, str(groups), str(videos), str(correlation), str(accuracy), method]
    return [*about, *(f"{100 * number:.1f}" for number in numbers)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--correlation", type=float, default=0.1)
    parser.add_argument("--csv", type=Path)
    asked = parser.parse_args()
    rows = [COLUMNS]
    printer = csv.writer(sys.stdout)
    printer.writerow(COLUMNS)
    accuracies = accuracy_rows(asked.repetitions, asked.correlation)
    for line in chain(accuracies, difference_rows(asked.repetitions)):
        printer.writerow(line)
        sys.stdout.flush()
        rows.append(line)
    if asked.csv:
        with asked.csv.open("w", newline="") as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
