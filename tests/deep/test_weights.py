from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deep.weights import WeightsError, fit_into, load, save


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "count": torch.tensor(3)}
    save(tmp_path / "w.safetensors", tensors, settings={"names": ["é", "b"]})
    found, settings = load(tmp_path / "w.safetensors")
    assert settings == {"names": ["é", "b"]}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_misfits_are_named_and_nothing_is_loaded() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = {
        "0.weight": torch.zeros(3, 4),
        "0.bias": torch.zeros(3),
        "1.weight": torch.zeros(1, 3),
        "extra": torch.zeros(1),
    }
    with pytest.raises(WeightsError) as caught:
        fit_into(network, tensors, source="w.safetensors")
    message = str(caught.value)
    assert "missing: 1.bias;" in message
    assert "unexpected: extra;" in message
    assert "0.weight (3, 4) where (3, 2) is needed" in message
    assert "w.safetensors" in message
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(path)
    save(path, {"a": torch.zeros(100)}, settings={})
    whole = path.read_bytes()
    for content in (b"", b"not weights at all", whole[:-50], b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"cannot read weights .*w\.safetensors"):
            load(path)


def test_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for metadata in (None, {"trajfuse": "[]"}, {"trajfuse": "{"}, {"trajfuse": '{"version": 1}'}):
        save_file({"a": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(WeightsError, match="settings of the network are missing"):
            load(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"trajfuse": '{"version": 99, "settings": {}}'})
    with pytest.raises(WeightsError, match="must be of version 2, got version 99"):
        load(path)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(path, {"a": torch.zeros(1)}, settings={"old": True})
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        save(path, {"a": shared, "b": shared}, settings={"old": False})
    assert load(path)[1] == {"old": True}
    assert len(list(tmp_path.iterdir())) == 1
