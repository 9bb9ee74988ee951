"""Clips for training, classes drawn equally often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from deep.clips import ClipSpec
from deep.data.cutting import Cutting, read_clip
from deep.data.storing import Stored


@dataclass(frozen=True)
class Batch:
    """One step's worth of clips.

    Attributes
    ----------
    rgb : Tensor of float32, shape (batch, segment, 3, frame, row, column)
        In [0, 1].
    flow : Tensor of float32, shape (batch, segment, 2, time, row, column), or None
        Pixels per frame, channels ``(dx, dy)``; None for networks that see none.
    labels : Tensor of int64, shape (batch,)
    """

    rgb: torch.Tensor
    flow: torch.Tensor | None
    labels: torch.Tensor


def training_batches(
    videos: Sequence[Stored],
    labels: Sequence[int],
    *,
    spec: ClipSpec,
    cutting: Cutting,
    batch_size: int,
    n_clips: int,
    seed: int,
    epoch: int,
) -> Iterator[Batch]:
    """One epoch of random clips, classes drawn equally often.

    The clips depend on `seed`, `epoch` and their place in the epoch alone.

    Parameters
    ----------
    videos, labels
        The training set, one label per video.
    spec, cutting
        Form of the clips.
    batch_size
        Clips per batch; the last batch may be smaller.
    n_clips
        Clips in the epoch.
    seed, epoch
        Choose the random numbers.
    """
    rng = np.random.default_rng([seed, epoch])
    order = balanced_order(np.asarray(labels), n_clips, rng)

    def cut(place: int) -> tuple[np.ndarray, np.ndarray | None]:
        own = np.random.default_rng([seed, epoch, place])
        chosen = videos[order[place]]
        clip = spec.random(chosen.n_frames, own)
        return read_clip(chosen, clip, cutting.random_view(chosen, own), cutting)

    def collect(first: int) -> Batch:
        places = range(first, min(first + batch_size, n_clips))
        rgb, flow = zip(*(cut(place) for place in places), strict=True)
        chosen = np.asarray(labels, np.int64)[order[places.start : places.stop]]
        return Batch(
            torch.from_numpy(np.stack(rgb)),
            None if flow[0] is None else torch.from_numpy(np.stack(flow)),
            torch.from_numpy(chosen),
        )

    starts = range(0, n_clips, batch_size)
    with ThreadPoolExecutor(max_workers=1) as ahead:  # cuts the next batch while this one trains
        coming = ahead.submit(collect, starts[0])
        for following in starts[1:]:
            batch, coming = coming.result(), ahead.submit(collect, following)
            yield batch
        yield coming.result()


def balanced_order(labels: np.ndarray, n_clips: int, rng: np.random.Generator) -> np.ndarray:
    """Draw videos, every class equally often and in each class every video equally often.

    Parameters
    ----------
    labels : ndarray of int, shape (video,)
    n_clips
        How many indices to draw. Counts of two classes, and of two videos of a class, differ by
        one at most.
    rng
        Source of the order.

    Returns
    -------
    ndarray of int64, shape (n_clips,)
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rounds = -(-n_clips // len(members))
    classes = np.concatenate([rng.permutation(len(members)) for _ in range(rounds)])[:n_clips]
    order = np.empty(n_clips, np.int64)
    for index, videos in enumerate(members):
        places = np.flatnonzero(classes == index)
        passes = -(-len(places) // len(videos))
        cycle = [rng.permutation(videos) for _ in range(passes)]
        order[places] = np.concatenate([*cycle, np.empty(0, np.int64)])[: len(places)]
    return order
