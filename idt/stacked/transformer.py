"""Stacked Fisher vectors in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from idt.codebook import MAX_SAMPLE, Codebook, draw_rows
from idt.codebook.videos import Video
from idt.stacked.codebook import StackedCodebook
from idt.stacked.encoder import StackedEncoder
from idt.transformer import VideoTransformer, check_videos


class StackedFisherVectors(VideoTransformer):
    """Stacked Fisher vectors of videos: both layers are fitted on samples of them.

    X is a list of videos, each an `idt.trajectories.Trajectories` or arrays by name, (n, dimension)
    and ``positions``, (n, 3): the same n trajectories in every array, x, y and time in the video
    from 0 to 1.

    Parameters
    ----------
    n_components, reduction, whiten, max_iter, tol, variance_floor
        Of the first layer's `idt.codebook.Codebook`; all but the first for the second layer, too.
    n_samples
        Trajectories over all videos that the first layer is fitted on.
    n_stacked
        Gaussians of the second layer.
    n_reduced, projection, penalty, min_rows, n_local
        Of `StackedCodebook`.
    plain
        Put the plain Fisher vector first.
    seed
        Of the samples and of all that is fitted on them.

    Attributes
    ----------
    codebook_ : StackedCodebook
    encoder_ : StackedEncoder
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        n_samples: int = MAX_SAMPLE,
        reduction: float = 0.5,
        whiten: bool = True,
        max_iter: int = 100,
        tol: float = 5e-3,
        variance_floor: float = 1e-3,
        n_stacked: int = 256,
        n_reduced: int = 200,
        projection: str = "margin",
        penalty: float = 1e-2,
        min_rows: int = 30,
        n_local: int = 4096,
        plain: bool = True,
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.n_samples = n_samples
        self.reduction = reduction
        self.whiten = whiten
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.n_stacked = n_stacked
        self.n_reduced = n_reduced
        self.projection = projection
        self.penalty = penalty
        self.min_rows = min_rows
        self.n_local = n_local
        self.plain = plain
        self.seed = seed

    codebook_: StackedCodebook
    encoder_: StackedEncoder

    def fit(self, X: Sequence[Video], y: ArrayLike | None = None) -> StackedFisherVectors:
        """Draw trajectories and fit the first layer, then the second on its vectors.

        Parameters
        ----------
        X
            Training videos.
        y
            (n_videos,), labels, needed by the projection ``"margin"``.

        Returns
        -------
        StackedFisherVectors
            This object.

        Raises
        ------
        ValueError
            X is no list of videos; descriptors are not finite, not those of the other videos or
            were extracted with other settings; trajectories, or sub-volumes that hold enough of
            them, are too few; labels are missing, of another length or all the same; an option
            cannot be used.
        """
        videos = check_videos(X)
        first = Codebook(
            self.n_components,
            reduction=self.reduction,
            whiten=self.whiten,
            max_iter=self.max_iter,
            tol=self.tol,
            variance_floor=self.variance_floor,
            seed=self.seed,
        )
        samples, extraction = draw_rows(videos, n_rows=self.n_samples, seed=self.seed)
        first.fit(samples, extraction=extraction)
        codebook = StackedCodebook(
            first,
            n_components=self.n_stacked,
            n_reduced=self.n_reduced,
            projection=self.projection,
            penalty=self.penalty,
            min_rows=self.min_rows,
            n_local=self.n_local,
            seed=self.seed,
        )
        self.codebook_ = codebook.fit(videos, y)
        self.encoder_ = StackedEncoder(codebook, plain=self.plain)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.projection == "margin"
        return tags
