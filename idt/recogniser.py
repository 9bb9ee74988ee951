"""Recognisers of the handcrafted family, behind fit and scores.

`FisherVectorRecogniser` is the classical pipeline: improved dense trajectories, per-descriptor PCA
and GMM, improved Fisher vectors, linear SVM. `FlowHistogramRecogniser` is a yardstick: what a grid
of flow histograms gets without any tracking.

References
----------
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 4.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from idt.codebook import MAX_SAMPLE, Codebook, RowSampler
from idt.descriptors import HOF
from idt.extract import Extraction, ExtractOptions
from idt.fisher import FisherVectorEncoder
from idt.flow import dis
from idt.histogram import Votes, integrate
from idt.jobs import file_key, progress, run, whole_file
from idt.pyramid import to_grey
from idt.svm import LinearSVM
from idt.trajectories import Trajectories, provenance
from idt.video import frames


class FisherVectorRecogniser:
    """Improved dense trajectories, Fisher vectors and a linear SVM.

    Parameters
    ----------
    n_components
        Gaussians of every descriptor's mixture.
    n_samples
        Trajectories, over all training videos, that PCA and mixtures are trained on.
    C
        Cost of the SVM.
    preset
        Settings of the extraction by name, see `idt.extract.PRESETS`.
    options
        Settings of the extraction; they win over the preset where given.
    seed
        Of sampling and of the mixtures.
    workers
        Processes that extract and encode.
    verbose
        Show progress on standard error.
    cache
        Folder that keeps the trajectories of every video; None keeps them for the call only.

    Attributes
    ----------
    codebook_ : Codebook
    svm_ : LinearSVM
    """

    def __init__(
        self,
        *,
        n_components: int = 256,
        n_samples: int = MAX_SAMPLE,
        C: float = 100.0,
        preset: str = "parity",
        options: ExtractOptions | None = None,
        seed: int = 0,
        workers: int = 1,
        verbose: bool = False,
        cache: str | Path | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_samples = n_samples
        self.C = C
        self.preset = preset
        self.options = options
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
    ) -> FisherVectorRecogniser:
        """Train codebooks and classifier.

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
        """
        targets = check_labels(videos, labels, class_names)
        with _folder(self.cache) as folder:
            paths = self._extract(videos, folder)
            self.codebook_ = Codebook(n_components=self.n_components, seed=self.seed)
            self.codebook_.fit(self._sample(paths))
            encodings = self._encode(paths)
        self.svm_ = LinearSVM(C=self.C, seed=self.seed).fit(encodings, targets)
        return self

    def encode(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Fisher vectors of videos, float32 (n_videos, 2 * n_components * sum of dimensions)."""
        self._check_fitted()
        with _folder(self.cache) as folder:
            return self._encode(self._extract(videos, folder))

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Decision values, float32 (n_videos, n_classes)."""
        self._check_fitted()
        return self.svm_.decision_function(self.encode(videos))

    def settings(self) -> dict[str, Any]:
        """What decides the scores."""
        return {
            "recogniser": "improved dense trajectories, Fisher vectors, linear SVM",
            "kind": "decision value",
            "n_components": self.n_components,
            "n_samples": self.n_samples,
            "C": self.C,
            "extraction": asdict(self._extraction_options()),
            "seed": self.seed,
        }

    def _check_fitted(self) -> None:
        if not hasattr(self, "svm_"):
            raise ValueError("the recogniser must be fitted first; call fit(videos, labels)")

    def _extraction_options(self) -> ExtractOptions:
        return ExtractOptions.preset(self.preset) if self.options is None else self.options

    def _extract(self, videos: Sequence[str | Path], folder: Path) -> list[Path]:
        """Trajectory files of videos, extracted where they are not there yet."""
        function = partial(_extract_into, folder, self._extraction_options())
        outcomes = run(
            function,
            list(videos),
            label="trajectories",
            workers=self.workers,
            verbose=self.verbose,
        )
        return [outcome.result() for outcome in outcomes]

    def _sample(self, paths: Sequence[Path]) -> dict[str, np.ndarray]:
        """Draw trajectories over all videos alike."""
        sampler = RowSampler(self.n_samples, seed=self.seed)
        for path in progress(paths, label="sampling", verbose=self.verbose):
            sampler.add(Trajectories.load(path).descriptors)
        if sampler.n_seen == 0:
            raise ValueError(
                "training videos must hold trajectories, got none in any of them; "
                "they need more frames than a track is long, and motion"
            )
        return sampler.sample()

    def _encode(self, paths: Sequence[Path]) -> np.ndarray:
        """Fisher vectors of trajectory files."""
        function = partial(_encode_file, FisherVectorEncoder(self.codebook_))
        outcomes = run(
            function, list(paths), label="encoding", workers=self.workers, verbose=self.verbose
        )
        return np.stack([outcome.result() for outcome in outcomes])


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
        As in `FisherVectorRecogniser`.

    Attributes
    ----------
    svm_ : LinearSVM
    """

    def __init__(
        self,
        *,
        grid: int = 4,
        side: int = 120,
        C: float = 100.0,
        seed: int = 0,
        workers: int = 1,
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
        """Train the classifier; the parameters are those of `FisherVectorRecogniser.fit`."""
        targets = check_labels(videos, labels, class_names)
        self.svm_ = LinearSVM(C=self.C, seed=self.seed).fit(self.encode(videos), targets)
        return self

    def encode(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Histograms of videos, float32 (n_videos, grid * grid * 9)."""
        with _folder(self.cache) as folder:
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


def check_labels(
    videos: Sequence[str | Path], labels: Sequence[int], class_names: Sequence[str] | None
) -> np.ndarray:
    """Check that labels fit the videos and that no class is empty; returns them as int64 (n,)."""
    targets = np.asarray(labels)
    if len(videos) == 0:
        raise ValueError("videos must hold at least one video, got none; check the training list")
    if targets.shape != (len(videos),):
        raise ValueError(
            f"labels must be one for each of the {len(videos)} videos, got an array of shape "
            f"{targets.shape}; pass both from the same list"
        )
    if not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0:
        raise ValueError(
            f"labels must be whole numbers from 0, got {targets.dtype} from {targets.min()}; "
            "number the classes"
        )
    n_classes = int(targets.max()) + 1 if class_names is None else len(class_names)
    if targets.max() >= n_classes:
        raise ValueError(
            f"labels must be below the number of classes {n_classes}, got {targets.max()}; "
            "name every class"
        )
    empty = np.setdiff1d(np.arange(n_classes), targets)
    if len(empty):
        names = [str(k) if class_names is None else class_names[k] for k in empty]
        raise ValueError(
            f"every class must have a training video, got none for {', '.join(names)}; "
            "add one or leave the class out"
        )
    return targets.astype(np.int64)


@contextmanager
def _folder(cache: str | Path | None) -> Iterator[Path]:
    """The cache folder, made if needed, or a temporary one."""
    if cache is not None:
        Path(cache).mkdir(parents=True, exist_ok=True)
        yield Path(cache)
    else:
        with tempfile.TemporaryDirectory(prefix="trajfuse-") as name:
            yield Path(name)


def _extract_into(folder: Path, options: ExtractOptions, video: str | Path) -> Path:
    """Trajectory file of a video in a folder, extracted if it is not there yet."""
    settings = {"extraction": asdict(options), "versions": provenance()}
    path = folder / f"{Path(video).stem[:60]}-{file_key(video, settings)}.h5"
    if not path.exists():
        Extraction(video, options=options).save(path)
    return path


def _encode_file(encoder: FisherVectorEncoder, path: Path) -> np.ndarray:
    """Fisher vector of a trajectory file."""
    return encoder.encode(Trajectories.load(path).descriptors)


def _flow_histogram_into(folder: Path, grid: int, side: int, video: str | Path) -> np.ndarray:
    """Flow histogram of a video, kept in a folder."""
    settings = {"grid": grid, "side": side, "versions": provenance()}
    path = folder / f"{Path(video).stem[:60]}-{file_key(video, settings)}.flow-hist.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    histogram = _flow_histogram(video, grid, side)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, histogram)
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


RECOGNISERS: dict[str, Callable[..., Any]] = {
    "idt-fv": FisherVectorRecogniser,
    "flow-hist": FlowHistogramRecogniser,
}
