"""A run in the terminal: one table of at most 80 columns, and the lines that belong under it."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from compare.benchmark import Role, Run
from compare.intervals import Interval
from compare.report import study
from compare.report.texts import duration, headline, percent

ROLES: tuple[Role, ...] = ("method", "fusion", "yardstick")


def terminal_table(run: Run) -> Table:
    """Return the results as a table for the terminal, sections apart."""
    intervals = ("video",) if run.dataset.groups is None else ("video", "group")
    table = Table(
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        title=Text(
            f"{run.dataset.name}: accuracy in %, 95 % intervals by {' and '.join(intervals)}"
        ),
        title_style="",
        caption="class: mean over classes; time: fit and score",
    )
    table.add_column("", overflow="fold")  # the one column that may break lines
    for heading in ("%", *intervals, "class", "right", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for role in ROLES:
        for result in run.of(role):
            measured = result.evaluation
            row = [result.label, percent(measured.accuracy), _whole(measured.by_video)]
            row += [_whole(measured.by_group)] if len(intervals) > 1 else []
            row += [
                percent(measured.mean_class_accuracy),
                f"{measured.n_right}/{measured.n_tested}",
                "" if role == "fusion" else duration(result.fit_seconds + result.score_seconds),
            ]
            style = {"fusion": "bold", "yardstick": "dim"}.get(role, "")
            table.add_row(*(Text(cell) for cell in row), style=style)
        table.add_section()
    return table


def notes(run: Run) -> list[str]:
    """Return the lines that belong under the table: what fusion changed and what was left out."""
    lines = [headline(study.of_run(run))]
    kept = [result.label for result in run.results if result.resumed]
    if kept:
        lines.append(f"scores taken from an earlier start of this run: {', '.join(kept)}")
    lines += [f"left out, cannot be read: {bad.id}: {bad.reason}" for bad in run.excluded]
    lines += [f"not run: {name}: {reason}" for name, reason in run.unable.items()]
    return lines


def _whole(interval: Interval | None) -> str:
    """Write an interval in whole percent, which is narrow."""
    return "–" if interval is None else f"{100 * interval.low:.0f}–{100 * interval.high:.0f}"
