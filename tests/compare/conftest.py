"""Small real videos, data sets made of them, and recognisers whose scores are known in advance."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from compare import datasets
from compare.datasets import Dataset

CLASSES = ("hug", "kick", "wave")
GROUPS = ("ann", "bob", "cid", "dot")


class Fake:
    """Scores that depend on the file's name alone: its class, plus noise of its own.

    `skill` is the score of the true class over the noise; `scale` multiplies everything.
    """

    fitted: list[tuple[str, ...]] = []  # noqa: RUF012  # what fit was called with, for tests

    def __init__(
        self,
        *,
        skill: float = 2.0,
        scale: float = 1.0,
        salt: str = "",
        seed: int = 0,
        workers: int = 1,
        verbose: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.skill, self.scale, self.salt, self.seed = skill, scale, salt, seed

    def fit(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        *,
        groups: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Fake:
        assert class_names is not None
        assert len(videos) == len(labels)
        for path, label in zip(videos, labels, strict=True):
            assert Path(path).stem.startswith(class_names[label])
        assert groups is None or len(groups) == len(videos)
        self.class_names_ = list(class_names)
        Fake.fitted.append(tuple(Path(path).name for path in videos))
        return self

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        rows = []
        for path in videos:
            text = f"{Path(path).name} {self.salt} {self.seed}"
            digest = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
            row = np.random.default_rng(digest).normal(size=len(self.class_names_))
            own = [Path(path).stem.startswith(name) for name in self.class_names_]
            rows.append(self.scale * (row + self.skill * np.array(own)))
        return np.array(rows, dtype=np.float32)

    def settings(self) -> dict[str, Any]:
        return {"skill": self.skill, "scale": self.scale}


def write_video(path: Path, n_frames: int = 2) -> Path:
    """Write a tiny MJPEG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 24))
    for index in range(n_frames):
        writer.write(np.full((24, 32, 3), 40 * index % 256, np.uint8))
    writer.release()
    return path


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(name="write_video")
def write_video_fixture() -> Callable[..., Path]:
    return write_video


@pytest.fixture(name="write_rows")
def write_rows_fixture() -> Callable[..., Path]:
    return write_rows


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with clips/CLASS_GROUP_N.avi: 3 classes, 4 groups, 2 takes; and data.csv."""
    root = tmp_path_factory.mktemp("set")
    rows = []
    for label in CLASSES:
        for index, group in enumerate(GROUPS):
            for take in range(2):
                path = write_video(root / "clips" / f"{label}_{group}_{take}.avi")
                split = "train" if index < 2 else "test"
                row = [path.relative_to(root).as_posix(), label, group, split, str(index % 2)]
                rows.append(row)
    write_rows(root / "data.csv", ["path", "label", "group", "split", "half"], rows)
    return root


@pytest.fixture
def dataset(clips: Path) -> Dataset:
    return datasets.load(clips / "data.csv")


@pytest.fixture
def fakes() -> Mapping[str, Callable[..., Fake]]:
    """Recognisers under the names of the real ones."""
    Fake.fitted.clear()
    return {
        "idt-fv": partial(Fake, skill=1.2, salt="a"),
        "two-stream": partial(Fake, skill=1.0, scale=20, salt="b"),
        "conv-fusion": partial(Fake, skill=1.1, scale=20, salt="c"),
        "flow-hist": partial(Fake, skill=0.3, salt="d"),
    }
