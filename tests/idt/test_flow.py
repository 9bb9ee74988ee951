"""Flow: known motion, plain NumPy twins, the reference program's fields."""

import numpy as np
import pytest
from scipy import ndimage

from idt import lanes
from idt.flow import dis, expand, farneback, flow_pyramid, gaussian_kernel, tvl1
from idt.flow.equations import fill_equations
from idt.flow.median import filter_median
from idt.pyramid import scales, to_grey
from idt.video import frames


def _texture(n_rows, n_columns, seed=0):
    noise = np.random.default_rng(seed).normal(size=(n_rows, n_columns))
    smooth = ndimage.gaussian_filter(noise, 2)
    return (128 + 40 * smooth / smooth.std()).clip(0, 255)


@pytest.mark.parametrize("algorithm", [farneback, dis, tvl1])
def test_a_shift_is_found(algorithm):
    texture = _texture(120, 150)
    moved = ndimage.shift(texture, (-1.25, 2.5), order=3, mode="nearest")
    flow = algorithm(texture.round().astype(np.uint8), moved.round().astype(np.uint8))
    assert flow.shape == (120, 150, 2)
    inner = flow[20:-20, 20:-20]
    error = np.linalg.norm(inner - [2.5, -1.25], axis=-1)
    assert error.mean() < 0.1


@pytest.mark.parametrize("algorithm", [farneback, dis, tvl1])
def test_equal_frames_do_not_move(algorithm):
    texture = _texture(64, 80).astype(np.uint8)
    # The outermost pixels have no second quadratic to compare with.
    np.testing.assert_allclose(algorithm(texture, texture)[10:-10, 10:-10], 0, atol=1e-3)


def test_a_constant_frame_gives_finite_flow():
    black = np.zeros((40, 50), np.uint8)
    assert np.isfinite(farneback(black, black)).all()
    assert not tvl1(black, black).any()


def test_frames_must_be_grey_and_of_one_size():
    with pytest.raises(ValueError, match="previous must be a uint8 grey image"):
        farneback(np.zeros((9, 9), np.float32), np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match="must have one size"):
        farneback(np.zeros((9, 9), np.uint8), np.zeros((9, 8), np.uint8))
    with pytest.raises(ValueError, match="at least 2 pixels a side"):
        farneback(np.zeros((9, 1), np.uint8), np.zeros((9, 1), np.uint8))
    with pytest.raises(ValueError, match="at least 16 pixels a side"):
        dis(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8))


def test_expansion_recovers_a_quadratic():
    # f = 3 + 2 x - y + 0.1 x^2 + 0.05 y^2 - 0.02 x y around the middle of the image, which the
    # [1/4 1/2 1/4] blur before the expansion only shifts by a constant.
    y, x = np.mgrid[-20:21, -20:21].astype(np.float64)
    image = 100 + 2 * x - y + 0.1 * x**2 + 0.05 * y**2 - 0.02 * x * y
    coefficients = expand(image.astype(np.float32), scales(41, 41))[0][:, 20, 20]
    np.testing.assert_allclose(coefficients, [-1, 2, 0.05, 0.1, -0.02], atol=2e-4)


