from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from deep import data
from deep.clips import ClipSpec
from deep.data import (
    Cutting,
    Stored,
    View,
    balanced_order,
    grid_views,
    mirrored,
    read_clip,
    read_frames,
    store,
    store_all,
)
from deep.flow import FlowSettings
from idt.jobs import DiskFull
from idt.video import VideoError, read

HEIGHT, WIDTH = 40, 60
WHOLE = View(top=0, left=0, height=HEIGHT, width=WIDTH)


@pytest.fixture
def coordinates(tmp_path: Path) -> Stored:
    """Twelve frames whose pixels are (column, row, frame); flow levels 128 + (column, row) / 2."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames = np.stack([np.stack([columns, rows, np.full_like(rows, t)], -1) for t in range(12)])
    level = 128 + np.stack([columns, rows], -1) // 2
    flow = np.stack([level + 5 * (t == 3) for t in range(11)])
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["frames"] = frames.astype(np.uint8)
    with h5py.File(tmp_path / "flow.h5", "w") as file:
        file["flow"] = flow.astype(np.uint8)
    return Stored(
        tmp_path / "none.avi", tmp_path / "frames.h5", tmp_path / "flow.h5", 12, HEIGHT, WIDTH
    )


def test_crop_takes_the_same_pixels_of_every_frame(coordinates: Stored) -> None:
    clip = ClipSpec(segments=2, stack=2, strides=(4, 4)).at(3, 4, n_frames=12)
    view = View(top=5, left=9, height=32, width=32)
    rgb, flow = read_clip(coordinates, clip, view, Cutting(size=32, subtract_mean=False))
    assert rgb.shape == (2, 3, 1, 32, 32)
    assert flow.shape == (2, 2, 2, 32, 32)
    pixels = np.rint(rgb * 255)
    for segment, frame in enumerate((3, 7)):
        assert np.all(pixels[segment, 0, 0] == np.arange(9, 41))  # columns
        assert np.all(pixels[segment, 1, 0] == np.arange(5, 37)[:, None])  # rows
        assert np.all(pixels[segment, 2, 0] == frame)
    levels = np.rint(flow * 127 / 20)
    assert np.all(levels[1, 0] == np.arange(9, 41) // 2)  # dx
    assert np.all(levels[1, 1] == (np.arange(5, 37) // 2)[:, None])  # dy
    assert np.all(levels[0, :, 1] - levels[0, :, 0] == 5)  # fields 2 and 3: times in order


def test_flip_reverses_columns_and_negates_dx(coordinates: Stored) -> None:
    clip = ClipSpec(stack=2).at(6, 1, n_frames=12)
    view = View(top=5, left=9, height=32, width=32)
    flipped_view = View(top=5, left=9, height=32, width=32, flip=True)
    cutting = Cutting(size=32, subtract_mean=False)
    rgb, flow = read_clip(coordinates, clip, view, cutting)
    flipped_rgb, flipped_flow = read_clip(coordinates, clip, flipped_view, cutting)
    np.testing.assert_array_equal(flipped_rgb, rgb[..., ::-1])
    np.testing.assert_array_equal(flipped_flow[:, 0], -flow[:, 0, ..., ::-1])
    np.testing.assert_array_equal(flipped_flow[:, 1], flow[:, 1, ..., ::-1])
    for twice, once in zip(mirrored(flipped_rgb, flipped_flow), (rgb, flow), strict=True):
        np.testing.assert_array_equal(twice, once)


def test_a_larger_box_is_brought_to_size(coordinates: Stored) -> None:
    clip = ClipSpec(stack=2).at(6, 1, n_frames=12)
    rgb, flow = read_clip(coordinates, clip, WHOLE, Cutting(size=20, subtract_mean=False))
    # by area: 60 columns to 20 averages threes, 40 rows to 20 averages pairs (x.5 rounds to even)
    assert np.all(np.rint(rgb[0, 0, 0] * 255) == 3 * np.arange(20) + 1)
    rows = 2 * np.arange(20)[:, None]
    assert np.all(np.abs(rgb[0, 1, 0] * 255 - rows - 0.5) <= 0.5 + 1e-4)
    expected = (np.arange(60) // 2).reshape(20, 3).mean(axis=1)  # flow is averaged, not rescaled
    np.testing.assert_allclose(flow[0, 0, 0] * 127 / 20, np.tile(expected, (20, 1)), atol=1e-4)


def test_mean_subtraction_takes_the_whole_fields_mean(coordinates: Stored) -> None:
    clip = ClipSpec(stack=2).at(6, 1, n_frames=12)
    view = View(top=0, left=0, height=32, width=32)
    _, plain = read_clip(coordinates, clip, view, Cutting(size=32, subtract_mean=False))
    _, centred = read_clip(coordinates, clip, view, Cutting(size=32, subtract_mean=True))
    mean = np.array([np.mean(np.arange(60) // 2), np.mean(np.arange(40) // 2)]) * 20 / 127
    expected = np.broadcast_to(mean.reshape(1, 2, 1, 1, 1), plain.shape)
    np.testing.assert_allclose(plain - centred, expected, atol=1e-5)


def test_random_views_stay_inside(coordinates: Stored) -> None:
    rng = np.random.default_rng(0)
    views = [Cutting(size=32).random_view(coordinates, rng) for _ in range(300)]
    for view in views:
        assert 0.75 * HEIGHT - 1 <= view.height <= HEIGHT
        assert 0.75 * WIDTH - 1 <= view.width <= WIDTH
        assert 0 <= view.top <= HEIGHT - view.height
        assert 0 <= view.left <= WIDTH - view.width
    assert 100 < sum(view.flip for view in views) < 200
    assert not any(Cutting(mirror=False).random_view(coordinates, rng).flip for _ in range(20))


def cut_box(stored: Stored, view: View) -> tuple[int, int, int, int]:
    """Left, top, width and height of a view, read off the pixels themselves."""
    spec = ClipSpec(stack=0)
    whole = replace(view, flip=False, own_size=True)
    rgb, _ = read_clip(stored, spec.at(0, 1, n_frames=12), whole, Cutting(size=16))
    columns, rows = np.rint(255 * rgb[0, :2, 0])
    assert columns.shape == (view.height, view.width)
    return int(columns[0, 0]), int(rows[0, 0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def test_corner_crops_of_several_scales(coordinates: Stored) -> None:
    rng, cutting = np.random.default_rng(0), Cutting(size=16, crops="corners")
    boxes = [cut_box(coordinates, cutting.random_view(coordinates, rng)) for _ in range(400)]
    sides = [40, 35, 30, 26]  # 40 rows times 1, .875, .75, .66
    steps = {(sides.index(width), sides.index(height)) for _, _, width, height in boxes}
    assert steps == {(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    places = set()
    for left, top, width, height in boxes:
        right, bottom = WIDTH - width, HEIGHT - height
        centre = (left, top) == (right // 2, bottom // 2)
        assert centre or (left in (0, right) and top in (0, bottom))
        places.add("centre" if centre else (left > 0, top > 0))
    assert len(places) == 5


def test_random_crops_have_the_inputs_size(coordinates: Stored) -> None:
    rng, cutting = np.random.default_rng(0), Cutting(size=32, crops="random")
    boxes = [cut_box(coordinates, cutting.random_view(coordinates, rng)) for _ in range(400)]
    assert {(width, height) for _, _, width, height in boxes} == {(32, 32)}
    assert {left for left, *_ in boxes} == set(range(29))  # anywhere, up to both edges
    assert {top for _, top, *_ in boxes} == set(range(9))


def test_frames_are_stored_once_as_rgb(clips: tuple[list[Path], list[int]], tmp_path: Path) -> None:
    path = clips[0][0]
    stored = store(path, folder=tmp_path, side=48, flow=FlowSettings())
    with h5py.File(stored.frames) as file, h5py.File(stored.flow) as flow_file:
        np.testing.assert_array_equal(file["frames"][:], read(path)[..., ::-1])
        assert flow_file["flow"].shape == (15, 48, 64, 2)
        assert json.loads(flow_file.attrs["settings"])["flow"] == FlowSettings().fingerprint()
    before = stored.frames.stat().st_mtime_ns
    assert store(path, folder=tmp_path, side=48, flow=FlowSettings()) == stored
    assert stored.frames.stat().st_mtime_ns == before
    other = store(path, folder=tmp_path, side=48, flow=FlowSettings(algorithm="dis-fast"))
    assert other.frames == stored.frames
    assert other.flow != stored.flow
    assert len(list(tmp_path.iterdir())) == 3  # and nothing temporary


def test_a_full_disk_is_told_and_leaves_no_half_file(
    clips: tuple[list[Path], list[int]], small_disk: tuple[Path, Callable[[int], int]]
) -> None:
    place, resize = small_disk
    assert resize(40 << 10) == 0
    with pytest.raises(DiskFull, match="the disk must have room"):
        store_all(clips[0][:1], folder=place, side=64)
    assert list(place.iterdir()) == []
    assert resize(9 << 20) == 0
    assert store_all(clips[0][:1], folder=place, side=64)[0].result().frames.exists()


def test_shorter_side_is_stored_at_the_asked_length(
    clips: tuple[list[Path], list[int]], tmp_path: Path
) -> None:
    stored = store(clips[0][0], folder=tmp_path, side=36)
    assert (stored.height, stored.width, stored.flow) == (36, 48, None)
    images = read_frames(stored, 4)
    assert images.shape == (4, 3, 36, 48)
    first = cv2.resize(read(clips[0][0])[2], (48, 36), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(images[0] * 255, first[..., ::-1].transpose(2, 0, 1), atol=1e-3)


def test_a_broken_cache_file_is_made_again(
    clips: tuple[list[Path], list[int]], tmp_path: Path
) -> None:
    stored = store(clips[0][0], folder=tmp_path, side=48)
    whole = stored.frames.read_bytes()
    stored.frames.write_bytes(whole[: len(whole) // 2])
    again = store(clips[0][0], folder=tmp_path, side=48)
    assert again == stored
    assert len(again.frames.read_bytes()) == len(whole)


def test_one_frame_has_one_field_of_no_motion(film: Callable[..., Path], tmp_path: Path) -> None:
    path = film(tmp_path / "one.mp4", label=0, n_frames=1)
    stored = store(path, folder=tmp_path / "cache", side=48, flow=FlowSettings())
    assert stored.n_frames == 1
    (clip,) = ClipSpec(segments=3, strides=(5, 15)).spaced(1, 1)
    rgb, flow = read_clip(stored, clip, View(top=0, left=0, height=48, width=64), Cutting(size=48))
    assert rgb.shape == (3, 3, 1, 48, 48)
    assert np.all(flow == 0)


def test_a_bad_video_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"this is no video")
    folder = tmp_path / "cache"
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        store(bad, folder=folder)
    assert list(folder.iterdir()) == []
    outcomes = data.store_all([bad, tmp_path / "none.mp4"], folder=folder)
    assert [type(outcome.error) for outcome in outcomes] == [VideoError, VideoError]


def test_order_is_balanced() -> None:
    labels = np.array([0] * 6 + [1] * 2 + [4])
    order = balanced_order(labels, 36, np.random.default_rng(0))
    assert np.bincount(labels[order])[[0, 1, 4]].tolist() == [12, 12, 12]
    assert np.bincount(order).tolist() == [2] * 6 + [6] * 2 + [12]
    uneven = labels[balanced_order(labels, 10, np.random.default_rng(1))]
    assert sorted(np.bincount(uneven)[[0, 1, 4]]) == [3, 3, 4]


def test_batches_depend_on_seed_and_epoch_alone(coordinates: Stored) -> None:
    def batches(seed: int, epoch: int, size: int) -> list[data.Batch]:
        return list(
            data.training_batches(
                [coordinates] * 5,
                [0, 0, 0, 1, 1],
                spec=ClipSpec(stack=2),
                cutting=Cutting(size=16),
                batch_size=size,
                n_clips=7,
                seed=seed,
                epoch=epoch,
            )
        )

    found = batches(0, 0, 3)
    assert [len(batch.labels) for batch in found] == [3, 3, 1]
    assert found[0].rgb.shape == (3, 1, 3, 1, 16, 16)
    assert found[0].flow.shape == (3, 1, 2, 2, 16, 16)
    rgb = np.concatenate([batch.rgb for batch in found])
    # the same clips, whatever the batches
    np.testing.assert_array_equal(rgb, np.concatenate([b.rgb for b in batches(0, 0, 7)]))
    assert not np.array_equal(rgb, np.concatenate([b.rgb for b in batches(1, 0, 3)]))
    assert not np.array_equal(rgb, np.concatenate([b.rgb for b in batches(0, 1, 3)]))


def test_processes_share_batches_and_threads_change_nothing(coordinates: Stored) -> None:
    def batches(**options: object) -> list[data.Batch]:
        cutting = Cutting(size=16)
        return list(
            data.training_batches(
                [coordinates] * 4,
                [0, 1, 0, 2],
                spec=ClipSpec(stack=2),
                cutting=cutting,
                batch_size=4,
                n_clips=9,
                seed=1,
                epoch=2,
                **options,
            )
        )

    alone, threads = batches(), batches(loaders=3)
    for one, other in zip(alone, threads, strict=True):
        assert torch.equal(one.rgb, other.rgb)
        assert torch.equal(one.flow, other.flow)
    shares = [batches(share=(rank, 3)) for rank in range(3)]
    assert [len(share) for share in shares] == [2, 2, 2]  # the ninth clip is left out
    for index, whole in enumerate(alone[:2]):
        for rank, share in enumerate(shares):
            assert torch.equal(share[index].rgb, whole.rgb[rank::3])
            assert torch.equal(share[index].flow, whole.flow[rank::3])
            assert share[index].labels.tolist() == whole.labels[rank::3].tolist()
        assert [share[index].weight for share in shares] == [1.5, 0.75, 0.75]
    assert {batch.weight for batch in alone} == {1.0}


def test_errors(coordinates: Stored, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="scale must be"):
        Cutting(scale=0.0)
    with pytest.raises(ValueError, match="size must be at least 16"):
        Cutting(size=8)
    with pytest.raises(ValueError, match="crops must be one of jitter, corners, random, got 'x'"):
        Cutting(crops="x")
    with pytest.raises(ValueError, match="crop_scales must be shares above 0 and at most 1, desc"):
        Cutting(crop_scales=(0.5, 1.0))
    with pytest.raises(ValueError, match="side must be at least 32"):
        store(coordinates.frames, folder=tmp_path, side=16)
    frames_only = Stored(Path("v.avi"), coordinates.frames, None, 12, HEIGHT, WIDTH)
    clip = ClipSpec(stack=2).at(1, 1, n_frames=12)
    with pytest.raises(ValueError, match=r"stored must have flow, got none for v\.avi"):
        read_clip(frames_only, clip, WHOLE, Cutting())
    with pytest.raises(ValueError, match=r"must have bounds of each field, got none; give the bou"):
        read_clip(coordinates, clip, WHOLE, Cutting(bound=None))


def test_a_file_that_breaks_while_in_use_is_told(coordinates: Stored) -> None:
    assert coordinates.flow is not None
    clip = ClipSpec(stack=2).at(6, 1, n_frames=12)
    whole, state = coordinates.flow.read_bytes(), coordinates.flow.stat()
    before = read_clip(coordinates, clip, WHOLE, Cutting(size=32))
    coordinates.flow.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"flow\.h5' must be what was stored .*; delete it and"
        ):
            read_clip(coordinates, clip, WHOLE, Cutting(size=32))
    coordinates.flow.write_bytes(whole)
    os.utime(coordinates.flow, ns=(state.st_atime_ns, state.st_mtime_ns))
    for one, other in zip(
        before, read_clip(coordinates, clip, WHOLE, Cutting(size=32)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((12, 40, 60, 3), {"chunks": (1, 40, 60, 3)}, "frames were not all written"),
        ((12, 40, 60, 3), {}, "frames were not all written"),
        ((12, 40, 60, 3), {"chunks": (2, 40, 60, 3)}, "frames are stored in pieces of"),
        (
            (5, 40, 60, 3),
            {"data": np.zeros((5, 40, 60, 3), np.uint8)},
            "frames are 5, image 6 is w",
        ),
    ],
)
def test_frames_that_are_not_as_stored_are_refused(
    coordinates: Stored, shape: tuple[int, ...], options: dict[str, object], reason: str
) -> None:
    with h5py.File(coordinates.frames, "w") as file:
        file["filling"] = np.zeros(100_000, np.uint8)  # so that the file is as long as it declares
        file.create_dataset("frames", shape, np.uint8, **options)
    with pytest.raises(ValueError, match=rf"frames\.h5' must be what was stored .*{reason}"):
        read_clip(coordinates, ClipSpec(stack=0).at(6, 1, n_frames=12), WHOLE, Cutting(size=32))


def test_several_frames_and_no_flow(coordinates: Stored) -> None:
    clip = ClipSpec(stack=0, frames=(0, 3, 1)).at(4, 1, n_frames=12)
    view = View(top=5, left=9, height=32, width=32, flip=True)
    rgb, flow = read_clip(coordinates, clip, view, Cutting(size=32))
    assert flow is None
    assert rgb.shape == (1, 3, 3, 32, 32)
    pixels = np.rint(rgb * 255)
    assert pixels[0, 2, :, 0, 0].tolist() == [4, 7, 5]  # the frames' numbers are their blue
    assert np.all(pixels[0, 0] == np.arange(9, 41)[::-1])
    back, none = mirrored(*mirrored(rgb, None))
    assert none is None
    np.testing.assert_array_equal(back, rgb)


def test_backward_fields_follow_the_forward_ones(coordinates: Stored) -> None:
    clip = ClipSpec(stack=4, stacking="bi-directional").at(6, 1, n_frames=12)
    cutting = Cutting(size=32, subtract_mean=False)
    with pytest.raises(ValueError, match=r"must have flow backward, got none for .*backward=True"):
        read_clip(coordinates, clip, WHOLE, cutting)
    with h5py.File(coordinates.flow, "r+") as file:
        forward = file["flow"][:]
        del file["flow"]
        numbers = np.arange(11, dtype=np.uint8)[:, None, None, None]
        backward = np.broadcast_to(np.uint8(128) - numbers, forward.shape)
        file["flow"] = np.concatenate([forward * 0 + 128 + numbers, backward], axis=3)
    _, flow = read_clip(coordinates, clip, WHOLE, cutting)
    assert flow is not None
    levels = np.rint(flow[0, :, :, 0, 0] * 127 / 20)
    assert levels.tolist() == [[6, 7, -5, -4]] * 2


def test_trajectory_stack_of_a_constant_flow_is_the_plain_one(coordinates: Stored) -> None:
    with h5py.File(coordinates.flow, "r+") as file:
        file["flow"][:] = np.array([141, 120], np.uint8)  # the same at every place and time
    cutting = Cutting(size=32, subtract_mean=False)
    for spec in (ClipSpec(stack=6), ClipSpec(stack=6, stacking="trajectory")):
        _, flow = read_clip(coordinates, spec.at(6, 1, n_frames=12), WHOLE, cutting)
        assert flow is not None
        np.testing.assert_allclose(flow[0, 0], 13 * 20 / 127, rtol=1e-6)
        np.testing.assert_allclose(flow[0, 1], -8 * 20 / 127, rtol=1e-6)


def test_grid_views_reach_from_edge_to_edge(coordinates: Stored) -> None:
    assert grid_views(coordinates, 20, 1) == [WHOLE]
    views = grid_views(coordinates, 20, 3)
    assert [(view.top, view.left) for view in views] == [
        (top, left) for top in (0, 10, 20) for left in (0, 20, 40)
    ]
    assert {(view.height, view.width) for view in views} == {(20, 20)}
    assert {view.height for view in grid_views(coordinates, 224, 2)} == {HEIGHT}
    with pytest.raises(ValueError, match="grid must be at least 1"):
        grid_views(coordinates, 20, 0)
