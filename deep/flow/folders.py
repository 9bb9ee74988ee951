"""Flow that lies beside the images of a video: one folder per video, one file per frame.

TSN, mmaction2 and others keep ``VIDEO/img_00001.jpg``, ``VIDEO/flow_x_00001.jpg`` and
``VIDEO/flow_y_00001.jpg``; Feichtenhofer et al. ``u/VIDEO/frame000001.jpg`` and
``v/VIDEO/frame000001.jpg``, with the images elsewhere. Numbers start at 0 or at 1. Flow k leads
from image k to image k + 1, so n images have n - 1 fields; where there are n, the last one leads
out of the video (it is a copy, or the image behind it was left out), and is not read.

A file ``flow.json`` beside the images says what made our flow. Flow without it is taken to map
``[-bound, bound]`` to the levels 0 to 255, as those programs do: ``(q - 127.5) * bound / 127.5``.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deep.flow.levels import dequantise
from idt.video import VideoError

RECORD = "flow.json"
RECORD_VERSION = 1
NUMBERED = re.compile(r"(.*?)(\d+)\.(?:jpe?g|png|webp|npy)", re.IGNORECASE)
# What a file is by the text before its number.
STREAMS = {
    **dict.fromkeys(("img_", "image_", "image", "frame_", "frame", "rgb_", ""), "images"),
    **dict.fromkeys(("flow_x_", "flow_x", "x_", "u_"), "flow x"),
    **dict.fromkeys(("flow_y_", "flow_y", "y_", "v_"), "flow y"),
}
COMPONENTS = {"flow x": "u", "flow y": "v"}  # and the folders that hold them in the other layout
DEPTH = 3  # how far above a video's folder `u` and `v` are looked for

Files = dict[int, Path]


@dataclass(frozen=True)
class FlowFolder:
    """Flow beside the images of one video.

    Attributes
    ----------
    path
        The folder of the images.
    n_images
        How many there are.
    x, y
        Files of the fields' components, in order; one less than images.
    surplus
        Whether there was a field behind the last image, which is left out.
    record
        What made the flow, as ``flow.json`` has it; None for flow of another program.
    """

    path: Path
    n_images: int
    x: tuple[Path, ...]
    y: tuple[Path, ...]
    surplus: bool = False
    record: Mapping[str, Any] | None = None

    def fields(self, *, bound: float | None = None) -> Iterator[np.ndarray]:
        """Read the fields one by one.

        Parameters
        ----------
        bound
            Pixels per frame that the outermost levels stand for, where no `record` says it.

        Yields
        ------
        ndarray of float32, shape (row, column, 2)
            ``(dx, dy)`` in pixels per frame of the files' own size.

        Raises
        ------
        VideoError
            A file is no image, or of another size than the first.
        ValueError
            Neither `bound` nor a record says what the levels stand for.
        """
        if self.record is None and bound is None:
            raise ValueError(
                f"bound must be given for flow without {RECORD}, got None for "
                f"{str(self.path)!r}; such programs mostly have 20 pixels"
            )
        shape: tuple[int, ...] | None = None
        for index, pair in enumerate(zip(self.x, self.y, strict=True)):
            planes = [_read_grey(path, index) for path in pair]
            shape = shape or planes[0].shape
            for path, plane in zip(pair, planes, strict=True):
                if plane.shape != shape:
                    raise VideoError(
                        path,
                        f"it has {plane.shape[1]}x{plane.shape[0]} pixels, the first flow of the "
                        f"folder {shape[1]}x{shape[0]}; extract the video again",
                        frame=index,
                    )
            levels = np.stack(planes, axis=2)
            if bound is not None and self.record is None:
                yield (levels.astype(np.float32) - np.float32(127.5)) * np.float32(bound / 127.5)
            else:
                yield dequantise(levels, bound=self._bound(index))

    def _bound(self, index: int) -> np.ndarray:
        """Bounds of a field's components, by the record."""
        record = self.record or {}
        bound = record["flow"]["bound"]
        return np.asarray(record["bounds"][index] if bound is None else bound, np.float32)


