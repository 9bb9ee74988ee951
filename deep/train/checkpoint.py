"""Where a training stands, on disk: all it takes to go on as if it had not been interrupted.

One safetensors file holds weights, the optimiser's state, the best weights so far where there is
validation, and the state of torch's random numbers in every process; its header holds the run's
settings, the epochs so far and the scaler of mixed precision as JSON. Clips need no state: they
depend on the seed and the epoch alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deep import weights
from deep.train import distributed
from deep.train.history import Epoch
from deep.weights import WeightsError

KIND = "checkpoint"
PARTS = ("network", "optimiser", "best", "random")


@dataclass
class Progress:
    """What a training has besides its weights and its optimiser's state.

    Attributes
    ----------
    history
        The epochs so far.
    best
        Weights of the epoch with the least validation loss; empty without validation.
    """

    history: list[Epoch] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the least validation loss."""
        losses = [epoch.validation_loss for epoch in self.history]
        known = [(loss, number) for number, loss in enumerate(losses) if loss is not None]
        return min(known)[1] if known else len(self.history) - 1


def write(
    path: Path,
    network: nn.Module,
    stepper: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
    *,
    settings: Mapping[str, Any],
    device: torch.device,
) -> None:
    """Write a checkpoint, whole or not at all; every process calls it, the first one writes.

    Parameters
    ----------
    path
        The safetensors file.
    network, stepper, scaler, progress
        The state.
    settings
        What decides the training's result, JSON-able; `read` compares them.
    device
        Whose random numbers are drawn besides the processor's.
    """
    states = {"cpu": distributed.gathered(torch.get_rng_state(), device)}
    if device.type == "cuda":
        states["cuda"] = distributed.gathered(torch.cuda.get_rng_state(device), device)
    if distributed.rank() > 0:
        return
    tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in stepper.state_dict()["state"].items():
        found = {name: value for name, value in state.items() if value is not None}
        tensors |= {f"optimiser/{index}/{name}": value for name, value in found.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in progress.best.items()}
    for kind, of_ranks in states.items():
        tensors |= {f"random/{kind}/{rank}": state for rank, state in enumerate(of_ranks)}
    header = {
        "kind": KIND,
        "run": dict(settings),
        "history": [asdict(epoch) for epoch in progress.history],
        "scaler": scaler.state_dict(),
    }
    weights.save(path, tensors, settings=header)


def read(
    path: Path, *, settings: Mapping[str, Any]
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]] | None:
    """Read a checkpoint of the same run; None where there is no file.

    Parameters
    ----------
    path
        The file.
    settings
        Of the run that wants to go on.

    Returns
    -------
    parts : dict of dict of Tensor
        By `PARTS`.
    header : dict
        As `write` makes it.

    Raises
    ------
    deep.weights.WeightsError
        The file is broken or no checkpoint, or of a run with other settings: names them.
    """
    if not path.is_file():
        return None
    remedy = f"delete {str(path)!r} to train anew, or repair it from a copy"
    try:
        tensors, header = weights.load(path)
    except WeightsError as error:
        raise WeightsError(f"checkpoint must be whole, got: {error}; {remedy}") from error
    if header.get("kind") != KIND or not {"run", "history", "scaler"} <= set(header):
        raise WeightsError(
            f"checkpoint must be what a training left, got another weight file {str(path)!r}; "
            "give another path for the checkpoint"
        )
    other = _differences(header["run"], json.loads(json.dumps(settings)))
    if other:
        raise WeightsError(
            f"checkpoint {str(path)!r} must be of a run with the same settings, got other "
            f"{', '.join(other)}; train with the former ones, or delete it to train anew"
        )
    parts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in PARTS}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    return parts, header


def resume(
    path: Path,
    network: nn.Module,
    stepper: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    settings: Mapping[str, Any],
    device: torch.device,
) -> Progress:
    """Bring a training to where its checkpoint left it; parameters as for `write`.

    Returns
    -------
    Progress
        Empty where there is no file.

    Raises
    ------
    deep.weights.WeightsError
        As for `read`, or its tensors do not fit the network; nothing is changed then.
    """
    found = read(path, settings=settings)
    if found is None:
        return Progress()
    parts, header = found
    source = f"checkpoint {str(path)!r}"
    weights.check_fit(network, parts["network"], source=source)
    if parts["best"]:
        weights.check_fit(network, parts["best"], source=source)
    states = _optimiser_states(stepper, parts["optimiser"], source=source)
    try:
        random = parts["random"][f"cpu/{distributed.rank()}"]
        history = [Epoch(**epoch) for epoch in header["history"]]
    except (KeyError, TypeError) as error:
        raise WeightsError(
            f"{source} must have random numbers and epochs, got none ({error}); delete it to train "
            "anew"
        ) from error
    network.load_state_dict(parts["network"])
    stepper.load_state_dict({**stepper.state_dict(), "state": states})
    _lay_out(stepper)
    scaler.load_state_dict(header["scaler"])
    torch.set_rng_state(random)
    if device.type == "cuda" and f"cuda/{distributed.rank()}" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"][f"cuda/{distributed.rank()}"], device)
    return Progress(history, parts["best"])


def _optimiser_states(
    stepper: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], *, source: str
) -> dict[int, dict[str, torch.Tensor]]:
    """State by parameter, after a check that shapes are those of the parameters."""
    parameters = [p for group in stepper.param_groups for p in group["params"]]
    states: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        fits = index.isdigit() and int(index) < len(parameters)
        if not fits or (tensor.ndim and tensor.shape != parameters[int(index)].shape):
            raise WeightsError(
                f"{source} must have the optimiser's state for {len(parameters)} parameters, got "
                f"{name!r} of shape {tuple(tensor.shape)}; delete it to train anew"
            )
        states.setdefault(int(index), {})[key] = tensor
    return states


def _lay_out(stepper: torch.optim.Optimizer) -> None:
    """Give each state its parameter's layout in memory: sums round as they did before."""
    for parameter, state in stepper.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _differences(stored: Any, wanted: Any, name: str = "") -> list[str]:
    """Names of the settings that differ, those inside others with dots."""
    if isinstance(stored, dict) and isinstance(wanted, Mapping):
        return [
            found
            for key in sorted({*stored, *wanted})
            for found in _differences(
                stored.get(key), wanted.get(key), f"{name}.{key}" if name else str(key)
            )
        ]
    return [] if stored == wanted else [name]
