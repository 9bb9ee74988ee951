"""BN-Inception; names of its weights as in the Caffe model, flat, which its ports to PyTorch keep.

Ioffe and Szegedy, "Batch Normalization", ICML 2015, appendix; the released Caffe model as used by
Wang et al., "Temporal Segment Networks", ECCV 2016. Its convolutions have biases, although batch
normalisation follows. torchvision has no such network (its GoogLeNet is another).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from deep.backbones.backbone import Backbone, cut, start
from deep.backbones.resnet import Average

# 1x1; reduce and 3x3; reduce, 3x3 and 3x3; projection behind the pool. 0: the branch is not there.
# A block without 1x1 halves the rows and columns, and its pool is taken as it is.
BLOCKS: dict[str, tuple[int, tuple[int, int], tuple[int, int, int], int]] = {
    "3a": (64, (64, 64), (64, 96, 96), 32),
    "3b": (64, (64, 96), (64, 96, 96), 64),
    "3c": (0, (128, 160), (64, 96, 96), 0),
    "4a": (224, (64, 96), (96, 128, 128), 128),
    "4b": (192, (96, 128), (96, 128, 128), 128),
    "4c": (160, (128, 160), (128, 160, 160), 128),
    "4d": (96, (128, 192), (160, 192, 192), 128),
    "4e": (0, (128, 192), (192, 256, 256), 0),
    "5a": (352, (192, 320), (160, 224, 224), 128),
    "5b": (352, (192, 320), (192, 224, 224), 128),
}
MAX_POOLED = ("3c", "4e", "5b")  # the others average


class _Unit(nn.Module):
    """One convolution, batch normalisation and ReLU of a network that owns them by name."""

    def __init__(self, owner: nn.Module, name: str) -> None:
        super().__init__()
        self.conv = owner.get_submodule(name)
        self.norm = owner.get_submodule(f"{name}_bn")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))


class _Mixed(nn.Module):
    """One Inception block of a network that owns its layers by name."""

    def __init__(self, owner: nn.Module, block: str) -> None:
        super().__init__()
        prefix = f"inception_{block}_"
        one, _, _, projection = BLOCKS[block]
        self.branches = nn.ModuleList(
            nn.Sequential(*(_Unit(owner, prefix + name) for name in names))
            for names in (
                *([("1x1",)] if one else []),
                ("3x3_reduce", "3x3"),
                ("double_3x3_reduce", "double_3x3_1", "double_3x3_2"),
            )
        )
        self.projection = _Unit(owner, f"{prefix}pool_proj") if projection else None
        self.averages = block not in MAX_POOLED

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.projection is None:
            pooled = functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
        else:
            if self.averages:
                pooled = functional.avg_pool2d(x, 3, stride=1, padding=1)
            else:
                pooled = functional.max_pool2d(x, 3, stride=1, padding=1)
            pooled = self.projection(pooled)
        return torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1)


class BNInception(Backbone):
    """BN-Inception.

    Parameters
    ----------
    in_channels
        3 for RGB, 2L for flow.
    last
        Layer to end at: ``conv1``, ``conv2``, ``inception_3a`` to ``inception_5b``, and with
        `num_classes` ``fc``; None for the last.
    num_classes
        Number of logits; None to end before the linear layer.
    dropout
        Before the linear layer.
    divisor
        Divides all channels, for tests.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        last: str | None = None,
        num_classes: int | None = None,
        dropout: float = 0.0,
        divisor: int = 1,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        layers = {"conv1": 64 // divisor, "conv2": 192 // divisor}
        width = layers["conv2"]
        for block, (one, three, double, projection) in BLOCKS.items():
            own = (one + three[-1] + double[-1] + projection) // divisor
            width = own if projection else own + width
            layers[f"inception_{block}"] = width
        if num_classes is not None:
            layers["fc"] = num_classes
        self.last = last or list(layers)[-1]
        self.layers = cut(layers, self.last)
        self._add("conv1_7x7_s2", in_channels, layers["conv1"], kernel=7, stride=2)
        if "conv2" in self.layers:
            self._add("conv2_3x3_reduce", layers["conv1"], layers["conv1"], kernel=1)
            self._add("conv2_3x3", layers["conv1"], layers["conv2"], kernel=3)
        names = list(layers)
        for block in BLOCKS:
            name = f"inception_{block}"
            if name in self.layers:
                self._add_block(block, layers[names[names.index(name) - 1]], divisor)
        if num_classes is not None and "fc" in self.layers:
            self.fc = nn.Linear(width, num_classes)
        start(self)

    def _add_block(self, block: str, inputs: int, divisor: int) -> None:
        one, three, double, projection = BLOCKS[block]
        prefix, stride = f"inception_{block}_", 1 if one else 2
        chains: list[list[tuple[str, int, int, int]]] = [
            [("1x1", one, 1, 1)] if one else [],
            [("3x3_reduce", three[0], 1, 1), ("3x3", three[1], 3, stride)],
            [
                ("double_3x3_reduce", double[0], 1, 1),
                ("double_3x3_1", double[1], 3, 1),
                ("double_3x3_2", double[2], 3, stride),
            ],
            [("pool_proj", projection, 1, 1)] if projection else [],
        ]
        for convolutions in chains:
            width = inputs
            for name, outputs, kernel, own_stride in convolutions:
                self._add(
                    prefix + name, width, outputs // divisor, kernel=kernel, stride=own_stride
                )
                width = outputs // divisor

    def _add(self, name: str, inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.add_module(name, conv)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    @property
    def steps(self) -> dict[str, nn.Module]:
        """The two first convolutions, the blocks, each with the pool before it, the classifier."""
        parts: dict[str, nn.Module] = {}
        for name in self.layers:
            if name == "conv1":
                parts[name] = _Unit(self, "conv1_7x7_s2")
            elif name == "conv2":
                units = (_Unit(self, "conv2_3x3_reduce"), _Unit(self, "conv2_3x3"))
                parts[name] = nn.Sequential(_pool(), *units)
            elif name == "inception_3a":
                parts[name] = nn.Sequential(_pool(), _Mixed(self, "3a"))
            elif name == "fc":
                parts[name] = Average(self.fc, self.dropout).train(self.training)
            else:
                parts[name] = _Mixed(self, name.removeprefix("inception_"))
        return parts


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
