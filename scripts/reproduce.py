"""Make the tables of the README.

    python scripts/reproduce.py --csv FILE [--tables NAMES] [--runs FOLDER] [--data FOLDER]

The CSV has the columns table,dataset,method,setting,accuracy,low,high,seconds,seed; accuracy, low
and high are shares of 1. `demo` runs the embedded data set with seeds 0, 1 and 2; `ut-split` the
quick split of UT-Interaction. The other tables are stages of the classical recognisers on the folds
of UT-Interaction and Tennis7, see STAGES and `studies.py`; `--tables classic` is all of them.
`training` is the networks on the split of both, see `trainings.py`; with --device cuda, on all
folds; `validation` compares ways to train Tennis7's. The clips lie in --data
(../shared/data, or `data` in TRAJFUSE_SHARED).

Everything resumes: --runs keeps the runs of `demo`, `ut-split` and `training` with their reports,
and trajectories, scores of every fold and rows of the stages. A fold whose scores are there, made
with the same settings, is not trained again. Minutes of each stage and training by the clock, and
of all processors together, are printed and kept in --runs/minutes.csv.
Intervals are those of the report, by group. Where no other number stands: headlines have K = 256 on
256,000 trajectories, five folds K = 64 on 32,000, bags 1,000 words of 32,000 and 2 starts; PCA by
descriptor to half, C = 100, seed 0. `seconds` is processor time without extraction; of whole
runs (`demo`, `ut-split`, `training`) it is time on the clock, training and testing.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from studies import TENNIS, UT, Job, Study, extract, jobs_of, read_scores, score
from trainings import SEEDS as TRAINING_SEEDS
from trainings import Training
from trainings import rows_of as training_rows

from compare import benchmark, cli, datasets, demo, metrics, report
from idt.jobs import WorkerPool, whole_file

PROJECT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)
UT_METHODS = "idt-fv,two-stream,conv-fusion"
UT_RULES = "average,weighted:0.5/0.25/0.25"  # fixed before the first run

FIVE = {"n_components": 64, "n_samples": 32_000}
HEADLINE = {"n_components": 256, "n_samples": 256_000}  # the defaults of idt-fv
FEWER = {"n_samples": 64_000}
BAGS = {"n_words": 1000, "n_init": 2, "n_samples": 32_000}
HALVES = {"grids": "1x1x1/t2"}
DIVIDED = {"grids": "1x1x1/t2/h3x1", "rank_pooling": 10}
# What idt-fv-plus adds to idt-fv, each alone
ADDITIONS: dict[str, dict[str, Any]] = {
    "frame steps": {"frame_steps": "1/2/3"},
    "mirror images": {"mirror": True},
    "places": {"places": True},
}
ENCODINGS: dict[str, dict[str, Any]] = {
    "K = 16": {"n_components": 16},
    "K = 128": {"n_components": 128},
    "joint PCA": {"pca": "joint"},
}
# All root-L1: "no stabilisation" against dt-fv is root-L1 against L2.
STABILISATIONS: dict[str, dict[str, Any]] = {
    "no stabilisation": {"stabilise": "none"},
    "tracks removed only": {"stabilise": "none", "remove_camera_tracks": True},
    "warped flow only": {"remove_camera_tracks": False},
}


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
    seed: int | str  # several, joined by slashes, of a mean


def stage_sequences() -> Iterator[Study]:
    """Headline: each of the 20 sequences of UT-Interaction left out in turn."""
    yield Study("20 sequences", "idt-fv", HEADLINE, UT, folds="sequences")


def stage_tennis() -> Iterator[Study]:
    """Headline: Tennis7, with three seeds of sample and codebook."""
    for seed in SEEDS:
        yield Study("headline", "idt-fv", HEADLINE | {"seed": seed}, TENNIS)


def stage_presets() -> Iterator[Study]:
    """Presets of the extraction, on UT-Interaction."""
    for preset in ("parity", "fast", "codec"):
        yield Study(f"preset {preset}", "idt-fv", FIVE | {"preset": preset}, UT)


def stage_plus() -> Iterator[Study]:
    """idt-fv-plus beside idt-fv, and each addition alone."""
    for data in (UT, TENNIS):
        yield Study("plus", "idt-fv-plus", FIVE, data)
        yield Study("five folds", "idt-fv", FIVE | DIVIDED, data)
        for name, options in ADDITIONS.items():
            yield Study(name, "idt-fv", FIVE | options, data)


def stage_methods() -> Iterator[Study]:
    """Dense and improved trajectories, bags and Fisher vectors, whole and with halves of time."""
    for data in (UT, TENNIS):
        yield Study("five folds", "dt-fv", FIVE | HALVES, data)
        for method in ("idt-bof", "dt-bof"):
            yield Study("five folds", method, BAGS | HALVES, data)


def stage_encodings() -> Iterator[Study]:
    """Number of components, and one PCA for all descriptors."""
    for data in (UT, TENNIS):
        for name, options in ENCODINGS.items():
            yield Study(name, "idt-fv", FIVE | options, data)


def stage_sets() -> Iterator[Study]:
    """Each set of UT-Interaction alone, with codebooks of 64,000 trajectories."""
    for of in ("set1", "set2"):
        yield Study(f"{of} alone", "idt-fv", HEADLINE | FEWER, UT, folds="sequences", of=of)


def stage_stabilisation() -> Iterator[Study]:
    """Parts of the stabilisation on UT-Interaction, and human boxes on its set 2.

    Looking for people takes four times as long as the rest; `seeds` has set 2 without boxes.
    """
    for name, extraction in STABILISATIONS.items():
        yield Study(name, "idt-fv", FIVE, UT, extraction=extraction)
    people = {"detect_people": True}
    yield Study("human boxes, set2", "idt-fv", FIVE, UT, extraction=people, of="set2")


def stage_seeds() -> Iterator[Study]:
    """Seeds of sample, codebook and RANSAC, on UT-Interaction's set 2, whose camera shakes."""
    for seed in SEEDS:
        extraction = {"seed": seed} if seed else {}  # 0 goes with the reference program's RANSAC
        options = FIVE | {"seed": seed}
        yield Study("seeds, set2", "idt-fv", options, UT, extraction=extraction, of="set2")


