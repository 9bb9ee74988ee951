"""The videos on which methods disagree, most disputed first, and small pictures of them."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from compare.report.study import Entry, Study
from idt import video

SHARES = (0.2, 0.5, 0.8)  # of a clip, where its three pictures are taken
SIDE = 104  # pixels, the longer side of each
MAX_FRAMES = 600  # of a clip, past which nothing is decoded for a picture
QUALITY = 55  # of JPEG: 5 KB for three


@dataclass(frozen=True)
class Disputed:
    """A test video that some methods get right and some do not; `said` in the methods' order."""

    id: str
    split: str
    truth: str
    said: tuple[str, ...]

    @property
    def right(self) -> tuple[bool, ...]:
        """Which of the methods are right."""
        return tuple(each == self.truth for each in self.said)


def disputed(entries: Sequence[Entry]) -> list[Disputed]:
    """List the videos that some of the methods, but not all, get right.

    Those about which opinions are most evenly divided come first, then by split and id. Of a method
    with several seeds the first is asked.
    """
    said = [{(p.split, p.id): p for p in entry.evaluation.predictions} for entry in entries]
    found = []
    for (split, id), first in said[0].items():
        row = Disputed(id, split, first.truth, tuple(of[split, id].predicted for of in said))
        if 0 < sum(row.right) < len(said):
            found.append(row)
    half = len(entries) / 2
    return sorted(found, key=lambda row: (abs(sum(row.right) - half), row.split, row.id))


def as_csv(rows: Sequence[Disputed], entries: Sequence[Entry]) -> str:
    """Write disputed videos as CSV text, a column a method."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["split", "id", "truth", "n_right", *(entry.label for entry in entries)])
    for row in rows:
        writer.writerow([row.split, row.id, row.truth, sum(row.right), *row.said])
    return buffer.getvalue()


def pictures(study: Study, ids: Sequence[str]) -> dict[str, str]:
    """Return a data URI (JPEG, three frames side by side) of each clip that is there and decodes.

    What cannot be decoded has no picture: the row says all else that is known of it.
    """
    found: dict[str, str] = {}
    for id in dict.fromkeys(ids):
        path = study.paths.get(id)
        if path is None or not path.exists():
            continue
        try:
            found[id] = _strip(path)
        except video.VideoError:
            continue
    return found


def _strip(path: Path) -> str:
    """Decode a clip once, up to its last picture, and set three of its frames side by side."""
    n_frames = min(max(1, video.declared_frames(path)), MAX_FRAMES)
    wanted = [int(share * n_frames) for share in SHARES]
    taken: list[np.ndarray] = []
    for index, frame in enumerate(video.frames(path, stop=wanted[-1] + 1, max_side=SIDE)):
        last = frame
        taken += [frame] * wanted.count(index)
    taken += [last] * (len(wanted) - len(taken))  # fewer frames than the file declares
    _, encoded = cv2.imencode(".jpg", np.hstack(taken), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
