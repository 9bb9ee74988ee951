"""MatConvNet's networks, written here as MATLAB saves them and read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from deep.backbones import cross_modality
from deep.backbones.loading import load_weights
from deep.backbones.tower import Tower
from deep.models import conv_fusion
from deep.models.conv_fusion import load_matconvnet
from deep.weights import WeightsError, read_matconvnet

AVERAGE = np.array([123.68, 116.779, 103.939], np.float32)  # of ImageNet's RGB images, 0 to 255


def cells(values: Sequence[Any]) -> np.ndarray:
    """A 1 x n cell array."""
    array = np.empty((1, len(values)), object)
    array[0] = list(values) if len(values) != 1 else values
    return array


def struct_array(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """A 1 x n struct array; all rows have the same fields."""
    array = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for index, row in enumerate(rows):
        array[0, index] = tuple(row.values())
    return array


def filters(weight: np.ndarray, *, side: int = 1) -> np.ndarray:
    """PyTorch's weights in MATLAB's axes, without trailing dimensions of 1."""
    if weight.ndim == 2:
        weight = weight.reshape(len(weight), -1, side, side)
    axes = (3, 4, 2, 1, 0) if weight.ndim == 5 else (2, 3, 1, 0)
    array = weight.transpose(axes)
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    return array


def save_chain(
    path: Path,
    layers: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    average: np.ndarray,
    old: bool = False,
) -> Path:
    """Write a simplenn network: (name, filters, biases), a pooling layer between each two.

    `old`: ``filters`` and ``biases`` for ``weights``, ``normalization`` beside ``layers``.
    """
    written: list[dict[str, Any]] = []
    for name, weight, bias in layers:
        layer: dict[str, Any] = {"type": "conv", "stride": 1.0, "pad": 0.0}
        if name:
            layer["name"] = name
        if old:
            layer |= {"filters": weight, "biases": bias[None]}
        else:
            layer |= {"weights": cells([weight, bias[None]])}
        written += [layer, {"type": "pool", "name": f"pool_{name}", "pool": [2.0, 2.0]}]
    normalization = {"averageImage": average}
    if old:
        savemat(path, {"layers": cells(written), "normalization": normalization})
    else:
        meta = {"normalization": normalization}
        savemat(path, {"net": {"layers": cells(written), "meta": meta}}, do_compression=True)
    return path


def save_graph(path: Path, params: Mapping[str, np.ndarray], *, average: np.ndarray) -> Path:
    """Write a DagNN network's parameters by name, with layers that name them."""
    rows = [{"name": n, "value": v, "learningRate": 1.0, "weightDecay": 1.0}
            for n, v in params.items()]  # fmt: skip
    layers = struct_array([{"name": n[:-1], "type": "dagnn.Conv", "params": cells([n])}
                           for n in params])  # fmt: skip
    net = {
        "vars": struct_array([{"name": "input", "precious": False}]),
        "params": struct_array(rows),
        "layers": layers,
        "meta": {"normalization": {"averageImage": average}},
    }
    savemat(path, {"net": net})
    return path


