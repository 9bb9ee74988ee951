"""What every recogniser asks of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def check_labels(
    videos: Sequence[str | Path], labels: Sequence[int], class_names: Sequence[str] | None
) -> np.ndarray:
    """Check that labels fit the videos and that no class is empty; returns them as int64 (n,)."""
    targets = np.asarray(labels)
    if len(videos) == 0:
        raise ValueError("videos must hold at least one video, got none; check the training list")
    if targets.shape != (len(videos),):
        raise ValueError(
            f"labels must be one for each of the {len(videos)} videos, got an array of shape "
            f"{targets.shape}; pass both from the same list"
        )
    if not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0:
        raise ValueError(
            f"labels must be whole numbers from 0, got {targets.dtype} from {targets.min()}; "
            "number the classes"
        )
    n_classes = int(targets.max()) + 1 if class_names is None else len(class_names)
    if targets.max() >= n_classes:
        raise ValueError(
            f"labels must be below the number of classes {n_classes}, got {targets.max()}; "
            "name every class"
        )
    empty = np.setdiff1d(np.arange(n_classes), targets)
    if len(empty):
        names = [str(k) if class_names is None else class_names[k] for k in empty]
        raise ValueError(
            f"every class must have a training video, got none for {', '.join(names)}; "
            "add one or leave the class out"
        )
    return targets.astype(np.int64)
