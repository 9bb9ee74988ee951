"""Slow fusion of RGB frames, the baseline that Simonyan and Zisserman 2014 compare flow with.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014:
the first three convolutions extend in time, so that a clip becomes one map by and by; the last of
them sees all of it. Here the spatial side is CNN-M-2048's.

Karpathy et al. give extents of 4, 2 and 2 with stride 2 over 10 frames. Simonyan and Zisserman have
11 frames and no further word; with an extent of 4 the eleventh would never be read. The first
extent is therefore n - 6: 4 over 10 frames as published, 5 over 11; four, two and one steps are
left by the three layers in both.
"""

from __future__ import annotations

import torch
from torch import nn

from deep.backbones.backbone import Backbone, cut, start
from deep.backbones.chain import CNN_M_2048, Conv, FullyConnected, Plan

MIN_FRAMES = 8  # fewer leave the first extent below 2


class _Unstack(nn.Module):
    """(image, 3 n, row, column) with the frames one behind the other to (image, 3, n, ...)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (-1, 3)).transpose(1, 2)


class SlowFusion(Backbone):
    """CNN-M-2048 whose first three convolutions extend in time.

    Parameters
    ----------
    in_channels
        Three for each of n frames, n at least 8; r1, g1, b1, r2, ... as `Tower` stacks them.
    num_classes
        Number of logits; None to end at ``relu5``.
    last
        ``relu1`` to ``relu5`` (the first two with time: (image, channel, time, h, w)), and with
        `num_classes` ``fc6`` to ``fc8``; None for the last.
    dropout
        Before full7 and full8.
    plan
        CNN-M-2048, or a narrower table of the same layers.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        last: str | None = None,
        num_classes: int | None = None,
        dropout: float = 0.5,
        plan: Plan = CNN_M_2048,
    ) -> None:
        super().__init__()
        n_frames, rest = divmod(in_channels, 3)
        if rest or n_frames < MIN_FRAMES:
            raise ValueError(
                f"in_channels must be three for each of at least {MIN_FRAMES} frames, got "
                f"{in_channels}; the paper's 11 frames have 33"
            )
        self.side = plan.side
        convs = [layer for layer in plan.layers if isinstance(layer, Conv)]
        layers = {f"relu{conv.name}": conv.channels for conv in convs}
        if num_classes is not None:
            layers |= {"fc6": plan.hidden[0], "fc7": plan.hidden[1], "fc8": num_classes}
        self.last = last or list(layers)[-1]
        self.layers = cut(layers, self.last)
        extents, width = (n_frames - 6, 2, 2, 1, 1), 3
        for conv, extent in zip(convs, extents, strict=True):
            name = f"relu{conv.name}"
            if name not in self.layers:
                break
            strides = (2 if extent > 1 else 1, conv.stride, conv.stride)
            kernel = (extent, conv.kernel, conv.kernel)
            padding = (0, conv.padding, conv.padding)
            self.add_module(
                f"conv{conv.name}", nn.Conv3d(width, conv.channels, kernel, strides, padding)
            )
            width = conv.channels
        if num_classes is not None:
            for name in ("fc6", "fc7", "fc8"):
                if name in self.layers:
                    side = plan.final_side() if name == "fc6" else 1
                    self.add_module(name, FullyConnected(width, layers[name], side=side))
                    width = layers[name]
        self.drop = nn.Dropout(dropout)
        start(self)

    @property
    def steps(self) -> dict[str, nn.Module]:
        """The layers, each with the normalisation, pooling or dropout before it."""
        norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), ceil_mode=True)
        before: dict[str, list[nn.Module]] = {
            "relu1": [_Unstack()],
            "relu2": [norm, pool],
            "relu3": [norm, pool],
            "fc6": [nn.MaxPool2d(3, stride=2, ceil_mode=True)],
            "fc7": [self.drop],
            "fc8": [self.drop],
        }
        behind: dict[str, list[nn.Module]] = {"relu5": [nn.Flatten(1, 2)], "fc8": []}
        return {
            name: nn.Sequential(
                *before.get(name, []),
                self.get_submodule(name.replace("relu", "conv")),
                *([] if name == "fc8" else [nn.ReLU()]),
                *behind.get(name, []),
            )
            for name in self.layers
        }
