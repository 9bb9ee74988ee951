"""Decoding: real files, files that break readers, and the errors that name them."""

import hashlib
import pickle
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from idt.jobs import run
from idt.video import VideoError, content_hash, declared_frames, frames, probe, read

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
    assert info.declared_frames == declared_frames(GOLDEN_CLIP) == 24


def test_frames_do_not_depend_on_the_number_of_threads():
    whole = read(GOLDEN_CLIP)
    for threads in (1, 3):
        np.testing.assert_array_equal(list(frames(GOLDEN_CLIP, threads=threads)), whole)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        next(frames(GOLDEN_CLIP, threads=0))


def test_what_declares_nothing_declares_no_frames(tmp_path):
    path = tmp_path / "clip.avi"
    path.write_bytes(b"not a video")
    assert declared_frames(path) == 0
    with pytest.raises(VideoError, match="no such file"):
        declared_frames(tmp_path / "other.avi")


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


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "clip.avi").write_bytes(GOLDEN_CLIP.read_bytes())
    (tmp_path / "inner.png").mkdir()
    (tmp_path / "._1.png").write_bytes(b"what some systems leave behind")
    for reads in (probe, read, content_hash):
        with pytest.raises(VideoError, match=r"holds no images \(\.bmp, \.jpeg, "):
            reads(tmp_path)


def _write_images(folder, images, *, form="img{}.png"):
    """Write images under rising numbers without leading zeros."""
    for number, image in enumerate(images, 8):
        assert cv2.imwrite(str(folder / form.format(number)), image)


def test_flow_beside_images_is_no_frame(tmp_path):
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 9, 3), 40, np.uint8)
    _write_images(tmp_path, images, form="img_{:05}.png")
    for name in ("flow_x_{:05}.jpg", "FLOW_Y_{:05}.jpg"):
        _write_images(tmp_path, images[:2], form=name)
    np.testing.assert_array_equal(read(tmp_path), images)
    assert declared_frames(tmp_path) == 3


def test_a_folder_of_images_is_the_video_it_came_from(tmp_path):
    video = read(GOLDEN_CLIP, stop=4)
    _write_images(tmp_path, video)  # img8 to img11
    (tmp_path / "notes.txt").write_text("not an image")
    np.testing.assert_array_equal(read(tmp_path), video)
    np.testing.assert_array_equal(read(tmp_path, start=1, stop=3), video[1:3])
    info = probe(tmp_path)
    assert (info.width, info.height, info.fps, info.declared_frames) == (160, 120, 0.0, 4)


@pytest.mark.parametrize(
    "suffix", ["png", "JPG", "jpeg", "bmp", "tif", "tiff", "ppm", "pgm", "webp"]
)
def test_every_image_form_gives_three_channels(tmp_path, suffix):
    grey = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    colours = np.dstack([grey, grey, grey])
    _write_images(tmp_path, [grey if suffix == "pgm" else colours], form="{}." + suffix)
    (frame,) = frames(tmp_path)
    assert frame.shape == (48, 64, 3)
    # lossy forms move a smooth image by a few levels
    np.testing.assert_allclose(frame.astype(int), colours, atol=8)


def test_images_that_cannot_be_used_are_named(tmp_path):
    image = np.zeros((20, 30, 3), np.uint8)
    _write_images(tmp_path, [image, image[:10]])
    decoding = frames(tmp_path)
    next(decoding)
    with pytest.raises(VideoError, match="30x10 pixels, the first image of the folder 30x20") as e:
        next(decoding)
    assert (e.value.path.name, e.value.frame) == ("img9.png", 1)
    whole = (tmp_path / "img8.png").read_bytes()
    for content in (b"", b"text", whole[:30], whole[:60]):
        (tmp_path / "img9.png").write_bytes(content)
        with pytest.raises(VideoError, match=r"img9\.png' at frame 1: ") as e:
            read(tmp_path)
        assert e.value.reason
    assert len(read(tmp_path, stop=1)) == 1


def _png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 0) + b"IDAT"


def test_images_of_absurd_sizes_take_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "1.png"
    for size in ((100_000, 100_000), (2**31 - 1, 3)):
        path.write_bytes(_png_header(*size))
        with pytest.raises(VideoError, match=r"1\.png' at frame 0"):
            next(frames(tmp_path, max_side=100))
    cv2.imwrite(str(path), np.zeros((1, 20_000, 3), np.uint8))
    with pytest.raises(VideoError, match="20000x1 pixels, more than 16384 a side; scale it down"):
        next(frames(tmp_path, max_side=100))


def test_large_frames_are_scaled_down_on_demand(tmp_path):
    image = np.zeros((100, 5000, 3), np.uint8)
    image[:, 2500:] = 200
    _write_images(tmp_path, [image])
    with pytest.raises(VideoError, match=r"5000x100 pixels.*give max_side \(--max-side\)") as e:
        next(frames(tmp_path))
    assert e.value.frame == 0
    (frame,) = read(tmp_path, max_side=50)
    assert frame.shape == (1, 50, 3)
    assert (frame[:, :25] == 0).all()
    assert (frame[:, 25:] == 200).all()
    assert read(tmp_path, max_side=5000).shape == (1, 100, 5000, 3)
    assert (probe(tmp_path, max_side=500).width, probe(tmp_path, max_side=500).height) == (500, 10)


def test_scaling_down_takes_the_mean_of_an_area_and_never_enlarges():
    video = read(GOLDEN_CLIP, stop=2)
    halves = read(GOLDEN_CLIP, stop=2, max_side=80)
    expected = video.reshape(2, 60, 2, 80, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(halves, expected, atol=0.5)  # rounded to a level
    np.testing.assert_array_equal(read(GOLDEN_CLIP, stop=2, max_side=160), video)
    np.testing.assert_array_equal(read(GOLDEN_CLIP, stop=2, max_side=9999), video)
    with pytest.raises(ValueError, match="max_side must be at least 1 pixel, got 0"):
        next(frames(GOLDEN_CLIP, max_side=0))


def test_a_hash_tells_content_and_order(tmp_path):
    copy = tmp_path / "copy.avi"
    copy.write_bytes(GOLDEN_CLIP.read_bytes())
    expected = hashlib.sha256(GOLDEN_CLIP.read_bytes()).hexdigest()
    assert content_hash(GOLDEN_CLIP) == content_hash(copy) == expected
    copy.write_bytes(b"other")
    assert content_hash(copy) != expected
    _write_images(tmp_path, read(GOLDEN_CLIP, stop=3))
    digest = content_hash(tmp_path)
    assert len(digest) == 64
    (tmp_path / "img9.png").rename(tmp_path / "img12.png")
    assert content_hash(tmp_path) != digest
    with pytest.raises(VideoError, match="no such file"):
        content_hash(tmp_path / "none.avi")


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
