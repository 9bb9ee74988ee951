"""Keypoints by name: a known homography comes out of each kind."""

import cv2
import numpy as np
import pytest

from idt.camera import FEATURES, camera_motion, detect_features, match_keypoints
from idt.surf import detect_and_describe

HOMOGRAPHY = np.array([[1.02, 0.01, -3.0], [-0.015, 0.99, 2.0], [1e-5, -2e-5, 1.0]])
NO_PAIRS = (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))
# Largest error in pixels at the corners; ORB finds points to a pixel of its pyramid's level.
TOLERANCE = {"surf": 0.3, "akaze": 0.3, "sift": 0.3, "orb": 2.5}
DESCRIPTORS = {
    "surf": (np.float32, 128),
    "akaze": (np.uint8, 61),
    "sift": (np.float32, 128),
    "orb": (np.uint8, 32),
}


def _texture(n_rows=240, n_columns=320, seed=0):
    rng = np.random.default_rng(seed)
    total = np.zeros((n_rows, n_columns), np.float32)
    for cell in (3, 6, 12, 24):
        noise = rng.normal(size=(n_rows // cell + 2, n_columns // cell + 2)).astype(np.float32)
        size = (n_columns, n_rows)
        total += cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC) * np.sqrt(cell)
    return np.clip(128 + 40 * total / total.std(), 0, 255).astype(np.uint8)


def _project(homography, points):
    projected = np.c_[points, np.ones(len(points))] @ homography.T
    return projected[:, :2] / projected[:, 2:]


@pytest.mark.parametrize("name", FEATURES)
def test_a_known_homography_is_recovered(name):
    previous = _texture()
    current = cv2.warpPerspective(previous, HOMOGRAPHY, (320, 240), borderMode=cv2.BORDER_REFLECT)
    found = [detect_features(name, grey) for grey in (previous, current)]
    assert 200 <= len(found[0]) <= 1000
    kind, length = DESCRIPTORS[name]
    assert found[0].descriptors.dtype == kind
    assert found[0].descriptors.shape == (len(found[0]), length)
    motion = camera_motion(NO_PAIRS, match_keypoints(*found))
    corners = np.array([[0, 0], [320, 0], [0, 240], [320, 240.0]])
    error = np.abs(_project(motion.homography, corners) - _project(HOMOGRAPHY, corners)).max()
    assert error < TOLERANCE[name]


@pytest.mark.parametrize("name", FEATURES)
def test_points_are_found_where_they_are_allowed_strongest_first(name):
    allowed = np.ones((240, 320), bool)
    allowed[60:180, 40:200] = False
    found = detect_features(name, _texture(), allowed=allowed)
    column, row = np.rint(found.points).astype(int).T
    assert len(found) > 50
    assert allowed[row.clip(0, 239), column.clip(0, 319)].all()
    assert (np.diff(found.responses) <= 0).all()


@pytest.mark.parametrize("name", FEATURES)
def test_the_same_frame_gives_the_same_points(name):
    first, again = (detect_features(name, _texture(seed=1)) for _ in range(2))
    for column in ("points", "sizes", "angles", "responses", "descriptors"):
        np.testing.assert_array_equal(getattr(first, column), getattr(again, column))


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("shape", [(64, 80), (8, 9), (1, 1)])
def test_flat_and_tiny_frames_have_no_points(name, shape):
    found = detect_features(name, np.full(shape, 90, np.uint8))
    kind, length = DESCRIPTORS[name]
    assert len(found) == 0
    assert found.points.shape == (0, 2)
    assert found.descriptors.shape == (0, length)
    assert found.descriptors.dtype == kind
    before, after = match_keypoints(found, found)
    assert before.shape == after.shape == (0, 2)


def test_surf_is_the_projects_own():
    grey = _texture()
    np.testing.assert_array_equal(
        detect_features("surf", grey).descriptors, detect_and_describe(grey).descriptors
    )


def test_bad_arguments_are_refused():
    grey = np.zeros((32, 32), np.uint8)
    with pytest.raises(ValueError, match="one of surf, akaze, sift, orb, got 'brisk'"):
        detect_features("brisk", grey)
    with pytest.raises(ValueError, match="grey must be a uint8 array"):
        detect_features("orb", grey.astype(float))
    with pytest.raises(ValueError, match="allowed must have the frame's shape"):
        detect_features("orb", grey, allowed=np.ones((32, 31), bool))
