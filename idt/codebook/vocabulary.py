"""The words of a set of descriptors, and their file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook.file import (
    check_dimensions,
    check_fitted_settings,
    pca_arrays,
    read_fitted,
    read_pca,
    write_fitted,
)
from idt.codebook.kmeans import KMeans
from idt.codebook.pca import PCA
from idt.codebook.rows import check_rows
from idt.codebook.videos import Source, Video, check_settings, draw_rows, settings_of
from idt.extract import Extraction, ExtractOptions

FORMAT = "trajfuse vocabulary 1"
WORD_SAMPLE = 100_000  # rows over all videos, Wang et al. 2013


class Vocabulary:
    """One k-means for each descriptor, and where it is asked for one PCA before it.

    Parameters
    ----------
    n_words
        Words of each descriptor.
    reduction
        Dimension after PCA as a share of that before, rounded up; None uses no PCA.
    whiten
        Give all reduced dimensions the same variance.
    n_init, max_iter, tol
        Of `KMeans`.
    seed
        Of the k-means starts.

    Attributes
    ----------
    dimensions_ : dict of str to int
        Descriptors, in the order of their encoding, and their dimension before reduction.
    extraction_ : dict or None
        Settings of the extraction that the descriptors came from, as far as they are known.
    pcas_ : dict of str to PCA
        Empty without reduction.
    kmeans_ : dict of str to KMeans

    References
    ----------
    Wang, Kläser, Schmid and Liu, Dense trajectories and motion boundary descriptors for action
    recognition, IJCV 2013: 4,000 words of 100,000 rows, no PCA.
    """

    def __init__(
        self,
        n_words: int = 4000,
        *,
        reduction: float | None = None,
        whiten: bool = False,
        n_init: int = 8,
        max_iter: int = 100,
        tol: float = 1e-4,
        seed: int = 0,
    ) -> None:
        if reduction is not None and not 0 < reduction <= 1:
            raise ValueError(
                f"reduction must be above 0 and at most 1, got {reduction}; None uses no PCA"
            )
        if whiten and reduction is None:
            raise ValueError("whiten must be False without PCA, got True; give a reduction")
        self.n_words = n_words
        self.reduction = reduction
        self.whiten = whiten
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.seed = seed
        self._clustering()  # refuses what it cannot use

    dimensions_: dict[str, int]
    extraction_: dict[str, Any] | None
    pcas_: dict[str, PCA]
    kmeans_: dict[str, KMeans]

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters, as they were given."""
        return {
            "n_words": self.n_words,
            "reduction": self.reduction,
            "whiten": self.whiten,
            "n_init": self.n_init,
            "max_iter": self.max_iter,
            "tol": self.tol,
            "seed": self.seed,
        }

    @property
    def n_parameters(self) -> int:
        """How many numbers encoding takes: of PCA and words."""
        of_pcas = sum(pca.mean_.size + pca.components_.size for pca in self.pcas_.values())
        return of_pcas + sum(each.centres_.size for each in self.kmeans_.values())

    def fit(
        self, samples: Mapping[str, ArrayLike], *, extraction: Mapping[str, Any] | None = None
    ) -> Vocabulary:
        """Find the words of every descriptor.

        Parameters
        ----------
        samples
            By name, (n, dimension), as `RowSampler.sample` gives them. Their order becomes that of
            the encoding.
        extraction
            Settings of the extraction that they come from, as `draw_rows` gives them: kept, and
            held against those of what is encoded.

        Returns
        -------
        Vocabulary
            This object.

        Raises
        ------
        ValueError
            No descriptor; rows that are not finite, or fewer than words; names the descriptor.
        """
        if not samples:
            raise ValueError("samples must hold one descriptor or more, got none; draw some rows")
        pcas, kmeans, dimensions = {}, {}, {}
        for name, sample in samples.items():
            rows = check_rows(sample, name=f"descriptor {name!r}", min_rows=self.n_words)
            dimensions[name] = rows.shape[1]
            try:
                if self.reduction is not None:
                    n_kept = self.reduced_dimension(rows.shape[1])
                    pcas[name] = PCA(n_kept, whiten=self.whiten).fit(rows)
                    rows = pcas[name].transform(rows)
                kmeans[name] = self._clustering().fit(rows)
            except ValueError as error:
                raise ValueError(f"descriptor {name!r}: {error}") from error
        self.pcas_, self.kmeans_, self.dimensions_ = pcas, kmeans, dimensions
        self.extraction_ = None if extraction is None else dict(extraction)
        return self

    def fit_videos(
        self,
        sources: Iterable[Source],
        *,
        n_rows: int = WORD_SAMPLE,
        options: ExtractOptions | None = None,
        threads: int = 1,
        verbose: bool = False,
    ) -> Vocabulary:
        """Draw trajectories of training videos and fit; the parameters are those of `draw_rows`."""
        samples, extraction = draw_rows(
            sources,
            n_rows=n_rows,
            seed=self.seed,
            options=options,
            threads=threads,
            verbose=verbose,
        )
        return self.fit(samples, extraction=extraction)

    def reduced_dimension(self, dimension: int) -> int:
        """Dimension of the words of a descriptor that has this one."""
        if self.reduction is None:
            return dimension
        return math.ceil(self.reduction * dimension - 1e-9)

    def reduce(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Rows of a descriptor as its words are, float32 (n, dimension after reduction)."""
        return self.pcas_[name].transform(rows) if name in self.pcas_ else rows

    def check_source(self, source: Video | Extraction) -> None:
        """Refuse trajectories whose settings are known not to be those it was fitted on."""
        check_settings(
            self.extraction_,
            settings_of(source),
            of="for the videos that the vocabulary was fitted on",
        )

    def check(self, descriptors: Mapping[str, int]) -> None:
        """Refuse descriptors, by name and dimension, that this vocabulary was not fitted on."""
        check_dimensions(self, descriptors, noun="vocabulary")

    def save(self, path: str | Path) -> None:
        """Write the vocabulary with its settings, whole or not at all, as an npz file.

        Parameters
        ----------
        path
            The file; one that is there is replaced.
        """
        arrays: dict[str, np.ndarray] = {}
        for i, name in enumerate(self.dimensions_):
            if name in self.pcas_:
                arrays |= pca_arrays(self.pcas_[name], f"{i}.pca.")
            arrays[f"{i}.centres"] = self.kmeans_[name].centres_
        write_fitted(path, self, form=FORMAT, arrays=arrays)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        descriptors: Mapping[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Vocabulary:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            The file.
        descriptors
            Names and dimensions that the vocabulary must be for.
        settings
            Settings, all or some of them, that it must have been fitted with.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is no whole vocabulary, or not the one asked for.
        """
        vocabulary = read_fitted(path, cls._build, form=FORMAT, noun="vocabulary")
        if descriptors is not None:
            vocabulary.check(descriptors)
        check_fitted_settings(vocabulary, settings or {}, noun=f"vocabulary {str(path)!r}")
        return vocabulary

    @classmethod
    def _build(cls, head: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Vocabulary:
        """Vocabulary out of the head and the arrays of a file."""
        vocabulary = cls(**head["settings"])
        vocabulary.dimensions_ = head["descriptors"]
        vocabulary.extraction_ = head["extraction"]
        vocabulary.pcas_, vocabulary.kmeans_ = {}, {}
        for i, (name, dimension) in enumerate(vocabulary.dimensions_.items()):
            n_columns = dimension
            if vocabulary.reduction is not None:
                pca = read_pca(arrays, f"{i}.pca.", dimension, whiten=vocabulary.whiten)
                vocabulary.pcas_[name] = pca
                n_columns = len(pca.components_)
            kmeans = KMeans.from_centres(arrays[f"{i}.centres"])
            if kmeans.centres_.shape != (vocabulary.n_words, n_columns):
                raise ValueError(f"the words of {name!r} have the shape {kmeans.centres_.shape}")
            vocabulary.kmeans_[name] = kmeans
        return vocabulary

    def _clustering(self) -> KMeans:
        return KMeans(
            self.n_words,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            seed=self.seed,
        )
