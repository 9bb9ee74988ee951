"""The commands ``trajfuse jobs``: what became of a folder of results, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

SUFFIX = ".h5"
TOLD = ("state", "reason", "tries", "seconds", "changed")

app = typer.Typer(
    help="What became of the videos of a folder that a run with -o FOLDER made.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of results.", show_default=False)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line: the folder's, then videos'.")
]


@app.callback()
def _jobs() -> None:
    """What became of the videos of a folder that a run with -o FOLDER made."""


@app.command()
def status(
    folder: Folder,
    everything: Annotated[
        bool, typer.Option("--all", help="List the videos that are done, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell how many videos are done, which are not, and why.

    Example: trajfuse jobs status tracks

    The exit code is 1 where videos failed or were lost.
    """
    from idt.cli.many import shown
    from idt.jobs import upkeep

    found = upkeep.status(folder)
    rows = [row for row in found.rows.values() if everything or row.state != "done"]
    if as_json:
        print(json.dumps({"folder": str(folder), "counts": found.counts, "runs": found.runs}))
        for row in rows:
            print(json.dumps({"video": row.name, **{k: getattr(row, k) for k in TOLD}}))
    else:
        counts = ", ".join(f"{n} {state}" for state, n in found.counts.items())
        print(f"{shown(str(folder))}: {counts or 'no videos'}")
        for run in found.runs:
            print(f"at work: {run}")
        for row in rows:
            tries = f" ({row.tries} tries)" if row.tries > 1 else ""
            reason = f": {shown(row.reason)}" if row.reason else ""
            print(f"{row.state:<8} {shown(row.name)}{tries}{reason}")
    if {"failed", "lost"} & found.counts.keys():
        raise typer.Exit(1)


@app.command()
def retry(
    folder: Folder,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIDEO]...",
            help="Names as status tells them. Default: all that failed or were lost.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Let the next run try videos again that failed.

    Example: trajfuse jobs retry tracks
    """
    from idt.cli.many import shown
    from idt.jobs import upkeep

    waiting = upkeep.retry(folder, names=names or ())
    print(f"{shown(str(folder))}: {len(waiting)} wait for the next run; give its line again")


@app.command()
def clean(
    folder: Folder,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale",
            help="Remove results, too, that were made with other settings than the last run's, or "
            "whose videos failed since.",
        ),
    ] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Tell what would go.")] = False,
) -> None:
    """Remove what killed runs left behind.

    Example: trajfuse jobs clean tracks --stale --dry-run
    """
    from idt.cli.many import shown
    from idt.jobs import upkeep

    removed = upkeep.clean(folder, suffix=SUFFIX, stale=stale, dry=dry)
    for path in removed:
        print(shown(str(path)))
    print(f"{shown(str(folder))}: {len(removed)} {'would be' if dry else 'were'} removed")
