"""Lanes against NumPy: every operation, bit by bit."""

import numpy as np
import pytest
from numba import TypingError, njit

from idt import lanes
from idt.lanes import (
    WIDTH,
    absolute,
    bits_above,
    choose_above,
    choose_equal,
    clip,
    fetch,
    fill,
    floor,
    gather,
    highest,
    larger,
    load,
    lowest,
    ramp,
    rint,
    root,
    smaller,
    to_floats,
    to_wholes,
    total,
)
from idt.lanes import store as put


@njit
def _calculate(a, b, out, extremes):
    x, y = load(a, 3), load(b, 0)
    put(out, 0 * WIDTH, x + y)
    put(out, 1 * WIDTH, x - y)
    put(out, 2 * WIDTH, x * y)
    put(out, 3 * WIDTH, floor(x))
    put(out, 4 * WIDTH, x * y + fill(np.float32(1e-3)))
    put(out, 5 * WIDTH, ramp())
    put(out, 6 * WIDTH, choose_equal(floor(x), floor(y), x, y))
    put(out, 7 * WIDTH, clip(x, fill(np.float32(-0.5)), y))
    put(out, 8 * WIDTH, smaller(x, y))
    put(out, 9 * WIDTH, larger(x, y))
    put(out, 10 * WIDTH, choose_above(x, y, x, y))
    put(out, 11 * WIDTH, rint(fill(np.float32(4)) * x))
    put(out, 12 * WIDTH, absolute(x))
    put(out, 13 * WIDTH, x / y)
    extremes[0], extremes[1], extremes[2] = lowest(x), highest(x), bits_above(x, y)
    extremes[3] = total(x)


def test_operations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.normal(size=(2, 3 + WIDTH)).astype(np.float32)
        a[3] = rng.integers(-9, 9) / 8  # four times that may lie halfway between whole numbers
        x, y = a[3:], np.abs(b[:WIDTH])
        out, extremes = np.empty((14, WIDTH), np.float32), np.empty(4, np.float32)
        _calculate(a, y, out, extremes)
        expected = [
            x + y,
            x - y,
            x * y,
            np.floor(x),
            x * y + np.float32(1e-3),  # rounded twice: no fused multiply-add
            np.arange(WIDTH),
            np.where(np.floor(x) == np.floor(y), x, y),
            np.clip(x, -0.5, y),
            np.minimum(x, y),
            np.maximum(x, y),
            np.maximum(x, y),
            np.rint(4 * x),
            np.abs(x),
            x / y,
        ]
        np.testing.assert_array_equal(out, np.float32(expected))
        pairs = x[:4] + x[4:]
        pairs = pairs[:2] + pairs[2:]
        bits = 2 ** np.arange(WIDTH) @ (x > y)
        np.testing.assert_array_equal(extremes, [x.min(), x.max(), bits, pairs[0] + pairs[1]])


@njit
def _calculate_wholes(a, b, grey, out, floats):
    x, y = load(a, 3), load(b, 0)
    put(out, 0 * WIDTH, x + y)
    put(out, 1 * WIDTH, x - y)
    put(out, 2 * WIDTH, x * y)
    put(out, 3 * WIDTH, load(grey, 1))
    put(out, 4 * WIDTH, to_wholes(load(floats, WIDTH)))
    put(out, 5 * WIDTH, x & y)
    put(out, 6 * WIDTH, x >> fill(np.int32(3)))
    put(grey, 0, load(grey, 1) + fill(np.int32(300)))
    put(floats, 0, to_floats(x))


def test_operations_on_whole_numbers_are_those_of_numpy():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(-30000, 30000, (2, 3 + WIDTH)).astype(np.int32)
        grey = rng.integers(0, 256, 1 + WIDTH).astype(np.uint8)
        x, y = a[3:] << 10, b[:WIDTH].copy()
        a[3:] = x
        out, floats = np.empty((7, WIDTH), np.int32), np.empty(2 * WIDTH, np.float32)
        floats[WIDTH:] = parts = rng.normal(scale=9, size=WIDTH)
        found = grey.copy()
        _calculate_wholes(a, y, found, out, floats)
        expected = [x + y, x - y, x * y, grey[1:], np.trunc(parts), x & y, x >> 3]
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(found[:-1], (grey[1:].astype(int) + 300) % 256)
        np.testing.assert_array_equal(floats[:WIDTH], x.astype(np.float32))


@njit
def _bound_and_root(a, b, out):
    put(out, 0, larger(load(b, 0), load(a, 0)))
    put(out, WIDTH, root(load(a, 0)))


def test_the_second_of_larger_and_roots_keep_nan():
    a = np.array([0.25, 2, -1, -0.0, np.nan, 1e-40, np.inf, 3], np.float32)
    b = np.array([0.5, 1, 0, -1, 0, 1, 0, 3], np.float32)
    out = np.empty((2, WIDTH), np.float32)
    _bound_and_root(a, b, out)
    np.testing.assert_array_equal(out[0], [0.5, 2, 0, 0, np.nan, 1, np.inf, 3])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(out[1], np.sqrt(a))


@njit
def _fetch(array):
    fetch(array, 5)
    fetch(array, 10**6)


def test_what_is_fetched_stays_as_it_is():
    array = np.arange(20, dtype=np.float32)
    _fetch(array)  # far behind the end nothing happens
    np.testing.assert_array_equal(array, np.arange(20))


@njit
def _gather(image, rows, columns, out):
    put(out, 0, gather(image, 2, load(rows, 0), load(columns, 0), image.shape[1]))


def test_gather_takes_what_the_indices_name():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(9, 13)).astype(np.float32)
    rows, columns = rng.integers(0, 9, WIDTH), rng.integers(0, 11, WIDTH)
    out = np.empty(WIDTH, np.float32)
    _gather(image, rows.astype(np.float32), columns.astype(np.float32), out)
    np.testing.assert_array_equal(out, image[rows, columns + 2])


def test_empty_arrays_have_zeros_around_them():
    array = lanes.empty(3, 5)
    assert array.shape == (3, 5)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    whole = array.base
    assert whole.size == 15 + 3 * WIDTH
    assert not whole[:WIDTH].any()
    assert not whole[WIDTH + 15 :].any()
    assert lanes.empty(2, kind=np.int32).dtype == np.int32


def test_other_arrays_are_refused_by_the_compiler():
    @njit
    def first(array):
        return lowest(load(array, 0))

    for array in (np.zeros(WIDTH), np.zeros((WIDTH, 2), np.float32).T):
        with pytest.raises((TypingError, TypeError), match=r"must be float32 .*and C-contiguous"):
            first(array)
