"""The embedded data set: readable, balanced, reproducible, and hard in the way it means to be."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from compare import datasets, demo
from compare.demo.figure import PROP_BREADTH, PROP_RADIUS, PROPS, actor, prop
from compare.demo.motions import MOTIONS, poses
from compare.demo.scene import camera_path, camera_style, octave_noise
from idt import video

SMALL = {"n_train_actors": 1, "n_test_actors": 1, "clips_per_class": 1}
N_DRAWS = 400  # performances drawn per motion


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.write(tmp_path_factory.mktemp("demo") / "set", seed=3, **SMALL)


def digests(csv_path: Path) -> dict[str, str]:
    folder = csv_path.parent
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_the_set_is_read_like_any_other(rendered: Path) -> None:
    loaded = datasets.load(rendered)
    assert len(loaded.class_names) == 8
    assert Counter(clip.label for clip in loaded.videos) == dict.fromkeys(loaded.class_names, 2)
    (split,) = loaded.splits
    groups = {clip.id: clip.group for clip in loaded.videos}
    assert {groups[i] for i in split.train}.isdisjoint({groups[i] for i in split.test})
    assert len(split.train) == len(split.test) == 8


def test_every_clip_decodes_to_a_full_length(rendered: Path) -> None:
    for clip in datasets.load(rendered).videos:
        frames = video.read(clip.path)
        assert 32 <= len(frames) <= 40
        assert frames.shape[1:] == (120, 160, 3)
        assert frames.std() > 20  # textured, not blank
        assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 2  # in motion


def test_default_set_has_32_test_clips_or_more_by_unseen_people(tmp_path: Path) -> None:
    settings = demo.Settings(seed=0)
    clips = list(demo.clips(settings))
    people = {split: {c.group for c in clips if c.split == split} for split in ("train", "test")}
    assert sum(clip.split == "test" for clip in clips) >= 32
    assert people["train"].isdisjoint(people["test"])
    assert len(people["train"] | people["test"]) >= 8


def test_the_same_seed_gives_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    again = demo.write(tmp_path / "again", seed=3, **SMALL)
    assert digests(again) == digests(rendered)


def test_another_seed_gives_other_clips(rendered: Path, tmp_path: Path) -> None:
    other = digests(demo.write(tmp_path / "other", seed=4, **SMALL))
    mine = digests(rendered)
    assert other.keys() == mine.keys()
    assert all(other[name] != mine[name] for name in mine if name.endswith(".mp4"))


def test_a_written_set_is_kept_and_another_is_put_in_its_place(tmp_path: Path) -> None:
    first = demo.write(tmp_path / "set", seed=0, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in first.parent.rglob("*.mp4")}
    demo.write(tmp_path / "set", seed=0, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in first.parent.rglob("*.mp4")} == before
    kept = digests(first)
    demo.write(tmp_path / "set", seed=1, **SMALL)
    assert digests(first) != kept
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_with_a_lost_clip_is_written_again(tmp_path: Path) -> None:
    csv_path = demo.write(tmp_path / "set", seed=0, **SMALL)
    whole = digests(csv_path)
    next(csv_path.parent.rglob("*.mp4")).unlink()
    demo.write(tmp_path / "set", seed=0, **SMALL)
    assert digests(csv_path) == whole


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(FileExistsError, match="folder must be new or an embedded data set"):
        demo.write(tmp_path, **SMALL)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "keep"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(demo, "_encode", fail)
    with pytest.raises(OSError, match="disk full"):
        demo.write(tmp_path / "set", **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n_train_actors", "n_test_actors", "clips_per_class"])
def test_numbers_below_one_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        demo.write(tmp_path / "set", **{**SMALL, name: 0})


def test_props_differ_in_colour_and_breadth_and_not_in_grey() -> None:
    """Same pattern and same grey level within rounding; far apart in colour."""
    blue, red = (prop(name, np.random.default_rng(5)).picture for name in PROPS)
    assert red[..., 3].sum() < 0.7 * blue[..., 3].sum()
    # Where both are solid and in full light, inside their darker rims.
    solid = np.minimum(blue[..., 3], red[..., 3]) == 255
    middle = np.array(solid.shape) // 2
    rows, columns = np.indices(solid.shape)
    solid &= (np.abs(rows - middle[0]) < 4) & (np.abs(columns - middle[1]) < 8)
    greys = [cv2.cvtColor(p[..., :3], cv2.COLOR_BGR2GRAY)[solid].astype(int) for p in (blue, red)]
    assert np.abs(greys[0] - greys[1]).max() <= 1
    apart = np.abs(blue[solid].astype(int) - red[solid]).mean(axis=0)
    assert apart[0] > 80  # blue
    assert apart[2] > 80  # red


def test_motions_visit_the_same_places() -> None:
    """A hand's place at one moment says little: mean and spread of all motions agree."""
    places = {
        motion: np.concatenate(
            [poses(motion, 36, np.random.default_rng(n)).hand for n in range(N_DRAWS)]
        )
        for motion in MOTIONS
    }
    means = np.array([points.mean(axis=0) for points in places.values()])
    spreads = np.array([points.std(axis=0) for points in places.values()])
    assert np.ptp(means, axis=0).max() < 0.2 * spreads.min()
    assert (spreads.max(axis=0) / spreads.min(axis=0) < 1.3).all()


@pytest.mark.parametrize(("motion", "axis"), [("lift", 0), ("thrust", 1)])
def test_straight_motions_move_along_one_axis(motion: str, axis: int) -> None:
    hand = poses(motion, 36, np.random.default_rng(0)).hand
    assert np.ptp(hand[:, axis]) < 1e-9
    assert np.ptp(hand[:, 1 - axis]) > 0.2


def test_the_prop_stays_in_view_and_large_enough_for_its_colour(rendered: Path) -> None:
    """Saturated pixels of the prop's hue appear in nearly every decoded frame."""
    for clip in datasets.load(rendered).videos:
        blue, _, red = np.moveaxis(video.read(clip.path).astype(int), -1, 0)
        difference = blue - red if clip.label.endswith("blue") else red - blue
        visible = (difference > 90).sum(axis=(1, 2))
        breadth = PROP_BREADTH[clip.label.split()[1]]
        area = breadth * np.pi * (PROP_RADIUS * 88) ** 2
        assert np.median(visible) > 0.5 * area


def test_a_camera_moves_in_every_way() -> None:
    rng = np.random.default_rng(0)
    scale, shift = np.array(camera_path(camera_style(rng), 40, rng)).T
    assert np.ptp(np.abs(scale)) > 0.02
    assert np.ptp(np.angle(scale)) > 0.02
    assert np.ptp(shift.real) > 4
    assert np.ptp(shift.imag) > 2


def test_noise_is_standardised() -> None:
    noise = octave_noise((64, 96), np.random.default_rng(0), coarsest=16)
    assert noise.shape == (64, 96)
    assert noise.mean() == pytest.approx(0, abs=1e-5)
    assert noise.std() == pytest.approx(1, abs=1e-5)


def test_people_differ() -> None:
    one, two = (actor(np.random.default_rng([0, number])) for number in range(2))
    assert one.lengths != two.lengths
    assert one.parts["torso"].picture.tobytes() != two.parts["torso"].picture.tobytes()
