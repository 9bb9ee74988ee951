"""The command ``trajfuse compare published``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compare.cli.measured import DataForm, Tolerant, evaluate, read_dataset, read_tables
from compare.cli.show import Form, Format, show

COLUMNS = ("method", "year", "variant", "dataset", "splits", "accuracy", "idt", "trust")
SOURCE_COLUMNS = ("source", "note")


def published(
    dataset: Annotated[str | None, typer.Option(help="UCF101 or HMDB51.")] = None,
    method: Annotated[str | None, typer.Option(help="Part of the method's name.")] = None,
    splits: Annotated[
        str | None, typer.Option(help="'mean' of the three official splits, or '1'.")
    ] = None,
    idt: Annotated[
        bool | None,
        typer.Option("--with-idt/--without-idt", help="Only those with, or without, iDT."),
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(help="P: the paper or its repository; S: another paper, a survey, notes."),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Our tables of scores, or a folder of them, maybe NAME=PATH: shown beside the "
            "numbers of the same data set, splits and protocol. May be repeated."
        ),
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of the official split files, for --beside.")
    ] = None,
    form: DataForm = None,
    tolerant: Tolerant = "",
    shown: Format = Form.TABLE,
) -> None:
    """List accuracies from the literature, with source and protocol, and set ours beside them.

    Example: trajfuse compare published --dataset HMDB51 --with-idt
    """
    from compare import published as literature
    from compare.datasets import Labels

    rows = literature.published(dataset=dataset, method=method, splits=splits, idt=idt, trust=trust)
    if not rows:
        raise ValueError("choices must leave a published number, got none; ask for fewer things")
    if (beside is None) != (lists is None):
        raise ValueError(
            "beside and lists must be given together, got only one: our scores, and the folder of "
            "the official split files that they are of"
        )
    columns: tuple[str, ...] = COLUMNS
    ours: list[list[str]] = [[] for _ in rows]
    if beside is not None and lists is not None:
        loaded = read_dataset(lists, form)
        measured = evaluate(read_tables(beside), Labels.of(loaded), tolerant=tolerant)
        by_name = {
            name if len(of_seeds) == 1 else f"{name}, run {number}": each
            for name, of_seeds in measured.items()
            for number, each in enumerate(of_seeds, start=1)
        }
        pairs = literature.beside(rows, loaded, by_name)
        rows = tuple(each.published for each in pairs)
        columns = (*COLUMNS, *by_name)
        ours = [
            [f"{each.ours[name]:.2f}" if name in each.ours else "–" for name in by_name]
            for each in pairs
        ]
    cells = [
        [
            *(row.method, str(row.year), row.variant, row.dataset, row.splits),
            *(f"{row.accuracy:g}", row.idt or "–", row.trust, *own, row.source, row.note),
        ]
        for row, own in zip(rows, ours, strict=True)
    ]
    title = "Published top-1 accuracies in percent"
    if shown is not Form.TABLE:
        show(title, (*columns, *SOURCE_COLUMNS), cells, shown)
        return
    sources = list(dict.fromkeys("; ".join(filter(None, row[-2:])) for row in cells))
    numbered = [
        [*row[:-2], str(1 + sources.index("; ".join(filter(None, row[-2:]))))] for row in cells
    ]
    show(title, (*columns, "source"), numbered, shown)
    for number, source in enumerate(sources, start=1):
        print(f"{number}: {source}")
