"""The command ``trajfuse compare run``: a run from flags, from a file, or from both."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from compare.cli.options import (
    PROGRAM,
    Cache,
    Fuse,
    NoYardsticks,
    Overwrite,
    Quiet,
    Seed,
    run_and_report,
)
from idt.cli.workers import Memory, Scheduler, TimeLimit, Workers, open_workers


def run(
    context: typer.Context,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with options of this command under their names (as inner_folds); paths "
            "are relative to the file. What the command line says wins."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="CSV (path,label,...), folder of class folders, or the files of a published set: "
            "UCF101's or HMDB51's split files, or with --form others."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, e.g. idt-fv,conv-fusion or idt-fv:n_components=64; early fusion "
            "of encodings: early:idt-fv/frame-features."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; an unfinished run goes on.")
    ] = None,
    fuse: Fuse = "",
    inner_folds: Annotated[
        int,
        typer.Option(
            help="Folds by group of the training videos, for rules that learn: each method is "
            "trained once more for each fold.",
            min=2,
        ),
    ] = 5,
    calibrate: Annotated[
        str,
        typer.Option(
            metavar="auto|none|temperature|platt",
            help="Turn scores into probabilities before a rule that learns mixes them, fitted to "
            "the same scores; the report shows the calibration error. auto: temperature where a "
            "rule mixes margins with logits. Scale unit, the default of rules, hears hardly "
            "anything of it; softmax and none do.",
        ),
    ] = "auto",
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
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    quiet: Quiet = False,
    no_yardsticks: NoYardsticks = False,
    cache: Cache = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit methods on a data set's training videos, score its test videos, fuse, and report.

    Example: trajfuse compare run --data clips.csv --methods idt-fv,two-stream --out runs/clips

    A video that cannot be decoded is left out for all methods. One over which a worker dies, hangs
    or swells twice ends the run by name; the same line goes on where it stopped.
    """
    from compare import datasets

    asked = _asked(context, spec)
    loaded = datasets.load(
        asked["data"],
        form=asked["form"],
        videos=asked["videos"],
        folds=asked["folds"],
        group_pattern=asked["group_pattern"],
        seed=asked["seed"],
        allow_missing=asked["allow_missing"],
        allow_outside=asked["allow_outside"],
    )
    with open_workers(
        asked["workers"],
        scheduler=asked["scheduler"],
        time_limit=asked["time_limit"],
        memory=asked["memory"],
    ) as crew:
        run_and_report(
            loaded,
            asked["methods"],
            asked["fuse"],
            asked["out"],
            asked["seed"],
            crew,
            quiet,
            asked["no_yardsticks"],
            asked["cache"],
            overwrite,
            shlex.join([PROGRAM, *(context.obj or ())]),
            n_inner_folds=asked["inner_folds"],
            calibration=asked["calibrate"],
        )


def _asked(context: typer.Context, spec: Path | None) -> dict[str, Any]:
    """Return the options: those of the command line, then those of the file, then the defaults."""
    from compare.benchmark.spec_file import KEYS, read_spec

    asked = {key: context.params[key] for key in KEYS}
    for key, value in ({} if spec is None else read_spec(spec)).items():
        source = context.get_parameter_source(key)
        if source is None or source.name != "COMMANDLINE":
            asked[key] = value
    lacking = [key for key in ("data", "methods", "out") if asked[key] is None]
    if lacking:
        raise ValueError(
            f"{lacking[0]} must be given, got none; add --{lacking[0]}, or a line "
            f"{lacking[0]} = ... to a file for --spec"
        )
    return asked
