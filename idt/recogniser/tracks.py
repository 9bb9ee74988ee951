"""Trajectories of videos, kept in a folder, and what recognisers read of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from idt.codebook import RowSampler
from idt.codebook.videos import FREE_SETTINGS, Batch
from idt.extract import Extraction, ExtractOptions
from idt.jobs import Workers, file_key, progress, run
from idt.mirror import mirrored
from idt.trajectories import Trajectories, provenance

Files = tuple[Path, ...]  # of one video, one a pass


@dataclass(frozen=True)
class Tracks:
    """What is read of each video.

    Attributes
    ----------
    passes
        Settings of one extraction or more; the trajectories of all of them tell of the video.
    descriptors
        Names of those that are read, in their order. Files hold all that the passes extract, so
        that they serve every choice.
    mirror
        Read every trajectory once more as in a mirror.
    places
        Append x, y and time in the video, each from 0 to 1, to every descriptor.
    """

    passes: tuple[ExtractOptions, ...]
    descriptors: tuple[str, ...]
    mirror: bool = False
    places: bool = False

    def extract(
        self,
        videos: Sequence[str | Path],
        folder: Path,
        *,
        workers: Workers = 1,
        verbose: bool = False,
    ) -> list[Files]:
        """Extract what is not in the folder yet; the files of each video."""
        by_pass = []
        for options in self.passes:
            paths = [trajectory_path(folder, options, video) for video in videos]
            missing = [
                video for video, path in zip(videos, paths, strict=True) if not path.exists()
            ]
            outcomes = run(
                partial(_extract, folder, options),
                missing,
                label="trajectories",
                workers=workers,
                verbose=verbose,
            )
            for outcome in outcomes:
                outcome.result()
            by_pass.append(paths)
        return list(zip(*by_pass, strict=True))

    def batches(self, files: Files) -> Iterator[Batch]:
        """Read the trajectories of one video, a pass at a time."""
        for path in files:
            table = Trajectories.load(path)
            yield self._batch(table)
            if self.mirror:
                yield self._batch(mirrored(table))

    def sample(
        self, videos: Sequence[Files], *, n_rows: int, seed: int, verbose: bool = False
    ) -> dict[str, np.ndarray]:
        """Draw trajectories over all videos alike, by name, float32 (at most n_rows, dimension)."""
        sampler = RowSampler(n_rows, seed=seed)
        for files in progress(videos, label="sampling", verbose=verbose):
            for batch in self.batches(files):
                sampler.add(batch.descriptors)
        if sampler.n_seen == 0:
            raise ValueError(
                "training videos must hold trajectories, got none in any of them; "
                "they need more frames than a track is long, and motion"
            )
        return sampler.sample()

    def settings(self) -> dict[str, Any]:
        """Settings of the extraction that all passes share, as codebooks keep them."""
        first, *others = map(asdict, self.passes)
        return {
            name: value
            for name, value in first.items()
            if name not in FREE_SETTINGS and all(other[name] == value for other in others)
        }

    def _batch(self, table: Trajectories) -> Batch:
        positions = table.meta[:, -3:]
        descriptors = {name: table.descriptors[name] for name in self.descriptors}
        if self.places:
            descriptors = {
                name: np.concatenate([rows, positions], axis=1)
                for name, rows in descriptors.items()
            }
        return Batch(descriptors, positions)


def trajectory_path(folder: Path, options: ExtractOptions, video: str | Path) -> Path:
    """Where the trajectories of a video lie in a folder, under a key of all that makes them."""
    settings = {"extraction": asdict(options), "versions": provenance()}
    return folder / f"{Path(video).stem[:60]}-{file_key(video, settings)}.h5"


def _extract(folder: Path, options: ExtractOptions, video: str | Path) -> None:
    """Extract a video's trajectories, unless another process did so meanwhile."""
    path = trajectory_path(folder, options, video)
    if not path.exists():
        Extraction(video, options=options).save(path)


@contextmanager
def folder_of(cache: str | Path | None) -> Iterator[Path]:
    """The cache folder, made if needed, or a temporary one."""
    if cache is not None:
        folder = Path(cache).absolute()  # workers may have another working folder
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="trajfuse-") as name:
            yield Path(name)
