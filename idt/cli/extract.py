"""The command ``trajfuse idt extract``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from idt.cli.many import (
    AllowOutside,
    AsJson,
    ListFile,
    Redo,
    Shard,
    Strict,
    Videos,
    finish,
    shard_of,
    teller,
    videos_of,
)
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
    extraction_from,
    options_from,
    stop_of,
)
from idt.cli.workers import (
    Memory,
    Scheduler,
    TimeLimit,
    Workers,
    open_workers,
    threads_beside,
)

if TYPE_CHECKING:
    from idt.extract import Extraction, ExtractOptions


def extract(
    videos: Videos = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write: .h5, .npz, .npy, or .txt or .txt.gz, the reference program's "
            "text; - prints that text. For several videos, a folder of .h5 files, which goes on "
            "where it was left.",
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
    listed: ListFile = None,
    allow_outside: AllowOutside = False,
    workers: Workers = None,
    scheduler: Scheduler = None,
    shard: Shard = None,
    strict: Strict = False,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    redo: Redo = False,
    as_json: AsJson = False,
) -> None:
    """Extract the trajectories of videos: shape, HOG, HOF, MBHx and MBHy of each.

    Example: trajfuse idt extract clip.avi -o clip.h5

    Example: trajfuse idt extract UCF-101 -o tracks --workers 8 --time-limit 600

    Workers, limits and a cluster are for results in a folder. There a video that cannot be read
    stops nothing; the exit code is 1 where videos failed, 3 where the disk is full, and the same
    line goes on where it stopped.
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
    given = list(videos or ())
    if listed is not None or _is_folder(output, given):
        only_single: dict[str, object] = {
            "homography": homography,
            "human-boxes": human_boxes,
            "profile": profile,
        }
        for name, value in only_single.items():
            if value:
                raise ValueError(
                    f"{name} must be left out for many videos, got {str(value)!r}; it is one "
                    "video's: extract that one alone, into a file"
                )
        _extract_into(
            output,
            videos_of(given, listed, allow_outside=allow_outside),
            options,
            start=start,
            end=end,
            max_side=max_side,
            threads=threads,
            dtype=dtype,
            workers=workers,
            scheduler=scheduler,
            shard=shard,
            strict=strict,
            time_limit=time_limit,
            memory=memory,
            redo=redo,
            as_json=as_json,
            quiet=quiet,
        )
        return
    only_many: dict[str, object] = {
        "workers": workers,
        "scheduler": scheduler,
        "shard": shard,
        "strict": strict,
        "time-limit": time_limit,
        "memory": memory,
        "redo": redo,
        "json": as_json,
        "allow-outside": allow_outside,
    }
    for name, value in only_many.items():
        if value:
            raise ValueError(
                f"{name} must be left out for one video into a file, got {value}; give a folder "
                "with --output"
            )
    extraction = extraction_from(
        given[0],
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


def _is_folder(output: Path, videos: list[Path]) -> bool:
    """Whether results go into a folder: for several videos, or where the output is one by name."""
    from idt.trajectories.writer import FORMS
    from idt.video import is_folder_of_videos

    if not videos:
        raise ValueError("videos must be given, got none; name files or folders, or a --list")
    several = len(videos) > 1 or is_folder_of_videos(videos[0])
    if several and (str(output) == "-" or output.name.lower().endswith(FORMS)):
        raise ValueError(
            f"output must be a folder for many videos, got {str(output)!r}; leave the suffix out"
        )
    return several or output.is_dir() or (str(output) != "-" and not output.suffix)


def _extract_into(
    output: Path,
    videos: dict[str, Path],
    options: ExtractOptions,
    *,
    start: int,
    end: int | None,
    max_side: int | None,
    threads: int | None,
    dtype: str,
    workers: int | None,
    scheduler: str | None,
    shard: str | None,
    strict: bool,
    time_limit: float | None,
    memory: float | None,
    redo: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Work through many videos."""
    from dataclasses import replace

    from idt.extract.into_folder import IntoFolder
    from idt.jobs.folder import ResultFolder

    many = IntoFolder(
        options,
        start=start,
        stop=stop_of(start, end),
        max_side=max_side,
        threads=threads_beside(workers, scheduler) if threads is None else threads,
        dtype=dtype,
    )
    with (
        ResultFolder(output, made=many.made, shard=shard_of(shard), redo=redo) as folder,
        open_workers(
            workers,
            scheduler=scheduler,
            time_limit=time_limit,
            memory=memory,
            apart=True,
            prepare=many.prepare,
        ) as executor,
    ):
        counts = folder.work(
            replace(many, scratch=folder.scratch.absolute()),
            many.works(videos, output),
            label="trajectories",
            workers=executor,
            strict=strict,
            report=teller(as_json=as_json, quiet=quiet),
            verbose=not quiet and not as_json,
        )
    finish(counts, output, as_json=as_json, quiet=quiet)


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
