"""Pictures of an extraction: marks by hand, files whole or not at all, the command."""

import dataclasses
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from idt import show
from idt.camera import CameraMotion, HumanBoxes
from idt.cli import app
from idt.extract import Extraction, ExtractOptions, Step
from idt.extract.level import Level
from idt.extract.motion import Pair
from idt.extract.stages import Stages
from idt.pyramid import Scale
from idt.video import read

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
PLAIN = ExtractOptions(descriptors=("trajectory",), stabilise="none")
WIDTH, HEIGHT = 640, 400  # pixels, not enlarged
BEHIND = (60, 60, 60)  # 0.6 of the frame's 100

# Tracks of four steps to the right, 8 pixels each: from where, and the largest free step.
MOVING = (100, 50), 3.0
RESTING = (100, 90), 0.5


def step_by_hand(*, age=4, camera=None, boxes=None, factor=1.0, options=PLAIN):
    level = Level(Scale(factor, round(WIDTH / factor), round(HEIGHT / factor)), options, Stages())
    tracks = level.tracks
    for place, moved in (MOVING, RESTING):
        (slot,) = tracks.start(np.array([place], np.float32) / np.float32(factor))
        path = np.array(place) + np.arange(age + 1)[:, None] * (8, 0)
        tracks.points[slot, : age + 1] = path / factor
        tracks.moved[slot], tracks.age[slot] = moved, age
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    return Step(7, image, boxes, Pair([], [], [], camera), [level], [])


def camera_by_hand():
    points = np.float32([[300, 20], [320, 30], [340, 40]])
    return CameraMotion(
        np.eye(3), 2, 3, 0, points - 1, points, inliers=np.array([True, False, True])
    )


def has(picture, x, y, colour):
    """Whether a pixel has a colour, up to what smooth edges take from it."""
    return np.abs(picture[y, x].astype(int) - colour).max() <= 25


def test_every_mark_has_its_colour_and_place():
    boxes = np.float32([[400, 100, 500, 200, 0.9]])
    picture = show.draw(step_by_hand(camera=camera_by_hand(), boxes=boxes))
    assert has(picture, 132, 50, show.HEAD)
    assert has(picture, 104, 50, show.YOUNG)
    for x, y, colour in (
        (104, 90, show.CAMERA),
        (128, 90, show.CAMERA),
        (300, 20, show.INLIER),
        (320, 30, show.OUTLIER),
        (340, 40, show.INLIER),
        (400, 150, show.BOX),
        (450, 200, show.BOX),
        (450, 150, BEHIND),
        (10, 10, BEHIND),
    ):
        assert has(picture, x, y, colour), (x, y)


def test_tracks_turn_yellow_with_age():
    picture = show.draw(step_by_hand(age=14))
    parts = picture[50, 104 : 104 + 8 * 13 : 8].astype(int)
    assert has(picture, 104, 50, show.YOUNG)
    assert (np.diff(parts[:, 1:], axis=0) > 0).all()  # green and red
    assert has(picture, 200, 50, (6, 240, 219))  # of fourteen steps the thirteenth


def test_young_tracks_are_not_yet_told_to_be_the_cameras():
    picture = show.draw(step_by_hand(age=2))
    assert has(picture, 104, 50, show.YOUNG)
    assert has(picture, 104, 90, BEHIND)


def test_coarser_scales_are_drawn_in_the_frames_pixels():
    picture = show.draw(step_by_hand(factor=2.0))
    assert has(picture, 132, 50, show.HEAD)


def test_trajectories_that_end_are_drawn_a_last_time():
    steps = Extraction(CLIP, options=ExtractOptions(), stop=17).steps()
    step = next(step for step in steps if step.blocks)
    ended = step.blocks[0].points
    picture = show.draw(step)
    x, y = np.rint((ended[:, -1] + 0.5) * 4 - 0.5).astype(int).T
    assert step.index == 15
    assert (picture[y, x] == show.HEAD).all(axis=1).mean() > 0.9


def test_grey_frames_are_drawn_as_coloured_ones_of_no_colour():
    step = step_by_hand()
    np.testing.assert_array_equal(
        show.draw(dataclasses.replace(step, image=step.image[:, :, 0])), show.draw(step)
    )


