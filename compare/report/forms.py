"""The forms in which a run is read: terminal table, CSV, Markdown, HTML page."""

from __future__ import annotations

import csv
import io
import re
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup
from rich import box
from rich.table import Table
from rich.text import Text

from compare.benchmark import Run
from compare.report.content import (
    ROLES,
    duration,
    headline,
    page_content,
    percent,
    range_text,
)
from compare.scores import write_whole

TEMPLATE = "report.html.j2"


def write(run: Run, folder: str | Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``results.csv``; return the page's path."""
    folder = Path(folder)
    write_whole(folder / "results.csv", as_csv(run).encode())
    write_whole(folder / "report.md", as_markdown(run).encode())
    write_whole(folder / "report.html", as_html(run).encode())
    return folder / "report.html"


def terminal_table(run: Run) -> Table:
    """Return the results as a table for the terminal, sections apart."""
    intervals = ("video",) if run.dataset.groups is None else ("video", "group")
    table = Table(
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        title=f"{run.dataset.name}: accuracy in %, 95 % intervals by {' and '.join(intervals)}",
        title_style="",
        caption="class: mean over classes; time: fit and score",
    )
    table.add_column("", overflow="fold")  # the one column that may break lines
    for heading in ("%", *intervals, "class", "right", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for role, _ in ROLES:
        for result in run.of(role):
            measured = result.evaluation
            row = [result.label, percent(measured.accuracy), range_text(measured.by_video)]
            row += [range_text(measured.by_group)] if len(intervals) > 1 else []
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
    lines = [headline(run)]
    kept = [result.label for result in run.results if result.resumed]
    if kept:
        lines.append(f"scores taken from an earlier start of this run: {', '.join(kept)}")
    lines += [f"left out, cannot be read: {bad.id}: {bad.reason}" for bad in run.excluded]
    lines += [f"not run: {name}: {reason}" for name, reason in run.unable.items()]
    return lines


def as_csv(run: Run) -> str:
    """Return the results as CSV text, one row per method, accuracies as fractions."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(
        "label,role,accuracy,low_by_video,high_by_video,low_by_group,high_by_group,"
        "mean_class_accuracy,n_right,n_tested,fit_seconds,score_seconds,seed".split(",")
    )
    for result in run.results:
        measured = result.evaluation
        group = measured.by_group
        writer.writerow(
            [
                result.label,
                result.role,
                f"{measured.accuracy:.6f}",
                f"{measured.by_video.low:.6f}",
                f"{measured.by_video.high:.6f}",
                "" if group is None else f"{group.low:.6f}",
                "" if group is None else f"{group.high:.6f}",
                f"{measured.mean_class_accuracy:.6f}",
                measured.n_right,
                measured.n_tested,
                f"{result.fit_seconds:.3f}",
                f"{result.score_seconds:.3f}",
                run.seed,
            ]
        )
    return buffer.getvalue()


def as_markdown(run: Run) -> str:
    """Return the results as Markdown text."""
    content = page_content(run)
    lines = [f"# {_plain(run.dataset.name)}", "", _plain(content["headline"]), ""]
    lines += [
        "| | kind | accuracy % | by video | by group | mean class % | right | fit | score |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for section in content["sections"]:
        for row in section["rows"]:
            cells = [row["label"], row["role"], row["accuracy"], row["by_video"], row["by_group"]]
            cells += [row["mean_class"], row["right"], row["fit"], row["score"]]
            lines.append("| " + " | ".join(_plain(cell) for cell in cells) + " |")
    lines += ["", f"Protocol: {_plain(content['protocol'])}. {_plain(content['intervals'])}"]
    for gain in content["gains"]:
        lines += ["", f"## {_plain(gain['label'])} against {_plain(gain['against'])}", ""]
        for title, videos in (("Fixed", gain["fixed"]), ("Broken", gain["broken"])):
            lines.append(f"{title}: {len(videos)}")
            lines += [
                f"- {_plain(v['id'])}: {_plain(v['truth'])}, was called {_plain(v['before'])}, "
                f"now {_plain(v['after'])}"
                for v in videos
            ]
            lines.append("")
    if content["excluded"]:
        lines += ["## Left out, cannot be read", ""]
        lines += [f"- {_plain(bad['id'])}: {_plain(bad['reason'])}" for bad in content["excluded"]]
    if run.command:
        lines += ["", "Made by", "", f"    {run.command}"]
    return "\n".join(lines).rstrip() + "\n"


def as_html(run: Run) -> str:
    """Return the page: one HTML text with its styles, script and pictures inside."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    environment.globals["SHORT"] = 14  # characters of a heading that need no line break
    source = resources.files("compare").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(page_content(run))


def _plain(text: str) -> str:
    """Write a name so that Markdown shows it as it is and a table row stays one."""
    for mark in "\\`*_|<>[]#":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())


def _breakable(text: str) -> Markup:
    """Escape a text for the page and let lines break after its punctuation."""
    return Markup("<wbr>").join(re.split(r"(?<=[/:+_.=])(?=\w)(?<![0-9][.])", text))
