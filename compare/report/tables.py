"""The ranking, all pairs and the gains as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import numpy as np

from compare.report.findings import Findings
from compare.report.study import Study
from compare.report.texts import (
    about_intervals,
    change_text,
    headline,
    n_right,
    p_value,
    percent,
    points,
    range_text,
    verdict,
)
from compare.significance import Comparison

LATEX_MARKS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "−": "$-$",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
RANKING = ("Place", "Method", "Accuracy %", "95 % interval", "Mean class %", "mAP %", "Right")
GAINS = ("Method", "Fused", "Gain", "p", "Control", "Its gain", "Over control", "Interval", "p ")
Rows = Sequence[Sequence[str]]


def results_csv(study: Study, findings: Findings) -> str:
    """Write a row a method, most accurate first, accuracies as fractions."""
    rows = []
    for rank in findings.ranks:
        entry, interval, cost = rank.entry, rank.standing.interval, rank.entry.cost
        measured = entry.evaluation
        top5 = [each.top5 for each in entry.evaluations if each.top5 is not None]
        rows.append(
            [
                *(entry.label, entry.role, f"{rank.standing.accuracy:.6f}"),
                *(f"{interval.low:.6f}", f"{interval.high:.6f}", interval.method),
                *(f"{measured.by_video.low:.6f}", f"{measured.by_video.high:.6f}"),
                *("" if n is None else n for n in (rank.best, rank.worst)),
                "" if rank.first is None else f"{rank.first:.4f}",
                f"{np.mean([each.mean_class_accuracy for each in entry.evaluations]):.6f}",
                f"{np.mean(top5):.6f}" if top5 else "",
                f"{np.mean([each.mean_average_precision for each in entry.evaluations]):.6f}",
                n_right(entry).split("/")[0],
                *(measured.n_tested, rank.standing.n_seeds),
                *(_gap(cost.fit_seconds), _gap(cost.score_seconds), _gap(cost.memory_bytes)),
                *(_gap(cost.parameters), cost.pretraining or "", study.seed),
            ]
        )
    columns = (
        "label,role,accuracy,low,high,interval,low_by_video,high_by_video,best_place,worst_place,"
        "share_first,mean_class_accuracy,top5,mean_average_precision,n_right,n_tested,n_seeds,"
        "fit_seconds,score_seconds,memory_bytes,parameters,pretraining,seed"
    )
    return _as_csv(columns.split(","), rows)


def pairs_csv(findings: Findings) -> str:
    """Write a row a pair, differences as fractions."""
    columns = (
        "first,second,difference,low,high,p,p_holm,p_by_video,fixed,broken,oracle,double_fault,"
        "disagreement,interval,test,test_by_video"
    )
    return _as_csv(columns.split(","), [_pair_row(pair) for pair in findings.pairs])


def as_markdown(study: Study, findings: Findings) -> str:
    """Return the ranking, the gains and how they were made as Markdown text."""
    lines = [f"# {_plain(study.name)}", "", _plain(headline(study))]
    lines += [_plain(verdict(study, findings)), "", *_markdown_table(RANKING, _ranking(findings))]
    protocol = f"Protocol: {study.protocol}. " if study.protocol else ""
    lines += ["", _plain(protocol + about_intervals(findings))]
    lines += [_plain(f"{e.label}: {e.caveat}") for e in study.entries if e.caveat]
    if findings.gains:
        lines += ["", "## Gain from dense trajectories", ""]
        lines += _markdown_table(GAINS, _gains(findings))
    if study.excluded:
        lines += ["", "## Left out, cannot be read", ""]
        lines += [f"- {_plain(id)}: {_plain(why)}" for id, why in study.excluded.items()]
    if study.command:
        lines += ["", "Made by", "", f"    {' '.join(study.command.split())}"]
    return "\n".join(lines).rstrip() + "\n"


def as_latex(study: Study, findings: Findings) -> str:
    """Return the ranking and the gains as LaTeX tables, which need the package booktabs."""
    caption = f"{study.name}: {about_intervals(findings)}"
    parts = [_latex_table(RANKING, _ranking(findings), caption)]
    if findings.gains:
        caption = f"{study.name}: gain from dense trajectories beside the same-family control."
        parts.append(_latex_table(GAINS, _gains(findings), caption))
    return "% \\usepackage{booktabs}\n" + "\n".join(parts)


def _ranking(findings: Findings) -> list[list[str]]:
    rows = []
    for rank in findings.ranks:
        measured = rank.entry.evaluations
        place = "–" if rank.best is None else f"{rank.best}–{rank.worst}"
        rows.append(
            [
                f"{rank.best}" if rank.best is not None and rank.best == rank.worst else place,
                rank.entry.label,
                percent(rank.standing.accuracy),
                range_text(rank.standing.interval),
                percent(float(np.mean([e.mean_class_accuracy for e in measured]))),
                percent(float(np.mean([e.mean_average_precision for e in measured]))),
                n_right(rank.entry),
            ]
        )
    return rows


def _gains(findings: Findings) -> list[list[str]]:
    rows = []
    for gain in findings.gains:
        row = [gain.fused.first, gain.fused.second, points(gain.fused.difference)]
        row += [p_value(gain.fused.adjusted)]
        if gain.control is None or gain.over_control is None:
            row += ["none", "–", "–", "–", "–"]
        else:
            over = gain.over_control
            row += [gain.control.second, points(gain.control.difference)]
            row += [points(over.difference), change_text(over.interval), p_value(over.adjusted)]
        rows.append(row)
    return rows


def _pair_row(pair: Comparison) -> list[object]:
    overlap = pair.complementarity
    numbers = (
        *(pair.difference, pair.interval.low, pair.interval.high),
        *(pair.test.p, pair.adjusted, pair.by_video.p),
        *(float(pair.fixed.sum()), float(pair.broken.sum())),
        *(overlap.oracle, overlap.double_fault, overlap.disagreement),
    )
    methods = (pair.interval.method, pair.test.method, pair.by_video.method)
    return [pair.first, pair.second, *(f"{n:.6g}" for n in numbers), *methods]


def _as_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    return buffer.getvalue()


def _markdown_table(columns: Sequence[str], rows: Rows) -> list[str]:
    lines = ["| " + " | ".join(column.strip() for column in columns) + " |"]
    lines.append(
        "|" + "|".join("---" if c in ("Method", "Fused") else "---:" for c in columns) + "|"
    )
    return lines + ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]


def _latex_table(columns: Sequence[str], rows: Rows, caption: str) -> str:
    form = "".join("l" if c in ("Method", "Fused", "Control") else "r" for c in columns)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}}}"]
    lines += [rf"\begin{{tabular}}{{{form}}}", r"\toprule"]
    lines += [" & ".join(_latex(c.strip()) for c in columns) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_latex, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _plain(text: str) -> str:
    """Write a name so that Markdown shows it as it is and a table row stays one."""
    return " ".join(re.sub(r"([\\`*_|<>\[\]#])", r"\\\1", text).split())


def _latex(text: str) -> str:
    """Write a name so that LaTeX shows it as it is and a table row stays one."""
    return "".join(LATEX_MARKS.get(mark, mark) for mark in " ".join(text.split()))


def _gap(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
