"""Pictures of an extraction at work: tracks, camera tracks and matches drawn over the frames.

Points are (x, y) in pixels; images are uint8 arrays (row, column, 3) in OpenCV's BGR order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import TypeAlias

import av
import cv2
import numpy as np

from idt.extract import Extraction, Step
from idt.jobs import progress, whole_file
from idt.tracking import MIN_STABILISED_STEP

Colour: TypeAlias = tuple[int, int, int]

LEAST_SIDE = 640  # pixels; smaller frames are enlarged by a whole factor
GREY_SHARE = 0.7  # of the frame behind the marks
BRIGHTNESS = 0.6  # of that frame
TOLD_AGE = 3  # frames; a track that has not moved by then counts as the camera's
USUAL_FPS = 25.0  # where a video does not say, or nothing that can be

YOUNG: Colour = (40, 150, 0)  # a moving track's beginning
OLD: Colour = (0, 255, 255)  # and its end, once it is complete
HEAD: Colour = (40, 40, 255)
CAMERA: Colour = (220, 120, 40)
INLIER: Colour = (230, 230, 130)
OUTLIER: Colour = (255, 60, 255)
BOX: Colour = (255, 255, 255)
TEXT: Colour = (235, 235, 235)

SUBPIXEL_BITS = 4  # of the points that OpenCV draws
DOT_RADIUS = 3 << SUBPIXEL_BITS >> 1  # 1.5 pixels
FONT = cv2.FONT_HERSHEY_SIMPLEX
TEXT_SCALE = 0.42  # of that font, on pictures of LEAST_SIDE
MAX_TEXT_GROWTH = 2.5  # on larger ones
WIDEST_COUNT = "00000"
VIDEOS = (".mp4",)  # suffixes, and those of pictures
PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Entry:
    """One count of the legend, and the colours of its sample: a line's parts, a dot at its end."""

    count: int
    noun: str
    line: tuple[Colour, ...] = ()
    dot: Colour | None = None


def draw(step: Step, *, scale: int = 0) -> np.ndarray:
    """Draw what one frame brought.

    Tracks that move by themselves are green, yellow with age, with a red head; those that have not
    left the camera's motion by a pixel are blue; matches that the homography explains are light
    dots, others magenta ones; people's boxes are white. Counts stand below the frame.

    Parameters
    ----------
    step
        One of `Extraction.steps`, before the next one is asked for.
    scale
        Whose tracks are drawn: 0 is the finest scale that is tracked.

    Returns
    -------
    ndarray of uint8, shape (row, column, 3)
        The frame, enlarged by a whole factor where its longer side is below 640 pixels, and the
        legend. Sides are even, and the same for all frames of a video.

    Raises
    ------
    ValueError
        There is no such scale.
    """
    if not 0 <= scale < len(step.levels):
        raise ValueError(
            f"scale must be from 0 to {len(step.levels) - 1}, got {scale}; 0 is the finest that is "
            "tracked"
        )
    zoom = ceil(LEAST_SIDE / max(step.image.shape[:2]))
    canvas = _background(step.image, zoom)
    moving, resting = _tracks(step, scale)
    for lines in resting:
        _draw_lines(canvas, lines, CAMERA, zoom)
    camera = step.pair.camera
    if camera is not None:
        _draw_dots(canvas, camera.current_points[camera.inliers], INLIER, zoom)
        _draw_dots(canvas, camera.current_points[~camera.inliers], OUTLIER, zoom)
    length = step.levels[scale].tracks.length
    for lines in moving:
        for k in range(lines.shape[1] - 1):
            _draw_lines(canvas, lines[:, k : k + 2], _age_colour(k, length), zoom)
    for lines in moving:
        _draw_dots(canvas, lines[:, -1], HEAD, zoom)
    if step.boxes is not None:
        corners = step.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 5, 2)
        _draw_lines(canvas, corners, BOX, zoom)
    legend = _legend(_entries(step, moving, resting), canvas.shape[1])
    return _even(np.concatenate([canvas, legend]))


