from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deep.flow import (
    FlowSettings,
    check_fingerprint,
    computing,
    dequantise,
    fields,
    follow,
    largest,
    quantise,
)
from idt import flow as pairwise
from idt.pyramid import to_grey
from idt.video import frames as decode

GOLDEN = Path(__file__).parent.parent / "golden"


def test_levels_by_hand() -> None:
    flow = np.array([-99.0, -20.0, -0.08, -0.07, 0.0, 0.07, 0.08, 10.0, 20.0, 99.0])
    assert quantise(flow).tolist() == [1, 1, 127, 128, 128, 128, 129, 192, 255, 255]
    assert dequantise(np.array([1, 128, 255], np.uint8)).tolist() == [-20.0, 0.0, 20.0]


@given(st.floats(-20, 20), st.sampled_from([5.0, 20.0]))
def test_error_is_at_most_half_a_level(value: float, bound: float) -> None:
    flow = np.clip(np.array([value]), -bound, bound)
    back = dequantise(quantise(flow, bound=bound), bound=bound)
    assert abs(back[0] - flow[0]) <= bound / 254 + 1e-6  # float32 rounding of values up to 20


def test_negated_flow_stays_on_the_grid() -> None:
    levels = np.arange(1, 256).astype(np.uint8)
    np.testing.assert_array_equal(quantise(-dequantise(levels)), 256 - levels.astype(int))


def test_bounds_of_a_fields_own() -> None:
    flow = np.zeros((3, 4, 2), np.float32)
    assert largest(flow).tolist() == [1, 1]  # no motion is level 128, whatever the bound
    flow[1, 2], flow[0, 0] = [-3, 0.5], [2, 0.25]
    bounds = largest(flow)
    assert bounds.tolist() == [3, 0.5]
    levels = quantise(flow, bound=bounds)
    assert levels[1, 2].tolist() == [1, 255]
    assert levels[0, 0].tolist() == [213, 192]  # 128 + 2/3 * 127 = 212.7; 128 + 63.5 is 191.5
    error = np.abs(dequantise(levels, bound=bounds) - flow)
    assert np.all(error <= bounds / 254 + 1e-6)


@pytest.mark.parametrize("algorithm", ["dis-medium", "dis-fast", "tvl1", "farneback"])
def test_flow_of_a_known_shift(algorithm: str) -> None:
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.integers(0, 255, (96, 128, 3), np.uint8), (0, 0), 2.0)
    frames = [large[10:74, 20 - 2 * t : 84 - 2 * t] for t in range(3)]  # content moves right
    found = list(fields(frames, settings=FlowSettings(algorithm=algorithm)))
    assert len(found) == 2
    for field in found:
        assert field.shape == (64, 64, 2)
        assert field.dtype == np.float32
        inner = field[8:-8, 8:-8]
        # DIS is good to about a tenth of a pixel on smooth texture, Farneback draws towards rest
        atol = 0.2 if algorithm == "farneback" else 0.16
        np.testing.assert_allclose(np.median(inner, axis=(0, 1)), [2.0, 0.0], atol=atol)


def test_one_frame_has_no_flow() -> None:
    assert list(fields([np.zeros((32, 32, 3), np.uint8)], settings=FlowSettings())) == []


def test_frames_too_small_for_flow() -> None:
    with pytest.raises(ValueError, match="at least 32 pixels a side for flow, got 40x31"):
        list(fields([np.zeros((31, 40, 3), np.uint8)], settings=FlowSettings()))


def test_unknown_algorithm_lists_the_known() -> None:
    expected = "dis-medium, dis-fast, tvl1, farneback or given:NAME, got 'brox'"
    with pytest.raises(ValueError, match=expected):
        FlowSettings(algorithm="brox")
    with pytest.raises(ValueError, match="got 'given:'"):
        FlowSettings(algorithm="given:")
    with pytest.raises(ValueError, match="bound must be above 0"):
        FlowSettings(bound=0.0)


def test_tv_l1_says_its_name_and_version() -> None:
    mine = FlowSettings(algorithm="tvl1").fingerprint()
    assert mine == {"algorithm": "tvl1", "bound": 20.0, "version": 1}
    with pytest.raises(ValueError, match="'dis-medium' where 'tvl1' is needed"):
        check_fingerprint(FlowSettings().fingerprint(), mine, owner="a network")


def test_fingerprints_that_differ() -> None:
    mine = FlowSettings().fingerprint()
    check_fingerprint(mine, dict(mine), owner="a network")
    other = FlowSettings(algorithm="dis-fast", bound=10.0).fingerprint()
    with pytest.raises(ValueError, match=r"'dis-medium' where 'dis-fast'.*bound 20.0 where 10.0"):
        check_fingerprint(mine, other, owner="a network")
    own = FlowSettings(bound=None).fingerprint()
    with pytest.raises(ValueError, match=r"bound None where 20\.0 is needed"):
        check_fingerprint(own, mine, owner="a network")


