"""The Trajectories table: one row per trajectory, its place and statistics, and its descriptors.

On disk the table is HDF5: descriptors in float16 (or float32), the ten columns of place and
statistics in float32, and what made it (settings, version, video) as JSON in an attribute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from idt.jobs import whole_file

META_COLUMNS = (
    "frame",  # 0-based index of the last frame
    "mean_x",  # pixels, as are the four that follow
    "mean_y",
    "std_x",
    "std_y",
    "length",
    "scale",  # factor of the pyramid level
    "x_pos",  # mean_x / width, mean_y / height, and place in time; in [0, 0.999]
    "y_pos",
    "t_pos",
)
FORMAT = "trajfuse trajectories 1"


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of one video.

    Attributes
    ----------
    meta
        float32 (n, 10); the columns are `META_COLUMNS`.
    descriptors
        By name, float32 (n, dimension): trajectory shape, HOG, HOF, MBHx, MBHy, with 30, 96, 108,
        96 and 96 numbers at the usual settings.
    info
        What made the table: video (name, width, height, n_frames), settings, version.
    """

    meta: np.ndarray
    descriptors: dict[str, np.ndarray]
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.meta.ndim != 2 or self.meta.shape[1] != len(META_COLUMNS):
            raise ValueError(
                f"meta must have the shape (n, {len(META_COLUMNS)}), got {self.meta.shape}; "
                f"its columns are {', '.join(META_COLUMNS)}"
            )
        for name, values in self.descriptors.items():
            if values.ndim != 2 or len(values) != len(self.meta):
                raise ValueError(
                    f"descriptor {name!r} must have {len(self.meta)} rows, one a trajectory, got "
                    f"an array of shape {values.shape}; build both from the same tracks"
                )

    def __len__(self) -> int:
        return len(self.meta)

    def column(self, name: str) -> np.ndarray:
        """One of the `META_COLUMNS`, float32 (n,)."""
        if name not in META_COLUMNS:
            raise ValueError(
                f"column must be one of {', '.join(META_COLUMNS)}, got {name!r}; choose one"
            )
        return self.meta[:, META_COLUMNS.index(name)]

    def save(self, path: str | Path, *, dtype: str = "float16") -> None:
        """Write an HDF5 file, whole or not at all.

        Parameters
        ----------
        path
            The file; one that is there is replaced.
        dtype
            ``"float16"`` or ``"float32"``, of the descriptors.
        """
        if dtype not in ("float16", "float32"):
            raise ValueError(f"dtype must be 'float16' or 'float32', got {dtype!r}; choose one")
        with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["info"] = json.dumps(self.info)
            file.create_dataset("meta", data=self.meta.astype(np.float32))
            group = file.create_group("descriptors", track_order=True)
            for name, values in self.descriptors.items():
                group.create_dataset(name, data=values.astype(dtype))

    @classmethod
    def load(cls, path: str | Path) -> Trajectories:
        """Read what `save` wrote; descriptors come back as float32.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is not one of these tables.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no trajectories at {str(path)!r}; extract them first")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise ValueError(
                        f"{str(path)!r} must be a file of the form {FORMAT!r}, got "
                        f"{file.attrs.get('format')!r}; extract the trajectories again"
                    )
                return cls(
                    meta=file["meta"][()].astype(np.float32),
                    descriptors={
                        name: values[()].astype(np.float32)
                        for name, values in file["descriptors"].items()
                    },
                    info=json.loads(file.attrs["info"]),
                )
        except (OSError, KeyError) as error:
            raise ValueError(
                f"{str(path)!r} must be a whole trajectory file, got one that cannot be read "
                f"({error}); extract the trajectories again"
            ) from error


def provenance() -> dict[str, str]:
    """Versions that decide the numbers of an artefact."""
    return {name: version(name) for name in ("trajfuse", "opencv-contrib-python", "numpy")}


def agreement(reference: Trajectories, other: Trajectories) -> dict[str, float]:
    """Measure how far two tables of one video hold the same trajectories.

    Parameters
    ----------
    reference
        The table that shares are taken of.
    other
        The table it is compared with; both must have the same descriptors.

    Returns
    -------
    dict of float
        ``n_reference``, ``n_other``; ``match``: share of the reference's rows that are matched
        (mutual nearest neighbours among rows of equal frame and scale, by the distance of the means
        plus half the difference of the deviations; means at most one pixel of the scale apart);
        ``match_other``: the same matches as a share of the other's rows; ``strong``: matches whose
        means agree to 0.05 pixels of the scale and whose histogram descriptors all agree to 0.02;
        ``rel_<descriptor>``: median over matches of the relative Euclidean difference;
        ``pool_<descriptor>``: relative difference of the table's mean descriptor.
    """
    first, second = _match_rows(reference.meta, other.meta)
    scale = reference.column("scale")[first]
    moved = np.linalg.norm(reference.meta[first, 1:3] - other.meta[second, 1:3], axis=1)
    strong = moved <= 0.05 * scale
    result = {"n_reference": float(len(reference)), "n_other": float(len(other))}
    relative, pooled = {}, {}
    for name, values in reference.descriptors.items():
        a, b = values[first], other.descriptors[name][second]
        if name != "trajectory" and len(a):
            strong &= np.abs(a - b).max(axis=1) <= 0.02
        norm = np.maximum(np.linalg.norm(a, axis=1), 1e-12)
        difference = np.linalg.norm(a - b, axis=1) / norm
        relative[f"rel_{name}"] = float(np.median(difference)) if len(a) else float("nan")
        pooled[f"pool_{name}"] = _relative_mean(values, other.descriptors[name])
    result["match"] = len(first) / max(len(reference), 1)
    result["match_other"] = len(first) / max(len(other), 1)
    result["strong"] = float(strong.sum()) / max(len(reference), 1)
    return result | relative | pooled


def _relative_mean(a: np.ndarray, b: np.ndarray) -> float:
    """Relative Euclidean difference of two tables' mean rows."""
    if not len(a) or not len(b):
        return float("nan")
    mean_a, mean_b = a.mean(axis=0, dtype=np.float64), b.mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(mean_a - mean_b)) / max(float(np.linalg.norm(mean_a)), 1e-12)


