"""What the commands that work through a video share: their options, and the pass these ask for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from idt.extract import Extraction, ExtractOptions

MANY = 8  # threads; more seldom find work within a video

Video = Annotated[
    Path,
    typer.Argument(metavar="VIDEO", help="Video file, or folder of images.", show_default=False),
]
Start = Annotated[
    int, typer.Option("--start", "-S", help="First frame, counted from 0.", show_default=False)
]
End = Annotated[
    int | None,
    typer.Option(
        "--end", "-E", help="Last frame, itself worked on, too. Default: the video's last."
    ),
]
HumanBoxes = Annotated[
    Path | None,
    typer.Option(
        "--human-boxes",
        "-H",
        metavar="FILE",
        help="People, in whose boxes nothing is matched for the camera's motion. One line a frame: "
        "its number, then x1 y1 x2 y2 confidence for each, in the video's own pixels.",
    ),
]
DetectPeople = Annotated[
    bool,
    typer.Option(
        "--detect-people", help="Look for people in every frame, instead of --human-boxes."
    ),
]
Homography = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz",
        help="Known camera motion, instead of an estimate: arrays frame (n), from 1, and H "
        "(n, 3, 3), each from the previous frame's pixels to that frame's, in the video's own.",
    ),
]
Stabilise = Annotated[
    str | None,
    typer.Option(
        metavar="rewarp|subtract|none",
        help="How the camera's motion is taken out: by flow to the warped frame, by subtraction of "
        "the homography from the flow, or not at all. Default: rewarp.",
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="surf|akaze|sift|orb|none",
        help="Keypoints that are matched for the camera's motion beside the flow. Default: surf.",
    ),
]
Flow = Annotated[
    str | None,
    typer.Option(
        metavar="farneback|dis|tvl1|codec",
        help="Optical flow: the reference program's, dense inverse search, TV-L1, or the motion "
        "vectors of the video file, which take one scale of a quarter of the resolution, and "
        "stabilise subtract or none. Default: farneback.",
    ),
]
FirstScale = Annotated[
    int | None,
    typer.Option(help="Number of the finest scales that are left out. Default: 0."),
]
Preset = Annotated[
    str,
    typer.Option(
        metavar="parity|fast|codec",
        help="Settings to begin with: the reference program's, faster ones (stabilise subtract, "
        "features none, first scale 1), or the fastest (flow codec, stabilise none, "
        "features none). Options that are given win.",
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        help="Scale frames with a longer side, in pixels, down to it. Boxes and homographies are "
        "given in the video's own pixels; trajectories are told in those that result. Default: "
        "frames as they are, up to 4096."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="Threads that share the work; they do not change the result. Default: the processors "
        f"there are, up to {MANY}."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no messages.")]


def options_from(preset: str, **given: Any) -> ExtractOptions:
    """Settings of a preset with the options that were given, by attribute, on top.

    None stands for an option that was not given. `descriptors` are names separated by commas,
    `remove_camera_tracks` is ``"on"`` or ``"off"``.
    """
    from idt.extract import ExtractOptions

    changes = {name: value for name, value in given.items() if value is not None}
    if "descriptors" in changes:
        changes["descriptors"] = tuple(part.strip() for part in changes["descriptors"].split(","))
    if "remove_camera_tracks" in changes:
        switch = changes["remove_camera_tracks"]
        if switch not in ("on", "off"):
            raise ValueError(
                f"remove-camera-tracks must be on or off, got {switch!r}; choose one, or leave it "
                "out for on wherever the camera's motion is taken out"
            )
        changes["remove_camera_tracks"] = switch == "on"
    return ExtractOptions.preset(preset, **changes)


def extraction_from(
    video: Path,
    options: ExtractOptions,
    *,
    start: int = 0,
    end: int | None = None,
    homography: Path | None = None,
    human_boxes: Path | None = None,
    max_side: int | None = None,
    threads: int | None = None,
) -> Extraction:
    """Make ready the pass that a command line asks for; `end` is the last frame of it."""
    import cv2

    from idt.camera import read_boxes, read_homographies
    from idt.extract import Extraction

    stop = stop_of(start, end)
    if human_boxes is not None and options.detect_people:
        raise ValueError(
            f"human-boxes must not be given with detect-people, got {str(human_boxes)!r}; leave "
            "one out"
        )
    cv2.setNumThreads(1)  # the threads are ours, and share out whole frames
    return Extraction(
        video,
        options=options,
        homographies=None if homography is None else read_homographies(homography),
        boxes=None if human_boxes is None else read_boxes(human_boxes),
        start=start,
        stop=stop,
        max_side=max_side,
        threads=min(os.cpu_count() or 1, MANY) if threads is None else threads,
    )


def stop_of(start: int, end: int | None) -> int | None:
    """End of a range of frames, as Python has it, from the last frame of it."""
    if start < 0:
        raise ValueError(f"start must be at least 0, got {start}; count frames from 0")
    if end is not None and end < start:
        raise ValueError(
            f"end must be at least start = {start}, got {end}; give the last frame to work on"
        )
    return None if end is None else end + 1
