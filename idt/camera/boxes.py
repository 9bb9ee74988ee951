"""Human boxes: where people stand and no point may speak for the camera.

Boxes are float32 (n, 5), one row a person: x1, y1, x2, y2 in pixels, both corners inside the box,
and a confidence. They come from a file, as the reference program reads it, or from a detector.

References
----------
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.
Dalal & Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

WINDOW = (64, 128)  # pixels, width and height of the detector's window
WINDOW_STEP = 4  # pixels
PADDING = 16  # pixels around the frame, for people at its border
SCALE_STEP = 1.05  # ratio of neighbouring scales
MIN_HITS = 2  # a box needs more overlapping windows than this
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class HumanBoxes:
    """The boxes of a video by 0-based frame, as read from a file.

    Attributes
    ----------
    path
        The file.
    frames
        One float32 (n, 5) a frame: x1, y1, x2, y2, confidence.
    """

    path: Path
    frames: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, frame: int) -> np.ndarray:
        """Boxes of a frame; ValueError where the file ends before it."""
        if frame < 0:
            raise ValueError(f"frame must be at least 0, got {frame}; count frames from 0")
        if frame >= len(self.frames):
            raise ValueError(
                f"{self.path} must have one line a frame, got the last at line {len(self)} "
                f"(frame {len(self) - 1}) and a frame {frame} in the video; add the missing lines, "
                "with the frame's number alone where nobody is seen"
            )
        return self.frames[frame]

    def check_length(self, n_frames: int) -> None:
        """Refuse the file where it does not have one line for each of a video's frames."""
        if len(self) < n_frames:
            self[n_frames - 1]
        if len(self) > n_frames:
            raise ValueError(
                f"{self.path} must have one line a frame, got line {n_frames + 1} "
                f"(frame {n_frames}) where the video ends after frame {n_frames - 1}; check that "
                "the boxes are this video's, or remove the lines from there on"
            )


def read_boxes(path: str | Path, *, n_frames: int | None = None) -> HumanBoxes:
    """Read human boxes from a text file of the reference program's format.

    One line a frame: the frame's number, then x1 y1 x2 y2 confidence for each person, separated by
    white space. A line with the number alone has no boxes. Numbers go up by one, from 0 or 1.

    Parameters
    ----------
    path
        The file.
    n_frames
        Number of frames of the video, which the lines must match; None leaves that to
        `HumanBoxes.check_length`, for when the video has been decoded.

    Returns
    -------
    HumanBoxes

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A line is malformed or the lines are not one a frame; file, line and frame are named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a file of boxes, got {str(path)!r}; check the name")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").rstrip().split("\n")
    if lines == [""]:
        raise ValueError(
            f"{path} must have one line a frame, got none; write the frame's number alone where "
            "nobody is seen"
        )
    first = lines[0].split(maxsplit=1)[:1]
    offset = 1 if first == ["1"] else 0
    boxes = HumanBoxes(
        path,
        tuple(
            _parse_line(line, frame, offset, f"{path}, line {frame + 1} (frame {frame})")
            for frame, line in enumerate(lines)
        ),
    )
    if n_frames is not None:
        boxes.check_length(n_frames)
    return boxes


def _parse_line(line: str, frame: int, offset: int, where: str) -> np.ndarray:
    """Boxes of one line; `where` begins the message of what is wrong with it."""
    number, *fields = line.split() or [""]
    if number != str(frame + offset):
        rule = "0 or 1" if frame == 0 else str(frame + offset)
        raise ValueError(
            f"{where}: the frame's number must be {rule}, got {number!r}; write one line a frame, "
            "numbers going up by one from 0 or 1"
        )
    if len(fields) % 5:
        raise ValueError(
            f"{where}: the number of fields after the frame's number must be a multiple of 5, got "
            f"{len(fields)}; write x1 y1 x2 y2 confidence for each box"
        )
    values = np.array([_parse_number(field, where) for field in fields], np.float32)
    rows = values.reshape(-1, 5)
    for x1, y1, x2, y2, _ in rows:
        if x2 < x1 or y2 < y1:
            raise ValueError(
                f"{where}: a box must have x1 <= x2 and y1 <= y2, got x {x1:g} to {x2:g}, "
                f"y {y1:g} to {y2:g}; write corners x1 y1 x2 y2, not width and height"
            )
    return rows


def _parse_number(field: str, where: str) -> float:
    """A field's finite number."""
    try:
        value = float(field)
    except ValueError:
        value = np.nan
    if not abs(value) <= LARGEST:
        raise ValueError(
            f"{where}: a field must be a finite number, got {field!r}; write x1 y1 x2 y2 "
            "confidence for each box"
        )
    return value


