"""What is computed of every frame and frame pair before any track is moved.

Nothing here depends on tracks or on earlier pairs, so frames can be worked on side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from idt.camera import (
    CameraMotion,
    HumanBoxes,
    allowed_mask,
    camera_motion,
    detect_features,
    detect_people,
    flow_pairs,
    match_keypoints,
    subtract_homography,
    warp_frame,
)
from idt.extract.options import ExtractOptions
from idt.extract.stages import Stages
from idt.flow import Expansion, dis, expand, flow_pyramid, resize_flow
from idt.pyramid import SCALE_STEP, Scale, grey_pyramid, to_grey
from idt.sampling import corners, min_eigenvalues
from idt.surf import Keypoints

NO_PAIRS = (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))


@dataclass(frozen=True)
class Frame:
    """What is computed once of a frame and serves it as the current and as the previous one.

    `pyramid`, `eigenvalues` and `expansions` have one entry a tracked level; what the settings have
    no use for is empty or None.
    """

    index: int
    grey: np.ndarray
    pyramid: list[np.ndarray]
    eigenvalues: list[np.ndarray]
    expansions: list[Expansion]
    keypoints: Keypoints | None
    allowed: np.ndarray | None


@dataclass(frozen=True)
class Pair:
    """Motion from one frame to the next on every level, float32 (2, row, column) planes.

    Attributes
    ----------
    flows
        Move the tracks.
    described
        Give shapes and the descriptors of motion: `flows`, or those with the camera's motion out.
    freed
        Tell camera tracks: always with the camera's motion out.
    camera
        What was estimated; None where it was given or is not used.
    """

    flows: list[np.ndarray]
    described: list[np.ndarray]
    freed: list[np.ndarray]
    camera: CameraMotion | None


class Motion:
    """The work on frames and pairs of one video.

    Parameters
    ----------
    scales
        Levels of the pyramid from full resolution on.
    options
        Settings.
    homographies
        Known camera motion by frame index; None estimates it.
    boxes
        People, in whose boxes nothing is matched; None for no boxes.
    stages
        Where the time is told.
    """

    def __init__(
        self,
        scales: list[Scale],
        options: ExtractOptions,
        *,
        homographies: Mapping[int, np.ndarray] | None,
        boxes: HumanBoxes | None,
        stages: Stages,
    ) -> None:
        self.scales = scales
        self.levels = scales[min(options.first_scale, len(scales) - 1) :]
        self.options = options
        self.homographies = homographies
        self.boxes = boxes
        self.stages = stages
        self.uses_camera = options.stabilise != "none" or options.removes_camera_tracks
        self.estimates = self.uses_camera and homographies is None

    def analyse(self, index: int, image: np.ndarray) -> Frame:
        """Compute what a frame, uint8 (row, column, 3), BGR, needs for itself."""
        timed, options = self.stages, self.options
        with timed("grey and pyramid"):
            grey = to_grey(image)
            pyramid = self._pyramid(grey)
        with timed("eigenvalues"):
            eigenvalues = [min_eigenvalues(level) for level in pyramid]
        expansions = self._expand(grey)
        allowed = keypoints = None
        if self.estimates:
            allowed = self._allowed(index, image)
            if options.features != "none":
                with timed(f"{options.features} keypoints"):
                    keypoints = detect_features(options.features, grey, allowed=allowed)
        return Frame(index, grey, pyramid, eigenvalues, expansions, keypoints, allowed)

    def relate(self, previous: Frame, current: Frame) -> Pair:
        """Compute the motion between two frames."""
        with self.stages("flow"):
            flows = self._flow(previous, current.pyramid, current.expansions)
        if not self.uses_camera:
            return Pair(flows, flows, flows, None)
        camera = None
        if self.homographies is not None:
            homography = self.homographies.get(current.index, np.eye(3))
        else:
            camera = self._estimate(previous, current, flows[0])
            homography = camera.homography
        freed = self._stabilise(previous, current, flows, homography)
        return Pair(flows, flows if self.options.stabilise == "none" else freed, freed, camera)

    def _pyramid(self, grey: np.ndarray) -> list[np.ndarray]:
        return grey_pyramid(grey, self.scales)[-len(self.levels) :]

    def _expand(self, grey: np.ndarray) -> list[Expansion]:
        """Quadratics of the tracked levels; none where the flow does not need them."""
        if self.options.flow != "farneback":
            return []
        with self.stages("expansion"):
            return expand(grey, self.levels)

    def _flow(
        self, previous: Frame, pyramid: list[np.ndarray], expansions: list[Expansion]
    ) -> list[np.ndarray]:
        """Flow from a frame to another one on every level."""
        if self.options.flow == "farneback":
            return flow_pyramid(previous.expansions, expansions)
        shrunk = 1 / float(SCALE_STEP)
        finest = dis(previous.pyramid[0], pyramid[0], quality="fast")
        flows = [np.ascontiguousarray(np.moveaxis(finest, -1, 0))]
        for level in self.levels[1:]:
            coarser = resize_flow(flows[-1], level.height, level.width, factor=shrunk)
            flows.append(coarser)
        return flows

    def _stabilise(
        self, previous: Frame, current: Frame, flows: list[np.ndarray], homography: np.ndarray
    ) -> list[np.ndarray]:
        """Flow with the camera's motion out: computed to the warped frame, or by subtraction."""
        if self.options.stabilise == "rewarp":
            with self.stages("warped frame"):
                warped = warp_frame(previous.grey, current.grey, homography)
                pyramid = [] if self.options.flow == "farneback" else self._pyramid(warped)
            expansions = self._expand(warped)
            with self.stages("stabilised flow"):
                return self._flow(previous, pyramid, expansions)
        with self.stages("stabilised flow"):
            return [
                subtract_homography(flow, homography, factor=level.factor)
                for flow, level in zip(flows, self.levels, strict=True)
            ]

    def _allowed(self, index: int, image: np.ndarray) -> np.ndarray | None:
        """Where points may be matched: outside people's boxes, bool (row, column)."""
        if self.options.detect_people:
            with self.stages("people"):
                boxes = detect_people(image)
        elif self.boxes is not None:
            boxes = self.boxes[index]
        else:
            return None
        return allowed_mask(boxes, *image.shape[:2])

    def _estimate(self, previous: Frame, current: Frame, flow: np.ndarray) -> CameraMotion:
        """Camera motion from flow at the previous frame's corners and from keypoints."""
        level = self.levels[0]
        with self.stages("corners"):
            allowed = current.allowed
            if allowed is not None and allowed.shape != flow.shape[1:]:
                rows = (np.arange(level.height) + 0.5) * allowed.shape[0] / level.height
                columns = (np.arange(level.width) + 0.5) * allowed.shape[1] / level.width
                allowed = allowed[np.ix_(rows.astype(int), columns.astype(int))]
            points = corners(previous.eigenvalues[0], allowed=allowed)
            before, after = flow_pairs(flow, points)
            by_flow = before * np.float32(level.factor), after * np.float32(level.factor)
        by_features = NO_PAIRS
        if previous.keypoints is not None and current.keypoints is not None:
            with self.stages("matching"):
                by_features = match_keypoints(previous.keypoints, current.keypoints)
        with self.stages("homography"):
            return camera_motion(by_flow, by_features, seed=self.options.seed)
