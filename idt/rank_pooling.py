r"""Approximate rank pooling: how the encodings of a video's spans of time evolve, in one vector.

A video is cut into T spans of equal length with encodings :math:`x_1, …, x_T`. Rank pooling takes
for the video the weights of a linear function that puts the mean encodings up to each span,
:math:`v_t = \frac{1}{t} \sum_{s \le t} x_s`, in their order in time. One step of gradient descent
on the pairwise ranking loss, from 0, gives it in closed form:

.. math::

    \sum_t (2t - T - 1)\, v_t = \sum_t \alpha_t x_t, \qquad
    \alpha_t = 2 (T - t + 1) - (T + 1) (H_T - H_{t-1})

with :math:`H_t = \sum_{i \le t} 1/i`. The forward and the reverse vector, each of L2 norm 1, stand
one after another, as Fernando et al. have it.

References
----------
Fernando, Gavves, Oramas, Ghodrati and Tuytelaars, Modeling video evolution for action recognition,
CVPR 2015 (there with a support vector regression of all pairs). Bilen, Fernando, Gavves, Vedaldi
and Gould, Dynamic image networks for action recognition, CVPR 2016, equations 2 to 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import Codebook
from idt.fisher import FisherVectorEncoder, VideoAccumulator

STILL = 1e-9  # of the encodings' norm; a vector that is shorter is rounding


def rank_weights(n_spans: int) -> np.ndarray:
    """Weight of each span in the forward vector, float64 (n_spans,), of sum 0."""
    spans = np.arange(1, n_spans + 1)
    later = np.cumsum(1 / spans[::-1])[::-1]  # H_T - H_{t-1}
    return 2 * (n_spans - spans + 1) - (n_spans + 1) * later


def rank_pool(encodings: ArrayLike) -> np.ndarray:
    """Pool the encodings of a video's spans.

    Parameters
    ----------
    encodings
        (n_spans, n), in the order of time; two spans or more.

    Returns
    -------
    ndarray of float32, (2 n,)
        Forward vector, then reverse vector, each of L2 norm 1; zeros where nothing changes.

    Raises
    ------
    ValueError
        Not of this shape.
    """
    spans = np.asarray(encodings, dtype=np.float64)
    if spans.ndim != 2 or len(spans) < 2:
        raise ValueError(
            f"encodings must have the shape (n_spans, n) with two spans or more, got {spans.shape};"
            " cut the video into more spans"
        )
    weights = rank_weights(len(spans))
    pooled = np.stack([weights @ spans, weights @ spans[::-1]])
    norms = np.linalg.norm(pooled, axis=1, keepdims=True)
    changes = norms > STILL * np.linalg.norm(spans)
    return np.where(changes, pooled / np.where(changes, norms, 1), 0).ravel().astype(np.float32)


class RankPooledEncoder:
    """Fisher vectors of a video's grids and, beside them, rank pooled ones of its spans of time.

    The vector holds, for each part of the codebook, the cells of the grids, then the forward and
    the reverse vector of the spans.

    Parameters
    ----------
    codebook
        Fitted.
    grids
        Names of grids, as `idt.fisher.FisherVectorEncoder` takes them.
    n_spans
        Spans that are pooled, from 2 to 99. Their grid must not be among `grids`.

    Raises
    ------
    ValueError
        The codebook is not fitted, or there are fewer spans, or more.
    """

    def __init__(self, codebook: Codebook, *, grids: Iterable[str], n_spans: int) -> None:
        check_spans(n_spans)
        self.fisher = FisherVectorEncoder(codebook, grids=[*grids, f"t{n_spans}"])
        self.n_spans = n_spans

    @property
    def n_features(self) -> int:
        """Length of the vector."""
        n_cells = self.fisher.n_cells
        return self.fisher.n_features // n_cells * (n_cells - self.n_spans + 2)

    @property
    def channels(self) -> dict[tuple[str, str, int], slice]:
        """Where each cell of each part stands in the vector: ``channels["hog", "rank", 0]``.

        The forward vector is cell 0 of ``"rank"``, the reverse one cell 1.
        """
        channels: dict[tuple[str, str, int], slice] = {}
        start, pooled = 0, self.fisher.grids[-1].name
        for (part, grid, cell), place in self.fisher.channels.items():
            if grid != pooled or cell < 2:
                stop = start + place.stop - place.start
                channels[part, "rank" if grid == pooled else grid, cell] = slice(start, stop)
                start = stop
        return channels

    def accumulator(self) -> RankPooledAccumulator:
        """Start a video whose trajectories come block by block."""
        return RankPooledAccumulator(self)

    def pool(self, vector: np.ndarray) -> np.ndarray:
        """Pool the spans of a Fisher vector of all cells."""
        pooled = []
        for part in self.fisher.parts.values():
            cells = vector[part].reshape(self.fisher.n_cells, -1)
            pooled += [cells[: -self.n_spans].ravel(), rank_pool(cells[-self.n_spans :])]
        return np.concatenate(pooled)


class RankPooledAccumulator:
    """Encoding of one video; made by `RankPooledEncoder.accumulator`."""

    def __init__(self, encoder: RankPooledEncoder) -> None:
        self._encoder = encoder
        self._fisher: VideoAccumulator = encoder.fisher.accumulator()

    def add(
        self, descriptors: Mapping[str, ArrayLike], *, positions: ArrayLike | None = None
    ) -> None:
        """Add trajectories, as `idt.fisher.VideoAccumulator.add` takes them."""
        self._fisher.add(descriptors, positions=positions)

    def finish(self) -> np.ndarray:
        """Return the vector of all trajectories so far, float32 (n_features,)."""
        return self._encoder.pool(self._fisher.finish())


def check_spans(n_spans: int) -> None:
    """Refuse numbers of spans that cannot be pooled."""
    if not 2 <= n_spans <= 99:
        raise ValueError(f"n_spans must be from 2 to 99, got {n_spans}; 10 is usual")
