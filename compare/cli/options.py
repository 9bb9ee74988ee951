"""What commands share: options of those that run a benchmark or read scores, and the run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from compare.datasets import Dataset
    from compare.scores import ScoreTable
    from idt import jobs

PROGRAM = "trajfuse"

Fuse = Annotated[
    str,
    typer.Option(
        help="Fusion rules, comma-separated: average, average:A+B, weighted:W1/W2/... in the order "
        "of --methods, product, max, borda, sci; grid, logistic and svm learn from scores of "
        "training videos by models that did not see their group; 'none' for no fusion. Default: "
        "average, where there are two methods."
    ),
]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress; the table and errors only.")]
NoYardsticks = Annotated[bool, typer.Option("--no-yardsticks", help="Leave the baselines out.")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for what is computed per video, shared by runs. Default: OUT/cache."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start over in a folder that holds a run.")
]

Listed = Annotated[
    Path | None,
    typer.Option(
        "--list",
        help="The videos: a list file of UCF101, TSN or mmaction2, the folder of UCF101's or "
        "HMDB51's split files, or a CSV with a column id or path, and as wanted label and group.",
    ),
]
ListSplit = Annotated[
    int | None, typer.Option(help="--list is a folder: number of the split.", min=1)
]
Tolerant = Annotated[
    str,
    typer.Option(
        metavar="folder,extension,case,characters",
        help="What may differ between spellings of a name, comma-separated; 'characters' lets any "
        "but letters and digits stand as _. What is renamed is said. Default: nothing may.",
    ),
]
DatasetName = Annotated[str, typer.Option("--dataset", help="Name of the data set, for --csv.")]
AccuracyFile = Annotated[
    Path | None,
    typer.Option("--csv", help="File for rows dataset,split,rule,accuracy; needs --list."),
]


def names_of(text: str) -> list[str]:
    """Split a comma-separated option."""
    return [part.strip() for part in text.split(",") if part.strip()]


def top_one(table: ScoreTable, truth: Mapping[str, str]) -> float:
    """Share of a table's videos whose class scores highest, 0 to 1."""
    from compare import metrics, scores

    said = table.scores.argmax(axis=1)
    return metrics.accuracy(scores.labels_of(table, truth), said, n_classes=len(table.classes))


def accuracy_rows(dataset: str, tables: Sequence[ScoreTable], truth: Mapping[str, str]) -> bytes:
    """Rows dataset,split,rule,accuracy of a CSV file: top-1 in percent."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "split", "rule", "accuracy"])
    for table in tables:
        accuracy = f"{100 * top_one(table, truth):.2f}"
        writer.writerow([dataset, table.split, table.method, accuracy])
    return text.getvalue().encode()


def run_and_report(
    dataset: Dataset,
    methods: str,
    fuse: str,
    out: Path,
    seed: int,
    workers: jobs.Workers,
    quiet: bool,
    no_yardsticks: bool,
    cache: Path | None,
    overwrite: bool,
    line: str,
    **more: Any,
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
        workers=workers,
        verbose=not quiet,
        with_yardsticks=not no_yardsticks,
        cache=cache,
        overwrite=overwrite,
        command=line,
        **more,
    )
    page = report.write(finished, out)
    console = Console()
    console.print(report.terminal_table(finished))
    for line in report.notes(finished):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
