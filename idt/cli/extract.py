"""The command ``trajfuse idt extract``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from idt.cli.options import (
    DetectPeople,
    End,
    Features,
    FirstScale,
    Flow,
    Homography,
    HumanBoxes,
    MaxSide,
    Preset,
    Quiet,
    Stabilise,
    Start,
    Threads,
    Video,
    extraction_from,
    options_from,
)

if TYPE_CHECKING:
    from idt.extract import Extraction, ExtractOptions


def extract(
    video: Video,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write: .h5, .npz, .npy, or .txt or .txt.gz, the reference program's "
            "text; - prints that text.",
            show_default=False,
        ),
    ],
    length: Annotated[
        int | None,
        typer.Option("--length", "-L", help="Length of a trajectory in frames. Default: 15."),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option("--stride", "-W", help="Pixels between sampled points. Default: 5."),
    ] = None,
    patch: Annotated[
        int | None,
        typer.Option(
            "--patch", "-N", help="Side in pixels of the window that is described. Default: 32."
        ),
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(
            "--cells", "-s", help="Cells of the window along each of x and y. Default: 2."
        ),
    ] = None,
    time_cells: Annotated[
        int | None,
        typer.Option("--time-cells", "-t", help="Cells of the window along time. Default: 3."),
    ] = None,
    scales: Annotated[
        int | None,
        typer.Option(
            "--scales",
            "-A",
            help="Largest number of scales, each smaller than the one before by the square root of "
            "two. Default: 8.",
        ),
    ] = None,
    first_scale: FirstScale = None,
    interval: Annotated[
        int | None,
        typer.Option(
            "--interval",
            "-I",
            help="Frames from one sampling of new points to the next. Default: 1.",
        ),
    ] = None,
    frame_step: Annotated[
        int | None,
        typer.Option(
            help="Work on every so many frames, as if the others were not there. Default: 1."
        ),
    ] = None,
    start: Start = 0,
    end: End = None,
    human_boxes: HumanBoxes = None,
    detect_people: DetectPeople = False,
    homography: Homography = None,
    descriptors: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Descriptors to keep, separated by commas. Default: trajectory,hog,hof,mbhx,mbhy.",
        ),
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            metavar="rootl1|l2",
            help="Norm of the histograms: L1 with a square root, or L2. Default: rootl1.",
        ),
    ] = None,
    stabilise: Stabilise = None,
    remove_camera_tracks: Annotated[
        str | None,
        typer.Option(
            metavar="on|off",
            help="Drop tracks that, with the camera's motion out, never move by more than a pixel "
            "a frame. Default: on, but off with --stabilise none.",
        ),
    ] = None,
    features: Features = None,
    flow: Flow = None,
    preset: Preset = "parity",
    seed: Annotated[
        int | None,
        typer.Option(
            help="Start of RANSAC's random numbers, from 0 to 2^64 - 1. Default: the largest, in "
            "every run."
        ),
    ] = None,
    max_side: MaxSide = None,
    threads: Threads = None,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="float16|float32", help="Precision of the descriptors; text has float32's."
        ),
    ] = "float16",
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Tell at the end where the time went. Kernels are loaded before the clock starts.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Extract the trajectories of a video: shape, HOG, HOF, MBHx and MBHy of each.

    Example: trajfuse idt extract clip.avi -o clip.h5
    """
    options = options_from(
        preset,
        track_length=length,
        stride=stride,
        patch_size=patch,
        n_cells=cells,
        n_time_cells=time_cells,
        max_scales=scales,
        first_scale=first_scale,
        interval=interval,
        frame_step=frame_step,
        descriptors=descriptors,
        normalise=normalise,
        flow=flow,
        stabilise=stabilise,
        remove_camera_tracks=remove_camera_tracks,
        features=features,
        detect_people=detect_people or None,
        seed=seed,
    )
    extraction = extraction_from(
        video,
        options,
        start=start,
        end=end,
        homography=homography,
        human_boxes=human_boxes,
        max_side=max_side,
        threads=threads,
    )
    loading = _load_kernels(options, output) if profile else 0.0
    begun = time.perf_counter()
    n_rows = extraction.save(output, dtype=dtype, verbose=not quiet)
    elapsed = time.perf_counter() - begun
    if not quiet:
        _report(extraction, n_rows, output)
    if profile:
        _print_profile(extraction, elapsed, loading)


def _report(extraction: Extraction, n_rows: int, output: Path) -> None:
    """Say what came out; on standard error where the table itself is printed."""
    printed = str(output) == "-"
    place = "standard output" if printed else str(output)
    n_frames = extraction.n_frames
    typer.echo(f"{place}: {n_rows} trajectories from {n_frames} frames", err=printed)
    for note in extraction.info()["notes"]:
        typer.echo(f"{place}: {note}", err=printed)


def _load_kernels(options: ExtractOptions, output: Path) -> float:
    """Load what a pass will need; returns the seconds that it took."""
    from idt.extract import load_kernels
    from idt.trajectories.writer import TEXT

    begun = time.perf_counter()
    load_kernels(options, as_text=output.name.lower().endswith(TEXT))
    return time.perf_counter() - begun


def _print_profile(extraction: Extraction, elapsed: float, loading: float) -> None:
    """Print seconds by stage on standard error, the longest first."""
    from rich.console import Console
    from rich.table import Table

    seconds = extraction.stages.seconds
    total = sum(seconds.values())
    n_threads = extraction.threads
    table = Table(
        title=f"{extraction.n_frames} frames in {elapsed:.2f} s on {n_threads} "
        f"{'thread' if n_threads == 1 else 'threads'}\n"
        f"({loading:.2f} s of loading kernels before)",
        title_justify="left",
        show_footer=True,
    )
    table.add_column("stage", "all stages", no_wrap=True)
    per_frame = 1000 / max(extraction.n_frames, 1)
    for heading, footer in (
        ("seconds", f"{total:.3f}"),
        ("ms a frame", f"{total * per_frame:.2f}"),
        ("share", "100 %"),
    ):
        table.add_column(heading, footer, justify="right", no_wrap=True)
    for name, spent in sorted(seconds.items(), key=lambda stage: -stage[1]):
        share = f"{100 * spent / total:.1f} %"
        table.add_row(name, f"{spent:.3f}", f"{spent * per_frame:.2f}", share)
    Console(stderr=True).print(table)
