"""The networks, one paper, one file; a file put here is a network that everything else finds.

Such a file has a module docstring (citation, section or figure, what deviates) and

- ``INPUT``, a `deep.clips.ClipSpec`: the clips it eats; or, where they depend on its options,
  ``clips(**options)`` besides;
- ``RECIPE``, keyword arguments of `deep.train.train` and `deep.data.Cutting` for learning from
  scratch, and ``FINE_TUNE``, what changes with a pre-trained backbone;
- ``PAPER``, in place of what the recipe has, how the paper trained and tested, as far as it says
  so, and ``PAPER_FINE_TUNE``, what it changed for weights from ImageNet;
- ``build(num_classes, *, backbone, **options)``, which returns the network; its ablations are
  options, and it refuses an unknown value with the list of the valid ones;
- where the paper has tables of such settings, ``VARIANTS``: their rows, name to `Variant`;
- the network's class, with ``heads(rgb, flow)`` (name to logits (batch, class); the training loss
  is the sum of their cross-entropies), ``fuse(heads)`` (scores (batch, class) out of such logits)
  and ``forward(rgb=None, flow=None)``, which is ``fuse(heads(rgb, flow))``. Every input is
  ``(batch, segment, channel, time, row, column)``. ``fuse_views`` besides, where scores are more
  than the fused means over views, see `deep.predict`; ``last_layers()``, the modules that give the
  logits, for the training of these alone.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import nn

from deep.clips import ClipSpec
from deep.models._options import check_choices as check_choices
from deep.models._options import of_kind as of_kind
from deep.models._variant import Variant


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


def options(name: str) -> set[str]:
    """Names of the options of a network's ``build``."""
    return {
        parameter.name
        for parameter in inspect.signature(load(name).build).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def checked(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give options of a network's ``build`` back as it wants them.

    Parameters
    ----------
    name
        The network.
    given
        The options, as JSON has them: lists stand for tuples.

    Raises
    ------
    ValueError
        The network has no option of that name, or one is of another kind, such as a text for a
        number. What a number may be, ``build`` itself checks.
    """
    unknown = sorted(set(given) - options(name))
    if unknown:
        raise ValueError(
            f"option of {name} must be of {', '.join(sorted(options(name)))}, got "
            f"{', '.join(unknown)}; choose among these"
        )
    return of_kind(load(name).build, given)


def clips(name: str, **given: Any) -> ClipSpec:
    """Say which clips a network eats that is built with the given options."""
    module = load(name)
    return module.clips(**given) if hasattr(module, "clips") else module.INPUT


def variants(name: str) -> dict[str, Variant]:
    """Published settings of a network, by name; often none."""
    return getattr(load(name), "VARIANTS", {})


def variant_options(name: str, variant: str) -> dict[str, Any]:
    """Options of a published setting: of the network's ``build`` and of its recipe.

    Raises
    ------
    ValueError
        The network has none of that name.
    """
    return dict(_row(name, variant).options)


def build(name: str, num_classes: int, *, variant: str, **more: Any) -> Any:
    """Build a published setting of a network, with further options in place of its own."""
    given = {**_row(name, variant).options, **more}
    own = options(name)
    return load(name).build(num_classes, **{k: v for k, v in given.items() if k in own})


def count_parameters(network: nn.Module, *, uncounted: tuple[str, ...] = ()) -> int:
    """Count a network's parameters, without those of its parts named in `uncounted`."""
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if name.split(".")[0] not in uncounted
    )


def _row(name: str, variant: str) -> Variant:
    known = variants(name)
    if variant not in known:
        raise ValueError(
            f"variant of {name} must be one of {', '.join(known) or 'none'}, got {variant!r}; "
            "choose one of these"
        )
    return known[variant]
