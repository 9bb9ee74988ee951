"""Flow between the frames of a video.

Four ways: DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016) with
OpenCV's preset MEDIUM, which takes about 3 ms a pair of 128 rows on one core, and unlike the preset
FAST (1 ms) ends in a variational refinement at full resolution, which keeps displacements far below
one pixel, common at this size, apart from noise; TV-L1 (`idt.flow.tvl1`), which most papers on
networks used, at several times the time of DIS, and on a GPU in batches (`deep.tvl1`); and the
Farnebäck of improved dense trajectories (`idt.flow.farneback`).

Warped flow (Wang et al., "Temporal Segment Networks", ECCV 2016, section 3.2) is flow to the second
frame as it looks once the camera's motion is taken out: a homography out of flow and SURF matches,
as in improved trajectories (`idt.camera`). The flow is computed once for the homography, and again
to the warped frame: in what stands still in five clips that leaves 22 to 70 % less motion (TV-L1; 2
to 28 % less with DIS) than subtracting the homography from the first flow does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np
import torch

from deep.device import chosen
from deep.flow.settings import FlowSettings
from deep.tvl1 import tvl1_batch
from idt import camera
from idt.flow import dis, farneback, tvl1
from idt.sampling import corners, min_eigenvalues

MIN_SIDE = 32  # pixels; DIS cannot build its pyramid over less
BATCH = 32  # pairs at once on a GPU; at 320 x 240 the medians' neighbours alone take 0.5 GB
PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "dis-medium": partial(dis, quality="medium", from_rest=False),
    "dis-fast": partial(dis, quality="fast", from_rest=False),
    "tvl1": tvl1,
    "farneback": farneback,
}

Greys = Sequence[np.ndarray]


def fields(
    frames: Iterable[np.ndarray], *, settings: FlowSettings, device: str = "cpu"
) -> Iterator[np.ndarray]:
    """Compute flow from each frame to the next.

    Parameters
    ----------
    frames : iterable of ndarray of uint8, shape (row, column, 3)
        RGB frames of one size, at least 32 pixels a side. They are read once, and not far ahead.
    settings
        What to compute; not `FlowSettings.is_given`.
    device
        Where: ``cpu``, or a GPU that torch knows, such as ``cuda``, for ``tvl1``.

    Yields
    ------
    ndarray of float32, shape (row, column, `FlowSettings.n_channels`)
        Pixels per frame, not yet clipped. n frames give n - 1 fields ``(dx, dy)``; field k leads
        from frame k to k + 1. Its third and fourth channel, with the flow backward, lead from frame
        k + 1 to k.

    Raises
    ------
    ValueError
        The frames are too small, the flow is of another program, or the device is not there or has
        no use.
    """
    between, n_pairs = _method(settings, device)
    for previous, current in _pairs(frames, n_pairs):
        ends = [(previous, current), (current, previous)][: 1 + settings.backward]
        if settings.warped:
            ends = _without_camera(previous, current, ends, between(previous, current))
        parts = [between(start, end) for start, end in ends]
        for flows in zip(*parts, strict=True):
            yield np.concatenate(flows, axis=2)


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


def check_device(settings: FlowSettings, device: str) -> None:
    """Raise ValueError unless flow can be computed with these settings on a device."""
    _method(settings, device)


def _method(settings: FlowSettings, device: str) -> tuple[Callable[[Greys, Greys], Greys], int]:
    """Find what computes flow of several pairs, and how many it takes at once."""
    if settings.is_given:
        raise ValueError(
            f"algorithm must be one that computes flow, got {settings.algorithm!r}; flow of "
            "another program is read from folders that hold it beside the images"
        )
    if device == "cpu":
        pairwise = PAIRWISE[settings.algorithm]
        return lambda previous, current: list(map(pairwise, previous, current)), 1
    if settings.algorithm != "tvl1":
        raise ValueError(
            f"device must be cpu for {settings.algorithm}, got {device!r}; only tvl1 is computed "
            "on a GPU"
        )
    return partial(_tvl1_on, chosen(device)), BATCH


def _tvl1_on(device: torch.device, previous: Greys, current: Greys) -> Greys:
    """TV-L1 flow of several pairs at once."""
    frames = [torch.from_numpy(np.stack(each)).to(device) for each in (previous, current)]
    return list(tvl1_batch(*frames).cpu().numpy())


def _pairs(frames: Iterable[np.ndarray], n_pairs: int) -> Iterator[tuple[Greys, Greys]]:
    """Give grey frames and the ones behind them, up to `n_pairs` at once."""
    run: list[np.ndarray] = []
    for frame in frames:
        if min(frame.shape[:2]) < MIN_SIDE:
            raise ValueError(
                f"frames must be at least {MIN_SIDE} pixels a side for flow, got "
                f"{frame.shape[1]}x{frame.shape[0]}; store them at a larger side"
            )
        run.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)))
        if len(run) > n_pairs:
            yield run[:-1], run[1:]
            del run[:-1]
    if len(run) > 1:
        yield run[:-1], run[1:]


def _without_camera(
    previous: Greys, current: Greys, ends: list[tuple[Greys, Greys]], flows: Greys
) -> list[tuple[Greys, Greys]]:
    """Bring the second frames of `ends` (forward, backward) into the first ones' coordinates."""
    motions = list(map(homography, previous, current, flows))
    ways = [motions, [np.linalg.inv(motion) for motion in motions]]
    return [
        (start, list(map(camera.warp_frame, start, end, way)))
        for (start, end), way in zip(ends, ways, strict=False)
    ]
