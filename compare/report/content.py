"""What the page shows: everything as plain texts and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compare import metrics
from compare.report import pareto
from compare.report.findings import LEVEL, Findings, Rank
from compare.report.study import Entry, Study
from compare.report.texts import (
    about_intervals,
    best_of,
    change_text,
    duration,
    headline,
    n_right,
    p_value,
    percent,
    points,
    range_text,
    verdict,
)
from compare.report.videos import Disputed
from compare.significance import Comparison, Gain

MAX_CELLS_SHOWN = 16  # classes up to which a confusion matrix is a table with numbers
MAX_NARROW, LONG_NAME = 8, 12  # classes, and characters of a name, that fit a third of the page
N_CONFUSIONS = 12  # most frequent confusions listed beside a heat map
MAX_MATRICES = 16  # methods whose confusions are shown
MAX_SETTINGS = 8000  # characters of a method's settings that the page shows


def page_content(
    study: Study,
    findings: Findings,
    disputed: Sequence[Disputed],
    thumbnails: Mapping[str, str],
    *,
    n_videos: int,
) -> dict[str, Any]:
    """Return everything that the page shows; lists of videos end after `n_videos`."""
    classes = study.classes
    entries = [rank.entry for rank in findings.ranks]
    tested = study.entries[0].evaluation.confusion.sum(axis=1)
    compared = study.of("method", "fusion")
    return {
        "name": study.name,
        "headline": headline(study),
        "verdict": verdict(study, findings),
        "figures": _figures(study, findings),
        "protocol": study.protocol,
        "intervals": about_intervals(findings),
        "unit": findings.unit,
        "n_videos": len({p.id for p in entries[0].evaluation.predictions}),
        "n_classes": len(classes),
        "n_units": findings.n_units,
        "grouped": findings.unit == "group",
        "n_seeds": max(len(entry.evaluations) for entry in entries),
        "splits": _splits(study),
        "chance": 100 / len(classes),
        "sections": _sections(findings),
        "results": [{"label": e.label, "role": e.role} for e in entries],
        "pairs": [_pair(pair) for pair in findings.pairs],
        "gains": [_gain(gain) for gain in findings.gains],
        "recalls": [
            {"name": name, "n_tested": int(tested[k]), "values": [_recall(e, k) for e in entries]}
            for k, name in enumerate(classes)
        ],
        "changes": [_change(entry, study, n_videos) for entry in study.of("fusion")],
        "confusions": [_confusion(entry) for entry in entries[:MAX_MATRICES]],
        "n_left_out": max(0, len(entries) - MAX_MATRICES),
        "as_tables": len(classes) <= MAX_CELLS_SHOWN,
        "wide": len(classes) > MAX_NARROW or max(map(len, classes)) > LONG_NAME,
        "classes": classes,
        "voters": [entry.label for entry in compared],
        "n_disputed": len(disputed),
        "disputed": [_disputed(row, thumbnails) for row in disputed[:n_videos]],
        "pictured": bool(thumbnails),
        "costs": pareto.cost_rows(findings),
        "split_costs": pareto.split_rows(findings),
        "pareto": pareto.pictures(findings),
        "excluded": study.excluded,
        "unable": study.unable,
        "caveats": {e.label: e.caveat for e in study.entries if e.caveat},
        "seed": study.seed,
        "command": study.command,
        "started": study.started.replace("T", " ").replace("+00:00", " UTC"),
        "seconds": None if study.seconds is None else duration(study.seconds),
        "memory": {name: f"{n / 2**30:.2f} GiB" for name, n in study.peak_memory.items()},
        "versions": study.versions,
        "settings": [
            {"label": e.label, "text": _settings(e), "resumed": e.resumed} for e in study.entries
        ],
    }


def _figures(study: Study, findings: Findings) -> list[dict[str, str]]:
    """Return the few numbers at the head of the page."""
    best, fused = best_of(study.of("method") or study.entries), study.of("fusion")
    interval_of = {rank.entry.label: rank.standing.interval for rank in findings.ranks}
    shown = [
        {
            "value": percent(entry.accuracy),
            "unit": "%",
            "label": entry.label,
            "role": entry.role,
            "note": f"{range_text(interval_of[entry.label])} at 95 %",
        }
        for entry in dict.fromkeys([*fused[:1], best])
    ]
    if fused and best is not fused[0]:
        found = metrics.change(best.evaluation, fused[0].evaluation)
        shown.append(
            {
                "value": points(fused[0].accuracy - best.accuracy),
                "unit": "points",
                "label": "by fusing",
                "role": "change",
                "note": f"{len(found.fixed)} fixed, {len(found.broken)} broken",
            }
        )
    grouped = findings.unit == "group"
    shown.append(
        {
            "value": f"{best.evaluation.n_tested:,}",
            "unit": "",
            "label": "test videos",
            "role": "",
            "note": f"of {findings.n_units:,} groups" if grouped else "no groups",
        }
    )
    return shown


def _sections(findings: Findings) -> list[dict[str, Any]]:
    """Return the ranking, and the yardsticks below it."""
    numbered = [_row(number, rank) for number, rank in enumerate(findings.ranks, start=1)]
    ranked = [row for row in numbered if row["role"] != "yardstick"]
    rest = [row for row in numbered if row["role"] == "yardstick"]
    sections = [("Methods and fusions", ranked), ("Yardsticks", rest)]
    return [{"heading": heading, "rows": rows} for heading, rows in sections if rows]


def _row(number: int, rank: Rank) -> dict[str, Any]:
    entry, interval = rank.entry, rank.standing.interval
    measured = entry.evaluations
    top5 = [each.top5 for each in measured if each.top5 is not None]
    place = "–"
    if rank.best is not None:
        place = f"{rank.best}" if rank.best == rank.worst else f"{rank.best}–{rank.worst}"
    return {
        "number": number,
        "label": entry.label,
        "role": entry.role,
        "place": place,
        "accuracy": percent(rank.standing.accuracy),
        "value": 100 * rank.standing.accuracy,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "interval": range_text(interval),
        "interval_method": interval.method,
        "by_video": range_text(entry.evaluation.by_video),
        "mean_class": percent(float(np.mean([e.mean_class_accuracy for e in measured]))),
        "top5": percent(float(np.mean(top5))) if top5 else "–",
        "precision": percent(float(np.mean([e.mean_average_precision for e in measured]))),
        "first": "–" if rank.first is None else f"{100 * rank.first:.0f}",
        "right": n_right(entry),
        "n_right": float(np.mean([e.n_right for e in measured])),
        "seeds": len(measured),
        "caveat": entry.caveat,
        "by_split": {
            split: percent(float(np.mean([e.accuracy_by_split[split] for e in measured])))
            for split in entry.evaluation.accuracy_by_split
        },
    }


def _splits(study: Study) -> list[dict[str, Any]]:
    return [
        {"name": name, "n_train": "–" if train is None else train, "n_test": test}
        for name, train, test in study.splits
    ]


def _pair(pair: Comparison) -> dict[str, Any]:
    overlap = pair.complementarity
    return {
        "first": pair.first,
        "second": pair.second,
        "value": 100 * pair.difference,
        "difference": points(pair.difference),
        "interval": change_text(pair.interval),
        "p": p_value(pair.adjusted),
        "p_value": pair.adjusted,
        "beyond": pair.adjusted < LEVEL,
        "p_alone": p_value(pair.test.p),
        "by_video": p_value(pair.by_video.p),
        "fixed": f"{float(pair.fixed.sum()):.6g}",
        "broken": f"{float(pair.broken.sum()):.6g}",
        "oracle": percent(overlap.oracle),
        "both_wrong": percent(overlap.double_fault),
        "test": f"{pair.test.method}; {pair.by_video.method}",
    }


def _gain(gain: Gain) -> dict[str, Any]:
    """Return a gain, its control, and what the one has over the other."""

    def part(found: Comparison | None) -> dict[str, Any] | None:
        return None if found is None else _pair(found)

    return {
        "base": gain.fused.first,
        "fused": gain.fused.second,
        "control": None if gain.control is None else gain.control.second,
        "gain": part(gain.fused),
        "control_gain": part(gain.control),
        "over": part(gain.over_control),
    }


def _change(entry: Entry, study: Study, n_videos: int) -> dict[str, Any]:
    """Return what a fusion changed against the best of those that it fuses, or of all methods."""
    among = [e for e in study.entries if e.label in entry.members and e is not entry]
    methods = study.of("method")
    if not (among or methods):
        among = [e for e in study.entries if e is not entry] or [entry]
    against = best_of(among or methods)
    found = metrics.change(against.evaluation, entry.evaluation)
    rows = zip(
        study.classes,
        against.evaluation.recall,
        entry.evaluation.recall,
        found.recall,
        found.fixed_by_class.tolist(),
        found.broken_by_class.tolist(),
        strict=True,
    )
    changed = [("right", pair) for pair in found.fixed] + [("wrong", pair) for pair in found.broken]
    return {
        "label": entry.label,
        "against": against.label,
        "is_member": bool(among),
        "weights": [
            {"method": name, "weight": f"{weight:.3g}"}
            for name, weight in zip(entry.members, entry.weights, strict=True)
        ],
        "way": ", ".join(filter(None, entry.way)),
        "calibrated": [
            {
                "method": member,
                "kind": about["kind"],
                "before": percent(about["error_before"]),
                "after": percent(about["error_after"]),
            }
            for member, about in entry.calibrations.items()
        ],
        "classes": [
            {
                "name": name,
                "before": _number(before),
                "after": _number(after),
                "change": _number(difference),
                "fixed": fixed,
                "broken": broken,
            }
            for name, before, after, difference, fixed, broken in rows
        ],
        "n_fixed": len(found.fixed),
        "n_broken": len(found.broken),
        "videos": [
            {
                "became": became,
                "id": after.id,
                "split": after.split,
                "truth": after.truth,
                "before": before.predicted,
                "after": after.predicted,
            }
            for became, (before, after) in changed[:n_videos]
        ],
    }


def _confusion(entry: Entry) -> dict[str, Any]:
    """Return a confusion matrix, summed over seeds, as rows of cells or as sparse counts."""
    counts = np.sum([each.confusion for each in entry.evaluations], axis=0)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    wrong = counts * (1 - np.eye(n, dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:N_CONFUSIONS]
    names = entry.evaluation.classes
    content: dict[str, Any] = {
        "label": entry.label,
        "role": entry.role,
        "accuracy": percent(entry.accuracy),
        "n": n,
        "worst": [
            {"truth": names[i // n], "said": names[i % n], "count": int(wrong.flat[i])}
            for i in order.tolist()
            if wrong.flat[i] > 0
        ],
    }
    if n <= MAX_CELLS_SHOWN:
        totals = counts.sum(axis=1).tolist()
        content["rows"] = [
            [
                {
                    "count": int(counts[i, j]),
                    "share": round(float(shares[i, j]), 3),
                    "own": i == j,
                    "title": f"{names[i]} called {names[j]}: {counts[i, j]} of {totals[i]} videos",
                }
                for j in range(n)
            ]
            for i in range(n)
        ]
    else:
        rows = [np.flatnonzero(row).tolist() for row in counts]
        content["cells"] = [
            [number for j in columns for number in (j, int(counts[i, j]))]
            for i, columns in enumerate(rows)
        ]
    return content


def _disputed(row: Disputed, thumbnails: Mapping[str, str]) -> dict[str, Any]:
    said = [{"class": c, "right": right} for c, right in zip(row.said, row.right, strict=True)]
    return {
        "id": row.id,
        "split": row.split,
        "truth": row.truth,
        "said": said,
        "n_right": sum(row.right),
        "picture": thumbnails.get(row.id),
    }


def _settings(entry: Entry) -> str:
    text = json.dumps(dict(entry.settings), indent=2, ensure_ascii=False, default=str)
    if len(text) > MAX_SETTINGS:
        text = f"{text[:MAX_SETTINGS]}\n… all {len(text):,} characters are in the scores' table"
    return text


def _recall(entry: Entry, index: int) -> float | None:
    values = [float(each.recall[index]) for each in entry.evaluations]
    return _number(float(np.mean(values)))


def _number(share: float) -> float | None:
    """Return a share in percent for the template; None for what was never tested."""
    return None if np.isnan(share) else round(100 * float(share), 3)
