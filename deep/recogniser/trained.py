"""What is written beside a network's weights, and read back: all that made them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as whole
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deep import backbones
from deep.flow import FlowSettings
from deep.recogniser.fitting import digest
from deep.train import distributed

MACHINE = ("threads", "torch", "device")  # may change while a training is interrupted
# Parameters that settings tell where they are not the usual, with that
UNSAID: dict[str, Any] = {
    "variant": None,
    "mode": "recipe",
    "paper": False,
    "validation": 0.0,
    "device": "cpu",
    "precision": "float32",
}


def settings_of(recogniser: Any) -> dict[str, Any]:
    """Say what made a `NetworkRecogniser`'s result, all of it, JSON-able."""
    said = {name: getattr(recogniser, name) for name in UNSAID}
    start = recogniser.start or {}
    return {
        "model": recogniser.model,
        "backbone": recogniser.backbone_,
        "clips": {
            "segments": recogniser.spec_.segments,
            "strides": list(recogniser.spec_.strides),
            "stack": recogniser.spec_.stack,
        },
        **{name: value for name, value in said.items() if value != UNSAID[name]},
        **({"start": {name: Path(path).name for name, path in start.items()}} if start else {}),
        "recipe": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in recogniser.recipe_.items()
        },
        "side": recogniser.side_,
        "flow": None if recogniser.flow_ is None else recogniser.flow_.fingerprint(),
        "seed": recogniser.seed,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def arguments(stored: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Give arguments of a `NetworkRecogniser`, and class names, out of what a file holds.

    What is missing or of a wrong kind raises whatever it may.
    """
    least, most = map(whole, stored["clips"]["strides"])
    found = {
        "model": stored["model"],
        "backbone": stored["backbone"],
        "segments": whole(stored["clips"]["segments"]),
        "strides": (least, most),
        "start": stored.get("start"),
        "recipe": {key: _tuple(value) for key, value in stored["recipe"].items()},
        "side": whole(stored["side"]),
        "flow": FlowSettings(**(stored["flow"] or {})),
        "seed": whole(stored["seed"]),
        **{name: stored[name] for name in UNSAID if name in stored and name != "device"},
    }
    return found, [str(name) for name in stored["class_names"]]


def run_of(
    recogniser: Any,
    videos: Sequence[str | Path],
    labels: Sequence[int],
    class_names: Sequence[str],
    validated: np.ndarray,
) -> dict[str, Any]:
    """All that decides the result of a training, JSON-able, but for the machine.

    Parameters
    ----------
    recogniser
        Whose training.
    videos, labels, class_names
        What it is trained on.
    validated
        Indices of the videos held out for validation.
    """
    listed = [[str(path), label] for path, label in zip(videos, labels, strict=True)]
    settings = settings_of(recogniser)
    return {
        **{name: value for name, value in settings.items() if name not in MACHINE},
        "class_names": list(class_names),
        "videos": digest(listed),
        "validation_videos": digest(validated.tolist()),
        "processes": distributed.world(),
    }


def announcement(recogniser: Any, checkpoint: Path | None) -> str:
    """Tell what is about to be trained."""
    note = " (from ImageNet)" if recogniser.backbone_ in backbones.PRETRAINED else ""
    resumed = checkpoint is not None and checkpoint.exists()
    more = f", goes on from {checkpoint}" if resumed else ""
    return f"{recogniser.model}: backbone {recogniser.backbone_}{note}{more}"


def _tuple(value: Any) -> Any:
    """Turn a list, which JSON makes of a tuple, back into one."""
    return tuple(value) if isinstance(value, list) else value
