"""Scales, grey levels and resizing."""

import numpy as np
import pytest

from idt.pyramid import grey_pyramid, resize_uint8, scales, to_grey
from idt.video import frames


@pytest.mark.parametrize(
    ("side", "n_scales"), [(240, 6), (120, 4), (360, 7), (256, 7), (480, 8), (24, 1), (4000, 8)]
)
def test_number_of_scales(side, n_scales):
    assert len(scales(2 * side, side)) == n_scales


def test_sizes_shrink_by_the_square_root_of_two():
    levels = scales(320, 240)
    assert [(level.width, level.height) for level in levels[:4]] == [
        (320, 240),
        (226, 170),
        (160, 120),
        (113, 85),
    ]
    assert [level.factor for level in levels[:3]] == pytest.approx([1, 2**0.5, 2])


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="width and height must be at least 1"):
        scales(0, 10)
    with pytest.raises(ValueError, match="max_scales must be at least 1"):
        scales(10, 10, max_scales=0)


def test_grey_weights_by_hand():
    # One pixel each of blue, green, red and white; weights 1868, 9617 and 4899 of 16384.
    frame = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(to_grey(frame), [[29, 150, 76, 255]])


def test_grey_needs_a_bgr_frame():
    with pytest.raises(ValueError, match="frame must be a uint8 array of shape"):
        to_grey(np.zeros((4, 4), np.uint8))


def test_resizing_to_half_averages_pairs_of_pixels():
    image = np.array([[0, 100, 200, 20], [100, 200, 100, 40]], np.uint8)
    np.testing.assert_array_equal(resize_uint8(image, 2, 1), [[100, 90]])


def test_resizing_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (7, 9)).astype(np.uint8)
    np.testing.assert_array_equal(resize_uint8(image, 9, 7), image)
    with pytest.raises(ValueError, match="image must be a uint8 array"):
        resize_uint8(image.astype(float), 3, 3)


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "hmdb_cartwheel", "ucf_icedancing_g01_c01"])
def test_the_pyramid_is_the_reference_programs(shared, clip):
    golden = np.load(shared / "golden" / f"{clip}.intermediates.npz")
    for t, frame in enumerate(frames(shared / "golden" / "clips" / f"{clip}.avi", stop=4)):
        grey = to_grey(frame)
        pyramid = grey_pyramid(grey, scales(grey.shape[1], grey.shape[0]))
        for k, image in enumerate(pyramid):
            np.testing.assert_array_equal(image, golden[f"greypyr_f{t}_k{k}"])