STAGES: dict[str, Callable[[], Iterable[Study]]] = {
    "sequences": stage_sequences,
    "tennis": stage_tennis,
    "presets": stage_presets,
    "plus": stage_plus,
    "methods": stage_methods,
    "encodings": stage_encodings,
    "sets": stage_sets,
    "stabilisation": stage_stabilisation,
    "seeds": stage_seeds,
}


def run_stage(name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """Extract, train and score what a stage still lacks; give its rows."""
    folders = {"data": arguments.data, "runs": arguments.runs}
    (arguments.runs / "tracks").mkdir(parents=True, exist_ok=True)
    studies = list(STAGES[name]())
    clock = minutes()
    extract(studies, **folders, workers=arguments.workers)
    extracted = minutes()
    jobs = [jobs_of(study, **folders) for study in studies]
    score([job for each in jobs for job in each], workers=arguments.workers)
    tell(arguments.runs, name, "extraction", extracted - clock)
    tell(arguments.runs, name, "rest", minutes() - extracted)
    rows = [row for of_study in jobs for row in rows_of(name, of_study)]
    write(arguments.runs / f"{name}.csv", rows)
    yield from rows


def minutes() -> np.ndarray:
    """Minutes by the clock, and of processors in this process and its finished workers."""
    used = os.times()
    busy = used.user + used.system + used.children_user + used.children_system
    return np.array([time.perf_counter(), busy]) / 60


def tell(runs: Path, table: str, part: str, spent: Sequence[float] | np.ndarray) -> None:
    """Print and keep minutes: by the clock and, where they are known, of processors."""
    busy = f", {spent[1]:.1f} of processors" if len(spent) > 1 else ""
    print(f"{table}, {part}: {spent[0]:.1f} minutes{busy}", file=sys.stderr, flush=True)
    with (runs / "minutes.csv").open("a", newline="") as file:
        csv.writer(file).writerow([table, part, *(round(float(each), 2) for each in spent)])


def told_parts(runs: Path) -> set[tuple[str, str]]:
    """Tables and their parts whose minutes are kept."""
    with (runs / "minutes.csv").open(newline="") as file:
        return {(row[0], row[1]) for row in csv.reader(file)}


def rows_of(table: str, jobs: Sequence[Job]) -> Iterator[Row]:
    """Rows of a study: all descriptors together, and each alone; sets by themselves, too."""
    study = jobs[0].study
    clips = study.clips(jobs[0].data)
    truth = {clip.id: clip.label for clip in clips}
    groups = {clip.id: clip.group for clip in clips}
    by_fold = [read_scores(job) for job in jobs]
    sets = sorted({clip.set for clip in clips})
    for variant in by_fold[0].tables:
        tables = [each.tables[variant] for each in by_fold]
        parts = {"": tables}
        if study.folds == "sequences" and len(sets) > 1:  # a sequence is of one set
            parts |= {f", {name}": [t for t in tables if t.split.startswith(name)] for name in sets}
        for told, chosen in parts.items():
            measured = metrics.evaluate(chosen, truth, groups=groups)
            interval = measured.by_group or measured.by_video
            yield Row(
                table=table,
                dataset=study.data,
                method=study.method,
                setting=f"{study.name}: {variant}{told}",
                accuracy=round(measured.accuracy, 4),
                low=round(interval.low, 4),
                high=round(interval.high, 4),
                seconds=round(sum(each.seconds for each in by_fold), 1),
                seed=int(study.options.get("seed", 0)),
            )


def run_demo(arguments: argparse.Namespace) -> Iterator[Row]:
    """The embedded data set, as `trajfuse compare demo` runs it."""
    for seed in SEEDS:
        folder = arguments.runs / f"demo-{seed}"
        videos = demo.write(folder.with_name(f"{folder.name}-videos"), seed=seed)
        rule, workers = cli.demo.DEMO_FUSE, arguments.workers
        yield from run("demo", videos, cli.demo.DEMO_METHODS, rule, folder, seed, workers)


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


def run_training(
    arguments: argparse.Namespace,
    *,
    seeds: dict[str, tuple[int, ...]] = TRAINING_SEEDS,
    validates: bool = False,
) -> Iterator[Row]:
    """The networks on the split of both data sets, or candidates; and a report of each run."""
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with ExitStack() as stack:
        folders, workers = (arguments.data, arguments.runs), arguments.workers
        if workers > 1:  # started once for all trainings
            workers = stack.enter_context(WorkerPool(workers))
        for data, of_data in seeds.items():
            trainings = [
                Training(data, seed, *folders, workers, arguments.device, validates)
                for seed in of_data
            ]
            table = trainings[0].table
            clock = minutes()
            trainings[0].prepare()
            tell(arguments.runs, table, f"{data}, frames and flow", minutes() - clock)
            runs = {training.seed: run_networks(training) for training in trainings}
            rows += [Row(table, *row) for row in training_rows(data, runs)]
            write(arguments.runs / f"{table}.csv", rows)
    yield from rows


def run_networks(training: Training) -> benchmark.Run:
    """Train what is not done yet, write the report, tell the minutes."""
    clock, told = minutes(), f"{training.data} {training.seed}"
    finished = training.run()
    report.write(finished, training.folder)
    for result in finished.of("method"):
        part = f"{told}, {result.label}"
        if not result.resumed or (training.table, part) not in told_parts(training.runs):
            seconds = result.fit_seconds + result.score_seconds
            tell(training.runs, training.table, part, [seconds / 60])
    tell(training.runs, training.table, told, minutes() - clock)
    return finished


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "demo": run_demo,
    "ut-split": run_ut_split,
    "training": run_training,
    "validation": partial(run_training, seeds={TENNIS: (0,)}, validates=True),
    **{name: partial(run_stage, name) for name in STAGES},
}


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, whole or not at all."""
    with whole_file(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows(rows)


def main() -> int:
    """Run the tables that are asked for; print and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--tables", default="demo,ut-split,training,validation,classic", help="comma-separated"
    )
    parser.add_argument("--runs", type=Path, default=PROJECT / "runs" / "reproduce")
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser.add_argument("--data", type=Path, default=shared / "data")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu", help="of `training`: cpu, cuda or cuda:N")
    arguments = parser.parse_args()
    names = arguments.tables.replace("classic", ",".join(STAGES)).split(",")
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        choices = ", ".join(["classic", *TABLES])
        parser.error(f"--tables must be among {choices}, got {', '.join(unknown)}")
    if not arguments.csv.parent.is_dir():
        parser.error(f"--csv must lie in a folder that exists, got {arguments.csv}")
    rows = [row for name in names for row in TABLES[name](arguments)]
    write(arguments.csv, rows)
    shown = Table(*Row._fields)
    for row in rows:
        shown.add_row(*map(str, row))
    Console(width=140).print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
