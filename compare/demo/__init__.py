"""The embedded data set: rendered people who move a prop, filmed by an unsteady camera.

A self-test and a first look, no evidence: what a method is worth is measured on real clips. The
set is made so that neither family of methods can do it alone. There are 8 classes, 4 motions times
2 props. Every motion takes the hand over the same space at the same speed, so one frame does not
tell it, and only the way in time does. The props have one grey level and differ in colour and in
breadth, so tracks in grey frames tell them less surely than a colour frame does. Background and
figure move under a camera that pans, zooms, rolls and shakes, so raw flow is disturbed and must be
compensated. How strongly was set on other seeds (10 to 15) than those whose results are told.

A group is one person: appearance, background and camera style. People of the test split are not
seen in training, and a person shows every class equally often, so the place tells no class. The
clips are ordinary H.264 files that go through the real decoder.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from compare.demo.figure import PROPS, Actor, actor, draw, prop
from compare.demo.motions import FPS, MOTIONS, poses
from compare.demo.scene import (
    HEIGHT,
    WIDTH,
    CameraStyle,
    background,
    camera_path,
    camera_style,
    film,
)
from idt.jobs import progress

__all__ = ["FORMAT", "MOTIONS", "PROPS", "Clip", "Settings", "clips", "render", "write"]

FORMAT = 2  # goes up when the same settings give other clips
COLUMNS = ("path", "label", "group", "split")
CSV_NAME = "demo.csv"
SETTINGS_NAME = "settings.json"


@dataclass(frozen=True)
class Settings:
    """Everything that decides the files."""

    seed: int = 0
    n_train_actors: int = 16
    n_test_actors: int = 8
    clips_per_class: int = 1
    format: int = FORMAT


@dataclass(frozen=True)
class Clip:
    """What one file shows: who, what, and which of several takes."""

    actor: int
    motion: str
    prop: str
    take: int
    split: str

    @property
    def label(self) -> str:
        """Name of the class."""
        return f"{self.motion} {self.prop}"

    @property
    def group(self) -> str:
        """Name of the person."""
        return f"actor{self.actor + 1:02d}"

    @property
    def path(self) -> Path:
        """File inside the data set's folder."""
        return Path(self.group) / f"{self.motion}_{self.prop}_{self.take + 1}.mp4"


@dataclass(frozen=True)
class Studio:
    """One person with the place and the camera."""

    cast: Actor
    canvas: np.ndarray
    style: CameraStyle


def write(
    folder: str | Path,
    *,
    seed: int = 0,
    n_train_actors: int = 16,
    n_test_actors: int = 8,
    clips_per_class: int = 1,
    verbose: bool = False,
) -> Path:
    """Render the data set into a folder, whole or not at all.

    Parameters
    ----------
    folder
        Made by this call. One that already holds this data set is left as it is; one that holds
        it with other settings is replaced.
    seed
        Of every appearance and performance. The same seed gives the same bytes.
    n_train_actors, n_test_actors
        Number of people in each split, at least 1.
    clips_per_class
        Takes of each class by each person, at least 1.
    verbose
        Show a progress bar on standard error.

    Returns
    -------
    Path
        CSV file with the columns path, label, group, split.

    Raises
    ------
    ValueError
        A number is out of range.
    FileExistsError
        `folder` exists and is not an embedded data set.
    """
    for name, value in (
        ("n_train_actors", n_train_actors),
        ("n_test_actors", n_test_actors),
        ("clips_per_class", clips_per_class),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}; give a positive number")
    settings = Settings(seed, n_train_actors, n_test_actors, clips_per_class)
    folder = Path(folder)
    if _holds(folder, settings):
        return folder / CSV_NAME
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_all(unfinished, settings, verbose=verbose)
        unfinished.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return folder / CSV_NAME


def render(clip: Clip, studio: Studio, *, seed: int) -> np.ndarray:
    """Render one clip.

    Returns
    -------
    ndarray of uint8, shape (frame, 120, 160, 3)
        BGR, 32 to 40 frames at 25 frames per second.
    """
    key = [seed, clip.actor, [*MOTIONS].index(clip.motion), [*PROPS].index(clip.prop), clip.take]
    rng = np.random.default_rng(key)
    n_frames = int(rng.integers(32, 41))
    mirrored = rng.uniform() < 0.5
    performance = poses(clip.motion, n_frames, rng)
    views = camera_path(studio.style, n_frames, rng)
    held = prop(clip.prop, rng)
    place = complex(rng.uniform(-20, -8), rng.uniform(42, 50))
    offset = complex(rng.uniform(-20, 20), rng.uniform(-6, 6))
    frames = np.empty((n_frames, HEIGHT, WIDTH, 3), np.uint8)
    for index, view in enumerate(views):
        frame = film(studio.canvas, view, offset)
        draw(frame, view, studio.cast, held, performance, index, place)
        small = cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        frames[index] = small[:, ::-1] if mirrored else small
    return frames


def clips(settings: Settings) -> Iterator[Clip]:
    """List every clip of a data set, those of one person together."""
    for number in range(settings.n_train_actors + settings.n_test_actors):
        split = "train" if number < settings.n_train_actors else "test"
        for motion in MOTIONS:
            for held in PROPS:
                for take in range(settings.clips_per_class):
                    yield Clip(number, motion, held, take, split)


def _studio(seed: int, number: int) -> Studio:
    rng = np.random.default_rng([seed, number])
    return Studio(actor(rng), background(rng), camera_style(rng))


def _holds(folder: Path, settings: Settings) -> bool:
    """Whether a folder already holds the data set; it is refused when it holds something else."""
    if not folder.exists():
        return False
    marker = folder / SETTINGS_NAME
    if not (marker.is_file() and (folder / CSV_NAME).is_file()):
        raise FileExistsError(
            f"folder must be new or an embedded data set, got {str(folder)!r}; give another name"
        )
    whole = all((folder / clip.path).is_file() for clip in clips(settings))
    return whole and marker.read_text(encoding="utf-8") == _written(settings)


def _written(settings: Settings) -> str:
    return json.dumps(asdict(settings), indent=2) + "\n"


def _write_all(folder: Path, settings: Settings, *, verbose: bool) -> None:
    """Write every clip, the CSV and the settings."""
    planned = list(clips(settings))
    studios: dict[int, Studio] = {}
    for clip in progress(planned, label="rendering clips", verbose=verbose):
        if clip.actor not in studios:
            studios = {clip.actor: _studio(settings.seed, clip.actor)}
        path = folder / clip.path
        path.parent.mkdir(exist_ok=True)
        _encode(path, render(clip, studios[clip.actor], seed=settings.seed))
    with (folder / CSV_NAME).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows([c.path.as_posix(), c.label, c.group, c.split] for c in planned)
    (folder / SETTINGS_NAME).write_text(_written(settings), encoding="utf-8")


def _encode(path: Path, frames: np.ndarray) -> None:
    """Write an H.264 file whose bytes depend on the frames alone.

    That takes one thread, and no look-ahead: x264's vector code for it differs from run to run.
    """
    x264 = "threads=1:bframes=0:rc-lookahead=0:no-mbtree=1"
    options = {"crf": "20", "preset": "veryfast", "x264-params": x264}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())
