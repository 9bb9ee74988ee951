"""ImageNet features of a few frames and a linear SVM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deep import backbones, data
from deep.recogniser.inputs import cache_folder, checked_classes
from deep.train import reproducible
from idt import jobs
from idt.svm import LinearSVM

MAX_ITER = 20_000  # the features are not centred and much alike, so the SVM settles slowly


class FrameFeaturesRecogniser:
    """Mean ImageNet features of a few frames and a linear SVM: what stills give without training.

    Frames at equal spacing go whole through EfficientNet-Lite0; the last convolution's maps are
    averaged over space and frames and L2-normalised.

    Parameters
    ----------
    n_frames
        Frames per video, at least 1; a shorter video's are repeated.
    C
        Of the SVM, above 0.
    side
        Shorter side of the stored frames in pixels, at least 32.
    seed
        Of the order in which the SVM visits the videos.
    workers, verbose, cache
        As for `NetworkRecogniser`.

    Attributes
    ----------
    svm_
        The trained `idt.svm.LinearSVM`.
    """

    pretraining = "ImageNet"

    def __init__(
        self,
        *,
        n_frames: int = 8,
        C: float = 100.0,
        side: int = 128,
        seed: int = 0,
        workers: jobs.Workers = 1,
        verbose: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.n_frames = n_frames
        self.C = C
        self.side = side
        self.seed = seed
        self.workers = workers
        self.verbose = verbose
        self.cache = cache
        self._folder: Path | None = None

    def fit(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        *,
        groups: Sequence[Any] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> FrameFeaturesRecogniser:
        """Encode the videos and train the SVM; parameters and errors as `NetworkRecogniser.fit`.

        `groups` are not used.
        """
        self.class_names_ = checked_classes(videos, labels, class_names)
        encoded = self.encode(videos)
        self.svm_ = LinearSVM(C=self.C, max_iter=MAX_ITER, seed=self.seed)
        self.svm_.fit(encoded, np.asarray(labels, np.int64))
        return self

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Decision values, float32 (video, class)."""
        if not hasattr(self, "svm_"):
            raise ValueError("the SVM must be trained first, got none; call fit")
        if not len(videos):
            return np.zeros((0, len(self.class_names_)), np.float32)
        return np.asarray(self.svm_.decision_function(self.encode(videos)), np.float32)

    def encode(self, videos: Sequence[str | Path]) -> np.ndarray:
        """L2-normalised mean features, float32 (video, 1280)."""
        backbones.resolve("efficientnet-lite0")
        outcomes = data.store_all(
            videos,
            folder=self._cache_folder(),
            side=self.side,
            workers=self.workers,
            verbose=self.verbose,
        )
        stored = [outcome.result() for outcome in outcomes]
        rows = []
        with reproducible(self.seed), torch.inference_mode():
            network = backbones.build("efficientnet-lite0", 3).eval()
            self._n_weights = sum(weights.numel() for weights in network.parameters())
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (network.mean, network.std))
            for entry in jobs.progress(stored, label="features", verbose=self.verbose):
                images = torch.from_numpy(data.read_frames(entry, self.n_frames))
                images = images.contiguous(memory_format=torch.channels_last)
                maps = network((images - mean) / std)  # (frame, 1280, h, w)
                vector = maps.mean(dim=(0, 2, 3))
                rows.append((vector / vector.norm()).numpy())
        return np.stack(rows).astype(np.float32)

    def _cache_folder(self) -> Path:
        if self._folder is None:
            self._folder = cache_folder(self, self.cache)
        return self._folder

    @property
    def n_parameters_(self) -> int:
        """How many numbers scoring takes: of the backbone and the SVM."""
        return self._n_weights + self.svm_.n_parameters

    def settings(self) -> dict[str, Any]:
        """Say what made the result, all of it, JSON-able."""
        return {
            "backbone": "efficientnet-lite0",
            "n_frames": self.n_frames,
            "C": self.C,
            "side": self.side,
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
