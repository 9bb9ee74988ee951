"""The cache of frames and flow: nothing is decoded twice, nothing is kept by halves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from deep import data
from deep.data import store
from deep.data.exporting import export_all
from deep.flow import FlowSettings
from deep.recogniser import NetworkRecogniser
from idt.video import frames


def test_a_video_is_decoded_once(
    clips: tuple[list[Path], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: Counter[str] = Counter()

    def counting(path: Path) -> Iterator[np.ndarray]:
        decoded[path.name] += 1
        return frames(path)

    monkeypatch.setattr("idt.video.frames", counting)
    paths = clips[0][:2]
    with monkeypatch.context() as patched:  # frames and flow of a video come out of one pass
        patched.setattr("deep.data.storing._stored_frames", None)
        data.store_all(paths, folder=tmp_path / "a", side=48, flow=FlowSettings())
    assert decoded == {"0.mp4": 1, "1.mp4": 1}
    for flow in (None, FlowSettings(algorithm="farneback"), FlowSettings(bound=None)):
        data.store_all(paths, folder=tmp_path / "a", side=48, flow=flow)
    monkeypatch.setattr("deep.data.storing._stored_frames", None)  # nor read again
    network = NetworkRecogniser(backbone="small", side=48, epochs=1, cache=tmp_path / "a")
    network.prepare(paths)
    assert decoded == {"0.mp4": 1, "1.mp4": 1}
    export_all([(paths[0], "0")], root=tmp_path / "b", settings=FlowSettings(), side=48)
    export_all([(paths[0], "0")], root=tmp_path / "b", settings=FlowSettings(), side=48)
    assert decoded == {"0.mp4": 2, "1.mp4": 1}


def test_frames_that_were_kept_before_give_the_same_flow(
    clips: tuple[list[Path], list[int]], tmp_path: Path
) -> None:
    path = clips[0][0]
    once = store(path, folder=tmp_path / "a", side=48, flow=FlowSettings())
    store(path, folder=tmp_path / "b", side=48)
    later = store(path, folder=tmp_path / "b", side=48, flow=FlowSettings())
    with h5py.File(once.flow) as one, h5py.File(later.flow) as other:
        np.testing.assert_array_equal(one["flow"][:], other["flow"][:])


def test_nothing_is_kept_where_flow_fails(
    clips: tuple[list[Path], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(images: Iterator[np.ndarray], **_: object) -> Iterator[np.ndarray]:
        yield np.zeros((48, 64, 2), np.float32) * len(next(images))
        raise MemoryError

    monkeypatch.setattr("deep.flow.fields", failing)
    with pytest.raises(MemoryError):
        store(clips[0][0], folder=tmp_path, side=48, flow=FlowSettings())
    assert list(tmp_path.iterdir()) == []