def test_boxes_are_drawn_where_the_scaled_frame_has_them(tmp_path):
    boxes = HumanBoxes(tmp_path / "boxes.txt", (np.float32([[40, 30, 120, 90, 1]]),) * 2)
    plain, boxed = (
        show.draw(next(Extraction(CLIP, options=PLAIN, stop=2, max_side=80, boxes=each).steps()))
        for each in (None, boxes)
    )
    assert boxed.shape == (60 * 8 + 22, 640, 3)
    changed = np.argwhere((boxed != plain).any(axis=2))
    # Eight pixels of the picture for one of the scaled frame are four for one of the video.
    np.testing.assert_allclose(changed.min(axis=0), [4 * 30, 4 * 40], atol=3)
    np.testing.assert_allclose(changed.max(axis=0), [4 * 90, 4 * 120], atol=3)


def test_people_that_are_found_are_drawn(monkeypatch):
    found = np.float32([[40, 30, 120, 90, 1]])
    monkeypatch.setattr("idt.extract.motion.detect_people", lambda image: found)
    options = ExtractOptions(detect_people=True, descriptors=("trajectory",))
    step = next(Extraction(CLIP, stop=2, options=options).steps())
    np.testing.assert_array_equal(step.boxes, found)
    without = show.draw(dataclasses.replace(step, boxes=None))
    changed = np.argwhere((show.draw(step) != without).any(axis=2))
    np.testing.assert_allclose(changed.max(axis=0), [4 * 90, 4 * 120], atol=3)


def test_a_scale_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="scale must be from 0 to 0, got 1; 0 is the finest"):
        show.draw(step_by_hand(), scale=1)


@pytest.mark.parametrize(
    ("shape", "least", "expected"),
    [
        ((120, 160), 640, (480 + 22, 640)),  # enlarged four times
        ((480, 641), 640, (480 + 22, 642)),  # made even
        ((160, 90), 320, (320 + 44, 180)),  # the legend needs a second row
    ],
)
def test_pictures_are_large_enough_and_even(shape, least, expected, monkeypatch):
    monkeypatch.setattr(show, "LEAST_SIDE", least)
    monkeypatch.setattr(show, "TEXT_SCALE", 0.42 * least / 640)
    step = step_by_hand()
    image = np.zeros((*shape, 3), np.uint8)
    picture = show.draw(Step(7, image, None, step.pair, step.levels, []))
    assert picture.shape == (*expected, 3)
    more = Step(98765, image, None, step.pair, step.levels, [])
    assert show.draw(more).shape == picture.shape


def test_the_legend_tells_still_tracks_from_the_cameras():
    plain = show.draw(step_by_hand())[HEIGHT:]
    stabilised = show.draw(step_by_hand(options=ExtractOptions()))[HEIGHT:]
    assert plain.any()
    assert (plain != stabilised).any()


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        images = [frame.to_ndarray(format="bgr24") for frame in container.decode(stream)]
        return images, float(stream.average_rate), stream.codec_context.pix_fmt


def test_a_video_has_the_frames_from_the_second_on(tmp_path):
    path = tmp_path / "pan.mp4"
    assert show.save_video(Extraction(CLIP, stop=6), path, fps=12.5) == 5
    images, rate, pixels = decoded(path)
    assert [image.shape for image in images] == [(502, 640, 3)] * 5
    assert (rate, pixels) == (12.5, "yuv420p")
    picture = tmp_path / "pan.png"
    show.save_picture(Extraction(CLIP, stop=6), picture, frame=5)
    difference = images[-1].astype(int) - cv2.imread(str(picture))
    assert np.abs(difference).mean() < 12  # colours at half the resolution, and H.264's loss


@pytest.mark.parametrize("fps", [0.0, 1e5])
def test_a_rate_that_cannot_be_is_replaced(fps, tmp_path):
    show.save_video(Extraction(CLIP, stop=2), tmp_path / "pan.mp4", fps=fps)
    assert decoded(tmp_path / "pan.mp4")[1] == 25


def test_frames_of_odd_sides_make_a_video(tmp_path, monkeypatch):
    monkeypatch.setattr(show, "LEAST_SIDE", 1)
    frames = read(CLIP, stop=3)[:, :61, :103]
    show.save_video(Extraction(frames), tmp_path / "odd.mp4")
    images = decoded(tmp_path / "odd.mp4")[0]
    assert len(images) == 2
    assert images[0].shape[1] == 104


