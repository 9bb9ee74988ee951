"""Tests of paired outcomes: sign-flip by group, McNemar by video, and Holm's adjustment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

N_FLIPS = 100_000  # drawn patterns of signs: p-values down to 1e-5
MAX_ENUMERATED = 20  # units that differ, up to which all 2**n patterns are gone through
MAX_PARTS = 60  # parts of a video's weight that are tried as the step of all differences
BLOCK = 4_000_000  # cells of a block of drawn patterns


@dataclass(frozen=True)
class Test:
    """A two-sided p-value and the method by which it was found."""

    __test__ = False  # no test case, whatever its name says to pytest

    p: float
    method: str


def mcnemar(n_fixed: int, n_broken: int) -> Test:
    """Exact McNemar test on the videos that one method alone gets right.

    Parameters
    ----------
    n_fixed, n_broken
        Videos that the second alone, and the first alone, gets right.
    """
    if min(n_fixed, n_broken) < 0:
        raise ValueError(f"n_fixed and n_broken must be 0 or more, got {n_fixed} and {n_broken}")
    n, smaller = n_fixed + n_broken, min(n_fixed, n_broken)
    p = min(1.0, 2 * float(special.bdtr(smaller, n, 0.5))) if n else 1.0
    return Test(p, "exact McNemar, by video")


def sign_flip(
    difference: np.ndarray,
    units: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    unit: str = "group",
    seed: int = 0,
    n_draws: int = N_FLIPS,
) -> Test:
    """Sign-flip test of a weighted mean of differences, units' signs flipped as wholes.

    Parameters
    ----------
    difference : ndarray, shape (n_videos,)
        Outcome of the one method less that of the other, -1 to 1 (0 where they agree).
    units
        The group of each video.
    weights : ndarray, shape (n_videos,), optional
        Positive; None: all the same.
    unit
        What the units are called in the test's `method`.
    seed, n_draws
        Of drawn patterns, where the exact distribution is out of reach.

    Notes
    -----
    Exact by convolution where the units' sums are whole multiples of a step, by enumeration where
    20 units or fewer differ. A p-value from drawn patterns counts the found pattern among them
    (Phipson & Smyth) and is never 0.
    """
    values = np.asarray(difference, dtype=np.float64)
    if values.ndim != 1 or len(units) != len(values) or not len(values):
        raise ValueError(
            f"difference and units must be of the same videos, 1 or more, got {values.shape} and "
            f"{len(units)}"
        )
    if not np.abs(values).max() <= 1:
        raise ValueError(f"difference must lie in -1..1, got {values.min()}..{values.max()}")
    if n_draws < 1:
        raise ValueError(f"n_draws must be 1 or more, got {n_draws}")
    share = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share / share.mean()
    _, member = np.unique(np.asarray(units, dtype=np.str_), return_inverse=True)
    sums = np.bincount(member, weights=values * share)
    step = _step(sums, share.min())
    sums = sums[np.abs(sums) > 1e-9]
    about = f"by {unit}, {len(sums)} of {member.max() + 1} differ"
    if not len(sums):
        return Test(1.0, f"exact sign-flip {about}")
    if step is not None:
        return Test(_convolved(np.rint(sums / step).astype(np.int64)), f"exact sign-flip {about}")
    if len(sums) <= MAX_ENUMERATED:
        return Test(_enumerated(sums), f"exact sign-flip {about}")
    return Test(_drawn(sums, seed, n_draws), f"sign-flip {about}, {n_draws:,} drawn")


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjust p-values of one family by Holm's method: float64 (n,), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or (len(p) and not (p.min() >= 0 and p.max() <= 1)):
        raise ValueError(f"p_values must be a list of numbers in 0..1, got {p_values!r}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def _step(sums: np.ndarray, smallest: float) -> float | None:
    """Of a video's weight the largest whole part of which all sums are multiples, if any."""
    for parts in range(1, MAX_PARTS + 1):
        multiples = sums * parts / smallest
        if np.abs(multiples - np.rint(multiples)).max() < 1e-6:
            return smallest / parts
    return None


def _convolved(multiples: np.ndarray) -> float:
    """Exact p of |sum| when each whole number's sign is flipped: their distribution, built up."""
    sizes = np.abs(multiples)
    total = int(sizes.sum())
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    for size in sizes.tolist():
        chance = 0.5 * (np.roll(chance, size) + np.roll(chance, -size))
    return float(
        min(1.0, chance[np.abs(np.arange(-total, total + 1)) >= abs(multiples.sum())].sum())
    )


def _enumerated(sums: np.ndarray) -> float:
    """Exact p over all patterns of signs."""
    reached = np.zeros(1)
    for value in sums.tolist():
        reached = np.concatenate([reached + value, reached - value])
    return float(np.mean(np.abs(reached) >= abs(sums.sum()) - 1e-9))


def _drawn(sums: np.ndarray, seed: int, n_draws: int) -> float:
    """Share of the drawn patterns of signs, and the found one, that reach as far."""
    rng = np.random.default_rng(seed)
    as_large = 1
    step = max(1, BLOCK // len(sums))
    for start in range(0, n_draws, step):
        n = min(step, n_draws - start)
        flipped = rng.integers(0, 2, size=(n, len(sums)), dtype=np.int8)
        reached = sums.sum() - 2 * (flipped @ sums)
        as_large += int(np.sum(np.abs(reached) >= abs(sums.sum()) - 1e-9))
    return as_large / (n_draws + 1)
