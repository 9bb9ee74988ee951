from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deep.tvl1 import tvl1_batch
from idt.flow import tvl1
from idt.pyramid import to_grey
from idt.video import frames

GOLDEN = Path(__file__).parent.parent / "golden"


def greys(n_frames: int) -> np.ndarray:
    """The embedded clip's first frames, the upper left part, uint8 (frame, row, column)."""
    clip = frames(GOLDEN / "synthetic_pan.avi", stop=n_frames)
    return np.stack([to_grey(frame)[:61, :90] for frame in clip])


def test_a_batch_is_each_pair_as_the_compiled_flow_has_it() -> None:
    images = greys(4)
    still = images[:1]  # stops at once, beside pairs that go on
    previous = torch.from_numpy(np.concatenate([images[:3], still]))
    current = torch.from_numpy(np.concatenate([images[1:], still]))
    found = tvl1_batch(previous, current).numpy()
    assert found.shape == (4, 61, 90, 2)
    for flow, first, second in zip(found, previous.numpy(), current.numpy(), strict=True):
        np.testing.assert_allclose(flow, tvl1(first, second), atol=0.02)
    np.testing.assert_array_equal(found[3], 0)


def test_a_full_frame_with_a_plain_background(shared: Path) -> None:
    """Another order of operations, or torch's own root, ends several pixels off in places here."""
    decoded = list(frames(shared / "golden" / "clips" / "kth_boxing_d1.avi", stop=24))
    first, second = (to_grey(frame) for frame in decoded[-2:])
    (flow,) = tvl1_batch(torch.from_numpy(first)[None], torch.from_numpy(second)[None]).numpy()
    np.testing.assert_allclose(flow, tvl1(first, second), atol=0.02)


def test_other_pairs_do_not_change_a_flow() -> None:
    images = torch.from_numpy(greys(3))
    together = tvl1_batch(images[:2], images[1:])
    torch.testing.assert_close(tvl1_batch(images[1:2], images[2:])[0], together[1])


def test_a_shift_is_found() -> None:
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.integers(0, 255, (60, 90), np.uint8), (0, 0), 2.0)
    previous, current = (torch.from_numpy(large[None, :, s : s + 80].copy()) for s in (5, 3))
    inner = tvl1_batch(previous, current)[0, 8:-8, 8:-8]
    error = (inner - torch.tensor([2.0, 0.0])).norm(dim=-1)
    assert error.mean() <= 0.1


def test_frames_that_do_not_fit() -> None:
    frame = torch.zeros((1, 9, 9), dtype=torch.uint8)
    with pytest.raises(ValueError, match="previous must be uint8 grey frames"):
        tvl1_batch(frame.float(), frame)
    with pytest.raises(ValueError, match="must have one size and device"):
        tvl1_batch(frame, frame[:, :8])
    with pytest.raises(ValueError, match="at least 2 pixels a side"):
        tvl1_batch(frame[:, :1], frame[:, :1])
