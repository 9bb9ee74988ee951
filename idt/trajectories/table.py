"""The table in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from idt.jobs.worker import versions
from idt.trajectories import hdf5, lear_text, numpy_files
from idt.trajectories.columns import BLOCK_ROWS, META_COLUMNS, Content, refusal
from idt.trajectories.writer import TableWriter, form_of


@dataclass(frozen=True)
class Trajectories:
    """Trajectories of one video.

    Attributes
    ----------
    meta
        float32 (n, 10); the columns are `META_COLUMNS`.
    descriptors
        By name, float32 (n, dimension): trajectory shape, HOG, HOF, MBHx, MBHy or some of them,
        with 30, 96, 108, 96 and 96 numbers at the usual settings.
    info
        What made the table, as JSON can hold it: video, settings, versions.
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
        """Write a file, whole or not at all.

        Parameters
        ----------
        path
            The suffix decides the form, as for `TableWriter`.
        dtype
            ``"float16"`` or ``"float32"``, of the descriptors; text is always of full precision.

        Raises
        ------
        ValueError
            Suffix or dtype is not one that can be written, or a number is not finite.
        FileNotFoundError
            The folder does not exist.
        """
        dimensions = {name: values.shape[1] for name, values in self.descriptors.items()}
        with TableWriter(path, dimensions=dimensions, dtype=dtype) as writer:
            for first in range(0, len(self), BLOCK_ROWS):
                part = slice(first, first + BLOCK_ROWS)
                writer.append(
                    self.meta[part],
                    {name: values[part] for name, values in self.descriptors.items()},
                )
            writer.finish(self.info)

    @classmethod
    def load(cls, path: str | Path, *, dimensions: Mapping[str, int] | None = None) -> Trajectories:
        """Read what `save` or `TableWriter` wrote, or the reference program's text.

        Parameters
        ----------
        path
            The suffix tells the form: ``.h5``, ``.npz``, ``.npy``, ``.txt`` or ``.txt.gz``.
        dimensions
            Numbers of every descriptor by name. Text does not say them; None takes the usual ones
            for it. The other forms know their own and have to agree.

        Returns
        -------
        Trajectories
            Descriptors in float32; the info is empty where the form has no place for it.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is not one of these tables, is cut off, or has other dimensions.
        """
        path = Path(path)
        form = form_of(path)
        if not path.is_file():
            raise FileNotFoundError(f"no trajectories at {str(path)!r}; extract them first")
        meta, descriptors, info = _read(path, form, dimensions)
        try:
            table = cls(meta, descriptors, info)
        except ValueError as error:
            raise refusal(path, error) from error
        held = {name: values.shape[1] for name, values in descriptors.items()}
        if dimensions is not None and held != dict(dimensions):
            raise ValueError(
                f"dimensions must be those of {str(path)!r}, {held}, got {dict(dimensions)}; leave "
                "them out"
            )
        return table


def _read(path: Path, form: str, dimensions: Mapping[str, int] | None) -> Content:
    """Read a file of a given form."""
    if form == ".h5":
        return hdf5.read(path)
    if form == ".npz":
        return numpy_files.read_npz(path)
    if form == ".npy":
        return numpy_files.read_npy(path)
    return *lear_text.read(path, dimensions=dimensions), {}


def provenance() -> dict[str, str]:
    """Versions that decide the numbers of an artefact."""
    return versions()
