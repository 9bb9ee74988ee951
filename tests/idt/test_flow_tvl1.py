"""TV-L1: steps against plain NumPy, known warps, opencv-contrib's flow on real pairs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from idt import lanes
from idt.flow import tvl1, tvl1_energy
from idt.flow.tvl1 import PAD, _differentiate, _linearise, _step
from idt.lanes import WIDTH
from idt.pyramid import to_grey
from idt.video import frames

GOLDEN = Path(__file__).parent.parent / "golden"


def _smooth_noise(shape, sigma, rng):
    noise = ndimage.gaussian_filter(rng.normal(size=shape), (0,) * (len(shape) - 2) + (sigma,) * 2)
    return noise / noise.std()


def _memory(n_rows, n_columns):
    """State and data of a level, whose numbers around the frame are zero."""
    pitch = (n_columns // WIDTH + 3) * WIDTH
    state, data = lanes.empty(n_rows + 1, 6, pitch), lanes.empty(n_rows, 4, pitch)
    state[:], data[:] = 0, 0
    inside = np.zeros(n_columns + WIDTH, np.float32)
    inside[:n_columns] = 1
    return state, data, inside


def _planes(rows, n_columns):
    """View (plane, row, column) of what belongs to the frame."""
    return rows[..., WIDTH : WIDTH + n_columns].swapaxes(0, 1)


def _put_flow(state, flow):
    n_columns = flow.shape[2]
    _planes(state[1:], n_columns)[:2] = flow
    state[1:, :2, WIDTH + n_columns] = flow[..., -1].T


def test_central_differences_by_hand():
    out = np.ones((3, 2 + 2 * PAD, 3 + 2 * PAD), np.float32)
    _differentiate(np.array([[1, 2, 4], [3, 6, 9]], np.float32), out)
    inner = out[:, PAD:-PAD, PAD:-PAD]
    np.testing.assert_array_equal(inner[0], [[1, 2, 4], [3, 6, 9]])
    np.testing.assert_array_equal(inner[1], [[0.5, 1.5, 1], [1.5, 3, 1.5]])
    np.testing.assert_array_equal(inner[2], [[1, 2, 2.5], [1, 2, 2.5]])
    assert out.sum() == inner.sum()  # zeros all around


def _keys(distance):
    """Keys' cubic kernel with a slope of -0.75 at 1, by its definition."""
    d = np.abs(distance)
    near = 1.25 * d**3 - 2.25 * d**2 + 1
    far = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


@pytest.mark.parametrize("n_columns", [2, 9, 16, 45])
@pytest.mark.parametrize("spread", [0.3, 2.0, 30.0])
def test_the_second_frame_is_looked_up_by_cubics(spread, n_columns):
    """Smooth flow goes in eights, wild flow is gathered; beyond the frame all is zero."""
    rng = np.random.default_rng(int(spread))
    n_rows = 12
    first = lanes.empty(n_rows, n_columns)
    first[:] = rng.uniform(0, 255, first.shape)
    image = rng.uniform(0, 255, first.shape).astype(np.float32)
    second = lanes.empty(3, n_rows + 2 * PAD, n_columns + 2 * PAD)
    _differentiate(image, second)
    flow = (spread * _smooth_noise((2, n_rows, n_columns), 2, rng)).astype(np.float32)
    state, data, _ = _memory(n_rows, n_columns)
    _put_flow(state, flow)
    _linearise(first, second, state, data)
    y, x = np.mgrid[:n_rows, :n_columns]
    inner = second[:, PAD:-PAD, PAD:-PAD].astype(np.float64)
    weight_x = _keys((x + flow[0])[..., None] - np.arange(n_columns))
    weight_y = _keys((y + flow[1])[..., None] - np.arange(n_rows))
    warped, gx, gy = np.einsum("yxi,yxj,cij->cyx", weight_y, weight_x, inner)
    square = gx**2 + gy**2
    found = _planes(data, n_columns)
    # float32 places up to 45 pixels are good to 4e-6, gradients are up to 128 a pixel
    np.testing.assert_allclose(found[0], gx, atol=5e-3)
    np.testing.assert_allclose(found[1], gy, atol=5e-3)
    clear = square > 1
    np.testing.assert_allclose(found[2][clear] * square[clear], 1, atol=2e-2)
    assert not found[2][square == 0].any()
    residue = warped - gx * flow[0] - gy * flow[1] - first
    np.testing.assert_allclose(found[3], residue, atol=5e-3 * max(1, np.abs(flow).max()))


