from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deep.clips import ClipSpec
from deep.data import Cutting, Stored, store
from deep.flow import FlowSettings
from deep.predict import predict

Clips = tuple[list[Path], list[int]]


class Probe:
    """A network whose logits are the means of red, of dx, and of red in the left half."""

    def heads(self, rgb: torch.Tensor, flow: torch.Tensor) -> dict[str, torch.Tensor]:
        red = rgb[:, :, 0].mean(dim=(1, 2, 3, 4))
        dx = flow[:, :, 0].mean(dim=(1, 2, 3, 4))
        left = rgb[:, :, 0, :, :, : rgb.shape[-1] // 2].mean(dim=(1, 2, 3, 4))
        return {"one": torch.stack([red, dx, left], dim=1), "two": torch.ones(len(red), 3)}

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        assert heads["one"].shape == (1, 3)  # views are averaged before the heads are fused
        return heads["one"] + 10 * heads["two"]


@pytest.fixture
def stored(clips: Clips, cache: Path) -> Stored:
    return store(clips[0][0], folder=cache, side=48, flow=FlowSettings())


def test_mirrored_views_cancel_sideways_motion_and_sides(stored: Stored) -> None:
    cutting = Cutting(size=48, subtract_mean=False)
    spec = ClipSpec(stack=2)
    (plain,) = predict(Probe(), [stored], spec=spec, cutting=cutting, n_clips=3, mirror=False)
    (both,) = predict(Probe(), [stored], spec=spec, cutting=cutting, n_clips=3)
    assert plain[1] > 10.05  # the square moves to the right
    assert plain[2] != pytest.approx(plain[0], abs=1e-3)
    np.testing.assert_allclose(both, [plain[0], 10.0, plain[0]], atol=1e-5)


def test_one_row_per_video(stored: Stored) -> None:
    spec, cutting = ClipSpec(segments=2, strides=(2, 2)), Cutting(size=32)
    scores = predict(Probe(), [stored, stored], spec=spec, cutting=cutting, n_clips=1)
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores[0], scores[1])