def _match_rows(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row indices of mutual nearest neighbours of equal frame and scale, within a pixel."""
    first, second = [], []
    keys_a = _group_rows(a)
    keys_b = _group_rows(b)
    for key in keys_a.keys() & keys_b.keys():
        rows_a, rows_b = keys_a[key], keys_b[key]
        means = np.linalg.norm(a[rows_a, None, 1:3] - b[None, rows_b, 1:3], axis=2)
        deviations = np.linalg.norm(a[rows_a, None, 3:5] - b[None, rows_b, 3:5], axis=2)
        cost = means + 0.5 * deviations
        nearest_b = cost.argmin(axis=1)
        nearest_a = cost.argmin(axis=0)
        index = np.arange(len(rows_a))
        mutual = (nearest_a[nearest_b] == index) & (means[index, nearest_b] <= key[1])
        first.append(rows_a[mutual])
        second.append(rows_b[nearest_b[mutual]])
    if not first:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(first), np.concatenate(second)


def _group_rows(meta: np.ndarray) -> Mapping[tuple[float, float], np.ndarray]:
    """Row indices by frame and scale."""
    keys, inverse = np.unique(
        np.round(meta[:, [0, 6]].astype(np.float64), 3), axis=0, return_inverse=True
    )
    order = np.argsort(inverse.ravel(), kind="stable")
    bounds = np.searchsorted(inverse.ravel()[order], np.arange(len(keys) + 1))
    return {
        (float(key[0]), float(key[1])): order[bounds[i] : bounds[i + 1]]
        for i, key in enumerate(keys)
    }
