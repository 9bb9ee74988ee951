"""What goes into an extraction: ranges, scaled frames, boxes, and what is told of a file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from idt.camera import HumanBoxes, allowed_mask
from idt.extract import Extraction, ExtractOptions, extract, load_kernels
from idt.extract import extraction as extraction_module
from idt.extract.source import Shrinkage
from idt.video import VideoError, frames, read, shrink

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
NOBODY = np.zeros((0, 5), np.float32)


def boxes_of(n_frames, box=NOBODY):
    return HumanBoxes(Path("boxes.txt"), (box,) * n_frames)


def test_boxes_shrink_with_their_pixels():
    # Four pixels become one: pixels 4 to 11 become 1 and 2, by their outer edges.
    boxes = np.float32([[4, 8, 11, 19, 0.7]])
    shrunk = Shrinkage(0.25, 0.25).boxes(boxes)
    np.testing.assert_allclose(shrunk, [[0.625, 1.625, 2.375, 4.375, 0.7]], rtol=1e-6)
    whole, small = allowed_mask(boxes, 24, 16), allowed_mask(shrunk, 6, 4)
    np.testing.assert_array_equal(small, whole[::4, ::4])
    np.testing.assert_array_equal(Shrinkage().boxes(boxes), boxes)


def test_homographies_shrink_with_their_pixels():
    shrinkage = Shrinkage(0.5, 0.25)
    shift = np.array([[1, 0, 6], [0, 1, -8], [0, 0, 1]], np.float64)
    expected = [[1, 0, 3], [0, 1, -2], [0, 0, 1]]
    np.testing.assert_allclose(shrinkage.homography(shift), expected, atol=1e-12)
    # Twice as large about the frame's corner, which is half a pixel before the first centre.
    zoom = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    np.testing.assert_allclose(shrinkage.homography(zoom), zoom, atol=1e-12)
    np.testing.assert_array_equal(Shrinkage().homography(zoom), zoom)


def test_known_camera_motion_counts_in_the_videos_pixels():
    """The same camera, known at full resolution and at half of it, gives the same tracks."""
    arrays = np.load(CLIP.with_suffix(".homography.npz"))
    known = dict(zip(arrays["frame"].tolist(), arrays["H"], strict=True))
    halves = [shrink(frame, 80) for frame in frames(CLIP)]
    shrinkage = Shrinkage(0.5, 0.5)
    options = ExtractOptions(descriptors=("trajectory",))
    expected = extract(
        halves,
        homographies={index: shrinkage.homography(h) for index, h in known.items()},
        options=options,
    )
    scaled = Extraction(CLIP, homographies=known, max_side=80, options=options).table()
    assert len(scaled) > 50
    np.testing.assert_array_equal(scaled.meta, expected.meta)
    assert (scaled.info["video"]["width"], scaled.info["settings"]["max_side"]) == (80, 80)
    # Taken as it is, the camera would be twice as fast as the scene, and nothing at rest.
    unscaled = extract(halves, homographies=known, options=options)
    assert len(unscaled) > 1.5 * len(scaled)


def test_boxes_count_in_the_videos_pixels():
    box = np.float32([[40, 30, 119, 89, 1]])
    for step in Extraction(CLIP, boxes=boxes_of(3, box), max_side=80, stop=3).steps():
        np.testing.assert_allclose(step.boxes, [[19.75, 14.75, 59.25, 44.25, 1]])
        points = step.pair.camera.previous_points
        assert len(points) > 25
        inside = (np.abs(points - [39.5, 29.5]) < [19, 14]).all(axis=1)
        assert not inside.any()


def test_arrays_are_scaled_down_as_files_are():
    scaled = Extraction(CLIP, max_side=80, stop=18).table()
    given = Extraction(read(CLIP), max_side=80, stop=18).table()
    np.testing.assert_array_equal(given.meta, scaled.meta)


@pytest.mark.parametrize("start", [24, 100])
def test_a_start_past_the_end_says_so(start):
    message = f"it ends after 24 frames, before start = {start}; start earlier"
    with pytest.raises(VideoError, match=message) as caught:
        Extraction(CLIP, start=start).table()
    assert caught.value.path == CLIP
    with pytest.raises(VideoError, match=f"'frames': {message}"):
        Extraction(read(CLIP), start=start, stop=start + 5).table()


def test_ranges_that_cannot_be_are_refused_at_once():
    with pytest.raises(ValueError, match="0 <= start <= stop, got -1 and None"):
        Extraction(CLIP, start=-1)
    with pytest.raises(ValueError, match="stop must be above start = 4, got 4"):
        Extraction(CLIP, start=4, stop=4)
    with pytest.raises(ValueError, match="max_side must be at least 1 pixel, got 0"):
        Extraction(read(CLIP, stop=2), max_side=0)


def test_errors_name_the_path_as_it_was_given():
    with pytest.raises(VideoError, match="fewer than 16 a side") as caught:
        Extraction(CLIP, max_side=12, name="other").table()
    assert caught.value.path == CLIP


def test_arrays_that_change_their_size_are_refused():
    video = [*read(CLIP, stop=3), np.zeros((60, 80, 3), np.uint8)]
    message = r"at frame 3: the size changes from 160x120 to 80x60 pixels; give frames of one size"
    with pytest.raises(VideoError, match=message):
        extract(video)


@pytest.mark.parametrize(
    ("n_lines", "stop", "message"),
    [
        (25, None, "got line 25"),
        (25, 30, "got line 25"),  # the video ends before `stop` and tells how many lines there are
        (23, 30, "got the last at line 23"),
        (25, 24, None),  # whether the video goes on is not known
    ],
)
def test_boxes_must_fit_the_video(n_lines, stop, message):
    options = ExtractOptions.preset("fast", descriptors=("trajectory",))
    extraction = Extraction(CLIP, boxes=boxes_of(n_lines), stop=stop, options=options)
    if message is None:
        extraction.table()
    else:
        with pytest.raises(ValueError, match=message):
            extraction.table()


def test_a_file_is_hashed_and_its_frames_are_asked_for_once(monkeypatch):
    calls = []
    for name in ("content_hash", "declared_frames"):
        function = getattr(extraction_module, name)
        monkeypatch.setattr(
            extraction_module,
            name,
            lambda *given, function=function, **options: (
                calls.append(function.__name__) or function(*given, **options)
            ),
        )
    extraction = Extraction(CLIP, stop=4)
    extraction.table()
    assert extraction.info() == extraction.info()
    assert sorted(calls) == ["content_hash", "declared_frames"]


def test_steps_are_told_beforehand(tmp_path, monkeypatch):
    told = []

    def progress(iterable, *, total, **_):
        told.append(total)
        return iterable

    monkeypatch.setattr(extraction_module, "progress", progress)
    for start, stop, expected in ((0, None, 23), (3, 10, 6), (20, 40, 3), (0, 1, 0)):
        extraction = Extraction(CLIP, start=start, stop=stop)
        assert extraction.expected_steps == expected
        assert sum(1 for _ in extraction.steps()) == expected
    extraction.save(tmp_path / "pan.h5", verbose=True)
    assert told == [0]
    assert Extraction(read(CLIP, stop=2)).expected_steps is None


def test_counts_that_differ_are_noted(monkeypatch):
    monkeypatch.setattr(extraction_module, "declared_frames", lambda _: 30)
    short = Extraction(CLIP, start=12)
    short.table()
    assert short.info()["notes"] == [
        "the file declares 18 frames, 12 were decoded",
        "no trajectories: a track takes 16 frames, got 12",
    ]
    within = Extraction(CLIP, stop=20)
    within.table()
    assert within.info()["notes"] == []


@pytest.mark.parametrize(
    "options",
    [
        ExtractOptions(n_time_cells=1, patch_size=16, interval=4, detect_people=True),
        ExtractOptions(track_length=5, n_time_cells=5, n_cells=1, stride=9, first_scale=2),
        ExtractOptions.preset("codec"),
        ExtractOptions.preset("codec", stabilise="subtract", patch_size=16),
    ],
    ids=["small", "coarse", "codec", "codec subtract"],
)
def test_kernels_are_loaded_for_any_settings(options):
    load_kernels(options, as_text=True)


LOADED = """
import gc, sys
from numba.core.dispatcher import Dispatcher
from idt.extract import Extraction, ExtractOptions, load_kernels

def loaded():
    return {
        (kernel.py_func.__module__, kernel.__name__, signature)
        for kernel in gc.get_objects()
        if isinstance(kernel, Dispatcher)
        for signature in kernel.signatures
    }

clip, output, preset = sys.argv[1:]
options = ExtractOptions.preset(preset)
load_kernels(options, as_text=True)
before = loaded()
Extraction(clip, options=options, stop=18).save(output)
print(len(before), *sorted(loaded() - before, key=str))
"""


@pytest.mark.parametrize("preset", ["parity", "fast"])
def test_an_extraction_finds_every_kernel_loaded(preset, tmp_path):
    command = [sys.executable, "-c", LOADED, str(CLIP), str(tmp_path / "pan.txt"), preset]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(said[0]) > 10
    assert said[1:] == []
