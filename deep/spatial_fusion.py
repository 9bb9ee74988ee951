"""Joining two towers' feature maps at one layer (Feichtenhofer et al. 2016, section 3.1).

Maps are ``(batch, channel, segment, h, w)``, D channels each; ``a`` is the spatial tower's.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

METHODS = ("sum", "max", "concat", "conv")
EPSILON = 1e-12  # keeps the square root's slope finite where a product is 0
STARTS = ("identity", "gaussian", "identity-gaussian")


def check_same_shape(a: torch.Tensor, b: torch.Tensor) -> None:
    """Refuse maps that cannot be laid over each other."""
    if a.shape != b.shape:
        raise ValueError(
            f"maps must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}; "
            "fuse layers of equal size and depth"
        )


def pad_to_match(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring maps of nearly equal size to one size: a last row or column of zeros.

    Parameters
    ----------
    a, b : Tensor, shape (..., h, w)
        Sizes that differ by at most one row and one column, as VGG-16's 14 x 14 and CNN-M's 13 x 13
        do. The paper does not say on which side; MatConvNet's pooling pads at the end, too.

    Raises
    ------
    ValueError
        The sizes differ by more.
    """
    size = [max(sides) for sides in zip(a.shape[-2:], b.shape[-2:], strict=True)]
    if any(abs(i - j) > 1 for i, j in zip(a.shape[-2:], b.shape[-2:], strict=True)):
        raise ValueError(
            f"maps must differ by at most one row and one column, got {tuple(a.shape[-2:])} and "
            f"{tuple(b.shape[-2:])}; fuse other layers, or enlarge one by up-convolution"
        )
    if a.shape[-2:] == b.shape[-2:]:
        return a, b
    padded = [
        functional.pad(maps, (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2]))
        for maps in (a, b)
    ]
    return padded[0], padded[1]


class UpConvolution(nn.Module):
    """A transposed convolution that enlarges maps, channel by channel at first bilinearly.

    Parameters
    ----------
    channels
        D.
    factor
        From 2; rows and columns are multiplied by it.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        margin = factor % 2
        self.conv = nn.ConvTranspose2d(
            channels, channels, 2 * factor - margin, factor, padding=(factor - margin) // 2
        )
        side = 2 * factor - margin
        centre = (side - 1) / 2
        line = 1 - (torch.arange(side, dtype=torch.float32) - centre).abs() / factor
        with torch.no_grad():
            weight = torch.eye(channels)[:, :, None, None] * line[:, None] * line
            self.conv.weight.copy_(weight)
            self.conv.bias.zero_()  # type: ignore[union-attr]  # it has one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channel, segment, h, w) to (batch, channel, segment, h factor, w factor)."""
        maps: torch.Tensor = self.conv(x.transpose(1, 2).flatten(0, 1))
        return maps.unflatten(0, (len(x), -1)).transpose(1, 2)


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


def start_fusion(
    conv: nn.Conv3d, start: str, window: torch.Tensor, scales: tuple[float, float]
) -> None:
    """Set the first weights of a convolution over two stacked maps; its bias becomes 0.

    Parameters
    ----------
    conv
        From 2D to D channels; changed in place.
    start
        One of `STARTS`: the stacked identity times a window over time and space; normal random
        numbers of variance 2 / (kernel size x D) (He et al. 2015); or the first for the spatial
        map and the second for the temporal one.
    window : Tensor, shape of the kernel (time, row, column)
        Of sum 1.
    scales
        See `stacked_identity`.
    """
    if start not in STARTS:
        raise ValueError(
            f"start must be one of {', '.join(STARTS)}, got {start!r}; choose one of these"
        )
    channels = conv.out_channels
    with torch.no_grad():
        conv.bias.zero_()  # type: ignore[union-attr]  # it has one
        if start != "gaussian":
            identity = stacked_identity(channels, scales=scales)
            conv.weight.copy_(identity[:, :, None, None, None] * window)
        if start != "identity":
            random = conv.weight if start == "gaussian" else conv.weight[:, channels:]
            random.normal_(std=(2 / (window.numel() * channels)) ** 0.5)


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
    start
        One of `STARTS`.
    rectify
        Whether ``conv`` ends in a ReLU; over logits it does not.

    Attributes
    ----------
    channels
        Of the result: 2D for ``concat``, else D.
    """

    def __init__(
        self,
        method: str,
        channels: int,
        *,
        scales: tuple[float, float] = (0.25, 0.75),
        start: str = "identity",
        rectify: bool = True,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(
                f"method must be one of {', '.join(METHODS)}, got {method!r}; choose one of these"
            )
        self.method = method
        self.rectify = rectify
        self.channels = 2 * channels if method == "concat" else channels
        if method == "conv":
            self.conv = nn.Conv3d(2 * channels, channels, kernel_size=1)
            start_fusion(self.conv, start, torch.ones(1, 1, 1), scales)

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
        if self.method == "concat":
            return stacked
        fused: torch.Tensor = self.conv(stacked)
        return torch.relu(fused) if self.rectify else fused


def bilinear(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Outer products of two maps' channels, summed over the pixels: every channel with every other.

    Parameters
    ----------
    a, b : Tensor, shape (batch, D, segment, h, w)

    Returns
    -------
    Tensor, shape (batch, segment, D x D)
        After the signed square root and L2 normalisation of each segment (section 3.1, point 5;
        Lin et al., "Bilinear CNN Models", ICCV 2015).
    """
    check_same_shape(a, b)
    products = torch.einsum("bithw,bjthw->btij", a, b).flatten(2)
    rooted = products.sign() * (products.abs() + EPSILON).sqrt()
    return functional.normalize(rooted, dim=2)