def chain_layers(tower: Tower, *, last: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """A chain's layers as MatConvNet has them, the last one under the name `last`."""
    network: Any = tower.backbone
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for layer, prefix in network.weighted.items():
        side = network.classifier[0].side if layer == "fc6" else 1
        weight = filters(state[f"{prefix}.weight"], side=side)
        yield last if layer == "fc8" else layer, weight, state[f"{prefix}.bias"]


def rgb_tower(backbone: str, *, seed: int, num_classes: int = 5) -> Tower:
    torch.manual_seed(seed)
    return Tower(backbone, modality="rgb", n_times=1, num_classes=num_classes).eval()


@pytest.mark.parametrize("backbone", ["cnn-m-2048-tiny", "vgg-16-tiny"])
@pytest.mark.parametrize(("old", "last"), [(False, "fc8"), (True, "fc8"), (False, "")])
def test_simplenn(backbone: str, old: bool, last: str, tmp_path: Path) -> None:
    source, tower = rgb_tower(backbone, seed=0), rgb_tower(backbone, seed=1)
    average = np.broadcast_to(AVERAGE, (64, 64, 3))
    path = save_chain(
        tmp_path / "net.mat", list(chain_layers(source, last=last)), average=average, old=old
    )
    load_weights(tower, path)
    stacks = torch.rand(2, 3, 64, 64)
    assert torch.equal(tower.backbone(stacks), source.backbone(stacks))
    pixels = torch.rand(1, 1, 3, 1, 64, 64)
    expected = 255 * pixels[:, 0, :, 0] - torch.from_numpy(AVERAGE).view(3, 1, 1)
    torch.testing.assert_close(tower.stacks(pixels), expected, rtol=0, atol=1e-4)  # of 0 to 255


def test_a_convolution_is_matlabs(tmp_path: Path) -> None:
    # y(i, j, k) = sum over u, v, c of f(u, v, c, k) x(2 i + u, 2 j + v, c) + b(k), counted from 0
    source, tower = rgb_tower("cnn-m-2048-tiny", seed=0), rgb_tower("cnn-m-2048-tiny", seed=1)
    layers = list(chain_layers(source, last="fc8"))
    load_weights(tower, save_chain(tmp_path / "net.mat", layers, average=np.zeros((1, 1, 3))))
    x = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    _, f, b = layers[0]
    assert f.shape == (7, 7, 3, 6)
    found = tower.backbone.run(torch.from_numpy(x.transpose(2, 0, 1))[None], until="relu1")
    for i, j, k in ((0, 0, 0), (3, 5, 2), (28, 1, 5)):
        y = (f[:, :, :, k] * x[2 * i : 2 * i + 7, 2 * j : 2 * j + 7]).sum() + b[k]
        assert found[0, k, i, j].item() == pytest.approx(max(0.0, float(y)), abs=1e-5)


def test_flow_net_from_an_image_net(tmp_path: Path) -> None:
    source = rgb_tower("vgg-16-tiny", seed=0)
    layers = list(chain_layers(source, last="fc8"))
    path = save_chain(tmp_path / "net.mat", layers, average=np.full((1, 1, 20), 130.0))
    flow = Tower("vgg-16-tiny", modality="flow", n_times=10, num_classes=7).eval()
    own = flow.backbone.state_dict()["classifier.6.weight"].clone()
    load_weights(flow, path, new_classifier=True)
    found = flow.backbone.state_dict()
    rgb = source.backbone.state_dict()["features.0.weight"]
    assert torch.equal(found["features.0.weight"], cross_modality(rgb, 20))
    assert torch.equal(found["classifier.6.weight"], own)
    # 8-bit flow v = 127 / 20 d + 128, and the net is fed v - 130
    seen = flow.stacks(torch.full((1, 1, 2, 10, 1, 1), 4.0))
    torch.testing.assert_close(seen, torch.full((1, 20, 1, 1), 4.0 * 127 / 20 + 128 - 130))


def test_dagnn_of_one_stream(tmp_path: Path) -> None:
    source, tower = rgb_tower("cnn-m-2048-tiny", seed=0), rgb_tower("cnn-m-2048-tiny", seed=1)
    params = {}
    for name, weight, bias in chain_layers(source, last="layer22"):
        params |= {f"{name}f": weight, f"{name}b": bias[None]}
    load_weights(tower, save_graph(tmp_path / "net.mat", params, average=AVERAGE[None, None]))
    stacks = torch.rand(2, 3, 64, 64)
    assert torch.equal(tower.backbone(stacks), source.backbone(stacks))


def test_misfits_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    tower = rgb_tower("vgg-16-tiny", seed=0)
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    average = AVERAGE[None, None]

    def refused(layers: list[tuple[str, np.ndarray, np.ndarray]], *parts: str) -> None:
        path = save_chain(tmp_path / "net.mat", layers, average=average)
        with pytest.raises(WeightsError) as caught:
            load_weights(tower, path)
        assert all(part in str(caught.value) for part in parts), str(caught.value)

    layers = list(chain_layers(rgb_tower("vgg-16-tiny", seed=1), last="fc8"))
    refused(layers[1:], "must have an array conv1_1f, got conv1_2f", "net.mat")
    refused([*layers, ("fc9", layers[-1][1], layers[-1][2])], "of the layers", "got also fc9")
    more = list(chain_layers(rgb_tower("vgg-16-tiny", seed=1, num_classes=9), last="fc8"))
    refused(more, "classifier.6.weight (9, 64) where (5, 64) is needed", "nothing was loaded")
    refused([("conv1_1", np.zeros((3, 3, 3, 4, 2)), np.zeros(4)), *layers[1:]], "at most 4 axes")
    path = save_chain(tmp_path / "net.mat", layers, average=np.zeros((1, 1, 4)))
    with pytest.raises(WeightsError, match="average image must have 3 channels, got 4"):
        load_weights(tower, path)
    resnet = Tower("resnet-18-tiny", modality="rgb", n_times=1)
    with pytest.raises(WeightsError, match="go into cnn-m-2048 or vgg-16, got ResNet"):
        load_weights(resnet, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in tower.state_dict().items())


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "net.mat"
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_matconvnet(path)
    layers = list(chain_layers(rgb_tower("vgg-16-tiny", seed=1), last="fc8"))
    whole = save_chain(path, layers, average=AVERAGE[None, None]).read_bytes()
    for content in (b"", b"no matrix" * 30, whole[: len(whole) // 2], whole[:130] + whole[300:]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"cannot read weights .*net\.mat"):
            read_matconvnet(path)
    # the header of a file of version 7.3, which is HDF5
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF" * 100)
    with pytest.raises(WeightsError, match=r"version 7\.3; save it again with save\(..., '-v7'\)"):
        read_matconvnet(path)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"x": np.zeros(3)}, "must have layers with filters, got none"),
        ({"net": np.zeros(3)}, "must have layers with filters, got none"),
        ({"net": {"layers": np.zeros(3)}}, "must have layers with filters, got none"),
        ({"net": {"params": np.zeros(3)}}, "neither a simplenn nor a DagNN"),
        ({"params": struct_array([{"name": "af", "value": "text"}])}, "an array of <U4 where num"),
        ({"net": {"layers": cells([{"type": "conv", "weights": cells(["x"])}])}}, "neither a simp"),
    ],
)
def test_files_of_something_else(variables: dict[str, Any], message: str, tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", variables)
    with pytest.raises(WeightsError, match=message):
        read_matconvnet(tmp_path / "x.mat")


def fused_network(seed: int, **options: Any) -> Any:
    torch.manual_seed(seed)
    built = conv_fusion.build(5, **{"backbone": "vgg-16-tiny", "stack": 10, **options}).eval()
    for parameter in built.joins.parameters():  # the stacked identity would hide a wrong order
        torch.nn.init.normal_(parameter, std=0.05)
    return built


def fused_params(network: Any, *, fusion: str, last: str = "layer39") -> dict[str, np.ndarray]:
    """Parameters of a fused network under the names that twostreamfusion gives them."""
    params: dict[str, np.ndarray] = {}
    for stream in ("spatial", "temporal"):
        for name, weight, bias in chain_layers(getattr(network, stream), last=last):
            params[f"{name}f_{stream}"] = weight
            params[f"{name}b_{stream}"] = bias[None]
    (conv,) = (m for m in network.joins.modules() if isinstance(m, torch.nn.Conv3d))
    weight = conv.weight.detach().numpy()
    params[f"{fusion}f"] = filters(weight if fusion == "conv3D" else weight[:, :, 0])
    params[f"{fusion}b"] = conv.bias.detach().numpy()[None]
    return params


@pytest.mark.parametrize(("way", "fusion"), [("conv3d", "conv3D"), ("conv", "conv_fusion_1")])
def test_a_fused_network_gives_the_same_activations(way: str, fusion: str, tmp_path: Path) -> None:
    source, network = fused_network(0, fusion=way), fused_network(1, fusion=way)
    average = np.concatenate([np.full(20, 128, np.float32), AVERAGE])[None, None]
    path = save_graph(tmp_path / "fused.mat", fused_params(source, fusion=fusion), average=average)
    load_matconvnet(network, path)
    generator = torch.Generator().manual_seed(2)
    rgb = torch.rand(2, 3, 3, 1, 64, 64, generator=generator)
    flow = torch.randn(2, 3, 2, 10, 64, 64, generator=generator)
    # the source eats what the published network is fed: pixels less their mean, 8-bit flow less 128
    for tower, scale in ((source.spatial, 1 / 255), (source.temporal, 20 / 127)):
        tower.std.fill_(scale)
        tower.mean.zero_()
    source.spatial.mean.copy_(torch.from_numpy(AVERAGE).view(3, 1, 1) / 255)
    expected, found = source.heads(rgb, flow), network.heads(rgb, flow)
    for head in ("fused", "temporal"):
        # the means differ by a rounding, which float32 carries through 16 layers
        torch.testing.assert_close(found[head], expected[head], rtol=1e-4, atol=1e-5)
    stored = source.state_dict()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, stored[name])


def test_fused_networks_that_do_not_fit(tmp_path: Path) -> None:
    source, network = fused_network(0), fused_network(1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    average = np.zeros((1, 1, 23), np.float32)

    def refused(params: dict[str, np.ndarray], message: str, average: np.ndarray = average) -> None:
        with pytest.raises(WeightsError, match=message):
            load_matconvnet(network, save_graph(tmp_path / "f.mat", params, average=average))

    whole = fused_params(source, fusion="conv3D")
    without = {name: value for name, value in whole.items() if name != "conv3Df"}
    refused(without, "must have an array conv3Df, got conv1_1f_spatial")
    refused({**whole, "conv3Df": whole["conv3Df"][..., :7]}, "of another shape: joins.relu5_3")
    one_stream = {name: value for name, value in whole.items() if "temporal" not in name}
    refused(one_stream, "must have an array conv1_1f_temporal")
    refused(whole, r"average image must have 20 \+ 3 channels, got 3", AVERAGE[None, None])
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
