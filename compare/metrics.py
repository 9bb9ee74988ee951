"""Measures of classification: accuracy, recall by class, confusion, and how far to trust them.

Everything takes integer class indices of shape (n_videos,), checks them (`validate`) and then
measures; `evaluate` goes from tables of scores to all measures at once, joined by video id.

**Intervals.** `wilson` treats every video as an independent trial. Clips cut from one source are
not: they succeed and fail together, and the interval by video is then too narrow. Where groups are
known, `group_bootstrap` draws whole groups instead. It needs groups to draw from: with fewer than
about twenty it tends to be too narrow as well, and where no video, or every video, is right it has
no width. Both are therefore given side by side.

References
----------
Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
Davison & Hinkley, "Bootstrap methods and their application", 1997, section 3.8 (resampling
clusters).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from compare.datasets.dataset import named
from compare.scores import ScoreTable

CONFIDENCE = 0.95
N_DRAWS = 10_000  # bootstrap draws: the 2.5 % quantile then rests on 250 of them
MIN_GROUPS = 2


@dataclass(frozen=True)
class Interval:
    """A confidence interval, as fractions."""

    low: float
    high: float


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

    `accuracy`, `mean_class_accuracy`, `recall` and `confusion` pool the test videos of all splits;
    `accuracy_by_split` has each split alone. `recall` (n_classes,) is NaN for a class that is
    never tested; `confusion` (n_classes, n_classes) counts videos by true class (row) and predicted
    class (column).
    """

    classes: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    n_tested: int
    n_right: int
    accuracy: float
    mean_class_accuracy: float
    recall: np.ndarray
    confusion: np.ndarray
    accuracy_by_split: dict[str, float]
    by_video: Interval
    by_group: Interval | None
    n_groups: int


@dataclass(frozen=True, eq=False)
class Change:
    """What one method does otherwise than another on the same test videos.

    `fixed` and `broken` hold (before, after) of videos that became right or wrong, `recall`
    (n_classes,) the change in each class's recall, NaN for a class that is never tested.
    """

    fixed: tuple[tuple[Prediction, Prediction], ...]
    broken: tuple[tuple[Prediction, Prediction], ...]
    recall: np.ndarray


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


def wilson(n_right: int, n_tested: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for a share, every video taken as an independent trial."""
    if not 0 <= n_right <= n_tested or n_tested < 1:
        raise ValueError(
            f"n_right and n_tested must be 0 <= n_right <= n_tested, 1 or more tested, got "
            f"{n_right} and {n_tested}"
        )
    z2 = _quantile(confidence) ** 2
    share = n_right / n_tested
    middle = (share + z2 / (2 * n_tested)) / (1 + z2 / n_tested)
    variance = share * (1 - share) / n_tested + z2 / (4 * n_tested**2)
    half = (z2 * variance) ** 0.5 / (1 + z2 / n_tested)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def group_bootstrap(
    right: np.ndarray,
    groups: Sequence[str],
    *,
    seed: int = 0,
    n_draws: int = N_DRAWS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile interval of accuracy when whole groups are drawn with replacement.

    Parameters
    ----------
    right : ndarray of bool, shape (n_videos,)
        Which videos are right. A video that several splits test stands there once for each.
    groups
        The group of each video; 2 or more different ones.
    seed
        Of the draws.
    n_draws
        Number of draws, each of as many groups as there are.
    confidence
        Of the interval, 0 to 1.
    """
    right = np.asarray(right, dtype=bool)
    if right.shape != (len(groups),):
        raise ValueError(
            f"right and groups must be of the same videos, got {right.shape} and {len(groups)}"
        )
    names, member_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    if len(names) < MIN_GROUPS:
        raise ValueError(f"groups must be {MIN_GROUPS} or more different ones, got {len(names)}")
    if n_draws < 1:
        raise ValueError(f"n_draws must be 1 or more, got {n_draws}")
    alpha = _checked_confidence(confidence)
    n_right = np.bincount(member_of, weights=right)
    n_videos = np.bincount(member_of)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_draws)
    accuracies = (drawn @ n_right) / (drawn @ n_videos)
    low, high = np.quantile(accuracies, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high))


def evaluate(
    tables: Sequence[ScoreTable],
    truth: Mapping[str, str],
    *,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure one method's scores, one table per split, against the classes of the videos.

    Parameters
    ----------
    tables
        One per split, of one method; classes may stand in any order.
    truth
        The class name of each video id.
    groups
        The group of each video id, for the interval by group; None where there are no groups.
    seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        No table, a split twice, tables with other classes, or a video without a class.
    """
    if not tables:
        raise ValueError("tables must be one per split, got none")
    names = [table.split for table in tables]
    if len(set(names)) != len(names):
        raise ValueError(f"tables must be one per split, got {', '.join(names)}")
    classes = tables[0].classes
    index_of = {name: index for index, name in enumerate(classes)}
    predictions = []
    for table in tables:
        _check_labels(table, truth, index_of)
        for id, row in zip(table.ids, table.scores, strict=True):
            said = table.classes[int(np.argmax(row))]
            predictions.append(Prediction(id, table.split, truth[id], said))
    true = np.array([index_of[p.truth] for p in predictions])
    predicted = np.array([index_of[p.predicted] for p in predictions])
    right = true == predicted
    of_video = None if groups is None else [groups[p.id] for p in predictions]
    n_groups = len(set(of_video or ()))
    enough = of_video is not None and n_groups >= MIN_GROUPS
    n = len(classes)
    return Evaluation(
        classes=classes,
        predictions=tuple(predictions),
        n_tested=len(predictions),
        n_right=int(right.sum()),
        accuracy=accuracy(true, predicted, n_classes=n),
        mean_class_accuracy=mean_class_accuracy(true, predicted, n_classes=n),
        recall=recall(true, predicted, n_classes=n),
        confusion=confusion(true, predicted, n_classes=n),
        accuracy_by_split={
            name: float(np.mean([p.right for p in predictions if p.split == name]))
            for name in names
        },
        by_video=wilson(int(right.sum()), len(predictions)),
        by_group=group_bootstrap(right, of_video, seed=seed) if of_video and enough else None,
        n_groups=n_groups,
    )


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
    return Change(
        fixed=tuple((a, b) for a, b in pairs if b.right and not a.right),
        broken=tuple((a, b) for a, b in pairs if a.right and not b.right),
        recall=after.recall - before.recall,
    )


def _check_labels(table: ScoreTable, truth: Mapping[str, str], index_of: Mapping[str, int]) -> None:
    if set(table.classes) != set(index_of):
        differing = sorted(set(table.classes) ^ set(index_of))
        raise ValueError(
            f"tables of all splits must have the same classes, got differing ones in "
            f"{table.split!r}: {named(differing)}"
        )
    unlabelled = [id for id in table.ids if truth.get(id) not in index_of]
    if unlabelled:
        raise ValueError(
            f"every video must have a class among the table's, got none for {len(unlabelled)}: "
            f"{named(unlabelled)}"
        )


def _quantile(confidence: float) -> float:
    """Two-sided standard normal quantile."""
    return NormalDist().inv_cdf(1 - _checked_confidence(confidence) / 2)


def _checked_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return 1 - confidence
