"""Votes, integral histograms and pooling, against plain NumPy."""

import numpy as np
import pytest

from idt.descriptors import HISTOGRAM_DESCRIPTORS, HOF, HOG, MBHX, MBHY
from idt.histogram import Votes, integrate, pool_along_tracks


def _votes(descriptor, grey=None, flow=None):
    shape = grey.shape if grey is not None else flow.shape[1:]
    votes = Votes.empty(*shape)
    descriptor.vote(grey, flow, votes)
    return votes


def _dense(votes, n_bins):
    """Histogram of every pixel, (row, column, bin)."""
    out = np.zeros((*votes.bin.shape, n_bins))
    rows, columns = np.indices(votes.bin.shape)
    np.add.at(out, (rows, columns, votes.bin.astype(int)), votes.low)
    np.add.at(out, (rows, columns, (votes.bin.astype(int) + 1) % 8), votes.high)
    return out


def test_a_gradient_votes_for_its_direction():
    ramp = np.tile(np.arange(0, 90, 10, dtype=np.uint8), (5, 1))
    inner = _dense(_votes(HOG, grey=ramp), 8)[2, 4]
    np.testing.assert_allclose(inner, [20, 0, 0, 0, 0, 0, 0, 0], atol=1e-3)
    inner = _dense(_votes(HOG, grey=ramp.T.copy()), 8)[4, 2]
    np.testing.assert_allclose(inner, [0, 0, 20, 0, 0, 0, 0, 0], atol=1e-2)


def test_a_vote_is_split_between_neighbouring_directions():
    # 60 degrees lie one third of the way from 45 to 90.
    flow = np.zeros((2, 1, 1), np.float32)
    flow[:, 0, 0] = 3 * np.cos(np.pi / 3), 3 * np.sin(np.pi / 3)
    histogram = _dense(_votes(HOF, flow=flow), 9)[0, 0]
    np.testing.assert_allclose(histogram, [0, 2, 1, 0, 0, 0, 0, 0, 0], atol=2e-3)


def test_the_last_direction_wraps_to_the_first():
    flow = np.zeros((2, 1, 1), np.float32)
    flow[:, 0, 0] = 2 * np.cos(np.deg2rad(337.5)), 2 * np.sin(np.deg2rad(337.5))
    histogram = _dense(_votes(HOF, flow=flow), 9)[0, 0]
    np.testing.assert_allclose(histogram, [1, 0, 0, 0, 0, 0, 0, 1, 0], atol=2e-3)


@pytest.mark.parametrize(("speed", "zero"), [(0.4, 1.0), (0.41, 0.0)])
def test_slow_flow_votes_for_the_zero_bin(speed, zero):
    flow = np.zeros((2, 2, 2), np.float32)
    flow[0] = speed
    histogram = _dense(_votes(HOF, flow=flow), 9)
    np.testing.assert_allclose(histogram[..., 8], zero)
    np.testing.assert_allclose(histogram[..., :8].sum(axis=-1), (1 - zero) * speed, rtol=1e-5)


def test_motion_boundaries_ignore_constant_flow():
    flow = np.ones((2, 8, 8), np.float32) * np.array([3, -2], np.float32)[:, None, None]
    for descriptor in (MBHX, MBHY):
        votes = _votes(descriptor, flow=flow)
        np.testing.assert_array_equal(votes.low + votes.high, 0)


def test_motion_boundaries_take_one_component_each():
    flow = np.zeros((2, 6, 6), np.float32)
    flow[0] = np.arange(6) ** 2  # the derivative of x^2 over two pixels is 4 x
    votes = _votes(MBHX, flow=flow)
    np.testing.assert_allclose(votes.low[3], [0, 4, 8, 12, 16, 0], rtol=1e-5)
    assert _votes(MBHY, flow=flow).low.max() == 0


@pytest.mark.parametrize("descriptor", HISTOGRAM_DESCRIPTORS, ids=lambda d: d.name)
def test_integral_histograms_sum_votes(descriptor):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (12, 17)).astype(np.uint8)
    flow = rng.normal(size=(2, 12, 17)).astype(np.float32)
    votes = _votes(descriptor, grey, flow)
    integral = integrate(votes, descriptor.n_bins)
    dense = _dense(votes, descriptor.n_bins)
    assert integral.shape == (13, 18, descriptor.n_bins)
    np.testing.assert_allclose(
        integral[1:, 1:], dense.cumsum(axis=0).cumsum(axis=1), rtol=1e-4, atol=1e-3
    )
    assert not integral[0].any()
    assert not integral[:, 0].any()


def test_other_numbers_of_bins_are_refused():
    with pytest.raises(ValueError, match=r"n_bins must be one of \[8, 9\], got 4"):
        integrate(Votes.empty(2, 2), 4)


@pytest.mark.parametrize("normalise", ["rootl1", "l2"])
@pytest.mark.parametrize("point", [(20.0, 18.0), (1.0, 2.0), (49.0, 39.0), (20.5, 17.5)])
def test_pooling_equals_a_plain_twin(normalise, point):
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    votes = _votes(HOG, grey=grey)
    points = np.zeros((1, 4, 2), np.float32)
    points[0, 1] = point
    out = np.zeros((1, 2, 32), np.float32)
    pool_along_tracks(
        integrate(votes, 8),
        points,
        np.array([2]),
        np.array([0]),
        out,
        frames_per_cell=2,
        normalise=normalise,
    )
    left = int(np.clip(np.rint(point[0]) - 16, 0, 50 - 32))
    top = int(np.clip(np.rint(point[1]) - 16, 0, 40 - 32))
    window = _dense(votes, 8)[top : top + 32, left : left + 32]
    block = np.concatenate(
        [
            window[16 * cy : 16 * cy + 16, 16 * cx : 16 * cx + 16].sum(axis=(0, 1))
            for cx in range(2)
            for cy in range(2)
        ]
    )
    block = block + 0.05
    expected = (
        np.sqrt(block / block.sum()) if normalise == "rootl1" else block / np.sqrt(block @ block)
    )
    np.testing.assert_allclose(out[0, 0], expected, rtol=2e-3)
    assert not out[0, 1].any()


def test_windows_larger_than_the_image_stay_inside_it():
    votes = _votes(HOG, grey=np.random.default_rng(2).integers(0, 256, (18, 24)).astype(np.uint8))
    points = np.full((1, 3, 2), 9, np.float32)
    out = np.zeros((1, 3, 32), np.float32)
    pool_along_tracks(integrate(votes, 8), points, np.array([1]), np.array([0]), out)
    assert np.isfinite(out).all()
    np.testing.assert_allclose((out[0, 0] ** 2).sum(), 1, rtol=1e-4)


def test_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="normalise must be 'rootl1' or 'l2'"):
        pool_along_tracks(
            np.zeros((2, 2, 8), np.float32),
            np.zeros((0, 2, 2), np.float32),
            np.zeros(0, int),
            np.zeros(0, int),
            np.zeros((0, 1, 32), np.float32),
            normalise="l1",
        )
