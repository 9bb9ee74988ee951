"""The commands ``trajfuse idt extract`` and ``trajfuse idt compare``."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from idt.cli import app
from idt.extract import PRESETS, Extraction, ExtractOptions
from idt.trajectories import Trajectories, agreement

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
GOLDEN = CLIP.with_suffix(".trajectories.npz")
HOMOGRAPHY = CLIP.with_suffix(".homography.npz")

# Names of an option, what is given, and what it makes of which setting.
OPTIONS = [
    (("-L", "--length"), "10", "track_length", 10),
    (("-W", "--stride"), "8", "stride", 8),
    (("-N", "--patch"), "16", "patch_size", 16),
    (("-s", "--cells"), "3", "n_cells", 3),
    (("-t", "--time-cells"), "5", "n_time_cells", 5),
    (("-A", "--scales"), "2", "max_scales", 2),
    (("-I", "--interval"), "3", "interval", 3),
    (("--frame-step",), "2", "frame_step", 2),
    (("--first-scale",), "1", "first_scale", 1),
    (("--descriptors",), "mbhx, hog", "descriptors", ("hog", "mbhx")),
    (("--normalise",), "l2", "normalise", "l2"),
    (("--flow",), "dis", "flow", "dis"),
    (("--stabilise",), "subtract", "stabilise", "subtract"),
    (("--remove-camera-tracks",), "off", "remove_camera_tracks", False),
    (("--remove-camera-tracks",), "on", "remove_camera_tracks", True),
    (("--features",), "orb", "features", "orb"),
    (("--detect-people",), None, "detect_people", True),
    (("--seed",), "7", "seed", 7),
]


def test_extract_writes_a_table_and_says_so(tmp_path):
    output = tmp_path / "pan.h5"
    result = CliRunner().invoke(app, ["extract", str(CLIP), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "636 trajectories from 24 frames" in result.output
    table = Trajectories.load(output)
    assert len(table) == 636
    assert table.info["video"]["name"] == CLIP.name


def test_quiet_prints_nothing(tmp_path):
    output = tmp_path / "pan.h5"
    arguments = ["extract", str(CLIP), "-o", str(output), "--quiet", "--dtype", "float32"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.output == ""
    assert output.exists()


@pytest.fixture
def saved(monkeypatch):
    """Passes that are asked for, each with what `save` was given; none of them is made."""
    calls = []

    def save(extraction, path, **options):
        calls.append((extraction, path, options))
        return 0

    monkeypatch.setattr(Extraction, "save", save)
    return calls


def extract(*arguments):
    return CliRunner().invoke(app, ["extract", str(CLIP), *map(str, arguments)])


@pytest.mark.parametrize(("names", "given", "setting", "expected"), OPTIONS)
def test_options_reach_the_settings(names, given, setting, expected, saved):
    for name in names:
        value = [] if given is None else [given]
        result = extract("-o", "out.h5", "-q", name, *value)
        assert result.exit_code == 0, result.output
    wanted = dataclasses.replace(ExtractOptions(), **{setting: expected})
    assert [extraction.options for extraction, *_ in saved] == [wanted] * len(names)


def test_every_setting_has_an_option():
    settings = {field.name for field in dataclasses.fields(ExtractOptions)}
    assert settings == {setting for _, _, setting, _ in OPTIONS}


def test_help_tells_the_defaults_and_the_presets():
    command = typer.main.get_command(app).commands["extract"]
    helps = {name: option.help for option in command.params for name in option.opts}
    told = 0
    for names, _, setting, _ in OPTIONS:
        default = getattr(ExtractOptions(), setting)
        if setting in ("seed", "detect_people", "remove_camera_tracks"):
            continue
        text = ",".join(default) if isinstance(default, tuple) else str(default)
        assert helps[names[-1]].endswith(f"Default: {text}."), names
        told += 1
    assert told == 14
    for changes in PRESETS.values():
        for setting, value in changes.items():
            assert f"{setting.replace('_', ' ')} {value}" in helps["--preset"]


@pytest.mark.parametrize("names", [("-S", "-E", "-H"), ("--start", "--end", "--human-boxes")])
def test_range_and_boxes_reach_the_pass(names, saved, tmp_path):
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("0 10 20 30 40 0.9\n1\n")
    start, end, people = names
    extract("-o", "out.h5", "-q", start, "3", end, "20", people, boxes)
    ((extraction, _, _),) = saved
    assert (extraction.start, extraction.stop) == (3, 21)
    np.testing.assert_array_equal(extraction.boxes[0], np.float32([[10, 20, 30, 40, 0.9]]))


def test_what_is_not_a_setting_reaches_the_pass(saved):
    extract("-o", "out.npy", "--max-side", 64, "--threads", 3, "--dtype", "float32", "--quiet")
    extract("-o", "out.h5", "-q")
    (given, path, options), (usual, _, usual_options) = saved
    assert (given.name, given.max_side, given.threads) == (CLIP.name, 64, 3)
    assert (path, options) == (Path("out.npy"), {"dtype": "float32", "verbose": False})
    assert (usual.start, usual.stop, usual.boxes, usual.homographies) == (0, None, None, None)
    assert usual.options == ExtractOptions()
    assert 1 <= usual.threads <= 8
    assert usual_options["dtype"] == "float16"


def test_given_options_win_over_the_preset(saved):
    extract("-o", "out.h5", "-q", "--preset", "fast")
    extract("-o", "out.h5", "-q", "--preset", "fast", "--features", "surf", "--first-scale", 0)
    plain, changed = (extraction.options for extraction, *_ in saved)
    assert plain == ExtractOptions.preset("fast")
    assert changed == ExtractOptions.preset("fast", features="surf", first_scale=0)


def test_the_end_is_included_and_short_videos_are_noted(tmp_path):
    output = tmp_path / "part.h5"
    result = extract("-o", output, "-S", 2, "-E", 12)
    assert result.exit_code == 0, result.output
    assert f"{output}: 0 trajectories from 11 frames" in result.output
    assert "a track takes 16 frames, got 11" in result.output
    video = Trajectories.load(output).info["video"]
    assert (video["start"], video["n_frames"]) == (2, 11)


def test_a_dash_prints_text_and_nothing_else(tmp_path):
    result = extract("-o", "-", "-E", 16)
    assert result.exit_code == 0, result.output
    (tmp_path / "printed.txt").write_text(result.stdout)
    table = Trajectories.load(tmp_path / "printed.txt")
    assert set(table.column("frame")) == {15.0, 16.0}
    assert f"standard output: {len(table)} trajectories from 17 frames" in result.stderr
    assert extract("-o", "-", "-E", 3, "--quiet").stderr == ""


def test_known_camera_motion_is_taken_from_a_file(tmp_path):
    output = tmp_path / "pan.npz"
    result = extract("-o", output, "--homography", HOMOGRAPHY, "-q", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    table = Trajectories.load(output)
    assert table.info["settings"]["homographies"] is True
    assert agreement(Trajectories.load(GOLDEN), table)["match"] == 1


def test_the_profile_tells_stages_by_time():
    result = extract("-o", "-", "-E", 3, "--quiet", "--profile", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "4 frames in" in result.stderr
    assert "on 1 thread" in result.stderr
    assert "s of loading kernels before)" in result.stderr
    rows = re.findall(r"│ ([a-z ]+?) +│ +([0-9.]+) │ +([0-9.]+) │ +([0-9.]+) %", result.stderr)
    assert {"flow", "decoding", "all stages"} <= {name for name, *_ in rows}
    seconds = [float(value) for _, value, *_ in rows[:-1]]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(float(share) for *_, share in rows[:-1]) == pytest.approx(100, abs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.avi", "-o", "out.h5"], "no such file"),
        ([CLIP, "-o", "out.csv"], "path must end in .h5, .npz, .npy, .txt, .txt.gz"),
        ([CLIP, "-o", "nowhere/out.h5"], "no folder"),
        ([CLIP, "-o", "out.h5", "--dtype", "int8"], "dtype must be float16 or float32"),
        ([CLIP, "-o", "out.h5", "-L", "0"], "track_length must be at least 1, got 0"),
        ([CLIP, "-o", "out.h5", "-N", "1"], "patch_size must be at least n_cells = 2 pixels"),
        ([CLIP, "-o", "out.h5", "-S", "-1"], "start must be at least 0, got -1"),
        ([CLIP, "-o", "out.h5", "-S", "24"], "ends after 24 frames, before start = 24"),
        ([CLIP, "-o", "out.h5", "--seed", "-1"], "seed must be a whole number from 0 to 2**64 - 1"),
        ([CLIP, "-o", "out.h5", "--preset", "codec"], "ffv1, gives no motion vectors; use another"),
        ([CLIP, "-o", "out.h5", "--flow", "codec"], "stabilise must be subtract or none"),
        ([CLIP, "-o", "out.h5", "-S", "5", "-E", "4"], "end must be at least start = 5, got 4"),
        ([CLIP, "-o", "out.h5", "--threads", "0"], "threads must be at least 1, got 0"),
        ([CLIP, "-o", "out.h5", "--max-side", "0"], "max_side must be at least 1 pixel, got 0"),
        ([CLIP, "-o", "out.h5", "--preset", "slow"], "preset must be one of parity, fast, codec"),
        ([CLIP, "-o", "out.h5", "--features", "fast"], "features must be surf, akaze"),
        ([CLIP, "-o", "out.h5", "--descriptors", "hog,hig"], "got hog, hig"),
        ([CLIP, "-o", "out.h5", "--remove-camera-tracks", "yes"], "must be on or off, got 'yes'"),
        ([CLIP, "-o", "out.h5", "-H", "people.txt"], "got 'people.txt'; check the name"),
        ([CLIP, "-o", "out.h5", "-H", "b", "--detect-people"], "with detect-people, got 'b'"),
        ([CLIP, "-o", "out.h5", "--homography", "h.npz"], "no homographies at 'h.npz'"),
        ([CLIP, "-o", "out.h5", "--homography", CLIP], "got one that cannot be read"),
        ([CLIP, "-o", "out.h5", "--homography", GOLDEN], "must hold arrays frame and H, got"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["extract", *map(str, arguments)])
    assert result.exit_code != 0
    assert isinstance(result.exception, (ValueError, OSError))
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


TWO = np.stack([np.eye(3), np.eye(3)])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"H": TWO}, "got H; add frame"),
        ({}, "got none; add frame"),
        ({"frame": [1, 2], "H": np.eye(3)}, "must be numbers of shape (2, 3, 3)"),
        ({"frame": [1], "H": TWO}, "as there are 1 frames, got float64 (2, 3, 3)"),
        ({"frame": [1, 2], "H": TWO.astype(str)}, "must be numbers of shape (2, 3, 3)"),
        ({"frame": [1, 2], "H": TWO.astype(object)}, "got one that cannot be read"),
        ({"frame": [1.0, 2.0], "H": TWO}, "must be whole numbers of shape (n,), got float64"),
        ({"frame": [0, 1], "H": TWO}, "indices from 1, each once, got 0 to 1"),
        ({"frame": [3, 3], "H": TWO}, "indices from 1, each once, got 3 to 3 in 2 entries"),
        ({"frame": [1, 2], "H": TWO * [[[1]], [[np.nan]]]}, "for frame 2; leave out"),
        ({"frame": [1, 2], "H": TWO * [[[0]], [[1]]]}, "can be inverted, got [0.0, 0.0"),
    ],
)
def test_homographies_that_cannot_be_used_are_refused(arrays, message, tmp_path):
    path = tmp_path / "camera.npz"
    np.savez(path, **arrays)
    result = extract("-o", tmp_path / "out.h5", "--homography", path)
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)
    assert str(path) in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("n_bytes", [0, 100, 400])
def test_cut_off_homographies_are_refused(n_bytes, tmp_path):
    path = tmp_path / "camera.npz"
    path.write_bytes(HOMOGRAPHY.read_bytes()[:n_bytes])
    result = extract("-o", tmp_path / "out.h5", "--homography", path)
    assert isinstance(result.exception, ValueError)
    assert "got one that cannot be read" in str(result.exception)


def test_no_homographies_are_no_motion(saved, tmp_path):
    path = tmp_path / "camera.npz"
    np.savez(path, frame=np.zeros(0, int), H=np.zeros((0, 3, 3)))
    assert extract("-o", "out.h5", "-q", "--homography", path).exit_code == 0
    assert saved[0][0].homographies == {}


def test_compare_prints_the_measures():
    result = CliRunner().invoke(app, ["compare", str(GOLDEN), str(GOLDEN)])
    assert result.exit_code == 0, result.output
    for name in ("n_reference", "match_other", "strong", "rel_trajectory", "pool_mbhy"):
        assert name in result.output
    assert "636" in result.output


def test_compare_prints_json(tmp_path):
    table = Trajectories.load(GOLDEN)
    table = Trajectories(table.meta[:300], {"hog": table.descriptors["hog"][:300]})
    table.save(tmp_path / "part.txt.gz")
    arguments = ["compare", str(GOLDEN), str(tmp_path / "part.txt.gz"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--dimensions", "hog=96"])
    assert result.exit_code == 0, result.output
    measures = json.loads(result.output)
    assert (measures["n_reference"], measures["n_other"]) == (636, 300)
    assert measures["match"] == pytest.approx(300 / 636)
    assert measures["match_other"] == 1
    assert measures["rel_hog"] < 1e-6
    assert "rel_hof" not in measures


def test_compare_says_null_for_what_cannot_be_measured(tmp_path):
    table = Trajectories.load(GOLDEN)
    Trajectories(table.meta[:0], {"hog": table.descriptors["hog"][:0]}).save(tmp_path / "none.npy")
    result = CliRunner().invoke(app, ["compare", str(GOLDEN), str(tmp_path / "none.npy"), "--json"])
    measures = json.loads(result.output)
    assert measures["match"] == 0
    assert measures["rel_hog"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(GOLDEN), "none.h5"], "no trajectories at 'none.h5'"),
        ([str(GOLDEN), str(CLIP)], "path must end in .h5, .npz, .npy, .txt, .txt.gz"),
        (["a.txt", "a.txt", "--dimensions", "hog"], "dimensions must be pairs like"),
    ],
)
def test_what_cannot_be_compared_is_said(arguments, message):
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert result.exit_code != 0
    assert message in str(result.exception)


@pytest.mark.parametrize("command", ["extract", "show", "compare"])
def test_help_needs_no_heavy_import(command):
    code = (
        "import sys; from idt.cli import app\n"
        f"try: app(['{command}', '-h'])\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'cv2', 'numpy', 'torch'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
