"""The command ``trajfuse idt show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def show(
    video: Video,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="File to write: .mp4, a video; .png or .jpg, one picture. Default: VIDEO's name "
            "with _tracks.mp4, in this folder.",
        ),
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(help="Whose picture it is, counted from 0. Default: the middle frame."),
    ] = None,
    scale: Annotated[
        int, typer.Option(help="Whose tracks are drawn: 0 is the finest that is tracked.")
    ] = 0,
    start: Start = 0,
    end: End = None,
    human_boxes: HumanBoxes = None,
    detect_people: DetectPeople = False,
    homography: Homography = None,
    stabilise: Stabilise = None,
    features: Features = None,
    flow: Flow = None,
    first_scale: FirstScale = None,
    preset: Preset = "parity",
    max_side: MaxSide = None,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Draw the tracks over a video, or over one of its frames.

    Moving tracks are green, yellow with age, with a red head; tracks that move with the camera are
    blue; matches that the camera's motion explains are light dots, others magenta ones; people's
    boxes are white.

    Example: trajfuse idt show clip.avi -o clip.png
    """
    import idt.show
    from idt.video import probe

    output = _checked_output(video, output, frame)
    is_picture = output.suffix.lower() in idt.show.PICTURES
    options = options_from(
        preset,
        descriptors="trajectory",  # the others take time and are not drawn
        stabilise=stabilise,
        features=features,
        detect_people=detect_people or None,
        flow=flow,
        first_scale=first_scale,
    )
    if is_picture:
        frame = _checked_frame(video, frame, start, end, max_side)
    extraction = extraction_from(
        video,
        options,
        start=start,
        end=frame if is_picture else end,
        homography=homography,
        human_boxes=human_boxes,
        max_side=max_side,
        threads=threads,
    )
    if frame is not None:
        idt.show.save_picture(extraction, output, frame=frame, scale=scale, verbose=not quiet)
        message = f"frame {frame}"
    else:
        n_pictures = idt.show.save_video(
            extraction,
            output,
            scale=scale,
            fps=probe(video, max_side=max_side).fps,
            verbose=not quiet,
        )
        message = f"{n_pictures} frames, from frame {start + 1} on"
    if not quiet:
        typer.echo(f"{output}: {message}")


def _checked_output(video: Path, output: Path | None, frame: int | None) -> Path:
    """Where to write; never onto the video itself."""
    import idt.show

    if output is None:
        whole = video.resolve()
        output = Path(f"{whole.name if whole.is_dir() else whole.stem}_tracks.mp4")
    if output.exists() and video.exists() and output.samefile(video):
        raise ValueError(
            f"output must be another file than the video, got {str(output)!r}; rename it"
        )
    if frame is not None and output.suffix.lower() not in idt.show.PICTURES:
        raise ValueError(
            f"frame must be given with a picture, got {frame} with {str(output)!r}; end OUT in "
            ".png or .jpg"
        )
    return output


def _checked_frame(
    video: Path, frame: int | None, start: int, end: int | None, max_side: int | None
) -> int:
    """Frame to draw; the middle one, by the frames that there are, where none is chosen."""
    from idt.video import frames

    if frame is None:
        stop = None if end is None else max(end + 1, start)
        n_frames = sum(1 for _ in frames(video, start=start, stop=stop, max_side=max_side))
        return start + n_frames // 2
    if frame <= start or (end is not None and frame > end):
        last = "" if end is None else f" and at most end = {end}"
        raise ValueError(
            f"frame must be above start = {start}{last}, got {frame}; tracks need a frame before it"
        )
    return frame
