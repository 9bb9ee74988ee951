"""A published setting of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A published setting of a network.

    Parameters
    ----------
    options
        Of the network's ``build``, with its backbone, and of its recipe.
    published
        Number of parameters that the paper prints, as printed; empty where it prints none.
    uncounted
        Names of the network's parts that the paper does not count, such as an SVM.
    """

    options: dict[str, Any]
    published: str = ""
    uncounted: tuple[str, ...] = ()
