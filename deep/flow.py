"""Optical flow as networks eat it: one 8-bit field per pair of frames, its making kept beside it.

Flow is ``(dx, dy)`` in pixels per frame, arrays are ``(row, column)``. A component ``d`` is clipped
to ``[-bound, bound]`` and kept as ``q = round(d * 127 / bound) + 128``: 255 levels, 1 to 255, with
zero exactly at 128 and ``-d`` exactly at ``256 - q`` (so that a flipped field stays on the grid).
The inverse is ``(q - 128) * bound / 127``; inside the bound it is at most ``bound / 254`` off,
0.079 pixels for the bound of 20.

The flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) with
OpenCV's preset MEDIUM: at 128 rows it takes about 3 ms a pair on one core, and unlike the preset
FAST (1 ms) it ends in a variational refinement at full resolution, which keeps displacements far
below one pixel, common at this size, apart from noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

VERSION = 1  # raised when the same settings give other bytes
ZERO = 128  # the level of no motion
LEVELS = 127  # levels on each side of zero
MIN_SIDE = 32  # pixels; DIS cannot build its pyramid over less
ALGORITHMS = {
    "dis-medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "dis-fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
}


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """What made a flow: kept with every cached field and with every network trained on it.

    Parameters
    ----------
    algorithm
        One of `ALGORITHMS`.
    bound
        Displacements beyond this many pixels per frame are clipped (Simonyan and Zisserman 2014,
        as most re-implementations fix it: 20).
    version
        Of this module's arithmetic.
    """

    algorithm: str = "dis-medium"
    bound: float = 20.0
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"algorithm must be one of {', '.join(ALGORITHMS)}, got {self.algorithm!r}; "
                "choose one of these"
            )
        if not self.bound > 0:
            raise ValueError(f"bound must be above 0, got {self.bound}; give pixels per frame")

    def fingerprint(self) -> dict[str, Any]:
        """Give the settings as a JSON-able dictionary, to be compared before flow is used."""
        return asdict(self)


def check_fingerprint(found: dict[str, Any], wanted: dict[str, Any], *, owner: str) -> None:
    """Refuse flow that was made in another way than the one a network was trained on.

    Parameters
    ----------
    found, wanted
        Fingerprints, see `FlowSettings.fingerprint`.
    owner
        Whose flow is `wanted`, for the message.

    Raises
    ------
    ValueError
        The two differ; names each difference.
    """
    keys = sorted({*found, *wanted})
    differences = [
        f"{key} {found.get(key)!r} where {wanted.get(key)!r} is needed"
        for key in keys
        if found.get(key) != wanted.get(key)
    ]
    if differences:
        raise ValueError(
            f"flow must be made as for {owner}, got {'; '.join(differences)}; "
            "compute the flow again with those settings, or train again"
        )


def quantise(flow: np.ndarray, *, bound: float = 20.0) -> np.ndarray:
    """Clip and round flow to 8 bits.

    Parameters
    ----------
    flow : ndarray of float, any shape
        Pixels per frame, finite.
    bound
        Pixels per frame that the outermost levels stand for.

    Returns
    -------
    ndarray of uint8, same shape
        Levels 1 to 255, 128 for no motion. At most ``bound / 254`` pixels off inside the bound.
    """
    levels = np.rint(np.clip(flow, -bound, bound) * (LEVELS / bound)) + ZERO
    return levels.astype(np.uint8)


def dequantise(levels: np.ndarray, *, bound: float = 20.0) -> np.ndarray:
    """Give pixels per frame, float32, for the levels of `quantise`."""
    return (levels.astype(np.float32) - ZERO) * np.float32(bound / LEVELS)


def fields(frames: Iterable[np.ndarray], *, settings: FlowSettings) -> Iterator[np.ndarray]:
    """Compute flow from each frame to the next.

    Parameters
    ----------
    frames : iterable of ndarray of uint8, shape (row, column, 3)
        RGB frames of one size, at least 32 pixels a side.
    settings
        Algorithm and bound.

    Yields
    ------
    ndarray of uint8, shape (row, column, 2)
        n frames give n - 1 quantised fields ``(dx, dy)``; field k leads from frame k to k + 1.
    """
    dis = cv2.DISOpticalFlow.create(ALGORITHMS[settings.algorithm])
    previous: np.ndarray | None = None
    for frame in frames:
        if min(frame.shape[:2]) < MIN_SIDE:
            raise ValueError(
                f"frames must be at least {MIN_SIDE} pixels a side for flow, got "
                f"{frame.shape[1]}x{frame.shape[0]}; store them at a larger side"
            )
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if previous is not None:
            flow = dis.calc(previous, grey, None)  # type: ignore[call-overload]  # None: no start
            yield quantise(flow, bound=settings.bound)
        previous = grey
