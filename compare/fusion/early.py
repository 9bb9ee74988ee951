"""Early fusion: encodings of several methods side by side, before a classifier has seen them.

Two encodings of the same videos (Fisher vectors of tracks, mean features of a network) can be fused
before the SVM rather than after it: concatenated, or by adding up their kernels. For linear kernels
the two are one and the same, so which to use is a question of memory: rows times columns for one,
rows times rows for the other. Rows are joined by video id here as everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compare.datasets.dataset import named
from compare.scores.names import require_same


@dataclass(frozen=True, eq=False)
class Encodings:
    """One vector per video, of one method.

    `ids` are unique; `values` are real and finite, (n_videos, n_columns), kept as given.
    """

    ids: tuple[str, ...]
    values: np.ndarray
    method: str

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 2 or values.dtype.kind != "f" or len(values) != len(self.ids):
            raise ValueError(
                f"values of {self.method!r} must be floats of shape (n_videos, n_columns) for "
                f"{len(self.ids)} videos, got {values.dtype} of shape {values.shape}"
            )
        repeated = [id for id, n in Counter(self.ids).items() if n > 1]
        if repeated:
            raise ValueError(f"ids must be unique, got more than once: {named(repeated)}")
        bad = np.flatnonzero(~np.isfinite(values.sum(axis=1)))
        if bad.size:
            names = [self.ids[row] for row in bad.tolist()]
            raise ValueError(f"encodings must be finite, got NaN or infinity for {named(names)}")


def concatenate(
    encodings: Sequence[Encodings], *, weights: Sequence[float] | None = None
) -> Encodings:
    """Put encodings side by side, each video's block at length 1 times the root of its weight.

    Parameters
    ----------
    encodings
        One per method, of the same videos in any order.
    weights
        One per method, 0 or more, not all 0; divided by their sum. None: equal ones.

    Returns
    -------
    Encodings
        In the first one's order and dtype; inner products are `kernel_sum` of those of the blocks.
        A row of zeros stays one.

    Raises
    ------
    ScoreJoinError
        The encodings are of different videos.
    """
    shares = _shares(len(encodings), weights)
    first = encodings[0]
    blocks = []
    for each, share in zip(encodings, shares, strict=True):
        require_same(first.ids, each.ids, what="videos", sides=(first.method, each.method))
        row_of = {id: row for row, id in enumerate(each.ids)}
        values = each.values[[row_of[id] for id in first.ids]]
        length = np.linalg.norm(values, axis=1, keepdims=True)
        blocks.append(values * (share**0.5 / np.where(length > 0, length, 1)).astype(values.dtype))
    together = np.concatenate(blocks, axis=1).astype(first.values.dtype, copy=False)
    return Encodings(first.ids, together, "+".join(each.method for each in encodings))


def kernel_sum(
    kernels: Sequence[np.ndarray], *, weights: Sequence[float] | None = None
) -> np.ndarray:
    """Add up kernels of the same videos in the same order, each weighted.

    Parameters
    ----------
    kernels : sequence of ndarray, shape (n_rows, n_columns)
        Values of a kernel between the same rows and columns: training videos with each other, or
        test videos with training videos. On one scale (a kernel of rows of length 1 has a diagonal
        of 1; divide a chi-square distance by its mean over training videos before raising it).
    weights
        As for `concatenate`.

    Returns
    -------
    ndarray, shape (n_rows, n_columns)
    """
    shares = _shares(len(kernels), weights)
    shapes = {kernel.shape for kernel in kernels}
    if len(shapes) != 1:
        raise ValueError(f"kernels must be of one shape, got {sorted(shapes)}")
    return np.tensordot(shares, np.stack(list(kernels)), axes=1)


def _shares(n: int, weights: Sequence[float] | None) -> np.ndarray:
    if n == 0:
        raise ValueError("there must be one or more to fuse, got none")
    given = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (n,) or not np.isfinite(given).all() or given.min() < 0 or not given.any():
        raise ValueError(
            f"weights must be {n} finite numbers, 0 or more, and not all 0, got {weights}"
        )
    return given / given.sum()
