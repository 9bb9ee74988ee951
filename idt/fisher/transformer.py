"""Fisher vectors in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Sequence

from idt.codebook import MAX_SAMPLE, Codebook, draw_rows
from idt.codebook.videos import Video
from idt.fisher.encoder import FisherVectorEncoder
from idt.transformer import VideoTransformer, check_videos


class FisherVectors(VideoTransformer):
    """Fisher vectors of videos: the codebook is fitted on a sample of their trajectories.

    X is a list of videos, each an `idt.trajectories.Trajectories` or arrays by name, (n, dimension)
    with the same n trajectories in every array. Where a grid divides the video, arrays take one
    more by the name ``positions``: (n, 3), x, y and time in the video, from 0 to 1.

    Parameters
    ----------
    n_components, pca, reduction, whiten, max_iter, tol, variance_floor
        Of `idt.codebook.Codebook`.
    n_samples
        Trajectories over all videos that the codebook is fitted on.
    improved, weights, grids, final_l2
        Of `idt.fisher.FisherVectorEncoder`.
    seed
        Of the sample and of the k-means starts.
    backend
        ``"native"`` or ``"vlfeat"``, for mixtures and vectors.

    Attributes
    ----------
    codebook_ : Codebook
    encoder_ : FisherVectorEncoder

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import LinearSVC
    >>> model = make_pipeline(FisherVectors(n_components=64), LinearSVC(C=100))
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        n_samples: int = MAX_SAMPLE,
        pca: str = "descriptor",
        reduction: float = 0.5,
        whiten: bool = False,
        max_iter: int = 100,
        tol: float = 5e-3,
        variance_floor: float = 1e-3,
        improved: bool = True,
        weights: bool = False,
        grids: Sequence[str] = ("1x1x1",),
        final_l2: bool = False,
        seed: int = 0,
        backend: str = "native",
    ) -> None:
        self.n_components = n_components
        self.n_samples = n_samples
        self.pca = pca
        self.reduction = reduction
        self.whiten = whiten
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.improved = improved
        self.weights = weights
        self.grids = grids
        self.final_l2 = final_l2
        self.seed = seed
        self.backend = backend

    codebook_: Codebook
    encoder_: FisherVectorEncoder

    def fit(self, X: Sequence[Video], y: object = None) -> FisherVectors:
        """Draw trajectories and fit the codebook.

        Parameters
        ----------
        X
            Training videos.
        y
            Not used.

        Returns
        -------
        FisherVectors
            This object.

        Raises
        ------
        ValueError
            X is no list of videos; descriptors are not finite, not those of the other videos or
            were extracted with other settings; trajectories are fewer than components; an option
            cannot be used.
        ModuleNotFoundError
            The backend is VLFeat, and cyvlfeat is not installed.
        """
        codebook = Codebook(
            self.n_components,
            pca=self.pca,
            reduction=self.reduction,
            whiten=self.whiten,
            max_iter=self.max_iter,
            tol=self.tol,
            variance_floor=self.variance_floor,
            seed=self.seed,
            backend=self.backend,
        )
        samples, extraction = draw_rows(check_videos(X), n_rows=self.n_samples, seed=self.seed)
        codebook.fit(samples, extraction=extraction)
        self.encoder_ = FisherVectorEncoder(
            codebook,
            improved=self.improved,
            weights=self.weights,
            grids=self.grids,
            final_l2=self.final_l2,
            backend=self.backend,
        )
        self.codebook_ = codebook
        return self
