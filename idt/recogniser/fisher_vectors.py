"""Fisher vectors of trajectories and a linear support vector machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from idt.codebook import MAX_SAMPLE, Codebook
from idt.fisher import FisherVectorEncoder
from idt.rank_pooling import RankPooledEncoder, check_spans
from idt.recogniser.pipeline import TrajectoryRecogniser, listed
from idt.svm import LinearSVM


@dataclass(kw_only=True, eq=False)
class FisherVectorRecogniser(TrajectoryRecogniser):
    """Improved dense trajectories, Fisher vectors and a linear SVM.

    Where an option is a list it may be given as text with slashes between, as in
    ``descriptors="mbhx/mbhy"``.

    Parameters
    ----------
    n_components
        Gaussians of every mixture.
    n_samples
        Trajectories, over all training videos, that PCA and mixtures are trained on.
    pca, reduction, whiten, max_iter
        Of `idt.codebook.Codebook`.
    grids
        Names of spatio-temporal grids, see `idt.grids.Grid.parse`.
    rank_pooling
        Spans of time whose Fisher vectors are pooled by rank beside those of the grids, see
        `idt.rank_pooling`; 0 pools none.
    C
        Cost of the SVM.
    descriptors
        Names of those that are encoded.
    preset
        Settings of the extraction by name, see `idt.extract.PRESETS`.
    options
        Settings of the extraction instead of the preset's.
    stabilise, normalise
        Of `idt.extract.ExtractOptions`; they win over preset and options.
    frame_steps
        Extract once for each of these steps from frame to frame, and encode the trajectories of
        all of them together (multi-skip feature stacking).
    mirror
        Encode every trajectory a second time as in a mirror, so that left and right are alike.
    places
        Append x, y and time in the video, each from 0 to 1, to every descriptor before its PCA.
    seed
        Of sampling, mixtures and SVM.
    workers
        Processes that extract and encode, or an executor, as for `idt.jobs.run`.
    verbose
        Show progress on standard error.
    cache
        Folder that keeps trajectories, codebooks and encodings; None keeps them for the call only.
        Workers on other machines need one that they see.

    Attributes
    ----------
    codebook_ : Codebook
    encoder_ : FisherVectorEncoder or RankPooledEncoder
    svm_ : LinearSVM

    References
    ----------
    Wang and Schmid, Action recognition with improved trajectories, ICCV 2013, section 4. Frame
    steps: Lan, Lin, Li, Hauptmann and Raj, Beyond Gaussian pyramid: multi-skip feature stacking for
    action recognition, CVPR 2015.
    """

    n_components: int = 256
    n_samples: int = MAX_SAMPLE
    pca: str = "descriptor"
    reduction: float = 0.5
    whiten: bool = False
    max_iter: int = 100
    rank_pooling: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be used before any work."""
        super().__post_init__()
        if self.rank_pooling:
            check_spans(self.rank_pooling)

    @property
    def codebook_(self) -> Codebook:
        """PCA and mixtures, once fitted."""
        return self._book

    def settings(self) -> dict[str, Any]:
        """What decides the scores."""
        return {
            "recogniser": "Fisher vectors, linear SVM",
            "n_components": self.n_components,
            "rank_pooling": self.rank_pooling,
            **super().settings(),
        }

    def new_book(self) -> Codebook:
        """Make a codebook that is not fitted yet."""
        return Codebook(
            self.n_components,
            pca=self.pca,
            reduction=self.reduction,
            whiten=self.whiten,
            max_iter=self.max_iter,
            seed=self.seed,
        )

    def encoder(self, book: Codebook) -> FisherVectorEncoder | RankPooledEncoder:
        """Make what encodes by a fitted codebook."""
        grids = listed(self.grids)
        if self.rank_pooling:
            return RankPooledEncoder(book, grids=grids, n_spans=self.rank_pooling)
        return FisherVectorEncoder(book, grids=grids)

    def new_machine(self, encoder: object) -> LinearSVM:
        """Make a machine that is not trained yet."""
        return LinearSVM(C=self.C, seed=self.seed)
