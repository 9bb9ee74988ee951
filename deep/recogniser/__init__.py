"""The recognisers of this package: networks, their maps along trajectories, and a yardstick.

All have ``fit(videos, labels, *, groups=None, class_names=None)``, ``scores(videos)`` and
``settings()``, and the keywords `seed`, `workers`, `verbose` and `cache`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from deep import models
from deep.recogniser.frame_features import FrameFeaturesRecogniser
from deep.recogniser.network import NetworkRecogniser
from deep.recogniser.trajectory_pooled import TrajectoryPooledRecogniser

__all__ = [
    "RECOGNISERS",
    "FrameFeaturesRecogniser",
    "NetworkRecogniser",
    "TrajectoryPooledRecogniser",
]

RECOGNISERS: dict[str, Callable[..., Any]] = {
    **{name: partial(NetworkRecogniser, model=name) for name in models.available()},
    "frame-features": FrameFeaturesRecogniser,
    "tdd-fv": TrajectoryPooledRecogniser,
}
