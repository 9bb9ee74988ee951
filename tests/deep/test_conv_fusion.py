"""Convolutional fusion: the rows of its tables, its options, its counts, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from deep import models
from deep.models import count_parameters
from deep.models.conv_fusion import VARIANTS, ConvFusion, build

COUNTS = {  # ours with 101 classes; weight layers as table 1 and 2 print them
    "table1-sum-softmax-original": (181_335_594, 16),
    "table1-sum-softmax": (181_335_594, 16),
    "table1-max-relu5": (97_236_421, 13),
    "table1-concat-relu5": (172_733_893, 13),
    "table1-bilinear-relu5": (13_137_248, 10),
    "table1-sum-relu5": (97_236_421, 13),
    "table1-conv-relu5": (97_761_221, 14),
    "text-conv-fc8": (181_335_594 + 20_503, 17),
    "table2-relu2": (91_467_973, 11),
    "table2-relu3": (93_041_605, 12),
    "table2-relu4": (95_401_413, 13),
    "table2-relu5": (97_761_221, 14),
    "table2-relu5-fc8": (181_860_394, 17),
    "table2-relu3-relu5-fc6": (207_346_117, 17),
    "table4-conv-2d-pooling": (225_906_922, 25),
    "table4-conv-3d-pooling": (225_906_922, 25),
    "table4-conv3d-3d-pooling": (239_538_410, 25),
    "vgg-16-late": (269_358_474, 32),
    "vgg-16-one-tower": (163_555_109, 30),
    "vgg-16-both-towers": (283_514_762, 33),
}


def inputs(n: int = 2, *, segments: int = 1, stack: int = 10, side: int = 64) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "rgb": torch.rand(n, segments, 3, 1, side, side, generator=generator),
        "flow": 3 * torch.randn(n, segments, 2, stack, side, side, generator=generator),
    }


def tiny(**options: Any) -> ConvFusion:
    torch.manual_seed(0)
    return build(3, **{"backbone": "cnn-m-2048-tiny", **options})


def tiny_row(row: str) -> ConvFusion:
    torch.manual_seed(0)
    names = VARIANTS[row].options["backbone"].split("/")
    backbone = "/".join(f"{name}-tiny" for name in names)
    return models.build("conv-fusion", 3, variant=row, backbone=backbone)


@pytest.mark.parametrize("row", list(COUNTS))
def test_counts_of_the_tables(row: str) -> None:
    with torch.device("meta"):
        network = models.build("conv-fusion", 101, variant=row)
    layers = sum(
        isinstance(m, nn.Conv2d | nn.Conv3d | nn.Linear)
        for name, m in network.named_modules()
        if name != "svm"
    )
    found = count_parameters(network, uncounted=VARIANTS[row].uncounted), layers
    assert found == COUNTS[row]


def test_counts_by_hand() -> None:
    fusion_3d = 27 * 1024 * 512 + 512
    assert fusion_3d == 14_156_288
    assert COUNTS["vgg-16-both-towers"][0] == COUNTS["vgg-16-late"][0] + fusion_3d
    # VGG-16; its convolutions, the first over 17 channels more; the fusion
    one = 134_674_341 + (14_714_688 + 9 * 64 * 17) + fusion_3d
    assert COUNTS["vgg-16-one-tower"][0] == one
    assert COUNTS["table1-conv-relu5"][0] == COUNTS["table1-sum-relu5"][0] + 1024 * 512 + 512


@pytest.mark.parametrize("row", list(VARIANTS))
def test_every_row_of_the_tables_learns(row: str) -> None:
    network = tiny_row(row)
    given = inputs(segments=VARIANTS[row].options["segments"])
    assert network.eval()(**given).shape == (2, 3)
    network.train()
    labels = torch.tensor([0, 2])
    heads = network.heads(**given)
    loss = torch.stack([functional.cross_entropy(h, labels) for h in heads.values()]).sum()
    assert torch.isfinite(loss)
    loss.backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


OPTIONS: list[dict[str, Any]] = [
    {"backbone": "vgg-16-tiny", "at": "relu4_3+relu5_3+fc7", "fusion": "max+conv3d+conv"},
    {"at": "relu2+fc6", "fusion": "concat+concat"},
    {"at": "fc7", "fusion": "concat", "towers": "one"},
    {"at": "fc8", "fusion": "max", "pool": "2d"},
    {"backbone": "resnet-18-tiny", "at": "layer2", "fusion": "conv"},
    {"backbone": "resnet-18-tiny", "at": "layer3+layer4", "fusion": "sum+concat"},
    {"backbone": "bn-inception-tiny", "at": "inception_4e", "towers": "one"},
    {"backbone": "resnet-18-tiny/bn-inception-tiny", "at": "layer4/inception_5b", "fusion": "sum"},
    {"backbone": "small", "at": "relu3", "fusion": "conv3d", "pool": "2d"},
    {"backbone": "small", "at": "relu5+fc8", "fusion": "conv3d+conv"},
    {"start": "gaussian"},
    {"start": "identity-gaussian", "fusion": "conv"},
    {"losses": "fused"},
    {"stop_gradient": True, "fusion": "conv"},
    {"backbone": "vgg-16-tiny", "at": "relu4/relu5", "fusion": "conv", "resize": "up-conv"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_options_in_any_mixture(options: dict[str, Any]) -> None:
    network = tiny(**options)
    given = inputs(3, segments=2)
    network.eval()
    with torch.inference_mode():
        together = network(**given)
        apart = torch.cat(
            [network(**{k: v[i : i + 1] for k, v in given.items()}) for i in range(3)]
        )
    assert together.shape == (3, 3)
    # float32 sums ordered differently for other batch sizes
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    network.train()
    torch.stack([h.square().sum() for h in network.heads(**given).values()]).sum().backward()
    silent = "temporal.backbone.classifier" if options.get("losses") == "fused" else "-"
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and not name.startswith(silent):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        elif name.startswith(silent):
            assert parameter.grad is None, name


def test_gradient_stops_at_the_fusion() -> None:
    network = tiny(fusion="conv", stop_gradient=True)
    for tower in (network.spatial, network.temporal):
        learning = {
            n.split(".")[0] for n, p in tower.backbone.named_parameters() if p.requires_grad
        }
        assert learning == {"classifier"}
    assert all(p.requires_grad for p in network.joins.parameters())


def test_3d_pooling_takes_the_largest_of_the_segments_and_2d_averages_predictions() -> None:
    # a join that hands the spatial maps on: what is left is pooling and the spatial classifier
    options: dict[str, Any] = {"fusion": "conv", "scales": (1.0, 0.0), "towers": "one"}
    given = inputs(1, segments=3)
    networks = [tiny(pool=pool, **options).eval() for pool in ("2d", "3d")]
    with torch.inference_mode():
        backbone = networks[0].spatial.backbone
        maps = backbone.run(networks[0].spatial.stacks(given["rgb"]), until="relu5")
        by_frame = backbone.run(maps, after="relu5").mean(dim=(0, 2, 3))
        pooled = backbone.run(maps.amax(dim=0, keepdim=True), after="relu5").mean(dim=(0, 2, 3))
        torch.testing.assert_close(networks[0](**given)[0], by_frame)
        torch.testing.assert_close(networks[1](**given)[0], pooled)
    assert not torch.allclose(by_frame, pooled)


def test_both_heads_are_averaged_and_the_temporal_one_is_its_tower_alone() -> None:
    network = tiny(fusion="conv3d", backbone="vgg-16-tiny").eval()
    given = inputs(1, segments=2)
    heads = network.heads(**given)
    torch.testing.assert_close(network(**given), (heads["fused"] + heads["temporal"]) / 2)
    other = network.heads(rgb=1 - given["rgb"], flow=given["flow"])
    assert torch.equal(other["temporal"], heads["temporal"])
    assert not torch.equal(other["fused"], heads["fused"])


def test_late_fusion_is_that_of_two_stream() -> None:
    network = tiny(at="softmax", fusion="sum", pool="2d").eval()
    given = inputs(2)
    heads = network.heads(**given)
    expected = (heads["fused"].softmax(dim=1) + heads["temporal"].softmax(dim=1)) / 2
    torch.testing.assert_close(network(**given).exp(), expected)


def test_fusion_of_the_logits_has_no_relu() -> None:
    network = tiny(at="fc8", fusion="conv", scales=(1.0, 1.0), pool="2d").eval()
    summed = tiny(at="fc8", fusion="sum", pool="2d").eval()
    own = {k: v for k, v in network.state_dict().items() if not k.startswith("late")}
    summed.load_state_dict(own)
    given = inputs(4)
    scores = network(**given)
    assert scores.min() < 0
    torch.testing.assert_close(scores, summed(**given))


def test_maps_of_13_and_14_rows_are_padded() -> None:
    with torch.device("meta"):
        network = models.build("conv-fusion", 101, variant="table4-conv3d-3d-pooling")
        scores = network.eval()(**inputs_on_meta(5, side=224))
    assert scores.shape == (1, 101)


def inputs_on_meta(segments: int, *, side: int) -> dict[str, torch.Tensor]:
    return {
        "rgb": torch.empty(1, segments, 3, 1, side, side),
        "flow": torch.empty(1, segments, 2, 10, side, side),
    }


def test_bilinear_vectors() -> None:
    network = tiny(fusion="bilinear", backbone="cnn-m-2048-tiny").eval()
    vectors = network.encode(**inputs(2))
    assert vectors.shape == (2, 32 * 32)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(network(**inputs(2)), network.svm(vectors))  # type: ignore[misc]
    with pytest.raises(ValueError, match="fusion must be 'bilinear'"):
        tiny(fusion="sum").encode(**inputs(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "mul"}, "fusion must be one of conv3d, sum, .* bilinear, got 'mul'"),
        ({"fusion": "sum+max"}, "fusion must be one, or one for each layer of '.*', got 'sum.max'"),
        ({"at": "relu6"}, "at must be of the layers relu1, .* fc7, fc8 or softmax, got 'relu6'"),
        (
            {"at": "fc8+relu5", "fusion": "sum"},
            "got 'fc8' in 'fc8.relu5'; fc8 and softmax come last",
        ),
        ({"at": "relu5+relu3", "fusion": "sum"}, "in the order of the data, got 'relu5.relu3'"),
        ({"at": "relu1", "backbone": "small/cnn-m-2048-tiny"}, "got 32 at relu1 and 6 at relu1"),
        ({"at": "fc6", "fusion": "conv3d"}, "not be conv3d behind the fully connected layers"),
        ({"at": "fc8", "fusion": "concat"}, "fusion must be one of sum, max, conv, got 'concat'"),
        ({"at": "softmax", "fusion": "conv"}, "fusion must be one of sum, got 'conv'"),
        ({"at": "relu3+relu5", "fusion": "bilinear"}, "at must be one layer for bilinear"),
        ({"pool": "1d"}, "pool must be one of 3d, 2d, got '1d'"),
        ({"towers": "none"}, "towers must be one of both, one, got 'none'"),
        ({"losses": "x"}, "losses must be one of both, fused, got 'x'"),
        ({"resize": "x"}, "resize must be one of pad, up-conv, got 'x'"),
        ({"start": "x"}, "start must be one of identity, gaussian, identity-gaussian, got 'x'"),
        ({"backbone": "resnet-18-tiny", "at": "layer2", "fusion": "concat"}, "got doubled"),
        ({"at": "fc8", "fusion": "sum", "stop_gradient": True}, "where only logits are fused"),
        ({"stack": 0}, "stack must be at least 1, got 0"),
        ({"segments": 0}, "segments must be at least 1, got 0"),
        ({"backbone": "slow-fusion-tiny/cnn-m-2048-tiny"}, "one frame must not be slow-fusion"),
        ({"backbone": "resnet"}, "backbone must be auto, small, .*, got 'resnet'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_wrong_inputs() -> None:
    given = inputs(1, segments=2)
    with pytest.raises(ValueError, match="must have 5 segments, got 2; cut clips as the network"):
        tiny(segments=5)(**given)
    with pytest.raises(ValueError, match="flow must be given, got None"):
        tiny()(rgb=given["rgb"])
    with pytest.raises(ValueError, match=r"one batch and segment count, got \(1, 1\) and \(1, 2\)"):
        tiny()(rgb=given["rgb"][:, :1], flow=given["flow"])
    apart = tiny(backbone="vgg-16-tiny", at="relu4/relu5", fusion="sum")
    with pytest.raises(
        ValueError, match=r"at most one row and one column, got \(8, 8\) and \(4, 4"
    ):
        apart(**given)
