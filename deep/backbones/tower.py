"""A backbone over the segments of clips."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from deep.backbones import FULLY_CONNECTED, build, freeze_batch_norm, resolve

FLOW_SCALE = 2.0  # pixels per frame that become 1 at the input; most motion at 128 rows is below
MODALITIES = {"rgb": 3, "flow": 2, "rgb-difference": 3}  # channels at one time


class Tower(nn.Module):
    """A backbone over the frames, or the flow stacks, of clips.

    Takes ``(batch, segment, channel, time, row, column)``. Channels and times are laid out as one
    stack per segment in the order x1, y1, x2, y2, ... (Simonyan and Zisserman 2014, equation 1).

    Parameters
    ----------
    backbone
        Name, one of `deep.backbones.NAMES`.
    modality
        ``rgb``, ``flow`` or ``rgb-difference``.
    n_times
        Times per segment: 1 for RGB, L for flow and differences.
    last
        Layer at which the backbone ends; None for the last there is.
    num_classes
        Number of logits of a backbone with its own classifier; None to end before it.
    frozen
        Number of stages from the front that keep their weights and statistics.
    partial_bn
        Whether batch normalisation, but for the first layer's, keeps its statistics and weights
        (Wang et al., "Temporal Segment Networks", ECCV 2016).
    **options
        Of the backbone.

    Attributes
    ----------
    mean, std : Tensor, shape (channel, 1, 1)
        Standardise the input. They are part of the state dict, as they belong to the weights.
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
        num_classes: int | None = None,
        frozen: int = 0,
        partial_bn: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        channels = MODALITIES[modality]
        self.name = resolve(backbone)
        if self.name.startswith("slow-fusion") and (modality != "rgb" or n_times == 1):
            raise ValueError(
                f"backbone of {'one frame' if modality == 'rgb' else modality} must not be "
                f"{self.name}, which sees several frames; it is two-stream's spatial one, as in "
                "slow-fusion/cnn-m-2048"
            )
        if self.name in FULLY_CONNECTED and modality != "rgb":
            options["temporal"] = True
        self.modality = modality
        self.n_times = n_times
        self.frozen = frozen
        self.partial_bn = partial_bn
        network = build(backbone, channels * n_times, last=last, num_classes=num_classes, **options)
        if not 0 <= frozen <= len(network.stages):
            raise ValueError(
                f"frozen must be 0 to {len(network.stages)} for {backbone}, got {frozen}; "
                "give a number of stages"
            )
        self.backbone = network
        for stage in network.stages[:frozen]:
            stage.requires_grad_(False)
        if partial_bn:
            freeze_batch_norm(network)
        mean, std = torch.zeros(channels), torch.full((channels,), FLOW_SCALE)
        if modality == "rgb":
            mean = torch.tensor(network.mean)
        if modality != "flow":
            std = torch.tensor(network.std)
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    @property
    def channels(self) -> int:
        """Channels of the maps at the backbone's end."""
        return self.backbone.channels

    def train(self, mode: bool = True) -> Tower:
        """As `Module.train`, but what is frozen stays in evaluation mode."""
        super().train(mode)
        if mode:
            for stage in self.backbone.stages[: self.frozen]:
                stage.eval()
            if self.partial_bn:
                freeze_batch_norm(self.backbone)
        return self

    def stacks(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise clips and lay them out as images.

        Parameters
        ----------
        x : Tensor of float32, shape (batch, segment, channel, time, row, column)
            RGB in [0, 1], its differences, or flow in pixels per frame.

        Returns
        -------
        Tensor of float32, shape (batch x segment, channel x time, row, column)
        """
        n_channels = len(self.mean)
        if x.ndim != 6 or x.shape[2:4] != (n_channels, self.n_times):
            raise ValueError(
                f"{self.modality} must have shape (batch, segment, {n_channels}, {self.n_times}, "
                f"row, column), got {tuple(x.shape)}; cut clips with the network's INPUT"
            )
        stacks = x.transpose(2, 3)  # (batch, segment, time, channel, row, column)
        stacks = ((stacks - self.mean) / self.std).flatten(2, 3).flatten(0, 1)
        # on CPUs convolutions run up to twice as fast over channels-last memory
        return stacks.contiguous(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the maps of every segment.

        Parameters
        ----------
        x : Tensor of float32, shape (batch, segment, channel, time, row, column)
            As for `stacks`.

        Returns
        -------
        Tensor of float32, shape (batch, channels, segment, h, w)
        """
        return by_clip(self.backbone(self.stacks(x)), len(x))


def by_clip(maps: torch.Tensor, n_clips: int) -> torch.Tensor:
    """(batch x segment, channel, h, w) to (batch, channel, segment, h, w)."""
    return maps.unflatten(0, (n_clips, -1)).transpose(1, 2)


def by_segment(maps: torch.Tensor) -> torch.Tensor:
    """(batch, channel, segment, h, w) to (batch x segment, channel, h, w)."""
    return maps.transpose(1, 2).flatten(0, 1)
