"""Tiny videos that the tests write themselves, and one thread for torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_video(path: Path, frames: np.ndarray) -> Path:
    """Write BGR frames, uint8 (frame, row, column, 3), as MPEG-4 of high quality."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def moving_square(rng: np.random.Generator, *, label: int, n_frames: int = 16) -> np.ndarray:
    """A bright textured square over a dark one: to the right for label 0, to the left for 1."""
    frames = np.repeat(rng.integers(0, 60, (1, 48, 64, 3), np.uint8), n_frames, axis=0)
    square = rng.integers(120, 255, (20, 20, 3), np.uint8)
    row, start = int(rng.integers(4, 24)), int(rng.integers(0, 10))
    for time in range(n_frames):
        column = start + 2 * time if label == 0 else 44 - start - 2 * time
        frames[time, row : row + 20, column : column + 20] = square
    return frames


def _film(path: Path, *, label: int, seed: int = 0, n_frames: int = 16) -> Path:
    return write_video(
        path, moving_square(np.random.default_rng(seed), label=label, n_frames=n_frames)
    )


@pytest.fixture
def film() -> Callable[..., Path]:
    """Write a video of one class: ``film(path, label=0, seed=0, n_frames=16)``."""
    return _film


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[int]]:
    """Eight videos of two classes that differ in motion alone."""
    folder = tmp_path_factory.mktemp("clips")
    labels = [0, 1] * 4
    paths = [
        _film(folder / f"{index}.mp4", label=label, seed=index)
        for index, label in enumerate(labels)
    ]
    return paths, labels


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded frames and flow, shared by the tests."""
    return tmp_path_factory.mktemp("cache")
