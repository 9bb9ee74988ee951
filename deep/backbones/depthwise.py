"""Depthwise convolution whose weights' gradient is a depthwise convolution, too."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

Pair = tuple[int, int]


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution, padded with zeros so that only the stride makes the output smaller.

    The padding is TensorFlow's "SAME": by the size of each input, and one more below and to the
    right where it is odd. There is no bias.

    On a processor in float32 the gradient of the weights is computed as a forward pass in which
    every clip's channel is a group and the gradient of the output is its kernel, for weights of
    more than 3 x 3: oneDNN's own takes 3 to 19 times as long for 5 x 5. Everywhere else autograd
    does all.
    """

    @classmethod
    def of(cls, other: nn.Conv2d) -> DepthwiseConv2d:
        """The same weights, kernel and stride as another depthwise convolution without bias."""
        n_channels = other.in_channels
        if not n_channels == other.out_channels == other.groups or other.bias is not None:
            raise ValueError(f"other must be depthwise and without bias, got {other}")
        made = cls(
            n_channels,
            n_channels,
            other.kernel_size,  # type: ignore[arg-type]  # a pair, as of any convolution
            other.stride,  # type: ignore[arg-type]  # likewise
            groups=n_channels,
            bias=False,
            device="meta",
        )
        made.weight = other.weight
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, float (batch, channel, row, column)."""
        kernel, stride = self.kernel_size, self.stride
        excess = [
            max((-(-length // step) - 1) * step + size - length, 0)
            for length, size, step in zip(x.shape[-2:], kernel, stride, strict=True)
        ]
        padding = excess[0] // 2, excess[1] // 2
        if any(each % 2 for each in excess):
            (top, left), (down, across) = padding, excess
            x = functional.pad(x, (left, across - left, top, down - top))
            padding = 0, 0
        plain = x.device.type == "cpu" and x.dtype == torch.float32
        trains = torch.is_grad_enabled() and self.weight.requires_grad
        if trains and plain and max(kernel) > 3 and not torch.is_autocast_enabled("cpu"):
            return _Depthwise.apply(x, self.weight, stride, padding)
        return functional.conv2d(x, self.weight, None, stride, padding, groups=self.groups)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = conv2d_input(x.shape, weight, gradient, stride, padding, groups=len(weight))
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(x, gradient, weight.shape[2:], stride, padding)
        return of_input, of_weight, None, None


def _weight_gradient(
    x: torch.Tensor, gradient: torch.Tensor, kernel: torch.Size, stride: Pair, padding: Pair
) -> torch.Tensor:
    """Correlate the input with the output's gradient, clip by clip, and add the clips."""
    n_clips, n_channels = x.shape[:2]
    found = functional.conv2d(
        x.reshape(1, n_clips * n_channels, *x.shape[2:]),
        gradient.reshape(n_clips * n_channels, 1, *gradient.shape[2:]),
        padding=padding,
        dilation=stride,
        groups=n_clips * n_channels,
    )
    # Rows and columns that the stride left over make it larger than the kernel.
    found = found[:, :, : kernel[0], : kernel[1]]
    return found.reshape(n_clips, n_channels, 1, *kernel).sum(dim=0)
