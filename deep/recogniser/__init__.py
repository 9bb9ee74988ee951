"""The recognisers of this package: networks, their maps along trajectories, and a yardstick.

All have ``fit(videos, labels, *, groups=None, class_names=None)``, ``scores(videos)`` and
``settings()``, and the keywords `seed`, `workers`, `verbose` and `cache`. Networks take the
parameters of `NetworkRecogniser`, and numbers of their recipe and options of their ``build`` beside
these. ``spatial`` and ``temporal`` are the streams of two-stream, each alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from deep import models
from deep.recogniser.frame_features import FrameFeaturesRecogniser
from deep.recogniser.network import NetworkRecogniser
from deep.recogniser.plan import OPTIONS
from deep.recogniser.trajectory_pooled import TrajectoryPooledRecogniser

__all__ = [
    "RECOGNISERS",
    "FrameFeaturesRecogniser",
    "NetworkRecogniser",
    "TrajectoryPooledRecogniser",
]

_PARAMETERS = {field.name for field in fields(NetworkRecogniser) if field.init} - {"model"}


def _make(model: str, fixed: dict[str, Any], /, **given: Any) -> NetworkRecogniser:
    """Make a network's recogniser; what is no parameter of its class belongs to its recipe."""
    own = {name: value for name, value in given.items() if name in _PARAMETERS}
    more = {name: value for name, value in given.items() if name not in _PARAMETERS}
    own["recipe"] = {**fixed, **(own.get("recipe") or {}), **more}
    return NetworkRecogniser(model=model, **own)


def _network(model: str, **fixed: Any) -> Callable[..., NetworkRecogniser]:
    """Factory of a network's recogniser whose signature tells every option."""
    names = sorted({*_PARAMETERS, *OPTIONS, *models.options(model)} - {"backbone", *fixed})
    factory: Any = partial(_make, model, fixed)
    factory.__signature__ = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
            for name in ("backbone", *names)
        ]
    )
    return factory


RECOGNISERS: dict[str, Callable[..., Any]] = {
    **{name: _network(name) for name in models.available()},
    "spatial": _network("two-stream", streams="spatial"),
    "temporal": _network("two-stream", streams="temporal"),
    "frame-features": FrameFeaturesRecogniser,
    "tdd-fv": TrajectoryPooledRecogniser,
}
