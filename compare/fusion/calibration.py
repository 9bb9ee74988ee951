"""Scores into probabilities that mean what they say, and how far off they are.

A margin of an SVM and a logit of a network are on scales of their own, and a network's softmax is
surer than it is right. Before such scores are mixed as probabilities they are calibrated on scores
of videos that neither trained the method nor are tested:

- ``temperature``: one number T for all classes; the softmax of scores / T.
- ``platt``: for each class a sigmoid of a score + b, then rows scaled to sum 1.

On the score files of CoViAR, Hidden Two-Stream and LTC's iDT (four sets of methods on HMDB51 and
UCF101, ``grid`` and ``logistic`` cross-fitted in 5 folds of groups) a temperature gains 0.1 to 7.6
points where softmaxes are added; sigmoids per class stay 0.7 to 3.5 behind it, as few videos of a
class tell of each. The scale ``unit`` of `compare.fusion.normalise` hardly hears a temperature, and
is 0.5 to 2.9 points better than either: calibration is for probabilities that are to be read, and
for rules that add them.

References
----------
Guo et al., "On calibration of modern neural networks", ICML 2017, sections 2 (expected calibration
error) and 4.2 (temperature). Platt, "Probabilistic outputs for support vector machines", 1999, with
the targets of its section 2.2 and the Newton steps of Lin, Lin & Weng, Machine Learning 2007.
Zadrozny & Elkan, "Transforming classifier scores into accurate multiclass probability estimates",
KDD 2002, section 4 (one sigmoid per class, scaled to sum 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax

from compare.datasets.dataset import named
from compare.fusion.normalise import log_probabilities, softmax
from compare.scores import ScoreTable, labels_of

CALIBRATIONS = ("temperature", "platt")
N_BINS = 15  # of the calibration error, as in Guo et al.
LOG_TEMPERATURE = (-9.0, 9.0)  # bounds of the search: T from 1e-4 to 1e4
N_STEPS = 100  # of Newton at most; it needs about ten
DAMPING = 1e-9  # on the diagonal of the curvature, in units of its mean: a class may be separable
GRADIENT = 1e-7  # per video, at which Newton has arrived


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fitted calibration.

    `temperature` is set for ``"temperature"``; `slopes` and `offsets` (n_classes,), in the order of
    `classes`, for ``"platt"``.
    """

    kind: str
    classes: tuple[str, ...]
    temperature: float = 1.0
    slopes: np.ndarray | None = None
    offsets: np.ndarray | None = None

    def apply(self, table: ScoreTable) -> ScoreTable:
        """Return a table of probabilities, with the calibration in its provenance.

        Raises
        ------
        ScoreJoinError
            The table has other classes.
        """
        table = table.aligned(table.ids, self.classes)
        values = _evidence(table)
        if self.kind == "temperature":
            probabilities = softmax(values / self.temperature)
            about: dict[str, object] = {"kind": self.kind, "T": self.temperature}
        else:
            sure = expit(values * self.slopes + self.offsets) + np.finfo(np.float32).tiny
            probabilities = sure / sure.sum(axis=1, keepdims=True)
            about = {"kind": self.kind}
        return replace(
            table,
            scores=probabilities,
            kind="probability",
            provenance={**table.provenance, "calibration": about},
        )


