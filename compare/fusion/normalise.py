"""One scale for all: what is done to each table before scores are added up.

An SVM's margins lie within a few units of -1, a network's logits may reach 20: added as they are,
the larger scale decides alone, and a softmax makes an over-confident network shout down everything
else. By default each video's scores are therefore mapped by `unit`: the mean over classes is taken
off (a constant added to all classes says nothing) and the rest is scaled to Euclidean length 1.
What is left is the direction of the evidence: which classes, against which. Probabilities enter as
their logarithms, so that a table of logits and its softmax give the same. Dividing each video's
scores by their length is a common rule for fusing iDT with networks (here ``l2``); taking the mean
off first is ours, and is what makes margins (mostly negative) and logits comparable.

Every mapping looks at one video at a time. Nothing is estimated from the test set, so the score of
a video does not depend on which others are tested beside it. The price is that how sure a method is
of a video, beyond the shape of its scores, is not heard.

===========  =======================================================================================
name         each video's scores become
===========  =======================================================================================
``none``     what they are
``softmax``  probabilities; a table of probabilities stays what it is
``l2``       of Euclidean length 1
``l1``       0 where negative, and of sum 1
``zscore``   of mean 0 and standard deviation 1 over the classes
``rank``     0 for the last class to 1 for the first, ties sharing their mean
``unit``     of mean 0 and Euclidean length 1; probabilities as logarithms
===========  =======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from compare.scores import Kind

PROBABILITY_FLOOR = 1e-7  # below float32's resolution at 1; keeps the logarithm of 0 finite
FLAT = 1e-6  # relative spread below which a row's classes count as equal: float32 rounding


def normalised(values: np.ndarray, kind: Kind, normalisation: str) -> np.ndarray:
    """Map each video's scores to a common scale.

    Parameters
    ----------
    values : ndarray, shape (n_videos, n_classes)
    kind
        Of the scores.
    normalisation
        One of the module's table.

    Returns
    -------
    ndarray of float64, shape (n_videos, n_classes)
        A row that has no direction (all classes equal; for ``l2`` all 0; for ``l1`` none above 0)
        becomes 0 under ``unit``, ``zscore``, ``l2`` and ``l1``: it has no say.

    Raises
    ------
    ValueError
        An unknown normalisation.
    """
    if normalisation not in NORMALISATIONS:
        raise ValueError(
            f"normalisation must be one of {', '.join(NORMALISATIONS)}, got {normalisation!r}"
        )
    return NORMALISATIONS[normalisation](np.asarray(values, dtype=np.float64), kind)


def unit(values: np.ndarray, kind: Kind) -> np.ndarray:
    """Map each video's scores to mean 0 and Euclidean length 1 over the classes.

    Parameters
    ----------
    values : ndarray, shape (n_videos, n_classes)
    kind
        Of the scores; probabilities are replaced by their logarithms first.

    Returns
    -------
    ndarray of float64, shape (n_videos, n_classes)
        A row whose classes all score the same becomes 0: it has no say.
    """
    rows = np.asarray(values, dtype=np.float64)
    return _directions(log_probabilities(rows) if kind == "probability" else rows)


def log_probabilities(values: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, of 0 too."""
    return np.log(np.maximum(values, PROBABILITY_FLOOR))


def softmax(values: np.ndarray) -> np.ndarray:
    """Rows of probabilities out of rows of logits: float64, the same shape."""
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _directions(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = length <= FLAT * np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, length))


def _divided(rows: np.ndarray, by: np.ndarray) -> np.ndarray:
    return rows / np.where(by > 0, by, 1.0)


def _ranks(rows: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return (rankdata(rows, axis=1) - 1) / max(rows.shape[1] - 1, 1)


NORMALISATIONS: Mapping[str, Callable[[np.ndarray, Kind], np.ndarray]] = {
    "none": lambda rows, kind: rows,
    "softmax": lambda rows, kind: rows if kind == "probability" else softmax(rows),
    "l2": lambda rows, kind: _divided(rows, np.linalg.norm(rows, axis=1, keepdims=True)),
    "l1": lambda rows, kind: _divided(
        np.maximum(rows, 0), np.maximum(rows, 0).sum(axis=1, keepdims=True)
    ),
    "zscore": lambda rows, kind: _directions(rows) * rows.shape[1] ** 0.5,
    "rank": lambda rows, kind: _ranks(rows),
    "unit": unit,
}
