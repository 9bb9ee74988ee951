"""Decoding: real files, files that break readers, and the errors that name them."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from idt.jobs import run
from idt.video import VideoError, frames, probe, read

GOLDEN_CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"


def _shapes(path):
    return {frame.shape for frame in frames(path)}


def test_a_clip_decodes_to_bgr_frames_of_one_size():
    video = read(GOLDEN_CLIP)
    assert video.shape == (24, 120, 160, 3)
    assert video.dtype == np.uint8


def test_a_range_of_frames_is_the_slice_of_the_whole():
    whole = read(GOLDEN_CLIP)
    np.testing.assert_array_equal(read(GOLDEN_CLIP, start=3, stop=9), whole[3:9])


def test_yielded_frames_do_not_share_memory():
    first, second = (frame for _, frame in zip(range(2), frames(GOLDEN_CLIP), strict=False))
    assert not np.shares_memory(first, second)


def test_probe_tells_size_rate_and_declared_frames():
    info = probe(GOLDEN_CLIP)
    assert (info.width, info.height) == (160, 120)
    assert info.fps > 0
    assert info.declared_frames == 24


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no such file"), (b"", "empty"), (b"not a video", "decod")]
)
def test_what_is_no_video_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "clip ünicode & space.avi"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=reason) as caught:
        next(frames(path))
    assert caught.value.path == path
    assert str(path) in str(caught.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(VideoError, match="not a file"):
        next(frames(tmp_path))


def test_a_wrong_range_is_refused():
    with pytest.raises(ValueError, match="start and stop must be"):
        next(frames(GOLDEN_CLIP, start=5, stop=2))
    with pytest.raises(VideoError, match="no frame in the range"):
        read(GOLDEN_CLIP, start=100)


def test_the_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(VideoError("a.avi", "broken", frame=7)))
    assert (error.path, error.reason, error.frame) == (Path("a.avi"), "broken", 7)
    assert str(error) == "cannot read video 'a.avi' at frame 7: broken"


def test_odd_files_give_frames_of_one_size_or_a_clear_error(shared):
    files = sorted(path for path in (shared / "data" / "odd").rglob("*") if path.is_file())
    assert len(files) == 57
    readable = []
    outcomes = run(_shapes, files, label="decoding")
    for path, outcome in zip(files, outcomes, strict=True):
        if outcome.error is None:
            assert len(outcome.value) == 1
            readable.append(path.name)
        else:
            assert isinstance(outcome.error, VideoError)
            assert outcome.error.path == path
            assert outcome.error.reason
    assert "torchcodec_av1_video.mkv" in readable
    assert "name with spaces & ünïcode.mp4" in readable
    assert not {"zero_bytes.avi", "text.avi", "audio_only.mp4", "random_bytes.mp4"} & set(readable)
