"""Fusion rules: how they are written, and those that are fixed before the test.

A rule is written ``[NAME=]KIND[@NORMALISATION][:TERMS]``. The terms are the methods to fuse, as in
``average:A+B`` or, with weights, ``weighted:0.75*A+0.25*B``, or the weights of all methods in their
order, as in ``weighted:2/1/1``. Without terms all methods are fused. A rule may name an earlier one
by its name.

============  ==============  ======================================================================
kind          scale           score of a class
============  ==============  ======================================================================
``average``   unit            mean
``weighted``  unit            weighted mean
``product``   softmax         weighted geometric mean of probabilities, scaled to sum 1
``max``       softmax         largest
``borda``     rank            weighted mean of ranks
``sci``       softmax         mean weighted, video by video, with each method's sparsity
                              concentration index
``grid``      unit            weighted mean; weights of the best accuracy on a grid over the
                              simplex, the middle of its plateau
``logistic``  unit            weighted sum; weights 0 or more of the largest likelihood of the
                              true class under a softmax
``svm``       unit            linear SVM (Crammer & Singer) on the stacked scores
============  ==============  ======================================================================

The last three learn, see `compare.fusion.learned`.

References
----------
Sun et al., "Human action recognition using factorized spatio-temporal convolutional networks",
ICCV 2015, section 3.4; Wright et al., "Robust face recognition via sparse representation", PAMI
2009, definition 1 (sparsity concentration index). Simonyan & Zisserman, "Two-stream convolutional
networks", NIPS 2014, section 2 (SVM on stacked scores).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compare import scores
from compare.fusion.normalise import NORMALISATIONS, log_probabilities, normalised, softmax
from compare.scores import Kind, ScoreTable

DEFAULT_SCALE = {
    "average": "unit",
    "weighted": "unit",
    "product": "softmax",
    "max": "softmax",
    "borda": "rank",
    "sci": "softmax",
    "grid": "unit",
    "logistic": "unit",
    "svm": "unit",
}
ONE_SCALE = ("product", "borda", "sci")  # are what they are by their scale
WEIGHTLESS = ("average", "max", "sci")
LEARNED = ("grid", "logistic", "svm")
RULES = (
    "average; average:METHOD+METHOD...; weighted:W1/W2/... (one weight per method); "
    "weighted:W1*METHOD+W2*METHOD...; product, max, borda, sci, likewise; "
    "learned from held-out scores: grid, logistic, svm; each with @SCALE for another scale, of "
    + ", ".join(NORMALISATIONS)
)


@dataclass(frozen=True)
class FusionRule:
    """A rule over named methods.

    `weights` are positive or zero and sum to 1; equal ones where the kind takes none or learns
    them. `kind` is ``"weighted"`` (average and borda are, too), ``"product"``, ``"max"``, ``"sci"``
    or one of `LEARNED`.
    """

    name: str
    methods: tuple[str, ...]
    weights: tuple[float, ...]
    kind: str = "weighted"
    normalisation: str = "unit"

    @property
    def learns(self) -> bool:
        """Whether the rule has to be fitted to scores of other videos first."""
        return self.kind in LEARNED


def parse_rules(
    specification: str, methods: Sequence[str], *, learned: bool = False
) -> list[FusionRule]:
    """Read fusion rules such as ``"average,weighted:0.5/0.25/0.25"``.

    Parameters
    ----------
    specification
        Rules separated by commas, see the module's docstring. Weights may have any sum above 0 and
        are divided by it. An empty text gives no rule.
    methods
        Names of the methods that take part.
    learned
        Whether rules that learn are wanted: only where there are scores to fit them to.

    Raises
    ------
    ValueError
        Names the rule and what is wrong with it.
    """
    texts = [text.strip() for text in specification.split(",") if text.strip()]
    repeated = [text for text, n in Counter(texts).items() if n > 1]
    if repeated:
        raise ValueError(f"fusion rules must be given once, got twice: {', '.join(repeated)}")
    rules: list[FusionRule] = []
    for text in texts:
        rule = _parse_rule(text, list(methods), [each.name for each in rules])
        if rule.learns and not learned:
            raise ValueError(
                f"fusion rule {text!r} must be fixed here: it learns from scores of training "
                "videos, which 'trajfuse compare fuse' takes with --fit-on"
            )
        rules.append(rule)
    taken = [name for name, n in Counter([*methods, *(r.name for r in rules)]).items() if n > 1]
    if taken:
        raise ValueError(f"fusion rules must have names of their own, got {', '.join(taken)}")
    return rules


def fuse(
    tables: Sequence[ScoreTable], rule: FusionRule, *, tolerant: Collection[str] = ()
) -> ScoreTable:
    """Fuse tables by a fixed rule, joined by video id and class name.

    Parameters
    ----------
    tables
        One per method, of one split; at least those that the rule names.
    rule
        Which methods, and how; not one that learns.
    tolerant
        What may differ between spellings, see `compare.scores.join`.

    Returns
    -------
    ScoreTable
        Rows and columns in the order of the rule's first method. Of kind ``"probability"`` for
        product and sci, else ``"decision"``.

    Raises
    ------
    ScoreJoinError
        The tables differ in videos or classes.
    ValueError
        A method of the rule has no table, or two; the tables are of different splits; or the rule
        learns.
    """
    if rule.learns:
        raise ValueError(
            f"fusion rule {rule.name!r} must be fitted before it is used; see compare.fusion.fit"
        )
    joined = joined_for(tables, rule, tolerant=tolerant)
    return fused_table(joined, rule, *combined(stacked(joined, rule), rule))


def joined_for(
    tables: Sequence[ScoreTable], rule: FusionRule, *, tolerant: Collection[str] = ()
) -> list[ScoreTable]:
    """Return the tables of a rule's methods, in its order, joined; raises as `fuse` does."""
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
    chosen = [by_method[name] for name in rule.methods]
    if len({table.split for table in chosen}) > 1:
        said = ", ".join(f"{table.method!r} of {table.split!r}" for table in chosen)
        raise ValueError(f"tables must be of one split, got {said}; fuse each split by itself")
    return scores.join(chosen, tolerant=tolerant)


