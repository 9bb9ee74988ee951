"""What a row is made of: ten columns of place and statistics, then descriptors by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

# float32 (n, 10), then by name (n, dimension)
Rows: TypeAlias = tuple[np.ndarray, dict[str, np.ndarray]]
Content: TypeAlias = tuple[np.ndarray, dict[str, np.ndarray], dict[str, Any]]  # and the info

META_COLUMNS = (
    "frame",  # 0-based index of the last frame
    "mean_x",  # pixels, as are the four that follow
    "mean_y",
    "std_x",
    "std_y",
    "length",
    "scale",  # factor of the pyramid level
    "x_pos",  # mean_x / width, mean_y / height, and place in time; in [0, 0.999]
    "y_pos",
    "t_pos",
)
# At the reference program's settings, in the order of its columns.
USUAL_DIMENSIONS = {"trajectory": 30, "hog": 96, "hof": 108, "mbhx": 96, "mbhy": 96}
BLOCK_ROWS = 1024  # that are held at a time where one form becomes another
LAST_POSITION = 0.999  # the reference program's largest place in the video


def time_positions(
    frames: np.ndarray, *, start: int, n_frames: int, track_length: int
) -> np.ndarray:
    """Place of trajectories in the time of their video.

    Parameters
    ----------
    frames
        (n,) 0-based index of every trajectory's last frame.
    start
        First frame that was worked on.
    n_frames
        Number of frames that were worked on, at least 1.
    track_length
        Steps of a trajectory, in frames.

    Returns
    -------
    ndarray of float32, shape (n,)
        (frame - track_length / 2 - start) / n_frames, within [0, 0.999].

    Raises
    ------
    ValueError
        `n_frames` is less than 1.
    """
    if n_frames < 1:
        raise ValueError(
            f"n_frames must be at least 1, got {n_frames}; give the number of decoded frames"
        )
    middles = np.asarray(frames, np.float32) - np.float32(track_length / 2 + start)
    return np.clip(middles / np.float32(n_frames), 0, np.float32(LAST_POSITION))


def ordered_dimensions(dimensions: Mapping[str, int]) -> dict[str, int]:
    """Check names and sizes of descriptors; the usual ones first, in the reference's order."""
    reserved = ("meta", "info", *META_COLUMNS)
    for name, size in dimensions.items():
        if not name.isidentifier() or name in reserved:
            raise ValueError(
                f"name of a descriptor must be a word other than {', '.join(reserved)}, got "
                f"{name!r}; rename it"
            )
        if size < 1:
            raise ValueError(
                f"dimension of {name!r} must be at least 1, got {size}; leave the descriptor out"
            )
    return {name: int(dimensions[name]) for name in ordered(dimensions)}


def ordered(names: Iterable[str]) -> list[str]:
    """Names of descriptors, the usual ones first, in the order of the reference's columns."""
    given = list(names)
    usual = [name for name in USUAL_DIMENSIONS if name in given]
    return usual + [name for name in given if name not in USUAL_DIMENSIONS]


def plain_info(text: str) -> dict[str, Any]:
    """Info out of a file's JSON, or ValueError."""
    try:
        info = json.loads(text)
    except RecursionError as error:
        raise ValueError("its info is nested too deeply") from error
    if not isinstance(info, dict):
        raise ValueError(f"its info is no dictionary but {text[:40]!r}")
    return info


def refusal(
    path: Path, reason: object, *, advice: str = "extract the trajectories again"
) -> ValueError:
    """Error about a file that is no table or not a whole one."""
    return ValueError(
        f"{str(path)!r} must be a whole trajectory file, got one that cannot be used ({reason}); "
        f"{advice}"
    )
