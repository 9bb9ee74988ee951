"""Scores of training videos by networks that did not see their group."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deep import weights
from deep.recogniser.fitting import digest

N_FOLDS = 5


def cross_scores(
    videos: Sequence[str | Path],
    labels: Sequence[int],
    groups: Sequence[Any],
    class_names: Sequence[str],
    *,
    n_folds: int | None,
    another: Callable[[], Any],
    settings: dict[str, Any],
    cache: Path | None,
) -> np.ndarray:
    """Score every video by a recogniser fitted without its group.

    Parameters
    ----------
    videos, labels, groups, class_names, n_folds
        As for `NetworkRecogniser.cross_scores`.
    another
        Makes a new recogniser.
    settings
        Its settings.
    cache
        Folder that keeps the scores of finished folds; None to keep none.

    Returns
    -------
    ndarray of float32, shape (video, class)
    """
    scores = np.empty((len(videos), len(class_names)), np.float32)
    for kept, held in group_folds(labels, groups, n_folds=n_folds):
        path = None
        if cache is not None:
            fold = [[str(videos[i]), int(labels[i]), str(groups[i])] for i in (*kept, *held)]
            name = digest([settings, list(class_names), len(kept), fold])
            path = Path(cache) / f"{name}.held-out.safetensors"
            if path.is_file():
                scores[held] = weights.load(path)[0]["scores"].numpy()
                continue
        recogniser = another().fit(
            [videos[index] for index in kept],
            [labels[index] for index in kept],
            groups=[groups[index] for index in kept],
            class_names=class_names,
        )
        scores[held] = recogniser.scores([videos[index] for index in held])
        if path is not None:
            found = {"scores": torch.from_numpy(scores[held])}
            weights.save(path, found, settings=settings)
    return scores


def group_folds(
    labels: Sequence[int], groups: Sequence[Any], *, n_folds: int | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Deal groups to folds, classes spread as evenly as may be; nothing is drawn by lot.

    Parameters
    ----------
    labels, groups
        One of each per video.
    n_folds
        None for 5, or as many as there are groups.

    Returns
    -------
    list of (kept, held) of ndarray of int64
        Indices of the videos to train on and of those to score.

    Raises
    ------
    ValueError
        There are fewer groups than folds or than two, or a fold holds all videos of a class.
    """
    names = [str(group) for group in groups]
    if len(names) != len(labels):
        raise ValueError(
            f"groups must be one per video, got {len(names)} for {len(labels)}; give both in the "
            "same order"
        )
    n_groups = len(set(names))
    wanted = min(N_FOLDS, n_groups) if n_folds is None else n_folds
    if not 2 <= wanted <= n_groups:
        raise ValueError(
            f"folds must be 2 to the number of groups, {n_groups}, got {wanted}; give more groups "
            "or fewer folds"
        )
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import, and seldom needed

    with warnings.catch_warnings():  # that a class has fewer videos than there are folds
        warnings.simplefilter("ignore", UserWarning)
        folds = list(StratifiedGroupKFold(wanted).split(np.zeros(len(names)), labels, names))
    for kept, _ in folds:
        lost = set(labels) - {labels[index] for index in kept}
        if lost:
            raise ValueError(
                f"every fold must leave each class a video to train on, got none of class "
                f"{min(lost)}; give its videos more groups, or ask for more folds"
            )
    return folds
