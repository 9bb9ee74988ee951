"""A training that is killed goes on as if it had not been; two processes do what one does."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deep import weights
from deep.data import Batch
from deep.train import Epoch, read_checkpoint, reproducible, train
from deep.weights import WeightsError

EPOCHS = 4
SCRIPT = Path(__file__).with_name("one_process.py")
_spec = importlib.util.spec_from_file_location("one_process", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
one_process = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(one_process)
SIDES = (one_process.SIDE, one_process.SIDE)


class Tiny(nn.Module):
    """Normalisation, dropout and a linear layer: state of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(3 * 16, 2)

    def heads(self, rgb: torch.Tensor, flow: torch.Tensor | None) -> dict[str, torch.Tensor]:
        return {"own": self.classifier(self.dropout(self.norm(rgb[:, 0, :, 0]).flatten(1)))}


class Stopped(Exception):
    pass


def batches(epoch: int, *, stop: int | None = None) -> Iterator[Batch]:
    """Three batches of eight; in the epoch `stop`, an error after the second."""
    generator = torch.Generator().manual_seed(epoch)
    for index in range(3):
        if (epoch, index) == (stop, 2):
            raise Stopped
        labels = torch.arange(8) % 2
        rgb = torch.randn(8, 1, 3, 1, 4, 4, generator=generator) + labels.view(8, 1, 1, 1, 1, 1)
        yield Batch(rgb, None, labels)


