"""Votes, integral histograms and pooling, against plain NumPy."""

import numpy as np
import pytest

from idt.descriptors import HISTOGRAM_DESCRIPTORS, HOF, HOG, MBHX, MBHY
from idt.histogram import Votes, empty_sums, integrate, place_windows, pool, take_means


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
    with pytest.raises(ValueError, match="n_bins must be 8 or 9, got 4"):
        integrate(Votes.empty(2, 2), 4)


def _twin(votes, n_bins, point, patch_size, n_cells, normalise):
    """Normalised histogram of the window around a point, by direct sums."""
    n_rows, n_columns = votes.bin.shape
    left = int(max(min(np.rint(point[0]) - patch_size // 2, n_columns - patch_size), 0))
    top = int(max(min(np.rint(point[1]) - patch_size // 2, n_rows - patch_size), 0))
    cell = patch_size // n_cells
    dense = _dense(votes, n_bins)
    cells = [
        dense[top + cy * cell :, left + cx * cell :][:cell, :cell].sum(axis=(0, 1))
        for cx in range(n_cells)
        for cy in range(n_cells)
    ]
    block = np.concatenate(cells) + 0.05
    return np.sqrt(block / block.sum()) if normalise == "rootl1" else block / np.sqrt(block @ block)


@pytest.mark.parametrize("normalise", ["rootl1", "l2"])
@pytest.mark.parametrize("descriptor", [HOG, HOF], ids=lambda d: d.name)
@pytest.mark.parametrize(
    ("shape", "patch_size", "n_cells"),
    [((40, 50), 32, 2), ((18, 24), 32, 2), ((33, 32), 32, 2), ((30, 41), 15, 3), ((20, 20), 9, 1)],
)
def test_pooling_equals_a_plain_twin(normalise, descriptor, shape, patch_size, n_cells):
    rng = np.random.default_rng(1)
    votes = _votes(
        descriptor,
        rng.integers(0, 256, shape).astype(np.uint8),
        rng.normal(size=(2, *shape)).astype(np.float32),
    )
    # Seven tracks, the last but one of them free; each has two frames in its first time cell.
    points = np.zeros((7, 5, 2), np.float32)
    points[:, :, 0] = rng.uniform(0, shape[1], (7, 1))
    points[:, :, 1] = rng.uniform(0, shape[0], (7, 1))
    points[0], points[1] = 0, shape[::-1]
    points[2] = points[2].round() + 0.5
    live = np.array([6, 0, 1, 2, 3, 4])
    out = empty_sums(7, 2, n_cells, descriptor.n_bins)
    out[:] = np.nan
    for age in (1, 2, 3, 4):
        windows = place_windows(
            points,
            np.full(7, age),
            live,
            shape,
            patch_size=patch_size,
            frames_per_cell=2,
            n_time_cells=2,
        )
        pool(votes, descriptor.n_bins, windows, out, n_cells=n_cells, normalise=normalise)
        n_values = n_cells**2 * descriptor.n_bins
        for slot in live:
            expected = _twin(
                votes, descriptor.n_bins, points[slot, 0], patch_size, n_cells, normalise
            )
            np.testing.assert_allclose(out[0, slot, :n_values], min(age, 2) * expected, rtol=2e-3)
            if age > 2:
                np.testing.assert_allclose(out[1, slot, :n_values], (age - 2) * expected, rtol=2e-3)
    assert np.isnan(out[:, 5]).all()
    means = take_means(out, live[::-1], n_values, frames_per_cell=2)
    np.testing.assert_array_equal(means[:, :n_values], out[0, live[::-1], :n_values] / 2)
    np.testing.assert_array_equal(means[:, n_values:], out[1, live[::-1], :n_values] / 2)


def test_there_is_no_window_after_the_last_time_cell():
    points, live = np.full((2, 8, 2), 20, np.float32), np.array([1, 0])
    windows = place_windows(
        points, np.array([4, 7]), live, (40, 40), frames_per_cell=3, n_time_cells=2
    )
    np.testing.assert_array_equal(windows.sums, [2])  # slot 0 in the second time cell


def test_nothing_is_pooled_without_tracks():
    votes = _votes(HOG, grey=np.zeros((20, 20), np.uint8))
    out = empty_sums(3, 3, 2, 8)
    out[:] = 7
    none = np.zeros(0, np.int64)
    pool(votes, 8, place_windows(np.zeros((3, 4, 2), np.float32), none, none, (20, 20)), out)
    assert (out == 7).all()


def test_unknown_normalisation_is_refused():
    votes = _votes(HOG, grey=np.zeros((20, 20), np.uint8))
    none = np.zeros(0, np.int64)
    windows = place_windows(np.zeros((0, 2, 2), np.float32), none, none, (20, 20))
    with pytest.raises(ValueError, match="normalise must be 'rootl1' or 'l2'"):
        pool(votes, 8, windows, empty_sums(0, 3, 2, 8), normalise="l1")
