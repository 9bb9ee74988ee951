"""Optical flow as networks eat it: one 8-bit field per pair of frames, its making kept beside it.

Flow is ``(dx, dy)`` in pixels per frame, arrays are ``(row, column)``. A component ``d`` is clipped
to ``[-bound, bound]`` and kept as ``q = round(d * 127 / bound) + 128``: 255 levels, 1 to 255, with
zero exactly at 128 and ``-d`` exactly at ``256 - q`` (so that a flipped field stays on the grid).
The inverse is ``(q - 128) * bound / 127``; inside the bound it is at most ``bound / 254`` off,
0.079 pixels for the bound of 20.

The flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) with
OpenCV's preset MEDIUM: at 128 rows it takes about 3 ms a pair on one core, and unlike the preset
FAST (1 ms) it ends in a variational refinement at full resolution, which keeps displacements far
below one pixel, common at this size, apart from noise. Or it is TV-L1 (`idt.flow.tvl1`), which most
papers on networks used, at several times the time of DIS.

Warped flow (Wang et al., "Temporal Segment Networks", ECCV 2016, section 3.2) is flow less the
camera's motion, a homography out of flow and SURF matches as in improved trajectories
(`idt.camera`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from idt import camera
from idt.flow import tvl1
from idt.sampling import corners, min_eigenvalues

VERSION = 1  # raised when the same settings give other bytes
ZERO = 128  # the level of no motion
LEVELS = 127  # levels on each side of zero
MIN_SIDE = 32  # pixels; DIS cannot build its pyramid over less
DIS_PRESETS = {
    "dis-medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "dis-fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
}
ALGORITHMS = (*DIS_PRESETS, "tvl1")


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
    warped
        Whether the camera's motion is taken out.
    backward
        Whether the flow from each frame to the one before it is kept, too, which the
        bi-directional stack needs.
    """

    algorithm: str = "dis-medium"
    bound: float = 20.0
    version: int = VERSION
    warped: bool = False
    backward: bool = False

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
        settings = asdict(self)
        for extra in ("warped", "backward"):
            if not settings[extra]:
                del settings[extra]
        return settings

    @property
    def n_channels(self) -> int:
        """Channels of a stored field: (dx, dy), and twice that with the flow backward."""
        return 4 if self.backward else 2


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
    ndarray of uint8, shape (row, column, `FlowSettings.n_channels`)
        n frames give n - 1 quantised fields ``(dx, dy)``; field k leads from frame k to k + 1. Its
        third and fourth channel, with the flow backward, lead from frame k + 1 to k.
    """
    between = _between_frames(settings.algorithm)
    previous: np.ndarray | None = None
    for frame in frames:
        if min(frame.shape[:2]) < MIN_SIDE:
            raise ValueError(
                f"frames must be at least {MIN_SIDE} pixels a side for flow, got "
                f"{frame.shape[1]}x{frame.shape[0]}; store them at a larger side"
            )
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if previous is not None:
            flow = between(previous, grey)
            parts = [flow]
            if settings.backward:
                parts.append(between(grey, previous))
            if settings.warped:
                motion = homography(previous, grey, flow)
                parts = [
                    without_camera(part, matrix)
                    for part, matrix in zip(parts, (motion, np.linalg.inv(motion)), strict=False)
                ]
            yield quantise(np.concatenate(parts, axis=2), bound=settings.bound)
        previous = grey


def _between_frames(algorithm: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Give the function from two grey frames to float32 flow, (row, column, 2)."""
    if algorithm == "tvl1":
        return tvl1
    dis = cv2.DISOpticalFlow.create(DIS_PRESETS[algorithm])

    def between(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
        return dis.calc(previous, current, None)  # type: ignore[call-overload]  # None: no start

    return between


def homography(previous: np.ndarray, current: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Estimate the camera's motion between two frames as improved trajectories do.

    Parameters
    ----------
    previous, current : ndarray of uint8, shape (row, column)
        Grey frames.
    flow : ndarray of float32, shape (row, column, 2)
        From the one to the other.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        Pixels (x, y) of the previous frame to the current one's; the identity where too few
        matches agree.
    """
    planes = np.ascontiguousarray(flow.transpose(2, 0, 1))
    by_flow = camera.flow_pairs(planes, corners(min_eigenvalues(previous)))
    by_features = camera.match_keypoints(
        camera.detect_features("surf", previous), camera.detect_features("surf", current)
    )
    return camera.camera_motion(by_flow, by_features).homography


def without_camera(flow: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Take a homography's displacements out of a flow, float32 (row, column, 2)."""
    planes = np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32)
    return camera.subtract_homography(planes, motion, 1.0).transpose(1, 2, 0)


def follow(fields: np.ndarray) -> np.ndarray:
    """Stack flow along the paths of points: trajectory stacking.

    Parameters
    ----------
    fields : ndarray of float32, shape (time, row, column, 2)
        L fields (dx, dy) in pixels per frame, in order of time.

    Returns
    -------
    ndarray of float32, shape (time, row, column, 2)
        ``I_k(u, v) = d_k(p_k)`` with ``p_1 = (u, v)`` and ``p_k = p_{k-1} + d_{k-1}(p_{k-1})``:
        the displacement at time k of the point that was at (u, v) at time 1.

    References
    ----------
    Simonyan and Zisserman 2014, section 3.1, equation 2. Positions lie between pixels, which the
    paper does not speak of: displacements there are interpolated bilinearly, and points that leave
    the frame go on at its edge.
    """
    n_rows, n_columns = fields.shape[1:3]
    y, x = (axis.astype(np.float32) for axis in np.mgrid[:n_rows, :n_columns])
    stacked = np.empty_like(fields)
    for time, field in enumerate(fields):
        stacked[time] = _between_pixels(field, x, y)
        x = np.clip(x + stacked[time, ..., 0], 0, n_columns - 1)
        y = np.clip(y + stacked[time, ..., 1], 0, n_rows - 1)
    return stacked


def _between_pixels(field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate a field (row, column, 2) bilinearly at positions inside it."""
    n_rows, n_columns = field.shape[:2]
    left = np.minimum(x.astype(np.intp), max(n_columns - 2, 0))
    top = np.minimum(y.astype(np.intp), max(n_rows - 2, 0))
    right, bottom = np.minimum(left + 1, n_columns - 1), np.minimum(top + 1, n_rows - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = field[top, left] * (1 - across) + field[top, right] * across
    lower = field[bottom, left] * (1 - across) + field[bottom, right] * across
    return upper * (1 - down) + lower * down
