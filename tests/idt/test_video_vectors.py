"""Frames with the codec's motion vectors: a rendered pan through several encoders, real clips."""

from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from idt.flow.codec import codec_flow
from idt.pyramid import to_grey
from idt.video import VideoError, frames, frames_with_vectors

PAN = (3, -1)  # pixels per frame
N_FRAMES = 16
SIZE = (176, 240)
ENCODERS = {  # file name: encoder, options
    "p.avi": ("mpeg4", {"bf": "0"}),
    "bbp.avi": ("mpeg4", {"bf": "2"}),
    "bbp.mpg": ("mpeg2video", {"bf": "2"}),
    "p.mp4": ("libx264", {"bf": "0"}),
    "bbbp.mp4": ("libx264", {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=none"}),
    "pyramid.mp4": ("libx264", {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal"}),
    "pyramid.avi": ("libx264", {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal"}),
}


def _texture(n_rows, n_columns):
    rng = np.random.default_rng(0)
    total = np.zeros((n_rows, n_columns), np.float32)
    for cell in (3, 6, 12, 24):
        noise = rng.normal(size=(n_rows // cell + 2, n_columns // cell + 2)).astype(np.float32)
        size = (n_columns, n_rows)
        total += cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC) * np.sqrt(cell)
    return np.clip(128 + 40 * total / total.std(), 16, 235).astype(np.uint8)


def _render(path, encoder, options, n_frames=N_FRAMES, pixels="yuv420p"):
    """Write a texture that moves by `PAN`."""
    n_rows, n_columns = SIZE
    texture = _texture(n_rows + 60, n_columns + 60)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = n_rows, n_columns, pixels
        for t in range(n_frames):
            x, y = 55 - PAN[0] * t, 5 - PAN[1] * t
            grey = texture[y : y + n_rows, x : x + n_columns]
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), "bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _flows(path):
    flow = None
    for frame in frames_with_vectors(path):
        height, width = frame.grey.shape
        flow = codec_flow(
            frame.vectors, height, width, past=frame.past, future=frame.future, before=flow
        )
        yield frame, flow


@pytest.mark.parametrize("name", ENCODERS)
def test_a_pan_comes_out_of_every_encoder(tmp_path, name):
    path = _render(tmp_path / name, *ENCODERS[name])
    pictures, medians = "", []
    for frame, flow in _flows(path):
        pictures += frame.picture
        medians.append(np.median(flow, axis=(1, 2)))
    assert len(pictures) == N_FRAMES
    assert pictures[0] == "I"
    assert ("B" in pictures) == ("b" in name or "pyramid" in name)
    np.testing.assert_array_equal(medians[0], [0, 0])
    np.testing.assert_allclose(medians[1:], [PAN] * (N_FRAMES - 1), atol=0.5)


def test_references_are_the_nearest_decoded_before(tmp_path):
    # In the order of display: I B b B P, of which the b in the middle is a reference itself.
    path = _render(tmp_path / "pyramid.mp4", *ENCODERS["pyramid.mp4"], n_frames=5)
    got = [(frame.picture, frame.past, frame.future) for frame in frames_with_vectors(path)]
    assert got == [("I", 0, 0), ("B", 1, 1), ("B", 2, 2), ("B", 1, 1), ("P", 4, 0)]
    # Here no B picture is one.
    path = _render(tmp_path / "bbbp.mp4", *ENCODERS["bbbp.mp4"], n_frames=5)
    got = [(frame.picture, frame.past, frame.future) for frame in frames_with_vectors(path)]
    assert got == [("I", 0, 0), ("B", 1, 3), ("B", 2, 2), ("B", 3, 1), ("P", 4, 0)]


def test_mute_b_pictures_get_the_next_references_vectors(tmp_path):
    # FFmpeg hands out the very last picture without its vectors.
    path = _render(tmp_path / "bbp.avi", *ENCODERS["bbp.avi"], n_frames=7)
    first, *others = list(frames_with_vectors(path))[:4]
    assert [frame.picture for frame in others] == ["B", "B", "P"]
    assert len(first.vectors) == 0
    for frame in others:
        assert (frame.past, frame.future) == (3, 0)
        np.testing.assert_array_equal(frame.vectors, others[-1].vectors)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuvj420p", "gray", "yuv420p10le"])
def test_grey_levels_are_those_of_the_frames(tmp_path, pixels):
    path = _render(tmp_path / "clip.mp4", "libx264", {"bf": "0"}, n_frames=3, pixels=pixels)
    for frame, image in zip(frames_with_vectors(path), frames(path), strict=True):
        assert frame.grey.dtype == np.uint8
        difference = frame.grey.astype(int) - to_grey(image)
        # OpenCV's conversion to BGR truncates, by about a level.
        assert np.abs(difference).mean() < 1.5
        assert np.abs(difference).max() <= 4


@pytest.mark.parametrize(
    ("name", "encoder", "pixels"),
    [("clip.mkv", "ffv1", "yuv420p"), ("clip.avi", "mjpeg", "yuvj420p")],
)
def test_codecs_of_single_pictures_are_refused(tmp_path, name, encoder, pixels):
    path = _render(tmp_path / name, encoder, {}, n_frames=3, pixels=pixels)
    with pytest.raises(VideoError, match=rf"{name}.*{encoder}, gives no .*--flow farneback"):
        list(frames_with_vectors(path))


def test_files_of_i_pictures_are_refused_before_they_end(tmp_path):
    path = _render(tmp_path / "clip.mp4", "libx264", {"g": "1"}, n_frames=17)
    stream = frames_with_vectors(path)
    for _ in range(15):
        next(stream)
    with pytest.raises(VideoError, match="h264, gives no motion vectors"):
        next(stream)


def test_a_single_frame_needs_no_vectors(tmp_path):
    path = _render(tmp_path / "clip.mp4", "libx264", {}, n_frames=1)
    assert [frame.picture for frame in frames_with_vectors(path)] == ["I"]


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        list(frames_with_vectors(tmp_path / "nowhere.mp4"))
    with pytest.raises(VideoError, match="a folder has no motion vectors"):
        list(frames_with_vectors(tmp_path))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="no decoder can read it"):
        list(frames_with_vectors(tmp_path / "text.mp4"))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("derived", "truncated_faststart.mp4"),
        ("real", "decord_corrupted.mp4"),
        ("derived", "vfr.mp4"),
    ],
)
def test_odd_files_give_as_many_frames_as_without_vectors(shared, folder, name):
    path = shared / "data" / "odd" / folder / name
    assert sum(1 for _ in frames_with_vectors(path)) == sum(1 for _ in frames(path))


def test_turned_videos_are_refused(shared):
    path = shared / "data" / "odd" / "derived" / "rotate90_meta.mp4"
    with pytest.raises(VideoError, match="its header turns the frames"):
        list(frames_with_vectors(path))


@pytest.mark.parametrize("clip", ["hug/set1_27_5_1.avi", "push/set2_16_13_5.avi"])
def test_real_clips_have_vectors(shared, clip):
    # MPEG-4 of P and B pictures; the second clip's camera shakes.
    path = shared / "data" / "ut_interaction" / clip
    decoded = list(_flows(path))
    assert len(decoded) == sum(1 for _ in frames(path))
    assert {frame.picture for frame, _ in decoded} == {"I", "P", "B"}
    for (before, _), (frame, flow) in pairwise(decoded[4:25]):
        dense = cv2.calcOpticalFlowFarneback(
            before.grey, frame.grey, np.empty(0, np.float32), 0.5, 5, 15, 3, 7, 1.5, 0
        )
        expected = np.median(dense.reshape(-1, 2), axis=0)
        # Half-pixel vectors of the nearest reference, three frames apart.
        np.testing.assert_allclose(np.median(flow, axis=(1, 2)), expected, atol=1)
