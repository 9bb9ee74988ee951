"""The command ``trajfuse compare demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from compare.cli.options import (
    PROGRAM,
    Cache,
    NoYardsticks,
    Overwrite,
    Quiet,
    Seed,
    run_and_report,
)
from idt.cli.workers import Memory, Scheduler, TimeLimit, Workers, open_workers

# The embedded clips are 192: networks learn from scratch in few epochs, mixtures are small.
DEMO_METHODS = (
    "idt-fv:n_components=32:n_samples=32000,two-stream:backbone=small:epochs=20:n_clips=3:size=96"
)
DEMO_FUSE = "weighted:0.3/0.7"  # chosen on the seeds on which the data set was set up, 10 to 15


def demo(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run. Default: runs/demo, or runs/demo-SEED for a seed."),
    ] = None,
    methods: Annotated[str, typer.Option(help="Comma-separated.")] = DEMO_METHODS,
    fuse: Annotated[
        str,
        typer.Option(
            help=f"Fusion rules, as for run. Default: {DEMO_FUSE}, or average for other methods."
        ),
    ] = "",
    seed: Seed = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    quiet: Quiet = False,
    no_yardsticks: NoYardsticks = False,
    cache: Cache = None,
    overwrite: Overwrite = False,
) -> None:
    """Render the embedded data set beside OUT, as OUT-videos, and run on it.

    Example: trajfuse compare demo --out runs/demo

    A self-test and a first look: evidence comes from real clips.
    """
    from compare import datasets, demo
    from compare.benchmark import run_folder

    out = out or Path("runs", f"demo-{seed}" if seed else "demo")
    run_folder.check_folder(out, overwrite)
    line = shlex.join([PROGRAM, *(context.obj or ())])
    if methods == DEMO_METHODS:
        fuse = fuse or DEMO_FUSE
    with open_workers(workers, scheduler=scheduler, time_limit=time_limit, memory=memory) as crew:
        rendered = demo.write(out.with_name(f"{out.name}-videos"), seed=seed, verbose=not quiet)
        loaded = datasets.load(rendered, seed=seed)
        run_and_report(
            loaded, methods, fuse, out, seed, crew, quiet, no_yardsticks, cache, overwrite, line
        )
