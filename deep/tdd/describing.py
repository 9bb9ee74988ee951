"""Descriptors of a stored video's trajectories out of the maps of a spatial and a temporal network.

Every frame goes through the spatial network, and the stack of flow fields around it through the
temporal one, whole, brought to a square as all networks here see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from deep import backbones
from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.data import Cutting, Stored, View, read_clip
from deep.tdd.lattice import run_layers
from deep.tdd.pooling import TrackPoints, TrajectoryPool

STREAMS = ("spatial", "temporal")
BATCH_FRAMES = 32  # that go through a network together

# The paper pools conv4 and conv5 of its spatial network, CNN-M-2048, and conv3 and conv4 of its
# temporal one (section 5.2); others' layers are those at the same strides.
_FIVE = (("relu4", "relu5"), ("relu3", "relu4"))
_RESIDUAL = (("layer3", "layer4"), ("layer2", "layer3"))
DEFAULT_LAYERS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "small": _FIVE,
    "cnn-m-2048": _FIVE,
    "vgg-16": (("relu4_3", "relu5_3"), ("relu3_3", "relu4_3")),
    "scl": (("relu3", "relu4"), ("relu3", "relu4")),
    "scl-same": (("relu3", "relu4"), ("relu3", "relu4")),
    "resnet-18": _RESIDUAL,
    "resnet-50": _RESIDUAL,
    "resnet-101": _RESIDUAL,
    "bn-inception": (("inception_4d", "inception_5b"), ("inception_3b", "inception_4d")),
    "efficientnet-lite0": (("block8", "block11"), ("block5", "block8")),
}


@dataclass(frozen=True)
class Stream:
    """A network and those of its layers whose maps are pooled.

    Attributes
    ----------
    name
        One of `STREAMS`.
    tower
        In evaluation mode; on frames for the spatial stream, on flow for the temporal one.
    layers
        Names of layers.
    """

    name: str
    tower: Tower
    layers: tuple[str, ...]


def default_layers(backbone: str, stream: str) -> tuple[str, ...]:
    """Name the layers of a backbone that are pooled where none are named.

    Raises
    ------
    ValueError
        None are known for this backbone.
    """
    kind = backbone.removesuffix("-tiny")
    if kind not in DEFAULT_LAYERS:
        raise ValueError(
            f"{stream}_layers must be named for backbone {backbone!r}, got none; choose "
            f"convolutions out of {', '.join(backbones.layers(backbone))}"
        )
    return DEFAULT_LAYERS[kind][STREAMS.index(stream)]


def descriptor_names(
    layers: Mapping[str, Sequence[str]], normalisations: Sequence[str]
) -> tuple[str, ...]:
    """Names of the descriptors of some layers by stream, as in ``spatial_relu5_channel``."""
    return tuple(
        f"{stream}_{layer}_{normalisation}"
        for stream, names in layers.items()
        for layer in names
        for normalisation in normalisations
    )


def describe(
    stored: Stored,
    points: np.ndarray,
    frames: np.ndarray,
    streams: Sequence[Stream],
    *,
    frame_size: tuple[int, int],
    spec: ClipSpec,
    cutting: Cutting,
    normalisations: Sequence[str] = ("st", "channel"),
    mirror: bool = False,
) -> dict[str, np.ndarray]:
    """Pool the maps of a video's frames along its trajectories.

    Parameters
    ----------
    stored
        The video's frames, and its flow for a temporal stream.
    points : ndarray of float, shape (n, point, 2)
        (x, y) in pixels of the video.
    frames : ndarray of int, shape (n, point)
        0-based frame of each point.
    streams
        Networks and layers.
    frame_size
        Width and height of the video that the points are told in.
    spec
        What a clip's chunk is made of: frames and stack as the networks take them. One chunk is cut
        around every frame; strides and segments do not matter.
    cutting
        Size of the networks' input; whether flow fields lose their mean.
    normalisations
        Some of `deep.tdd.pooling.NORMALISATIONS`.
    mirror
        Describe the video as in a mirror: frames, flow and trajectories are flipped.

    Returns
    -------
    dict of ndarray of float32, shape (n, channel)
        By `descriptor_names`.

    Raises
    ------
    ValueError
        A layer is unknown, or a point lies on a frame that the video does not have.

    References
    ----------
    Wang, Qiao and Tang, CVPR 2015, section 4. There a point (x, y) goes to the cell nearest to
    (r x, r y), r being the ratio of sizes, which holds where every layer is padded by half its
    kernel. Here it goes to the cell whose centre on the image is nearest, whatever the padding:
    with pools of 2 x 2 that is half a cell apart.
    """
    if frames.size and not 0 <= frames.min() <= frames.max() < stored.n_frames:
        raise ValueError(
            f"frames of points must be 0 to {stored.n_frames - 1} in {stored.video}, got "
            f"{frames.min()} to {frames.max()}; track the video again"
        )
    ratios = cutting.size / np.array(frame_size, np.float64)
    placed = (np.asarray(points, np.float64) + 0.5) * ratios - 0.5
    if mirror:
        placed[..., 0] = cutting.size - 1 - placed[..., 0]
    tracks = TrackPoints(placed, frames)
    pools = {
        (stream.name, layer): TrajectoryPool(tracks, stream.tower.backbone.layers[layer])
        for stream in streams
        for layer in stream.layers
    }
    whole = View(0, 0, stored.height, stored.width, flip=mirror)
    for first in range(0, stored.n_frames, BATCH_FRAMES) if tracks.n else ():
        n_frames = min(BATCH_FRAMES, stored.n_frames - first)
        around = replace(spec, segments=n_frames).at(first, 1, n_frames=stored.n_frames)
        rgb, flow = read_clip(stored, around, whole, cutting)
        for stream in streams:
            clip = rgb if stream.name == "spatial" else flow
            with torch.inference_mode():
                place = stream.tower.mean.device
                images = stream.tower.stacks(torch.from_numpy(clip)[None].to(place))
                found = run_layers(stream.tower.backbone, images, stream.layers)
            for layer, (maps, lattice) in found.items():
                last = maps.permute(0, 2, 3, 1).cpu().numpy()
                pools[stream.name, layer].add(last, lattice, first=first)
    return {
        f"{stream}_{layer}_{normalisation}": pool.descriptors(normalisation)
        for (stream, layer), pool in pools.items()
        for normalisation in normalisations
    }
