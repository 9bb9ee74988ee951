from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep.clips import ClipSpec


def test_stack_is_centred_on_its_frame() -> None:
    clip = ClipSpec(stack=10).at(20, 1, n_frames=100)
    assert clip.frames.tolist() == [[20]]
    assert clip.fields.tolist() == [[15, 16, 17, 18, 19, 20, 21, 22, 23, 24]]


def test_chunks_stand_a_stride_apart() -> None:
    clip = ClipSpec(segments=3, stack=4, strides=(5, 15)).at(10, 7, n_frames=100)
    assert clip.frames[:, 0].tolist() == [10, 17, 24]
    assert clip.fields.tolist() == [[8, 9, 10, 11], [15, 16, 17, 18], [22, 23, 24, 25]]


@pytest.mark.parametrize(
    ("stack", "fields"), [(1, [20]), (5, [18, 19, 20, 21, 22]), (2, [19, 20]), (0, [])]
)
def test_any_length_of_stack(stack: int, fields: list[int]) -> None:
    spec = ClipSpec(stack=stack)
    assert spec.at(20, 1, n_frames=100).fields.tolist() == [fields]
    # the last clip ends with the last field, the first one begins with the first
    first, *_, last = spec.spaced(30, 9)
    assert first.fields.size == 0 or first.fields[0, 0] == 0
    assert last.fields.size == 0 or last.fields[0, -1] == 28


def test_bi_directional_stacks_go_both_ways_from_their_frame() -> None:
    clip = ClipSpec(stack=6, stacking="bi-directional").at(20, 1, n_frames=100)
    assert clip.fields.tolist() == [[20, 21, 22]]  # from frames 20, 21, 22 to the next
    assert clip.backward.tolist() == [[19, 18, 17]]  # from frames 20, 19, 18 to the one before
    assert ClipSpec(stack=6).at(20, 1, n_frames=100).backward.shape == (1, 0)
    assert ClipSpec(stacking="trajectory").at(20, 1, n_frames=100).along_paths


def test_several_frames_of_a_chunk() -> None:
    spec = ClipSpec(segments=3, strides=(5, 5), stack=0, frames=(0, 9))
    assert spec.at(10, 5, n_frames=100).frames.tolist() == [[10, 19], [15, 24], [20, 29]]
    # 40 frames: 10 for the chunks' distances, 9 behind the last leave 21 starts
    assert spec.spaced(40, 2)[-1].frames.tolist() == [[20, 29], [25, 34], [30, 39]]
    assert spec.spaced(24, 1)[0].frames.tolist() == [[2, 11], [7, 16], [12, 21]]
    assert spec.spaced(16, 1)[0].frames.tolist() == [[0, 9], [3, 12], [6, 15]]


def test_indices_are_clamped_into_a_short_video() -> None:
    clip = ClipSpec(segments=2, stack=4, strides=(3, 3)).at(0, 3, n_frames=3)
    assert clip.frames[:, 0].tolist() == [0, 2]
    assert clip.fields.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]  # fields 0 and 1 are all there are


def test_one_frame() -> None:
    (clip,) = ClipSpec(segments=3, strides=(5, 15)).spaced(1, 1)
    assert clip.frames[:, 0].tolist() == [0, 0, 0]
    assert np.all(clip.fields == 0)


def test_spaced_clips_reach_from_end_to_end() -> None:
    # 31 frames, 30 fields: the first start is 5 (fields 0-9), the last 25 (fields 20-29)
    clips = ClipSpec(stack=10).spaced(31, 5)
    assert [clip.frames[0, 0] for clip in clips] == [5, 10, 15, 20, 25]
    assert clips[0].fields[0, 0] == 0
    assert clips[-1].fields[0, -1] == 29
    assert ClipSpec(stack=10).spaced(31, 1)[0].frames.tolist() == [[15]]


def test_stride_is_lowered_to_what_fits() -> None:
    # tau = 10 would need 2 * 10 + 10 + 1 = 31 frames; 25 leave room for 7
    (clip,) = ClipSpec(segments=3, strides=(5, 15)).spaced(25, 1)
    assert clip.frames[:, 0].tolist() == [5, 12, 19]
    (whole,) = ClipSpec(segments=3, strides=(5, 15)).spaced(31, 1)
    assert whole.frames[:, 0].tolist() == [5, 15, 25]


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
    assert clip.frames.shape == (segments, 1)
    assert clip.fields.shape == (segments, 10)
    assert clip.frames.min() >= 0
    assert clip.frames.max() < n_frames
    assert clip.fields.min() >= 0
    assert clip.fields.max() <= max(n_frames - 2, 0)
    if n_frames > 10 + least * (segments - 1):  # room enough: nothing is clamped, so no repeats
        assert np.all(np.diff(clip.fields, axis=1) == 1)
        strides = np.diff(clip.frames[:, 0])
        assert np.all((strides >= least) & (strides <= least + more))
    again = spec.random(n_frames, np.random.default_rng(seed))
    np.testing.assert_array_equal(clip.fields, again.fields)


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least 0, and even for a bi-directional stack, got 5"):
        ClipSpec(stack=5, stacking="bi-directional")
    with pytest.raises(ValueError, match=r"stack must be at least 0, .*got -1"):
        ClipSpec(stack=-1)
    with pytest.raises(ValueError, match="plain, trajectory, bi-directional, got 'x'"):
        ClipSpec(stacking="x")
    with pytest.raises(ValueError, match="frames must be one or more"):
        ClipSpec(frames=())
    with pytest.raises(ValueError, match="strides must be"):
        ClipSpec(strides=(4, 2))
    with pytest.raises(ValueError, match="segments must be at least 1"):
        ClipSpec(segments=0)
    with pytest.raises(ValueError, match="n_frames must be at least 1"):
        ClipSpec().at(0, 1, n_frames=0)
    with pytest.raises(ValueError, match="n_clips must be at least 1"):
        ClipSpec().spaced(20, 0)
