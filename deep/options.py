"""What commands share: options, and what these ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PROCESSES = 1  # that work on videos, unless more are asked for

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help=f"Processes that decode and compute flow. Default: {PROCESSES}, this one.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Accept CSV paths outside the CSV's folder.")
]


def check_cache(cache: Path | None, scheduler: str | None) -> None:
    """Refuse a cluster without a folder where it could leave what it decodes."""
    if scheduler is not None and cache is None:
        raise ValueError(
            "cache must be given with --scheduler, got none; give a folder that the cluster sees"
        )
