"""The codebook of a set of descriptors, and its file."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook.mixture import DiagonalGMM
from idt.codebook.pca import PCA
from idt.codebook.rows import check_rows
from idt.jobs import whole_file

FORMAT = "trajfuse codebook 1"
_PCA_ARRAYS = ("mean", "components", "explained_variance")
_GMM_ARRAYS = ("weights", "means", "variances")


class Codebook:
    """One PCA and one diagonal Gaussian mixture for each descriptor.

    Parameters
    ----------
    n_components
        Gaussians for each descriptor.
    reduction
        Dimension after PCA as a share of that before, rounded up.
    whiten
        Give all reduced dimensions the same variance.
    max_iter, tol, variance_floor
        Of `DiagonalGMM`.
    seed
        Of the k-means starts.

    Attributes
    ----------
    dimensions_ : dict of str to int
        Descriptors, in the order of their encoding, and their dimension before reduction.
    pcas_ : dict of str to PCA
    gmms_ : dict of str to DiagonalGMM

    References
    ----------
    Wang and Schmid, Action recognition with improved trajectories, ICCV 2013: 256,000 rows, half
    the dimension, 256 Gaussians.
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        reduction: float = 0.5,
        whiten: bool = False,
        max_iter: int = 100,
        tol: float = 5e-3,
        variance_floor: float = 1e-3,
        seed: int = 0,
    ) -> None:
        if not 0 < reduction <= 1:
            raise ValueError(
                f"reduction must be above 0 and at most 1, got {reduction}; 0.5 halves the rows"
            )
        self.n_components = n_components
        self.reduction = reduction
        self.whiten = whiten
        self.max_iter = max_iter
        self.tol = tol
        self.variance_floor = variance_floor
        self.seed = seed
        self._mixture()  # refuses what it cannot use

    dimensions_: dict[str, int]
    pcas_: dict[str, PCA]
    gmms_: dict[str, DiagonalGMM]

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters, as they were given."""
        return {
            "n_components": self.n_components,
            "reduction": self.reduction,
            "whiten": self.whiten,
            "max_iter": self.max_iter,
            "tol": self.tol,
            "variance_floor": self.variance_floor,
            "seed": self.seed,
        }

    def fit(self, samples: Mapping[str, ArrayLike]) -> Codebook:
        """Fit PCA and mixture of every descriptor.

        Parameters
        ----------
        samples
            By name, (n, dimension), as `RowSampler.sample` gives them. Their order becomes that of
            the encoding.

        Returns
        -------
        Codebook
            This object.

        Raises
        ------
        ValueError
            No descriptor; rows that are not finite, or fewer than components; names the descriptor.
        """
        if not samples:
            raise ValueError("samples must hold one descriptor or more, got none; draw some rows")
        pcas, gmms, dimensions = {}, {}, {}
        for name, sample in samples.items():
            rows = check_rows(
                sample, name=f"descriptor {name!r}", min_rows=max(2, self.n_components)
            )
            dimension = rows.shape[1]
            try:
                pca = PCA(math.ceil(self.reduction * dimension - 1e-9), whiten=self.whiten)
                pcas[name] = pca.fit(rows)
                gmms[name] = self._mixture().fit(pca.transform(rows))
            except ValueError as error:
                raise ValueError(f"descriptor {name!r}: {error}") from error
            dimensions[name] = dimension
        self.pcas_, self.gmms_, self.dimensions_ = pcas, gmms, dimensions
        return self

    def check(self, descriptors: Mapping[str, int]) -> None:
        """Refuse descriptors, by name and dimension, that this codebook was not fitted on."""
        if dict(descriptors) != self.dimensions_:
            raise ValueError(
                f"descriptors must be {_list(self.dimensions_)}, as the codebook was fitted on, "
                f"got {_list(descriptors)}; extract these or fit another codebook"
            )

    def save(self, path: str | Path) -> None:
        """Write the codebook with its settings, whole or not at all, as an uncompressed npz file.

        Parameters
        ----------
        path
            The file; one that is there is replaced.
        """
        path = Path(path)
        head = {
            "format": FORMAT,
            "version": version("trajfuse"),
            "settings": self.settings(),
            "descriptors": self.dimensions_,
        }
        arrays = {"head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)}
        for i, name in enumerate(self.dimensions_):
            for key in _PCA_ARRAYS:
                arrays[f"{i}.pca.{key}"] = getattr(self.pcas_[name], f"{key}_")
            for key in _GMM_ARRAYS:
                arrays[f"{i}.gmm.{key}"] = getattr(self.gmms_[name], f"{key}_")
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # names are none of its options

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
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no codebook at {str(path)!r}; fit and save one first")
        try:
            codebook = cls._read(path)
        except (ValueError, KeyError, TypeError, OSError, MemoryError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{str(path)!r} must be a whole codebook, got one that cannot be read ({error}); "
                "fit it again"
            ) from error
        if descriptors is not None:
            codebook.check(descriptors)
        found = codebook.settings()
        for key, value in (settings or {}).items():
            if key not in found:
                raise ValueError(f"settings must be among {', '.join(found)}, got {key!r}; drop it")
            if found[key] != value:
                raise ValueError(
                    f"{key} of the codebook {str(path)!r} must be {value!r}, got {found[key]!r}; "
                    "fit it again with these settings"
                )
        return codebook

    @classmethod
    def _read(cls, path: Path) -> Codebook:
        """Read and check every array."""
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed")  # so no small file can grow in memory
        with np.load(path, allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if not isinstance(head, dict) or head.get("format") != FORMAT:
                raise ValueError(f"it is not of the form {FORMAT!r}")
            if not isinstance(head["descriptors"], dict) or not head["descriptors"]:
                raise ValueError("it holds no descriptor")
            codebook = cls(**head["settings"])
            codebook.pcas_, codebook.gmms_, codebook.dimensions_ = {}, {}, {}
            for i, (name, dimension) in enumerate(head["descriptors"].items()):
                pca = _read_pca(arrays, f"{i}.pca.", dimension, whiten=codebook.whiten)
                gmm = codebook._mixture()
                stored = DiagonalGMM.from_parameters(
                    *(arrays[f"{i}.gmm.{key}"] for key in _GMM_ARRAYS)
                )
                if stored.means_.shape != (gmm.n_components, len(pca.components_)):
                    raise ValueError(f"the mixture of {name!r} has the shape {stored.means_.shape}")
                vars(gmm).update((k, v) for k, v in vars(stored).items() if k.endswith("_"))
                codebook.pcas_[name], codebook.gmms_[name] = pca, gmm
                codebook.dimensions_[name] = dimension
        return codebook

    def _mixture(self) -> DiagonalGMM:
        return DiagonalGMM(
            self.n_components,
            max_iter=self.max_iter,
            tol=self.tol,
            variance_floor=self.variance_floor,
            seed=self.seed,
        )


def _read_pca(arrays: Mapping[str, Any], prefix: str, dimension: int, *, whiten: bool) -> PCA:
    """PCA out of the arrays of a file."""
    mean, components, variances = (arrays[prefix + key] for key in _PCA_ARRAYS)
    components = check_rows(components, name="components", n_columns=dimension, min_rows=1)
    pca = PCA(len(components), whiten=whiten)
    pca.components_ = components
    pca.mean_ = check_rows(mean[None], name="mean", n_columns=dimension)[0]
    pca.explained_variance_ = check_rows(
        variances[None], name="explained variance", n_columns=len(components)
    )[0]
    if pca.explained_variance_.min() < 0 or (whiten and pca.explained_variance_.min() == 0):
        raise ValueError("its variances are not positive")
    return pca


def _list(descriptors: Mapping[str, int]) -> str:
    """Names and dimensions in words."""
    return ", ".join(f"{name} ({dimension})" for name, dimension in descriptors.items()) or "none"
