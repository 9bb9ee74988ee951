"""Clips for training, classes drawn equally often."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from deep.clips import ClipSpec
from deep.data.cutting import Cutting, read_clip
from deep.data.storing import Stored

AHEAD = 2  # batches that are being cut while one trains


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
    weight
        Of the batch's mean loss, where the clips are one process' share: the mean of the weighted
        losses over all processes is the loss of a clip.
    """

    rgb: torch.Tensor
    flow: torch.Tensor | None
    labels: torch.Tensor
    weight: float = 1.0

    def to(self, device: torch.device) -> Batch:
        """Bring the clips to a device; from pinned memory they come while it computes."""
        if device.type == "cpu":
            return self
        rgb, labels = (x.to(device, non_blocking=True) for x in (self.rgb, self.labels))
        flow = None if self.flow is None else self.flow.to(device, non_blocking=True)
        return replace(self, rgb=rgb, flow=flow, labels=labels)


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
    loaders: int = 1,
    share: tuple[int, int] = (0, 1),
    pinned: bool = False,
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
    loaders
        Threads that cut clips while the network computes.
    share
        Which process of how many asks: it is given every so manyth clip of each batch. A last batch
        with fewer clips than there are processes is left out.
    pinned
        Whether batches lie in memory that a GPU copies from by itself.
    """
    rng = np.random.default_rng([seed, epoch])
    order = balanced_order(np.asarray(labels), n_clips, rng)
    rank, world = share

    def cut(place: int, rgb: np.ndarray, flow: np.ndarray | None) -> None:
        own = np.random.default_rng([seed, epoch, place])
        chosen = videos[order[place]]
        clip = spec.random(chosen.n_frames, own)
        view = cutting.random_view(chosen, own)
        rgb[:], fields = read_clip(chosen, clip, view, cutting)
        if flow is not None:
            flow[:] = fields

    def begin(first: int, pool: ThreadPoolExecutor) -> tuple[Batch, list[Future[None]]]:
        """An empty batch, and the work that fills it."""
        whole = range(first, min(first + batch_size, n_clips))
        places = whole[rank::world]
        rgb, flow = _empty(len(places), spec, cutting.size, pinned=pinned)
        fields = None if flow is None else flow.numpy()
        work = [
            pool.submit(cut, place, rgb[row].numpy(), None if fields is None else fields[row])
            for row, place in enumerate(places)
        ]
        chosen = np.asarray(labels, np.int64)[order[whole.start : whole.stop][rank::world]]
        weight = len(places) * world / len(whole)
        return Batch(rgb, flow, torch.from_numpy(chosen), weight), work

    starts = [first for first in range(0, n_clips, batch_size) if n_clips - first >= world]
    pool = ThreadPoolExecutor(max_workers=loaders)
    try:
        coming: deque[tuple[Batch, list[Future[None]]]] = deque()
        for index in range(len(starts)):
            while len(coming) <= AHEAD and index + len(coming) < len(starts):
                coming.append(begin(starts[index + len(coming)], pool))
            batch, work = coming.popleft()
            for clip in work:
                clip.result()
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _empty(
    n: int, spec: ClipSpec, size: int, *, pinned: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Memory for frames and flow of `n` clips."""
    sides = (size, size)
    rgb = torch.empty(n, spec.segments, 3, len(spec.frames), *sides, pin_memory=pinned)
    if not spec.stack:
        return rgb, None
    return rgb, torch.empty(n, spec.segments, 2, spec.stack, *sides, pin_memory=pinned)


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
