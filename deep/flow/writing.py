"""Folders of images and flow, for other programs and for networks here."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deep.flow.computing import fields
from deep.flow.folders import RECORD, RECORD_VERSION
from deep.flow.levels import largest, quantise
from deep.flow.settings import FlowSettings

# Folder above the video's own, beginning and digits of the files, of images, dx and dy.
LAYOUTS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "flat": (("", "img_", 5), ("", "flow_x_", 5), ("", "flow_y_", 5)),
    "uv": (("img", "frame", 6), ("u", "frame", 6), ("v", "frame", 6)),
}
FORMATS = {"jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], "png": [cv2.IMWRITE_PNG_COMPRESSION, 3]}
BASES = (0, 1)


def image_folder(root: Path, name: str, layout: str) -> Path:
    """Find the folder that holds a video's images."""
    return root / LAYOUTS[layout][0][0] / name


def check_form(*, layout: str, base: int, form: str, settings: FlowSettings) -> None:
    """Raise ValueError unless `write_folder` takes these options."""
    for option, value, valid in (
        ("layout", layout, tuple(LAYOUTS)),
        ("base", base, BASES),
        ("form", form, tuple(FORMATS)),
    ):
        if value not in valid:
            raise ValueError(
                f"{option} must be one of {', '.join(map(str, valid))}, got {value!r}; choose one"
            )
    if settings.backward:
        raise ValueError(
            "flow for folders must not be backward, got backward=True; there are no names for it"
        )


def write_folder(
    frames: Iterable[np.ndarray],
    root: Path,
    name: str,
    *,
    settings: FlowSettings,
    layout: str = "flat",
    base: int = 1,
    form: str = "jpg",
    device: str = "cpu",
    source: str = "",
) -> Path:
    """Write a video's frames and the flow between them as numbered images, whole or not at all.

    Parameters
    ----------
    frames : iterable of ndarray of uint8, shape (row, column, 3)
        RGB frames of one size; they are read once.
    root
        Where the folders are made.
    name
        Of the video; may have folders in it, as in ``class/video``. Folders of that name are
        written anew where a ``flow.json`` in them says that they are ours.
    settings
        Which flow; not backward.
    layout
        ``flat``: ``NAME/img_00001.jpg``, ``NAME/flow_x_00001.jpg``, ``NAME/flow_y_00001.jpg``;
        ``uv``: ``img/NAME/frame000001.jpg``, ``u/NAME/frame000001.jpg``,
        ``v/NAME/frame000001.jpg``.
    base
        Number of the first file, 0 or 1.
    form
        ``jpg`` of quality 95, or ``png``, which changes nothing and takes 2 to 4 times the room.
    device
        As for `fields`.
    source
        What tells the video from others, for the record.

    Returns
    -------
    Path
        The folder of the images. ``flow.json`` in it holds the settings, and each field's own
        bounds where the bound is None.

    Raises
    ------
    ValueError
        An option is none of the valid ones.
    FileExistsError
        There is such a folder, which is not ours.
    """
    check_form(layout=layout, base=base, form=form, settings=settings)
    places = list(dict.fromkeys(Path(above) / name for above, _, _ in LAYOUTS[layout]))
    for folder in (root / place for place in places):
        if folder.exists() and not (folder / RECORD).exists():
            raise FileExistsError(
                f"{str(folder)!r} must be new, or flow of ours, got a folder without {RECORD}; "
                "move it away, or write elsewhere"
            )
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".flow-", suffix=".part", dir=root) as temporary:
        new, old = Path(temporary, "new"), Path(temporary, "old")
        writer = _Writer(new, name, layout=layout, base=base, form=form)
        for flow in fields(writer.keep(frames), settings=settings, device=device):
            writer.add(flow, bound=settings.bound)
        writer.finish(settings, source)
        for place in places:  # the images' first: without them the others count for nothing
            if (root / place).exists():
                _move(root / place, old / place)
        for place in reversed(places):
            _move(new / place, root / place)
    return root / places[0]


def _move(folder: Path, target: Path) -> None:
    """Move a folder on one disk, at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, target)


class _Writer:
    """Numbers images and fields, and knows at the end what there is."""

    def __init__(self, root: Path, name: str, *, layout: str, base: int, form: str) -> None:
        self.places = [(root / above / name, begin, n) for above, begin, n in LAYOUTS[layout]]
        self.base, self.form = base, form
        self.n_images = self.side = 0
        self.bounds: list[list[float]] = []
        for folder, *_ in self.places:
            folder.mkdir(parents=True, exist_ok=True)

    def keep(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Give frames on once they are written."""
        for frame in frames:
            self._write(0, self.n_images, np.ascontiguousarray(frame[..., ::-1]))
            self.n_images, self.side = self.n_images + 1, min(frame.shape[:2])
            yield frame

    def add(self, flow: np.ndarray, *, bound: float | None) -> None:
        """Write the next field."""
        bounds = largest(flow)
        levels = quantise(flow, bound=bounds if bound is None else bound)
        for stream in (1, 2):
            self._write(stream, len(self.bounds), np.ascontiguousarray(levels[..., stream - 1]))
        self.bounds.append([float(each) for each in bounds])

    def finish(self, settings: FlowSettings, source: str) -> None:
        """Write the record."""
        record: dict[str, Any] = {
            "version": RECORD_VERSION,
            "flow": settings.fingerprint(),
            "source": source,
            "side": self.side,
            "base": self.base,
            "form": self.form,
            "n_images": self.n_images,
            "n_fields": len(self.bounds),
        }
        if settings.bound is None:
            record["bounds"] = self.bounds
        for folder, *_ in self.places:
            (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")

    def _write(self, stream: int, index: int, image: np.ndarray) -> None:
        folder, begin, digits = self.places[stream]
        done, content = cv2.imencode(f".{self.form}", image, FORMATS[self.form])
        if not done:
            raise OSError(f"cannot encode number {index} of {folder} as {self.form}")
        number = f"{index + self.base:0{digits}d}"
        (folder / f"{begin}{number}.{self.form}").write_bytes(content.tobytes())
