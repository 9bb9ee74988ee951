"""Rows of a table in the form that was asked for: for the terminal, as CSV or as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer


class Form(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    MARKDOWN = "markdown"


Format = Annotated[Form, typer.Option("--format", help="How to print.")]
Rows = Sequence[Sequence[str]]


def show(title: str, columns: Sequence[str], rows: Rows, form: Form) -> None:
    """Print rows of texts under their columns; numbers stand right, a title is for people."""
    if form is Form.CSV:
        print(as_csv(columns, rows), end="")
    elif form is Form.MARKDOWN:
        print(as_markdown(title, columns, rows))
    else:
        _print_table(title, columns, rows)


LONGEST_UNBROKEN = 9  # characters
WIDEST = 10_000  # characters; what no table is


def as_csv(columns: Sequence[str], rows: Rows) -> str:
    """Return CSV text with a header."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([columns, *rows])
    return buffer.getvalue()


def as_markdown(title: str, columns: Sequence[str], rows: Rows) -> str:
    """Return a heading and a Markdown table."""
    right = _right_columns(columns, rows)
    lines = [f"**{_plain(title)}**", ""]
    lines.append("| " + " | ".join(map(_plain, columns)) + " |")
    lines.append("|" + "|".join("---:" if each else "---" for each in right) + "|")
    lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]
    return "\n".join([*lines, ""])


def _print_table(title: str, columns: Sequence[str], rows: Rows) -> None:
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=title, title_style="", title_justify="left", padding=0)
    for k, right in enumerate(_right_columns(columns, rows)):
        # Long texts make room for short ones, which stay on one line.
        is_short = max(len(row[k]) for row in [columns, *rows]) <= LONGEST_UNBROKEN
        table.add_column(
            columns[k],
            justify="right" if right else "left",
            no_wrap=right or is_short,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    unbound = console.options.update_width(WIDEST)
    least = Measurement.get(console, unbound, table).minimum  # a number is never cut off
    Console(width=max(console.width, least)).print(table)


def _right_columns(columns: Sequence[str], rows: Rows) -> list[bool]:
    """Which columns hold nothing but numbers and gaps."""
    numeric = set("0123456789.+-−–%< e")
    return [
        any(row[k] for row in rows) and all(set(row[k]) <= numeric for row in rows)
        for k in range(len(columns))
    ]


def _plain(text: str) -> str:
    """Write a text so that Markdown shows it as it is and a row stays one."""
    for mark in "\\`*_|<>[]#":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
