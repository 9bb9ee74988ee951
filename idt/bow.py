r"""Bag of features: how often each word of a vocabulary is met in a video.

Every descriptor, and every cell of every grid, has a histogram of its own, a channel: the
:math:`\chi^2` kernel takes them one by one. A row :math:`x` of a descriptor adds to the histogram
of each cell that it lies in, by one of three codings of :math:`x` over the words :math:`d_k`:

- ``"hard"``: 1 for the nearest word.
- ``"omp"``: :math:`|c_k|`, the coefficients of few words of length 1 that rebuild :math:`x`, found
  by orthogonal matching pursuit for each row by itself. scikit-learn's solver takes all rows at
  once, which is sometimes called simultaneous, too.
- ``"somp"``: simultaneous orthogonal matching pursuit in the strict sense. All rows :math:`X` of a
  cell are rebuilt by the same few words. A step takes the word with the largest
  :math:`\|R^\top d_k\|_2`, R being what the words so far leave of X, and the histogram holds the
  root mean square over rows of each word's coefficients. With this norm all of it follows from the
  second moments :math:`X X^\top`, summed as rows come; scikit-learn has no such solver.

Every histogram is then scaled to L1 norm 1, or L2 by option.

References
----------
Wang, Kläser, Schmid and Liu, Dense trajectories and motion boundary descriptors for action
recognition, IJCV 2013, section 5.1. Pati, Rezaiifar and Krishnaprasad, Orthogonal matching pursuit,
Asilomar 1993. Tropp, Gilbert and Strauss, Algorithms for simultaneous sparse approximation, part I,
Signal Processing 2006; the 2-norm over rows where they have the 1-norm is that of Cotter, Rao,
Engan and Kreutz-Delgado, Sparse solutions to linear inverse problems with multiple measurement
vectors, IEEE Transactions on Signal Processing 2005 (M-OMP).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from sklearn.linear_model import orthogonal_mp

from idt.codebook import KMeans, Vocabulary, draw_rows
from idt.codebook.videos import Video
from idt.codebook.vocabulary import WORD_SAMPLE
from idt.grids import parse_grids
from idt.transformer import VideoTransformer, check_videos
from idt.words import ChannelSums, WordEncoder, words_of

CODINGS = ("hard", "omp", "somp")
NORMS = ("l1", "l2")
BLOCK_ROWS = 1024  # pursued at a time: coefficients of all words, 32 MB for 4,000
LEAST_POWER = 1e-10  # share of what is to be rebuilt, below which nothing is left
# Rows (n, dimension) to places among them, words and weights, (number of words met,) each.
Code: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class BagOfFeatures(VideoTransformer):
    """Bags of features of videos: the words are found on a sample of their trajectories.

    X is a list of videos, each an `idt.trajectories.Trajectories` or arrays by name, (n, dimension)
    with the same n trajectories in every array. Where a grid divides the video, arrays take one
    more by the name ``positions``: (n, 3), x, y and time in the video, from 0 to 1.

    Parameters
    ----------
    n_words, reduction, whiten, n_init, max_iter, tol
        Of `idt.codebook.Vocabulary`.
    n_samples
        Trajectories over all videos that the words are found on.
    coding, n_nonzero, norm, grids
        Of `bag_encoder`.
    seed
        Of the sample and of the k-means starts.

    Attributes
    ----------
    vocabulary_ : Vocabulary
    encoder_ : idt.words.WordEncoder
        Its `channels` say where the histogram of each descriptor and cell stands.

    Examples
    --------
    >>> bags = BagOfFeatures(n_words=1000, grids=["1x1x1", "h3x1", "t2"])
    >>> X = bags.fit_transform(videos)  # doctest: +SKIP
    >>> channels = list(bags.encoder_.channels.values())  # doctest: +SKIP
    """

    def __init__(
        self,
        n_words: int = 4000,
        *,
        n_samples: int = WORD_SAMPLE,
        coding: str = "hard",
        n_nonzero: int = 5,
        norm: str = "l1",
        grids: Sequence[str] = ("1x1x1",),
        reduction: float | None = None,
        whiten: bool = False,
        n_init: int = 8,
        max_iter: int = 100,
        tol: float = 1e-4,
        seed: int = 0,
    ) -> None:
        self.n_words = n_words
        self.n_samples = n_samples
        self.coding = coding
        self.n_nonzero = n_nonzero
        self.norm = norm
        self.grids = grids
        self.reduction = reduction
        self.whiten = whiten
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.seed = seed

    vocabulary_: Vocabulary
    encoder_: WordEncoder

    def fit(self, X: Sequence[Video], y: object = None) -> BagOfFeatures:
        """Draw trajectories and find the words.

        Parameters
        ----------
        X
            Training videos.
        y
            Not used.

        Returns
        -------
        BagOfFeatures
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
        sizes = {
            name: (self.n_words, vocabulary.reduced_dimension(rows.shape[1]))
            for name, rows in samples.items()
        }
        check_coding(self.coding, n_nonzero=self.n_nonzero, norm=self.norm, sizes=sizes)
        vocabulary.fit(samples, extraction=extraction)
        self.encoder_ = bag_encoder(
            vocabulary,
            coding=self.coding,
            n_nonzero=self.n_nonzero,
            norm=self.norm,
            grids=self.grids,
        )
        self.vocabulary_ = vocabulary
        return self


