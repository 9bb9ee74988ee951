"""The command ``trajfuse idt``: one module a command, and heavy imports inside the commands."""

from __future__ import annotations

import typer

from idt.cli import compare, extract, show

HELP = {"help_option_names": ["-h", "--help"]}  # the reference program's, too

ABOUT = "Improved dense trajectories: extraction from videos, pictures of it, comparison of tables."

app = typer.Typer(
    help=ABOUT,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(context_settings=HELP)(extract.extract)
app.command(context_settings=HELP)(show.show)
app.command(context_settings=HELP)(compare.compare)


@app.callback(help=ABOUT)
def _idt() -> None:
    """Stand above the commands, so that one alone would still be called by its name."""
