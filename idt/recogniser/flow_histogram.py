"""A yardstick: what a grid of flow histograms gets without any tracking."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from idt.arrays import BrokenArrayError, read_npy
from idt.descriptors import HOF
from idt.flow import dis
from idt.histogram import Votes, integrate
from idt.jobs import Workers, file_key, run, whole_file
from idt.pyramid import to_grey
from idt.recogniser.labels import check_labels
from idt.recogniser.tracks import folder_of
from idt.svm import LinearSVM
from idt.trajectories import provenance
from idt.video import frames


class FlowHistogramRecogniser:
    """A yardstick: histograms of flow on a grid, averaged over the video, and a linear SVM.

    Frames are shrunk until the shorter side has `side` pixels; DIS flow votes for eight directions
    and a zero bin, as HOF does, in `grid` x `grid` cells. The root-L1 normalised histograms of all
    frames are averaged.

    Parameters
    ----------
    grid
        Cells along x and along y.
    side
        Shorter side in pixels at which the flow is computed.
    C
        Cost of the SVM.
    seed, workers, verbose, cache
        As in `idt.recogniser.FisherVectorRecogniser`.

    Attributes
    ----------
    svm_ : LinearSVM
    """

    pretraining = "nothing"

    def __init__(
        self,
        *,
        grid: int = 4,
        side: int = 120,
        C: float = 100.0,
        seed: int = 0,
        workers: Workers = 1,
        verbose: bool = False,
        cache: str | Path | None = None,
    ) -> None:
        self.grid = grid
        self.side = side
        self.C = C
        self.seed = seed
        self.workers = workers
        self.verbose = verbose
        self.cache = cache

    def fit(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        *,
        groups: Sequence[object] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> FlowHistogramRecogniser:
        """Train the classifier; the parameters are `FisherVectorRecogniser.fit`'s."""
        targets = check_labels(videos, labels, class_names)
        self.svm_ = LinearSVM(C=self.C, seed=self.seed).fit(self.encode(videos), targets)
        return self

    def encode(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Histograms of videos, float32 (n_videos, grid * grid * 9)."""
        with folder_of(self.cache) as folder:
            outcomes = run(
                partial(_flow_histogram_into, folder, self.grid, self.side),
                list(videos),
                label="flow histograms",
                workers=self.workers,
                verbose=self.verbose,
            )
        return np.stack([outcome.result() for outcome in outcomes])

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Decision values, float32 (n_videos, n_classes)."""
        if not hasattr(self, "svm_"):
            raise ValueError("the recogniser must be fitted first; call fit(videos, labels)")
        return self.svm_.decision_function(self.encode(videos))

    @property
    def n_parameters_(self) -> int:
        """How many numbers scoring takes: the machine's."""
        return self.svm_.n_parameters

    def settings(self) -> dict[str, Any]:
        """What decides the scores."""
        return {
            "recogniser": "grid of flow histograms, linear SVM",
            "kind": "decision value",
            "grid": self.grid,
            "side": self.side,
            "flow": "DIS",
            "C": self.C,
            "seed": self.seed,
        }


def _flow_histogram_into(folder: Path, grid: int, side: int, video: str | Path) -> np.ndarray:
    """Flow histogram of a video, kept in a folder."""
    settings = {"grid": grid, "side": side, "versions": provenance()}
    path = folder / f"{Path(video).stem[:60]}-{file_key(video, settings)}.flow-hist.npy"
    if path.exists():
        return _kept_histogram(path, grid * grid * HOF.n_bins)
    histogram = _flow_histogram(video, grid, side)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, histogram)
    return histogram


def _kept_histogram(path: Path, n_columns: int) -> np.ndarray:
    """Read a histogram that was kept, float32 (n_columns,)."""
    try:
        histogram = read_npy(path)
        if histogram.shape != (n_columns,) or histogram.dtype != np.float32:
            raise BrokenArrayError(f"it holds {histogram.dtype} {histogram.shape}")
    except (OSError, BrokenArrayError) as error:
        raise ValueError(
            f"{str(path)!r} must be a kept flow histogram, got a broken one ({error}); delete it"
        ) from error
    return histogram


def _flow_histogram(video: str | Path, grid: int, side: int) -> np.ndarray:
    """Mean over the frames of root-L1 normalised flow histograms on a grid, float32 (n,)."""
    previous: np.ndarray | None = None
    total = np.zeros(grid * grid * HOF.n_bins, np.float64)
    n_pairs = 0
    for frame in frames(video):
        scale = max(side / min(frame.shape[:2]), 16 / min(frame.shape[:2]))
        size = (max(round(frame.shape[1] * scale), 16), max(round(frame.shape[0] * scale), 16))
        current = cv2.resize(to_grey(frame), size, interpolation=cv2.INTER_AREA)
        if previous is not None:
            flow = np.ascontiguousarray(np.moveaxis(dis(previous, current), -1, 0))
            votes = Votes.empty(*current.shape)
            HOF.vote(previous, flow, votes)
            integral = integrate(votes, HOF.n_bins)
            rows = np.linspace(0, current.shape[0], grid + 1).round().astype(int)
            columns = np.linspace(0, current.shape[1], grid + 1).round().astype(int)
            corners = integral[np.ix_(rows, columns)].astype(np.float64)
            cells = np.diff(np.diff(corners, axis=0), axis=1).clip(min=0)
            total += np.sqrt(cells.ravel() / max(cells.sum(), 1e-12))
            n_pairs += 1
        previous = current
    return (total / max(n_pairs, 1)).astype(np.float32)
