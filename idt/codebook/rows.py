"""What an array of rows must be, and a fixed number of rows drawn over many videos."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

MAX_SAMPLE = 256_000  # rows over all videos, Wang & Schmid 2013


def check_rows(
    rows: ArrayLike, *, name: str = "rows", n_columns: int | None = None, min_rows: int = 0
) -> np.ndarray:
    """Return rows as a float32 array without a copy where possible, or say what is wrong.

    Parameters
    ----------
    rows
        (n, dimension), real numbers.
    name
        What errors call the array.
    n_columns
        The dimension that it must have.
    min_rows
        The fewest rows that will do.

    Returns
    -------
    ndarray of float32, (n, dimension), C-contiguous

    Raises
    ------
    ValueError
        Not two-dimensional, not numeric, of another dimension, too few rows, NaN or infinite.
    """
    array = np.asarray(rows)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must have the shape (n, dimension), got {array.shape}; give one row for each "
            "trajectory"
        )
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real numbers, got {array.dtype}; convert to float32")
    if n_columns is not None and array.shape[1] != n_columns:
        raise ValueError(
            f"{name} must have {n_columns} columns, got {array.shape[1]}; use what was fitted on "
            "the same descriptor"
        )
    if len(array) < min_rows:
        raise ValueError(
            f"{name} must have at least {min_rows} rows, got {len(array)}; draw more rows or ask "
            "for fewer components"
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and told below
        array = np.ascontiguousarray(array, dtype=np.float32)
    # NaN and infinity both spread into the extremes, so no array of flags is needed.
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise ValueError(
            f"{name} must be finite, got NaN or infinity in {len(bad)} of {len(array)} rows (row "
            f"{bad[0]} first); leave these rows out or extract them again"
        )
    return array


def check_descriptors(
    descriptors: Mapping[str, ArrayLike], *, dimensions: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Return arrays of the same trajectories as `check_rows` does, or say what is wrong.

    Parameters
    ----------
    descriptors
        By name, (n, dimension).
    dimensions
        Descriptors to take, in this order, and their dimensions; None takes all that are given.

    Raises
    ------
    ValueError
        A descriptor is missing, of another dimension or length than the others, or not finite.
    """
    missing = [name for name in dimensions or () if name not in descriptors]
    if missing:
        raise ValueError(
            f"descriptors must hold {', '.join(dimensions or ())}, got none for "
            f"{', '.join(missing)}; extract these too"
        )
    rows = {
        name: check_rows(
            descriptors[name],
            name=f"descriptor {name!r}",
            n_columns=None if dimensions is None else dimensions[name],
        )
        for name in (descriptors if dimensions is None else dimensions)
    }
    lengths = {name: len(array) for name, array in rows.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"descriptors must have one row for each trajectory, got {lengths}; give all arrays "
            "the same rows"
        )
    return rows


class RowSampler:
    """Uniform sample, without replacement, of the rows that many videos give one after another.

    Every row gets a random key as it arrives and the rows with the smallest keys are kept. The
    sample depends on the seed and on the order of the rows, not on how they were cut into blocks.
    All descriptors of a trajectory are drawn together. Memory is the sample itself and one block.

    Parameters
    ----------
    n_rows
        Rows to keep over all videos.
    seed
        Of the random keys.
    """

    def __init__(self, n_rows: int = MAX_SAMPLE, *, seed: int = 0) -> None:
        if n_rows < 1:
            raise ValueError(f"n_rows must be at least 1, got {n_rows}; give a number of rows")
        self.n_rows = n_rows
        self.seed = seed
        self.n_seen = 0
        self._random = np.random.default_rng(seed)
        self._keys = np.empty(0)
        self._arrivals = np.empty(0, dtype=np.int64)
        self._kept: dict[str, np.ndarray] = {}

    def add(self, descriptors: Mapping[str, ArrayLike]) -> None:
        """Offer the rows of one video, or of a part of it.

        Parameters
        ----------
        descriptors
            By name, (n, dimension): the same trajectories in every array.

        Raises
        ------
        ValueError
            Other descriptors or dimensions than before, arrays of different lengths, bad rows.
        """
        block = self._check(descriptors)
        n_new = len(next(iter(block.values())))
        n_held = len(self._keys)
        keys = np.concatenate([self._keys, self._random.random(n_new)])
        arrivals = np.concatenate([self._arrivals, self.n_seen + np.arange(n_new)])
        self.n_seen += n_new
        n_kept = min(len(keys), self.n_rows)
        chosen = np.zeros(len(keys), dtype=bool)
        chosen[np.argpartition(keys, n_kept - 1)[:n_kept] if n_kept else []] = True
        # New rows fill first what is free, then the places of held rows that fell out.
        come = np.flatnonzero(chosen[n_held:]) + n_held
        places = np.concatenate([np.arange(n_held, n_kept), np.flatnonzero(~chosen[:n_held])])
        for name, rows in block.items():
            self._kept[name][places] = rows[come - n_held]
        order = np.arange(n_kept)
        order[places] = come
        self._keys, self._arrivals = keys[order], arrivals[order]

    def sample(self) -> dict[str, np.ndarray]:
        """Rows kept so far, by name, float32 (min(n_seen, n_rows), dimension), as they arrived."""
        order = np.argsort(self._arrivals)
        return {name: rows[: len(order)][order] for name, rows in self._kept.items()}

    def _check(self, descriptors: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        """Rows of all descriptors, which are those of the first call."""
        if not descriptors:
            raise ValueError("descriptors must hold one array or more, got none; name them")
        if self._kept and set(descriptors) != set(self._kept):
            raise ValueError(
                f"descriptors must be {', '.join(self._kept)}, got {', '.join(descriptors)}; "
                "offer the same descriptors of every video"
            )
        dimensions = {name: rows.shape[1] for name, rows in self._kept.items()}
        block = check_descriptors(descriptors, dimensions=dimensions or None)
        if not self._kept:
            # np.empty takes pages only as rows come, so a small data set stays small.
            self._kept = {
                name: np.empty((self.n_rows, rows.shape[1]), dtype=np.float32)
                for name, rows in block.items()
            }
        return block
