"""Convolutions in a row, then fully connected layers: CNN-M-2048, VGG-16, and FstCN's first layers.

CNN-M-2048 is the network of both streams in Simonyan and Zisserman 2014 (figure 1), known as
VGG-M-2048 in Feichtenhofer et al. 2016: Chatfield et al., "Return of the Devil in the Details",
BMVC 2014. VGG-16: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, configuration D.

Choices where the papers leave one, for CNN-M-2048: pools are 3 x 3 with stride 2, as the text says
(the figure draws 2 x 2), and keep a part-filled window, which makes 13 x 13 of conv2's 26 x 26 and
6 x 6 before full6. Local response normalisation is AlexNet's, n = 5, k = 2, alpha = 1e-4 on the sum
of squares (PyTorch divides by n, so 5e-4 here), beta = 0.75.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from deep.backbones.backbone import Backbone, cut, start


@dataclass(frozen=True)
class Conv:
    """A convolution and its ReLU: number (``1``, ``1_1``), channels, kernel, stride, padding."""

    name: str
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Pool:
    """Max pooling with stride 2, with or without a last window that is filled in part."""

    kernel: int
    part_filled: bool = False


@dataclass(frozen=True)
class Norm:
    """Local response normalisation; the temporal net leaves out one that is `spatial_only`."""

    spatial_only: bool = False


@dataclass(frozen=True)
class Plan:
    """A network's layer table; `hidden` are the widths of full6 and full7."""

    layers: tuple[Conv | Pool | Norm, ...]
    hidden: tuple[int, int]
    side: int = 224

    def narrow(self, divisor: int, *, side: int) -> Plan:
        """Make the same table with a part of the channels, for images of `side` pixels."""
        layers = tuple(
            replace(layer, channels=max(4, layer.channels // divisor))
            if isinstance(layer, Conv)
            else layer
            for layer in self.layers
        )
        return Plan(layers, (self.hidden[0] // 64, self.hidden[1] // 64), side)

    def final_side(self) -> int:
        """Rows of the maps behind the last pool, for images of `side` rows."""
        rows = self.side
        for layer in self.layers:
            if isinstance(layer, Conv):
                rows = (rows + 2 * layer.padding - layer.kernel) // layer.stride + 1
            elif isinstance(layer, Pool):
                rows = (rows - layer.kernel + (1 if layer.part_filled else 0)) // 2 + 1
        return rows


CNN_M_2048 = Plan(
    layers=(
        Conv("1", 96, 7, stride=2),
        Norm(),
        Pool(3, part_filled=True),
        Conv("2", 256, 5, stride=2, padding=1),
        Norm(spatial_only=True),
        Pool(3, part_filled=True),
        Conv("3", 512, 3, padding=1),
        Conv("4", 512, 3, padding=1),
        Conv("5", 512, 3, padding=1),
        Pool(3, part_filled=True),
    ),
    hidden=(4096, 2048),
)
VGG_16 = Plan(
    layers=(
        Conv("1_1", 64, 3, padding=1),
        Conv("1_2", 64, 3, padding=1),
        Pool(2),
        Conv("2_1", 128, 3, padding=1),
        Conv("2_2", 128, 3, padding=1),
        Pool(2),
        Conv("3_1", 256, 3, padding=1),
        Conv("3_2", 256, 3, padding=1),
        Conv("3_3", 256, 3, padding=1),
        Pool(2),
        Conv("4_1", 512, 3, padding=1),
        Conv("4_2", 512, 3, padding=1),
        Conv("4_3", 512, 3, padding=1),
        Pool(2),
        Conv("5_1", 512, 3, padding=1),
        Conv("5_2", 512, 3, padding=1),
        Conv("5_3", 512, 3, padding=1),
        Pool(2),
    ),
    hidden=(4096, 4096),
)
# FstCN's SCL1 to SCL4 (Sun et al. 2015), without padding and with that of a re-implementation
SCL = Plan(
    layers=(
        Conv("1", 96, 7, stride=2),
        Norm(),
        Pool(3),
        Conv("2", 256, 5, stride=2),
        Norm(),
        Pool(3),
        Conv("3", 512, 3, padding=1),
        Conv("4", 512, 3, padding=1),
    ),
    hidden=(4096, 2048),
    side=204,
)
SCL_SAME = replace(
    SCL,
    layers=(
        Conv("1", 96, 7, stride=2, padding=3),
        *SCL.layers[1:3],
        Conv("2", 256, 5, stride=2, padding=2),
        *SCL.layers[4:],
    ),
)


class FullyConnected(nn.Linear):
    """A linear layer over maps: (image, channel, h, w) to (image, out, h - side + 1, w - side + 1).

    It is a convolution whose kernel covers `side` x `side`, so that images larger than those of the
    training give a map of answers instead of one; its weights are those of the linear layer.
    """

    def __init__(self, channels: int, outputs: int, *, side: int) -> None:
        super().__init__(channels * side * side, outputs)
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(image, channel, h, w) to (image, out, h - side + 1, w - side + 1)."""
        if x.shape[1] * self.side**2 != self.in_features or min(x.shape[2:]) < self.side:
            raise ValueError(
                f"maps must have {self.in_features // self.side**2} channels and at least "
                f"{self.side} rows and columns, got {tuple(x.shape[1:])}; give images of the size "
                "that the backbone was made for"
            )
        if x.shape[2:] == (self.side, self.side):
            return super().forward(x.flatten(1))[:, :, None, None]
        kernel = self.weight.unflatten(1, (x.shape[1], self.side, self.side))
        return functional.conv2d(x, kernel, self.bias)


class Chain(Backbone):
    """A network built from a `Plan`; names of its weights as in torchvision's VGG.

    Parameters
    ----------
    plan
        The layer table.
    in_channels
        3 for RGB, 2L for flow.
    last
        Layer to end at, ``relu1`` (``relu1_1``) to ``relu5`` (``relu5_3``), and with `num_classes`
        ``fc6``, ``fc7`` or ``fc8``; None for the last.
    num_classes
        Number of logits; None to end before the fully connected layers.
    dropout
        Before full7 and full8.
    temporal
        Whether it sees flow: leaves out what the plan keeps for the spatial net.
    doubled
        Layers behind which twice their channels come in, those of another network concatenated.
    """

    def __init__(
        self,
        plan: Plan,
        in_channels: int,
        *,
        last: str | None = None,
        num_classes: int | None = None,
        dropout: float = 0.5,
        temporal: bool = False,
        doubled: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.plan = plan
        self.side = plan.side
        convs = [layer for layer in plan.layers if isinstance(layer, Conv)]
        layers = {f"relu{conv.name}": conv.channels for conv in convs}
        if num_classes is not None:
            layers |= {"fc6": plan.hidden[0], "fc7": plan.hidden[1], "fc8": num_classes}
        self.last = last or list(layers)[-1]
        self.layers = cut(layers, self.last)
        wide = {name: (2 if name in doubled else 1) * n for name, n in self.layers.items()}
        width, convolutions = in_channels, list[nn.Module]()
        self.ends: list[int] = []  # index behind each ReLU
        for layer in plan.layers:
            if isinstance(layer, Conv):
                if f"relu{layer.name}" not in self.layers:
                    break
                conv = nn.Conv2d(width, layer.channels, layer.kernel, layer.stride, layer.padding)
                convolutions += [conv, nn.ReLU()]
                self.ends.append(len(convolutions))
                width = wide[f"relu{layer.name}"]
            elif isinstance(layer, Pool):
                pool = nn.MaxPool2d(layer.kernel, stride=2, ceil_mode=layer.part_filled)
                convolutions.append(pool)
            elif temporal and layer.spatial_only:
                convolutions.append(nn.Identity())  # the layers behind it keep their numbers
            else:
                convolutions.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
        self.features = nn.Sequential(*convolutions)
        if "fc6" in self.layers:
            dense: list[nn.Module] = []
            for name in ("fc6", "fc7", "fc8"):
                if name in self.layers:
                    side = plan.final_side() if name == "fc6" else 1
                    dense.append(FullyConnected(width, self.layers[name], side=side))
                    width = wide[name]
                if name != "fc8":
                    dense += [nn.ReLU(), nn.Dropout(dropout)]
            self.classifier = nn.Sequential(*dense)
        start(self)

    @property
    def steps(self) -> dict[str, nn.Module]:
        """The layers, each with the normalisation, pooling or dropout before it."""
        ends = [0, *self.ends]
        parts: list[nn.Module] = [self.features[first:end] for first, end in pairwise(ends)]
        if "fc6" in self.layers:
            dense = self.classifier
            parts.append(nn.Sequential(self.features[ends[-1] :], dense[:2]))
            parts += [dense[2:5]] if "fc7" in self.layers else []
            parts += [dense[5:7]] if "fc8" in self.layers else []
        return dict(zip(self.layers, parts, strict=True))

    @property
    def weighted(self) -> dict[str, str]:
        """Names of the layers with weights, ``conv1`` or ``fc6``, and of their tensors here."""
        convolutions = (
            f"features.{index}"
            for index, module in enumerate(self.features)
            if isinstance(module, nn.Conv2d)
        )
        names = {
            name.replace("relu", "conv"): p
            for name, p in zip(self.layers, convolutions, strict=False)
        }
        dense = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
        return names | {name: dense[name] for name in dense if name in self.layers}
