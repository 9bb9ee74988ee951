"""Eigenvalues, seeds and corners."""

import cv2
import numpy as np
import pytest

from idt.pyramid import grey_pyramid, scales, to_grey
from idt.sampling import corners, min_eigenvalues, seed_points
from idt.video import frames

NONE = np.zeros((0, 2), np.float32)


def _noise(n_rows=40, n_columns=50):
    return np.random.default_rng(0).integers(0, 256, (n_rows, n_columns)).astype(np.uint8)


def test_eigenvalues_equal_opencvs():
    grey = _noise()
    expected = cv2.cornerMinEigenVal(grey, 3, ksize=3)
    np.testing.assert_allclose(min_eigenvalues(grey), expected, atol=1e-6)
    with pytest.raises(ValueError, match="grey must be a uint8 array"):
        min_eigenvalues(grey.astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (7, 1)])
def test_eigenvalues_of_tiny_images_are_finite(shape):
    assert np.isfinite(min_eigenvalues(np.full(shape, 7, np.uint8))).all()


def test_one_seed_a_cell_at_its_centre():
    eigenvalues = np.ones((10, 15), np.float32)
    expected = [(2, 2), (7, 2), (12, 2), (2, 7), (7, 7), (12, 7)]
    np.testing.assert_array_equal(seed_points(eigenvalues, NONE), expected)


def test_no_seed_where_a_track_lives_or_texture_is_missing():
    eigenvalues = np.ones((10, 15), np.float32)
    eigenvalues[2, 2] = 0.001  # not above 0.001 of the largest
    live = np.array([[7.9, 4.9], [14.99, 9.99]], np.float32)  # cells (1, 0) and (2, 1)
    np.testing.assert_array_equal(seed_points(eigenvalues, live), [(12, 2), (2, 7), (7, 7)])


def test_a_flat_frame_gives_no_seeds_and_no_corners():
    eigenvalues = min_eigenvalues(np.full((30, 30), 50, np.uint8))
    assert len(seed_points(eigenvalues, NONE)) == 0
    assert len(corners(eigenvalues)) == 0


def test_a_stride_of_nothing_is_refused():
    with pytest.raises(ValueError, match="stride must be at least 1"):
        seed_points(np.ones((5, 5), np.float32), NONE, stride=0)


def test_corners_equal_opencvs():
    grey = _noise(80, 90)
    expected = cv2.goodFeaturesToTrack(grey, 200, 0.001, 3, blockSize=3)[:, 0]
    got = corners(min_eigenvalues(grey), limit=200)
    assert len(got) == len(expected)
    common = set(map(tuple, got.tolist())) & set(map(tuple, expected.tolist()))
    assert len(common) >= 0.99 * len(expected)  # ties of strength may fall either way


def test_corners_keep_out_of_masked_pixels():
    eigenvalues = min_eigenvalues(_noise())
    allowed = np.ones(eigenvalues.shape, bool)
    allowed[:, :25] = False
    assert corners(eigenvalues, allowed=allowed)[:, 0].min() >= 25
    with pytest.raises(ValueError, match="allowed must have the frame's shape"):
        corners(eigenvalues, allowed=allowed[1:])


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "hmdb_cartwheel", "ucf_icedancing_g01_c01"])
def test_first_seeds_and_corners_are_the_reference_programs(shared, clip):
    golden = np.load(shared / "golden" / f"{clip}.intermediates.npz")
    frame = next(frames(shared / "golden" / "clips" / f"{clip}.avi"))
    grey = to_grey(frame)
    for k, image in enumerate(grey_pyramid(grey, scales(grey.shape[1], grey.shape[0]))):
        seeds = seed_points(min_eigenvalues(image), NONE)
        np.testing.assert_array_equal(seeds, golden[f"sample_f0_k{k}"])
    got = {tuple(point) for point in corners(min_eigenvalues(grey)).tolist()}
    expected = {tuple(point) for point in golden["ptsflow_prev_f1_k0"].tolist()}
    assert len(got & expected) >= 0.99 * len(expected)


def test_corners_equal_a_plain_twin():
    # Whole numbers, so that many are equal: the first in raster order counts.
    eigenvalues = np.random.default_rng(1).integers(0, 40, (30, 37)).astype(np.float32)
    allowed = np.random.default_rng(2).random(eigenvalues.shape) < 0.8
    for distance, limit in ((3.0, 1000), (1.5, 1000), (4.2, 15)):
        threshold = 0.3 * eigenvalues[allowed].max()
        found = [
            (-eigenvalues[y, x], y, x)
            for y in range(1, 29)
            for x in range(1, 36)
            if allowed[y, x]
            and eigenvalues[y, x] > threshold
            and eigenvalues[y, x] == eigenvalues[y - 1 : y + 2, x - 1 : x + 2].max()
        ]
        expected: list[tuple[int, int]] = []
        for _, y, x in sorted(found):
            if all((x - u) ** 2 + (y - v) ** 2 >= distance**2 for u, v in expected):
                expected.append((x, y))
        got = corners(eigenvalues, allowed=allowed, quality=0.3, distance=distance, limit=limit)
        np.testing.assert_array_equal(got, expected[:limit])
        assert len(got) > 10
