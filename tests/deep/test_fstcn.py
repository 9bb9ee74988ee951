"""FstCN: its factorisation, its inputs, its layers, its stages and its fusion of views."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from deep import models
from deep.late_fusion import fuse_scores, sparsity_concentration
from deep.models import count_parameters
from deep.models.fstcn import VARIANTS, FstCN, TemporalConvolution, TransformPermute, build, clips


def tiny(**options: Any) -> FstCN:
    torch.manual_seed(0)
    return build(3, **{"backbone": "scl-tiny", "segments": 4, **options})


def clip(n: int = 2, *, segments: int = 4, side: int = 204) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, segments, 3, 2, side, side, generator=generator)


def parameters_by_hand(rows: int, segments: int, *, places: str = "channels") -> int:
    """101 classes: shared layers, path SCLs, P, TCL, fully connected layers, classifier."""
    scl = sum(out * (inputs * k * k + 1) for out, inputs, k in
              ((96, 3, 7), (256, 96, 5), (512, 256, 3), (512, 512, 3)))  # fmt: skip
    assert scl == 4_168_832  # 4.17 million
    path = 128 * (512 * 9 + 1)  # 0.59 million
    n_places = (rows // 3) ** 2
    inputs = n_places if places == "channels" else 1
    tcl = 32 * (9 * inputs + 1) + 32 * (25 * inputs + 1)
    values = 64 * segments * 128 * (n_places // inputs)
    spatial = 4096 * (128 * n_places + 1) + 2048 * 4097
    temporal = 4096 * (values + 1) + 2048 * 4097
    return scl + 2 * path + 128 * 128 + tcl + spatial + temporal + 101 * (2 * 2048 + 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, parameters_by_hand(11, 16)),
        ({"padding": "same"}, parameters_by_hand(12, 16)),
        ({"places": "batch"}, parameters_by_hand(11, 16, places="batch")),
        ({"segments": 5}, parameters_by_hand(11, 5)),
    ],
)
def test_parameter_counts(options: dict[str, Any], expected: int) -> None:
    with torch.device("meta"):
        network = build(101, backbone="scl", **options)
        segments = options.get("segments", 16)
        scores = network(torch.empty(1, segments, 3, 2, 204, 204))
    assert scores.shape == (1, 101)
    assert count_parameters(network, uncounted=("auxiliary",)) == expected


@pytest.mark.parametrize(
    ("backbone", "rows"), [("scl", [99, 23, 11, 11]), ("scl-same", [102, 25, 12, 12])]
)
def test_sizes_of_the_shared_layers(backbone: str, rows: list[int]) -> None:
    with torch.device("meta"):
        network = build(101, backbone=backbone).tower.backbone
        image = torch.empty(1, 3, 204, 204)
        found = [network.run(image, until=layer).shape[-1] for layer in network.layers]
    assert found == rows


@given(st.integers(0, 99), st.sampled_from([1, 3]), st.sampled_from([3, 5]))
def test_a_3d_kernel_of_outer_products_is_2d_then_1d(seed: int, k_xy: int, k_t: int) -> None:
    rng = np.random.default_rng(seed)
    spatial, temporal = (torch.from_numpy(rng.normal(size=n)) for n in ((k_xy, k_xy), k_t))
    video = torch.from_numpy(rng.normal(size=(1, 1, 6, 7, 5)))  # time, row, column
    kernel = temporal[:, None, None] * spatial
    whole = functional.conv3d(video, kernel[None, None], padding=(k_t // 2, k_xy // 2, k_xy // 2))
    f_s = functional.conv2d(video[0].transpose(0, 1), spatial[None, None], padding=k_xy // 2)
    along = f_s[:, 0].permute(1, 2, 0).reshape(-1, 1, 6)  # every pixel's vector over time
    f_st = functional.conv1d(along, temporal[None, None], padding=k_t // 2)
    torch.testing.assert_close(whole[0, 0], f_st.view(7, 5, 6).permute(2, 0, 1))


def test_transform_and_permute_by_hand() -> None:
    x = torch.arange(2 * 3 * 1 * 2.0).view(1, 2, 3, 1, 2)  # two features, three times, two places
    planes = TransformPermute(2, places="channels")(x)
    assert planes.shape == (1, 2, 3, 2)
    for place in range(2):
        for time in range(3):
            assert planes[0, place, time].tolist() == x[0, :, time, 0, place].tolist()
    swap = TransformPermute(2, places="batch")
    with torch.no_grad():
        swap.P.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    turned = swap(x)
    assert turned.shape == (2, 1, 3, 2)
    torch.testing.assert_close(turned[:, 0], planes[0].flip(-1))
    assert torch.equal(TransformPermute(128, places="batch").P, torch.eye(128))


def test_temporal_convolution_runs_over_time_and_feature() -> None:
    layer = TemporalConvolution(1, 4, kernels="both", dropout=0.5).eval()
    assert [conv[0].kernel_size for conv in layer.branches] == [(3, 3), (5, 5)]  # type: ignore[index]
    planes = torch.zeros(1, 1, 9, 9)
    planes[0, 0, 4, 4] = 1.0
    changed = (layer(planes) - layer(torch.zeros(1, 1, 9, 9))).abs().amax(dim=1)[0] > 0
    assert not changed[:2].any()
    assert not changed[:, :2].any()
    assert changed[2:7, 2:7].any()
    assert layer(planes).shape == (1, 8, 9, 9)
    assert TemporalConvolution(9, 4, kernels="5", dropout=0.5)(torch.rand(2, 9, 6, 8)).shape[1] == 4


def test_clips_and_their_differences() -> None:
    assert clips(backbone="scl").segments == 16
    spec = clips(segments=3)
    assert spec.at(7, 5, n_frames=99).frames.tolist() == [[7, 16], [12, 21], [17, 26]]
    network = tiny(backbone="small", segments=3)
    rgb = clip(2, segments=3, side=32)
    frame, differences = network.eval().pair(rgb)
    expected = (rgb[:, :, :, 0] - rgb[:, :, :, 1]).abs() / network.tower.std
    torch.testing.assert_close(differences, expected)
    middle = (rgb[:, 1, :, 0] - network.tower.mean) / network.tower.std
    torch.testing.assert_close(frame, middle)
    torch.manual_seed(1)
    drawn = [network.train().pair(rgb)[0][0] for _ in range(30)]
    seen = {round(float(each.sum()), 3) for each in drawn}
    assert len(seen) == 3


def test_motion_and_appearance_go_their_own_ways() -> None:
    rgb = clip(1)
    brighter = rgb.clone()
    brighter[:, 2] += 0.5  # the middle frame and the one its difference is taken from
    for paths, same in (("temporal", True), ("spatial", False)):
        network = tiny(paths=paths).eval()
        assert torch.allclose(network(rgb), network(brighter), atol=1e-6) == same
    swapped = rgb.clone()
    swapped[:, 0] = rgb[:, 0].flip(2)  # V(t + d_t) and V(t) of a frame that is not the middle one
    for network in (tiny(paths="spatial").eval(), tiny(paths="temporal").eval()):
        torch.testing.assert_close(network(rgb), network(swapped))


@pytest.mark.parametrize("row", list(VARIANTS))
def test_every_row_runs_and_learns_what_it_should(row: str) -> None:
    torch.manual_seed(0)
    network = models.build("fstcn", 3, variant=row, backbone="scl-tiny", segments=4)
    assert network.eval()(clip()).shape == (2, 3)
    network.train()
    heads = network.heads(clip())
    labels = torch.tensor([0, 2])
    loss = torch.stack([functional.cross_entropy(h, labels) for h in heads.values()]).sum()
    assert torch.isfinite(loss)
    loss.backward()
    learning = set()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
            learning.add(name.split(".")[0])
    assert ("tower" in learning) == (row != "stage-2")
    assert ("auxiliary" in learning) == (row in ("stage-1", "stage-2", "auxiliary-loss"))
    assert ("tp" in learning) == (row not in ("stage-1", "stage-2", "spatial-path"))


def test_stages_have_their_heads() -> None:
    assert list(tiny(stage=1).heads(clip(1))) == ["auxiliary"]
    assert list(tiny(stage=3).heads(clip(1))) == ["fused"]
    assert list(tiny(auxiliary=True).heads(clip(1))) == ["fused", "auxiliary"]
    layers = [m for m in tiny(stage=2).auxiliary if isinstance(m, nn.Linear)]
    assert len(layers) == 3  # the last three layers
    first, third = tiny(stage=1), tiny(stage=3)
    third.load_state_dict(first.state_dict())  # a stage goes on from the one before


def test_clips_of_a_batch_are_independent() -> None:
    network = tiny().eval()
    rgb = clip(3)
    with torch.inference_mode():
        apart = torch.cat([network(rgb[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(network(rgb), apart, rtol=1e-4, atol=1e-5)


def test_sparsity_concentration_by_hand() -> None:
    p = torch.tensor([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1], [6.0, 3.0, 1.0]])
    expected = torch.tensor([1.0, 0.0, (3 * 0.6 - 1) / 2, (3 * 0.6 - 1) / 2])
    torch.testing.assert_close(sparsity_concentration(p), expected)


def test_fusion_of_views_by_hand() -> None:
    sure, half, flat = [1.0, 0.0], [0.75, 0.25], [0.5, 0.5]  # SCI 1, 1/2, 0
    p = torch.tensor([[sure, flat], [half, [0.25, 0.75]]])  # crop, clip, class
    # over crops: clip 0 is (1 sure + 1/2 half) / 1.5, clip 1 its second crop alone
    first = (1.0 + 0.5 * 0.75) / 1.5
    by_crops = torch.tensor([max(first, 0.25), max(1 - first, 0.75)])
    torch.testing.assert_close(fuse_scores(p), by_crops)
    # over clips: crop 0 is its first clip alone, crop 1 the mean of two equally sure ones
    torch.testing.assert_close(fuse_scores(p, weigh="clips"), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(fuse_scores(p, weigh="none"), torch.tensor([0.625, 0.375]))
    uniform = torch.full((3, 2, 4), 0.25)
    torch.testing.assert_close(fuse_scores(uniform), torch.full((4,), 0.25))
    with pytest.raises(ValueError, match="weigh must be one of crops, clips, none, got 'x'"):
        fuse_scores(p, weigh="x")


def test_views_are_fused_as_softmax_scores() -> None:
    network = tiny(weigh="none")
    views = {"fused": torch.log(torch.tensor([[[3.0, 1.0, 4.0]], [[1.0, 1.0, 2.0]]]))}
    expected = [(3 / 8 + 1 / 4) / 2, (1 / 8 + 1 / 4) / 2, (4 / 8 + 2 / 4) / 2]
    torch.testing.assert_close(network.fuse_views(views).exp(), torch.tensor(expected))
    assert math.isclose(float(network.fuse_views(views).exp().sum()), 1.0, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "x"}, "padding must be one of none, same, got 'x'"),
        ({"places": "x"}, "places must be one of channels, batch, got 'x'"),
        ({"kernels": "7"}, "kernels must be one of both, 3, 5, got '7'"),
        ({"paths": "x"}, "paths must be one of both, spatial, temporal, got 'x'"),
        ({"stage": 4}, "stage must be one of 1, 2, 3, got '4'"),
        ({"weigh": "x"}, "weigh must be one of crops, clips, none, got 'x'"),
        ({"segments": 0}, "segments must be at least 1, got 0"),
        ({"backbone": "x"}, "backbone must be auto, small, .*, got 'x'"),
        ({"backbone": "scl-tiny/scl-tiny"}, "backbone must be one name, got 'scl-tiny/scl-tiny'"),
        ({"backbone": "small", "padding": "same"}, "padding must be one of none, got 'same'"),
        ({"frozen": 9}, "frozen must be 0 to 4 for scl-tiny, got 9"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_wrong_inputs() -> None:
    network = tiny()
    with pytest.raises(ValueError, match="rgb must be given, got None"):
        network()
    with pytest.raises(ValueError, match=r"and 4 segments, got \(2, 5, 3, 2, 204, 204\)"):
        network(clip(segments=5))
    with pytest.raises(ValueError, match="204 rows and columns for backbone scl-tiny, got"):
        network(clip(side=112))
