"""Classes and groups of videos for scores that are there already: no clip is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compare.datasets.csv_file import read_csv
from compare.datasets.dataset import Dataset


@dataclass(frozen=True)
class Labels:
    """The class of each video id and, where there are groups, the group of each.

    `trained` holds the training ids of splits by name, where the splits are known: scores of those
    are no test scores.
    """

    truth: Mapping[str, str]
    groups: Mapping[str, str] | None
    trained: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> Labels:
        """Take classes, groups and splits from a data set."""
        trained = {split.name: frozenset(split.train) for split in dataset.splits}
        return cls(dataset.truth, dataset.groups, trained)


def load_labels(path: str | Path) -> Labels:
    """Read classes and groups from a CSV file with columns ``id``, ``label`` and maybe ``group``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is no such table, with the line.
    """
    path = Path(path)
    columns, rows = read_csv(path)
    lacking = [name for name in ("id", "label") if name not in columns]
    if lacking:
        raise ValueError(f"{str(path)!r} must have columns id and label, got {', '.join(columns)}")
    wanted = [name for name in ("id", "label", "group") if name in columns]
    truth: dict[str, str] = {}
    groups: dict[str, str] = {}
    for line, row in rows:
        empty = [name for name in wanted if not row[name]]
        if empty:
            raise ValueError(f"{str(path)!r} line {line} must have a {empty[0]}, got an empty cell")
        if row["id"] in truth:
            raise ValueError(
                f"{str(path)!r} line {line} must name a video of its own, got {row['id']!r} again"
            )
        truth[row["id"]] = row["label"]
        if "group" in columns:
            groups[row["id"]] = row["group"]
    return Labels(truth, groups or None)