def fitted(path: Path | None, *, stop: int | None = None, **options: Any) -> tuple[Any, Any]:
    """Train a new `Tiny` on `batches`; its weights and the epochs' losses."""
    given: dict[str, Any] = {"epochs": EPOCHS, "learning_rate": 0.1, "warm_up": 0.3, **options}
    with reproducible(1):
        network = Tiny()
        if given.pop("validated", False):
            given["validate"] = lambda: (float(network.classifier.bias.detach().abs().sum()), 0.5)
        history = train(network, lambda epoch: batches(epoch, stop=stop), checkpoint=path, **given)
    return {k: v.clone() for k, v in network.state_dict().items()}, [e.loss for e in history]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "sgd"},
        {"optimiser": "adamw", "schedule": "step", "clip_gradient": 0.5},
        {"optimiser": "sgd", "precision": "float16"},
        {"optimiser": "adamw", "precision": "bfloat16", "validated": True, "patience": 3},
    ],
)
def test_killed_in_any_epoch_it_ends_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    whole, losses = fitted(None, **options)
    for stop in range(EPOCHS):
        path = tmp_path / f"{stop}.safetensors"
        with pytest.raises(Stopped):
            fitted(path, stop=stop, **options)
        assert path.exists() == (stop > 0)
        resumed, again = fitted(path, **options)
        assert again == losses
        assert same(whole, resumed)
        done, _ = fitted(path, **options)  # nothing is left to do
        assert same(whole, done)
    other, _ = fitted(None, **{**options, "learning_rate": 0.2})
    assert not same(whole, other)
    assert not list(tmp_path.glob("*.part"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["frames"] = rng.integers(0, 255, (one_process.N_FRAMES, *SIDES, 3), np.uint8)
    with h5py.File(tmp_path / "flow.h5", "w") as file:
        file["flow"] = rng.integers(90, 160, (one_process.N_FRAMES - 1, *SIDES, 2), np.uint8)
    return tmp_path


def process(project: Path, folder: Path, *arguments: str, **variables: str) -> Any:
    """Start one_process.py."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1", **variables},
        stderr=subprocess.PIPE,
    )


def test_killed_by_the_system_it_goes_on(project: Path, folder: Path) -> None:
    killed = process(project, folder, "2")
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    assert not (folder / "0.safetensors").exists()
    found = []
    for _ in range(2):  # in processes like the killed one: the number of threads changes last bits
        again = process(project, folder)
        _, said = again.communicate(timeout=120)
        assert again.returncode == 0, said.decode()
        found.append(weights.load(folder / "0.safetensors")[0])
        (folder / "checkpoint.safetensors").unlink()
    resumed, whole = found
    assert len(whole["losses"]) == 3
    assert same(whole, resumed)


def test_two_processes_do_what_one_does(project: Path, folder: Path) -> None:
    """Same losses and weights, from batches of 5 and 3 that are shared 3 : 2 and 2 : 1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        process(project, folder, RANK=str(rank), LOCAL_RANK=str(rank), **variables)
        for rank in range(2)
    ]
    for each in started:
        _, said = each.communicate(timeout=120)
        assert each.returncode == 0, said.decode()
    first, second = (weights.load(folder / f"{rank}.safetensors")[0] for rank in range(2))
    (folder / "checkpoint.safetensors").unlink()
    one_process.run(folder)
    alone, _ = weights.load(folder / "0.safetensors")
    for name, tensor in alone.items():
        # float32 sums over another order of clips, through three epochs of steps
        torch.testing.assert_close(first[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
        assert torch.equal(first[name], second[name]), name
    np.testing.assert_allclose(first["losses"][0], alone["losses"][0], rtol=1e-6)
    assert not torch.equal(alone["losses"], alone["losses"].flip(0))


def test_validation_stops_early_and_keeps_the_best(tmp_path: Path) -> None:
    kept: list[dict[str, torch.Tensor]] = []
    network = Tiny()
    losses = iter([0.9, 0.5, 0.6, 0.7, 0.1])

    def validate() -> tuple[float, float]:
        assert not network.training
        kept.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(losses), 0.25

    with reproducible(0):
        history = train(
            network,
            batches,
            epochs=9,
            learning_rate=0.1,
            validate=validate,
            patience=2,
            log=tmp_path / "log.csv",
        )
    assert [epoch.validation_loss for epoch in history] == [0.9, 0.5, 0.6, 0.7]
    assert same(kept[1], dict(network.state_dict()))
    assert not same(kept[3], kept[1])
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == [epoch.loss for epoch in history]
    assert {row["validation_accuracy"] for row in rows} == {"0.25"}
    assert all(0 <= float(row["waited"]) <= 1 for row in rows)


def test_tensorboard_is_written_where_asked(
    tmp_path: Path, requires: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    requires("tensorboard")
    train(Tiny(), batches, epochs=1, learning_rate=0.1, tensorboard=tmp_path / "board")
    (written,) = (tmp_path / "board").iterdir()
    assert b"learning_rate" in written.read_bytes()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install trajfuse\[tensorboard\]"):
        train(Tiny(), batches, epochs=1, learning_rate=0.1, tensorboard=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_checkpoint_holds_tensors_and_json_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    fitted(path, settings={"size": (1, 2)})
    tensors = load_file(path)
    assert {name.split("/")[0] for name in tensors} == {"network", "optimiser", "random"}
    assert tensors["random/cpu/0"].dtype == torch.uint8
    found = read_checkpoint(path, settings={"size": [1, 2]})
    assert found is not None
    header = json.loads(json.dumps(found[1]))
    assert Epoch(**header["history"][-1]).number == EPOCHS - 1


def test_wrong_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    fitted(path, settings={"model": "a", "recipe": {"size": 1, "epochs": 4}})
    whole = path.read_bytes()
    with pytest.raises(WeightsError, match=r"same settings, got other model, recipe\.size, seed;"):
        fitted(path, settings={"model": "b", "recipe": {"size": 2, "epochs": 4}, "seed": 1})
    path.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match=r"checkpoint must be whole, got: .*; delete"):
        fitted(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="checkpoint must be whole"):
        fitted(path)
    weights.save(path, Tiny().state_dict(), settings={})
    with pytest.raises(WeightsError, match="must be what a training left, got another weight file"):
        fitted(path)
    path.unlink()
    fitted(path)
    tensors, header = weights.load(path)
    for name, value, message in (
        ("network/classifier.bias", torch.zeros(3), r"classifier.bias \(3,\) where \(2,\)"),
        ("optimiser/0/momentum_buffer", torch.zeros(9), r"'0/momentum_buffer' of shape \(9,\)"),
        ("optimiser/17/momentum_buffer", torch.zeros(3), "for 4 parameters, got '17/mom"),
    ):
        weights.save(path, {**tensors, name: value}, settings=header)
        with pytest.raises(WeightsError, match=message):
            fitted(path)
    weights.save(path, {k: v for k, v in tensors.items() if "random" not in k}, settings=header)
    with pytest.raises(WeightsError, match="must have random numbers and epochs, got none"):
        fitted(path)
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"checkpoint must be whole, got: .*settings"):
        fitted(path)


def test_gradients_are_clipped_together() -> None:
    def moved(**options: Any) -> float:
        with reproducible(0):
            network = Tiny()
            before = [p.detach().clone() for p in network.parameters()]
            train(
                network,
                lambda epoch: list(batches(epoch))[:1],
                epochs=1,
                learning_rate=1.0,
                warm_up=0.0,
                weight_decay=0.0,
                **options,
            )
        steps = [p.detach() - b for p, b in zip(network.parameters(), before, strict=True)]
        return float(torch.cat([step.flatten() for step in steps]).norm())

    assert moved() > 0.1
    assert moved(clip_gradient=0.01) == pytest.approx(0.01, rel=1e-3)


def test_wrong_options() -> None:
    for options, message in (
        ({"device": "gpu"}, "device must be cpu, cuda or cuda:N, got 'gpu'"),
        ({"device": "cpu:1"}, "device must be cpu, cuda or cuda:N, got 'cpu:1'"),
        ({"device": "cuda:99"}, "device must be a GPU that torch .* can use, got 'cuda:99' where"),
        ({"precision": "half"}, "precision must be one of float32, bfloat16, float16, got 'half'"),
        ({"patience": 3}, "patience must be at least 1 and go with validation videos, got 3"),
        ({"clip_gradient": 0.0}, "clip_gradient must be above 0"),
        ({"drops": (0.9, 0.5)}, "drops must be shares of the epochs"),
        ({"drops": (0.0,)}, "drops must be shares of the epochs"),
    ):
        with pytest.raises(ValueError, match=message):
            train(Tiny(), batches, epochs=1, learning_rate=0.1, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_none_is_used() -> None:
    with pytest.raises(ValueError, match="got 'cuda' where it finds none; install torch for your"):
        train(Tiny(), batches, epochs=1, learning_rate=0.1, device="cuda")


def test_bias_rate_and_frozen_normalisation() -> None:
    network = Tiny()
    network.classifier.weight.requires_grad_(False)
    network.norm.requires_grad_(False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    train(network, batches, epochs=1, learning_rate=0.1, bias_rate=0.0)
    assert same(before, dict(network.state_dict()))  # running statistics, too
