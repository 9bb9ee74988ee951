"""The command ``trajfuse``, and its part ``trajfuse compare``: one module a command.

Help has to answer at once: these modules import the command-line library and the options that all
packages share, and what is behind ``idt``, ``deep`` and ``compare`` when a command is called.
"""

from __future__ import annotations

import errno
import faulthandler
import importlib
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from compare.cli import (
    demo,
    doctor,
    fuse,
    import_scores,
    jobs,
    published,
    report,
    run,
    significance,
)
from compare.cli.options import PROGRAM

DISK_FULL = 3  # exit code
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
SHOWN = (ValueError, OSError, TypeError, ImportError)  # errors with a message made for users
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
compare_app.command()(run.run)
compare_app.command()(demo.demo)
compare_app.command("import")(import_scores.import_scores)
compare_app.command()(fuse.fuse)
compare_app.command("test")(significance.compare_tables)
compare_app.command()(report.report)
compare_app.command()(published.published)


@compare_app.callback()
def compare_root() -> None:
    """Compare recognisers on a data set, fuse their scores, and report."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for an error, 130 when interrupted.

    1 is for a run that is through with failed videos, and the doctor's for a finding that would
    make results wrong; 3 is for a full disk, 143 for an end by SIGTERM.

    Errors that a user can act on are one line on standard error; ``--debug``, anywhere on the
    line, shows where they came from.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # a decoder that crashes in native code says where
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
        return DISK_FULL if getattr(error, "errno", None) in NO_ROOM else 2
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


app.command("doctor")(doctor.doctor)
app.add_typer(jobs.app, name="jobs")


def _forward(package: str, context: typer.Context) -> None:
    """Hand the rest of the line to a package's own command."""
    importlib.import_module(f"{package}.cli").app(context.args, prog_name=f"{PROGRAM} {package}")
