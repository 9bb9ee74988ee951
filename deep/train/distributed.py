"""One training over several processes, as `torchrun` starts them.

Every process cuts its share of each batch and computes its share of the loss. Losses are weighted
so that the averaged gradient is that of the whole batch, and batch normalisation takes its means
and variances over all shares: one step does what a single process does, up to rounding. Dropout
draws other numbers in each process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import MethodType
from typing import Any

import torch
from torch import distributed, nn
from torch.nn import functional

from deep import device as devices

BUCKET = 2**24  # gradients that travel together
PATIENCE = timedelta(hours=24)  # others wait while the first process decodes all videos


def rank() -> int:
    """Number of this process, from 0; 0 where there is one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextlib.contextmanager
def processes(device: str) -> Iterator[str]:
    """Join the other processes that `torchrun` started, for a while; alone it does nothing.

    Parameters
    ----------
    device
        ``cpu``, or ``cuda`` for one GPU per process.

    Yields
    ------
    str
        The device of this process.
    """
    if "WORLD_SIZE" not in os.environ or distributed.is_initialized():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(devices.chosen(device))
    backend = "nccl" if device.startswith("cuda") else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def first() -> Iterator[bool]:
    """Let the first process do something before the others: each is told whether it is first."""
    if rank() > 0:
        distributed.barrier()
    yield rank() == 0
    if rank() == 0 and world() > 1:
        distributed.barrier()


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over all processes."""
    if world() > 1:
        distributed.all_reduce(values)
    return values


def gathered(values: torch.Tensor, device: torch.device) -> list[torch.Tensor]:
    """Tensors of one shape, of all processes in their order, on the processor."""
    if world() == 1:
        return [values]
    own = values.to(device)
    found = [torch.empty_like(own) for _ in range(world())]
    distributed.all_gather(found, own)
    return [each.cpu() for each in found]


def begin(network: nn.Module) -> None:
    """Give all processes the first one's weights, and each its own random numbers from now on."""
    if world() == 1:
        return
    for tensor in [*network.parameters(), *network.buffers()]:
        same = tensor.detach().contiguous()
        distributed.broadcast(same, src=0)
        tensor.detach().copy_(same)
    torch.manual_seed(torch.initial_seed() + rank())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes."""
    if world() == 1:
        return
    left = [parameter.grad for parameter in parameters if parameter.grad is not None]
    while left:
        bucket = [left.pop()]
        while left and sum(map(torch.numel, bucket)) + left[-1].numel() <= BUCKET:
            bucket.append(left.pop())
        flat = total(torch.cat([gradient.flatten() for gradient in bucket])) / world()
        parts = flat.split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


@contextlib.contextmanager
def normalised_together(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation see the batches of all processes as one, for a while."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    if world() == 1:
        norms = []
    for norm in norms:
        norm.forward = MethodType(_normalise, norm)  # type: ignore[method-assign]  # undone below
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Total(torch.autograd.Function):
    """Sum over all processes, through which gradients flow back from all of them."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        """Sum a copy."""
        return total(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Sum the gradients."""
        return total(gradient.clone())


def _normalise(norm: nn.BatchNorm2d | nn.BatchNorm3d, x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation over the batches of all processes together."""
    if not norm.training:
        return functional.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    wide = x.float()
    count = total(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
    mean = _Total.apply(wide.sum(dim=axes)) / count
    centred = wide - mean.view(shape)
    variance = _Total.apply(centred.square().sum(dim=axes)) / count
    with torch.no_grad():
        momentum = 0.1 if norm.momentum is None else norm.momentum
        for running, value in (
            (norm.running_mean, mean),
            (norm.running_var, variance * count / (count - 1)),
        ):
            if running is not None:
                running.lerp_(value.to(running.dtype), momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
    y = centred * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)
