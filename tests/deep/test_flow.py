from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep.flow import FlowSettings, check_fingerprint, dequantise, fields, quantise


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


@pytest.mark.parametrize("algorithm", ["dis-medium", "dis-fast"])
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
    with pytest.raises(ValueError, match="dis-medium, dis-fast, got 'tvl1'"):
        FlowSettings(algorithm="tvl1")
    with pytest.raises(ValueError, match="bound must be above 0"):
        FlowSettings(bound=0.0)


def test_fingerprints_that_differ() -> None:
    mine = FlowSettings().fingerprint()
    check_fingerprint(mine, dict(mine), owner="a network")
    other = FlowSettings(algorithm="dis-fast", bound=10.0).fingerprint()
    with pytest.raises(ValueError, match=r"'dis-medium' where 'dis-fast'.*bound 20.0 where 10.0"):
        check_fingerprint(mine, other, owner="a network")
