"""Joining feature maps over time (Feichtenhofer et al. 2016, sections 3.3 and 3.4).

Maps are ``(batch, channel, segment, h, w)``.
"""

from __future__ import annotations

import torch
from torch import nn

from deep.spatial_fusion import check_same_shape, stacked_identity


def gaussian_cube() -> torch.Tensor:
    """``exp(-(t^2 + y^2 + x^2) / 2)`` over {-1, 0, 1}^3, normalised to sum 1: Tensor (3, 3, 3)."""
    line = torch.exp(-0.5 * torch.arange(-1.0, 2.0) ** 2)
    cube = line[:, None, None] * line[None, :, None] * line[None, None, :]
    return cube / cube.sum()


class Conv3dFusion(nn.Module):
    """3 x 3 x 3 convolution over two stacked maps, D each, to D channels, and ReLU.

    It starts as the stacked identity times a Gaussian in space and time:
    ``W[o, c, t, y, x] = g(t, y, x) (s_a [c = o] + s_b [c = o + D])`` with bias 0, so that at first
    it blurs and adds the two maps.

    Parameters
    ----------
    channels
        D of each map.
    scales
        (s_a, s_b), of the spatial and of the temporal map. (0.25, 0.75) as the released code: the
        temporal activations are about three times smaller, and the total gain is 1.
    """

    def __init__(self, channels: int, *, scales: tuple[float, float] = (0.25, 0.75)) -> None:
        super().__init__()
        self.conv = nn.Conv3d(2 * channels, channels, kernel_size=3, padding=1)
        identity = stacked_identity(channels, scales=scales)
        with torch.no_grad():
            self.conv.weight.copy_(identity[:, :, None, None, None] * gaussian_cube())
            self.conv.bias.zero_()  # type: ignore[union-attr]  # it has one

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Fuse.

        Parameters
        ----------
        a, b : Tensor, shape (batch, D, segment, h, w)
            Maps of the spatial and of the temporal tower.

        Returns
        -------
        Tensor, shape (batch, D, segment, h, w)
        """
        check_same_shape(a, b)
        return torch.relu(self.conv(torch.cat([a, b], dim=1)))


class Pool3d(nn.Module):
    """Max pooling over 2 x 2 in space, stride 2, and over all segments in time.

    Never across channels. The paper pools T = 5 segments with a window of 5: one step is left, as
    here for any T. Odd maps keep their last row and column (a part-filled window); maps of one row
    or column stay as they are.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool.

        Parameters
        ----------
        x : Tensor, shape (batch, channel, segment, h, w)

        Returns
        -------
        Tensor, shape (batch, channel, ceil(h / 2), ceil(w / 2))
        """
        return nn.functional.max_pool2d(x.amax(dim=2), kernel_size=2, ceil_mode=True)
