"""The 128-number descriptor of a keypoint: a turned patch, and its differences in 4 x 4 cells.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.flow import gaussian_kernel
from idt.lanes import (
    WIDTH,
    absolute,
    choose_above,
    clip,
    fill,
    load,
    rint,
    store,
    to_floats,
    to_wholes,
)

N_CELLS = 4  # a side of the descriptor
CELL = 5  # differences a side of a cell
PATCH = N_CELLS * CELL + 1  # samples a side of the patch
LINES = N_CELLS * (CELL + 1)  # samples along y, the first of a cell once more behind the one above
SAMPLES = N_CELLS * N_CELLS  # one of each cell

# Where the samples of a patch stand along y, so that those of all cells with one place in their
# cell lie side by side; and where samples 5, 10 and 15 stand that end a cell.
LINE_PLACES = np.array([N_CELLS * (i % CELL) + i // CELL for i in range(PATCH - 1)] + [LINES - 1])


def _cell_weights() -> np.ndarray:
    """Gaussian weights of the differences (x in the cell, y in the cell, cell x, cell y), flat."""
    taps = gaussian_kernel(N_CELLS * CELL, 3.3).reshape(N_CELLS, CELL)
    return np.einsum("ai,bj->jiba", taps, taps).ravel()


CELL_WEIGHTS = _cell_weights()


@njit(cache=True, nogil=True, error_model="numpy")
def _share_lines(size: int, first: np.ndarray, shares: np.ndarray) -> int:
    """Share the lines of a window out among the samples of a patch; returns the most a sample has.

    Sample c has the lines from ``first[c]`` on, with ``shares[c]`` that are zero where they end.
    The window has no fewer lines than the patch has samples.
    """
    ratio = size / PATCH
    counts = np.zeros(PATCH + 1, np.int64)
    shares[:] = 0
    for i in range(size):
        # A line falls into one sample, or into two.
        sample = min(int(i / ratio), PATCH - 1)
        inside = min((sample + 1) * ratio, i + 1.0) - i
        if counts[sample] == 0:
            first[sample] = i
        shares[sample, counts[sample]] = inside / ratio
        counts[sample] += 1
        if inside < 1.0 and sample + 1 < PATCH:
            if counts[sample + 1] == 0:
                first[sample + 1] = i
            shares[sample + 1, counts[sample + 1]] = (1.0 - inside) / ratio
            counts[sample + 1] += 1
    most = 0
    for k in range(len(counts)):
        most = max(most, counts[k])
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def _cut_window(
    image: np.ndarray,
    keypoint: np.ndarray,
    angle: np.float32,
    size: int,
    along_x: np.ndarray,
    along_y: np.ndarray,
    index: np.ndarray,
    window: np.ndarray,
) -> None:
    """Fill the window of a keypoint, turned, by nearest pixels; flat lines of whole lanes.

    Memory of a line: `along_x` and `along_y`, float32, and `index`, int32.
    """
    n_rows, n_columns = image.shape
    radians = angle * np.float32(np.pi / 180)
    sine = np.float32(np.sin(radians))
    cosine = np.float32(np.cos(radians))
    offset = -np.float32(size - 1) / np.float32(2)
    start_x = keypoint[0] + offset * cosine + offset * sine
    start_y = keypoint[1] - offset * sine + offset * cosine
    for j in range(size):
        along_x[j], along_y[j] = np.float32(j) * cosine, np.float32(j) * sine
    nought, pitch = fill(np.float32(0)), to_wholes(fill(np.float32(n_columns)))
    last_x, last_y = fill(np.float32(n_columns - 1)), fill(np.float32(n_rows - 1))
    reach = (abs(offset) + np.float32(1)) * (abs(sine) + abs(cosine))
    is_inside = (
        min(keypoint[0], keypoint[1]) >= reach
        and keypoint[0] + reach <= n_columns - 1
        and keypoint[1] + reach <= n_rows - 1
    )
    pixels = image.reshape(-1)
    width = (size + WIDTH - 1) // WIDTH * WIDTH
    for i in range(size):
        row_x = fill(start_x + np.float32(i) * sine)
        row_y = fill(start_y + np.float32(i) * cosine)
        if is_inside:
            for j in range(0, size, WIDTH):
                x = rint(row_x + load(along_x, j))
                y = rint(row_y - load(along_y, j))
                store(index, j, to_wholes(y) * pitch + to_wholes(x))
        else:
            for j in range(0, size, WIDTH):
                x = clip(rint(row_x + load(along_x, j)), nought, last_x)
                y = clip(rint(row_y - load(along_y, j)), nought, last_y)
                store(index, j, to_wholes(y) * pitch + to_wholes(x))
        line = window[i * width : i * width + size]
        for j in range(size):
            line[j] = pixels[np.uint32(index[j])]


@njit(cache=True, nogil=True, error_model="numpy")
def _average_lines(
    window: np.ndarray,
    size: int,
    n_shares: int,
    first: np.ndarray,
    shares: np.ndarray,
    line: np.ndarray,
    averaged: np.ndarray,
) -> None:
    """Average a window along y; `averaged`, (size, LINES) or more, has samples side by side."""
    width = (size + WIDTH - 1) // WIDTH * WIDTH
    for sample in range(PATCH):
        for j in range(0, size, WIDTH):
            total = fill(np.float32(0))
            place = first[sample] * width + j
            for k in range(n_shares):
                total = total + fill(shares[sample, k]) * to_floats(load(window, place))
                place += width
            store(line, j, total)
        place = LINE_PLACES[sample]
        for j in range(size):
            averaged[j, place] = line[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _average_patch(
    averaged: np.ndarray, n_shares: int, first: np.ndarray, shares: np.ndarray, cells: np.ndarray
) -> None:
    """Average along x as well, and sort the samples by their place in a cell.

    `cells` is flat: (x in the cell, y in the cell, cell x, cell y), six places along each axis, the
    last being the first of the next cell.
    """
    column = np.empty(LINES, np.float32)
    for sample in range(PATCH):
        for i in range(0, LINES, WIDTH):
            total = fill(np.float32(0))
            place = first[sample] * LINES + i
            for k in range(n_shares):
                total = total + fill(shares[sample, k]) * load(averaged, place)
                place += LINES
            store(column, i, rint(total))
        for k in range(1, N_CELLS):
            column[LINES - 1 - N_CELLS + k] = column[k]
        if sample < PATCH - 1:
            _put_column(column, sample % CELL, sample // CELL, cells)
        if sample > 0 and sample % CELL == 0:
            _put_column(column, sample % CELL + CELL, sample // CELL - 1, cells)


@njit(cache=True, nogil=True, error_model="numpy")
def _put_column(column: np.ndarray, place: int, cell: int, cells: np.ndarray) -> None:
    for i in range(CELL + 1):
        for k in range(N_CELLS):
            at = ((place * (CELL + 1) + i) * N_CELLS + cell) * N_CELLS + k
            cells[at] = column[i * N_CELLS + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _sum_differences(cells: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Fill a descriptor: sums of signed and absolute differences in `WIDTH` cells at once."""
    nought = fill(np.float32(0))
    sums = np.empty(8 * WIDTH, np.float32)
    for part in range(0, SAMPLES, WIDTH):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = nought
        for i in range(CELL):
            for j in range(CELL):
                here = (j * (CELL + 1) + i) * SAMPLES + part
                right = here + (CELL + 1) * SAMPLES
                a, b = load(cells, here), load(cells, right)
                c, d = load(cells, here + SAMPLES), load(cells, right + SAMPLES)
                weight = load(weights, (j * CELL + i) * SAMPLES + part)
                dx = ((b - a) + (d - c)) * weight
                dy = ((c - a) + (d - b)) * weight
                below = choose_above(nought, dy, dx, nought)
                above = choose_above(nought, dy, nought, dx)
                s0, s1 = s0 + above, s1 + absolute(above)
                s2, s3 = s2 + below, s3 + absolute(below)
                left = choose_above(nought, dx, dy, nought)
                beyond = choose_above(nought, dx, nought, dy)
                s4, s5 = s4 + beyond, s5 + absolute(beyond)
                s6, s7 = s6 + left, s7 + absolute(left)
        store(sums, 0 * WIDTH, s0)
        store(sums, 1 * WIDTH, s1)
        store(sums, 2 * WIDTH, s2)
        store(sums, 3 * WIDTH, s3)
        store(sums, 4 * WIDTH, s4)
        store(sums, 5 * WIDTH, s5)
        store(sums, 6 * WIDTH, s6)
        store(sums, 7 * WIDTH, s7)
        for k in range(WIDTH):
            cell_x, cell_y = (part + k) // N_CELLS, (part + k) % N_CELLS
            for c in range(8):
                out[8 * (cell_y * N_CELLS + cell_x) + c] = sums[c * WIDTH + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _normalise(out: np.ndarray) -> None:
    """Bring a descriptor to unit length."""
    square = 0.0
    for k in range(len(out)):
        square += np.float64(out[k]) * np.float64(out[k])
    scale = np.float32(1.0 / (np.sqrt(square) + 2.220446049250313e-16))
    for k in range(len(out)):
        out[k] *= scale


@njit(cache=True, nogil=True, error_model="numpy")
def _window_size(size: np.float32) -> int:
    """Side in pixels of the window that belongs to a keypoint's size."""
    return int(np.float32(PATCH) * (size * np.float32(1.2) / np.float32(9)))


@njit(cache=True, nogil=True, error_model="numpy")
def describe_keypoints(
    image: np.ndarray,
    keypoints: np.ndarray,
    angles: np.ndarray,
    order: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill the descriptor of every keypoint; in `order` those of one size follow each other.

    `weights` are `CELL_WEIGHTS`.
    """
    largest = 0
    for k in range(len(keypoints)):
        largest = max(largest, _window_size(keypoints[k, 2]))
    n_lines = largest + largest // PATCH + 3  # with those that the last samples have no share of
    width = (largest + WIDTH - 1) // WIDTH * WIDTH
    first, shares = np.empty(PATCH, np.int64), np.empty((PATCH, largest // PATCH + 3), np.float32)
    along_x, along_y = np.zeros(width, np.float32), np.zeros(width, np.float32)
    index, line = np.empty(width, np.int32), np.empty(width, np.float32)
    window = np.empty(n_lines * width, np.uint8)
    averaged = np.zeros((n_lines, LINES), np.float32)  # finite numbers, which no share takes away
    cells = np.zeros((CELL + 1) * (CELL + 1) * SAMPLES, np.float32)
    last_size, n_shares = 0, 0
    for k in order:
        size = _window_size(keypoints[k, 2])
        if size != last_size:
            n_shares = _share_lines(size, first, shares)
            last_size = size
        _cut_window(image, keypoints[k], angles[k], size, along_x, along_y, index, window)
        _average_lines(window, size, n_shares, first, shares, line, averaged)
        _average_patch(averaged, n_shares, first, shares, cells)
        _sum_differences(cells, weights, out[k])
        _normalise(out[k])