def stacked(joined: Sequence[ScoreTable], rule: FusionRule) -> np.ndarray:
    """Scores of joined tables on the rule's scale: float64 (n_methods, n_videos, n_classes)."""
    return np.stack([normalised(table.scores, table.kind, rule.normalisation) for table in joined])


def combined(stack: np.ndarray, rule: FusionRule) -> tuple[np.ndarray, Kind]:
    """Combine scores (n_methods, n_videos, n_classes) by a fixed rule; returns them and their kind.

    Of ``sci``, each method counts for each video as its `sci`; where all are 0, all alike.
    """
    if rule.kind == "product":
        return softmax(np.tensordot(rule.weights, log_probabilities(stack), axes=1)), "probability"
    if rule.kind == "max":
        return stack.max(axis=0), "decision"
    if rule.kind == "sci":
        return sci_mean(stack), "probability"
    return np.tensordot(rule.weights, stack, axes=1), "decision"


def sci(probabilities: np.ndarray) -> np.ndarray:
    """Return the sparsity concentration index over the last axis: 1 for one class, 0 for uniform.

    Parameters
    ----------
    probabilities : ndarray, shape (..., n_classes)
        0 or more, with a sum above 0; 2 classes or more.

    Returns
    -------
    ndarray, shape (...)
        (n max p / sum p - 1) / (n - 1), for n classes.
    """
    n = probabilities.shape[-1]
    if n < 2:
        raise ValueError(f"probabilities must be of 2 or more classes, got {n}")
    peak = probabilities.max(axis=-1) / probabilities.sum(axis=-1)
    return np.maximum(n * peak - 1, 0) / (n - 1)


def sci_mean(probabilities: np.ndarray) -> np.ndarray:
    """Average probabilities over the first axis, each row weighted with its `sci`.

    Parameters
    ----------
    probabilities : ndarray, shape (n_sources, ..., n_classes)
        Of methods, or of crops and clips, as FstCN has it.

    Returns
    -------
    ndarray, shape (..., n_classes)
        The plain mean where every source is uniform.
    """
    index = sci(probabilities)[..., None]
    total = index.sum(axis=0)
    weights = np.where(total > 0, index / np.where(total > 0, total, 1), 1 / len(probabilities))
    return (weights * probabilities).sum(axis=0)


