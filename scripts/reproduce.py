"""Make the tables of the README.

    python scripts/reproduce.py --csv FILE [--tables demo,ut-split] [--runs FOLDER] [--data FOLDER]

The CSV has the columns table,dataset,method,setting,accuracy,low,high,seconds,seed. `demo` runs the
embedded data set with seeds 0, 1 and 2; `ut-split` the quick split of UT-Interaction, whose clips
lie in --data (../shared/data, or `data` in TRAJFUSE_SHARED). Every run has a folder under --runs
with its scores and report; one that was stopped goes on where it was. Accuracy, low and high are
shares of 1; the interval is that of the report, by group.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from compare import benchmark, cli, datasets, demo, report
from idt.jobs import whole_file

PROJECT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)
UT_METHODS = "idt-fv,two-stream,conv-fusion"
UT_RULES = "average,weighted:0.5/0.25/0.25"  # fixed before the first run


class Row(NamedTuple):
    """One line of the CSV."""

    table: str
    dataset: str
    method: str
    setting: str
    accuracy: float
    low: float
    high: float
    seconds: float
    seed: int


def run_demo(arguments: argparse.Namespace) -> Iterator[Row]:
    """The embedded data set, as `trajfuse compare demo` runs it."""
    for seed in SEEDS:
        folder = arguments.runs / f"demo-{seed}"
        videos = demo.write(folder.with_name(f"{folder.name}-videos"), seed=seed)
        rule, workers = cli.DEMO_FUSE, arguments.workers
        yield from run("demo", videos, cli.DEMO_METHODS, rule, folder, seed, workers)


def run_ut_split(arguments: argparse.Namespace) -> Iterator[Row]:
    """UT-Interaction's quick split of 83 and 37 clips."""
    data = arguments.data / "ut_interaction.csv"
    folder = arguments.runs / "ut-split"
    yield from run("ut-split", data, UT_METHODS, UT_RULES, folder, 0, arguments.workers)


def run(
    table: str, data: Path, methods: str, rules: str, folder: Path, seed: int, workers: int
) -> Iterator[Row]:
    """Run one comparison, write its report, and give a row for each line of its table."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    finished = benchmark.run(
        datasets.load(data, seed=seed),
        methods,
        out=folder,
        fuse=rules,
        seed=seed,
        workers=workers,
        verbose=True,
        command=f"python scripts/reproduce.py --tables {table}",
    )
    report.write(finished, folder)
    for result in finished.results:
        measured = result.evaluation
        interval = measured.by_group or measured.by_video
        yield Row(
            table=table,
            dataset=finished.dataset.name,
            method=result.label,
            setting=result.role,
            accuracy=round(measured.accuracy, 4),
            low=round(interval.low, 4),
            high=round(interval.high, 4),
            seconds=round(result.fit_seconds + result.score_seconds, 1),
            seed=seed,
        )


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "demo": run_demo,
    "ut-split": run_ut_split,
}


def main() -> int:
    """Run the tables that are asked for; print and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, required=True, help="file to write")
    parser.add_argument("--tables", default=",".join(TABLES), help="comma-separated")
    parser.add_argument("--runs", type=Path, default=PROJECT / "runs" / "reproduce")
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser.add_argument("--data", type=Path, default=shared / "data")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    names = arguments.tables.split(",")
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        parser.error(f"--tables must be among {', '.join(TABLES)}, got {', '.join(unknown)}")
    if not arguments.csv.parent.is_dir():
        parser.error(f"--csv must lie in a folder that exists, got {arguments.csv}")
    rows = [row for name in names for row in TABLES[name](arguments)]
    with whole_file(arguments.csv) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)
    shown = Table(*Row._fields)
    for row in rows:
        shown.add_row(*map(str, row))
    Console(width=140).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
