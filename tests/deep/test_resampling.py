from __future__ import annotations

import cv2
import numpy as np
import pytest

from deep.data.resampling import mean_levels, resample, taps

BOX = (3, 9, 30, 41)


def levels(n_channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 40, 57, n_channels), dtype=np.uint8)


def cut(images: np.ndarray, size: tuple[int, int], *, flip: bool = False) -> np.ndarray:
    """Levels of the box at `size`: image, row, column, channel."""
    n, n_channels = len(images), images.shape[3]
    out = np.empty((n_channels, n, *size), np.float32)
    ones = np.ones((n, n_channels), np.float32)
    resample(images, out, box=BOX, flip=flip, gains=ones, offsets=0 * ones)
    return out.transpose(1, 2, 3, 0)


@pytest.mark.parametrize(
    ("size", "method"),
    [((20, 20), cv2.INTER_AREA), ((15, 29), cv2.INTER_AREA), ((64, 50), cv2.INTER_LINEAR)],
)
def test_equals_opencv_on_floating_point(size, method):
    images, (top, left, height, width) = levels(2), BOX
    for found, image in zip(cut(images, size), images, strict=True):
        box = np.ascontiguousarray(image[top : top + height, left : left + width], np.float32)
        expected = cv2.resize(box, size[::-1], interpolation=method)
        np.testing.assert_allclose(found, expected, atol=0.01)


def test_own_size_is_a_copy_and_a_side_is_resized_by_itself():
    images, (top, left, height, width) = levels(3), BOX
    box = images[:, top : top + height, left : left + width]
    np.testing.assert_array_equal(cut(images, (height, width)), box)
    np.testing.assert_array_equal(cut(images, (height, width), flip=True), box[:, :, ::-1])
    rows = cut(images, (10, width))  # three rows each
    np.testing.assert_allclose(rows, box.reshape(3, 10, 3, width, 3).mean(axis=2), atol=1e-4)


@pytest.mark.parametrize(("length", "size"), [(1, 1), (1, 16), (2, 17), (112, 111), (340, 112)])
def test_shares_are_of_pixels_inside(length, size):
    places, shares = taps(length, size)
    assert places.shape == shares.shape
    assert places.max() < length
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    assert shares.min() >= 0
    np.testing.assert_allclose(  # a symmetric cut
        (places * shares).sum(axis=0) + (places * shares).sum(axis=0)[::-1], length - 1, atol=1e-3
    )


@pytest.mark.parametrize(("n_channels", "channel"), [(2, 0), (4, 0), (4, 2)])
def test_mean_levels(n_channels, channel):
    images = levels(n_channels)
    expected = images[..., channel : channel + 2].mean(axis=(1, 2))
    np.testing.assert_allclose(mean_levels(images, channel), expected, rtol=1e-6)
