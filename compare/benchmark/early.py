"""Early fusion as a recogniser: encodings of several methods side by side, and one linear SVM.

Each video's block has length 1 before the blocks are joined, all of one weight. For a linear SVM
joined encodings and the sum of their kernels are one and the same (`compare.fusion.early`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compare.benchmark.effort import trained_before
from compare.fusion import Encodings, concatenate
from idt.jobs import Workers
from idt.svm import LinearSVM

MAX_ITER = 20_000  # network features are not centred and much alike, so the SVM settles slowly


class EarlyFusion:
    """Joined encodings of several recognisers and a linear SVM.

    Parameters
    ----------
    parts
        By label, what makes each recogniser; it takes the keywords `seed`, `workers`, `verbose` and
        `cache`, and what it makes has ``fit`` and ``encode``.
    C
        Of the SVM, above 0.
    seed, workers, verbose, cache
        Handed to every part; the seed also to the SVM.

    Attributes
    ----------
    parts_ : dict
        The fitted recognisers by label.
    svm_ : idt.svm.LinearSVM
    """

    def __init__(
        self,
        *,
        parts: Mapping[str, Callable[..., Any]],
        C: float = 100.0,
        seed: int = 0,
        workers: Workers = 1,
        verbose: bool = False,
        cache: str | Path | None = None,
    ) -> None:
        common = {"seed": seed, "workers": workers, "verbose": verbose, "cache": cache}
        self.parts_ = {label: make(**common) for label, make in parts.items()}
        self.C = C
        self.seed = seed

    def fit(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        *,
        groups: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> EarlyFusion:
        """Fit every part, and the SVM on their joined encodings.

        Parameters
        ----------
        videos
            Readable video files.
        labels
            Class of each, 0 to n_classes - 1.
        groups, class_names
            Handed to the parts.

        Returns
        -------
        EarlyFusion
            This object.
        """
        for part in self.parts_.values():
            part.fit(videos, labels, groups=groups, class_names=class_names)
        self.svm_ = LinearSVM(C=self.C, max_iter=MAX_ITER, seed=self.seed)
        self.svm_.fit(self.encode(videos), np.asarray(labels, np.int64))
        return self

    def encode(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Joined encodings, float32 (n_videos, sum of the parts' columns), rows of length 1."""
        ids = tuple(map(str, videos))
        blocks = [Encodings(ids, p.encode(videos), label) for label, p in self.parts_.items()]
        return concatenate(blocks).values.astype(np.float32, copy=False)

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Decision values, float32 (n_videos, n_classes); ValueError before `fit`."""
        if not hasattr(self, "svm_"):
            raise ValueError("the recogniser must be fitted first; call fit(videos, labels)")
        return np.asarray(self.svm_.decision_function(self.encode(videos)), np.float32)

    @property
    def n_parameters_(self) -> int:
        """How many numbers are kept: by the parts, with machines of their own, and by the SVM."""
        return sum(part.n_parameters_ for part in self.parts_.values()) + self.svm_.n_parameters

    @property
    def pretraining(self) -> str:
        """Data that weights of the parts were trained on before."""
        return trained_before([part.pretraining for part in self.parts_.values()])

    def settings(self) -> dict[str, Any]:
        """What decides the scores."""
        return {
            "recogniser": "joined encodings, linear SVM",
            "C": self.C,
            "parts": {label: part.settings() for label, part in self.parts_.items()},
            "seed": self.seed,
        }
