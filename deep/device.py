"""Where networks run: a processor or a GPU, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def chosen(name: str) -> torch.device:
    """Find the device of a name, and make sure that it is there.

    Parameters
    ----------
    name
        ``cpu``, ``cuda``, or one GPU of several, ``cuda:1``.

    Raises
    ------
    ValueError
        The name is none of these, or there is no such GPU.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {name!r}; choose one of these")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise ValueError(
                f"device must be a GPU that torch {torch.__version__} can use, got {name!r} where "
                f"it finds {count or 'none'}; install torch for your GPU, or choose cpu"
            )
    return torch.device(name)


def check_precision(name: str) -> None:
    """Raise ValueError where `name` is not one of `PRECISIONS`."""
    if name not in PRECISIONS:
        raise ValueError(
            f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}; choose one of these"
        )


@contextlib.contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """Compute in mixed precision for a while: matrix products and convolutions in `name`."""
    check_precision(name)
    with torch.autocast(device.type, dtype=PRECISIONS[name], enabled=name != "float32"):
        yield


def move(network: nn.Module, device: torch.device) -> None:
    """Bring a network to a device; on a GPU weights of 2D convolutions lie in channels-last memory.

    On a processor those of the backbones do anyhow.
    """
    network.to(device)
    for module in network.modules() if device.type == "cuda" else ():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs
