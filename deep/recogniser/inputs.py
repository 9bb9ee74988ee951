"""What every recogniser here checks and keeps: labels, class names, a cache folder."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path


def checked_classes(
    videos: Sequence[str | Path], labels: Sequence[int], class_names: Sequence[str] | None
) -> list[str]:
    """Name the classes, after a check that videos, labels and names belong together."""
    if not len(videos):
        raise ValueError("videos must not be empty, got none; give at least one per class")
    if len(labels) != len(videos):
        raise ValueError(
            f"labels must be one per video, got {len(labels)} for {len(videos)} videos; "
            "give both in the same order"
        )
    if any(label != int(label) or label < 0 for label in labels):
        raise ValueError(
            f"labels must be 0 to n_classes - 1, got {sorted(set(labels))[0]}; number the classes"
        )
    n_classes = max(int(label) for label in labels) + 1
    if len(set(labels)) < 2:
        raise ValueError(
            f"labels must be of at least two classes, got only {labels[0]}; add videos of another"
        )
    names = [str(name) for name in class_names or range(n_classes)]
    if n_classes > len(names):
        raise ValueError(
            f"labels must be below the number of classes {len(names)}, got {n_classes - 1}; "
            "name every class"
        )
    empty = [name for index, name in enumerate(names) if index not in {int(v) for v in labels}]
    if empty:
        raise ValueError(
            f"every class must have a training video, got none for {', '.join(empty)}; "
            "add one or leave the class out"
        )
    return names


def cache_folder(owner: object, cache: Path | None) -> Path:
    """Find the folder of frames and flow: `cache`, or a temporary one that dies with `owner`."""
    if cache is not None:
        return Path(cache).absolute()  # workers may have another working folder
    folder = Path(tempfile.mkdtemp(prefix="trajfuse-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder
