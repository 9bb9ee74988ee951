"""What is computed of every frame and frame pair before any track is moved.

Nothing here depends on tracks or on earlier pairs, so frames can be worked on side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
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
from idt.extract.codec_scale import block_pairs, codec_scale, shrink_to_scale, spread_blocks
from idt.extract.options import ExtractOptions
from idt.extract.source import Picture
from idt.extract.stages import Stages
from idt.flow import dis, expand, flow_pyramid, resize_flow, tvl1
from idt.pyramid import SCALE_STEP, grey_pyramid, scales, to_grey
from idt.sampling import corners, min_eigenvalues
from idt.surf import Keypoints

NO_PAIRS = (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))


@dataclass(frozen=True)
class Frame:
    """What is computed once of a frame and serves it as the current and as the previous one.

    `pyramid`, `eigenvalues` and `expansions` have one entry a tracked level; what the settings have
    no use for is empty or None. `boxes` are those of people that were given or found, float32
    (n, 5), in the picture's pixels.
    """

    picture: Picture
    grey: np.ndarray
    pyramid: list[np.ndarray]
    eigenvalues: list[np.ndarray]
    expansions: list[np.ndarray]
    keypoints: Keypoints | None
    boxes: np.ndarray | None
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
    width, height
        Size of the pictures in pixels.
    options
        Settings.
    homographies
        Known camera motion by frame index, in the video's pixels; None estimates it.
    boxes
        People, in whose boxes nothing is matched, in the video's pixels; None for no boxes.
    stages
        Where the time is told.
    """

    def __init__(
        self,
        width: int,
        height: int,
        options: ExtractOptions,
        *,
        homographies: Mapping[int, np.ndarray] | None,
        boxes: HumanBoxes | None,
        stages: Stages,
    ) -> None:
        self.options = options
        if options.flow == "codec":
            self.scales = [codec_scale(width, height)]
        else:
            self.scales = scales(
                width, height, patch_size=options.patch_size, max_scales=options.max_scales
            )
        self.levels = self.scales[min(options.first_scale, len(self.scales) - 1) :]
        self.homographies = homographies
        self.boxes = boxes
        self.stages = stages
        self.estimates = options.uses_camera and homographies is None

    def analyse(self, picture: Picture) -> Frame:
        """Compute what a frame needs for itself."""
        timed, options = self.stages, self.options
        with timed("grey and pyramid"):
            grey = picture.image if options.flow == "codec" else to_grey(picture.image)
            pyramid = self._pyramid(grey)
        with timed("eigenvalues"):
            eigenvalues = [min_eigenvalues(level) for level in pyramid]
        expansions = self._expand(grey)
        boxes = self._people(picture)
        allowed = keypoints = None
        if self.estimates:
            if boxes is not None:
                allowed = allowed_mask(boxes, *grey.shape)
            if options.features != "none":
                with timed(f"{options.features} keypoints"):
                    keypoints = detect_features(options.features, grey, allowed=allowed)
        return Frame(picture, grey, pyramid, eigenvalues, expansions, keypoints, boxes, allowed)

    def relate(self, previous: Frame, current: Frame) -> Pair:
        """Compute the motion between two frames."""
        with self.stages("flow"):
            if self.options.flow == "codec":
                flows = [spread_blocks(current.picture, self.levels[0])]
            else:
                flows = self._flow(previous, current.pyramid, current.expansions)
        if not self.options.uses_camera:
            return Pair(flows, flows, flows, None)
        camera = None
        if self.homographies is not None:
            known = self.homographies.get(current.picture.index, np.eye(3))
            homography = current.picture.shrinkage.homography(known)
        else:
            camera = self._estimate(previous, current, flows[0])
            homography = camera.homography
        freed = self._stabilise(previous, current, flows, homography)
        return Pair(flows, flows if self.options.stabilise == "none" else freed, freed, camera)

    def _pyramid(self, grey: np.ndarray) -> list[np.ndarray]:
        if self.options.flow == "codec":
            return [shrink_to_scale(grey, self.levels[0])]
        return grey_pyramid(grey, self.scales)[-len(self.levels) :]

    def _expand(self, grey: np.ndarray) -> list[np.ndarray]:
        """Quadratics of the tracked levels; none where the flow does not need them."""
        if self.options.flow != "farneback":
            return []
        with self.stages("expansion"):
            return expand(grey, self.levels)

    def _flow(
        self, previous: Frame, pyramid: list[np.ndarray], expansions: list[np.ndarray]
    ) -> list[np.ndarray]:
        """Flow from a frame to another one on every level."""
        if self.options.flow == "farneback":
            return flow_pyramid(previous.expansions, expansions)
        shrunk = 1 / float(SCALE_STEP)
        if self.options.flow == "tvl1":
            finest = tvl1(previous.pyramid[0], pyramid[0])
        else:
            finest = dis(previous.pyramid[0], pyramid[0], quality="quick")
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

    def _people(self, picture: Picture) -> np.ndarray | None:
        """People's boxes in a picture; None where nobody looked."""
        if self.boxes is not None:
            return picture.shrinkage.boxes(self.boxes[picture.index])
        if not (self.options.detect_people and self.estimates):
            return None
        with self.stages("people"):
            image = picture.image
            if image.ndim == 2:
                image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
            return detect_people(image)

    def _estimate(self, previous: Frame, current: Frame, flow: np.ndarray) -> CameraMotion:
        """Camera motion from the flow and from keypoints."""
        with self.stages("corners"):
            if self.options.flow == "codec":
                by_flow = block_pairs(current.picture, current.allowed)
            else:
                by_flow = self._corner_pairs(previous, current, flow)
        by_features = NO_PAIRS
        if previous.keypoints is not None and current.keypoints is not None:
            with self.stages("matching"):
                by_features = match_keypoints(previous.keypoints, current.keypoints)
        with self.stages("homography"):
            return camera_motion(by_flow, by_features, seed=self.options.seed)

    def _corner_pairs(
        self, previous: Frame, current: Frame, flow: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Matches by flow at the previous frame's corners on the finest level."""
        level = self.levels[0]
        allowed = current.allowed
        if allowed is not None and allowed.shape != flow.shape[1:]:
            rows = (np.arange(level.height) + 0.5) * allowed.shape[0] / level.height
            columns = (np.arange(level.width) + 0.5) * allowed.shape[1] / level.width
            allowed = allowed[np.ix_(rows.astype(int), columns.astype(int))]
        points = corners(previous.eigenvalues[0], allowed=allowed)
        before, after = flow_pairs(flow, points)
        return before * np.float32(level.factor), after * np.float32(level.factor)
