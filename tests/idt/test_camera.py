"""Matches, homographies and warped frames."""

import numpy as np
import pytest

from idt.camera import (
    camera_motion,
    fit_homography,
    flow_pairs,
    match_keypoints,
    subtract_homography,
    warp_frame,
)
from idt.camera.homography import _fill_normal
from idt.flow import expand, flow_pyramid
from idt.pyramid import scales, to_grey
from idt.sampling import corners, min_eigenvalues
from idt.surf import Keypoints, detect_and_describe
from idt.video import frames

HOMOGRAPHY = np.array([[1.02, 0.01, -3.0], [-0.015, 0.99, 2.0], [1e-5, -2e-5, 1.0]])
EMPTY = (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))


def _project(homography, points):
    projected = np.c_[points, np.ones(len(points))] @ homography.T
    return projected[:, :2] / projected[:, 2:]


def _matches(n, n_outliers=0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    previous = rng.uniform([0, 0], [320, 240], (n, 2))
    current = _project(HOMOGRAPHY, previous) + rng.normal(scale=noise, size=(n, 2))
    current[:n_outliers] = rng.uniform([0, 0], [320, 240], (n_outliers, 2))
    return previous, current


def _keypoints(points, descriptors, kind=np.float32):
    n = len(points)
    return Keypoints(
        np.array(points, np.float32),
        np.ones(n, np.float32),
        np.zeros(n, np.float32),
        np.ones(n, np.float32),
        np.array(descriptors, kind),
    )


def test_the_most_similar_keypoint_nearby_is_taken():
    previous = _keypoints([(0, 0), (10, 0), (100, 0)], [[1, 0], [0.8, 0.6], [0, 1]])
    current = _keypoints([(2, 0), (35, 0), (101, 24.9)], [[0, 1], [0, 1], [1, 0]])
    # The second lies exactly 25 px from (10, 0), which is too far.
    before, after = match_keypoints(previous, current)
    np.testing.assert_array_equal(before, [(10, 0), (100, 0)])
    np.testing.assert_array_equal(after, [(2, 0), np.float32([101, 24.9])])


def test_binary_descriptors_are_compared_by_their_bits():
    # 9 bytes: more than a word. Differences from the first of `current`: 8, 2 and 1 bits; the last
    # lies too far away.
    previous = _keypoints(
        [(0, 0), (3, 0), (60, 0)], [[0] * 8 + [255], [1] + [0] * 7 + [1], [0] * 8 + [1]], np.uint8
    )
    current = _keypoints([(1, 1), (62, 0)], [[0] * 9, [255] * 9], np.uint8)
    before, after = match_keypoints(previous, current)
    np.testing.assert_array_equal(before, [(3, 0), (60, 0)])
    np.testing.assert_array_equal(after, [(1, 1), (62, 0)])


def test_bits_are_counted_as_numpy_counts_them():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 60, (2, 80, 2))
    bits = rng.integers(0, 256, (2, 80, 61)).astype(np.uint8)
    before, after = match_keypoints(
        _keypoints(points[0], bits[0], np.uint8), _keypoints(points[1], bits[1], np.uint8)
    )
    far = (np.abs(points[1][:, None] - points[0][None]) >= 25).any(axis=2)
    distance = np.unpackbits(bits[1][:, None] ^ bits[0][None], axis=2).sum(axis=2) + 1000 * far
    matched = ~far.all(axis=1)
    np.testing.assert_array_equal(after, points[1][matched].astype(np.float32))
    np.testing.assert_array_equal(
        before, points[0][distance.argmin(axis=1)][matched].astype(np.float32)
    )


def test_keypoints_of_two_kinds_are_not_matched():
    numbers = _keypoints([(0, 0)], [[1, 0]])
    with pytest.raises(ValueError, match="must have descriptors of one kind, got float32 x 2 and"):
        match_keypoints(numbers, _keypoints([(0, 0)], [[1, 0]], np.uint8))
    with pytest.raises(ValueError, match="float32 x 2 and float32 x 3"):
        match_keypoints(numbers, _keypoints([(0, 0)], [[1, 0, 0]]))


def test_points_move_by_the_flow_at_their_rounded_pixel():
    flow = np.zeros((2, 4, 6), np.float32)
    flow[:, 1, 2] = 0.5, -1
    before, after = flow_pairs(flow, np.array([[2.4, 0.6], [9, 9]], np.float32))
    np.testing.assert_allclose(after - before, [[0.5, -1], [0, 0]], atol=1e-6)


def test_a_homography_is_recovered_exactly_without_noise():
    homography, inliers = fit_homography(*_matches(60))
    np.testing.assert_allclose(homography, HOMOGRAPHY, atol=1e-8)
    assert inliers.all()


