from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep.flow import FlowSettings, check_fingerprint, dequantise, fields, follow, quantise


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


@pytest.mark.parametrize("algorithm", ["dis-medium", "dis-fast", "tvl1"])
def test_flow_of_a_known_shift(algorithm: str) -> None:
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.integers(0, 255, (96, 128, 3), np.uint8), (0, 0), 2.0)
    frames = [large[10:74, 20 - 2 * t : 84 - 2 * t] for t in range(3)]  # content moves right
    found = list(fields(frames, settings=FlowSettings(algorithm=algorithm)))
    assert len(found) == 2
    for field in found:
        assert field.shape == (64, 64, 2)
        assert field.dtype == np.uint8
        inner = dequantise(field)[8:-8, 8:-8]
        # DIS is good to about a tenth of a pixel on smooth texture
        np.testing.assert_allclose(np.median(inner, axis=(0, 1)), [2.0, 0.0], atol=0.16)


def test_one_frame_has_no_flow() -> None:
    assert list(fields([np.zeros((32, 32, 3), np.uint8)], settings=FlowSettings())) == []


def test_frames_too_small_for_flow() -> None:
    with pytest.raises(ValueError, match="at least 32 pixels a side for flow, got 40x31"):
        list(fields([np.zeros((31, 40, 3), np.uint8)], settings=FlowSettings()))


def test_unknown_algorithm_lists_the_known() -> None:
    with pytest.raises(ValueError, match="dis-medium, dis-fast, tvl1, got 'brox'"):
        FlowSettings(algorithm="brox")
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
        inner = dequantise(field)[8:-8, 8:-8]
        np.testing.assert_allclose(np.median(inner[..., 2:], axis=(0, 1)), [-2.0, 0.0], atol=0.16)


def test_warped_flow_has_no_camera_motion_left_but_what_moves_on_its_own() -> None:
    frames = [frame.copy() for frame in textured(2, 3.0)]
    square = textured(1, 0.0)[0][:30, :30].copy()
    for time, frame in enumerate(frames):
        frame[50:80, 40 - 4 * time : 70 - 4 * time] = square  # to the left, against the camera
    settings = FlowSettings(warped=True, backward=True)
    (warped,) = fields(frames, settings=settings)
    found = dequantise(warped)
    background = found[10:40, 10:-10].mean(axis=(0, 1))
    np.testing.assert_allclose(background, 0.0, atol=0.16)  # DIS: a tenth of a pixel
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