def test_flow_of_another_version_of_this_program_is_refused() -> None:
    with pytest.raises(ValueError, match=r"version of flow must be 1, got 2; .*train again"):
        FlowSettings(version=2)
    with pytest.raises(ValueError, match="camera of flow must be 2, got 1"):
        FlowSettings(warped=True, camera=1)
    settings = FlowSettings(warped=True, bound=None)
    assert FlowSettings(**settings.fingerprint()) == settings


def test_given_flow_is_taken_as_it_is() -> None:
    given_flow = FlowSettings(algorithm="given:tvl1 of denseflow", bound=15)
    assert given_flow.is_given
    assert not FlowSettings().is_given
    for wrong in ({"warped": True}, {"backward": True}, {"bound": None}):
        with pytest.raises(ValueError, match="must be taken as it is given"):
            FlowSettings(algorithm="given:x", **wrong)
    with pytest.raises(ValueError, match="must be one that computes flow, got 'given:"):
        list(fields(textured(2, 1.0), settings=given_flow))


def textured(n_frames: int, step: float, *, size: int = 128) -> list[np.ndarray]:
    """Frames of a smooth texture that moves right by `step` pixels a frame."""
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.integers(0, 255, (size, size + 40, 3), np.uint8), (0, 0), 2.0)
    return [large[:, int(20 - step * t) : int(20 - step * t) + size] for t in range(n_frames)]


def test_flow_backward_is_there_beside_it() -> None:
    settings = FlowSettings(backward=True)
    found = list(fields(textured(3, 2.0, size=64), settings=settings))
    plain = list(fields(textured(3, 2.0, size=64), settings=FlowSettings()))
    assert settings.n_channels == 4
    for field, forward in zip(found, plain, strict=True):
        assert field.shape == (64, 64, 4)
        np.testing.assert_array_equal(field[..., :2], forward)
        inner = field[8:-8, 8:-8]
        np.testing.assert_allclose(np.median(inner[..., 2:], axis=(0, 1)), [-2.0, 0.0], atol=0.16)


def test_warped_flow_has_no_camera_motion_left_but_what_moves_on_its_own() -> None:
    frames = [frame.copy() for frame in textured(2, 3.0)]
    square = textured(1, 0.0)[0][:30, :30].copy()
    for time, frame in enumerate(frames):
        frame[50:80, 40 - 4 * time : 70 - 4 * time] = square  # to the left, against the camera
    settings = FlowSettings(warped=True, backward=True)
    (found,) = fields(frames, settings=settings)
    background = found[10:40, 10:-10].mean(axis=(0, 1))
    np.testing.assert_allclose(background, 0.0, atol=0.1)
    assert found[60:70, 48:60, 0].mean() < -5  # -4, less the camera's 3
    assert found[60:70, 48:60, 2].mean() > 5


def test_extras_are_part_of_the_fingerprint_only_where_asked_for() -> None:
    assert FlowSettings().fingerprint() == {"algorithm": "dis-medium", "bound": 20.0, "version": 1}
    with pytest.raises(ValueError, match="warped True where None is needed"):
        check_fingerprint(
            FlowSettings(warped=True).fingerprint(), FlowSettings().fingerprint(), owner="x"
        )


def test_paths_by_hand() -> None:
    # one row of four pixels; the first field moves every point half a pixel to the right
    flow = np.zeros((2, 1, 4, 2), np.float32)
    flow[0, ..., 0] = 0.5
    flow[1, 0, :, 1] = [0.0, 2.0, 6.0, 8.0]
    stacked = follow(flow)
    np.testing.assert_array_equal(stacked[0], flow[0])
    # pixel 3 moves to 3.5, out of the frame, and is read at its edge
    assert stacked[1, 0, :, 1].tolist() == [1.0, 4.0, 7.0, 8.0]


def test_paths_through_a_constant_flow_change_nothing() -> None:
    flow = np.full((5, 7, 9, 2), [1.3, -0.7], np.float32)
    np.testing.assert_allclose(follow(flow), flow, rtol=1e-6)


@given(st.integers(0, 999))
def test_paths_over_whole_pixels_are_plain_lookups(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flow = rng.integers(-2, 3, (4, 6, 5, 2)).astype(np.float32)
    stacked = follow(flow)
    for row, column in ((0, 0), (3, 2), (5, 4)):
        x, y = column, row
        for time in range(4):
            dx, dy = flow[time, y, x]
            assert stacked[time, row, column].tolist() == [dx, dy]
            x, y = int(np.clip(x + dx, 0, 4)), int(np.clip(y + dy, 0, 5))


def test_one_source_of_inverse_search() -> None:
    previous, current = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in textured(2, 2.0, size=64))
    for quality, preset in (("medium", 2), ("fast", 1)):
        plain = cv2.DISOpticalFlow.create(preset).calc(previous, current, None)
        found = pairwise.dis(previous, current, quality=quality, from_rest=False)
        np.testing.assert_array_equal(found, plain)