def bag_encoder(
    vocabulary: Vocabulary,
    *,
    coding: str = "hard",
    n_nonzero: int = 5,
    norm: str = "l1",
    grids: Iterable[str] = ("1x1x1",),
) -> WordEncoder:
    """Bags of features by a vocabulary that is fitted already.

    Parameters
    ----------
    vocabulary
        Fitted.
    coding
        ``"hard"``, ``"omp"`` or ``"somp"``, see the head of this module.
    n_nonzero
        Words that a row, or with ``"somp"`` a cell, is rebuilt by: at most as many as words, and as
        the words have dimensions. Not used by ``"hard"``.
    norm
        ``"l1"`` or ``"l2"``, of every channel.
    grids
        Names of spatio-temporal grids, see `idt.grids.Grid.parse`.

    Returns
    -------
    WordEncoder

    Raises
    ------
    ValueError
        An option is not one of these.
    """
    words = words_of(vocabulary)
    sizes = {name: each.centres_.shape for name, each in words.items()}
    check_coding(coding, n_nonzero=n_nonzero, norm=norm, sizes=sizes)
    starts: dict[str, Callable[[int], ChannelSums]] = {}
    for name, each in words.items():
        if coding == "somp":
            starts[name] = partial(_Moments, _unit_words(each), n_nonzero=n_nonzero, norm=norm)
            continue
        code = partial(_assign, each)
        if coding == "omp":
            code = partial(_pursue, _unit_words(each), n_nonzero)
        starts[name] = partial(_Counts, len(each.centres_), code=code, norm=norm)
    shapes = {name: (n_words,) for name, (n_words, _) in sizes.items()}
    return WordEncoder(vocabulary, shapes=shapes, starts=starts, grids=grids)


def check_coding(
    coding: str, *, n_nonzero: int, norm: str, sizes: Mapping[str, tuple[int, int]]
) -> None:
    """Refuse what cannot be used with words, by descriptor, of sizes (n_words, dimension)."""
    if coding not in CODINGS:
        raise ValueError(f"coding must be one of {', '.join(CODINGS)}, got {coding!r}; choose one")
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}; choose one")
    for name, size in sizes.items():
        if coding != "hard" and not 1 <= n_nonzero <= min(size):
            raise ValueError(
                f"n_nonzero must be from 1 to {min(size)} for {name!r}, got {n_nonzero}; more "
                "words than there are, or than dimensions, rebuild nothing better"
            )


class _Counts:
    """Histograms of one descriptor, of what is coded row by row."""

    def __init__(self, n_words: int, n_cells: int, *, code: Code, norm: str) -> None:
        self._code = code
        self._norm = norm
        self._sums = np.zeros((n_cells, n_words))

    def add(self, rows: np.ndarray, cells: np.ndarray) -> None:
        """Add rows (n, dimension), each in the cells (n_grids, n)."""
        places, words, weights = self._code(rows)
        for of_grid in cells:
            bins = of_grid[places] * self._sums.shape[1] + words
            found = np.bincount(bins, weights, minlength=self._sums.size)
            self._sums += found.reshape(self._sums.shape)

    def finish(self) -> np.ndarray:
        """Return a histogram for each cell, float64 (n_cells, n_words)."""
        return _normalise(self._sums, self._norm)