def read_folder(path: str | Path) -> FlowFolder | None:
    """Find the flow that lies beside the images of a video.

    Parameters
    ----------
    path
        The folder of the images. Its flow is looked for in the folder itself, in ``u`` and ``v``
        inside it, and for a folder ``ROOT/VIDEO`` or ``ROOT/img/VIDEO`` in ``ROOT/u/VIDEO`` and
        ``ROOT/v/VIDEO``; VIDEO may stand for ``CLASS/VIDEO``.

    Returns
    -------
    FlowFolder, or None where there is no flow

    Raises
    ------
    VideoError
        Files are missing, images and flow are numbered from different numbers or do not fit in
        number, or ``flow.json`` cannot be read.
    """
    path = Path(path)
    streams = _streams(path)
    record = _read_record(path)
    if not any(name in streams for name in COMPONENTS):
        streams |= _parallel_streams(path)
    if record is None and not any(name in streams for name in COMPONENTS):
        return None
    images = streams.get("images", {})
    if not images:
        raise VideoError(path, "it holds flow, but no images as img_00001.jpg beside it")
    firsts = {}
    for name, files in streams.items():
        firsts[name] = _check_numbers(path, name, files)
    x, y = (streams.get(name, {}) for name in COMPONENTS)
    odd = sorted(set(x) ^ set(y))
    if odd:
        lacking = "flow y" if odd[0] in x else "flow x"
        raise VideoError(path, f"{lacking} of number {odd[0]} is missing; extract it again")
    if len(set(firsts.values())) > 1:
        found = ", ".join(f"{name} at {first}" for name, first in sorted(firsts.items()))
        raise VideoError(
            path, f"numbers must start alike, got {found}; flow k leads from image k to k + 1"
        )
    surplus = len(x) == len(images)
    if record is not None and len(x) != record["n_fields"]:
        raise VideoError(
            path, f"it holds {len(x)} fields where {RECORD} tells {record['n_fields']}"
        )
    if len(x) not in (len(images) - 1, len(images)):
        raise VideoError(
            path,
            f"{len(images)} images must have {len(images) - 1} fields of flow between them (or "
            f"{len(images)}, of which the last is left out), got {len(x)}; extract it again",
        )
    in_order = sorted(x)[: len(images) - 1]
    return FlowFolder(
        path,
        len(images),
        tuple(x[number] for number in in_order),
        tuple(y[number] for number in in_order),
        surplus,
        record,
    )


def _streams(path: Path) -> dict[str, Files]:
    """Files of a folder by what their names say, and by number."""
    streams: dict[str, Files] = defaultdict(dict)
    for entry in path.iterdir():
        matched = NUMBERED.fullmatch(entry.name)
        stream = STREAMS.get(matched[1].lower()) if matched else None
        if matched and stream and entry.is_file():
            if int(matched[2]) in streams[stream]:
                raise VideoError(path, f"it holds {stream} of number {int(matched[2])} twice")
            streams[stream][int(matched[2])] = entry
    return dict(streams)


def _parallel_streams(path: Path) -> dict[str, Files]:
    """Flow in folders ``u`` and ``v``, whatever its files are called."""
    path = path.resolve()
    bases = [(path, Path())]  # folders that may hold u and v, and the video's place in them
    for root in path.parents[:DEPTH]:
        place = path.relative_to(root)
        bases.append((root, place))
        if len(place.parts) > 1:
            bases.append((root, Path(*place.parts[1:])))
    for root, place in bases:
        places = {name: root / letter / place for name, letter in COMPONENTS.items()}
        if any(place.is_dir() for place in places.values()):
            found: dict[str, Files] = {}
            for name, place in places.items():
                if not place.is_dir():
                    raise VideoError(path, f"its {name} is missing, which should be in {place}")
                numbered = (NUMBERED.fullmatch(entry.name) for entry in place.iterdir())
                found[name] = {int(m[2]): place / m.string for m in numbered if m}
            return found
    return {}


def _check_numbers(path: Path, name: str, files: Files) -> int:
    """Refuse numbers with gaps or a strange start; gives the first."""
    if not files:
        raise VideoError(path, f"it holds no numbered files of {name}")
    first = min(files)
    if first not in (0, 1):
        raise VideoError(path, f"numbers of {name} must start at 0 or 1, got {first}")
    for number in range(first, max(files)):
        if number not in files:
            raise VideoError(path, f"{name} of number {number} is missing; extract it again")
    return first


def _read_record(path: Path) -> dict[str, Any] | None:
    """What ``flow.json`` says, after a check that it is whole; None where there is none."""
    file = path / RECORD
    if not file.exists():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        whole = (
            record["version"] == RECORD_VERSION
            and isinstance(record["n_fields"], int)
            and isinstance(record["side"], int)
            and {"algorithm", "bound", "version"} <= set(record["flow"])
            and (
                record["flow"]["bound"] is not None
                or np.array(record["bounds"], np.float32).shape == (record["n_fields"], 2)
            )
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VideoError(file, f"it is no record of flow ({error}); extract again") from error
    if not whole:
        raise VideoError(file, f"it is no record of version {RECORD_VERSION}; extract again")
    return record


def _read_grey(path: Path, index: int) -> np.ndarray:
    """Read an image as grey levels, uint8 (row, column)."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
    if image is None:
        raise VideoError(path, "it is no image that can be read", frame=index)
    return np.asarray(image)
