from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep.clips import ClipSpec


def test_stack_is_centred_on_its_frame() -> None:
    clip = ClipSpec(stack=10).at(20, 1, n_frames=100)
    assert clip.frames.tolist() == [20]
    assert clip.fields.tolist() == [[15, 16, 17, 18, 19, 20, 21, 22, 23, 24]]


def test_chunks_stand_a_stride_apart() -> None:
    clip = ClipSpec(segments=3, stack=4, strides=(5, 15)).at(10, 7, n_frames=100)
    assert clip.frames.tolist() == [10, 17, 24]
    assert clip.fields.tolist() == [[8, 9, 10, 11], [15, 16, 17, 18], [22, 23, 24, 25]]


def test_indices_are_clamped_into_a_short_video() -> None:
    clip = ClipSpec(segments=2, stack=4, strides=(3, 3)).at(0, 3, n_frames=3)
    assert clip.frames.tolist() == [0, 2]
    assert clip.fields.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]  # fields 0 and 1 are all there are


def test_one_frame() -> None:
    (clip,) = ClipSpec(segments=3, strides=(5, 15)).spaced(1, 1)
    assert clip.frames.tolist() == [0, 0, 0]
    assert np.all(clip.fields == 0)


def test_spaced_clips_reach_from_end_to_end() -> None:
    # 31 frames, 30 fields: the first start is 5 (fields 0-9), the last 25 (fields 20-29)
    clips = ClipSpec(stack=10).spaced(31, 5)
    assert [clip.frames[0] for clip in clips] == [5, 10, 15, 20, 25]
    assert clips[0].fields[0, 0] == 0
    assert clips[-1].fields[0, -1] == 29
    assert ClipSpec(stack=10).spaced(31, 1)[0].frames.tolist() == [15]


def test_stride_is_lowered_to_what_fits() -> None:
    # tau = 10 would need 2 * 10 + 10 + 1 = 31 frames; 25 leave room for 7
    (clip,) = ClipSpec(segments=3, strides=(5, 15)).spaced(25, 1)
    assert clip.frames.tolist() == [5, 12, 19]
    (whole,) = ClipSpec(segments=3, strides=(5, 15)).spaced(31, 1)
    assert whole.frames.tolist() == [5, 15, 25]


@given(
    n_frames=st.integers(1, 80),
    segments=st.integers(1, 5),
    least=st.integers(1, 6),
    more=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_random_clips_stay_inside(
    n_frames: int, segments: int, least: int, more: int, seed: int
) -> None:
    spec = ClipSpec(segments=segments, strides=(least, least + more))
    clip = spec.random(n_frames, np.random.default_rng(seed))
    assert clip.frames.shape == (segments,)
    assert clip.fields.shape == (segments, 10)
    assert clip.frames.min() >= 0
    assert clip.frames.max() < n_frames
    assert clip.fields.min() >= 0
    assert clip.fields.max() <= max(n_frames - 2, 0)
    if n_frames > 10 + least * (segments - 1):  # room enough: nothing is clamped, so no repeats
        assert np.all(np.diff(clip.fields, axis=1) == 1)
        strides = np.diff(clip.frames)
        assert np.all((strides >= least) & (strides <= least + more))
    again = spec.random(n_frames, np.random.default_rng(seed))
    np.testing.assert_array_equal(clip.fields, again.fields)


def test_errors() -> None:
    with pytest.raises(ValueError, match="stack must be even"):
        ClipSpec(stack=5)
    with pytest.raises(ValueError, match="strides must be"):
        ClipSpec(strides=(4, 2))
    with pytest.raises(ValueError, match="segments must be at least 1"):
        ClipSpec(segments=0)
    with pytest.raises(ValueError, match="n_frames must be at least 1"):
        ClipSpec().at(0, 1, n_frames=0)
    with pytest.raises(ValueError, match="n_clips must be at least 1"):
        ClipSpec().spaced(20, 0)
