"""From videos to tables: the reference program's rows, and what short or odd input gives."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from idt.camera import HumanBoxes
from idt.codebook.videos import batches
from idt.extract import PRESETS, Extraction, ExtractOptions, extract
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
    path = GOLDEN / "synthetic_pan.avi"
    assert pan.info["video"] == {
        "name": "synthetic_pan.avi",
        "width": 160,
        "height": 120,
        "start": 0,
        "stop": None,
        "n_frames": 24,
        "declared_frames": 24,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert pan.info["notes"] == []
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
def test_short_videos_give_an_empty_table_that_says_so(n_frames):
    table = extract(read(GOLDEN / "synthetic_pan.avi", stop=n_frames))
    assert len(table) == 0
    assert table.info["video"]["n_frames"] == n_frames
    assert table.info["notes"] == [f"no trajectories: a track takes 16 frames, got {n_frames}"]


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


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_the_table(pan, threads):
    table = extract(GOLDEN / "synthetic_pan.avi", threads=threads)
    np.testing.assert_array_equal(table.meta, pan.meta)
    for name, values in pan.descriptors.items():
        np.testing.assert_array_equal(table.descriptors[name], values)


def test_a_failure_in_a_thread_reaches_the_caller():
    video = [*read(GOLDEN / "synthetic_pan.avi", stop=4), np.zeros((120, 160), np.uint8)]
    with pytest.raises(ValueError, match="frame must be a uint8 array"):
        extract(video, threads=2)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".txt"])
def test_streaming_writes_what_the_table_holds(pan, suffix, tmp_path):
    path = tmp_path / f"pan{suffix}"
    n_rows = Extraction(GOLDEN / "synthetic_pan.avi").save(path, dtype="float32")
    assert n_rows == len(pan)
    loaded = Trajectories.load(path)
    np.testing.assert_allclose(loaded.meta, pan.meta, atol=1e-5)
    for name, values in pan.descriptors.items():
        np.testing.assert_allclose(loaded.descriptors[name], values, atol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_range_of_frames_keeps_the_videos_frame_numbers(pan):
    extraction = Extraction(GOLDEN / "synthetic_pan.avi", start=4, stop=22)
    table = extraction.table()
    assert set(table.column("frame")) == {19.0, 20.0, 21.0}
    assert extraction.n_frames == 18
    places = (table.column("frame") - 7.5 - 4) / 18
    np.testing.assert_allclose(table.column("t_pos"), places.clip(0, 0.999), atol=1e-6)
    given = Extraction(read(GOLDEN / "synthetic_pan.avi"), start=4, stop=22).table()
    np.testing.assert_array_equal(given.meta, table.meta)


def test_left_out_descriptors_change_nothing_else(pan):
    options = ExtractOptions(descriptors=("mbhy", "trajectory"))
    table = extract(GOLDEN / "synthetic_pan.avi", options=options)
    assert list(table.descriptors) == ["trajectory", "mbhy"]
    np.testing.assert_array_equal(table.meta, pan.meta)
    np.testing.assert_array_equal(table.descriptors["mbhy"], pan.descriptors["mbhy"])


def test_plain_dense_trajectories_know_no_camera():
    video = read(GOLDEN / "synthetic_pan.avi", stop=18)
    plain = extract(video, options=ExtractOptions(stabilise="none"))
    still = extract(video, homographies={}, options=ExtractOptions(remove_camera_tracks=False))
    # Flow to a frame that was warped by the identity is the flow but for the warp's border.
    np.testing.assert_array_equal(plain.meta[:, :7], still.meta[:, :7])
    assert len(plain) > len(extract(video))


def test_warping_and_removing_are_two_switches():
    """The paper's WarpFlow-only and RmTrack-only rows."""
    video = read(GOLDEN / "synthetic_pan.avi", stop=18)

    def run(stabilise, remove):
        options = ExtractOptions(stabilise=stabilise, remove_camera_tracks=remove)
        return extract(video, options=options)

    plain, removed = run("none", False), run("none", True)
    warped, both = run("rewarp", False), run("rewarp", True)
    assert len(plain) == len(warped) > len(removed)
    assert len(warped) > len(both)
    assert np.abs(plain.descriptors["hof"] - warped.descriptors["hof"]).mean() > 0.01
    kept = {tuple(row) for row in plain.meta[:, :7]}
    assert {tuple(row) for row in removed.meta[:, :7]} < kept


def test_subtracting_the_camera_comes_near_to_rewarping(pan):
    table = extract(GOLDEN / "synthetic_pan.avi", options=ExtractOptions(stabilise="subtract"))
    measures = agreement(pan, table)
    assert measures["match"] > 0.8
    assert measures["pool_mbhx"] < 0.2


def test_l2_normalised_cells_have_unit_length():
    options = ExtractOptions(normalise="l2", n_time_cells=15, n_cells=1)
    table = extract(read(GOLDEN / "synthetic_pan.avi", stop=17), options=options)
    cells = table.descriptors["hog"].reshape(len(table), 15, 8)
    np.testing.assert_allclose(np.linalg.norm(cells, axis=2), 1, rtol=1e-5)


def test_an_interval_seeds_less_often():
    video = read(GOLDEN / "synthetic_pan.avi")
    every, third = extract(video), extract(video, options=ExtractOptions(interval=3))
    assert set(third.column("frame")) <= {15.0, 18.0, 21.0}
    first = every.column("frame") == 15
    np.testing.assert_array_equal(
        third.meta[third.column("frame") == 15, :9], every.meta[first, :9]
    )


