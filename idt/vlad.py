r"""VLAD: vectors of locally aggregated descriptors.

Each row of a descriptor belongs to its nearest word. For a word :math:`\mu_k` the vector holds

.. math:: v_k = \sum_{x:\, NN(x) = k} (x - \mu_k)

for every descriptor and every cell of the grids. Then, by option: a signed square root of every
number, L2 norm 1 for each :math:`v_k` (intra-normalisation), and always L2 norm 1 for each
descriptor and cell, in this order.

References
----------
Jégou, Douze, Schmid and Pérez, Aggregating local descriptors into a compact image representation,
CVPR 2010, section 3.2. Jégou, Perronnin, Douze, Sánchez, Pérez and Schmid, Aggregating local image
descriptors into compact codes, TPAMI 2012: PCA of the descriptors before, square root. Arandjelović
and Zisserman, All about VLAD, CVPR 2013, section 3.1: intra-normalisation, there in the place of
the square root.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from idt.codebook import MAX_SAMPLE, KMeans, Vocabulary, draw_rows
from idt.codebook.kmeans import add_rows
from idt.codebook.videos import Video
from idt.grids import parse_grids
from idt.transformer import VideoTransformer, check_videos
from idt.words import WordEncoder, words_of


class VLAD(VideoTransformer):
    """VLAD of videos: the words are found on a sample of their trajectories.

    X is a list of videos, each an `idt.trajectories.Trajectories` or arrays by name, (n, dimension)
    with the same n trajectories in every array. Where a grid divides the video, arrays take one
    more by the name ``positions``: (n, 3), x, y and time in the video, from 0 to 1.

    Parameters
    ----------
    n_words, reduction, whiten, n_init, max_iter, tol
        Of `idt.codebook.Vocabulary`; here with PCA to half the dimension, as for Fisher vectors.
    n_samples
        Trajectories over all videos that PCA and words are found on.
    root, intra, grids
        Of `vlad_encoder`.
    seed
        Of the sample and of the k-means starts.

    Attributes
    ----------
    vocabulary_ : Vocabulary
    encoder_ : idt.words.WordEncoder
        Its `parts` and `channels` say what stands where.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import LinearSVC
    >>> model = make_pipeline(VLAD(n_words=64, intra=True), LinearSVC(C=100))
    """

    def __init__(
        self,
        n_words: int = 256,
        *,
        n_samples: int = MAX_SAMPLE,
        root: bool = True,
        intra: bool = False,
        grids: Sequence[str] = ("1x1x1",),
        reduction: float | None = 0.5,
        whiten: bool = False,
        n_init: int = 8,
        max_iter: int = 100,
        tol: float = 1e-4,
        seed: int = 0,
    ) -> None:
        self.n_words = n_words
        self.n_samples = n_samples
        self.root = root
        self.intra = intra
        self.grids = grids
        self.reduction = reduction
        self.whiten = whiten
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.seed = seed

    vocabulary_: Vocabulary
    encoder_: WordEncoder

    def fit(self, X: Sequence[Video], y: object = None) -> VLAD:
        """Draw trajectories, find PCA and words.

        Parameters
        ----------
        X
            Training videos.
        y
            Not used.

        Returns
        -------
        VLAD
            This object.

        Raises
        ------
        ValueError
            X is no list of videos; descriptors are not finite, not those of the other videos or
            were extracted with other settings; trajectories are fewer than words; an option cannot
            be used.
        """
        parse_grids(self.grids)  # refuses what it cannot use before words are looked for
        vocabulary = Vocabulary(
            self.n_words,
            reduction=self.reduction,
            whiten=self.whiten,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            seed=self.seed,
        )
        samples, extraction = draw_rows(check_videos(X), n_rows=self.n_samples, seed=self.seed)
        vocabulary.fit(samples, extraction=extraction)
        self.encoder_ = vlad_encoder(vocabulary, root=self.root, intra=self.intra, grids=self.grids)
        self.vocabulary_ = vocabulary
        return self


def vlad_encoder(
    vocabulary: Vocabulary,
    *,
    root: bool = True,
    intra: bool = False,
    grids: Iterable[str] = ("1x1x1",),
) -> WordEncoder:
    """VLAD by a vocabulary that is fitted already.

    Parameters
    ----------
    vocabulary
        Fitted.
    root
        Signed square root of every number.
    intra
        L2 norm 1 for the numbers of each word.
    grids
        Names of spatio-temporal grids, see `idt.grids.Grid.parse`.

    Returns
    -------
    WordEncoder
        A channel is (n_words, dimension after reduction).
    """
    words = words_of(vocabulary)
    return WordEncoder(
        vocabulary,
        shapes={name: each.centres_.shape for name, each in words.items()},
        starts={
            name: partial(_Residuals, each, root=root, intra=intra) for name, each in words.items()
        },
        grids=grids,
    )


class _Residuals:
    """Summed residuals of one descriptor, by cell and word."""

    def __init__(self, words: KMeans, n_cells: int, *, root: bool, intra: bool) -> None:
        self._words = words
        self._root = root
        self._intra = intra
        self._sums = np.zeros((n_cells, *words.centres_.shape))

    def add(self, rows: np.ndarray, cells: np.ndarray) -> None:
        """Add rows (n, dimension), each in the cells (n_grids, n)."""
        n_cells, n_words, dimension = self._sums.shape
        nearest = self._words.predict(rows)
        residuals = rows - self._words.centres_[nearest]
        sums = self._sums.reshape(n_cells * n_words, dimension)
        for of_grid in cells:
            add_rows(residuals, of_grid * n_words + nearest, sums)

    def finish(self) -> np.ndarray:
        """Return the vector of each cell, float64 (n_cells, n_words * dimension)."""
        sums = self._sums
        if self._root:
            sums = np.sign(sums) * np.sqrt(np.abs(sums))
        if self._intra:
            sums = _scale(sums)
        return _scale(sums.reshape(len(sums), -1))


def _scale(vectors: np.ndarray) -> np.ndarray:
    """Vectors along the last axis, of L2 norm 1; zeros stay."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)
