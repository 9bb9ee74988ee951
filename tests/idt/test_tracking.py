"""Tracks by hand: moves, ends, validity and shape."""

import numpy as np
import pytest

from idt.tracking import Tracks, describe_tracks


def _planes(dx, dy, n_rows=40, n_columns=60):
    flow = np.empty((2, n_rows, n_columns), np.float32)
    flow[0], flow[1] = dx, dy
    return flow


def _advance(tracks, flow, described=None):
    described = flow if described is None else described
    tracks.advance(flow, described, described, factor=1.0)


def _complete_track(steps, stabilised=None, factor=1.0, **options):
    """Statistics of one track that takes the given steps from (100, 100)."""
    steps = np.asarray(steps, np.float32)
    tracks = Tracks(len(steps))
    tracks.start(np.array([[100, 100]], np.float32))
    tracks.points[0] = 100 + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    tracks.steps[0] = steps if stabilised is None else stabilised
    tracks.moved[0] = np.linalg.norm(tracks.steps[0], axis=1).max() * factor
    tracks.age[0] = len(steps)
    return describe_tracks(tracks, tracks.complete(), factor=factor, **options)


def test_points_move_by_the_flow_and_keep_the_stabilised_step():
    tracks = Tracks(3)
    tracks.start(np.array([[10, 20], [30, 5]], np.float32))
    _advance(tracks, _planes(1.5, -0.5), _planes(0.25, 0))
    np.testing.assert_allclose(tracks.positions(), [[11.5, 19.5], [31.5, 4.5]])
    np.testing.assert_allclose(tracks.steps[tracks.live, 0], [[0.25, 0], [0.25, 0]])


def test_the_flow_is_read_at_the_rounded_pixel():
    flow = _planes(0, 0)
    flow[:, 8, 13] = 2, 3
    tracks = Tracks(2)
    tracks.start(np.array([[12.6, 8.4], [12.4, 8.4]], np.float32))
    _advance(tracks, flow)
    np.testing.assert_allclose(tracks.positions(), [[14.6, 11.4], [12.4, 8.4]], atol=1e-5)


def test_tracks_that_leave_the_image_end_and_their_slots_are_used_again():
    tracks = Tracks(5)
    tracks.start(np.array([[58, 20], [5, 20]], np.float32))
    _advance(tracks, _planes(2, 0))  # the first comes to x = 60 = width
    np.testing.assert_allclose(tracks.positions(), [[7, 20]])
    capacity = tracks.capacity
    tracks.start(np.array([[30, 30]], np.float32))
    assert tracks.capacity == capacity
    np.testing.assert_allclose(tracks.positions(), [[7, 20], [30, 30]])


def test_complete_tracks_are_taken_out_in_order():
    tracks = Tracks(2)
    tracks.start(np.array([[10, 10], [20, 10]], np.float32))
    _advance(tracks, _planes(1, 0))
    tracks.start(np.array([[30, 10]], np.float32))
    assert len(tracks.complete()) == 0
    _advance(tracks, _planes(1, 0))
    slots = tracks.complete()
    np.testing.assert_allclose(tracks.points[slots, 2], [[12, 10], [22, 10]])
    np.testing.assert_allclose(tracks.positions(), [[31, 10]])


def test_statistics_and_shape_by_hand():
    # Points x = 100, 103, 109, 112 at a scale of factor 2; mean 212, deviations 12 6 6 12 ...
    valid, statistics, shapes = _complete_track([[3, 0], [6, 0], [3, 0]], factor=2)
    assert valid.all()
    mean, std = 212, np.sqrt((12**2 + 6**2 + 6**2 + 12**2) / 4)
    np.testing.assert_allclose(statistics, [[mean, 200, std, 0, 24]], rtol=1e-5)
    np.testing.assert_allclose(shapes, [[0.25, 0, 0.5, 0, 0.25, 0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "valid"),
    [
        ([[1.5, 0]] * 3, False),  # static: deviation 1.68 < sqrt(3)
        ([[1.6, 0]] * 3, True),
        ([[19, 0]] * 15, False),  # erratic: deviation 87 > 50
        ([[21, 0], [3, 0], [3, 0]], False),  # a jump of 21 is 0.78 of the length
        ([[21, 0], [6, 0], [6, 0]], True),
    ],
)
def test_validity(steps, valid):
    assert _complete_track(steps)[0][0] == valid


def test_camera_motion_is_removed_on_demand():
    steps, still = [[5, 0]] * 3, [[1, 0], [0, -1], [0, 0]]
    assert not _complete_track(steps, still)[0][0]
    assert _complete_track(steps, [[1, 0], [0, -1.1], [0, 0]])[0][0]
    valid, _, shapes = _complete_track(steps, [[0, 0]] * 3, remove_camera=False)
    assert valid[0]
    np.testing.assert_array_equal(shapes, 0)


def test_a_length_of_nothing_is_refused():
    with pytest.raises(ValueError, match="length must be at least 1 frame"):
        Tracks(0)


def test_what_is_free_of_the_camera_tells_camera_tracks_and_nothing_else():
    tracks = Tracks(2)
    tracks.start(np.array([[10, 10]], np.float32))
    tracks.advance(_planes(3, 0), _planes(2, 0), _planes(0.4, 0.3), factor=2.0)
    tracks.advance(_planes(3, 0), _planes(2, 0), _planes(0.3, 0.0), factor=2.0)
    np.testing.assert_allclose(tracks.moved[tracks.live], [1.0])  # 0.5 pixels at factor 2
    np.testing.assert_allclose(tracks.steps[0], [[2, 0], [2, 0]])
    slots = tracks.complete()
    assert not describe_tracks(tracks, slots, factor=2.0)[0][0]
    assert describe_tracks(tracks, slots, factor=2.0, remove_camera=False)[0][0]
