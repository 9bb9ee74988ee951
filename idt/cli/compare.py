"""The command ``trajfuse idt compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

MEANINGS = {
    "n_reference": "rows of A",
    "n_other": "rows of B",
    "match": "share of A's rows matched to a pixel of the scale",
    "match_other": "the same matches as a share of B's rows",
    "strong": "those to 0.05 pixels, histograms to 0.02",
    "rel": "relative difference, median",
    "pool": "relative difference of the mean row",
}


def compare(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="A",
            help="Table that shares are taken of: .h5, .npz, .npy, .txt or .txt.gz.",
            show_default=False,
        ),
    ],
    other: Annotated[
        Path,
        typer.Argument(metavar="B", help="Table it is compared with.", show_default=False),
    ],
    dimensions: Annotated[
        str | None,
        typer.Option(
            help="Sizes of the descriptors in text files with other settings than the usual ones: "
            "trajectory=16,hog=96 and so on.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure how far two tables of one video hold the same trajectories.

    Example: trajfuse idt compare reference.txt.gz clip.h5
    """
    from idt.trajectories import Trajectories, agreement
    from idt.trajectories.writer import TEXT, form_of

    told = None if dimensions is None else _parse_dimensions(dimensions)
    tables = [
        Trajectories.load(path, dimensions=told if form_of(path) in TEXT else None)
        for path in (reference, other)
    ]
    measures = agreement(*tables)
    if as_json:
        finite = {name: None if value != value else value for name, value in measures.items()}
        typer.echo(json.dumps(finite, indent=1))
        return
    _print(measures, f"{reference} (A) and {other} (B)")


def _parse_dimensions(text: str) -> dict[str, int]:
    """Sizes by name out of ``name=size,name=size``."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and size.strip().isdecimal() for name, _, size in pairs):
        raise ValueError(
            f"dimensions must be pairs like trajectory=30,hog=96, got {text!r}; give name=size for "
            "every descriptor, separated by commas"
        )
    return {name.strip(): int(size) for name, _, size in pairs}


def _print(measures: dict[str, float], title: str) -> None:
    """Print measures on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    table.add_column("measure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("meaning")
    for name, value in measures.items():
        kind, _, descriptor = name.partition("_")
        meaning = MEANINGS.get(name) or f"{descriptor}: {MEANINGS[kind]}"
        number = f"{value:.0f}" if name.startswith("n_") else f"{value:.4g}"
        table.add_row(Text(name), number, Text(meaning))
    Console().print(table)
