"""Joining two towers' feature maps at one layer (Feichtenhofer et al. 2016, section 3.1).

Maps are ``(batch, channel, segment, h, w)``, D channels each; ``a`` is the spatial tower's.
"""

from __future__ import annotations

import torch
from torch import nn

METHODS = ("sum", "max", "concat", "conv")


def check_same_shape(a: torch.Tensor, b: torch.Tensor) -> None:
    """Refuse maps that cannot be laid over each other."""
    if a.shape != b.shape:
        raise ValueError(
            f"maps must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}; "
            "fuse layers of equal size and depth"
        )


def stacked_identity(channels: int, *, scales: tuple[float, float]) -> torch.Tensor:
    """Weights that add two stacked maps channel by channel.

    Parameters
    ----------
    channels
        D of each map.
    scales
        Factors of the spatial and the temporal map: (1, 1) is their sum.

    Returns
    -------
    Tensor of float32, shape (D, 2D)
        ``W[o, c] = s_a [c = o] + s_b [c = o + D]``.
    """
    identity = torch.eye(channels)
    return torch.cat([scales[0] * identity, scales[1] * identity], dim=1)


class SpatialFusion(nn.Module):
    """Sum, max, concatenation or learned 1 x 1 convolution of two maps at the same pixel.

    Parameters
    ----------
    method
        One of `METHODS`. ``conv`` starts as the weighted sum of `stacked_identity` and ends in a
        ReLU, like the layers it joins.
    channels
        D of each map.
    scales
        Start of ``conv``: the temporal map counts three times, its activations being about three
        times smaller (released code of the paper; (1, 1) is the literal sum).

    Attributes
    ----------
    channels
        Of the result: 2D for ``concat``, else D.
    """

    def __init__(
        self, method: str, channels: int, *, scales: tuple[float, float] = (0.25, 0.75)
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(
                f"method must be one of {', '.join(METHODS)}, got {method!r}; choose one of these"
            )
        self.method = method
        self.channels = 2 * channels if method == "concat" else channels
        if method == "conv":
            self.conv = nn.Conv3d(2 * channels, channels, kernel_size=1)
            with torch.no_grad():
                self.conv.weight[:, :, 0, 0, 0] = stacked_identity(channels, scales=scales)
                self.conv.bias.zero_()  # type: ignore[union-attr]  # it has one

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Fuse.

        Parameters
        ----------
        a, b : Tensor, shape (batch, D, segment, h, w)
            Maps of the spatial and of the temporal tower.

        Returns
        -------
        Tensor, shape (batch, `channels`, segment, h, w)
        """
        check_same_shape(a, b)
        if self.method == "sum":
            return a + b
        if self.method == "max":
            return torch.maximum(a, b)
        stacked = torch.cat([a, b], dim=1)  # (batch, 2D, segment, h, w)
        return stacked if self.method == "concat" else torch.relu(self.conv(stacked))
