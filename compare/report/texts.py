"""Numbers and sentences as a report writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from compare.intervals import Interval
from compare.report.findings import LEVEL, Findings
from compare.report.study import Entry, Study
from compare.significance import Comparison


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


def points(share: float) -> str:
    """Write a difference in points, with its sign and one digit."""
    shown = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if shown in ("+0.0", "−0.0") else shown


def p_value(p: float) -> str:
    """Write a p-value so that no value reads as 0."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def range_text(interval: Interval | None) -> str:
    """Write an interval of an accuracy in percent with one digit."""
    if interval is None:
        return "–"
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def change_text(interval: Interval) -> str:
    """Write an interval of a difference in points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def best_of(entries: Sequence[Entry]) -> Entry:
    """Return the most accurate entry, the first among equals."""
    return max(entries, key=lambda entry: round(entry.accuracy, 12))


def n_right(entry: Entry) -> str:
    """Say how many test videos are right, of how many; the mean over seeds."""
    right = float(np.mean([each.n_right for each in entry.evaluations]))
    return f"{right:.6g}/{entry.evaluation.n_tested}"


def headline(study: Study) -> str:
    """Say in a sentence or two what the first fusion rule, or the best method, got.

    The rule is the first as given, not the best on the test; the method that it is held against
    is the best on the test, which favours the method.
    """
    best = best_of(study.of("method") or study.entries)
    tested = best.evaluation.n_tested
    fused = study.of("fusion")
    if not fused or best.role == "fusion":
        return (
            f"{best.label} is right on {n_right(best).split('/')[0]} of {tested} test videos "
            f"({percent(best.accuracy)} %)."
        )
    gained = fused[0].evaluation.n_right - best.evaluation.n_right
    verdict = f"{abs(gained)} {'more' if gained > 0 else 'fewer'}" if gained else "as many"
    return (
        f"{fused[0].label} is right on {fused[0].evaluation.n_right} of {tested} test videos "
        f"({percent(fused[0].accuracy)} %); the best single method, {best.label}, on "
        f"{best.evaluation.n_right} ({percent(best.accuracy)} %): {verdict}."
    )


def verdict(study: Study, findings: Findings) -> str:
    """Say whether the change in the headline, or the lead of the first, is beyond chance."""
    fused, methods = study.of("fusion"), study.of("method")
    if not findings.pairs:
        return ""
    if fused and methods:
        best = best_of(methods)
        found = pair_of(findings, best.label, fused[0].label)
        sign = 1 if found.second == fused[0].label else -1
        low, high = sorted((sign * found.interval.low, sign * found.interval.high))
        about = f"{points(sign * found.difference)} points ({points(low)} to {points(high)})"
    else:
        found = pair_of(findings, findings.ranks[0].entry.label, findings.ranks[1].entry.label)
        about = f"{found.first} and {found.second} differ by {points(abs(found.difference))} points"
    beyond = "beyond" if found.adjusted < LEVEL else "not beyond"
    return (
        f"By {findings.unit}: {about}, p = {p_value(found.adjusted)} after Holm, {beyond} what "
        "chance may do."
    ).replace("p = <", "p <")


def pair_of(findings: Findings, one: str, other: str) -> Comparison:
    """Return the comparison of two methods, whichever is first in it."""
    for pair in findings.pairs:
        if {pair.first, pair.second} == {one, other}:
            return pair
    raise ValueError(f"pair must be of two methods that were compared, got {one!r} and {other!r}")


def about_intervals(findings: Findings) -> str:
    """Say how intervals and tests of the ranking were found."""
    methods = dict.fromkeys(
        re.sub(r" = [\d.,]+| \(.*\)", "", rank.standing.interval.method) for rank in findings.ranks
    )
    text = f"95 % intervals: {'; '.join(methods)}."
    if findings.unit == "video":
        text += " No groups are known: clips of one source would make these intervals too narrow."
    if findings.pairs:
        tests = dict.fromkeys(pair.test.method.split(",")[0] for pair in findings.pairs)
        n = len(findings.pairs)
        text += (
            f" Places: a method stands above another only where their difference has p < {LEVEL} "
            f"({'; '.join(tests)}), adjusted by Holm's method for all {n} "
            f"{'pairs' if n > 1 else 'pair'}."
        )
        smallest = 2.0 ** (1 - findings.n_units)
        flipped = all("sign-flip" in pair.test.method for pair in findings.pairs)
        if flipped and n * smallest >= LEVEL:
            text += (
                f" With {findings.n_units} {findings.unit}s no p can be below {p_value(smallest)}, "
                f"nor below {LEVEL} after the adjustment: nothing can be told apart here, however "
                "large."
            )
    return text
