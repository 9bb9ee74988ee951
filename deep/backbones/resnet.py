"""ResNet-18, -50 and -101, names of their weights as in torchvision.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1. As in torchvision the
stride of a bottleneck is that of its 3 x 3 convolution.
"""

from __future__ import annotations

import torch
from torch import nn

from deep.backbones.backbone import Backbone, cut, start

DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
BASIC = 18  # the depth whose blocks have two 3 x 3 convolutions, without bottleneck


class Block(nn.Module):
    """A residual block: two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 with four times the width.

    Parameters
    ----------
    inputs
        Channels that come in.
    width
        Of the 3 x 3 convolutions.
    stride
        Of the block; with it, or where the channels change, the shortcut is a 1 x 1 convolution.
    bottleneck
        Which of the two forms.
    """

    def __init__(self, inputs: int, width: int, *, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        else:
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, outputs, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
        self.bottleneck = bottleneck
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(image, inputs, h, w) to (image, outputs, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + shortcut)


class Average(nn.Module):
    """Mean over rows and columns, dropout, a linear layer: maps to logits (image, class, 1, 1)."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(image, channel, h, w) to (image, class, 1, 1)."""
        logits: torch.Tensor = self.linear(self.dropout(x.mean(dim=(2, 3))))
        return logits[:, :, None, None]


class ResNet(Backbone):
    """A residual network.

    Parameters
    ----------
    in_channels
        3 for RGB, 2L for flow.
    depth
        18, 50 or 101.
    last
        Layer to end at: ``conv1``, ``layer1`` to ``layer4``, and with `num_classes` ``fc``; None
        for the last.
    num_classes
        Number of logits; None to end before the linear layer.
    dropout
        Before the linear layer.
    width
        Of the first layer.
    blocks
        Per layer, in place of the depth's.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        depth: int,
        last: str | None = None,
        num_classes: int | None = None,
        dropout: float = 0.0,
        width: int = 64,
        blocks: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__()
        expansion = 1 if depth == BASIC else 4
        layers = {"conv1": width}
        layers |= {f"layer{i + 1}": expansion * width * 2**i for i in range(4)}
        if num_classes is not None:
            layers["fc"] = num_classes
        self.last = last or list(layers)[-1]
        self.layers = cut(layers, self.last)
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for i, n_blocks in enumerate(blocks or DEPTHS[depth]):
            name = f"layer{i + 1}"
            if name not in self.layers:
                break
            parts = []
            for index in range(n_blocks):
                stride = 2 if index == 0 and i > 0 else 1
                parts.append(Block(inputs, width * 2**i, stride=stride, bottleneck=depth != BASIC))
                inputs = layers[name]
            setattr(self, name, nn.Sequential(*parts))
        self.dropout = dropout
        if "fc" in self.layers:
            self.fc = nn.Linear(inputs, self.layers["fc"])
        start(self)

    @property
    def steps(self) -> dict[str, nn.Module]:
        """The stem, the four layers (the first with the pool before it), the classifier."""
        parts: dict[str, nn.Module] = {"conv1": nn.Sequential(self.conv1, self.bn1, nn.ReLU())}
        for name in list(self.layers)[1:]:
            if name == "layer1":
                pool = nn.MaxPool2d(3, stride=2, padding=1)
                parts[name] = nn.Sequential(pool, self.get_submodule(name))
            elif name == "fc":
                parts[name] = Average(self.fc, self.dropout).train(self.training)
            else:
                parts[name] = self.get_submodule(name)
        return parts
