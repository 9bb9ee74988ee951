"""Training: one plain loop over epochs and batches."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from deep.backbones.tower import Tower
from deep.data import Batch
from idt import jobs

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step")
MOMENTUM = 0.9  # Simonyan and Zisserman 2014, section 5


@contextlib.contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from `seed` and allow only deterministic kernels, for a while.

    The state before comes back at the end. Equal results need the same number of torch threads,
    too, as sums are then split alike.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)


def train(
    network: Any,
    batches: Callable[[int], Iterable[Batch]],
    *,
    epochs: int,
    learning_rate: float,
    optimiser: str = "sgd",
    backbone_rate: float = 1.0,
    schedule: str = "cosine",
    warm_up: float = 0.05,
    weight_decay: float = 5e-4,
    label_smoothing: float = 0.0,
    verbose: bool = False,
) -> list[float]:
    """Fit a network to batches of clips; it is left in evaluation mode.

    The loss is the sum over the network's heads of the cross-entropy. What the network has frozen
    stays as it is.

    Parameters
    ----------
    network
        A module as in `deep.models`; changed in place.
    batches
        Gives the batches of an epoch, by its number from 0.
    epochs
        How often.
    learning_rate
        Of the layers that start at random.
    optimiser
        ``sgd`` (momentum 0.9) or ``adamw``.
    backbone_rate
        Factor on the learning rate of the towers, for weights that start from ImageNet.
    schedule
        ``cosine`` to zero, or ``step``: a tenth after 60 % and a hundredth after 85 % of the
        epochs.
    warm_up
        Share of the epochs over which the rate climbs from zero.
    weight_decay
        On weights; biases and normalisation have none.
    label_smoothing
        Share of each label that is spread over all classes.
    verbose
        Show progress with the time left on standard error.

    Returns
    -------
    list of float
        Mean loss of each epoch.

    Raises
    ------
    ValueError
        An option is unknown, or the loss stops being finite.
    """
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
    groups = _parameter_groups(network, learning_rate, backbone_rate, weight_decay)
    if optimiser == "sgd":
        stepper: torch.optim.Optimizer = torch.optim.SGD(
            groups, lr=learning_rate, momentum=MOMENTUM, nesterov=True
        )
    else:
        stepper = torch.optim.AdamW(groups, lr=learning_rate)
    rates = [group["lr"] for group in stepper.param_groups]
    network.train()
    history = []
    for epoch in jobs.progress(range(epochs), label="training", total=epochs, verbose=verbose):
        total, n_clips = 0.0, 0
        for batch in batches(epoch):
            factor = _rate(epoch / epochs, schedule=schedule, warm_up=warm_up)
            for group, rate in zip(stepper.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            heads = network.heads(rgb=batch.rgb, flow=batch.flow)
            loss = torch.stack(
                [
                    functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
                    for logits in heads.values()
                ]
            ).sum()
            stepper.zero_grad(set_to_none=True)
            loss.backward()
            stepper.step()
            total += float(loss.detach()) * len(batch.labels)
            n_clips += len(batch.labels)
        history.append(total / n_clips)
        if not np.isfinite(history[-1]):
            raise ValueError(
                f"loss must stay finite, got {history[-1]} in epoch {epoch}; "
                "lower the learning rate"
            )
    network.eval()
    return history


def _rate(done: float, *, schedule: str, warm_up: float) -> float:
    """Factor on the learning rate after the share `done` of the training."""
    climb = min(1.0, (done + 0.01) / warm_up) if warm_up > 0 else 1.0
    if schedule == "cosine":
        return climb * 0.5 * (1.0 + math.cos(math.pi * done))
    return climb * (1.0 if done < 0.6 else 0.1 if done < 0.85 else 0.01)


def _parameter_groups(
    network: nn.Module, learning_rate: float, backbone_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Group what learns by rate (towers, the rest) and by decay (weights alone have it)."""
    towers = [module for module in network.modules() if isinstance(module, Tower)]
    inside = {id(parameter) for tower in towers for parameter in tower.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            rate = learning_rate * (backbone_rate if id(parameter) in inside else 1.0)
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
