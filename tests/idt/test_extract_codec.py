"""Extraction from a codec's motion vectors: the scale by hand, rendered motion, real clips."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from idt.camera import HumanBoxes
from idt.extract import Extraction, ExtractOptions, extract
from idt.extract.codec_scale import block_pairs, codec_scale, shrink_to_scale, spread_blocks
from idt.extract.level import Level
from idt.extract.source import Picture, Shrinkage
from idt.extract.stages import Stages
from idt.pyramid import Scale
from idt.video import VideoError, read

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
SIZE = (192, 256)
N_FRAMES = 24
SQUARE = (80, 48, 64)  # left, top and side in pixels of what moves
PLAIN = ExtractOptions.preset("codec")
SUBTRACTING = ExtractOptions.preset("codec", stabilise="subtract")


def texture(n_rows, n_columns, seed):
    """Noise of several grain sizes, uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((n_rows, n_columns), np.float32)
    for grain in (3, 6, 12, 24):
        noise = rng.normal(size=(n_rows // grain + 2, n_columns // grain + 2)).astype(np.float32)
        size = (n_columns, n_rows)
        total += cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC) * np.sqrt(grain)
    return np.clip(128 + 40 * total / total.std(), 16, 235).astype(np.uint8)


def render(path, *, camera, square, encoder="mpeg4"):
    """Write a background and a square on it that move by so many pixels a frame."""
    n_rows, n_columns = SIZE
    left, top, side = SQUARE
    behind, thing = texture(n_rows + 100, n_columns + 100, 0), texture(side, side, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = n_rows, n_columns, "yuv420p"
        stream.bit_rate = 4_000_000
        for t in range(N_FRAMES):
            x, y = 50 - camera[0] * t, 50 - camera[1] * t
            grey = behind[y : y + n_rows, x : x + n_columns].copy()
            row, column = top + square[1] * t, left + square[0] * t
            grey[row : row + side, column : column + side] = thing
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), "bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """A square that moves by (3, 1) pixels a frame over a background at rest."""
    path = tmp_path_factory.mktemp("codec") / "moving.avi"
    return render(path, camera=(0, 0), square=(3, 1))


@pytest.fixture(scope="module")
def panned(tmp_path_factory):
    """A square that stays in its place while the camera pans by (2, 0)."""
    path = tmp_path_factory.mktemp("codec") / "panned.mp4"
    return render(path, camera=(2, 0), square=(0, 0), encoder="libx264")


def picture_by_hand(blocks, *, height=22, width=30, shrinkage=None):
    image = np.zeros((height, width), np.uint8)
    return Picture(3, image, shrinkage or Shrinkage(), np.asarray(blocks, np.float32))


def test_the_scale_is_a_quarter():
    assert codec_scale(130, 99) == Scale(4.0, 32, 24)
    grey = np.arange(10 * 9).reshape(9, 10).astype(np.uint8)
    small = shrink_to_scale(grey, codec_scale(10, 9))
    expected = grey[:8, :8].reshape(2, 4, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small, expected, atol=0.5)


@pytest.mark.parametrize(
    ("options", "patch_size", "stride"),
    [
        ({}, 8, 2),
        ({"stride": 4, "patch_size": 48}, 12, 1),
        ({"stride": 1, "patch_size": 4, "n_cells": 3}, 3, 1),
    ],
)
def test_window_and_stride_shrink_with_the_frame(options, patch_size, stride):
    codec = Level(Scale(4.0, 40, 30), ExtractOptions.preset("codec", **options), Stages())
    assert (codec.patch_size, codec.stride) == (patch_size, stride)
    plain = Level(Scale(1.0, 40, 30), ExtractOptions(), Stages())
    assert (plain.patch_size, plain.stride) == (32, 5)


def test_blocks_are_spread_over_the_pixels_that_they_cover():
    # 3 x 4 blocks cover 24 x 32 pixels, of which the frame has 22 x 30 and the scale 20 x 28.
    blocks = np.zeros((2, 3, 4), np.float32)
    blocks[0] = [8, 16, 24, 32]
    blocks[1] = -4
    flow = spread_blocks(picture_by_hand(blocks), codec_scale(30, 22))
    assert flow.shape == (2, 5, 7)
    assert flow.flags.c_contiguous
    np.testing.assert_allclose(flow[0], [[2, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]] * 5)
    np.testing.assert_allclose(flow[1], -1)


def test_blocks_of_a_shrunk_frame_move_less():
    blocks = np.ones((2, 3, 4)) * [[[8]], [[4]]]
    picture = picture_by_hand(blocks, height=12, width=16, shrinkage=Shrinkage(0.5, 0.5))
    flow = spread_blocks(picture, codec_scale(16, 12))
    np.testing.assert_allclose(flow, np.ones((2, 3, 4)) * [[[1]], [[0.5]]])


def test_blocks_match_their_centres_with_where_they_came_from():
    blocks = np.zeros((2, 3, 4))
    blocks[:, 1, 2] = 5, -2
    allowed = np.ones((22, 30), np.bool_)
    allowed[:8] = False
    before, after = block_pairs(picture_by_hand(blocks), allowed)
    # Centres at 3.5, 11.5, 19.5 and 27.5 along x; the upper row is not allowed.
    np.testing.assert_array_equal(after[:, 0], [3.5, 11.5, 19.5, 27.5] * 2)
    np.testing.assert_array_equal(after[:, 1], [11.5] * 4 + [19.5] * 4)
    np.testing.assert_array_equal(before[2], [14.5, 13.5])
    np.testing.assert_array_equal(np.delete(before, 2, axis=0), np.delete(after, 2, axis=0))
    half = picture_by_hand(blocks, height=11, width=15, shrinkage=Shrinkage(0.5, 0.5))
    before, after = block_pairs(half, None)
    np.testing.assert_array_equal(after[6], [9.5, 5.5])
    np.testing.assert_array_equal(before[6], [7, 6.5])


def test_a_moving_square_is_tracked(moving):
    extraction = Extraction(moving, options=PLAIN)
    blocks = list(extraction.blocks())
    points = np.concatenate([block.points for block in blocks])
    left, top, side = SQUARE
    inside = (
        (points[:, 0, 0] > left)
        & (points[:, 0, 1] > top)
        & (points[:, -1, 0] < left + side + 3 * N_FRAMES)
        & (points[:, -1, 1] < top + side + N_FRAMES)
    )
    assert len(points) > 100
    assert inside.mean() > 0.9
    steps = np.diff(points[inside], axis=1)
    np.testing.assert_allclose(np.median(steps, axis=(0, 1)), [3, 1], atol=0.25)
    assert {block.scale for block in blocks} == {Scale(4.0, 64, 48)}
    assert {len(block.descriptors) for block in blocks} == {5}


def test_slow_motion_is_motion_for_the_histograms(tmp_path):
    """A pixel a frame is a quarter of one on the scale, below the threshold of 0.4 for none."""
    path = render(tmp_path / "slow.avi", camera=(1, 0), square=(1, 0))
    table = extract(path, options=PLAIN)
    assert len(table) > 100
    cells = table.descriptors["hof"].reshape(len(table), -1, 9)
    strongest = np.median(cells, axis=(0, 1)).argmax()
    assert strongest == 0
    shapes = table.descriptors["trajectory"].reshape(len(table), 15, 2)
    np.testing.assert_allclose(np.median(shapes, axis=(0, 1)), [1 / 15, 0], atol=0.01)


def test_a_pan_is_subtracted(panned):
    plain, subtracted = (extract(panned, options=each) for each in (PLAIN, SUBTRACTING))
    left, top, side = SQUARE

    def share(table):
        x, y = table.column("mean_x"), table.column("mean_y")
        inside = (x > left - 16) & (x < left + side + 16) & (y > top - 16) & (y < top + side + 16)
        return inside.mean()

    # The pan moves the background and leaves the square: without it, the other way round.
    assert len(plain) > 100
    assert share(plain) < 0.3
    assert len(subtracted) < len(plain)
    for step in Extraction(panned, options=SUBTRACTING).steps():
        shift = step.pair.camera.homography @ [128, 96, 1]
        np.testing.assert_allclose(shift[:2] / shift[2], [130, 96], atol=0.5)
    described = step.pair.described[0]
    middle = described[:, 22:26, 26:30]  # of the square, in pixels of the scale
    np.testing.assert_allclose(np.median(middle, axis=(1, 2)), [-0.5, 0], atol=0.1)
    np.testing.assert_allclose(np.median(described, axis=(1, 2)), [0, 0], atol=0.1)


def test_keypoints_are_matched_beside_the_blocks(panned):
    options = ExtractOptions.preset("codec", stabilise="subtract", features="orb")
    step = next(Extraction(panned, options=options).steps())
    assert step.pair.camera.n_flow_pairs == SIZE[0] // 8 * SIZE[1] // 8
    assert step.pair.camera.n_surf_pairs > 50


def test_inside_boxes_no_block_is_matched(panned):
    box = np.float32([[64, 32, 159, 127, 1]])
    boxes = HumanBoxes(Path("boxes.txt"), (box,) * N_FRAMES)
    extraction = Extraction(panned, options=SUBTRACTING, boxes=boxes)
    for step in extraction.steps():
        points = step.pair.camera.current_points
        assert len(points) == (SIZE[0] * SIZE[1] - 96 * 96) / 64
        assert not ((points > [64, 32]) & (points < [159, 127])).all(axis=1).any()
    assert extraction.n_frames == N_FRAMES


def test_people_are_looked_for_in_grey_frames(panned, monkeypatch):
    shapes = []

    def detect_people(image):
        shapes.append(image.shape)
        return np.zeros((0, 5), np.float32)

    monkeypatch.setattr("idt.extract.motion.detect_people", detect_people)
    options = ExtractOptions.preset("codec", stabilise="subtract", detect_people=True)
    Extraction(panned, options=options, stop=3).table()
    assert shapes == [(*SIZE, 3)] * 3


def test_known_camera_motion_is_subtracted(panned):
    known = {t: np.array([[1, 0, 2], [0, 1, 0], [0, 0, 1]], np.float64) for t in range(1, N_FRAMES)}
    table = extract(panned, options=SUBTRACTING, homographies=known)
    assert 0 < len(table) < len(extract(panned, options=PLAIN))


def test_ranges_scaled_frames_and_threads(moving):
    whole = extract(moving, options=PLAIN)
    np.testing.assert_array_equal(extract(moving, options=PLAIN, threads=3).meta, whole.meta)
    part = Extraction(moving, options=PLAIN, stop=18).table()
    np.testing.assert_array_equal(part.meta[:, :9], whole.meta[whole.column("frame") < 18, :9])
    later = Extraction(moving, options=PLAIN, start=5).table()
    assert later.column("frame").min() == 20
    half = Extraction(moving, options=PLAIN, max_side=128).table()
    middle = np.median(half.meta[:, 1:3], axis=0)
    np.testing.assert_allclose(2 * middle, np.median(whole.meta[:, 1:3], axis=0), atol=8)
    # Steps of 3.2 pixels are of 1.6, some of them lost where blocks mix square and background.
    assert 0.5 * 15 * 1.58 < np.median(half.column("length")) < 1.1 * 15 * 1.58


@pytest.mark.parametrize("kind", ["array", "folder", "ffv1", "missing"])
def test_what_has_no_vectors_is_refused(kind, tmp_path):
    video, message = {
        "array": (read(CLIP, stop=3), "'three': arrays have no motion vectors; use another flow"),
        "folder": (tmp_path, "a folder has no motion vectors; use another flow"),
        "ffv1": (CLIP, r"synthetic_pan\.avi.*its codec, ffv1, gives no motion vectors; use anoth"),
        "missing": (tmp_path / "none.avi", r"none\.avi.*no such file"),
    }[kind]
    with pytest.raises(VideoError, match=message):
        extract(video, options=PLAIN, name="three")


@pytest.mark.parametrize("clip", ["handshake/set1_34_6_0.avi", "push/set2_16_13_5.avi"])
def test_real_clips_give_tracks_where_the_dense_flow_does(shared, clip):
    path = shared / "data" / "ut_interaction" / clip
    table = extract(path, options=PLAIN)
    dense = extract(path, options=ExtractOptions.preset("fast", stabilise="none"))
    assert len(table) > 300

    def places(each):
        cells = np.floor(each.meta[:, 7:9] * 6).astype(int)
        return np.bincount(cells[:, 0] * 6 + cells[:, 1], minlength=36) / len(each)

    assert np.corrcoef(places(table), places(dense))[0, 1] > 0.7
