"""How far two tables of one video hold the same trajectories."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from idt.trajectories.table import Trajectories


def agreement(reference: Trajectories, other: Trajectories) -> dict[str, float]:
    """Measure how far two tables of one video hold the same trajectories.

    Parameters
    ----------
    reference
        The table that shares are taken of.
    other
        The table it is compared with. Descriptors that only one of them holds are left out.

    Returns
    -------
    dict of float
        ``n_reference``, ``n_other``; ``match``: share of the reference's rows that are matched
        (mutual nearest neighbours among rows of equal frame and scale, by the distance of the means
        plus half the difference of the deviations; means at most one pixel of the scale apart);
        ``match_other``: the same matches as a share of the other's rows; ``strong``: matches whose
        means agree to 0.05 pixels of the scale and whose histogram descriptors all agree to 0.02;
        ``rel_<descriptor>``: median over matches of the relative Euclidean difference;
        ``pool_<descriptor>``: relative difference of the table's mean descriptor.

    Raises
    ------
    ValueError
        The tables have no descriptor in common, or one of different dimensions.
    """
    names = _common_descriptors(reference, other)
    first, second = _match_rows(reference.meta, other.meta)
    scale = reference.column("scale")[first]
    moved = np.linalg.norm(reference.meta[first, 1:3] - other.meta[second, 1:3], axis=1)
    strong = moved <= 0.05 * scale
    result = {"n_reference": float(len(reference)), "n_other": float(len(other))}
    relative, pooled = {}, {}
    for name in names:
        values = reference.descriptors[name]
        a, b = values[first], other.descriptors[name][second]
        if name != "trajectory" and len(a):
            strong &= np.abs(a - b).max(axis=1) <= 0.02
        norm = np.maximum(np.linalg.norm(a, axis=1), 1e-12)
        difference = np.linalg.norm(a - b, axis=1) / norm
        relative[f"rel_{name}"] = float(np.median(difference)) if len(a) else float("nan")
        pooled[f"pool_{name}"] = _relative_mean(values, other.descriptors[name])
    result["match"] = len(first) / max(len(reference), 1)
    result["match_other"] = len(first) / max(len(other), 1)
    result["strong"] = float(strong.sum()) / max(len(reference), 1)
    return result | relative | pooled


def _common_descriptors(reference: Trajectories, other: Trajectories) -> list[str]:
    """Names of the descriptors that both tables hold."""
    names = [name for name in reference.descriptors if name in other.descriptors]
    if not names:
        held = [", ".join(table.descriptors) or "none" for table in (reference, other)]
        raise ValueError(
            f"tables must have a descriptor in common, got {held[0]} and {held[1]}; extract both "
            "with the same descriptors"
        )
    for name in names:
        sizes = [table.descriptors[name].shape[1] for table in (reference, other)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"descriptor {name!r} must have the same dimension in both tables, got {sizes[0]} "
                f"and {sizes[1]}; extract both with the same settings"
            )
    return names


def _relative_mean(a: np.ndarray, b: np.ndarray) -> float:
    """Relative Euclidean difference of two tables' mean rows."""
    if not len(a) or not len(b):
        return float("nan")
    mean_a, mean_b = a.mean(axis=0, dtype=np.float64), b.mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(mean_a - mean_b)) / max(float(np.linalg.norm(mean_a)), 1e-12)


def _match_rows(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row indices of mutual nearest neighbours of equal frame and scale, within a pixel."""
    first, second = [], []
    keys_a = _group_rows(a)
    keys_b = _group_rows(b)
    for key in keys_a.keys() & keys_b.keys():
        rows_a, rows_b = keys_a[key], keys_b[key]
        means = np.linalg.norm(a[rows_a, None, 1:3] - b[None, rows_b, 1:3], axis=2)
        deviations = np.linalg.norm(a[rows_a, None, 3:5] - b[None, rows_b, 3:5], axis=2)
        cost = means + 0.5 * deviations
        nearest_b = cost.argmin(axis=1)
        nearest_a = cost.argmin(axis=0)
        index = np.arange(len(rows_a))
        mutual = (nearest_a[nearest_b] == index) & (means[index, nearest_b] <= key[1])
        first.append(rows_a[mutual])
        second.append(rows_b[nearest_b[mutual]])
    if not first:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(first), np.concatenate(second)


def _group_rows(meta: np.ndarray) -> Mapping[tuple[float, float], np.ndarray]:
    """Row indices by frame and scale."""
    keys, inverse = np.unique(
        np.round(meta[:, [0, 6]].astype(np.float64), 3), axis=0, return_inverse=True
    )
    order = np.argsort(inverse.ravel(), kind="stable")
    bounds = np.searchsorted(inverse.ravel()[order], np.arange(len(keys) + 1))
    return {
        (float(key[0]), float(key[1])): order[bounds[i] : bounds[i + 1]]
        for i, key in enumerate(keys)
    }