def fused_table(
    joined: Sequence[ScoreTable], rule: FusionRule, values: np.ndarray, kind: Kind, **more: Any
) -> ScoreTable:
    """Make the table of a rule's scores, with what made it in the provenance."""
    first = joined[0]
    provenance: dict[str, Any] = {
        "rule": rule.name,
        "kind": rule.kind,
        "normalisation": rule.normalisation,
        "weights": dict(zip(rule.methods, rule.weights, strict=True)),
        **more,
    }
    protocols = sorted({t.provenance["protocol"] for t in joined if "protocol" in t.provenance})
    if protocols:
        provenance["protocol"] = "; ".join(protocols)
    matched = {t.method: t.provenance["matched"] for t in joined[1:] if "matched" in t.provenance}
    if matched:
        provenance["matched"] = matched
    return ScoreTable(first.ids, first.classes, values, kind, rule.name, first.split, provenance)


def _parse_rule(text: str, methods: Sequence[str], earlier: Sequence[str]) -> FusionRule:
    head, colon, rest = text.partition(":")
    name, _, head = head.rpartition("=")
    kind, at, scale = head.partition("@")
    if kind not in DEFAULT_SCALE or (colon and not rest and kind != "weighted"):
        raise ValueError(f"fusion rule must be one of {RULES}, got {text!r}")
    scale = scale if at else DEFAULT_SCALE[kind]
    if scale not in NORMALISATIONS or (kind in ONE_SCALE and scale != DEFAULT_SCALE[kind]):
        valid = [DEFAULT_SCALE[kind]] if kind in ONE_SCALE else list(NORMALISATIONS)
        raise ValueError(f"scale of {text!r} must be one of {', '.join(valid)}, got {scale!r}")
    chosen, weights = _parse_terms(text, kind, rest, methods, earlier)
    same = {"average": "weighted", "borda": "weighted"}
    total = sum(weights)
    return FusionRule(
        name or text, chosen, tuple(w / total for w in weights), same.get(kind, kind), scale
    )


def _parse_terms(
    text: str, kind: str, rest: str, methods: Sequence[str], earlier: Sequence[str]
) -> tuple[tuple[str, ...], list[float]]:
    """Return the methods of a rule and their weights, equal ones where none are given."""
    names_follow = kind in (*WEIGHTLESS, *LEARNED) or "*" in rest or "+" in rest
    if not names_follow and (rest or kind == "weighted"):
        parts = rest.split("/") if rest else []
        chosen, weights = list(methods), _numbers(text, parts)
        if len(weights) != len(methods) or len(methods) < 2:
            raise ValueError(
                f"fusion rule {text!r} must give one weight for each of 2 or more methods "
                f"({', '.join(methods)}), got {len(weights)} for {len(methods)}"
            )
    else:
        terms = [term.rpartition("*") for term in rest.split("+")] if rest else []
        chosen = [name.strip() for _, _, name in terms] or list(methods)
        weights = _numbers(text, [number or "1" for number, _, _ in terms]) or [1.0] * len(chosen)
    if kind in (*WEIGHTLESS, *LEARNED) and len(set(weights)) > 1:
        raise ValueError(f"fusion rule {text!r} must have no weights, got {weights}")
    unknown = [name for name in chosen if name not in (*methods, *earlier)]
    if unknown:
        raise ValueError(
            f"fusion rule {text!r} must name methods of this run "
            f"({', '.join([*methods, *earlier])}), got {', '.join(map(repr, unknown))}"
        )
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise ValueError(
            f"fusion rule {text!r} must fuse 2 or more different methods, got "
            f"{', '.join(map(repr, chosen))}"
        )
    if not np.isfinite(weights).all() or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(
            f"weights of {text!r} must be finite, 0 or more, and not all 0, got {weights}"
        )
    return tuple(chosen), weights


def _numbers(text: str, parts: Sequence[str]) -> list[float]:
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise ValueError(
            f"fusion rule {text!r} must give numbers separated by '/': {error}"
        ) from error
