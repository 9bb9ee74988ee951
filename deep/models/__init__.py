"""The networks, one paper, one file; a file put here is a network that everything else finds.

Such a file has a module docstring (citation, section or figure, what deviates) and

- ``INPUT``, a `deep.clips.ClipSpec`: the clips it eats;
- ``RECIPE``, keyword arguments of `deep.train.train` and `deep.data.Cutting` for learning from
  scratch, and ``FINE_TUNE``, what changes with a pre-trained backbone;
- ``build(num_classes, *, backbone, **options)``, which returns the network;
- the network's class, with ``heads(rgb, flow)`` (name to logits (batch, class); the training loss
  is the sum of their cross-entropies), ``fuse(heads)`` (scores (batch, class) out of such logits)
  and ``forward(rgb=None, flow=None)``, which is ``fuse(heads(rgb, flow))``. Every input is
  ``(batch, segment, channel, time, row, column)``.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Protocol

import torch


class Network(Protocol):
    """What training and testing need of a network besides being a `torch.nn.Module`."""

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Logits (batch, class) of every head."""

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        """Scores (batch, class) out of the heads' logits."""


def available() -> list[str]:
    """Public names of the networks in this folder: the file names with dashes."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def load(name: str) -> ModuleType:
    """Import the file of a network.

    Raises
    ------
    ValueError
        There is none of that name.
    """
    if name not in available():
        raise ValueError(
            f"model must be one of {', '.join(available())}, got {name!r}; choose one of these"
        )
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