def allowed_mask(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mark the pixels that lie in no box.

    Parameters
    ----------
    boxes
        (n, 4) or (n, 5): x1, y1, x2, y2 in pixels, and more columns that are not looked at.
    height, width
        Frame size in pixels.

    Returns
    -------
    ndarray of bool, shape (row, column)
        False inside boxes. Corners are rounded to whole pixels (halves to even) and belong to the
        box, both of them; what lies outside the frame is cut off.

    Raises
    ------
    ValueError
        `boxes` has another shape.
    """
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise ValueError(
            f"boxes must have the shape (n, 4) or (n, 5), got {boxes.shape}; "
            "give x1, y1, x2, y2 a row"
        )
    allowed = np.ones((height, width), np.bool_)
    limits = np.array([width, height, width, height])
    for x1, y1, x2, y2 in np.clip(np.rint(boxes[:, :4]), -1, limits).astype(int):
        allowed[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = False
    return allowed


def detect_people(frame: np.ndarray, *, min_score: float = 0.0) -> np.ndarray:
    """Find upright people with OpenCV's HOG detector.

    Windows of 64 x 128 pixels every 4 pixels, on scales 1.05 apart, the frame padded by 16 pixels;
    a box stands for at least 3 overlapping windows. Frames smaller than a window are enlarged until
    one fits. A person must be about 96 pixels high or more; boxes are wider and higher than people
    are, as the windows that the detector was trained on. Takes about 90 ms for 450 x 300 pixels on
    two cores.

    Parameters
    ----------
    frame
        uint8 (row, column, 3), BGR.
    min_score
        Smallest score of a window by the detector's SVM; lower finds more people and more else.

    Returns
    -------
    ndarray of float32, shape (n, 5)
        x1, y1, x2, y2 in whole pixels within the frame, both corners inside the box, and the best
        window's score. Highest score first.

    Raises
    ------
    ValueError
        `frame` is no BGR frame.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise ValueError(
            "frame must be a uint8 array of shape (row, column, 3), "
            f"got {frame.dtype} {frame.shape}; decode it with idt.video"
        )
    height, width = frame.shape[:2]
    factor = max(WINDOW[0] / width, WINDOW[1] / height, 1.0)
    if factor > 1:
        size = (max(round(width * factor), WINDOW[0]), max(round(height * factor), WINDOW[1]))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    detector = cv2.HOGDescriptor()
    detector.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))
    found, scores = detector.detectMultiScale(
        np.ascontiguousarray(frame),
        hitThreshold=min_score,
        winStride=(WINDOW_STEP, WINDOW_STEP),
        padding=(PADDING, PADDING),
        scale=SCALE_STEP,
        groupThreshold=MIN_HITS,
    )
    windows = np.asarray(found, np.float64).reshape(-1, 4) / factor
    boxes = np.empty((len(windows), 5), np.float32)
    boxes[:, :2] = np.rint(windows[:, :2])
    boxes[:, 2:4] = np.rint(windows[:, :2] + windows[:, 2:]) - 1
    boxes[:, 0:4:2] = boxes[:, 0:4:2].clip(0, width - 1)
    boxes[:, 1:4:2] = boxes[:, 1:4:2].clip(0, height - 1)
    boxes[:, 4] = np.ravel(scores)
    # The detector's threads leave the order to chance.
    return boxes[np.lexsort((*boxes[:, :4].T, -boxes[:, 4]))]
