"""Testing: several views of each video, each head's logits over them, then fused.

The papers' protocols are `PROTOCOLS`: of Simonyan and Zisserman 2014 (section 4: 25 frames, their
corners, centre and mirror images), of Feichtenhofer et al. 2016 (section 3.5 and the results: whole
frames, as convolutions over all of them, and their mirror images; 20 chunks), and of snippets as
they stand (Wang et al., "Temporal Segment Networks", ECCV 2016: 25, each seen once).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from deep import device as devices
from deep.clips import ClipSpec
from deep.data import Cutting, Stored, View, corner_views, grid_views, mirrored, read_clip
from idt import jobs

VIEWS = ("grid", "corners", "centre", "frame")
PROTOCOLS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "ten-crops": {"n_clips": 25, "views": "corners", "mirror_views": True},
        "whole-frame": {"n_clips": 20, "views": "frame", "mirror_views": True},
        "snippets": {"n_clips": 25, "views": "centre", "mirror_views": False},
    }
)


@dataclass(frozen=True)
class Prediction:
    """What a network says of videos.

    Attributes
    ----------
    scores : ndarray of float32, shape (video, class)
        Fused as the network fuses its heads.
    logits : dict of ndarray of float32, shape (video, class)
        Each head's mean over a video's views, before any softmax.
    """

    scores: np.ndarray
    logits: dict[str, np.ndarray]


def predict(network: Any, videos: Sequence[Stored], **options: Any) -> np.ndarray:
    """Scores (video, class) alone, options as for `evaluate`."""
    return evaluate(network, videos, **options).scores


def evaluate(
    network: Any,
    videos: Sequence[Stored],
    *,
    spec: ClipSpec,
    cutting: Cutting,
    n_clips: int = 5,
    mirror_views: bool = True,
    views: str = "grid",
    grid: int = 1,
    device: str = "cpu",
    precision: str = "float32",
    verbose: bool = False,
) -> Prediction:
    """Score videos: `n_clips` equally spaced clips, each seen in several views.

    Logits are averaged over a video's views head by head, before any softmax; the network's
    ``fuse`` makes the scores out of the means. A network with ``fuse_views`` does both itself.

    Parameters
    ----------
    network
        A module as in `deep.models`, in evaluation mode, on the device.
    videos
        Stored with the flow that the network was trained on; at least one.
    spec, cutting
        Form of the clips, as in training.
    n_clips
        Clips per video, at least 1.
    mirror_views
        Whether each view is seen mirrored, too.
    views
        ``grid``: see `grid`; ``corners``: boxes of the input's size in the four corners and the
        centre; ``centre``: the last of these alone; ``frame``: the whole frame at its stored size,
        for networks that take any.
    grid
        1 for the whole frame, brought to the square input size; n for n x n crops of that size.
    device, precision
        As for `deep.train.train`.
    verbose
        Show progress with the time left on standard error.
    """

    def score(stored: Stored) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        with torch.inference_mode():
            seen = view_logits(
                network,
                stored,
                spec=spec,
                cutting=cutting,
                n_clips=n_clips,
                mirror=mirror_views,
                views=views,
                grid=grid,
                device=device,
                precision=precision,
            )
            means = {name: logits.mean(dim=(0, 1)) for name, logits in seen.items()}
            if hasattr(network, "fuse_views"):
                return network.fuse_views(seen), means
            return network.fuse({name: mean[None] for name, mean in means.items()})[0], means

    outcomes = jobs.run(score, videos, label="testing", strict=True, verbose=verbose)
    rows, means = zip(*(outcome.result() for outcome in outcomes), strict=True)
    return Prediction(
        torch.stack(rows).float().cpu().numpy(),
        {name: torch.stack([each[name] for each in means]).cpu().numpy() for name in means[0]},
    )


def view_logits(
    network: Any,
    stored: Stored,
    *,
    spec: ClipSpec,
    cutting: Cutting,
    n_clips: int,
    mirror: bool,
    grid: int = 1,
    views: str = "grid",
    device: str = "cpu",
    precision: str = "float32",
) -> dict[str, torch.Tensor]:
    """Logits of every head for every view of one video, float32 (crop, clip, class), on the device.

    Crops are in raster order, or the four corners and the centre, all of them first as they are,
    then all mirrored.
    """
    clips = spec.spaced(stored.n_frames, n_clips)
    place = devices.chosen(device)
    plain, flipped = [], []
    with torch.inference_mode(), devices.precision(precision, place):
        for view in _boxes(stored, cutting.size, views=views, grid=grid):
            found = (read_clip(stored, clip, view, cutting) for clip in clips)
            rgb, flow = zip(*found, strict=True)
            both = np.stack(rgb), None if flow[0] is None else np.stack(flow)
            plain.append(_logits(network, *both, place))
            if mirror:
                flipped.append(_logits(network, *mirrored(*both), place))
    seen = plain + flipped
    return {name: torch.stack([each[name] for each in seen]) for name in seen[0]}


def _logits(
    network: Any, rgb: np.ndarray, flow: np.ndarray | None, place: torch.device
) -> dict[str, torch.Tensor]:
    """Logits of clips by head, float32."""
    heads = network.heads(
        rgb=torch.from_numpy(rgb).to(place),
        flow=None if flow is None else torch.from_numpy(flow).to(place),
    )
    return {name: logits.float() for name, logits in heads.items()}


def _boxes(stored: Stored, size: int, *, views: str, grid: int) -> list[View]:
    """The parts of a frame that are seen."""
    if views not in VIEWS:
        raise ValueError(
            f"views must be one of {', '.join(VIEWS)}, got {views!r}; choose one of these"
        )
    if views == "frame":
        return [View(0, 0, stored.height, stored.width, own_size=True)]
    if views == "grid":
        return grid_views(stored, size, grid)
    corners = corner_views(stored, size)
    return corners if views == "corners" else corners[-1:]
