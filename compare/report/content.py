"""What a report says: everything that the page shows, as plain texts and numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from compare import metrics
from compare.benchmark import Result, Role, Run
from compare.intervals import Interval

MAX_CELLS_SHOWN = 16  # classes up to which a confusion matrix is a table with numbers
MAX_NARROW, LONG_NAME = 8, 12  # classes, and characters of a name, that fit a third of the page
HEAT_LEVELS = 8
N_CONFUSIONS = 12  # most frequent confusions listed beside a heat map
ROLES: tuple[tuple[Role, str], ...] = (
    ("method", "Methods"),
    ("fusion", "Fused"),
    ("yardstick", "Yardsticks"),
)


def page_content(run: Run) -> dict[str, Any]:
    """Return everything that the page shows, as texts and numbers."""
    dataset = run.dataset
    classes = run.results[0].evaluation.classes
    tested = run.results[0].evaluation.confusion.sum(axis=1)
    return {
        "name": dataset.name,
        "headline": headline(run),
        "figures": _figures(run),
        "protocol": dataset.protocol,
        "intervals": _about_intervals(run),
        "n_videos": len(dataset.videos),
        "n_classes": len(classes),
        "n_groups": len(set((dataset.groups or {}).values())),
        "grouped": dataset.groups is not None,
        "splits": [
            {"name": s.name, "n_train": len(s.train), "n_test": len(s.test)} for s in dataset.splits
        ],
        "chance": 100 / len(classes),
        "sections": [
            {"heading": heading, "role": role, "rows": [_row(r) for r in run.of(role)]}
            for role, heading in ROLES
            if run.of(role)
        ],
        "results": [_row(result) for result in run.results],
        "recalls": [
            {
                "name": name,
                "n_tested": int(tested[index]),
                "values": [_number(r.evaluation.recall[index]) for r in run.results],
            }
            for index, name in enumerate(classes)
        ],
        "gains": [_gain(result, run) for result in run.of("fusion")],
        "confusions": [_confusion(result) for result in run.results],
        "as_tables": len(classes) <= MAX_CELLS_SHOWN,
        "wide": len(classes) > MAX_NARROW or max(map(len, classes)) > LONG_NAME,
        "classes": classes,
        "excluded": [{"id": bad.id, "reason": bad.reason} for bad in run.excluded],
        "unable": dict(run.unable),
        "seed": run.seed,
        "command": run.command,
        "started": run.started.replace("T", " ").replace("+00:00", " UTC"),
        "seconds": duration(run.seconds),
        "memory": {name: f"{n / 2**30:.2f} GiB" for name, n in run.peak_memory.items()},
        "versions": dict(run.versions),
        "settings": [
            {
                "label": result.label,
                "text": json.dumps(dict(result.settings), indent=2, ensure_ascii=False),
                "resumed": result.resumed,
            }
            for result in run.results
        ],
    }


def headline(run: Run) -> str:
    """Say in a sentence or two what the first fusion rule, or the best method, got.

    The rule is the first as given, not the best on the test; the method that it is held against
    is the best on the test, which favours the method.
    """
    best = _best(run.of("method"))
    fused = run.of("fusion")
    right = best.evaluation.n_right
    tested = best.evaluation.n_tested
    if not fused:
        return f"{best.label} is right on {right} of {tested} test videos ({_share(best)})."
    gained = fused[0].evaluation.n_right - right
    verdict = f"{abs(gained)} {'more' if gained > 0 else 'fewer'}" if gained else "as many"
    return (
        f"{fused[0].label} is right on {fused[0].evaluation.n_right} of {tested} test videos "
        f"({_share(fused[0])}); the best single method, {best.label}, on {right} "
        f"({_share(best)}): {verdict}."
    )


def duration(seconds: float) -> str:
    """Write a time as people say it: ``0.42 s``, ``12.3 s``, ``4 min 05 s``, ``1 h 02 min``."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float) -> str:
    """Write a share in percent with one digit."""
    return f"{100 * share:.1f}"


def range_text(interval: Interval | None) -> str:
    """Write an interval in whole percent."""
    return "–" if interval is None else f"{100 * interval.low:.0f}–{100 * interval.high:.0f}"


def _figures(run: Run) -> list[dict[str, str]]:
    """Return the few numbers at the head of the page."""
    best, fused = _best(run.of("method")), run.of("fusion")
    shown = [
        {
            "value": percent(result.evaluation.accuracy),
            "unit": "%",
            "label": result.label,
            "role": result.role,
            "note": f"{range_text(result.evaluation.by_video)} at 95 %",
        }
        for result in [*fused[:1], best]
    ]
    if fused:
        points = 100 * (fused[0].evaluation.accuracy - best.evaluation.accuracy)
        found = metrics.change(best.evaluation, fused[0].evaluation)
        shown.append(
            {
                "value": f"{points:+.1f}".replace("-", "−"),
                "unit": "points",
                "label": "by fusing",
                "role": "change",
                "note": f"{len(found.fixed)} videos fixed, {len(found.broken)} broken",
            }
        )
    shown.append(
        {
            "value": str(best.evaluation.n_tested),
            "unit": "",
            "label": "test videos",
            "role": "",
            "note": f"of {best.evaluation.n_groups} groups" if run.dataset.groups else "no groups",
        }
    )
    return shown


