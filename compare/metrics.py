"""Measures of classification: accuracies, mean average precision, recall by class, confusion.

Everything takes integer class indices of shape (n_videos,), or scores of shape (n_videos,
n_classes), checks them (`validate`, `validate_scores`) and then measures; `evaluate` goes from
tables of scores to all measures at once, joined by video id, with the intervals of
`compare.intervals`; `change` and `complementarity` hold two evaluations side by side.

**Several splits.** Counts are pooled over the test videos of all splits. `Evaluation.split_mean`,
the mean of the splits' accuracies, is what the literature calls the accuracy on UCF101 and HMDB51.
Scores of different splits come from different models, so average precision is taken in each split
and then averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compare.datasets.dataset import groups_of, named
from compare.intervals import MIN_UNITS, Interval, accuracy_interval, wilson
from compare.scores import ScoreTable, labels_of

TOP = 5


@dataclass(frozen=True, eq=False)
class Prediction:
    """One test video in one split: what it is, what was said, and whether that was right."""

    id: str
    split: str
    truth: str
    predicted: str

    @property
    def right(self) -> bool:
        """Whether the prediction is the truth."""
        return self.truth == self.predicted


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All measures of one method over the test videos of all splits.

    `accuracy`, `top5`, `mean_class_accuracy`, `recall` and `confusion` pool the test videos of all
    splits; `accuracy_by_split` has each split alone and `split_mean` the mean of those, with its
    interval `split_mean_interval`, by group where there are groups, else by video. `top5` is None
    with five classes or fewer. `mean_average_precision` is the mean over splits. `recall`
    (n_classes,) is NaN for a class that is never tested; `confusion` (n_classes, n_classes) counts
    videos by true class (row) and predicted class (column). `by_video` and `by_group` are 95 %
    intervals of `accuracy`; `by_group` is None with fewer than two groups.
    """

    classes: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    n_tested: int
    n_right: int
    accuracy: float
    top5: float | None
    mean_class_accuracy: float
    mean_average_precision: float
    recall: np.ndarray
    confusion: np.ndarray
    accuracy_by_split: dict[str, float]
    split_mean: float
    split_mean_interval: Interval
    by_video: Interval
    by_group: Interval | None
    n_groups: int


@dataclass(frozen=True, eq=False)
class Change:
    """What one method does otherwise than another on the same test videos.

    `fixed` and `broken` hold (before, after) of videos that became right or wrong,
    `fixed_by_class` and `broken_by_class` (n_classes,) count them by true class, and `recall`
    (n_classes,) is the change in each class's recall, NaN for a class that is never tested.
    """

    fixed: tuple[tuple[Prediction, Prediction], ...]
    broken: tuple[tuple[Prediction, Prediction], ...]
    fixed_by_class: np.ndarray
    broken_by_class: np.ndarray
    recall: np.ndarray


@dataclass(frozen=True)
class Complementarity:
    """How two methods' errors overlap: shares of the test videos, which sum to 1.

    `double_fault` is the share that both get wrong (Giacinto & Roli 2001): no fusion rule that
    picks one of the two answers can get those right.
    """

    both_right: float
    only_first: float
    only_second: float
    double_fault: float

    @property
    def oracle(self) -> float:
        """Accuracy of a rule that always picks the answer that is right."""
        return 1 - self.double_fault

    @property
    def disagreement(self) -> float:
        """Share of the videos that one alone gets right (Skalak 1996)."""
        return self.only_first + self.only_second


def validate(truth: np.ndarray, predicted: np.ndarray, *, n_classes: int) -> None:
    """Raise ValueError unless both are class indices of the same videos, and there are some."""
    for name, values in (("truth", truth), ("predicted", predicted)):
        if values.ndim != 1 or values.dtype.kind not in "iu":
            raise ValueError(
                f"{name} must be integers of shape (n_videos,), got {values.dtype} of shape "
                f"{values.shape}"
            )
        if values.size and not 0 <= values.min() <= values.max() < n_classes:
            raise ValueError(
                f"{name} must lie in 0..{n_classes - 1}, got {values.min()}..{values.max()}"
            )
    if truth.size != predicted.size or truth.size == 0:
        raise ValueError(
            f"truth and predicted must have the same number of videos, 1 or more, got {truth.size} "
            f"and {predicted.size}"
        )


def confusion(truth: np.ndarray, predicted: np.ndarray, *, n_classes: int) -> np.ndarray:
    """Count videos by true (row) and predicted class (column): int64 (n_classes, n_classes)."""
    validate(truth, predicted, n_classes=n_classes)
    cells = truth.astype(np.int64) * n_classes + predicted
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def accuracy(truth: np.ndarray, predicted: np.ndarray, *, n_classes: int) -> float:
    """Share of videos that are right, 0 to 1."""
    validate(truth, predicted, n_classes=n_classes)
    return float(np.mean(truth == predicted))


