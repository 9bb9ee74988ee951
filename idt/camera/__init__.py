"""Camera motion: keypoints, matches, a RANSAC homography, and that motion taken out again.

A homography maps pixels (x, y) of the previous frame to pixels of the current one. People move on
their own: in their boxes no point is taken.

References
----------
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.
"""

from idt.camera.boxes import HumanBoxes, allowed_mask, detect_people, read_boxes
from idt.camera.features import FEATURES, detect_features
from idt.camera.homography import (
    CONFIDENCE,
    MAX_ITERATIONS,
    MIN_INLIERS,
    MIN_MATCHES,
    REPROJECTION_ERROR,
    CameraMotion,
    camera_motion,
    fit_homography,
)
from idt.camera.known_motion import read_homographies
from idt.camera.matching import MATCH_RADIUS, flow_pairs, match_keypoints
from idt.camera.ransac import SEED
from idt.camera.warp import WARP_MARGIN, subtract_homography, warp_frame

__all__ = [
    "CONFIDENCE",
    "FEATURES",
    "MATCH_RADIUS",
    "MAX_ITERATIONS",
    "MIN_INLIERS",
    "MIN_MATCHES",
    "REPROJECTION_ERROR",
    "SEED",
    "WARP_MARGIN",
    "CameraMotion",
    "HumanBoxes",
    "allowed_mask",
    "camera_motion",
    "detect_features",
    "detect_people",
    "fit_homography",
    "flow_pairs",
    "match_keypoints",
    "read_boxes",
    "read_homographies",
    "subtract_homography",
    "warp_frame",
]
