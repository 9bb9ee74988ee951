"""First weights out of other networks' weights, and what of them stays as it is."""

from __future__ import annotations

import torch
from torch import nn


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
        The mean over RGB, once per channel, not rescaled (released code of Feichtenhofer et al.
        2016; so the summed weight of an input grows by in_channels / 3).
    """
    return rgb.mean(dim=1, keepdim=True).repeat(1, in_channels, 1, 1)


def inflate(weight: torch.Tensor, n_times: int) -> torch.Tensor:
    """Weights of a convolution over time and space from those of one over space.

    Parameters
    ----------
    weight : Tensor, shape (output, input, row, column)
    n_times
        Extent in time, at least 1.

    Returns
    -------
    Tensor, shape (output, input, n_times, row, column)
        The weights repeated over time and divided by `n_times`: a video of one frame repeated gives
        what the frame gave (Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017,
        section 2.4).
    """
    if weight.ndim != 4 or n_times < 1:
        raise ValueError(
            f"weight and n_times must be of 4 dimensions and at least 1, got {tuple(weight.shape)} "
            f"and {n_times}; inflate a 2D convolution's weight"
        )
    return weight[:, :, None].repeat(1, 1, n_times, 1, 1) / n_times


def freeze_batch_norm(module: nn.Module, *, keep_first: bool = True) -> None:
    """Hold batch normalisation at its running statistics, weights and biases.

    Call it again after ``module.train()``, which sets the statistics moving.

    Parameters
    ----------
    module
        The network.
    keep_first
        Whether the first layer goes on learning, its input being new where a network is turned to
        another modality: partial batch normalisation (Wang et al., "Temporal Segment Networks",
        ECCV 2016, section 3.2).
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    for norm in norms[1 if keep_first else 0 :]:
        norm.eval()
        norm.requires_grad_(False)
