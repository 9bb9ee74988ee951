"""The codebook of a set of descriptors, and its file."""

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
    gmm_arrays,
    pca_arrays,
    read_fitted,
    read_gmm,
    read_pca,
    write_fitted,
)
from idt.codebook.mixture import DiagonalGMM
from idt.codebook.pca import PCA
from idt.codebook.rows import MAX_SAMPLE, check_descriptors, check_rows
from idt.codebook.videos import Source, Video, check_settings, draw_rows, settings_of
from idt.extract import Extraction, ExtractOptions

FORMAT = "trajfuse codebook 1"
PCAS = ("descriptor", "joint", "none")


class Codebook:
    """PCA and a diagonal Gaussian mixture for each descriptor, or for all of them together.

    Parameters
    ----------
    n_components
        Gaussians of each mixture.
    pca
        ``"descriptor"``: every descriptor is reduced and described by itself (Wang & Schmid 2013);
        ``"joint"``: all numbers of a trajectory, one descriptor after another, are reduced by one
        PCA and described by one mixture; ``"none"``: every descriptor as it is.
    reduction
        Dimension after PCA as a share of that before, rounded up: 426 becomes 213. Not used without
        PCA.
    max_dimension
        Largest dimension after PCA, where the share would be more; None for no bound.
    whiten
        Give all reduced dimensions the same variance.
    max_iter, tol, variance_floor, backend
        Of `DiagonalGMM`.
    seed
        Of the k-means starts, and of the draw in `fit_videos`.

    Attributes
    ----------
    dimensions_ : dict of str to int
        Descriptors, in the order of their encoding, and their dimension before reduction.
    extraction_ : dict or None
        Settings of the extraction that the descriptors came from, as far as they are known.
    pcas_ : dict of str to PCA
        By part: a part is a descriptor, or "joint". Empty without PCA.
    gmms_ : dict of str to DiagonalGMM
        By part, in the order of the encoding.

    References
    ----------
    Wang and Schmid, Action recognition with improved trajectories, ICCV 2013: 256,000 rows, half
    the dimension, 256 Gaussians.
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        pca: str = "descriptor",
        reduction: float = 0.5,
        max_dimension: int | None = None,
        whiten: bool = False,
        max_iter: int = 100,
        tol: float = 5e-3,
        variance_floor: float = 1e-3,
        seed: int = 0,
        backend: str = "native",
    ) -> None:
        if pca not in PCAS:
            raise ValueError(f"pca must be one of {', '.join(PCAS)}, got {pca!r}; choose one")
        if not 0 < reduction <= 1:
            raise ValueError(
                f"reduction must be above 0 and at most 1, got {reduction}; 0.5 halves the rows"
            )
        if max_dimension is not None and (max_dimension < 1 or pca == "none"):
            raise ValueError(
                f"max_dimension must be at least 1, and of a PCA, got {max_dimension} with pca = "
                f"{pca!r}; leave it out"
            )
        if whiten and pca == "none":
            raise ValueError("whiten must be False without PCA, got True; choose a pca")
        self.n_components = n_components
        self.pca = pca
        self.reduction = reduction
        self.max_dimension = max_dimension
        self.whiten = whiten
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.seed = seed
        self.backend = backend
        self._mixture()  # refuses what it cannot use

    dimensions_: dict[str, int]
    extraction_: dict[str, Any] | None
    pcas_: dict[str, PCA]
    gmms_: dict[str, DiagonalGMM]

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters, as they were given; a bound that there is not is left out."""
        bound = {} if self.max_dimension is None else {"max_dimension": self.max_dimension}
        return {
            "n_components": self.n_components,
            "pca": self.pca,
            "reduction": self.reduction,
            **bound,
            "whiten": self.whiten,
            "max_iter": self.max_iter,
            "tol": self.tol,
            "variance_floor": self.variance_floor,
            "seed": self.seed,
            "backend": self.backend,
        }

    @property
    def n_parameters(self) -> int:
        """How many numbers encoding takes: of PCA and mixtures."""
        of_pcas = sum(pca.mean_.size + pca.components_.size for pca in self.pcas_.values())
        return of_pcas + sum(
            gmm.weights_.size + gmm.means_.size + gmm.variances_.size for gmm in self.gmms_.values()
        )

    def fit(
        self, samples: Mapping[str, ArrayLike], *, extraction: Mapping[str, Any] | None = None
    ) -> Codebook:
        """Fit PCA and mixture of every part.

        Parameters
        ----------
        samples
            By name, (n, dimension), as `RowSampler.sample` gives them. Their order becomes that of
            the encoding. A joint PCA takes the same trajectories in every array.
        extraction
            Settings of the extraction that they come from, as `draw_rows` gives them: kept, and
            held against those of what is encoded.

        Returns
        -------
        Codebook
            This object.

        Raises
        ------
        ValueError
            No descriptor; rows that are not finite, or fewer than components; names the descriptor.
        ModuleNotFoundError
            The backend is VLFeat, and cyvlfeat is not installed.
        """
        if not samples:
            raise ValueError("samples must hold one descriptor or more, got none; draw some rows")
        least = max(2, self.n_components)
        rows = {
            name: check_rows(sample, name=f"descriptor {name!r}", min_rows=least)
            for name, sample in samples.items()
        }
        pcas, gmms = {}, {}
        for part, array in self._join(rows).items():
            try:
                if self.pca != "none":
                    n_kept = math.ceil(self.reduction * array.shape[1] - 1e-9)
                    n_kept = min(n_kept, self.max_dimension or n_kept)
                    pcas[part] = PCA(n_kept, whiten=self.whiten).fit(array)
                    array = pcas[part].transform(array)
                gmms[part] = self._mixture().fit(array)
            except ValueError as error:
                raise ValueError(f"descriptor {part!r}: {error}") from error
        self.pcas_, self.gmms_ = pcas, gmms
        self.dimensions_ = {name: array.shape[1] for name, array in rows.items()}
        self.extraction_ = None if extraction is None else dict(extraction)
        return self

    def fit_videos(
        self,
        sources: Iterable[Source],
        *,
        n_rows: int = MAX_SAMPLE,
        options: ExtractOptions | None = None,
        threads: int = 1,
        verbose: bool = False,
    ) -> Codebook:
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

    def reduce(self, descriptors: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        """Rows of every part as its mixture takes them.

        Parameters
        ----------
        descriptors
            By name, (n, dimension): the same n trajectories in every array; n may be 0. There may
            be more descriptors than the codebook has, but not fewer.

        Returns
        -------
        dict of str to ndarray of float32, (n, dimension)

        Raises
        ------
        ValueError
            A descriptor is missing, of another dimension or length, or not finite.
        """
        parts = self._join(check_descriptors(descriptors, dimensions=self.dimensions_))
        return {
            part: self.pcas_[part].transform(rows) if self.pcas_ else rows
            for part, rows in parts.items()
        }

    def _join(self, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows by part, of rows by descriptor."""
        if self.pca != "joint":
            return rows
        return {"joint": np.concatenate(list(check_descriptors(rows).values()), axis=1)}

    def check_source(self, source: Video | Extraction) -> None:
        """Refuse trajectories whose settings are known not to be those it was fitted on."""
        check_settings(
            self.extraction_,
            settings_of(source),
            of="for the videos that the codebook was fitted on",
        )

    def check(self, descriptors: Mapping[str, int]) -> None:
        """Refuse descriptors, by name and dimension, that this codebook was not fitted on."""
        check_dimensions(self, descriptors, noun="codebook")

    def save(self, path: str | Path) -> None:
        """Write the codebook with its settings, whole or not at all, as an uncompressed npz file.

        Parameters
        ----------
        path
            The file; one that is there is replaced.
        """
        write_fitted(path, self, form=FORMAT, arrays=self.arrays())

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        descriptors: Mapping[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Codebook:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            The file.
        descriptors
            Names and dimensions that the codebook must be for.
        settings
            Settings, all or some of them, that it must have been fitted with.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is no whole codebook, or not the one asked for.
        """
        codebook = read_fitted(path, cls.build, form=FORMAT, noun="codebook")
        if descriptors is not None:
            codebook.check(descriptors)
        check_fitted_settings(codebook, settings or {}, noun=f"codebook {str(path)!r}")
        return codebook

    def arrays(self) -> dict[str, np.ndarray]:
        """All that was fitted, as a file holds it."""
        arrays: dict[str, np.ndarray] = {}
        for i, (part, gmm) in enumerate(self.gmms_.items()):
            if self.pcas_:
                arrays |= pca_arrays(self.pcas_[part], f"{i}.pca.")
            arrays |= gmm_arrays(gmm, f"{i}.gmm.")
        return arrays

    @classmethod
    def build(cls, head: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Codebook:
        """Make a codebook of the head and the arrays of a file, see `idt.codebook.file`."""
        codebook = cls(**head["settings"])
        codebook.dimensions_ = head["descriptors"]
        codebook.extraction_ = head["extraction"]
        codebook.pcas_, codebook.gmms_ = {}, {}
        parts = codebook.dimensions_
        if codebook.pca == "joint":
            parts = {"joint": sum(parts.values())}
        for i, (part, dimension) in enumerate(parts.items()):
            if codebook.pca != "none":
                pca = read_pca(arrays, f"{i}.pca.", dimension, whiten=codebook.whiten)
                codebook.pcas_[part], dimension = pca, len(pca.components_)
            codebook.gmms_[part] = codebook._mixture()
            read_gmm(arrays, f"{i}.gmm.", codebook.gmms_[part], dimension, part=part)
        return codebook

    def _mixture(self) -> DiagonalGMM:
        return DiagonalGMM(
            self.n_components,
            max_iter=self.max_iter,
            tol=self.tol,
            variance_floor=self.variance_floor,
            seed=self.seed,
            backend=self.backend,
        )
