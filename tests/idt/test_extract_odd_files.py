"""Files that break readers: a whole table with notes on what was odd, or one error of the file."""

import av
import numpy as np
import pytest

from idt.extract import Extraction, ExtractOptions
from idt.video import VideoError, frames_with_vectors, read

N_FRAMES = 40
MAX_SIDE = 128  # pixels
N_FILES = 57
SIZES = ((64, 48), (96, 64))  # width and height in pixels
PART = 6  # frames of each


def outcome(path, **options):
    """What became of a file: its table's info and rows, or its error."""
    extraction = Extraction(path, stop=N_FRAMES, **options)
    try:
        table = extraction.table()
    except VideoError as error:
        return error
    for values in (table.meta, *table.descriptors.values()):
        assert np.isfinite(values).all()
    return table


def refusals(outcomes, paths):
    """Errors by file name; each names its file and takes one line."""
    errors = {name: got for name, got in outcomes.items() if isinstance(got, VideoError)}
    for path in paths:
        if path.name in errors:
            assert errors[path.name].path == path
            assert errors[path.name].reason
            assert "\n" not in str(errors[path.name])
    return errors


@pytest.fixture(scope="module")
def odd_files(shared):
    files = sorted(path for path in (shared / "data" / "odd").rglob("*") if path.is_file())
    assert len(files) == N_FILES
    return files


def test_every_odd_file_gives_a_table_or_an_error(odd_files):
    outcomes = {path.name: outcome(path, max_side=MAX_SIDE) for path in odd_files}
    refused = refusals(outcomes, odd_files).keys()
    assert refused == {
        "audio_only.mp4",
        "header_only.avi",
        "random_bytes.mp4",
        "text.avi",
        "truncated_no_moov.mp4",
        "zero_bytes.avi",
        "torchcodec_frame_exceeds_screen.gif",  # 4 x 4 pixels
        "torchcodec_nasa_13013.mp4.audio.mp3",
        "torchcodec_sine_mono_u8.wav",
    }
    notes = {name: got.info["notes"] for name, got in outcomes.items() if name not in refused}
    for name, lines in notes.items():
        n_frames = outcomes[name].info["video"]["n_frames"]
        short = f"no trajectories: a track takes 16 frames, got {n_frames}"
        assert (short in lines) == (n_frames <= 15), name
        assert not (short in lines and len(outcomes[name])), name
    for name, declared, n_frames in (
        ("decord_corrupted.mp4", 40, 28),
        ("torchcodec_discard_first_keyframe.mp4", 30, 25),
    ):
        assert f"the file declares {declared} frames, {n_frames} were decoded" in notes[name]
    assert len(outcomes["ok_h264.mp4"]) > 100
    for still in ("constant_black.mp4", "static_scene.mp4"):
        assert len(outcomes[still]) == 0


def test_motion_vectors_of_every_odd_file_give_a_table_or_an_error(odd_files):
    options = ExtractOptions.preset("codec", stabilise="subtract")
    outcomes = {path.name: outcome(path, options=options) for path in odd_files}
    refused = refusals(outcomes, odd_files)
    assert len(outcomes["ok_h264.mp4"]) > 100
    for name in (
        "gray_ffv1.mkv",
        "rotate90_meta.mp4",
        "torchcodec_h265_video.mp4",
        "torchcodec_testsrc2_odd_width_vp9_10bit.mp4",
        "opencv_tree.avi",
    ):
        assert "use another flow (--flow farneback)" in refused[name].reason
    assert len(refused) < N_FILES / 2


def write_sizes(path):
    """Write a stream whose frames change their size."""
    parts = []
    for k, (width, height) in enumerate(SIZES):
        part = path.with_name(f"{k}{path.suffix}")
        with av.open(str(part), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            texture = np.random.default_rng(k).integers(0, 256, (height, width + 2 * PART))
            for t in range(PART):
                grey = texture[:, 2 * t : 2 * t + width].astype(np.uint8)
                image = np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
            container.mux(stream.encode())
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))


@pytest.mark.parametrize("suffix", [".h264", ".ts"])
@pytest.mark.parametrize("preset", ["parity", "codec"])
def test_a_size_that_changes_in_mid_stream_is_named_with_its_frame(suffix, preset, tmp_path):
    path = tmp_path / f"sizes{suffix}"
    write_sizes(path)
    message = "at frame 6: the size changes from 64x48 to 96x64 pixels; re-encode it at one size"
    with pytest.raises(VideoError, match=message) as caught:
        Extraction(path, options=ExtractOptions.preset(preset)).table()
    assert (caught.value.path, caught.value.frame) == (path, PART)
    # The frames before can be used.
    assert (
        Extraction(path, options=ExtractOptions.preset(preset), stop=PART)
        .table()
        .info["video"]["n_frames"]
        == PART
    )


def test_metadata_in_other_alphabets_does_no_harm(tmp_path):
    """PyAV takes it for UTF-8, unless it is told not to."""
    path = tmp_path / "clip.avi"
    texture = np.random.default_rng(0).integers(0, 256, (48, 70, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "caf\u00e9 clip"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for t in range(3):
            image = np.ascontiguousarray(texture[:, t : t + 64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert "caf\u00e9 clip".encode() in content
    path.write_bytes(content.replace("caf\u00e9 clip".encode(), b"caf\xe9\xe8 clip"))
    assert len(read(path)) == len(list(frames_with_vectors(path))) == 3
