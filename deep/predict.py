"""Testing: several views of each video, each head's logits averaged over them, then fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from deep.clips import ClipSpec
from deep.data import Cutting, Stored, View, mirrored, read_clip
from idt import jobs


def predict(
    network: Any,
    videos: Sequence[Stored],
    *,
    spec: ClipSpec,
    cutting: Cutting,
    n_clips: int = 5,
    mirror: bool = True,
    verbose: bool = False,
) -> np.ndarray:
    """Score videos: `n_clips` equally spaced clips of the whole frame, each also mirrored.

    Logits are averaged over a video's views head by head, before any softmax; the network's
    ``fuse`` makes the scores out of the means.

    Parameters
    ----------
    network
        A module as in `deep.models`, in evaluation mode.
    videos
        Stored with the flow that the network was trained on.
    spec, cutting
        Form of the clips, as in training. The whole frame is brought to the square input size.
    n_clips
        Clips per video, at least 1.
    mirror
        Whether each clip is seen mirrored, too.
    verbose
        Show progress with the time left on standard error.

    Returns
    -------
    ndarray of float32, shape (video, class)
    """
    rows = []
    with torch.inference_mode():
        for stored in jobs.progress(videos, label="testing", total=len(videos), verbose=verbose):
            whole = View(top=0, left=0, height=stored.height, width=stored.width)
            clips = spec.spaced(stored.n_frames, n_clips)
            rgb, flow = (
                np.stack(part)
                for part in zip(
                    *(read_clip(stored, clip, whole, cutting) for clip in clips), strict=True
                )
            )
            views = [(rgb, flow), mirrored(rgb, flow)] if mirror else [(rgb, flow)]
            logits = [
                network.heads(rgb=torch.from_numpy(images), flow=torch.from_numpy(motion))
                for images, motion in views
            ]
            means = {
                name: torch.stack([view[name] for view in logits]).mean(dim=(0, 1))[None]
                for name in logits[0]
            }
            rows.append(network.fuse(means)[0].numpy())
    return np.stack(rows).astype(np.float32)
