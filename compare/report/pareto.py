"""Cost against accuracy: which methods nobody beats at their price, and a picture of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compare.report.cost import Cost
from compare.report.findings import Findings
from compare.report.texts import duration, percent

WIDTH, HEIGHT = 400, 270  # units of the picture; text of 11 stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 40
RADIUS = 8  # of a point
N_STEPS = 4  # about how many marks the axis of accuracies has
COSTS = (
    ("seconds", "seconds", "Time to fit and score"),
    ("memory_bytes", "bytes", "Peak memory"),
    ("parameters", "parameters", "Parameters"),
)


@dataclass(frozen=True)
class Point:
    """A method's cost (any unit, above 0) and accuracy with its limits, 0 to 1."""

    number: int
    label: str
    role: str
    cost: float
    accuracy: float
    low: float
    high: float


def front(costs: Sequence[float], accuracies: Sequence[float]) -> list[bool]:
    """Say of each method whether none is as accurate at less cost, or better at no more cost."""
    pairs = list(zip(costs, accuracies, strict=True))
    return [
        not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in pairs)
        for cost, accuracy in pairs
    ]


def cost_rows(findings: Findings) -> list[dict[str, Any]]:
    """Return a row of costs for each method of which anything is known."""
    return [
        {
            "number": number,
            "label": rank.entry.label,
            "role": rank.entry.role,
            "accuracy": percent(rank.standing.accuracy),
            "value": 100 * rank.standing.accuracy,
            "cells": _cells(rank.entry.cost),
            "pretraining": rank.entry.cost.pretraining or "–",
        }
        for number, rank in enumerate(findings.ranks, start=1)
        if rank.entry.cost.known
    ]


def split_rows(findings: Findings) -> list[dict[str, Any]]:
    """Return a row for each split of each method that says what it took there."""
    return [
        {"split": split, "label": rank.entry.label, "role": rank.entry.role, "cells": _cells(cost)}
        for rank in findings.ranks
        for split, cost in rank.entry.costs_by_split.items()
    ]


def _cells(cost: Cost) -> list[dict[str, Any]]:
    numbers = (
        (cost.fit_seconds, "seconds"),
        (cost.score_seconds, "seconds"),
        (cost.memory_bytes, "bytes"),
        (cost.parameters, "parameters"),
    )
    return [{"value": value, "text": _written(value, unit)} for value, unit in numbers]