def test_outliers_are_found_and_left_out():
    homography, inliers = fit_homography(*_matches(200, n_outliers=80, noise=0.1))
    assert inliers[80:].mean() > 0.95
    assert inliers[:80].mean() < 0.05
    grid = np.array([[0, 0], [320, 0], [0, 240], [320, 240.0]])
    error = np.linalg.norm(_project(homography, grid) - _project(HOMOGRAPHY, grid), axis=1)
    assert error.max() < 0.5


def test_a_seed_decides_the_draw():
    matches = _matches(200, n_outliers=120, noise=0.3)
    first, _ = fit_homography(*matches, seed=1)
    again, _ = fit_homography(*matches, seed=1)
    np.testing.assert_array_equal(first, again)


def test_normal_equations_are_those_of_the_stacked_rows():
    rng = np.random.default_rng(3)
    basis, (u, v) = rng.normal(size=(3, 41)), rng.normal(size=(2, 41))
    nought = np.zeros_like(basis)
    rows = np.concatenate(
        [np.concatenate([basis, nought, -u * basis]), np.concatenate([nought, basis, -v * basis])],
        axis=1,
    )
    normal = np.full((9, 9), np.nan)
    _fill_normal(basis, np.stack([u, v]), normal)
    np.testing.assert_allclose(normal, rows @ rows.T, rtol=1e-12, atol=1e-12)


def test_no_homography_nearby_fits_the_inliers_better():
    previous, current = _matches(300, n_outliers=60, noise=0.2)
    homography, inliers = fit_homography(previous, current)

    def residuals(h):
        found = _project(np.append(h, 1).reshape(3, 3), previous[inliers])
        return (found - current[inliers]).ravel()

    h = homography.ravel()[:8]
    steps = np.array([1, 1, 100, 1, 1, 100, 0.01, 0.01]) * 1e-6
    jacobian = np.stack(
        [(residuals(h + step) - residuals(h - step)) / (2 * step.sum()) for step in np.diag(steps)],
        axis=1,
    )
    # Another Gauss-Newton step moves no pixel of the frame by more than central differences err.
    move = np.linalg.lstsq(jacobian, residuals(h), rcond=None)[0]
    assert np.abs(jacobian @ move).max() < 1e-6


def test_points_on_a_line_give_no_homography():
    line = np.stack([np.arange(60.0), 2 * np.arange(60.0)], axis=1)
    homography, inliers = fit_homography(line, line)
    assert homography is None
    assert not inliers.any()


def test_bad_matches_are_refused():
    with pytest.raises(ValueError, match="at least 4 matches, got 3"):
        fit_homography(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="must both have the shape"):
        fit_homography(np.zeros((5, 2)), np.zeros((6, 2)))


def test_few_matches_or_inliers_give_the_identity():
    few = tuple(points.astype(np.float32) for points in _matches(50))
    motion = camera_motion(few, EMPTY)
    np.testing.assert_array_equal(motion.homography, np.eye(3))
    assert (motion.n_inliers, motion.n_flow_pairs, motion.n_surf_pairs) == (0, 50, 0)
    wild = tuple(points.astype(np.float32) for points in _matches(60, n_outliers=45))
    motion = camera_motion(EMPTY, wild)
    np.testing.assert_array_equal(motion.homography, np.eye(3))
    assert 0 < motion.n_inliers <= 25


def test_motion_carries_its_matches_and_inliers():
    matches = tuple(points.astype(np.float32) for points in _matches(80, n_outliers=20))
    by_flow, by_surf = zip(*((points[:50], points[50:]) for points in matches), strict=True)
    motion = camera_motion(by_flow, by_surf)
    assert (motion.n_flow_pairs, motion.n_surf_pairs) == (50, 30)
    np.testing.assert_array_equal(motion.previous_points, matches[0])
    np.testing.assert_array_equal(motion.current_points, matches[1])
    assert motion.inliers.dtype == bool
    assert motion.inliers.sum() == motion.n_inliers
    np.testing.assert_array_equal(motion.inliers, np.arange(80) >= 20)
    np.testing.assert_array_equal(camera_motion(EMPTY, EMPTY).inliers, np.zeros(0, bool))


def test_warping_by_whole_pixels_shifts_inside_the_margin():
    rng = np.random.default_rng(0)
    previous, current = rng.integers(0, 256, (2, 40, 50)).astype(np.uint8)
    shift = np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1.0]])
    warped = warp_frame(previous, current, shift)
    np.testing.assert_array_equal(warped[10:30, 10:35], current[8:28, 13:38])
    np.testing.assert_array_equal(warped[:, :2], previous[:, :2])
    np.testing.assert_array_equal(warped[:, -8:], previous[:, -8:])