def recall(truth: np.ndarray, predicted: np.ndarray, *, n_classes: int) -> np.ndarray:
    """Share of each class's videos that are right: float64 (n_classes,), NaN for none tested."""
    counts = confusion(truth, predicted, n_classes=n_classes)
    tested = counts.sum(axis=1)
    return np.where(tested > 0, np.diag(counts) / np.maximum(tested, 1), np.nan)


def mean_class_accuracy(truth: np.ndarray, predicted: np.ndarray, *, n_classes: int) -> float:
    """Mean of the recalls of the classes that are tested, 0 to 1."""
    return float(np.nanmean(recall(truth, predicted, n_classes=n_classes)))


def validate_scores(scores: np.ndarray, truth: np.ndarray) -> None:
    """Raise ValueError unless `scores` are finite numbers for the videos of `truth`."""
    if scores.ndim != 2 or scores.dtype.kind not in "fiu" or not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be finite numbers of shape (n_videos, n_classes), got {scores.dtype} of "
            f"shape {scores.shape}"
        )
    if len(scores) != len(truth):
        raise ValueError(
            f"scores and truth must be of the same videos, got {len(scores)} and {len(truth)}"
        )
    validate(truth, truth, n_classes=scores.shape[1])


def top_k_accuracy(scores: np.ndarray, truth: np.ndarray, *, k: int = TOP) -> float:
    """Share of videos whose class is among the `k` that score highest, 0 to 1.

    Of classes that score the same the one with the lower index comes first, as for `argmax`.
    """
    validate_scores(scores, truth)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must lie in 1..{scores.shape[1]}, the number of classes, got {k}")
    own = scores[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(scores.shape[1]) < truth[:, None]
    rank = np.sum((scores > own) | ((scores == own) & earlier), axis=1)
    return float(np.mean(rank < k))


def average_precision(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Average precision of each class's column as a ranking of the videos.

    The sum of precision times the step in recall, over the distinct scores: videos that score the
    same enter together, so that their order does not count; nothing is interpolated.

    Returns
    -------
    ndarray of float64, shape (n_classes,)
        0 to 1; NaN for a class without a video.
    """
    validate_scores(scores, truth)
    n_videos, n_classes = scores.shape
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=0)
    positive = truth[order] == np.arange(n_classes)
    last = np.ones(ranked.shape, dtype=bool)  # the last of the videos that score the same
    last[:-1] = ranked[:-1] != ranked[1:]
    found = np.cumsum(positive, axis=0)
    precision = found / np.arange(1, n_videos + 1)[:, None]
    values = np.full(n_classes, np.nan)
    for column in np.flatnonzero(found[-1]).tolist():
        ends = last[:, column]
        steps = np.diff(found[ends, column], prepend=0) / found[-1, column]
        values[column] = float(steps @ precision[ends, column])
    return values


def mean_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean of `average_precision` over the classes that have a video, 0 to 1."""
    return float(np.nanmean(average_precision(scores, truth)))


def evaluate(
    tables: Sequence[ScoreTable],
    truth: Mapping[str, str],
    *,
    groups: Mapping[str, str] | None = None,
) -> Evaluation:
    """Measure one method's scores, one table per split, against the classes of the videos.

    Parameters
    ----------
    tables
        One per split, of one method; classes may stand in any order.
    truth
        The class name of each video id.
    groups
        The group of each video id, for the intervals by group; None where there are no groups.

    Raises
    ------
    ValueError
        No table, a split twice, tables with other classes, or a video without a class or group.
    """
    if not tables:
        raise ValueError("tables must be one per split, got none")
    names = [table.split for table in tables]
    if len(set(names)) != len(names):
        raise ValueError(f"tables must be one per split, got {', '.join(names)}")
    classes = tables[0].classes
    predictions: list[Prediction] = []
    top5, precision = [], []
    for table in tables:
        _require_classes(table, classes)
        aligned = table.aligned(table.ids, classes)
        true = labels_of(aligned, truth)
        said = aligned.scores.argmax(axis=1).tolist()
        predictions += [
            Prediction(id, table.split, truth[id], classes[index])
            for id, index in zip(table.ids, said, strict=True)
        ]
        if len(classes) > TOP:
            top5.append(len(true) * top_k_accuracy(aligned.scores, true))
        precision.append(mean_average_precision(aligned.scores, true))
    return _measured(classes, predictions, names, top5, precision, groups)


def _measured(
    classes: tuple[str, ...],
    predictions: Sequence[Prediction],
    splits: Sequence[str],
    top5: Sequence[float],
    precision: Sequence[float],
    groups: Mapping[str, str] | None,
) -> Evaluation:
    """Work out everything that needs no scores but predictions."""
    n = len(classes)
    index_of = {name: index for index, name in enumerate(classes)}
    true = np.array([index_of[p.truth] for p in predictions])
    predicted = np.array([index_of[p.predicted] for p in predictions])
    right = true == predicted
    ids = [p.id for p in predictions]
    of_video = groups_of(ids, groups) if groups is not None else None
    n_groups = len(set(of_video or ()))
    grouped = of_video if n_groups >= MIN_UNITS else None
    weights = split_weights([p.split for p in predictions])
    by_split = {
        name: float(np.mean([p.right for p in predictions if p.split == name])) for name in splits
    }
    by_video = wilson(int(right.sum()), len(right))
    if MIN_UNITS <= len(set(ids)) < len(ids):
        by_video = accuracy_interval(right, ids, unit="video")
    mean_interval = by_video
    if grouped is not None:
        mean_interval = accuracy_interval(right, grouped, weights=weights)
    elif MIN_UNITS <= len(set(ids)) and len(splits) > 1:
        mean_interval = accuracy_interval(right, ids, weights=weights, unit="video")
    return Evaluation(
        classes=classes,
        predictions=tuple(predictions),
        n_tested=len(predictions),
        n_right=int(right.sum()),
        accuracy=accuracy(true, predicted, n_classes=n),
        top5=sum(top5) / len(predictions) if top5 else None,
        mean_class_accuracy=mean_class_accuracy(true, predicted, n_classes=n),
        mean_average_precision=float(np.mean(precision)),
        recall=recall(true, predicted, n_classes=n),
        confusion=confusion(true, predicted, n_classes=n),
        accuracy_by_split=by_split,
        split_mean=float(np.mean(list(by_split.values()))),
        split_mean_interval=mean_interval,
        by_video=by_video,
        by_group=None if grouped is None else accuracy_interval(right, grouped),
        n_groups=n_groups,
    )


def split_weights(splits: Sequence[str]) -> np.ndarray:
    """Weight of each test video under which a weighted mean is the mean over splits; sum 1."""
    _, member, sizes = np.unique(
        np.asarray(splits, dtype=np.str_), return_inverse=True, return_counts=True
    )
    return 1 / (len(sizes) * sizes[member])


def change(before: Evaluation, after: Evaluation) -> Change:
    """Compare two evaluations video by video, joined by split and id.

    Raises
    ------
    ValueError
        They are not of the same test videos and classes.
    """
    if before.classes != after.classes:
        raise ValueError(
            f"evaluations must be of the same classes, got {before.classes} and {after.classes}"
        )
    earlier = {(p.split, p.id): p for p in before.predictions}
    if earlier.keys() != {(p.split, p.id) for p in after.predictions}:
        raise ValueError("evaluations must be of the same test videos in the same splits")
    pairs = [(earlier[p.split, p.id], p) for p in after.predictions]
    fixed = tuple((a, b) for a, b in pairs if b.right and not a.right)
    broken = tuple((a, b) for a, b in pairs if a.right and not b.right)
    return Change(
        fixed=fixed,
        broken=broken,
        fixed_by_class=_count_by_class(fixed, before.classes),
        broken_by_class=_count_by_class(broken, before.classes),
        recall=after.recall - before.recall,
    )


def complementarity(
    first: np.ndarray, second: np.ndarray, *, weights: np.ndarray | None = None
) -> Complementarity:
    """Work out how two methods' errors overlap.

    Parameters
    ----------
    first, second : ndarray of bool or float, shape (n_videos,)
        Which videos are right, or with which share over seeds (every seed of the one is then held
        against every seed of the other).
    weights : ndarray, shape (n_videos,), optional
        None: all the same.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(
            f"first and second must have the same shape (n_videos,), got {a.shape} and {b.shape}"
        )
    share = np.full(a.size, 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share / share.sum()
    return Complementarity(
        both_right=float(share @ (a * b)),
        only_first=float(share @ (a * (1 - b))),
        only_second=float(share @ ((1 - a) * b)),
        double_fault=float(share @ ((1 - a) * (1 - b))),
    )


def _count_by_class(
    pairs: Sequence[tuple[Prediction, Prediction]], classes: Sequence[str]
) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(classes)}
    true = np.array([index_of[after.truth] for _, after in pairs], dtype=np.int64)
    return np.bincount(true, minlength=len(classes))


def _require_classes(table: ScoreTable, classes: Sequence[str]) -> None:
    differing = sorted(set(table.classes) ^ set(classes))
    if differing:
        raise ValueError(
            f"tables of all splits must have the same classes, got differing ones in "
            f"{table.split!r}: {named(differing)}"
        )