def save_video(
    extraction: Extraction,
    path: str | Path,
    *,
    scale: int = 0,
    fps: float = 0.0,
    verbose: bool = False,
) -> int:
    """Work through a video and write what is drawn of it as an H.264 file, whole or not at all.

    Parameters
    ----------
    extraction
        The pass.
    path
        File to write, ``.mp4``.
    scale
        As for `draw`.
    fps
        Frames per second, see `idt.video.probe`; 25 where it is 0 or above 240.
    verbose
        Show progress on standard error.

    Returns
    -------
    int
        Number of pictures: one for every frame but the first.

    Raises
    ------
    ValueError
        There is no such scale, or only one frame.
    """
    _check_suffix(path, VIDEOS)
    rate = Fraction(fps if 0 < fps <= 240 else USUAL_FPS).limit_denominator(1001)
    n_pictures = 0
    with (
        whole_file(path) as target,
        av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as file,
    ):
        stream = file.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.pix_fmt = "yuv420p"
        stream.thread_count = extraction.threads
        for step in _steps(extraction, verbose):
            picture = draw(step, scale=scale)
            if not n_pictures:
                stream.height, stream.width = picture.shape[:2]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            n_pictures += 1
        if not n_pictures:
            raise _too_short(extraction)
        file.mux(stream.encode())
    return n_pictures


def save_picture(
    extraction: Extraction,
    path: str | Path,
    *,
    frame: int,
    scale: int = 0,
    verbose: bool = False,
) -> None:
    """Work through a video up to a frame and write that frame's picture, whole or not at all.

    Parameters
    ----------
    extraction
        The pass; it begins before the frame, and best ends with it.
    path
        File to write, ``.png`` or ``.jpg``.
    frame
        Index from 0, above the first of the pass.
    scale, verbose
        As for `save_video`.

    Raises
    ------
    ValueError
        There is no such frame or scale.
    """
    _check_suffix(path, PICTURES)
    last = extraction.start
    with whole_file(path) as target:
        for step in _steps(extraction, verbose):
            last = step.index
            if last == frame:
                picture = draw(step, scale=scale)
                target.write_bytes(cv2.imencode(target.suffix, picture)[1].tobytes())
                return
        if last == extraction.start:
            raise _too_short(extraction)
        raise ValueError(
            f"frame must be from {extraction.start + 1} to {last}, got {frame}; tracks need a "
            "frame before it"
        )


def _steps(extraction: Extraction, verbose: bool) -> Iterator[Step]:
    """Steps of a pass, under a progress bar where that is wanted."""
    total = extraction.expected_steps if verbose else None
    return progress(extraction.steps(), label=extraction.name, total=total, verbose=verbose)


