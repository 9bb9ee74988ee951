"""The file of what was fitted on descriptors: settings, dimensions and arrays in one npz."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from idt.arrays import read_npz
from idt.codebook.mixture import DiagonalGMM
from idt.codebook.pca import PCA
from idt.codebook.rows import check_rows
from idt.jobs import whole_file

_PCA_ARRAYS = ("mean", "components", "explained_variance")
_GMM_ARRAYS = ("weights", "means", "variances")


class Fitted(Protocol):
    """What is fitted on descriptors and kept in a file."""

    @property
    def dimensions_(self) -> dict[str, int]:
        """Descriptors, in order, and their dimension."""

    @property
    def extraction_(self) -> dict[str, Any] | None:
        """Settings of the extraction that they came from, as far as they are known."""

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters, as JSON can hold them."""


# What a head of other values than `settings` gives sets off in building.
UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, ArithmeticError),
    *(OSError, MemoryError, RecursionError),
)

T = TypeVar("T", bound=Fitted)


def write_fitted(
    path: str | Path, fitted: Fitted, *, form: str, arrays: Mapping[str, np.ndarray]
) -> None:
    """Write an uncompressed npz file, whole or not at all.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    fitted
        Its settings, descriptors and the extraction's settings become the head of the file.
    form
        What the file is, such as ``"trajfuse vocabulary 1"``.
    arrays
        All that was fitted, by any name but ``"head"``.
    """
    head = {
        "format": form,
        "version": version("trajfuse"),
        "settings": fitted.settings(),
        "descriptors": fitted.dimensions_,
        "extraction": fitted.extraction_,
    }
    everything = {"head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8), **arrays}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **everything)  # type: ignore[arg-type]  # names are none of its options


def read_fitted(
    path: str | Path,
    build: Callable[[dict[str, Any], Mapping[str, np.ndarray]], T],
    *,
    form: str,
    noun: str,
) -> T:
    """Read what `write_fitted` wrote.

    Parameters
    ----------
    path
        The file.
    build
        Makes the object of head and arrays; what it raises tells of a bad file.
    form
        As it was written.
    noun
        What errors call the object.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not of this form, or not whole.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {noun} at {str(path)!r}; fit and save one first")
    try:
        arrays = read_npz(path, packed=False)
        head = json.loads(arrays["head"].tobytes())
        if not isinstance(head, dict) or head.get("format") != form:
            raise ValueError(f"it is not of the form {form!r}")
        if not isinstance(head["descriptors"], dict) or not head["descriptors"]:
            raise ValueError("it holds no descriptor")
        if not isinstance(head["extraction"], dict | None):
            raise ValueError("its settings of an extraction are none")
        return build(head, arrays)
    except UNREADABLE as error:
        raise ValueError(
            f"{str(path)!r} must be a whole {noun}, got one that cannot be read ({error}); "
            "fit it again"
        ) from error


def check_dimensions(fitted: Fitted, descriptors: Mapping[str, int], *, noun: str) -> None:
    """Refuse descriptors, by name and dimension, other than those that were fitted on."""
    if dict(descriptors) != fitted.dimensions_:
        raise ValueError(
            f"descriptors must be {_list(fitted.dimensions_)}, as the {noun} was fitted on, "
            f"got {_list(descriptors)}; extract these or fit another {noun}"
        )


def check_fitted_settings(fitted: Fitted, asked: Mapping[str, Any], *, noun: str) -> None:
    """Refuse what was fitted with other settings than those asked for."""
    found = fitted.settings()
    for key, value in asked.items():
        if key not in found:
            raise ValueError(f"settings must be among {', '.join(found)}, got {key!r}; drop it")
        if found[key] != value:
            raise ValueError(
                f"{key} of the {noun} must be {value!r}, got {found[key]!r}; fit it again with "
                "these settings"
            )


def pca_arrays(pca: PCA, prefix: str) -> dict[str, np.ndarray]:
    """Arrays of a fitted PCA, as a file holds them."""
    return {prefix + key: getattr(pca, f"{key}_") for key in _PCA_ARRAYS}


def read_pca(arrays: Mapping[str, np.ndarray], prefix: str, dimension: int, *, whiten: bool) -> PCA:
    """PCA out of the arrays of a file, checked."""
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


def gmm_arrays(gmm: DiagonalGMM, prefix: str) -> dict[str, np.ndarray]:
    """Arrays of a fitted mixture, as a file holds them."""
    return {prefix + key: getattr(gmm, f"{key}_") for key in _GMM_ARRAYS}


def read_gmm(
    arrays: Mapping[str, np.ndarray], prefix: str, gmm: DiagonalGMM, dimension: int, *, part: str
) -> None:
    """Fill a mixture that is not fitted out of the arrays of a file, checked."""
    stored = DiagonalGMM.from_parameters(*(arrays[prefix + key] for key in _GMM_ARRAYS))
    if stored.means_.shape != (gmm.n_components, dimension):
        raise ValueError(f"the mixture of {part!r} has the shape {stored.means_.shape}")
    vars(gmm).update((k, v) for k, v in vars(stored).items() if k.endswith("_"))


def _list(descriptors: Mapping[str, int]) -> str:
    """Names and dimensions in words."""
    return ", ".join(f"{name} ({dimension})" for name, dimension in descriptors.items()) or "none"