class _Moments:
    """Histograms of one descriptor, by simultaneous orthogonal matching pursuit in every cell."""

    def __init__(self, dictionary: np.ndarray, n_cells: int, *, n_nonzero: int, norm: str) -> None:
        self._dictionary = dictionary
        self._n_nonzero = n_nonzero
        self._norm = norm
        dimension = self._dictionary.shape[1]
        self._moments = np.zeros((n_cells, dimension, dimension))
        self._n_rows = np.zeros(n_cells, dtype=np.int64)

    def add(self, rows: np.ndarray, cells: np.ndarray) -> None:
        """Add rows (n, dimension), each in the cells (n_grids, n)."""
        wide = rows.astype(np.float64)
        for of_grid in cells:
            for cell in np.unique(of_grid):
                inside = wide[of_grid == cell]
                self._moments[cell] += inside.T @ inside
                self._n_rows[cell] += len(inside)

    def finish(self) -> np.ndarray:
        """Return a histogram for each cell, float64 (n_cells, n_words)."""
        histograms = np.zeros((len(self._n_rows), len(self._dictionary)))
        for histogram, moments, n_rows in zip(histograms, self._moments, self._n_rows, strict=True):
            if n_rows:
                words, power = _pursue_together(self._dictionary, moments, self._n_nonzero)
                histogram[words] = np.sqrt(power / n_rows)
        return _normalise(histograms, self._norm)


def _unit_words(words: KMeans) -> np.ndarray:
    """Words of length 1, float64 (n_words, dimension); one at the origin stays there."""
    centres = words.centres_.astype(np.float64)
    norms = np.linalg.norm(centres, axis=1, keepdims=True)
    return np.divide(centres, norms, out=np.zeros_like(centres), where=norms > 0)


def _assign(words: KMeans, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hard coding: places among rows (n, dimension), their words and weights, (n,) each."""
    return np.arange(len(rows)), words.predict(rows), np.ones(len(rows))


def _pursue(
    dictionary: np.ndarray, n_nonzero: int, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthogonal matching pursuit of each row: places, words and weights of what is not 0."""
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS].T.astype(np.float64)
        with warnings.catch_warnings():
            # A row that fewer words rebuild to the last digit is told so; it is none the worse.
            warnings.filterwarnings("ignore", message="\\s*Orthogonal matching pursuit ended")
            coefficients = orthogonal_mp(dictionary.T, block, n_nonzero_coefs=n_nonzero)
        weights = np.abs(coefficients).reshape(len(dictionary), block.shape[1])
        words, places = np.nonzero(weights)
        found.append((start + places, words, weights[words, places]))
    places, words, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return places, words, weights


def _pursue_together(
    dictionary: np.ndarray, moments: np.ndarray, n_nonzero: int
) -> tuple[list[int], np.ndarray]:
    """Words that rebuild rows of these second moments, and the power of their coefficients.

    Power is the sum over rows of the squared coefficient, float64 (number of words,).
    """
    chosen: list[int] = []
    left = moments
    for _ in range(n_nonzero):
        power = np.einsum("kd,kd->k", dictionary @ left, dictionary)
        power[chosen] = -np.inf
        best = int(power.argmax())
        if power[best] <= LEAST_POWER * np.trace(moments):
            break
        chosen.append(best)
        basis, _ = np.linalg.qr(dictionary[chosen].T)
        beside = np.eye(len(moments)) - basis @ basis.T
        left = beside @ moments @ beside
    inverse = np.linalg.pinv(dictionary[chosen].T)
    return chosen, np.maximum(np.einsum("sd,sd->s", inverse @ moments, inverse), 0)


def _normalise(histograms: np.ndarray, norm: str) -> np.ndarray:
    """Rows (n_cells, n_words) of norm 1; those of empty cells stay 0."""
    order = 1 if norm == "l1" else 2
    norms = np.linalg.norm(histograms, ord=order, axis=1, keepdims=True)
    return histograms / np.where(norms > 0, norms, 1)