def calibrate(kind: str, table: ScoreTable, truth: Mapping[str, str]) -> Calibration:
    """Fit a calibration to scores of held-out videos.

    Parameters
    ----------
    kind
        ``"temperature"`` or ``"platt"``.
    table
        Scores of videos that neither trained the method nor will be tested.
    truth
        The class of each of its videos.

    Raises
    ------
    ValueError
        An unknown kind, a video without a class, or, for ``"platt"``, a class without a video.
    """
    if kind not in CALIBRATIONS:
        raise ValueError(f"calibration must be one of {', '.join(CALIBRATIONS)}, got {kind!r}")
    labels, values = labels_of(table, truth), _evidence(table)
    if kind == "temperature":
        return Calibration(kind, table.classes, temperature=_temperature(values, labels))
    n_videos = np.bincount(labels, minlength=len(table.classes))
    if not n_videos.all():
        lacking = [table.classes[k] for k in np.flatnonzero(n_videos == 0).tolist()]
        raise ValueError(
            f"every class must have a video to fit a sigmoid to, got none for "
            f"{named(lacking)}; use 'temperature'"
        )
    slopes, offsets = _sigmoids(values, labels)
    return Calibration(kind, table.classes, slopes=slopes, offsets=offsets)


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int = N_BINS
) -> float:
    """Return the expected calibration error: how far confidence and accuracy lie apart, 0 to 1.

    Parameters
    ----------
    probabilities : ndarray, shape (n_videos, n_classes)
        Rows sum to 1.
    labels : ndarray of int, shape (n_videos,)
        The true classes.
    n_bins
        Of equal width, over the largest probability of each video.
    """
    if len(probabilities) != len(labels) or not len(labels):
        raise ValueError(
            f"probabilities and labels must be of the same videos, 1 or more, got "
            f"{len(probabilities)} and {len(labels)}"
        )
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(sure * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=right - sure, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(labels))


def table_error(table: ScoreTable, truth: Mapping[str, str]) -> float:
    """Return the calibration error of a table; of margins and logits, that of their softmax."""
    values = np.asarray(table.scores, dtype=np.float64)
    return calibration_error(
        values if table.kind == "probability" else softmax(values), labels_of(table, truth)
    )


def _evidence(table: ScoreTable) -> np.ndarray:
    values = np.asarray(table.scores, dtype=np.float64)
    return log_probabilities(values) if table.kind == "probability" else values


def _temperature(values: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the largest likelihood, within bounds."""
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        return -float(log_softmax(values * np.exp(-log_t), axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE, method="bounded")
    return float(np.exp(found.x))


def _sigmoids(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton for all classes at once; targets stay off 0 and 1 as Platt has them."""
    own = labels[:, None] == np.arange(values.shape[1])
    n_own = own.sum(axis=0)
    n_other = len(labels) - n_own
    targets = np.where(own, (n_own + 1) / (n_own + 2), 1 / (n_other + 2))
    centre, width = values.mean(axis=0), values.std(axis=0)
    width = np.where(width > 0, width, 1.0)
    x = (values - centre) / width
    slopes, offsets = np.zeros(x.shape[1]), np.log((n_own + 1) / (n_other + 1))
    loss = _sigmoid_loss(x, targets, slopes, offsets)
    for _ in range(N_STEPS):
        p = expit(x * slopes + offsets)
        gradient = np.stack([((p - targets) * x).sum(axis=0), (p - targets).sum(axis=0)])
        if np.abs(gradient).max() <= GRADIENT * len(labels):
            break
        w = p * (1 - p)
        aa, ab, bb = (w * x * x).sum(axis=0), (w * x).sum(axis=0), w.sum(axis=0)
        small = DAMPING * (aa + bb) + np.finfo(float).tiny
        aa, bb = aa + small, bb + small
        determinant = aa * bb - ab * ab
        step_a = (bb * gradient[0] - ab * gradient[1]) / determinant
        step_b = (aa * gradient[1] - ab * gradient[0]) / determinant
        scale = np.ones_like(slopes)
        for _ in range(30):  # halve the steps of classes that they would make worse
            tried = slopes - scale * step_a, offsets - scale * step_b
            reached = _sigmoid_loss(x, targets, *tried)
            worse = reached > loss + 1e-12 * np.abs(loss)
            if not worse.any():
                break
            scale = np.where(worse, scale / 2, scale)
        better = reached <= loss + 1e-12 * np.abs(loss)
        slopes = np.where(better, tried[0], slopes)
        offsets = np.where(better, tried[1], offsets)
        loss = np.where(better, reached, loss)
    return slopes / width, offsets - slopes * centre / width


def _sigmoid_loss(
    x: np.ndarray, targets: np.ndarray, slopes: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """Cross entropy per class."""
    z = x * slopes + offsets
    return (np.logaddexp(0, z) - targets * z).sum(axis=0)
