"""Flow out of motion vectors, by hand."""

import numpy as np
import pytest

from idt.flow.codec import codec_flow
from idt.video import VECTOR


def _vectors(*rows):
    """Rows of source, w, h, dst_x, dst_y, motion_x, motion_y in quarter pixels."""
    vectors = np.zeros(len(rows), VECTOR)
    names = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y")
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        vectors[name] = values
    vectors["motion_scale"] = 4
    return vectors


def test_a_vector_to_the_past_is_turned_round_and_divided():
    # The left half came from 6 px further right and 2 px further up, two frames ago.
    vectors = _vectors((-1, 8, 16, 4, 8, 24, -8))
    flow = codec_flow(vectors, 16, 8, past=2, future=0)
    assert flow.dtype == np.float32
    np.testing.assert_array_equal(flow, np.broadcast_to([[[-3.0]], [[1.0]]], (2, 2, 1)))


def test_past_and_future_are_averaged():
    # 4 px from the past, two frames away: 2 px a frame; 4 px to the future, one away.
    vectors = _vectors((-1, 16, 16, 8, 8, -16, 0), (1, 16, 16, 8, 8, 16, 0))
    flow = codec_flow(vectors, 16, 16, past=2, future=1)
    np.testing.assert_array_equal(flow[0], np.full((2, 2), 3))
    # Without the distance to a reference its vectors are left out.
    np.testing.assert_array_equal(codec_flow(vectors, 16, 16, past=2, future=0)[0, 0, 0], 2)


def test_cells_take_the_share_of_each_block():
    # Two blocks of 8 x 16 in one cell of 16, and one that reaches into the next.
    vectors = _vectors(
        (-1, 8, 16, 4, 8, -4, 0), (-1, 8, 16, 12, 8, -12, 0), (-1, 8, 16, 20, 8, -20, 0)
    )
    flow = codec_flow(vectors, 16, 32, past=1, future=0, block=16)
    np.testing.assert_array_equal(flow[0], [[2, 5]])
    flow = codec_flow(vectors, 16, 24, past=1, future=0, block=12)
    np.testing.assert_allclose(flow[0, 0], [(8 * 1 + 4 * 3) / 12, (4 * 3 + 8 * 5) / 12])


def test_blocks_beyond_the_frame_are_cut():
    vectors = _vectors((-1, 16, 16, 8, 8, -4, 0), (-1, 16, 16, 24, 8, -8, 0))
    flow = codec_flow(vectors, 10, 18, past=1, future=0)
    np.testing.assert_array_equal(flow[0], [[1, 1, 2], [1, 1, 2]])


def test_cells_without_a_vector_take_their_neighbours_median():
    blocks = [(-1, 8, 8, 8 * j + 4, 4, -4 * (j + 1), 0) for j in (0, 1, 3)]
    flow = codec_flow(_vectors(*blocks), 8, 56, past=1, future=0)
    np.testing.assert_array_equal(flow[0], [[1, 2, 3, 4, 4, 0, 0]])
    np.testing.assert_array_equal(flow[1], np.zeros((1, 7)))


def test_without_vectors_the_flow_before_is_repeated():
    before = np.random.default_rng(0).normal(size=(2, 2, 3)).astype(np.float32)
    nothing = np.empty(0, VECTOR)
    repeated = codec_flow(nothing, 16, 24, past=0, future=0, before=before)
    np.testing.assert_array_equal(repeated, before)
    assert repeated is not before
    assert not codec_flow(nothing, 16, 24, past=1, future=0).any()


def test_bad_arguments_are_refused():
    nothing = np.empty(0, VECTOR)
    with pytest.raises(ValueError, match="vectors must be a"):
        codec_flow(np.zeros((0, 4)), 16, 24, past=1, future=0)
    with pytest.raises(ValueError, match="must be at least 1 pixel, got 16, 24 and 0"):
        codec_flow(nothing, 16, 24, past=1, future=0, block=0)
    with pytest.raises(ValueError, match="past and future must be at least 0 frames, got -1"):
        codec_flow(nothing, 16, 24, past=-1, future=0)
    with pytest.raises(ValueError, match=r"before must have the shape \(2, 2, 3\), got \(2, 3, 3"):
        codec_flow(nothing, 16, 24, past=1, future=0, before=np.zeros((2, 3, 3), np.float32))
