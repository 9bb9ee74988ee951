"""What stacked Fisher vectors are fitted to: codebook, projections and second mixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook import MAX_SAMPLE, Codebook, DiagonalGMM, RowSampler, check_rows
from idt.codebook.file import (
    check_dimensions,
    check_fitted_settings,
    gmm_arrays,
    read_fitted,
    read_gmm,
    write_fitted,
)
from idt.codebook.videos import Source, Video, batches, open_source
from idt.extract import Extraction, ExtractOptions
from idt.stacked.projection import Projection, margin_projection, principal_projection
from idt.stacked.volumes import LocalAccumulator

FORMAT = "trajfuse stacked codebook 1"
PROJECTIONS = ("margin", "pca")
_LABEL = "(label)"  # drawn beside the local vectors of all parts


class StackedCodebook:
    """Two layers: a codebook, and for each of its parts a projection and a second mixture.

    Parameters
    ----------
    first
        Codebook of the first layer, fitted.
    n_components
        Gaussians of each mixture of the second layer; how it is fitted is that of the first.
    n_reduced
        Dimension of a projected local Fisher vector.
    projection
        ``"margin"``: learnt with the videos' labels; ``"pca"``: without.
    penalty
        Of `margin_projection`.
    min_rows
        Trajectories that a sub-volume must hold to count.
    n_local
        Local Fisher vectors, over all videos, that projections are fitted on. They are held in
        memory: at the usual sizes 98 kB each and for each descriptor.
    seed
        Of the draws, of PCA and of the mixtures.

    Attributes
    ----------
    projections_ : dict of str to Projection
        By part of the first codebook.
    gmms_ : dict of str to DiagonalGMM
    """

    def __init__(
        self,
        first: Codebook,
        *,
        n_components: int = 256,
        n_reduced: int = 200,
        projection: str = "margin",
        penalty: float = 1e-2,
        min_rows: int = 30,
        n_local: int = 4096,
        seed: int = 0,
    ) -> None:
        if not hasattr(first, "gmms_"):
            raise ValueError("first must be fitted, got one that is not; fit or load it first")
        if projection not in PROJECTIONS:
            raise ValueError(
                f"projection must be one of {', '.join(PROJECTIONS)}, got {projection!r}; choose "
                "one"
            )
        if not penalty > 0:
            raise ValueError(f"penalty must be above 0, got {penalty}; 0.01 is usual")
        for name, value in (("n_reduced", n_reduced), ("min_rows", min_rows), ("n_local", n_local)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}; ask for more")
        self.first = first
        self.n_components = n_components
        self.n_reduced = n_reduced
        self.projection = projection
        self.penalty = penalty
        self.min_rows = min_rows
        self.n_local = n_local
        self.seed = seed
        self._mixture()  # refuses what it cannot use

    projections_: dict[str, Projection]
    gmms_: dict[str, DiagonalGMM]

    @property
    def dimensions_(self) -> dict[str, int]:
        """Descriptors and their dimensions, those of the first layer."""
        return self.first.dimensions_

    @property
    def extraction_(self) -> dict[str, Any] | None:
        """Settings of the extraction, those of the first layer."""
        return self.first.extraction_

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters, as they were given; those of the first layer by the name "first"."""
        return {
            "first": self.first.settings(),
            "n_components": self.n_components,
            "n_reduced": self.n_reduced,
            "projection": self.projection,
            "penalty": self.penalty,
            "min_rows": self.min_rows,
            "n_local": self.n_local,
            "seed": self.seed,
        }

    def fit(
        self,
        sources: Sequence[Source],
        labels: ArrayLike | None = None,
        *,
        options: ExtractOptions | None = None,
        threads: int = 1,
    ) -> StackedCodebook:
        """Fit projections, then mixtures.

        Parameters
        ----------
        sources
            Training videos: tables, arrays by name with ``positions``, or paths of either tables or
            videos. They are gone through twice, one at a time.
        labels
            (n_videos,), needed by the projection ``"margin"``.
        options, threads
            Of the extraction of paths, as in `idt.extract.Extraction`.

        Returns
        -------
        StackedCodebook
            This object.

        Raises
        ------
        ValueError
            Labels are missing, of another length, or all the same; too few sub-volumes hold enough
            trajectories; a video does not fit the first layer.
        """
        if labels is None and self.projection == "margin":
            raise ValueError(
                "labels must be given for the projection 'margin', got none; give one for each "
                "video, or take the projection 'pca'"
            )
        classes = np.zeros(len(sources)) if labels is None else np.asarray(labels)
        if classes.shape != (len(sources),):
            raise ValueError(
                f"labels must be one for each of {len(sources)} videos, got the shape "
                f"{classes.shape}; give all labels"
            )
        numbers = np.unique(classes, return_inverse=True)[1]
        gather = partial(self.gather, options=options, threads=threads)
        projections = self._find_projections(gather, sources, numbers)
        second = RowSampler(MAX_SAMPLE, seed=self.seed)
        for source in sources:
            local = gather(source).local()
            second.add({part: projections[part].transform(rows) for part, rows in local.items()})
        gmms = {}
        for part, rows in second.sample().items():
            try:
                gmms[part] = self._mixture().fit(rows)
            except ValueError as error:
                raise ValueError(f"second layer of {part!r}: {error}") from error
        self.projections_, self.gmms_ = projections, gmms
        return self

    def gather(
        self, source: Source, *, options: ExtractOptions | None = None, threads: int = 1
    ) -> LocalAccumulator:
        """Sum one video in the first layer, extracted on the way where it is no table yet."""
        opened = open_source(source, options=options, threads=threads)
        self.check_source(opened)
        accumulator = LocalAccumulator(self.first, min_rows=self.min_rows)
        for batch in batches(opened, with_time=True):
            accumulator.add(batch.descriptors, positions=batch.positions)
        return accumulator

    def check(self, descriptors: Mapping[str, int]) -> None:
        """Refuse descriptors, by name and dimension, that this codebook was not fitted on."""
        check_dimensions(self, descriptors, noun="codebook")

    def check_source(self, source: Video | Extraction) -> None:
        """Refuse trajectories whose settings are known not to be those it was fitted on."""
        self.first.check_source(source)

    def save(self, path: str | Path) -> None:
        """Write both layers with their settings, whole or not at all, as an npz file."""
        arrays = self.first.arrays()
        for i, part in enumerate(self.gmms_):
            arrays[f"{i}.projection.mean"] = self.projections_[part].mean
            arrays[f"{i}.projection.axes"] = self.projections_[part].axes
            arrays |= gmm_arrays(self.gmms_[part], f"{i}.second.")
        write_fitted(path, self, form=FORMAT, arrays=arrays)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        descriptors: Mapping[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> StackedCodebook:
        """Read what `save` wrote; parameters and errors are those of `Codebook.load`."""
        codebook = read_fitted(path, cls._build, form=FORMAT, noun="stacked codebook")
        if descriptors is not None:
            codebook.check(descriptors)
        check_fitted_settings(codebook, settings or {}, noun=f"stacked codebook {str(path)!r}")
        return codebook

    @classmethod
    def _build(cls, head: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> StackedCodebook:
        """Both layers out of the head and the arrays of a file."""
        settings = dict(head["settings"])
        first = Codebook.build({**head, "settings": settings.pop("first")}, arrays)
        codebook = cls(first, **settings)
        codebook.projections_, codebook.gmms_ = {}, {}
        for i, (part, gmm) in enumerate(first.gmms_.items()):
            axes = check_rows(
                arrays[f"{i}.projection.axes"], name="axes", n_columns=2 * gmm.means_.size
            )
            mean = check_rows(
                arrays[f"{i}.projection.mean"][None], name="mean", n_columns=axes.shape[1]
            )
            if len(axes) != codebook.n_reduced:
                raise ValueError(f"the projection of {part!r} has {len(axes)} axes")
            codebook.projections_[part] = Projection(mean[0], axes)
            codebook.gmms_[part] = codebook._mixture()
            read_gmm(arrays, f"{i}.second.", codebook.gmms_[part], len(axes), part=part)
        return codebook

    def _find_projections(
        self,
        gather: Callable[[Source], LocalAccumulator],
        sources: Sequence[Source],
        numbers: np.ndarray,
    ) -> dict[str, Projection]:
        """Projection of each part, for videos of classes (n_videos,)."""
        sampler = RowSampler(self.n_local, seed=self.seed)
        for source, number in zip(sources, numbers, strict=True):
            local = gather(source).local()
            n_volumes = len(next(iter(local.values())))
            sampler.add({**local, _LABEL: np.full((n_volumes, 1), number)})
        if sampler.n_seen == 0:
            raise ValueError(
                f"sub-volumes must hold {self.min_rows} trajectories, got none that does in "
                f"{len(sources)} videos; lower min_rows"
            )
        drawn = sampler.sample()
        of_row = drawn.pop(_LABEL)[:, 0].astype(np.int64)
        return {part: self._project(part, rows, of_row) for part, rows in drawn.items()}

    def _project(self, part: str, rows: np.ndarray, labels: np.ndarray) -> Projection:
        try:
            if self.projection == "pca":
                return principal_projection(rows, self.n_reduced, seed=self.seed)
            return margin_projection(
                rows, labels, self.n_reduced, penalty=self.penalty, seed=self.seed
            )
        except ValueError as error:
            raise ValueError(f"projection of {part!r}: {error}") from error

    def _mixture(self) -> DiagonalGMM:
        return DiagonalGMM(
            self.n_components,
            max_iter=self.first.max_iter,
            tol=self.first.tol,
            variance_floor=self.first.variance_floor,
            seed=self.seed,
            backend=self.first.backend,
        )