@pytest.mark.parametrize("n_columns", [2, 9, 16, 1101])
@pytest.mark.parametrize("spread", [0.3, 2.0, 40.0])
def test_equations_are_those_of_quadratics_looked_up_bilinearly(spread, n_columns):
    """Smooth flow goes in eights, wild flow is gathered; a plain NumPy twin says what is right."""
    rng = np.random.default_rng(int(spread))
    n_rows = 12
    first, second = lanes.empty(5, n_rows, n_columns), lanes.empty(5, n_rows, n_columns)
    first[:], second[:] = rng.normal(size=(2, 5, n_rows, n_columns))
    flow = lanes.empty(2, n_rows, n_columns)
    flow[:] = ndimage.gaussian_filter(rng.normal(size=flow.shape), (0, 2, 30 / spread))
    flow *= spread / flow.std()
    weight_y, weight_x = np.float32(0.75), lanes.empty(n_columns)
    windows = np.empty((3, n_columns), np.float32)
    weight_x[:] = rng.random(n_columns)
    for y in range(n_rows):
        out = np.empty((5, n_columns + lanes.WIDTH), np.float32)
        u, v = flow[0, y], flow[1, y]
        fill_equations(first, second, u, v, y, weight_y, weight_x, windows, out)
        px, py = np.arange(n_columns, dtype=np.float32) + u, np.float32(y) + v
        left, top = np.floor(px), np.floor(py)
        fx, fy = px - left, py - top
        inside = (left >= 0) & (top >= 0) & (left < n_columns - 1) & (top < n_rows - 1)
        i = np.where(inside, top, 0).astype(int)
        j = np.where(inside, left, 0).astype(int)
        moved = (
            (1 - fx) * (1 - fy) * second[:, i, j]
            + fx * (1 - fy) * second[:, i, j + 1]
            + (1 - fx) * fy * second[:, i + 1, j]
            + fx * fy * second[:, i + 1, j + 1]
        )
        alone = np.concatenate([np.zeros((2, n_columns), np.float32), first[2:, y]])
        moved = np.where(inside, moved, alone)
        a = first[:, y]
        yy, xx, xy = (a[2:] + moved[2:]) * np.float32([[0.5], [0.5], [0.25]])
        by = (a[0] - moved[0]) * np.float32(0.5) + (yy * v + xy * u)
        bx = (a[1] - moved[1]) * np.float32(0.5) + (xy * v + xx * u)
        by, bx, yy, xx, xy = np.stack([by, bx, yy, xx, xy]) * (weight_y * weight_x)
        expected = [
            yy * yy + xy * xy,
            (yy + xx) * xy,
            xx * xx + xy * xy,
            yy * by + xy * bx,
            xy * by + xx * bx,
        ]
        np.testing.assert_array_equal(out[:, :n_columns], expected)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 9), (40, 57), (16, 320)])
def test_median_is_numpys(shape):
    plane, out = lanes.empty(*shape), lanes.empty(*shape)
    plane[:] = np.random.default_rng(0).normal(size=shape)
    filter_median(plane, out)
    np.testing.assert_array_equal(out, ndimage.median_filter(plane, 5, mode="nearest"))


def test_median_is_right_on_all_columns_of_zeros_and_ones():
    """The 0-1 principle: what is right on them is right on all numbers."""
    counts = np.stack(np.meshgrid(*[np.arange(6)] * 5)).reshape(5, -1)  # ones in each column
    windows = (np.arange(5)[:, None, None] < counts).astype(np.float32)  # (row, column, window)
    plane, out = lanes.empty(5, windows[0].size), lanes.empty(5, windows[0].size)
    plane[:] = windows.transpose(0, 2, 1).reshape(5, -1)
    filter_median(plane, out)
    np.testing.assert_array_equal(out[2, 2::5], counts.sum(axis=0) >= 13)


def test_gaussian_kernel_with_no_width_is_the_fixed_one():
    np.testing.assert_array_equal(gaussian_kernel(3, 0), [0.25, 0.5, 0.25])
    with pytest.raises(ValueError, match="size must be 3 where sigma is 0"):
        gaussian_kernel(5, 0)


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "hmdb_cartwheel", "ucf_icedancing_g01_c01"])
def test_flow_is_the_reference_programs_on_every_scale(shared, clip):
    golden = np.load(shared / "golden" / f"{clip}.intermediates.npz")
    greys = [to_grey(f) for f in frames(shared / "golden" / "clips" / f"{clip}.avi", stop=4)]
    levels = scales(greys[0].shape[1], greys[0].shape[0])
    expansions = [expand(grey, levels) for grey in greys]
    for t in (1, 2, 3):
        warped = expand(golden[f"greywarp_f{t}_k0"], levels)
        for name, second in (("flow", expansions[t]), ("flowwarp", warped)):
            for k, flow in enumerate(flow_pyramid(expansions[t - 1], second)):
                expected = golden[f"{name}_f{t}_k{k}"].astype(np.float32)
                error = np.linalg.norm(np.moveaxis(flow, 0, -1) - expected, axis=-1)
                assert error.mean() <= 0.01
                assert np.quantile(error, 0.999) <= 0.1