def _written(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return duration(value) if unit == "seconds" else amount(value, unit)


def pictures(findings: Findings) -> list[dict[str, Any]]:
    """Return a picture for each cost that two methods or more have."""
    drawn = []
    for name, unit, title in COSTS:
        placed = [
            Point(
                number=number,
                label=rank.entry.label,
                role=rank.entry.role,
                cost=getattr(rank.entry.cost, name),
                accuracy=rank.standing.accuracy,
                low=rank.standing.interval.low,
                high=rank.standing.interval.high,
            )
            for number, rank in enumerate(findings.ranks, start=1)
            if getattr(rank.entry.cost, name)
        ]
        if len(placed) > 1:
            drawn.append({**picture(placed, unit=unit), "title": title, "unit": unit})
    return drawn


def picture(points: Sequence[Point], *, unit: str) -> dict[str, Any]:
    """Place points, front and axes in a picture of `WIDTH` by `HEIGHT`; costs on a log scale.

    `unit` is ``"seconds"``, ``"bytes"`` or ``"parameters"`` and says how marks are written.
    """
    low_cost, high_cost = min(p.cost for p in points), max(p.cost for p in points)
    if high_cost < 4 * low_cost:  # room to see the scale
        low_cost, high_cost = low_cost / 2, high_cost * 2
    start, end = math.log10(low_cost) - 0.08, math.log10(high_cost) + 0.08
    lowest = min(p.low for p in points)
    highest = max(p.high for p in points)
    step = _step(100 * (highest - lowest))
    bottom = step * math.floor(100 * lowest / step)
    top = max(step * math.ceil(100 * highest / step), bottom + step)

    def x(cost: float) -> float:
        share = (math.log10(cost) - start) / (end - start)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(accuracy: float) -> float:
        share = (100 * accuracy - bottom) / (top - bottom)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    places = _apart([(x(p.cost), y(p.accuracy)) for p in points])
    on_front = front([p.cost for p in points], [p.accuracy for p in points])
    placed = [
        {
            "number": p.number,
            "label": p.label,
            "role": p.role,
            "x": place,
            "y": y(p.accuracy),
            "low": y(p.low),
            "high": y(p.high),
            "front": on,
        }
        for p, on, place in zip(points, on_front, places, strict=True)
    ]
    best = sorted((p for p, on in zip(points, on_front, strict=True) if on), key=lambda p: p.cost)
    path = f"M{x(best[0].cost)} {y(best[0].accuracy)}"
    path += "".join(f"H{x(p.cost)}V{y(p.accuracy)}" for p in best[1:])
    n_marks = round((top - bottom) / step)
    return {
        "points": placed,
        "best": [p.label for p, on in zip(points, on_front, strict=True) if on],
        "front": f"{path}H{WIDTH - RIGHT}",
        "x_marks": [{"at": x(v), "text": amount(v, unit)} for v in _cost_marks(start, end, unit)],
        "y_marks": [
            {"at": y((bottom + k * step) / 100), "text": f"{bottom + k * step:g}"}
            for k in range(n_marks + 1)
        ],
    }


def _apart(centres: Sequence[tuple[float, float]]) -> list[float]:
    """Return x of each point, moved sideways where it would lie on an earlier one."""
    placed: list[tuple[float, float]] = []
    for x, y in centres:
        step = 0
        while any(math.hypot(x + step - u, y - v) < 2 * RADIUS for u, v in placed):
            step = -step if step > 0 else 1 - step  # 0, 1, -1, 2, -2, ...
        placed.append((x + step, y))
    return [round(x, 1) for x, _ in placed]


def amount(value: float, unit: str) -> str:
    """Write a cost shortly: ``12 s``, ``3 min``, ``1.5 GiB``, ``25 M``."""
    scales = {
        "seconds": ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")),
        "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")),
        "parameters": ((1e9, "G"), (1e6, "M"), (1e3, "k")),
    }[unit]
    for size, name in scales:
        if value >= size:
            return f"{value / size:.3g} {name}"
    if unit == "seconds":
        return f"{value:.2g} s"
    return f"{value:.3g}"


def _step(span: float) -> float:
    """Return a round step that divides a span of percent into about `N_STEPS`."""
    for step in (0.5, 1, 2, 5, 10, 20):
        if span / step <= N_STEPS:
            return step
    return 25


def _cost_marks(start: float, end: float, unit: str) -> list[float]:
    """Return round costs within the axis: the roundest of which there are two, five at most."""
    for rounds in _round_costs(unit):
        inside = [value for value in rounds if start <= math.log10(value) <= end]
        if len(inside) > 1:
            break
    return inside[:: math.ceil(len(inside) / 5)]


def _round_costs(unit: str) -> tuple[list[float], list[float]]:
    """Return costs that read well, few and many."""
    if unit == "bytes":
        return [2.0**k for k in range(60)], []
    if unit == "parameters":
        return [10.0**k for k in range(15)], [m * 10.0**k for k in range(15) for m in (1, 2, 5)]
    below = [m * 10.0**k for k in (-3, -2, -1) for m in (1, 2, 5)]
    many = [*below, *(m * s for s in (1, 60) for m in (1, 2, 5, 10, 20, 30))]
    many += [*(m * 3600 for m in (1, 2, 4, 8, 16)), *(m * 86400 for m in (1, 2, 5, 10, 20, 50))]
    return [*below[::3], 1, 10, 60, 600, 3600, 36000, 86400, 864000], many