def test_a_frame_step_works_on_every_so_many_frames():
    options = ExtractOptions(frame_step=2, track_length=6)
    extraction = Extraction(GOLDEN / "synthetic_pan.avi", start=1, options=options)
    assert extraction.expected_frames == 12
    table = extraction.table()
    assert extraction.n_frames == 12
    assert len(table) > 20
    given = read(GOLDEN / "synthetic_pan.avi", start=1)[::2]
    alone = extract(given, options=ExtractOptions(track_length=6))
    for name in alone.descriptors:
        np.testing.assert_array_equal(table.descriptors[name], alone.descriptors[name])
    np.testing.assert_array_equal(table.column("frame"), 1 + 2 * alone.column("frame"))
    np.testing.assert_array_equal(table.meta[:, 1:9], alone.meta[:, 1:9])
    np.testing.assert_allclose(table.column("t_pos"), alone.column("t_pos"), atol=1e-6)
    (batch,) = batches(extraction, with_time=True)
    np.testing.assert_array_equal(batch.positions, table.meta[:, -3:])


def test_what_goes_from_frame_to_frame_allows_no_frame_step():
    options = ExtractOptions(frame_step=2)
    with pytest.raises(ValueError, match="frame_step must be 1 where homographies are given"):
        Extraction(GOLDEN / "synthetic_pan.avi", options=options, homographies={1: np.eye(3)})
    with pytest.raises(ValueError, match="frame_step must be 1 where flow is codec, got 2"):
        ExtractOptions.preset("codec", frame_step=2)


@pytest.mark.parametrize("features", ["akaze", "sift", "orb", "none"])
def test_other_features_find_the_same_camera(pan, features):
    table = extract(GOLDEN / "synthetic_pan.avi", options=ExtractOptions(features=features))
    assert agreement(pan, table)["match"] > 0.9


@pytest.mark.parametrize("preset", sorted(PRESETS.keys() - {"parity", "codec"}))
def test_presets_find_the_moving_thing(pan, preset):
    table = extract(GOLDEN / "synthetic_pan.avi", options=ExtractOptions.preset(preset))
    assert len(table) > 50
    assert np.isfinite(table.meta).all()
    middle = np.median(table.meta[:, 1:3], axis=0)
    np.testing.assert_allclose(middle, np.median(pan.meta[:, 1:3], axis=0), atol=10)


def test_the_finest_scales_can_be_left_out(pan):
    table = extract(GOLDEN / "synthetic_pan.avi", options=ExtractOptions(first_scale=1))
    assert table.column("scale").min() == pytest.approx(np.sqrt(2))
    one = extract(GOLDEN / "synthetic_pan.avi", options=ExtractOptions(first_scale=7))
    assert len(np.unique(one.column("scale"))) <= 1


def test_inside_boxes_nothing_is_matched(tmp_path):
    video = read(GOLDEN / "synthetic_pan.avi", stop=3)
    nowhere = np.zeros((0, 5), np.float32)
    middle = np.array([[40, 30, 120, 90, 1]], np.float32)

    def pairs(box):
        boxes = HumanBoxes(tmp_path / "boxes.txt", (box,) * 3)
        return [step.pair.camera for step in Extraction(video, boxes=boxes).steps()]

    for camera in pairs(middle):
        points = camera.previous_points
        inside = (np.abs(points - [80, 60]) < [39, 29]).all(axis=1)
        assert not inside.any()
    assert all(len(camera.previous_points) for camera in pairs(nowhere))
    with pytest.raises(ValueError, match="must have one line a frame"):
        Extraction(video, boxes=HumanBoxes(tmp_path / "boxes.txt", (nowhere,) * 5)).table()


def test_tracks_on_other_flows_are_about_as_many(pan):
    for flow in ("dis", "tvl1"):
        table = extract(GOLDEN / "synthetic_pan.avi", options=ExtractOptions(flow=flow))
        assert table.info["settings"]["flow"] == flow
        assert 0.7 <= len(table) / len(pan) <= 1.4


def test_presets_yield_to_what_is_asked_for():
    options = ExtractOptions.preset("fast", stride=9, flow="dis")
    assert (options.stride, options.flow, options.stabilise) == (9, "dis", "subtract")
    with pytest.raises(ValueError, match="preset must be one of parity, fast, codec"):
        ExtractOptions.preset("slow")
    with pytest.raises(TypeError, match="options must be among"):
        ExtractOptions.preset("fast", strides=9)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"track_length": 0}, "track_length must be at least 1"),
        ({"frame_step": 0}, "frame_step must be at least 1"),
        ({"patch_size": 1}, "patch_size must be at least n_cells"),
        ({"n_time_cells": 16}, "n_time_cells must be at most track_length"),
        ({"first_scale": 8}, "first_scale must be from 0 to max_scales - 1 = 7"),
        ({"flow": "lucas"}, "flow must be farneback, dis, tvl1 or codec"),
        ({"flow": "codec"}, "stabilise must be subtract or none where flow is codec"),
        (
            {"flow": "codec", "stabilise": "none", "first_scale": 1},
            "first_scale must be 0 where flow is codec, got 1",
        ),
        ({"seed": -1}, r"seed must be a whole number from 0 to 2\*\*64 - 1"),
        ({"seed": 2**64}, "got 18446744073709551616"),
        ({"seed": 0.5}, "got 0.5"),
        ({"features": "brisk"}, "features must be surf"),
        ({"descriptors": ("hog", "mbh")}, "descriptors must be one or more of trajectory, hog"),
        ({"descriptors": ()}, "got none"),
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
