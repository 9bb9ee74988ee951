"""Testing: several views of each video, each head's logits over them, then fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from deep.clips import ClipSpec
from deep.data import Cutting, Stored, grid_views, mirrored, read_clip
from idt import jobs


def predict(
    network: Any,
    videos: Sequence[Stored],
    *,
    spec: ClipSpec,
    cutting: Cutting,
    n_clips: int = 5,
    mirror: bool = True,
    grid: int = 1,
    verbose: bool = False,
) -> np.ndarray:
    """Score videos: `n_clips` equally spaced clips, each seen in several views.

    Logits are averaged over a video's views head by head, before any softmax; the network's
    ``fuse`` makes the scores out of the means. A network with ``fuse_views`` does both itself.

    Parameters
    ----------
    network
        A module as in `deep.models`, in evaluation mode.
    videos
        Stored with the flow that the network was trained on.
    spec, cutting
        Form of the clips, as in training.
    n_clips
        Clips per video, at least 1.
    mirror
        Whether each view is seen mirrored, too.
    grid
        1 for the whole frame, brought to the square input size; n for n x n crops of that size.
    verbose
        Show progress with the time left on standard error.

    Returns
    -------
    ndarray of float32, shape (video, class)
    """

    def score(stored: Stored) -> np.ndarray:
        views = view_logits(
            network, stored, spec=spec, cutting=cutting, n_clips=n_clips, mirror=mirror, grid=grid
        )
        with torch.inference_mode():
            if hasattr(network, "fuse_views"):
                return network.fuse_views(views).numpy()
            means = {name: logits.mean(dim=(0, 1))[None] for name, logits in views.items()}
            return network.fuse(means)[0].numpy()

    outcomes = jobs.run(score, videos, label="testing", strict=True, verbose=verbose)
    return np.stack([outcome.result() for outcome in outcomes]).astype(np.float32)


def view_logits(
    network: Any,
    stored: Stored,
    *,
    spec: ClipSpec,
    cutting: Cutting,
    n_clips: int,
    mirror: bool,
    grid: int,
) -> dict[str, torch.Tensor]:
    """Logits of every head for every view of one video, shape (crop, clip, class).

    Crops are in raster order, all of them first as they are, then all mirrored.
    """
    clips = spec.spaced(stored.n_frames, n_clips)
    seen = []
    for view in grid_views(stored, cutting.size, grid):
        rgb, flow = zip(*(read_clip(stored, clip, view, cutting) for clip in clips), strict=True)
        seen.append((np.stack(rgb), None if flow[0] is None else np.stack(flow)))
    if mirror:
        seen += [mirrored(rgb, flow) for rgb, flow in seen]
    with torch.inference_mode():
        logits = [
            network.heads(
                rgb=torch.from_numpy(rgb),
                flow=None if flow is None else torch.from_numpy(flow),
            )
            for rgb, flow in seen
        ]
        return {name: torch.stack([each[name] for each in logits]) for name in logits[0]}
