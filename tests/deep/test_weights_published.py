"""Weights that others publish as state dicts: torchvision's names, and files that are none."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from deep.backbones import cross_modality
from deep.backbones.loading import load_weights
from deep.backbones.tower import Tower
from deep.weights import WeightsError, read_state

VGG_CONVOLUTIONS = {  # torchvision's vgg16: index in `features`, output and input channels
    0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256),
    14: (256, 256), 17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512),
    26: (512, 512), 28: (512, 512),
}  # fmt: skip
VGG_DENSE = {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}  # index in `classifier`


def torchvision_vgg16() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for index, (outputs, inputs) in VGG_CONVOLUTIONS.items():
        shapes[f"features.{index}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"features.{index}.bias"] = (outputs,)
    for index, (outputs, inputs) in VGG_DENSE.items():
        shapes[f"classifier.{index}.weight"] = (outputs, inputs)
        shapes[f"classifier.{index}.bias"] = (outputs,)
    return shapes


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    own = {f"{name}.{key}": (channels,) for key in ("weight", "bias")}
    own |= {f"{name}.running_{key}": (channels,) for key in ("mean", "var")}
    return own | {f"{name}.num_batches_tracked": ()}


def torchvision_resnet50() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    inputs = 64
    for layer, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            prefix = f"layer{layer}.{block}"
            shapes[f"{prefix}.conv1.weight"] = (width, inputs, 1, 1)
            shapes |= norm(f"{prefix}.bn1", width)
            shapes[f"{prefix}.conv2.weight"] = (width, width, 3, 3)
            shapes |= norm(f"{prefix}.bn2", width)
            shapes[f"{prefix}.conv3.weight"] = (4 * width, width, 1, 1)
            shapes |= norm(f"{prefix}.bn3", 4 * width)
            if block == 0:
                shapes[f"{prefix}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                shapes |= norm(f"{prefix}.downsample.1", 4 * width)
            inputs = 4 * width
    return shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


def constants(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A tensor of each shape that holds one number of its own, and takes no memory."""
    return {
        name: torch.tensor(float(index), dtype=None if shape else torch.float32)
        .to(torch.long if name.endswith("tracked") else torch.float32)
        .expand(shape)
        for index, (name, shape) in enumerate(shapes.items())
    }


@pytest.mark.parametrize(
    ("backbone", "shapes"),
    [("vgg-16", torchvision_vgg16()), ("resnet-50", torchvision_resnet50())],
)
def test_a_torchvision_state_dict_loads_completely(
    backbone: str, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    torch.save(constants(shapes), tmp_path / "published.pth")
    with torch.device("meta"):  # not worth drawing 138 million random numbers
        tower = Tower(backbone, modality="rgb", n_times=1, num_classes=1000)
    tower.to_empty(device="cpu")
    load_weights(tower, tmp_path / "published.pth")
    found = tower.backbone.state_dict()
    assert list(found) == list(shapes)
    for index, (name, shape) in enumerate(shapes.items()):
        assert found[name].shape == shape
        ends = found[name].flatten()[[0, -1]]
        assert ends.tolist() == [index, index], name


def test_the_part_that_a_tower_has(tmp_path: Path) -> None:
    shapes = torchvision_resnet50()
    torch.save({"state_dict": constants(shapes)}, tmp_path / "checkpoint.pth.tar")
    tower = Tower("resnet-50", modality="flow", n_times=5, last="layer2")
    load_weights(tower, tmp_path / "checkpoint.pth.tar")
    found = tower.backbone.state_dict()
    assert torch.all(found["conv1.weight"] == 0)  # the mean of three channels of zeros
    assert found["conv1.weight"].shape == (64, 10, 7, 7)
    last = list(shapes).index("layer2.3.conv3.weight")
    assert torch.all(found["layer2.3.conv3.weight"] == last)


def test_files_before_batches_were_counted_and_of_parallel_training(tmp_path: Path) -> None:
    source, tower = (
        Tower("resnet-18-tiny", modality="rgb", n_times=1, num_classes=4) for _ in range(2)
    )
    old = {
        f"module.{name}": tensor
        for name, tensor in source.backbone.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(old, tmp_path / "old.pth")
    load_weights(tower, tmp_path / "old.pth")
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(tower.eval().backbone(images), source.eval().backbone(images))


def test_safetensors_and_a_new_classifier(tmp_path: Path) -> None:
    source = Tower("vgg-16-tiny", modality="rgb", n_times=1, num_classes=4)
    tensors = {name: t.contiguous() for name, t in source.backbone.state_dict().items()}
    save_file(tensors, tmp_path / "w.safetensors")
    flow = Tower("vgg-16-tiny", modality="flow", n_times=10, num_classes=6)
    own = flow.backbone.state_dict()["classifier.6.weight"].clone()
    with pytest.raises(WeightsError, match=r"classifier.6.weight \(4, 64\) where \(6, 64\)"):
        load_weights(flow, tmp_path / "w.safetensors")
    assert torch.equal(flow.backbone.state_dict()["classifier.6.weight"], own)
    load_weights(flow, tmp_path / "w.safetensors", new_classifier=True)
    found, stored = flow.backbone.state_dict(), source.backbone.state_dict()
    assert torch.equal(found["classifier.6.weight"], own)
    assert torch.equal(found["classifier.3.weight"], stored["classifier.3.weight"])
    expected = cross_modality(stored["features.0.weight"], 20)
    assert torch.equal(found["features.0.weight"], expected)


class Hostile:
    """Would make a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"a": torch.zeros(1), "b": Hostile(trap)}, tmp_path / "new.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Hostile(trap)))
    for name in ("new.pth", "old.pth"):
        with pytest.raises(WeightsError, match=rf"cannot read weights .*{name}.*tensors alone"):
            read_state(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_broken_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_state(path)
    save = save_file if name.endswith("safetensors") else torch.save
    save({"a": torch.rand(1000)}, path)
    whole = path.read_bytes()
    for content in (b"", b"no weights", whole[: len(whole) // 2], b"\x80\x02" + whole[5:]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"cannot read weights .*{name}"):
            read_state(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "must be a state dict, got Tensor"),
        ({}, "must be a state dict, got dict"),
        ({"state_dict": {"a": torch.zeros(1), "epoch": 3}}, "got something else for epoch"),
    ],
)
def test_files_of_something_else(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.pth")


def test_a_tower_without_classifier_takes_all_its_layers(tmp_path: Path) -> None:
    source = Tower("resnet-18-tiny", modality="rgb", n_times=1, num_classes=4)
    torch.save(source.backbone.state_dict(), tmp_path / "w.pth")
    tower = Tower("resnet-18-tiny", modality="rgb", n_times=1)
    load_weights(tower, tmp_path / "w.pth", new_classifier=True)
    stored = source.backbone.state_dict()
    for name, tensor in tower.backbone.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_weights_of_another_network(tmp_path: Path) -> None:
    other = Tower("resnet-18-tiny", modality="rgb", n_times=1)
    torch.save(other.backbone.state_dict(), tmp_path / "w.pth")
    tower = Tower("vgg-16-tiny", modality="rgb", n_times=1, num_classes=3)
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(tower, tmp_path / "w.pth")
    assert "missing: features.0.weight" in str(caught.value)
    assert "unexpected: conv1.weight" in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in tower.state_dict().items())
