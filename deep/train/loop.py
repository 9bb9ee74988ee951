"""Training: one plain loop over epochs and batches."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from deep import device as devices
from deep.backbones.tower import Tower
from deep.data import Batch
from deep.train import checkpoint as checkpoints
from deep.train import distributed
from deep.train.history import Epoch, board, write_csv
from idt import jobs

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step")
MOMENTUM = 0.9  # Simonyan and Zisserman 2014, section 5


@contextlib.contextmanager
def reproducible(seed: int, *, device: str = "cpu") -> Iterator[None]:
    """Draw torch's random numbers from `seed` and allow only deterministic kernels, for a while.

    The state before comes back at the end. Equal results need the same number of torch threads,
    too, as sums are then split alike. On a GPU, where some gradients (of 3D pooling) have no
    deterministic kernel, any are allowed: results repeat up to rounding.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    filling: Any = torch.utils.deterministic  # its attribute is a property that mypy does not see
    fills = filling.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(device == "cpu")
        filling.fill_uninitialized_memory = False  # a tenth of a step, and nothing reads it
        try:
            yield
        finally:
            filling.fill_uninitialized_memory = fills
            torch.use_deterministic_algorithms(strict)


def train(
    network: Any,
    batches: Callable[[int], Iterable[Batch]],
    *,
    epochs: int,
    learning_rate: float,
    optimiser: str = "sgd",
    backbone_rate: float = 1.0,
    bias_rate: float = 1.0,
    schedule: str = "cosine",
    drops: Sequence[float] = (0.6, 0.85),
    warm_up: float = 0.05,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.0,
    clip_gradient: float | None = None,
    patience: int | None = None,
    validate: Callable[[], tuple[float, float]] | None = None,
    device: str = "cpu",
    precision: str = "float32",
    checkpoint: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    log: Path | None = None,
    tensorboard: Path | None = None,
    verbose: bool = False,
) -> list[Epoch]:
    """Fit a network to batches of clips; it is left in evaluation mode, on the device.

    The loss is the sum over the network's heads of the cross-entropy. What the network has frozen
    stays as it is, running statistics included. Under `torchrun` each process is given its share of
    every batch, see `deep.train.distributed`.

    Parameters
    ----------
    network
        A module as in `deep.models`; changed in place.
    batches
        Gives the batches of an epoch, by its number from 0: the same ones whenever it is asked.
    epochs
        How often.
    learning_rate
        Of the layers that start at random.
    optimiser
        ``sgd`` (momentum 0.9) or ``adamw``.
    backbone_rate
        Factor on the learning rate of the towers, for weights that start from ImageNet.
    bias_rate
        Factor on the learning rate of biases; 2 in Feichtenhofer et al. 2016's released code.
    schedule
        ``cosine`` to zero, or ``step``: a tenth after each of `drops`.
    drops
        Shares of the epochs, ascending, after which the rate of ``step`` falls to a tenth.
    warm_up
        Share of the epochs over which the rate climbs from zero.
    weight_decay
        On weights; biases and normalisation have none.
    label_smoothing
        Share of each label that is spread over all classes.
    clip_gradient
        Greatest Euclidean norm of all gradients together, which are scaled down to it; None leaves
        them.
    patience
        Epochs without a smaller validation loss after which training ends early; None for never.
    validate
        Gives loss and accuracy on validation videos after an epoch. The weights of the epoch with
        the least loss are then those that stay.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    precision
        ``float32``; or ``bfloat16`` or ``float16`` for mixed precision, the latter with a scaled
        loss.
    checkpoint
        File that is written after every epoch, and from which training goes on if it is there.
    settings
        What decides the result, JSON-able, kept in the checkpoint: one of other settings is
        refused.
    log
        CSV file that gets a row per epoch, see `Epoch`.
    tensorboard
        Folder for TensorBoard; None for none.
    verbose
        Show progress with the time left on standard error.

    Returns
    -------
    list of Epoch
        Those before a checkpoint, too.

    Raises
    ------
    ValueError
        An option is unknown, there is no such device, or the loss stops being finite.
    deep.weights.WeightsError
        The checkpoint is broken or of another run.
    ImportError
        TensorBoard is asked for and not installed.
    """
    check_options(
        optimiser=optimiser,
        schedule=schedule,
        epochs=epochs,
        drops=drops,
        clip_gradient=clip_gradient,
    )
    if patience is not None and (patience < 1 or validate is None):
        raise ValueError(
            f"patience must be at least 1 and go with validation videos, got {patience}; hold out "
            "groups, or leave it out"
        )
    devices.check_precision(precision)
    place, main = devices.chosen(device), distributed.rank() == 0
    devices.move(network, place)
    stepper = _stepper(
        optimiser, _parameter_groups(network, learning_rate, backbone_rate, bias_rate, weight_decay)
    )
    rates = [group["lr"] for group in stepper.param_groups]
    scaler = torch.amp.GradScaler(place.type, enabled=precision == "float16")
    distributed.begin(network)
    of_run: dict[str, Any] = {"settings": dict(settings or {}), "device": place}
    progress = checkpoints.Progress()
    if checkpoint is not None:
        progress = checkpoints.resume(checkpoint, network, stepper, scaler, **of_run)
    history, first = progress.history, len(progress.history)
    with (
        board(tensorboard if main else None, start=first) as show,
        distributed.normalised_together(network),
    ):
        ahead = range(first, epochs)
        for epoch in jobs.progress(ahead, label="training", verbose=verbose and main):
            if patience is not None and epoch - 1 - progress.best_epoch >= patience:
                break
            factor = _rate(epoch / epochs, schedule=schedule, warm_up=warm_up, drops=drops)
            for group, rate in zip(stepper.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            _set_to_train(network)
            loss, pace, waited = _pass(
                network,
                batches(epoch),
                stepper,
                scaler,
                label_smoothing=label_smoothing,
                clip_gradient=clip_gradient,
                precision=precision,
                place=place,
            )
            if not np.isfinite(loss):
                raise ValueError(
                    f"loss must stay finite, got {loss} in epoch {epoch}; lower the learning rate"
                )
            network.eval()
            measured = (None, None) if validate is None else validate()
            history.append(Epoch(epoch, loss, learning_rate * factor, pace, waited, *measured))
            if validate is not None and progress.best_epoch == epoch:
                progress.best = {k: v.detach().clone() for k, v in network.state_dict().items()}
            if checkpoint is not None:
                checkpoints.write(checkpoint, network, stepper, scaler, progress, **of_run)
            show(history[-1])
            if log is not None and main:
                write_csv(log, history)
    if progress.best:
        network.load_state_dict(progress.best)
    network.eval()
    return history


def _pass(
    network: Any,
    batches: Iterable[Batch],
    stepper: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    label_smoothing: float,
    clip_gradient: float | None,
    precision: str,
    place: torch.device,
) -> tuple[float, float, float]:
    """Take a step for every batch; mean loss, clips per second, share of the time spent waiting."""
    sums = torch.zeros(2, dtype=torch.float64, device=place)  # of losses, of clips
    started, waited = time.perf_counter(), 0.0
    coming = iter(batches)
    while True:
        asked = time.perf_counter()
        batch = next(coming, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        batch = batch.to(place)
        with devices.precision(precision, place):
            heads = network.heads(rgb=batch.rgb, flow=batch.flow)
            loss = torch.stack(
                [
                    functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
                    for logits in heads.values()
                ]
            ).sum()
        stepper.zero_grad(set_to_none=True)
        scaler.scale(loss * batch.weight).backward()
        distributed.average_gradients(network.parameters())
        if clip_gradient is not None:
            scaler.unscale_(stepper)
            nn.utils.clip_grad_norm_(network.parameters(), clip_gradient)
        scaler.step(stepper)
        scaler.update()
        sums[0] += loss.detach() * len(batch.labels)
        sums[1] += len(batch.labels)
    loss_sum, n_clips = distributed.total(sums).tolist()
    seconds = time.perf_counter() - started
    return loss_sum / n_clips, n_clips / seconds, waited / seconds


def check_options(
    *,
    optimiser: str = OPTIMISERS[0],
    schedule: str = SCHEDULES[0],
    epochs: int = 1,
    drops: Sequence[float] = (),
    clip_gradient: float | None = None,
    **others: Any,
) -> None:
    """Refuse what of `train`'s options is unknown or makes no sense."""
    if optimiser not in OPTIMISERS:
        raise ValueError(
            f"optimiser must be one of {', '.join(OPTIMISERS)}, got {optimiser!r}; choose one"
        )
    if schedule not in SCHEDULES:
        raise ValueError(
            f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}; choose one"
        )
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}; the recipe's is a good start")
    if list(drops) != sorted(drops) or any(not 0 < drop < 1 for drop in drops):
        raise ValueError(
            f"drops must be shares of the epochs above 0 and below 1, ascending, got {drops}; "
            "such as 0.6 and 0.85"
        )
    if clip_gradient is not None and clip_gradient <= 0:
        raise ValueError(f"clip_gradient must be above 0, got {clip_gradient}; the usual is 10")


