"""Joining scores: two streams' by a linear SVM, a video's many views' by how sure each is.

For the SVM (Simonyan and Zisserman 2014, section 2) the softmax vectors of both streams are
L2-normalised and put one behind the other. Networks are sure of the videos they learned from, so
that an SVM learned on those would trust whichever stream has the more weights: it is learned on
videos of training groups held out from the networks.

Views are weighted by the sparsity concentration index of their softmax vectors (Sun et al. 2015,
section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WEIGHTS = ("crops", "clips", "none")
SHARE = 0.25  # of the groups, held out


def stacked_softmax(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put streams' L2-normalised softmax scores one behind the other.

    Parameters
    ----------
    logits : sequence of Tensor, shape (video, class)

    Returns
    -------
    Tensor, shape (video, stream x class)
    """
    return torch.cat([functional.normalize(each.softmax(dim=1), dim=1) for each in logits], dim=1)


def fit_svm(
    svm: nn.Linear, scores: torch.Tensor, labels: Sequence[int], *, C: float = 1.0, seed: int = 0
) -> None:
    """Learn a multi-class linear SVM (Crammer and Singer) and keep it as a linear layer.

    Parameters
    ----------
    svm
        From the columns of `scores` to one decision value per class; changed in place.
    scores : Tensor, shape (video, column)
        See `stacked_softmax`.
    labels
        One per video; every class must be there.
    C
        Weight of the losses.
    seed
        Of the order of the videos.

    Raises
    ------
    ValueError
        There are not as many labels as scores, or a class is missing.
    """
    if len(labels) != len(scores):
        raise ValueError(
            f"labels must be one per video, got {len(labels)} for {len(scores)}; give both in the "
            "same order"
        )
    missing = sorted(set(range(svm.out_features)) - set(labels))
    if missing:
        raise ValueError(
            f"held-out videos must be of every class, got none of {', '.join(map(str, missing))}; "
            "give more groups per class, or average the scores"
        )
    from sklearn.svm import LinearSVC  # slow to import, and seldom needed

    machine = LinearSVC(C=C, multi_class="crammer_singer", random_state=seed, max_iter=100_000)
    machine.fit(scores.double().numpy(), np.asarray(labels))
    weight, bias = machine.coef_, machine.intercept_
    if svm.out_features == 2:  # scikit-learn keeps the difference of two classes' alone
        weight, bias = np.stack([-weight[0], weight[0]]) / 2, np.stack([-bias[0], bias[0]]) / 2
    with torch.no_grad():
        svm.weight.copy_(torch.from_numpy(weight))
        svm.bias.copy_(torch.from_numpy(bias))


def hold_out(
    labels: Sequence[int], groups: Sequence[Any] | None, *, share: float = SHARE, seed: int = 0
) -> np.ndarray:
    """Choose whole groups for the SVM, so that no group is both there and with the networks.

    Parameters
    ----------
    labels
        One per training video.
    groups
        One per training video: what belongs together, such as takes of one scene.
    share
        Of the groups, above 0 and below 1.
    seed
        Of the draw.

    Returns
    -------
    ndarray of bool, shape (video,)
        True for the SVM's videos.

    Raises
    ------
    ValueError
        There are no groups, or no draw leaves both parts a video of every class.
    """
    if groups is None or len(set(groups)) < 2:
        raise ValueError(
            f"groups must be at least two to hold some out, got {len(set(groups or []))}; give a "
            "group per video, or average the scores"
        )
    names = sorted(set(groups), key=str)
    n_held = min(max(1, round(share * len(names))), len(names) - 1)
    rng = np.random.default_rng(seed)
    classes = set(labels)
    for _ in range(100):
        held = {names[i] for i in rng.choice(len(names), n_held, replace=False)}
        chosen = np.array([group in held for group in groups])
        parts = ({label for label, own in zip(labels, chosen, strict=True) if own == side}
                 for side in (True, False))  # fmt: skip
        if all(part == classes for part in parts):
            return chosen
    raise ValueError(
        f"groups must leave every class a video when {n_held} of {len(names)} are held out, got "
        "none such in 100 draws; give more groups per class, or average the scores"
    )


def sparsity_concentration(p: torch.Tensor) -> torch.Tensor:
    """SCI of score vectors: 1 for all in one class, 0 for the same in every class.

    ``SCI(p) = (N max_j p_j / sum_j p_j - 1) / (N - 1)`` (Wright et al., "Robust Face Recognition
    via Sparse Representation", PAMI 2009, section 2.3).

    Parameters
    ----------
    p : Tensor, shape (..., class)
        Not negative, of at least two classes.

    Returns
    -------
    Tensor, shape (...)
    """
    n_classes = p.shape[-1]
    return (n_classes * p.amax(dim=-1) / p.sum(dim=-1) - 1) / (n_classes - 1)


def fuse_scores(p: torch.Tensor, *, weigh: str = "crops") -> torch.Tensor:
    """Fuse a video's score vectors by how sure each is.

    Parameters
    ----------
    p : Tensor, shape (crop, clip, class)
        Softmax scores.
    weigh
        ``crops``: the mean over each clip's crops weighted by `sparsity_concentration`, then the
        largest over clips; ``clips``: the mean over each crop's clips, then the largest over crops;
        ``none``: the plain mean of all.

    Returns
    -------
    Tensor, shape (class,)
        Where all vectors of a mean are uniform it is the plain one.
    """
    if weigh not in WEIGHTS:
        raise ValueError(
            f"weigh must be one of {', '.join(WEIGHTS)}, got {weigh!r}; choose one of these"
        )
    if weigh == "none":
        return p.mean(dim=(0, 1))
    axis = 0 if weigh == "crops" else 1
    weights = sparsity_concentration(p).clamp_min(0)[..., None]
    total = weights.sum(dim=axis)
    weighted = (weights * p).sum(dim=axis) / total.clamp_min(1e-30)
    means = torch.where(total > 1e-6, weighted, p.mean(dim=axis))
    return means.amax(dim=0)
