"""Late fusion: several tables of scores into one, by fixed rules chosen before the test.

**One scale for all.** An SVM's margins lie within a few units of -1, a network's logits may reach
20: added as they are, the larger scale decides alone, and a softmax makes an over-confident network
shout down everything else. Before any rule each video's scores are therefore mapped by `unit`: the
mean over classes is taken off (a constant added to all classes says nothing) and the rest is scaled
to Euclidean length 1. What is left is the direction of the evidence: which classes, against which.
Probabilities enter as their logarithms, so that a table of logits and its softmax give the same.

The mapping looks at one video at a time. Nothing is estimated from the test set, so the score of a
video does not depend on which others are tested beside it, and there is nothing to tune. The price
is that how sure a method is of a video, beyond the shape of its scores, is not heard.

**Rules.** ``average`` gives each method the same weight, ``weighted:W1/W2/...`` the given ones.

Dividing each video's scores by their length is a common rule for fusing iDT with networks; taking
the mean off first is ours, and is what makes margins (mostly negative) and logits comparable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare import scores
from compare.scores import Kind, ScoreTable

RULES = ("average", "average:METHOD+METHOD...", "weighted:W1/W2/... (one weight per method)")
PROBABILITY_FLOOR = 1e-7  # below float32's resolution at 1; keeps the logarithm of 0 finite
FLAT = 1e-6  # relative spread below which a row's classes count as equal: float32 rounding


@dataclass(frozen=True)
class FusionRule:
    """A weighted sum over named methods; weights are positive or zero and sum to 1."""

    name: str
    methods: tuple[str, ...]
    weights: tuple[float, ...]


def parse_rules(specification: str, methods: Sequence[str]) -> list[FusionRule]:
    """Read fusion rules such as ``"average,weighted:0.5/0.25/0.25"``.

    Parameters
    ----------
    specification
        Rules separated by commas: ``average`` (all methods), ``average:A+B`` (these two),
        ``weighted:W1/W2/...`` (one weight per method, in the order of `methods`). Weights may have
        any sum above 0 and are divided by it. An empty text gives no rule.
    methods
        Names of the methods that take part.

    Raises
    ------
    ValueError
        Names the rule and what is wrong with it.
    """
    texts = [text.strip() for text in specification.split(",") if text.strip()]
    repeated = [text for text, n in Counter(texts).items() if n > 1]
    if repeated:
        raise ValueError(f"fusion rules must be given once, got twice: {', '.join(repeated)}")
    return [_parse_rule(text, methods) for text in texts]


def fuse(tables: Sequence[ScoreTable], rule: FusionRule) -> ScoreTable:
    """Fuse tables by a rule, joined by video id and class name.

    Parameters
    ----------
    tables
        One per method, of one split; at least those that the rule names.
    rule
        Which methods, with which weights.

    Returns
    -------
    ScoreTable
        Rows and columns in the order of the rule's first method; kind ``"decision"``, each score
        within [-1, 1].

    Raises
    ------
    ScoreJoinError
        The tables differ in videos or classes.
    ValueError
        A method of the rule has no table, or two; or the tables are of different splits.
    """
    by_method: dict[str, ScoreTable] = {}
    for table in tables:
        if table.method in by_method:
            raise ValueError(f"tables must be of different methods, got {table.method!r} twice")
        by_method[table.method] = table
    lacking = [name for name in rule.methods if name not in by_method]
    if lacking:
        raise ValueError(
            f"tables must hold all methods of {rule.name!r}, got none for {', '.join(lacking)}"
        )
    joined = scores.join([by_method[name] for name in rule.methods])
    splits = sorted({table.split for table in joined})
    if len(splits) > 1:
        raise ValueError(f"tables must be of one split, got {', '.join(map(repr, splits))}")
    fused = np.zeros(joined[0].scores.shape)
    for table, weight in zip(joined, rule.weights, strict=True):
        fused += weight * unit(table.scores, table.kind)
    provenance: dict[str, Any] = {
        "rule": rule.name,
        "normalisation": "unit",
        "weights": dict(zip(rule.methods, rule.weights, strict=True)),
    }
    return ScoreTable(
        joined[0].ids, joined[0].classes, fused, "decision", rule.name, splits[0], provenance
    )


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
    if kind == "probability":
        rows = np.log(np.maximum(rows, PROBABILITY_FLOOR))
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    flat = length <= FLAT * np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, length))


def _parse_rule(text: str, methods: Sequence[str]) -> FusionRule:
    kind, _, rest = text.partition(":")
    if kind == "average" and not text.endswith(":"):
        return _average(text, rest.split("+") if rest else list(methods), methods)
    if kind == "weighted":
        return _weighted(text, rest.split("/") if rest else [], methods)
    raise ValueError(f"fusion rule must be one of {'; '.join(RULES)}, got {text!r}")


def _average(text: str, chosen: Sequence[str], methods: Sequence[str]) -> FusionRule:
    unknown = [name for name in chosen if name not in methods]
    if unknown:
        raise ValueError(
            f"fusion rule {text!r} must name methods of this run ({', '.join(methods)}), got "
            f"{', '.join(map(repr, unknown))}"
        )
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise ValueError(
            f"fusion rule {text!r} must fuse 2 or more different methods, got "
            f"{', '.join(map(repr, chosen))}"
        )
    return FusionRule(text, tuple(chosen), (1 / len(chosen),) * len(chosen))


def _weighted(text: str, parts: Sequence[str], methods: Sequence[str]) -> FusionRule:
    try:
        weights = [float(part) for part in parts]
    except ValueError as error:
        raise ValueError(
            f"fusion rule {text!r} must give numbers separated by '/': {error}"
        ) from error
    if len(weights) != len(methods) or len(methods) < 2:
        raise ValueError(
            f"fusion rule {text!r} must give one weight for each of 2 or more methods "
            f"({', '.join(methods)}), got {len(weights)} for {len(methods)}"
        )
    if not np.isfinite(weights).all() or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(
            f"weights of {text!r} must be finite, 0 or more, and not all 0, got {weights}"
        )
    total = sum(weights)
    return FusionRule(text, tuple(methods), tuple(weight / total for weight in weights))