def _check_suffix(path: str | Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a file name with another suffix."""
    if Path(path).suffix.lower() not in suffixes:
        raise ValueError(
            f"path must end in {', '.join(VIDEOS)} for a video or {', '.join(PICTURES)} for a "
            f"picture, got {str(path)!r}; rename it"
        )


def _too_short(extraction: Extraction) -> ValueError:
    """Error about a video in which nothing can move."""
    return ValueError(
        f"{extraction.name} must have 2 frames or more from frame {extraction.start} on, got "
        f"{extraction.n_frames}; nothing moves in one"
    )


def _background(image: np.ndarray, zoom: int) -> np.ndarray:
    """Enlarged frame, dimmed and with little colour, so that marks stand out."""
    if image.ndim == 2:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    mixed = cv2.addWeighted(grey, GREY_SHARE * BRIGHTNESS, image, (1 - GREY_SHARE) * BRIGHTNESS, 0)
    return cv2.resize(mixed, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)


def _tracks(step: Step, scale: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Moving tracks and those that rest, float32 (n, age + 1, 2) an age, in the frame's pixels.

    Among the moving ones are the trajectories that end in this frame.
    """
    level = step.levels[scale]
    tracks, factor = level.tracks, np.float32(level.scale.factor)
    moving, resting = [], []
    for age in range(1, tracks.length):
        slots = tracks.live[tracks.age[tracks.live] == age]
        moves = tracks.moved[slots] > MIN_STABILISED_STEP
        points = tracks.points[slots, : age + 1] * factor
        moving.append(points[moves])
        if age >= TOLD_AGE:
            resting.append(points[~moves])
    moving += [block.points for block in step.blocks if block.scale == level.scale]
    return moving, resting


def _age_colour(age: int, length: int) -> Colour:
    """Colour of the part of a moving track that is `age` steps from its beginning."""
    share = age / max(length - 1, 1)
    blue, green, red = (
        round(young + share * (old - young)) for young, old in zip(YOUNG, OLD, strict=True)
    )
    return blue, green, red


def _placed(points: np.ndarray, zoom: int) -> np.ndarray:
    """Fixed-point places of a frame's points on its enlarged picture, int32."""
    enlarged = (points + 0.5) * zoom - 0.5
    return np.rint(enlarged * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _draw_lines(canvas: np.ndarray, lines: np.ndarray, colour: Colour, zoom: int) -> None:
    """Draw lines, (n, point, 2)."""
    cv2.polylines(canvas, list(_placed(lines, zoom)), False, colour, 1, cv2.LINE_AA, SUBPIXEL_BITS)


def _draw_dots(canvas: np.ndarray, points: np.ndarray, colour: Colour, zoom: int) -> None:
    """Draw points, (n, 2)."""
    for x, y in _placed(points, zoom).tolist():
        cv2.circle(canvas, (x, y), DOT_RADIUS, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _entries(step: Step, moving: list[np.ndarray], resting: list[np.ndarray]) -> list[Entry]:
    """What the legend counts."""
    camera = step.pair.camera
    uses_camera = step.levels[0].options.uses_camera
    entries = [
        Entry(step.index, "frame"),
        Entry(sum(map(len, moving)), "tracks", line=(YOUNG, OLD), dot=HEAD),
        Entry(
            sum(map(len, resting)),
            "camera tracks" if uses_camera else "still tracks",
            line=(CAMERA,),
        ),
    ]
    if camera is not None:
        n_inliers = int(camera.inliers.sum())
        entries += [
            Entry(n_inliers, "inliers", dot=INLIER),
            Entry(len(camera.inliers) - n_inliers, "outliers", dot=OUTLIER),
        ]
    return entries


def _legend(entries: list[Entry], width: int) -> np.ndarray:
    """Band with a sample and a count each; places do not depend on the counts."""
    size = min(max(width / LEAST_SIDE, 1.0), MAX_TEXT_GROWTH)
    row_height, gap = round(22 * size), round(10 * size)
    placed, x, row = [], gap, 0
    for entry in entries:
        sample = round(size * (30 if entry.line else 14 if entry.dot else 0))
        widest = f"{entry.noun} {WIDEST_COUNT}"
        needed = sample + cv2.getTextSize(widest, FONT, TEXT_SCALE * size, 1)[0][0]
        if x + needed > width and x > gap:
            x, row = gap, row + 1
        placed.append((entry, x, row, sample))
        x += needed + gap
    band = np.zeros(((row + 1) * row_height, width, 3), np.uint8)
    for entry, x, row, sample in placed:
        middle = row * row_height + row_height // 2
        end = x + sample - gap
        for k, colour in enumerate(entry.line):
            begin = x + k * (end - x) // len(entry.line)
            cv2.line(band, (begin, middle), (end, middle), colour, round(2 * size), cv2.LINE_AA)
        if entry.dot is not None:
            cv2.circle(band, (end, middle), round(2.5 * size), entry.dot, -1, cv2.LINE_AA)
        text = f"{entry.noun} {entry.count}"
        place = (x + sample, middle + round(4.5 * size))
        cv2.putText(band, text, place, FONT, TEXT_SCALE * size, TEXT, 1, cv2.LINE_AA)
    return band


def _even(picture: np.ndarray) -> np.ndarray:
    """Picture with a black row and column where its sides are odd, as H.264 does not have them."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)))
