"""Every network learns a few real clips by heart; `scripts/bench_deep.py` has 16 of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deep.recogniser import NetworkRecogniser

CLIPS = {  # of two classes, each from two sources
    "b_slice/b_slice1.mp4": 0,
    "b_slice/b_slice2.mp4": 0,
    "serve/serve1.mp4": 1,
    "serve/serve2.mp4": 1,
}
RECIPE: dict[str, Any] = {
    "learning_rate": 2e-3,
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "mirror": False,
    "scale": 0.95,
    "batch_size": 4,
    "grid": 1,
    "mirror_views": False,
}


@pytest.mark.parametrize("model", ["two-stream", "conv-fusion", "fstcn"])
def test_a_few_real_clips_are_learned_by_heart(model: str, shared: Path, cache: Path) -> None:
    videos = [shared / "data" / "tennis7" / name for name in CLIPS]
    labels = list(CLIPS.values())
    recogniser = NetworkRecogniser(
        model=model,
        backbone="small",
        epochs=12,
        passes=5,
        size=48,
        side=48,
        n_clips=2,
        recipe=RECIPE,
        cache=cache,
    )
    recogniser.fit(videos, labels)
    assert recogniser.scores(videos).argmax(axis=1).tolist() == labels
    assert recogniser.losses_[-1] < 0.2 * recogniser.losses_[0]
