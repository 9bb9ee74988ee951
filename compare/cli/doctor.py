"""The command ``trajfuse doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compare.cli.options import Quiet, Seed
from idt.cli.workers import (
    Memory,
    Scheduler,
    TimeLimit,
    Workers,
    open_workers,
    workers_or_default,
)

MARKS = {"fine": "ok", "warning": "warning", "error": "ERROR"}


def doctor(
    data: Annotated[
        Path | None, typer.Option(help="Data set to examine, as for 'trajfuse compare run'.")
    ] = None,
    form: Annotated[str | None, typer.Option(help="Form of the data, as for run.")] = None,
    videos: Annotated[Path | None, typer.Option(help="Folder with the clips, as for run.")] = None,
    folds: Annotated[str | None, typer.Option(help="Folds or splits, as for run.")] = None,
    group_pattern: Annotated[str | None, typer.Option(help="Groups, as for run.")] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Accept CSV paths outside the CSV's folder.")
    ] = False,
    flow: Annotated[
        Path | None,
        typer.Option(
            help="Folder of extracted images and flow to examine: VIDEO/img_00001.jpg, "
            "VIDEO/flow_x_00001.jpg, ..."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of a run to examine; with --data, against it.")
    ] = None,
    no_decode: Annotated[
        bool, typer.Option("--no-decode", help="Look for clips only; do not decode them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    seed: Seed = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    quiet: Quiet = False,
) -> None:
    """Examine this machine and, where given, a data set, extracted flow and the folder of a run.

    Example: trajfuse doctor --data clips.csv --run runs/clips

    The exit code is 1 where something was found that makes results wrong or missing, else 0;
    warnings do not count.
    """
    from compare import doctor as examinations

    ids: tuple[str, ...] = ()
    n_frames = dataset = None
    with open_workers(workers, scheduler=scheduler, time_limit=time_limit, memory=memory) as crew:
        findings = examinations.examine_machine(workers=workers_or_default(workers))
        if data is not None:
            examined = examinations.examine_data(
                data,
                decode=not no_decode,
                workers=crew,
                verbose=not quiet,
                form=form,
                videos=videos,
                folds=folds,
                group_pattern=group_pattern,
                allow_outside=allow_outside,
                seed=seed,
            )
            findings += examined.findings
            ids, n_frames, dataset = examined.ids, examined.n_frames, examined.dataset
    if flow is not None:
        findings += examinations.examine_flow(flow, n_frames=n_frames, ids=ids)
    if run is not None:
        findings += examinations.examine_run(run, dataset=dataset)
    if as_json:
        print(examinations.as_json(findings))
    else:
        for each in findings:
            print(f"{MARKS[each.level]:<8} {each.about}: {each.what}")
            if each.advice:
                print(f"{'':<8} -> {each.advice}")
    if examinations.worst(findings) == "error":
        raise typer.Exit(1)
