"""Data sets: which videos, of which class and group, and who trains and who tests.

A data set comes from a CSV file (columns ``path`` and ``label``, and as wanted ``group``, ``split``
or any column that names folds) or from a folder with one folder of videos per class. Everything
that can be wrong with it is said here, before any video is worked on.
"""

from __future__ import annotations

from pathlib import Path

from compare.datasets.class_folders import from_folder
from compare.datasets.csv_file import from_csv
from compare.datasets.dataset import Dataset, Split, Video
from compare.datasets.folds import DEFAULT_FOLDS, group_folds
from compare.datasets.readable import Unreadable, check_videos

__all__ = [
    "Dataset",
    "Split",
    "Unreadable",
    "Video",
    "check_videos",
    "from_csv",
    "from_folder",
    "group_folds",
    "load",
]


def load(
    data: str | Path,
    *,
    folds: str | int | None = None,
    group_pattern: str | None = None,
    seed: int = 0,
    allow_outside: bool = False,
) -> Dataset:
    """Load a data set from a CSV file or from a folder of class folders.

    Parameters
    ----------
    data
        A CSV file, see `from_csv`, or a folder, see `from_folder`.
    folds
        A number of folds by group, or (CSV only) the column that names each row's fold.
    group_pattern
        Folder only: regular expression whose first group is the video's group.
    seed
        Of folds that are drawn.
    allow_outside
        CSV only: accept paths that lead out of the CSV's folder.
    """
    data = Path(data)
    if data.is_dir():
        n_folds = DEFAULT_FOLDS if folds is None else _whole_number(folds)
        return from_folder(data, group_pattern=group_pattern, folds=n_folds, seed=seed)
    if group_pattern is not None:
        raise ValueError(
            f"group_pattern must be left out for a CSV file, got {group_pattern!r}; "
            "write the groups into a column 'group'"
        )
    return from_csv(data, folds=folds, seed=seed, allow_outside=allow_outside)


def _whole_number(folds: str | int) -> int:
    if isinstance(folds, str) and not folds.isdigit():
        raise ValueError(
            f"folds must be a number for a folder of class folders, got {folds!r}; "
            "a folder has no columns"
        )
    return int(folds)
