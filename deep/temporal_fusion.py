"""Joining feature maps over time (Feichtenhofer et al. 2016, sections 3.3 and 3.4).

Maps are ``(batch, channel, segment, h, w)``.
"""

from __future__ import annotations

import torch
from torch import nn

from deep.spatial_fusion import check_same_shape, start_fusion


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
    start
        One of `deep.spatial_fusion.STARTS`; the above is ``identity``.
    """

    def __init__(
        self,
        channels: int,
        *,
        scales: tuple[float, float] = (0.25, 0.75),
        start: str = "identity",
    ) -> None:
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv3d(2 * channels, channels, kernel_size=3, padding=1)
        start_fusion(self.conv, start, gaussian_cube(), scales)

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


def pool_time(x: torch.Tensor) -> torch.Tensor:
    """Largest value over the segments: (batch, channel, segment, h, w) without its third axis.

    The half of 3D max pooling that is in time; the maximum over a cube is that over space of those
    over time. The paper's window is its T = 5 segments: one step is left, as here for any T.
    """
    return x.amax(dim=2)


class Pool3d(nn.Module):
    """Max pooling over 2 x 2 in space, stride 2, and over all segments in time.

    Never across channels. Odd maps keep their last row and column (a part-filled window); maps of
    one row or column stay as they are.
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
        return nn.functional.max_pool2d(pool_time(x), kernel_size=2, ceil_mode=True)
