"""The command ``trajfuse``, and its part ``trajfuse compare``.

Help has to answer at once: this module imports the command-line library alone, the packages behind
``idt``, ``deep`` and ``compare`` when one of their commands is called.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compare.datasets import Dataset

PROGRAM = "trajfuse"
SHOWN = (ValueError, OSError, TypeError, ImportError)  # errors with a message made for users
MANY = 8  # workers; more are seldom faster on one disk, and each takes memory
# The embedded clips are 192: networks learn from scratch in few epochs, mixtures are small.
DEMO_METHODS = (
    "idt-fv:n_components=32:n_samples=32000,two-stream:backbone=small:epochs=20:n_clips=3:size=96"
)
DEMO_FUSE = "weighted:0.3/0.7"  # chosen on the seeds on which the data set was set up, 10 to 15
FORWARDED = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}

app = typer.Typer(
    name=PROGRAM,
    help="Recognise actions with improved dense trajectories and deep networks; compare and fuse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
compare_app = typer.Typer(
    help="Compare recognisers on a data set, fuse their scores, and report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for an error, 130 when interrupted.

    Errors that a user can act on are one line on standard error; ``--debug``, anywhere on the
    line, shows where they came from.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            app([part for part in given if part != "--debug"], prog_name=PROGRAM, obj=given)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == 130:
            print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    except SHOWN as error:
        if debug:
            traceback.print_exc()
        parts = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
        print(f"{PROGRAM}: error: {' '.join(' '.join(parts).split())}", file=sys.stderr)
        return 2
    return 0


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Write a warning as one line, without the source that it came from."""
    print(f"{PROGRAM}: warning: {' '.join(str(message).split())}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from; may stand anywhere.")
    ] = False,
) -> None:
    """Recognise actions with improved dense trajectories and deep networks; compare and fuse."""
    if version:
        from importlib.metadata import version as version_of

        print(f"{PROGRAM} {version_of(PROGRAM)}")
        raise typer.Exit()


@app.command("idt", context_settings=FORWARDED, help="Improved dense trajectories of videos.")
def _idt(context: typer.Context) -> None:
    _forward("idt", context)


@app.command("deep", context_settings=FORWARDED, help="Two-stream networks: train and predict.")
def _deep(context: typer.Context) -> None:
    _forward("deep", context)


@app.command("compare", context_settings=FORWARDED, help="Compare, fuse and report.")
def _compare(context: typer.Context) -> None:
    compare_app(context.args, prog_name=f"{PROGRAM} compare", obj=context.obj)


def _forward(package: str, context: typer.Context) -> None:
    """Hand the rest of the line to a package's own command."""
    importlib.import_module(f"{package}.cli").app(context.args, prog_name=f"{PROGRAM} {package}")


@compare_app.callback()
def compare_root() -> None:
    """Compare recognisers on a data set, fuse their scores, and report."""


@compare_app.command("run")
def run_command(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="CSV (path,label,...) or folder of class folders.")],
    methods: Annotated[
        str, typer.Option(help="Comma-separated, e.g. idt-fv,conv-fusion or idt-fv:n_components=64")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run goes on.")],
    fuse: Fuse = "",
    folds: Annotated[
        str | None,
        typer.Option(help="Column that names each row's fold, or a number of folds by group."),
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(help="Class folders: regular expression whose first group is the group."),
    ] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Accept CSV paths outside the CSV's folder.")
    ] = False,
    seed: Seed = 0,
    workers: Workers = None,
    quiet: Quiet = False,
    no_yardsticks: NoYardsticks = False,
    cache: Cache = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit methods on a data set's training videos, score its test videos, fuse, and report."""
    from compare import datasets

    loaded = datasets.load(
        data, folds=folds, group_pattern=group_pattern, seed=seed, allow_outside=allow_outside
    )
    line = shlex.join([PROGRAM, *(context.obj or ())])
    _run(loaded, methods, fuse, out, seed, workers, quiet, no_yardsticks, cache, overwrite, line)


@compare_app.command("demo")
def demo_command(
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
    quiet: Quiet = False,
    no_yardsticks: NoYardsticks = False,
    cache: Cache = None,
    overwrite: Overwrite = False,
) -> None:
    """Render the embedded data set beside OUT, as OUT-videos, and run on it.

    A self-test and a first look: evidence comes from real clips.
    """
    from compare import datasets, demo
    from compare.benchmark import run_folder

    out = out or Path("runs", f"demo-{seed}" if seed else "demo")
    run_folder.check_folder(out, overwrite)
    rendered = demo.write(out.with_name(f"{out.name}-videos"), seed=seed, verbose=not quiet)
    loaded = datasets.load(rendered, seed=seed)
    line = shlex.join([PROGRAM, *(context.obj or ())])
    if methods == DEMO_METHODS:
        fuse = fuse or DEMO_FUSE
    _run(loaded, methods, fuse, out, seed, workers, quiet, no_yardsticks, cache, overwrite, line)


def _run(
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
