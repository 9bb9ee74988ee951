"""From videos to tables: the reference program's rows, and what short or odd input gives."""

from pathlib import Path

import numpy as np
import pytest

from idt.extract import ExtractOptions, extract
from idt.trajectories import META_COLUMNS, Trajectories, agreement
from idt.video import VideoError, read

DESCRIPTORS = {"trajectory": 30, "hog": 96, "hof": 108, "mbhx": 96, "mbhy": 96}
GOLDEN = Path(__file__).parent.parent / "golden"


def _golden(folder, clip):
    arrays = np.load(folder / f"{clip}.trajectories.npz")
    return Trajectories(arrays["meta"], {name: arrays[name] for name in DESCRIPTORS})


def _homographies(folder, clip):
    arrays = np.load(folder / f"{clip}.homography.npz")
    return dict(zip(arrays["frame"].tolist(), arrays["H"], strict=True))


@pytest.fixture(scope="module")
def pan():
    return extract(GOLDEN / "synthetic_pan.avi")


def test_the_embedded_clip_gives_the_reference_programs_table(pan):
    golden = _golden(GOLDEN, "synthetic_pan")
    assert len(pan) == len(golden) == 636
    np.testing.assert_allclose(pan.meta, golden.meta, atol=2e-3)
    measures = agreement(golden, pan)
    assert measures["match"] == 1
    assert measures["strong"] >= 0.98
    for name in DESCRIPTORS:
        assert measures[f"rel_{name}"] <= 1e-3


def test_the_table_says_what_made_it(pan):
    assert pan.info["video"] == {
        "name": "synthetic_pan.avi",
        "width": 160,
        "height": 120,
        "n_frames": 24,
    }
    assert pan.info["settings"]["track_length"] == 15
    assert "trajfuse" in pan.info["versions"]


def test_rows_come_by_frame_then_scale(pan):
    order = np.lexsort([pan.column("scale"), pan.column("frame")])
    np.testing.assert_array_equal(order, np.arange(len(pan)))
    assert pan.column("frame").min() == 15
    for name in ("x_pos", "y_pos", "t_pos"):
        assert 0 <= pan.column(name).min()
        assert pan.column(name).max() <= 0.999


def test_two_runs_are_identical(pan):
    again = extract(GOLDEN / "synthetic_pan.avi")
    np.testing.assert_array_equal(again.meta, pan.meta)
    for name, values in pan.descriptors.items():
        np.testing.assert_array_equal(again.descriptors[name], values)


def test_frames_as_an_array_give_what_the_file_gives(pan):
    table = extract(read(GOLDEN / "synthetic_pan.avi"))
    np.testing.assert_array_equal(table.meta, pan.meta)


@pytest.mark.parametrize(
    "clip", ["kth_boxing_d1", "hmdb_cartwheel", "ucf_icedancing_g01_c01", "k400_armwrestling"]
)
def test_known_camera_motion_gives_the_reference_programs_rows(shared, clip):
    folder = shared / "golden"
    table = extract(folder / "clips" / f"{clip}.avi", homographies=_homographies(folder, clip))
    measures = agreement(_golden(folder, clip), table)
    assert measures["match"] >= 0.995
    assert measures["strong"] >= 0.98
    for name in DESCRIPTORS:
        assert measures[f"rel_{name}"] <= 1e-3


def test_a_still_video_gives_no_trajectories():
    still = np.random.default_rng(0).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    table = extract([still] * 20)
    assert len(table) == 0
    assert {name: values.shape for name, values in table.descriptors.items()} == {
        name: (0, size) for name, size in DESCRIPTORS.items()
    }


@pytest.mark.parametrize("n_frames", [1, 15])
def test_short_videos_give_an_empty_table(n_frames):
    table = extract(read(GOLDEN / "synthetic_pan.avi", stop=n_frames))
    assert len(table) == 0
    assert table.info["video"]["n_frames"] == n_frames


def test_sixteen_frames_are_enough():
    table = extract(read(GOLDEN / "synthetic_pan.avi", stop=16))
    assert len(table) > 0
    assert set(table.column("frame")) == {15.0}


def test_other_lengths_and_cells_change_the_dimensions():
    options = ExtractOptions(track_length=8, n_time_cells=2, n_cells=1, max_scales=2, stride=8)
    table = extract(read(GOLDEN / "synthetic_pan.avi", stop=12), options=options)
    assert table.descriptors["trajectory"].shape[1] == 16
    assert table.descriptors["hof"].shape[1] == 2 * 9
    assert len(np.unique(table.column("scale"))) <= 2


def test_known_identity_motion_switches_the_camera_off():
    video = read(GOLDEN / "synthetic_pan.avi", stop=18)
    table = extract(video, homographies={})
    assert len(table) > len(extract(video))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"track_length": 0}, "track_length must be at least 1"),
        ({"patch_size": 1}, "patch_size must be at least n_cells"),
        ({"n_time_cells": 16}, "n_time_cells must be at most track_length"),
    ],
)
def test_bad_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        ExtractOptions(**option)


def test_tiny_and_missing_frames_are_refused():
    with pytest.raises(VideoError, match="fewer than 16 a side"):
        extract(np.zeros((20, 8, 8, 3), np.uint8))
    with pytest.raises(VideoError, match="it has no frames"):
        extract([])


def test_the_table_survives_the_way_to_disk(pan, tmp_path):
    path = tmp_path / "pan.h5"
    pan.save(path, dtype="float32")
    loaded = Trajectories.load(path)
    assert len(loaded) == len(pan)
    assert loaded.info == pan.info
    assert list(loaded.descriptors) == list(pan.descriptors)
    np.testing.assert_array_equal(loaded.meta, pan.meta)
    for name, values in pan.descriptors.items():
        np.testing.assert_array_equal(loaded.descriptors[name], values)
    pan.save(path)
    np.testing.assert_allclose(
        Trajectories.load(path).descriptors["hog"], pan.descriptors["hog"], atol=1e-3
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["pan.h5"]


def test_what_is_no_table_is_refused(tmp_path, pan):
    with pytest.raises(FileNotFoundError, match="no trajectories at"):
        Trajectories.load(tmp_path / "none.h5")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(ValueError, match="must be a whole trajectory file"):
        Trajectories.load(broken)
    with pytest.raises(ValueError, match="dtype must be"):
        pan.save(tmp_path / "x.h5", dtype="int8")
    with pytest.raises(ValueError, match="column must be one of"):
        pan.column("speed")
    with pytest.raises(ValueError, match="meta must have the shape"):
        Trajectories(np.zeros((3, 2)), {})
    with pytest.raises(ValueError, match="descriptor 'hog' must have 3 rows"):
        Trajectories(np.zeros((3, len(META_COLUMNS))), {"hog": np.zeros((2, 96))})


def test_agreement_by_hand():
    meta = np.zeros((3, 10), np.float32)
    meta[:, 6] = 1
    meta[:, 1] = 10, 20, 30
    other = meta.copy()
    other[:, 1] = 10.04, 20.5, 32  # close, matched, too far
    ones = {"hog": np.ones((3, 4), np.float32)}
    measures = agreement(Trajectories(meta, ones), Trajectories(other, ones))
    assert measures["match"] == pytest.approx(2 / 3)
    assert measures["strong"] == pytest.approx(1 / 3)
    assert measures["rel_hog"] == measures["pool_hog"] == 0