def _row(result: Result) -> dict[str, Any]:
    measured = result.evaluation
    fit, score = _times(result)
    return {
        "label": result.label,
        "role": result.role,
        "accuracy": percent(measured.accuracy),
        "value": 100 * measured.accuracy,
        "low": 100 * measured.by_video.low,
        "high": 100 * measured.by_video.high,
        "by_video": range_text(measured.by_video),
        "by_group": range_text(measured.by_group),
        "mean_class": percent(measured.mean_class_accuracy),
        "right": f"{measured.n_right}/{measured.n_tested}",
        "n_right": measured.n_right,
        "fit": fit,
        "score": score,
        "fit_seconds": result.fit_seconds,
        "score_seconds": result.score_seconds,
        "by_split": [percent(value) for value in measured.accuracy_by_split.values()],
        "split_mean": percent(float(np.mean(list(measured.accuracy_by_split.values())))),
    }


def _gain(result: Result, run: Run) -> dict[str, Any]:
    """Return what a fusion rule changed against the best of the methods that it fuses."""
    assert result.rule is not None
    members = [r for r in run.results if r.label in result.rule.methods]
    against = _best(members)
    found = metrics.change(against.evaluation, result.evaluation)
    weights = zip(result.rule.methods, result.rule.weights, strict=True)
    rows = zip(
        result.evaluation.classes,
        against.evaluation.recall,
        result.evaluation.recall,
        found.recall,
        strict=True,
    )
    return {
        "label": result.label,
        "against": against.label,
        "weights": [{"method": name, "weight": f"{weight:.3g}"} for name, weight in weights],
        "classes": [
            {"name": n, "before": _number(b), "after": _number(a), "change": _number(c)}
            for n, b, a, c in rows
        ],
        "fixed": [_changed(*pair) for pair in found.fixed],
        "broken": [_changed(*pair) for pair in found.broken],
    }


def _changed(before: metrics.Prediction, after: metrics.Prediction) -> dict[str, str]:
    return {
        "id": after.id,
        "split": after.split,
        "truth": after.truth,
        "before": before.predicted,
        "after": after.predicted,
    }


def _confusion(result: Result) -> dict[str, Any]:
    """Return a confusion matrix as rows of cells, or as a heat map with its largest confusions."""
    counts = result.evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    wrong = counts * (1 - np.eye(n, dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:N_CONFUSIONS]
    names = result.evaluation.classes
    content: dict[str, Any] = {
        "label": result.label,
        "role": result.role,
        "accuracy": percent(result.evaluation.accuracy),
        "n": n,
        "worst": [
            {"truth": names[i // n], "said": names[i % n], "count": int(wrong.flat[i])}
            for i in order.tolist()
            if wrong.flat[i] > 0
        ],
    }
    if n <= MAX_CELLS_SHOWN:
        content["rows"] = [
            [
                {"count": int(counts[i, j]), "share": round(float(shares[i, j]), 3), "own": i == j}
                for j in range(n)
            ]
            for i in range(n)
        ]
    else:
        content["own_paths"] = _heat_paths(shares * np.eye(n))
        content["wrong_paths"] = _heat_paths(shares * (1 - np.eye(n)))
    return content


def _heat_paths(shares: np.ndarray) -> list[dict[str, Any]]:
    """Return the cells above 0 as one SVG path per level of strength, 1 unit a cell."""
    levels = np.ceil(np.clip(shares, 0, 1) * HEAT_LEVELS).astype(int)
    paths = []
    for level in range(1, HEAT_LEVELS + 1):
        cells = np.argwhere(levels == level).tolist()
        if cells:
            drawn = "".join(f"M{column} {row}h1v1h-1z" for row, column in cells)
            paths.append({"opacity": round(0.25 + 0.75 * level / HEAT_LEVELS, 3), "d": drawn})
    return paths


def _about_intervals(run: Run) -> str:
    measured = run.results[0].evaluation
    repeated = len({p.id for p in measured.predictions}) < measured.n_tested
    text = (
        "Intervals by video are at 95 %: "
        + ("by effective n, as videos are tested more than once" if repeated else "Wilson's")
        + "; they take test videos as independent."
    )
    if run.dataset.groups is None:
        return text + " No groups are given; clips of one source would make them too narrow."
    if measured.by_group is None:
        return text + " The test videos are of one group: nothing can be said by group."
    return text + (
        f" Intervals by group trust only the variation between the {measured.n_groups} test "
        "groups: Jeffreys limits at the effective number of videos, with the t quantile. They "
        "cover 95 % of the time in simulation, with 20 groups as with 700."
    )


def _best(results: Sequence[Result]) -> Result:
    """Return the most accurate result, the first among equals."""
    return max(results, key=lambda result: result.evaluation.n_right)


def _times(result: Result) -> tuple[str, str]:
    if result.role == "fusion":
        return "–", "–"
    return duration(result.fit_seconds), duration(result.score_seconds)


def _share(result: Result) -> str:
    return f"{percent(result.evaluation.accuracy)} %"


def _number(share: float) -> float | None:
    """Return a share in percent for the template; None for what was never tested."""
    return None if np.isnan(share) else round(100 * float(share), 3)
