"""The command ``trajfuse idt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Improved dense trajectories: extraction from videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _idt() -> None:
    """Improved dense trajectories: extraction from videos."""


@app.command()
def extract(
    video: Annotated[Path, typer.Argument(help="Video file.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="HDF5 file (.h5) to write.", show_default=False),
    ],
    dtype: Annotated[
        str, typer.Option(help="Precision of the descriptors: float16 or float32.")
    ] = "float16",
    seed: Annotated[
        int | None,
        typer.Option(
            help="Start of RANSAC's random numbers; the reference program's if not given."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Extract the trajectories of a video: shape, HOG, HOF, MBHx and MBHy of each.

    Example: trajfuse idt extract clip.avi -o clip.h5
    """
    from idt.extract import ExtractOptions
    from idt.extract import extract as extract_trajectories
    from idt.jobs import progress
    from idt.video import frames, probe

    if output.suffix != ".h5":
        raise ValueError(f"output must end in .h5, got {str(output)!r}; name an HDF5 file")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(output.parent)!r}; make it, or write elsewhere")
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype must be float16 or float32, got {dtype!r}; choose one")
    options = ExtractOptions() if seed is None else ExtractOptions(seed=seed)
    info = probe(video)
    table = extract_trajectories(
        progress(
            frames(video), label=video.name, total=info.declared_frames or None, verbose=not quiet
        ),
        options=options,
        name=video.name,
    )
    table.save(output, dtype=dtype)
    if not quiet:
        n_frames = table.info["video"]["n_frames"]
        note = "" if len(table) else f"; a track takes {options.track_length + 1} frames and motion"
        typer.echo(f"{output}: {len(table)} trajectories from {n_frames} frames{note}")


if __name__ == "__main__":
    app()
