from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from deep.clips import ClipSpec
from deep.data import Cutting, Stored, store
from deep.flow import FlowSettings
from deep.predict import PROTOCOLS, evaluate, predict, view_logits

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
    (plain,) = predict(Probe(), [stored], spec=spec, cutting=cutting, n_clips=3, mirror_views=False)
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


def test_logits_are_kept_by_head_before_they_are_fused(stored: Stored) -> None:
    spec, cutting = ClipSpec(stack=2), Cutting(size=48)
    found = evaluate(Probe(), [stored, stored], spec=spec, cutting=cutting, n_clips=2)
    assert {name: logits.shape for name, logits in found.logits.items()} == {
        "one": (2, 3),
        "two": (2, 3),
    }
    np.testing.assert_allclose(found.scores, found.logits["one"] + 10 * found.logits["two"])


class Recorder:
    """A network that remembers its inputs; its logits are the mean of red."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def heads(self, rgb: torch.Tensor, flow: torch.Tensor | None) -> dict[str, torch.Tensor]:
        self.seen.append(rgb)
        return {"one": rgb[:, :, 0].mean(dim=(1, 2, 3, 4))[:, None].repeat(1, 2)}

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        return heads["one"]


@pytest.fixture
def numbered(tmp_path: Path) -> Stored:
    """Nine frames of 40 x 60 pixels of (column, row, frame)."""
    rows, columns = np.mgrid[:40, :60]
    frames = np.stack([np.stack([columns, rows, np.full_like(rows, t)], -1) for t in range(9)])
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["frames"] = frames.astype(np.uint8)
    return Stored(tmp_path / "v.avi", tmp_path / "frames.h5", None, 9, 40, 60)


def first_pixels(network: Recorder) -> list[tuple[int, int]]:
    """Column and row of the first pixel of every view."""
    corners = [(255 * view[0, 0, :2, 0, 0, 0]).round().int().tolist() for view in network.seen]
    return [(column, row) for column, row in corners]


def test_ten_crops_of_25_frames(numbered: Stored) -> None:
    network, spec = Recorder(), ClipSpec(stack=0)
    protocol = PROTOCOLS["ten-crops"]
    (scores,) = predict(network, [numbered], spec=spec, cutting=Cutting(size=32), **protocol)
    lefts, tops = (0, 28, 0, 28, 14), (0, 0, 8, 8, 4)
    assert first_pixels(network)[::2] == list(zip(lefts, tops, strict=True))
    # the mirror images begin with the last column
    assert first_pixels(network)[1::2] == [(x + 31, y) for x, y in zip(lefts, tops, strict=True)]
    assert [tuple(view.shape) for view in network.seen] == [(25, 1, 3, 1, 32, 32)] * 10
    blue = [round(255 * float(clip[0, 2, 0, 0, 0])) for clip in network.seen[0]]
    assert blue == np.rint(np.linspace(0, 8, 25)).tolist()  # equal spacing
    every = torch.cat([view[:, :, 0].flatten() for view in network.seen])
    np.testing.assert_allclose(scores, float(every.mean()), rtol=1e-5)


def test_whole_frames_keep_their_shape(numbered: Stored) -> None:
    network, spec = Recorder(), ClipSpec(stack=0)
    options = {"spec": spec, "cutting": Cutting(size=32)}
    predict(network, [numbered], **options, **PROTOCOLS["whole-frame"])
    assert [tuple(view.shape) for view in network.seen] == [(20, 1, 3, 1, 40, 60)] * 2
    assert first_pixels(network) == [(0, 0), (59, 0)]


def test_snippets_are_seen_once(numbered: Stored) -> None:
    network, spec = Recorder(), ClipSpec(stack=0)
    options = {"spec": spec, "cutting": Cutting(size=32)}
    predict(network, [numbered], **options, **{**PROTOCOLS["snippets"], "n_clips": 3})
    assert [tuple(view.shape) for view in network.seen] == [(3, 1, 3, 1, 32, 32)]
    assert first_pixels(network) == [(14, 4)]


def test_unknown_views_are_refused(numbered: Stored) -> None:
    with pytest.raises(ValueError, match="views must be one of grid, corners, centre, frame, got"):
        view_logits(
            Recorder(),
            numbered,
            spec=ClipSpec(stack=0),
            cutting=Cutting(size=32),
            n_clips=1,
            mirror=False,
            views="ten",
        )
