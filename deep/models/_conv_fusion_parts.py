"""Where two towers are joined, as a text says it; what joins them there; what classifies them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from deep import backbones
from deep.backbones import Backbone
from deep.backbones.tower import Tower, by_segment
from deep.models._options import check_choices
from deep.spatial_fusion import SpatialFusion, UpConvolution, pad_to_match
from deep.temporal_fusion import Conv3dFusion, Pool3d

DENSE = ("fc6", "fc7")
FUSIONS = ("conv3d", "sum", "max", "concat", "conv", "bilinear")
LATE = {"fc8": ("sum", "max", "conv"), "softmax": ("sum",)}  # of logits, or of softmax scores


@dataclass(frozen=True)
class Point:
    """A layer of the spatial and one of the temporal tower; None for their input."""

    spatial: str | None
    temporal: str | None


class Join(nn.Module):
    """Brings two towers' maps to one size and fuses them.

    Parameters
    ----------
    point
        Where.
    fusion
        From two maps of one shape to one; None where they are only brought to one size.
    enlarged
        Up-convolutions by tower, ``spatial`` or ``temporal``.
    """

    def __init__(
        self, point: Point, fusion: nn.Module | None, enlarged: dict[str, UpConvolution]
    ) -> None:
        super().__init__()
        self.point = point
        self.fusion = fusion
        self.enlarged = nn.ModuleDict(enlarged)

    def of_one_size(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Enlarge and pad maps (batch, channel, segment, h, w) until their sizes are equal."""
        a = self.enlarged["spatial"](a) if "spatial" in self.enlarged else a
        b = self.enlarged["temporal"](b) if "temporal" in self.enlarged else b
        return pad_to_match(a, b)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Fuse the spatial and the temporal tower's maps (batch, channel, segment, h, w)."""
        return cast(torch.Tensor, cast(nn.Module, self.fusion)(*self.of_one_size(a, b)))


def parse_points(
    at: str, fusion: str, networks: tuple[str, str]
) -> tuple[list[tuple[Point, str]], tuple[str, str] | None]:
    """Read where and how two backbones are joined.

    Parameters
    ----------
    at
        Layers, ``relu5``, or several, ``relu5+fc8``; where the towers' differ, ``relu4/relu5`` for
        the spatial and the temporal one's. ``relu5`` means VGG-16's ``relu5_3``, too.
    fusion
        One way for all, or one each, ``conv+sum``.
    networks
        Names of the spatial and the temporal backbone.

    Returns
    -------
    points : list of (Point, str)
        Layers and ways in the order of the data.
    late : (str, str) or None
        ``fc8`` or ``softmax``, if it is among the layers, and how.

    Raises
    ------
    ValueError
        A layer or a way is unknown, or the layers are not in the order of the data.
    """
    places, ways = at.split("+"), fusion.split("+")
    ways = ways * len(places) if len(ways) == 1 else ways
    if len(ways) != len(places):
        raise ValueError(
            f"fusion must be one, or one for each layer of {at!r}, got {fusion!r}; "
            "join them with a plus sign"
        )
    late = (places.pop(), ways.pop()) if places[-1] in LATE else None
    if late:
        check_choices(fusion=(late[1], LATE[late[0]]))
    layers = [backbones.layers(name) for name in networks]
    points: list[tuple[Point, str]] = []
    for place, way in zip(places, ways, strict=True):
        spatial, _, temporal = place.partition("/")
        pair = (spatial, temporal or spatial)
        names = [_layer(n, own, at) for n, own in zip(pair, layers, strict=True)]
        check_choices(fusion=(way, FUSIONS))
        points.append((Point(names[0], names[1]), way))
    for (first, _), (second, _) in pairwise(points):
        for own, one, two in zip(
            layers,
            (first.spatial, first.temporal),
            (second.spatial, second.temporal),
            strict=True,
        ):
            if list(own).index(str(one)) >= list(own).index(str(two)):
                raise ValueError(f"at must name layers in the order of the data, got {at!r}")
    return points, late


def _layer(name: str, layers: dict[str, int], at: str) -> str:
    """Name a backbone's layer: as given, or the last of a block."""
    block = [own for own in layers if own == name or own.startswith(f"{name}_")]
    if not block or name in LATE:
        known = [own for own in layers if own not in LATE]
        raise ValueError(
            f"at must be of the layers {', '.join(known)}, fc8 or softmax, got {name!r} in {at!r}; "
            "fc8 and softmax come last"
        )
    return block[-1]


def join(
    point: Point,
    way: str,
    spatial: Tower,
    temporal: Tower,
    *,
    scales: tuple[float, float],
    start: str,
    resize: str,
) -> Join:
    """Make the layer that joins two towers at a point.

    Raises
    ------
    ValueError
        The layers have different channels, or a 3D convolution is asked for behind full6.
    """
    names = str(point.spatial), str(point.temporal)
    channels, other = (
        tower.backbone.layers[name] for tower, name in zip((spatial, temporal), names, strict=True)
    )
    if channels != other:
        raise ValueError(
            f"layers to join must have one number of channels, got {channels} at {names[0]} and "
            f"{other} at {names[1]}; name others, as in relu4/relu5"
        )
    if way == "conv3d" and names[0] in DENSE:
        raise ValueError(
            f"fusion must not be conv3d behind the fully connected layers, got it at {names[0]}; "
            "use conv"
        )
    fusion: nn.Module | None
    if way == "conv3d":
        fusion = Conv3dFusion(channels, scales=scales, start=start)
    elif way == "bilinear":
        fusion = None
    else:
        fusion = SpatialFusion(way, channels, scales=scales, start=start)
    enlarged = {}
    if resize == "up-conv":
        sides = [_rows(spatial.name, names[0]), _rows(temporal.name, names[1])]
        factor = round(max(sides) / min(sides))
        if factor > 1:
            smaller = "spatial" if sides[0] < sides[1] else "temporal"
            enlarged[smaller] = UpConvolution(channels, factor)
    return Join(point, fusion, enlarged)


def _rows(name: str, layer: str) -> int:
    """Rows of a backbone's maps at a layer, for images of the size it was made for."""
    with torch.device("meta"):
        network: Backbone = backbones.build(name, 3, **backbones.classifier(name, 2, 0.5))
        maps = network.run(torch.empty(1, 3, network.side, network.side), until=layer)
    return maps.shape[-2]


class Head(nn.Module):
    """2 x 2 pooling, average over space, dropout, linear layer.

    With ``pool="3d"`` all segments are pooled at once, with ``2d`` each alone and their logits
    averaged.
    """

    def __init__(self, channels: int, num_classes: int, *, dropout: float, pool: str) -> None:
        super().__init__()
        self.by_segment = pool == "2d"
        self.pool = Pool3d()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(batch, channel, segment, h, w) to logits (batch, class)."""
        if self.by_segment:
            n_clips, maps = len(maps), by_segment(maps)[:, :, None]
        pooled = self.pool(maps)  # (batch, channel, h / 2, w / 2)
        logits = self.classifier(self.dropout(pooled.mean(dim=(2, 3))))
        if self.by_segment:
            logits = logits.unflatten(0, (n_clips, -1)).mean(dim=1)
        return cast(torch.Tensor, logits)


def last_convolution(name: str) -> str:
    """Name the layer before the fully connected ones."""
    return [layer for layer in backbones.layers(name) if not layer.startswith("fc")][-1]


def freeze(tower: Tower, until: str | None) -> None:
    """Let nothing of a tower learn up to a layer."""
    for name, step in tower.backbone.steps.items():
        step.requires_grad_(False)
        if name == until:
            return
