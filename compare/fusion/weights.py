"""What learned rules are fitted by: a grid of weights, a likelihood, a linear SVM.

Scores come as float64 (n_methods, n_videos, n_classes) on the scale of the rule, labels as int64
(n_videos,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb

import numpy as np

from compare.datasets.dataset import named

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
N_POINTS = 1001  # at most, of a grid
PLATEAU = 0.5  # standard errors of the accuracy
BLOCK = 128  # videos whose scores under all weights are held at once
RIDGE = 1e-2  # of the logistic rule, on the weights: keeps them finite where nothing is wrong
NEWTON_STEPS = 50  # at most; it needs about eight
NEWTON_GRADIENT = 1e-6  # per video, at which Newton has arrived
SVM_C = 1.0
SVM_STEPS = 20_000  # at most, of liblinear


def simplex(n_methods: int) -> np.ndarray:
    """Return weights of 0 or more that sum to 1, on a grid: float64 (n_points, n_methods).

    The grid is the finest of 100, 50, 20, 10, 5, 4 or 2 steps with 1001 points or fewer; with very
    many methods it is their equal weights and each alone.
    """
    for step in STEPS:
        n = round(1 / step)
        bars = combinations(range(n + n_methods - 1), n_methods - 1)
        if comb(n + n_methods - 1, n_methods - 1) <= N_POINTS:
            cuts = np.array([(-1, *each, n + n_methods - 1) for each in bars])
            return (np.diff(cuts, axis=1) - 1) / n
    return np.vstack([np.full(n_methods, 1 / n_methods), np.eye(n_methods)])


def right_under(stack: np.ndarray, labels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which videos are right under which weights: bool (n_points, n_videos)."""
    right = np.empty((len(points), len(labels)), dtype=bool)
    for start in range(0, len(labels), BLOCK):
        part = stack[:, start : start + BLOCK].astype(np.float32)
        fused = np.tensordot(points.astype(np.float32), part, axes=1)
        right[:, start : start + BLOCK] = fused.argmax(axis=2) == labels[start : start + BLOCK]
    return right


def best_point(points: np.ndarray, n_right: np.ndarray, n_videos: int) -> np.ndarray:
    """The mean of the weights that are as good as the best: within half a standard error of it.

    Accuracy as a function of the weights is a plateau with a ragged edge; its middle lies closer to
    the right weights than its highest splinter does.
    """
    share = n_right.max() / n_videos
    slack = PLATEAU * (share * (1 - share) * n_videos) ** 0.5
    return points[n_right >= n_right.max() - slack].mean(axis=0)


def likeliest(stack: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights of 0 or more under which the true classes are likeliest: float64 (n_methods,).

    Newton's method; weights that are 0 and would fall further stay out of a step.
    """
    own = stack[:, np.arange(len(labels)), labels]
    leads = np.ascontiguousarray(stack - own[:, :, None])
    weights = np.ones(len(stack))
    loss, gradient, curvature = _likelihood(weights, leads)
    for _ in range(NEWTON_STEPS):
        free = (weights > 0) | (gradient < 0)
        if not free.any() or np.abs(gradient[free]).max() <= NEWTON_GRADIENT * len(labels):
            break
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        for halvings in range(30):
            tried = np.maximum(weights - step / 2**halvings, 0)
            reached = _likelihood(tried, leads)
            if reached[0] <= loss:
                break
        else:
            break
        weights, (loss, gradient, curvature) = tried, reached
    return weights


def _likelihood(weights: np.ndarray, leads: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss, gradient and curvature over scores less those of the true class."""
    fused = np.einsum("m,mvc->vc", weights, leads)  # no BLAS: its threads cost more than they give
    peak = fused.max(axis=1, keepdims=True)
    raised = np.exp(fused - peak)
    total = raised.sum(axis=1, keepdims=True)
    expected = np.einsum("vc,mvc->mv", raised / total, leads)
    flat = leads.reshape(len(leads), -1)
    second = np.einsum("mi,ni->mn", flat * (raised / total).reshape(-1), flat)
    ridge = RIDGE * np.eye(len(weights))
    return (
        float((np.log(total) + peak).sum() + RIDGE / 2 * weights @ weights),
        expected.sum(axis=1) + RIDGE * weights,
        second - np.einsum("mv,nv->mn", expected, expected) + ridge,
    )


def fit_svm(
    stack: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit the SVM; returns how scores (n_methods, n_videos, n_classes) become its margins."""
    from sklearn.svm import LinearSVC

    present = np.unique(labels)
    if len(present) != len(classes):
        lacking = [name for k, name in enumerate(classes) if k not in set(present.tolist())]
        raise ValueError(
            f"every class must have a video to fit the SVM to, got none for {named(lacking)}; use "
            "grid or logistic"
        )
    if len(classes) < 2:
        raise ValueError("an SVM must have 2 or more classes, got 1")
    machine = LinearSVC(
        C=SVM_C, multi_class="crammer_singer", max_iter=SVM_STEPS, random_state=0
    ).fit(_side_by_side(stack), labels)

    def scores_of(values: np.ndarray) -> np.ndarray:
        margins = machine.decision_function(_side_by_side(values))
        return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins

    return scores_of


def _side_by_side(stack: np.ndarray) -> np.ndarray:
    """Each method's scores at length 1, next to each other: (n_videos, n_methods * n_classes)."""
    length = np.linalg.norm(stack, axis=2, keepdims=True)
    scaled = stack / np.where(length > 0, length, 1.0)
    return scaled.transpose(1, 0, 2).reshape(stack.shape[1], -1)
