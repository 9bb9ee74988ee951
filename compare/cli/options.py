"""What the commands that run a benchmark share: their options, and the run itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compare.datasets import Dataset

PROGRAM = "trajfuse"
MANY = 8  # workers; more are seldom faster on one disk, and each takes memory

Fuse = Annotated[
    str,
    typer.Option(
        help="Fusion rules, comma-separated: average, average:A+B, weighted:W1/W2/... in the order "
        "of --methods; 'none' for no fusion. Default: average, where there are two methods."
    ),
]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)]
Workers = Annotated[
    int | None,
    typer.Option(
        help=f"Processes that work on videos. Default: the processors there are, up to {MANY}.",
        min=1,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; the table and errors only.")]
NoYardsticks = Annotated[bool, typer.Option("--no-yardsticks", help="Leave the baselines out.")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for what is computed per video, shared by runs. Default: OUT/cache."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start over in a folder that holds a run.")
]


def run_and_report(
    dataset: Dataset,
    methods: str,
    fuse: str,
    out: Path,
    seed: int,
    workers: int | None,
    quiet: bool,
    no_yardsticks: bool,
    cache: Path | None,
    overwrite: bool,
    line: str,
) -> None:
    """Run the benchmark, write the report, and print the table and where the report is."""
    from rich.console import Console

    from compare import benchmark, report

    several = methods.count(",") > 0
    finished = benchmark.run(
        dataset,
        methods,
        out=out,
        fuse={"": "average" if several else "", "none": ""}.get(fuse, fuse),
        seed=seed,
        workers=min(os.cpu_count() or 1, MANY) if workers is None else workers,
        verbose=not quiet,
        with_yardsticks=not no_yardsticks,
        cache=cache,
        overwrite=overwrite,
        command=line,
    )
    page = report.write(finished, out)
    console = Console()
    console.print(report.terminal_table(finished))
    for line in report.notes(finished):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
