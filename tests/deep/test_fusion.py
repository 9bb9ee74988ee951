from __future__ import annotations

import math

import pytest
import torch

from deep.spatial_fusion import (
    SpatialFusion,
    UpConvolution,
    bilinear,
    pad_to_match,
    stacked_identity,
)
from deep.temporal_fusion import Conv3dFusion, Pool3d, gaussian_cube


def maps(*values: float) -> torch.Tensor:
    """One clip of one segment and one pixel: a vector of channels."""
    return torch.tensor(values).view(1, -1, 1, 1, 1)


def test_fusions_by_hand() -> None:
    a, b = maps(1.0, 5.0), maps(2.0, -3.0)
    expected = {
        "sum": [3.0, 2.0],
        "max": [2.0, 5.0],
        "concat": [1.0, 5.0, 2.0, -3.0],
        "conv": [0.25 * 1 + 0.75 * 2, max(0.0, 0.25 * 5 - 0.75 * 3)],
    }
    for method, values in expected.items():
        fusion = SpatialFusion(method, 2)
        found = fusion(a, b)
        assert found.flatten().tolist() == values, method
        assert found.shape[1] == fusion.channels


def test_stacked_identity_is_the_sum() -> None:
    a, b = torch.rand(2, 2, 4, 3, 5, 5)
    conv = SpatialFusion("conv", 4, scales=(1.0, 1.0))
    torch.testing.assert_close(conv(a, b), SpatialFusion("sum", 4)(a, b))


def test_stacked_identity_by_hand() -> None:
    assert stacked_identity(2, scales=(0.25, 0.75)).tolist() == [
        [0.25, 0.0, 0.75, 0.0],
        [0.0, 0.25, 0.0, 0.75],
    ]


def test_gaussian_by_hand() -> None:
    cube = gaussian_cube()
    assert cube.sum().item() == pytest.approx(1.0)
    assert (cube[1, 1, 1] / cube[1, 1, 2]).item() == pytest.approx(math.exp(0.5))
    assert (cube[1, 1, 1] / cube[0, 0, 0]).item() == pytest.approx(math.exp(1.5))


def test_3d_conv_starts_as_a_weighted_blur() -> None:
    fusion = Conv3dFusion(2)
    constant = torch.ones(1, 2, 3, 5, 5)
    inner = fusion(4 * constant, 8 * constant)[:, :, 1, 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.25 * 4 + 0.75 * 8))
    a, b = torch.zeros(2, 1, 2, 3, 5, 5)
    b[0, 1, 1, 2, 2] = 1.0
    spread = fusion(a, b)
    torch.testing.assert_close(spread[0, 1, :, 1:4, 1:4], 0.75 * gaussian_cube())
    assert torch.all(spread[0, 0] == 0)


def test_pool_by_hand() -> None:
    x = torch.zeros(1, 1, 2, 3, 4)
    x[0, 0, 0, 1, 1] = 1.0
    x[0, 0, 1, 0, 0] = 2.0
    x[0, 0, 1, 2, 3] = 3.0
    assert Pool3d()(x)[0, 0].tolist() == [[2.0, 0.0], [0.0, 3.0]]
    assert Pool3d()(torch.ones(1, 1, 1, 1, 1)).shape == (1, 1, 1, 1)


def test_bilinear_by_hand() -> None:
    a, b = torch.zeros(2, 1, 2, 1, 1, 2)  # two channels at two pixels
    a[0, :, 0, 0] = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    b[0, :, 0, 0] = torch.tensor([[3.0, 0.0], [-1.0, 1.0]])
    products = torch.tensor([1 * 3 + 2 * 0, 1 * -1 + 2 * 1, 0 * 3 + 1 * 0, 0 * -1 + 1 * 1.0])
    rooted = products.sign() * products.abs().sqrt()
    expected = rooted / rooted.norm()
    torch.testing.assert_close(bilinear(a, b)[0, 0], expected, rtol=1e-5, atol=1e-6)
    negative = bilinear(-a, b)
    torch.testing.assert_close(negative, -bilinear(a, b))


def test_bilinear_has_a_gradient_where_a_product_is_zero() -> None:
    a = torch.zeros(1, 2, 1, 2, 2, requires_grad=True)
    bilinear(a + 0, torch.ones(1, 2, 1, 2, 2)).sum().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_padding_by_hand() -> None:
    a, b = torch.ones(1, 1, 1, 2, 3), torch.ones(1, 1, 1, 3, 2)
    padded = pad_to_match(a, b)
    assert padded[0][0, 0, 0].tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert padded[1][0, 0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 0]]
    with pytest.raises(ValueError, match=r"one row and one column, got \(2, 3\) and \(2, 5\)"):
        pad_to_match(a, torch.ones(1, 1, 1, 2, 5))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_up_convolution_starts_as_bilinear_interpolation(factor: int) -> None:
    maps = torch.rand(2, 3, 2, 5, 6)
    found = UpConvolution(3, factor)(maps)
    assert found.shape == (2, 3, 2, 5 * factor, 6 * factor)
    frames = maps.transpose(1, 2).flatten(0, 1)
    expected = torch.nn.functional.interpolate(
        frames, scale_factor=factor, mode="bilinear", align_corners=False
    )
    expected = expected.unflatten(0, (2, 2)).transpose(1, 2)
    inner = (..., slice(factor, -factor), slice(factor, -factor))  # edges fade into the padding
    torch.testing.assert_close(found[inner], expected[inner])


def test_starts_of_the_convolution() -> None:
    torch.manual_seed(0)
    copies = SpatialFusion("conv", 3, scales=(0.0, 1.0))
    a, b = torch.rand(2, 1, 3, 1, 2, 2)
    torch.testing.assert_close(copies(a, b), b)
    half = SpatialFusion("conv", 64, start="identity-gaussian").conv.weight.detach()[:, :, 0, 0, 0]
    torch.testing.assert_close(half[:, :64], 0.25 * torch.eye(64))
    # He et al.: variance 2 / (kernel size x D); 4096 draws leave the deviation to a few percent
    assert half[:, 64:].std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    cube = Conv3dFusion(16, start="gaussian").conv.weight.detach()
    assert cube.std().item() == pytest.approx(math.sqrt(2 / (27 * 16)), rel=0.05)
    with pytest.raises(ValueError, match="identity, gaussian, identity-gaussian, got 'x'"):
        SpatialFusion("conv", 2, start="x")


def test_errors() -> None:
    with pytest.raises(ValueError, match="method must be one of sum, max, concat, conv, got 'mul'"):
        SpatialFusion("mul", 2)
    with pytest.raises(ValueError, match="one shape"):
        SpatialFusion("sum", 1)(torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 3))
    with pytest.raises(ValueError, match="one shape"):
        Conv3dFusion(1)(torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 2, 2, 2))
