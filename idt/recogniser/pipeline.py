"""What recognisers of encoded trajectories share: tracks, codebook, encodings, machine.

A subclass says which codebook is fitted, what encodes by it and which machine learns from that.
Where there is a cache folder, it keeps trajectories, codebooks and encodings, each under a key of
all that made it: a call that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from idt.descriptors import DESCRIPTORS
from idt.encodings import encode_into
from idt.extract import ExtractOptions
from idt.grids import parse_grids
from idt.jobs import run
from idt.recogniser.labels import check_labels
from idt.recogniser.tracks import Files, Tracks, folder_of
from idt.svm import ChiSquareSVM, LinearSVM
from idt.trajectories import provenance


class Book(Protocol):
    """What is fitted on a sample of trajectories: a codebook or a vocabulary."""

    def fit(
        self, samples: Mapping[str, ArrayLike], *, extraction: Mapping[str, Any] | None = None
    ) -> Self:
        """Fit on rows by descriptor, which an extraction with these settings gave."""

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters."""

    def save(self, path: str | Path) -> None:
        """Write a file."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""


class Accumulator(Protocol):
    """Encoding of one video, its trajectories added block by block."""

    def add(
        self, descriptors: Mapping[str, ArrayLike], *, positions: ArrayLike | None = None
    ) -> None:
        """Add trajectories."""

    def finish(self) -> np.ndarray:
        """Return the encoding, float32 (n_features,)."""


class Encoder(Protocol):
    """What encodes videos by a codebook."""

    @property
    def n_features(self) -> int:
        """Length of an encoding."""

    def accumulator(self) -> Accumulator:
        """Start a video."""


@dataclass(kw_only=True, eq=False)
class TrajectoryRecogniser(ABC):
    """Trajectories, encoded by a codebook, and a support vector machine.

    The parameters are told by `FisherVectorRecogniser` and `BagRecogniser`.
    """

    n_samples: int
    C: float = 100.0
    grids: str | Sequence[str] = "1x1x1"
    descriptors: str | Sequence[str] = DESCRIPTORS
    preset: str = "parity"
    options: ExtractOptions | None = None
    stabilise: str | None = None
    normalise: str | None = None
    frame_steps: int | str | Sequence[int] = 1
    mirror: bool = False
    places: bool = False
    seed: int = 0
    workers: int = 1
    verbose: bool = False
    cache: str | Path | None = None

    svm_: LinearSVM | ChiSquareSVM = field(init=False, repr=False)
    encoder_: Any = field(init=False, repr=False)
    _book: Any = field(init=False, repr=False)
    _key: str = field(init=False, repr=False)  # of the codebook

    def __post_init__(self) -> None:
        """Refuse what cannot be used before any work."""
        _ = self.tracks
        self.new_book()
        parse_grids(listed(self.grids))
        if self.n_samples < 1:
            raise ValueError(
                f"n_samples must be at least 1, got {self.n_samples}; give a number of trajectories"
            )

    @abstractmethod
    def new_book(self) -> Book:
        """Make a codebook that is not fitted yet; it refuses what it cannot use."""

    @abstractmethod
    def encoder(self, book: Any) -> Encoder:
        """Make what encodes by a fitted codebook."""

    @abstractmethod
    def new_machine(self, encoder: Any) -> LinearSVM | ChiSquareSVM:
        """Make a machine that is not trained yet."""

    def fit(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        *,
        groups: Sequence[object] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """Train codebook and machine.

        Parameters
        ----------
        videos
            Readable video files.
        labels
            Class of each, 0 to n_classes - 1.
        groups
            Not used: nothing is validated here.
        class_names
            Names the classes; their number is the number of classes.

        Returns
        -------
        TrajectoryRecogniser
            This object.

        Raises
        ------
        ValueError
            Labels that do not fit the videos, a class without a video, too few trajectories.
        VideoError
            A video cannot be read.
        """
        targets = check_labels(videos, labels, class_names)
        with folder_of(self.cache) as folder:
            encodings = self._learn(videos, folder)
            self.svm_ = self.new_machine(self.encoder_).fit(encodings, targets)
        return self

    def encode(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Encodings of videos, float32 (n_videos, n_features)."""
        if not hasattr(self, "svm_"):
            raise ValueError("the recogniser must be fitted first; call fit(videos, labels)")
        with folder_of(self.cache) as folder:
            return self._encode(self._extract(videos, folder), folder)

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Decision values, float32 (n_videos, n_classes)."""
        encodings = self.encode(videos)
        return self.svm_.decision_function(encodings)

    def cross_scores(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        groups: Sequence[object],
        *,
        n_folds: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Score every training video by a machine that saw no video of its group.

        The videos are encoded once, by a codebook that is fitted on all of them: it has seen the
        held-out group's trajectories, though not their labels. The object stays as it is. With a
        cache folder, a call beside `fit` on the same videos encodes nothing again.

        Parameters
        ----------
        videos, labels, class_names
            As for `fit`.
        groups
            One for each video; those of one group are held out together.
        n_folds
            Number of folds that the groups are dealt out to; None leaves out one group at a time.

        Returns
        -------
        ndarray of float32, (n_videos, n_classes)
            Decision values.

        Raises
        ------
        ValueError
            As in `fit`; groups of another length, fewer than two, or one with all of a class.
        """
        targets = check_labels(videos, labels, class_names)
        numbers = np.unique([str(group) for group in groups], return_inverse=True)[1]
        other = replace(self)
        with folder_of(self.cache) as folder:
            encodings = other._learn(videos, folder)
            machine = other.new_machine(other.encoder_)
            return machine.cross_scores(encodings, targets, numbers, n_folds=n_folds)

    def settings(self) -> dict[str, Any]:
        """What decides the scores."""
        tracks = self.tracks
        return {
            "kind": "decision value",
            "codebook": self.new_book().settings(),
            "n_samples": self.n_samples,
            "descriptors": list(tracks.descriptors),
            "grids": listed(self.grids),
            "mirror": self.mirror,
            "places": self.places,
            "C": self.C,
            "extraction": [asdict(each) for each in tracks.passes],
            "seed": self.seed,
        }

    @property
    def tracks(self) -> Tracks:
        """What is read of every video."""
        changes = {"stabilise": self.stabilise, "normalise": self.normalise}
        given: dict[str, Any] = {name: value for name, value in changes.items() if value}
        base = ExtractOptions.preset(self.preset) if self.options is None else self.options
        steps = _steps(self.frame_steps)
        passes = tuple(replace(base, **given, frame_step=step) for step in steps)
        names = ExtractOptions(descriptors=tuple(listed(self.descriptors))).descriptors
        return Tracks(passes, names, mirror=self.mirror, places=self.places)

    def _learn(self, videos: Sequence[str | Path], folder: Path) -> np.ndarray:
        """Fit the codebook on training videos and encode them."""
        files = self._extract(videos, folder)
        self._fit_book(files, folder)
        self.encoder_ = self.encoder(self._book)
        return self._encode(files, folder)

    def _extract(self, videos: Sequence[str | Path], folder: Path) -> list[Files]:
        """Trajectory files of videos, extracted where they are not there yet."""
        return self.tracks.extract(videos, folder, workers=self.workers, verbose=self.verbose)

    def _fit_book(self, videos: Sequence[Files], folder: Path) -> None:
        """Fit the codebook, or take it from the folder."""
        book = self.new_book()
        settings = self.settings()
        read = [settings[name] for name in ("extraction", "descriptors", "mirror", "places")]
        of = [_name(files) for files in videos]
        self._key = _key([read, book.settings(), self.n_samples, self.seed, of, provenance()])
        path = folder / f"{self._key}.codebook.npz"
        if path.exists():
            self._book = type(book).load(path)
            return
        samples = self.tracks.sample(
            videos, n_rows=self.n_samples, seed=self.seed, verbose=self.verbose
        )
        self._book = book.fit(samples, extraction=self.tracks.settings())
        book.save(path)

    def _encode(self, videos: Sequence[Files], folder: Path) -> np.ndarray:
        """Encodings of videos, out of a file of the cache folder or made in memory."""
        encode = partial(_encode_video, self.tracks, self.encoder_)
        if self.cache is None:
            outcomes = run(
                encode, list(videos), label="encoding", workers=self.workers, verbose=self.verbose
            )
            return np.stack([outcome.result() for outcome in outcomes])
        ids = [f"{row} {_name(files)}" for row, files in enumerate(videos)]
        settings = {name: value for name, value in self.settings().items() if name != "C"}
        settings["codebook_key"] = self._key
        return encode_into(
            folder / f"{_key([settings, ids, provenance()])}.encodings.h5",
            encode,
            list(videos),
            ids=ids,
            n_columns=self.encoder_.n_features,
            settings=settings,
            workers=self.workers,
            verbose=self.verbose,
        ).values


def listed(names: str | Sequence[Any]) -> list[Any]:
    """Names as a list; text holds them with slashes between, as in ``"mbhx/mbhy"``."""
    return names.split("/") if isinstance(names, str) else list(names)


def _steps(given: int | str | Sequence[int]) -> list[int]:
    """Frame steps as a list, each once; text holds them as `listed` does."""
    try:
        steps = [given] if isinstance(given, int) else [int(step) for step in listed(given)]
    except ValueError:
        steps = []
    if not steps or min(steps) < 1 or len(set(steps)) < len(steps):
        raise ValueError(
            f"frame_steps must be whole numbers from 1, each once, got {given!r}; write 1/2/3"
        )
    return steps


def _name(files: Files) -> str:
    """Name of a video's trajectories, which changes with the video and with all settings."""
    return "+".join(path.stem for path in files)


def _key(content: object) -> str:
    """Name what is made of some settings: 20 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _encode_video(tracks: Tracks, encoder: Encoder, files: Files) -> np.ndarray:
    """Encoding of one video, float32 (n_features,)."""
    accumulator = encoder.accumulator()
    for batch in tracks.batches(files):
        accumulator.add(batch.descriptors, positions=batch.positions)
    return accumulator.finish()