def _set_to_train(network: nn.Module) -> None:
    """As `Module.train`, but batch normalisation whose weights are frozen keeps its statistics."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            if module.affine and not any(p.requires_grad for p in module.parameters()):
                module.eval()


def _rate(done: float, *, schedule: str, warm_up: float, drops: Sequence[float]) -> float:
    """Factor on the learning rate after the share `done` of the training."""
    climb = min(1.0, (done + 0.01) / warm_up) if warm_up > 0 else 1.0
    if schedule == "cosine":
        return climb * 0.5 * (1.0 + math.cos(math.pi * done))
    return climb * 10.0 ** -sum(done >= drop for drop in drops)


def _stepper(optimiser: str, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Make an optimiser; its groups bring their own rates."""
    if optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=MOMENTUM)
    return torch.optim.AdamW(groups, fused=True)  # a third of the time of a loop over tensors


def _parameter_groups(
    network: nn.Module,
    learning_rate: float,
    backbone_rate: float,
    bias_rate: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Group what learns by rate (towers, biases, the rest) and by decay (weights alone have it)."""
    towers = [module for module in network.modules() if isinstance(module, Tower)]
    inside = {id(parameter) for tower in towers for parameter in tower.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = learning_rate * (backbone_rate if id(parameter) in inside else 1.0)
            rate *= bias_rate if name.endswith("bias") else 1.0
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
