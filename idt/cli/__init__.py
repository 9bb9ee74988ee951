"""The command ``trajfuse idt``: one module a command, and heavy imports inside the commands."""

from __future__ import annotations

import typer

from idt.cli import compare, extract

app = typer.Typer(
    help="Improved dense trajectories: extraction from videos, comparison of tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(extract.extract)
app.command()(compare.compare)


@app.callback()
def _idt() -> None:
    """Improved dense trajectories: extraction from videos, comparison of tables."""