@pytest.mark.parametrize("n_columns", [2, 9, 16, 45])
def test_a_step_is_that_of_the_papers(n_columns):
    """IPOL 2013, algorithm 1, lines 9 to 12, in plain NumPy."""
    rng = np.random.default_rng(n_columns)
    n_rows = 11
    flow = rng.normal(size=(2, n_rows, n_columns))
    dual = np.zeros((2, 2, n_rows, n_columns))  # (flow's component, along x or y, row, column)
    gradient = rng.normal(0, 9, (2, n_rows, n_columns))
    gradient[:, 2:5, :2] = 0
    residue = rng.normal(0, 20, (n_rows, n_columns))
    square = (gradient**2).sum(axis=0)
    state, data, inside = _memory(n_rows, n_columns)
    data[:] = rng.normal(size=data.shape)  # what stands around the frame must not matter
    found = _planes(data, n_columns)
    found[:2], found[3] = gradient, residue
    found[2] = np.divide(1, square, where=square > 0, out=np.zeros_like(square))
    _put_flow(state, flow)
    for _ in range(7):
        change = _step(state, data, inside)
        difference = residue + (gradient * flow).sum(axis=0)
        reach = np.full_like(difference, 0.15 * 0.3)
        still = square > 0
        reach[still] = np.minimum(reach[still], np.abs(difference[still]) / square[still])
        auxiliary = flow - np.sign(difference) * reach * gradient
        divergence = np.diff(dual[:, 0], axis=2, prepend=0) + np.diff(dual[:, 1], axis=1, prepend=0)
        moved = auxiliary + 0.3 * divergence
        expected_change = ((moved - flow) ** 2).sum()
        flow = moved
        slope = np.stack(
            [
                np.diff(flow, axis=2, append=flow[:, :, -1:]),
                np.diff(flow, axis=1, append=flow[:, -1:]),
            ],
            axis=1,
        )
        length = np.hypot(slope[:, 0], slope[:, 1])[:, None]
        dual = (dual + 0.25 / 0.3 * slope) / (1 + 0.25 / 0.3 * length)
        np.testing.assert_allclose(_planes(state[1:], n_columns)[:2], flow, atol=1e-4)  # float32
        found_dual = _planes(state[1:], n_columns)[2:].reshape(dual.shape)
        np.testing.assert_allclose(found_dual, dual, atol=1e-4)
        assert change == pytest.approx(expected_change, rel=1e-4)


def test_energy_by_hand():
    previous, current = np.full((4, 5), 50, np.uint8), np.full((4, 5), 60, np.uint8)
    flow = np.zeros((4, 5, 2), np.float32)
    assert tvl1_energy(previous, current, flow) == pytest.approx(0.15 * 10 * 20)
    flow[:, 2:, 0], flow[:, 2:, 1] = 3, -1  # a jump of 3 and one of 1 in every row
    assert tvl1_energy(previous, current, flow) == pytest.approx(0.15 * 10 * 20 + 4 * (3 + 1))


@pytest.mark.parametrize("kind", ["turn", "zoom", "shear"])
def test_smooth_warps_are_found_to_a_tenth_of_a_pixel(kind):
    matrix = {
        "turn": [[0.9998, -0.02, 2.1], [0.02, 0.9998, -1.3]],
        "zoom": [[1.03, 0, -2.4], [0, 1.03, -1.8]],
        "shear": [[1, 0.03, -1.5], [0, 1, 0.7]],
    }[kind]
    matrix = np.array(matrix)
    texture = _smooth_noise((120, 160), 2, np.random.default_rng(0)) * 40 + 128
    y, x = np.mgrid[:120, :160].astype(np.float64)
    truth = np.stack([x, y], -1) @ matrix[:, :2].T + matrix[:, 2] - np.stack([x, y], -1)
    back = np.linalg.inv(matrix[:, :2])
    source = (np.stack([x, y], -1) - matrix[:, 2]) @ back.T
    moved = ndimage.map_coordinates(texture, np.moveaxis(source[..., ::-1], -1, 0), order=3)
    images = (image.clip(0, 255).round().astype(np.uint8) for image in (texture, moved))
    error = np.linalg.norm(tvl1(*images) - truth, axis=-1)
    assert error[12:-12, 12:-12].mean() <= 0.1


def _check_against_opencv(previous, current):
    flow = tvl1(previous, current)
    peer = cv2.optflow.DualTVL1OpticalFlow_create().calc(previous, current, None)
    assert np.linalg.norm(flow - peer, axis=-1).mean() <= 0.1
    energy, peer_energy = (tvl1_energy(previous, current, found) for found in (flow, peer))
    assert energy <= 1.01 * peer_energy


def test_the_embedded_clip_moves_as_opencv_contrib_says():
    greys = [to_grey(frame) for frame in frames(GOLDEN / "synthetic_pan.avi", stop=3)]
    _check_against_opencv(*greys[1:])


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "k400_armwrestling", "ucf_icedancing_g01_c01"])
def test_real_pairs_move_as_opencv_contrib_says(shared, clip):
    path = shared / "golden" / "clips" / f"{clip}.avi"
    greys = [to_grey(frame) for frame in frames(path, stop=3)]
    _check_against_opencv(*greys[1:])


@pytest.mark.parametrize("shape", [(2, 2), (16, 16), (17, 90), (90, 17)])
def test_frames_of_any_size_will_do(shape):
    rng = np.random.default_rng(0)
    flow = tvl1(*rng.integers(0, 256, (2, *shape), np.uint8))
    assert flow.shape == (*shape, 2)
    assert np.isfinite(flow).all()