def test_warping_between_pixels_interpolates():
    current = np.zeros((20, 20), np.uint8)
    current[:, 10:] = 100
    half = np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 1.0]])
    assert warp_frame(np.zeros_like(current), current, half)[10, 9] == 50


def test_bad_warps_are_refused():
    image = np.zeros((9, 9), np.uint8)
    with pytest.raises(ValueError, match="must have one size"):
        warp_frame(image, image[1:], np.eye(3))
    with pytest.raises(ValueError, match="finite 3 x 3"):
        warp_frame(image, image, np.full((3, 3), np.nan))


def test_a_pan_is_subtracted_from_the_flow():
    flow = np.full((2, 5, 7), 4, np.float32)
    pan = np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1.0]])
    np.testing.assert_array_equal(subtract_homography(flow, pan, 1)[:, 2, 3], [1, 6])
    # Half the pixels a side: the same pan is half as long.
    np.testing.assert_array_equal(subtract_homography(flow, pan, 2)[:, 2, 3], [2.5, 5])
    np.testing.assert_array_equal(subtract_homography(flow, np.eye(3), 1), flow)


@pytest.mark.parametrize(("shape", "factor"), [((240, 320), 1), ((37, 53), 2**1.5)])
def test_subtraction_is_that_of_numpy(shape, factor):
    flow = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]] * float(factor)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    moved = (_project(7 * HOMOGRAPHY, points) - points) / factor
    stabilised = subtract_homography(flow, 7 * HOMOGRAPHY, factor)
    assert stabilised.dtype == np.float32
    # Single precision of displacements of up to ten pixels.
    np.testing.assert_allclose(stabilised, flow - moved.T.reshape(flow.shape), atol=1e-5)


def test_a_pixel_at_infinity_keeps_its_flow():
    flow = np.ones((2, 3, 3), np.float32)
    vanishing = np.array([[1, 0, 0], [0, 1, 0], [1, 0, -1.0]])
    np.testing.assert_array_equal(subtract_homography(flow, vanishing, 1)[:, :, 1], 1)


def test_bad_subtractions_are_refused():
    flow = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(ValueError, match=r"flow must be a float32 array of shape \(2, row, column"):
        subtract_homography(flow.astype(float), np.eye(3), 1)
    with pytest.raises(ValueError, match="factor must be positive, got 0"):
        subtract_homography(flow, np.eye(3), 0)
    with pytest.raises(ValueError, match="finite 3 x 3"):
        subtract_homography(flow, np.full((3, 3), np.inf), 1)


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "hmdb_cartwheel", "ucf_icedancing_g01_c01"])
def test_the_homographies_are_the_reference_programs(shared, clip):
    golden = np.load(shared / "golden" / f"{clip}.intermediates.npz")
    greys = [to_grey(f) for f in frames(shared / "golden" / "clips" / f"{clip}.avi", stop=9)]
    keypoints = [detect_and_describe(grey) for grey in greys]
    levels = scales(greys[0].shape[1], greys[0].shape[0])
    expansions = [expand(grey, levels) for grey in greys]
    corner_points = np.array([[0, 0], [1, 0], [0, 1], [1, 1.0]]) * greys[0].shape[::-1]
    errors, inliers = [], []
    for t in range(1, 9):
        flow = flow_pyramid(expansions[t - 1], expansions[t])[0]
        motion = camera_motion(
            flow_pairs(flow, corners(min_eigenvalues(greys[t - 1]))),
            match_keypoints(keypoints[t - 1], keypoints[t]),
        )
        row = list(golden["H_frame"]).index(t)
        expected = _project(golden["H"][row], corner_points)
        errors.append(np.abs(_project(motion.homography, corner_points) - expected).max())
        inliers.append(motion.n_inliers == golden["n_inliers"][row])
    # RANSAC draws the same samples from the same matches; one differing match can change a draw.
    assert np.median(errors) < 1e-3
    assert np.mean(inliers) >= 0.5


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "hmdb_cartwheel", "ucf_icedancing_g01_c01"])
def test_the_warped_frame_is_the_reference_programs(shared, clip):
    golden = np.load(shared / "golden" / f"{clip}.intermediates.npz")
    greys = [to_grey(f) for f in frames(shared / "golden" / "clips" / f"{clip}.avi", stop=4)]
    for t in (1, 2, 3):
        homography = golden["H"][list(golden["H_frame"]).index(t)]
        warped = warp_frame(greys[t - 1], greys[t], homography)
        np.testing.assert_array_equal(warped, golden[f"greywarp_f{t}_k0"])