def test_pairs_in_batches_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU is given, here on the processor: runs of pairs that share a frame."""
    images = textured(4, 1.5, size=32)
    settings = FlowSettings(algorithm="tvl1")
    expected = list(fields(images, settings=settings))
    sizes = []

    def batched(previous: Sequence[np.ndarray], current: Sequence[np.ndarray]) -> object:
        sizes.append(len(previous))
        return computing._tvl1_on(torch.device("cpu"), previous, current)

    monkeypatch.setattr(computing, "_method", lambda *_: (batched, 2))
    found = list(fields(images, settings=settings))
    assert sizes == [2, 1]
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)


def test_devices_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="device must be cpu for farneback, got 'cuda'"):
        list(fields([], settings=FlowSettings(algorithm="farneback"), device="cuda"))
    for name in ("cuda:99", "no such"):
        with pytest.raises(ValueError, match=f"device must be .* got '{name}'"):
            list(fields([], settings=FlowSettings(algorithm="tvl1"), device=name))


def displacement(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where a homography leads every pixel, less the pixel: (row, column, 2)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    found = np.stack([x, y, np.ones_like(x)], -1) @ matrix.T
    return found[..., :2] / found[..., 2:] - np.stack([x, y], -1)


def end_point_errors(
    algorithm: str, grey: np.ndarray, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of flow to a warped frame and of the same flow in 8 bits, where the frame stays inside."""
    size = grey.shape[::-1]
    moved = cv2.warpPerspective(grey, matrix, size, flags=cv2.INTER_CUBIC)
    images = [np.repeat(each[..., None], 3, axis=2) for each in (grey, moved)]
    (flow,) = fields(images, settings=FlowSettings(algorithm=algorithm))
    truth = displacement(matrix, grey.shape)
    x, y = np.moveaxis(truth + np.stack(np.meshgrid(*map(np.arange, size)), -1), -1, 0)
    inside = (x > 8) & (x < size[0] - 9) & (y > 8) & (y < size[1] - 9)
    inside[:8] = inside[-8:] = inside[:, :8] = inside[:, -8:] = False
    stored = dequantise(quantise(flow))
    errors = [np.linalg.norm(each - truth, axis=-1) for each in (flow, stored)]
    return np.where(inside, errors[0], np.nan), np.where(inside, errors[1], np.nan)


@pytest.mark.parametrize("algorithm", ["tvl1", "farneback"])
@pytest.mark.parametrize(
    "matrix",
    [
        [[0.9998, -0.02, 2.1], [0.02, 0.9998, -1.3], [0, 0, 1]],
        [[1.03, 0, -2.4], [0, 1.03, -1.8], [0, 0, 1]],
        [[1, 0.03, -1.5], [0, 1, 0.7], [1e-4, 0, 1]],
    ],
    ids=["turn", "zoom", "tilt"],
)
def test_warps_are_found_to_a_tenth_of_a_pixel(algorithm: str, matrix: list[list[float]]) -> None:
    (frame,) = textured(1, 0.0, size=160)
    flow, stored = end_point_errors(algorithm, frame[:120, :, 0], np.array(matrix))
    assert np.nanmean(flow) <= 0.1
    assert abs(np.nanmean(stored) - np.nanmean(flow)) <= 0.1  # what the 8 bits cost


@pytest.mark.parametrize("algorithm", ["tvl1", "farneback"])
def test_the_embedded_clips_frames_by_its_homography(algorithm: str) -> None:
    grey = to_grey(next(decode(GOLDEN / "synthetic_pan.avi")))
    matrix = np.array([[1.004, -0.012, 2.5], [0.012, 1.004, -1.2], [0, 0, 1]])
    assert np.nanmean(end_point_errors(algorithm, grey, matrix)[0]) <= 0.1


@pytest.mark.parametrize(
    "clip", ["hmdb_cartwheel", "k400_armwrestling", "kth_boxing_d1", "ucf_icedancing_g01_c01"]
)
def test_golden_frames_by_the_references_homographies(shared: Path, clip: str) -> None:
    """Real frames, moved as the reference program found the camera to move: the truth is known."""
    (frame,) = decode(shared / "golden" / "clips" / f"{clip}.avi", start=5, stop=6)
    with np.load(shared / "golden" / f"{clip}.homography.npz") as found:
        matrix = found["H"][list(found["frame"]).index(6)]
    grey = to_grey(frame)
    assert np.nanmean(end_point_errors("tvl1", grey, matrix)[0]) <= 0.1
    # Farneback needs texture: the tenth of the pixels that has most of it
    error = end_point_errors("farneback", grey, matrix)[0]
    texture = np.where(np.isnan(error), 0, cv2.cornerMinEigenVal(grey, 15))
    assert error[texture >= np.quantile(texture[texture > 0], 0.9)].mean() <= 0.1


def test_eight_bits_cost_less_than_a_tenth_of_a_pixel_on_real_pairs(shared: Path) -> None:
    for clip in ("kth_boxing_d1", "ucf_icedancing_g01_c01"):
        pair = [f[..., ::-1] for f in decode(shared / "golden" / "clips" / f"{clip}.avi", stop=2)]
        (flow,) = fields(pair, settings=FlowSettings(algorithm="tvl1"))
        own = largest(flow)
        for bound in (20.0, own):
            kept = dequantise(quantise(flow, bound=bound), bound=bound)
            assert np.linalg.norm(kept - flow, axis=-1).mean() <= 0.1