@pytest.mark.parametrize("name", ["pan.mp4", "pan.png"])
def test_a_failure_leaves_what_was_there(name, tmp_path, monkeypatch):
    def fail(step, **_):
        if step.index == 3:
            raise OSError("no more pictures")
        return drawn(step)

    drawn = show.draw
    monkeypatch.setattr(show, "draw", fail)
    path = tmp_path / name
    path.write_bytes(b"older")
    options = {"frame": 3} if path.suffix == ".png" else {}
    save = show.save_picture if options else show.save_video
    with pytest.raises(OSError, match="no more pictures"):
        save(Extraction(CLIP, stop=5), path, **options)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert path.read_bytes() == b"older"


def run(*arguments):
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


def test_the_command_writes_a_video_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(CLIP, "-S", 3, "-E", 6)
    assert result.exit_code == 0, result.output
    assert "synthetic_pan_tracks.mp4: 3 frames, from frame 4 on" in result.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["synthetic_pan_tracks.mp4"]
    assert len(decoded("synthetic_pan_tracks.mp4")[0]) == 3


@pytest.mark.parametrize(
    ("arguments", "frame"),
    [(("-E", 8), 4), (("-S", 2, "-E", 8), 5), (("--frame", 2), 2), (("-E", 8, "--frame", 8), 8)],
)
def test_the_command_draws_the_middle_frame_or_a_chosen_one(arguments, frame, tmp_path):
    output = tmp_path / "pan.PNG"
    result = run(CLIP, "-o", output, *arguments)
    assert result.exit_code == 0, result.output
    assert f"pan.PNG: frame {frame}" in result.output
    assert cv2.imread(str(output)).shape == (502, 640, 3)


def test_options_reach_the_pass(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        show, "save_picture", lambda *given, **options: calls.append((given, options))
    )
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("0 10 20 30 40 0.9\n1\n")
    arguments = ["--preset", "fast", "--stabilise", "rewarp", "--features", "orb", "--flow"]
    arguments += ["farneback", "--first-scale", 2, "--scale", 1, "-H", boxes, "--max-side", 80]
    arguments += ["--homography", CLIP.with_suffix(".homography.npz"), "--threads", 3, "-q"]
    result = run(CLIP, "-o", tmp_path / "pan.jpg", "--frame", 9, *arguments)
    assert result.exit_code == 0, result.output
    assert result.output == ""
    (((extraction, path), options),) = calls
    assert extraction.options == ExtractOptions(
        descriptors=("trajectory",), features="orb", first_scale=2
    )
    assert (extraction.start, extraction.stop, extraction.threads) == (0, 10, 3)
    assert (extraction.max_side, len(extraction.homographies), len(extraction.boxes)) == (80, 23, 2)
    assert (path, options) == (
        tmp_path / "pan.jpg",
        {"frame": 9, "scale": 1, "verbose": False},
    )


def test_people_are_looked_for_on_demand(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(show, "save_picture", lambda extraction, *_, **__: calls.append(extraction))
    result = run(CLIP, "-o", tmp_path / "pan.jpg", "--frame", 2, "--detect-people")
    assert result.exit_code == 0, result.output
    assert calls[0].options == ExtractOptions(descriptors=("trajectory",), detect_people=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.avi"], "no such file"),
        (["missing.avi", "-o", "out.png"], "no such file"),
        ([CLIP, "-o", "out.avi"], "must end in .mp4 for a video or .png, .jpg, .jpeg for a pict"),
        ([CLIP, "-o", "nowhere/out.png"], "no folder"),
        ([CLIP, "--frame", "3"], "frame must be given with a picture, got 3"),
        ([CLIP, "-o", "out.png", "--frame", "0"], "frame must be above start = 0, got 0"),
        ([CLIP, "-o", "out.png", "--frame", "9", "-E", "8"], "at most end = 8, got 9"),
        ([CLIP, "-o", "out.png", "--frame", "24"], "frame must be from 1 to 23, got 24"),
        ([CLIP, "-S", "24"], "ends after 24 frames, before start = 24"),
        ([CLIP, "-E", "0"], "must have 2 frames or more from frame 0 on, got 1"),
        ([CLIP, "-o", "out.png", "-E", "0"], "must have 2 frames or more from frame 0 on, got 1"),
        ([CLIP, "-E", "3", "--scale", "9"], "scale must be from 0 to 3, got 9"),
        ([CLIP, "--preset", "slow"], "preset must be one of"),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, (ValueError, OSError))
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_video_itself_is_never_replaced(tmp_path):
    video = tmp_path / "pan.mp4"
    video.write_bytes(CLIP.read_bytes())
    result = run(video, "-o", tmp_path / "." / "pan.mp4")
    assert "output must be another file than the video" in str(result.exception)
    assert video.read_bytes() == CLIP.read_bytes()
