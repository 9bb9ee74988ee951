from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from deep.backbones.depthwise import DepthwiseConv2d

CHANNELS = 6
SIZES = ((14, 14), (13, 18), (3, 2), (31, 30))


def plain(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """The same by padding apart and autograd's own convolution."""
    size = weight.shape[-1]
    sides = []
    for length in reversed(x.shape[-2:]):
        excess = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
        sides += [excess // 2, excess - excess // 2]
    return functional.conv2d(functional.pad(x, sides), weight, stride=stride, groups=x.shape[1])


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_output_and_gradients_are_those_of_autograd(kernel, stride, size):
    torch.manual_seed(0)
    conv = DepthwiseConv2d(CHANNELS, CHANNELS, kernel, stride=stride, groups=CHANNELS, bias=False)
    x = torch.randn(3, CHANNELS, *size, requires_grad=True)
    made, expected = conv(x), plain(x, conv.weight, stride)
    assert made.shape[-2:] == tuple(math.ceil(side / stride) for side in size)
    torch.testing.assert_close(made, expected)
    sought, upstream = (x, conv.weight), torch.randn_like(made)
    found = torch.autograd.grad(made, sought, upstream)
    for mine, theirs in zip(found, torch.autograd.grad(expected, sought, upstream), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_frozen_weights_and_inputs_have_no_gradient():
    conv = DepthwiseConv2d(CHANNELS, CHANNELS, 5, groups=CHANNELS, bias=False)
    x = torch.randn(2, CHANNELS, 9, 9)
    conv(x).sum().backward()
    assert x.grad is None
    assert conv.weight.grad is not None
    conv.weight.requires_grad_(False).grad = None
    x.requires_grad_()
    conv(x).sum().backward()
    assert conv.weight.grad is None
    assert x.grad is not None


def test_mixed_precision_and_other_types_go_through_autograd():
    conv = DepthwiseConv2d(CHANNELS, CHANNELS, 5, groups=CHANNELS, bias=False)
    x = torch.randn(2, CHANNELS, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = conv(x)
    assert made.dtype == torch.bfloat16
    made.float().sum().backward()
    assert conv.weight.grad is not None
    double = DepthwiseConv2d(2, 2, 5, groups=2, bias=False, dtype=torch.float64)
    seen = torch.randn(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(double, (seen,))


def test_takes_over_the_weights_of_another():
    other = nn.Conv2d(4, 4, 5, stride=2, groups=4, bias=False)
    conv = DepthwiseConv2d.of(other)
    assert conv.weight is other.weight
    assert (conv.kernel_size, conv.stride, conv.groups) == ((5, 5), (2, 2), 4)
    for wrong in (nn.Conv2d(4, 4, 5), nn.Conv2d(4, 4, 5, groups=4)):
        with pytest.raises(
            ValueError, match="other must be depthwise and without bias, got Conv2d"
        ):
            DepthwiseConv2d.of(wrong)
