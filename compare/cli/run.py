"""The command ``trajfuse compare run``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from compare.cli.options import (
    PROGRAM,
    Cache,
    Fuse,
    NoYardsticks,
    Overwrite,
    Quiet,
    Seed,
    Workers,
    run_and_report,
)


def run(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Option(
            help="CSV (path,label,...), folder of class folders, or the files of a published set: "
            "UCF101's or HMDB51's split files, or with --form others."
        ),
    ],
    methods: Annotated[
        str, typer.Option(help="Comma-separated, e.g. idt-fv,conv-fusion or idt-fv:n_components=64")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run goes on.")],
    fuse: Fuse = "",
    form: Annotated[
        str | None,
        typer.Option(
            help="Form of the data, where its files do not say: csv, folders, ucf101, hmdb51, kth, "
            "ut-interaction, lists (of TSN or mmaction2) or kinetics."
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(help="ucf101, hmdb51, lists, kinetics: folder with the clips."),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Column that names each row's fold, or a number of folds by group; ucf101, "
            "hmdb51: splits, as 1 or 1+3; kth: official or people; ut-interaction: sets."
        ),
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(
            help="Class folders, lists: regular expression whose first group is the group."
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Leave out clips that a published set's folder lacks."
        ),
    ] = False,
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
        data,
        form=form,
        videos=videos,
        folds=folds,
        group_pattern=group_pattern,
        seed=seed,
        allow_missing=allow_missing,
        allow_outside=allow_outside,
    )
    line = shlex.join([PROGRAM, *(context.obj or ())])
    run_and_report(
        loaded, methods, fuse, out, seed, workers, quiet, no_yardsticks, cache, overwrite, line
    )
