"""Quadratic expansion of a frame on every level of the pyramid: what Farneback's flow is made of.

The expansion of a frame serves all flows that it takes part in. It is computed in the reference
program's order of operations and compiled without fused multiply-adds: where a frame is flat or its
structure has one direction, the last bit decides the flow.

References
----------
Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion, SCIA 2003.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

from idt import lanes
from idt.flow.resize import lay_out, mix_rows, stretch_row
from idt.lanes import WIDTH, fill, load, store
from idt.pyramid import Scale, bilinear_positions

POLYNOMIAL_RADIUS = 7  # pixels
POLYNOMIAL_SIGMA = 1.5  # pixels


@lru_cache(maxsize=64)
def gaussian_kernel(size: int, sigma: float) -> np.ndarray:
    """Float32 Gaussian taps as OpenCV makes them, read-only.

    `sigma` 0 with 3 taps gives 1/4, 1/2, 1/4.
    """
    if sigma <= 0:
        if size != 3:
            raise ValueError(f"size must be 3 where sigma is 0, got {size}; give a sigma")
        taps = np.array([0.25, 0.5, 0.25], np.float32)
    else:
        offsets = np.arange(size) - (size - 1) / 2
        raised = np.exp(-(offsets**2) / (2 * sigma**2)).astype(np.float32)
        taps = (raised / raised.sum(dtype=np.float64)).astype(np.float32)
    taps.setflags(write=False)
    return taps


def _polynomial_filters() -> tuple[np.ndarray, np.ndarray]:
    """One-sided filters g, x g, x^2 g, (3, radius + 1), and the inverse normal matrix's entries.

    The normal matrix is summed in the reference's precision: where a frame is flat, the entries
    have to cancel as they do there.
    """
    x = np.arange(-POLYNOMIAL_RADIUS, POLYNOMIAL_RADIUS + 1, dtype=np.float32)
    g = np.exp(-(x**2).astype(np.float64) / (2 * POLYNOMIAL_SIGMA**2)).astype(np.float32)
    g = (g * (1 / g.sum(dtype=np.float64))).astype(np.float32)
    weight = g[:, None] * g  # of the basis 1, x, y, x^2, y^2, xy
    m2 = (weight * x * x).sum(dtype=np.float64)
    normal = np.zeros((6, 6))
    normal[0, 0] = weight.sum(dtype=np.float64)
    normal[1, 1] = normal[2, 2] = m2
    normal[0, 3] = normal[3, 0] = normal[0, 4] = normal[4, 0] = m2
    normal[3, 3] = normal[4, 4] = (weight * x * x * x * x).sum(dtype=np.float64)
    normal[3, 4] = normal[4, 3] = normal[5, 5] = (weight * x * x * x[:, None] * x[:, None]).sum(
        dtype=np.float64
    )
    inverse = np.linalg.inv(normal)
    exact = g.astype(np.float64)
    filters = np.stack([exact, exact * x, exact * x**2])[:, POLYNOMIAL_RADIUS:].astype(np.float32)
    entries = np.array([inverse[1, 1], inverse[0, 3], inverse[3, 3], inverse[5, 5]])
    return filters, entries


FILTERS, INVERSE_ENTRIES = _polynomial_filters()


@njit(cache=True, nogil=True, error_model="numpy")
def _pad_columns(image: np.ndarray, margin: int, out: np.ndarray) -> None:
    """Copy an image as float32 between margins in which it is mirrored."""
    n_rows, n_columns = image.shape
    for y in range(n_rows):
        row = out[y]
        for x in range(n_columns):
            row[margin + x] = np.float32(image[y, x])
        for k in range(1, margin + 1):
            row[margin - k] = row[margin + min(k, n_columns - 1)]
            row[margin + n_columns - 1 + k] = row[margin + max(n_columns - 1 - k, 0)]


@njit(cache=True, nogil=True, error_model="numpy")
def _blur_rows(padded: np.ndarray, margin: int, taps: np.ndarray, out: np.ndarray) -> None:
    """Blur along rows, into a flat `out` that ends with `WIDTH` more numbers."""
    n_rows, pitch = padded.shape
    n_columns = pitch - 2 * margin
    size = len(taps)
    radius = size // 2
    for y in range(n_rows):
        for x in range(0, n_columns, WIDTH):
            middle = y * pitch + margin + x
            if size <= 5:
                total = fill(taps[radius]) * load(padded, middle)
                for k in range(1, radius + 1):
                    both = load(padded, middle - k) + load(padded, middle + k)
                    total = total + both * fill(taps[radius + k])
            else:
                total = fill(taps[0]) * load(padded, middle - radius)
                for k in range(1, size):
                    total = total + fill(taps[k]) * load(padded, middle - radius + k)
            store(out, y * n_columns + x, total)


@njit(cache=True, nogil=True, error_model="numpy")
def _blur_column(
    image: np.ndarray, n_rows: int, n_columns: int, taps: np.ndarray, y: int, out: np.ndarray
) -> None:
    """Fill a row, and `WIDTH` numbers behind it, of the flat image blurred along columns.

    It is mirrored at the border.
    """
    radius = len(taps) // 2
    for x in range(0, n_columns, WIDTH):
        total = fill(taps[radius]) * load(image, y * n_columns + x)
        for k in range(1, radius + 1):
            above, below = abs(y - k), y + k
            if below >= n_rows:
                below = 2 * (n_rows - 1) - below
            above, below = min(above, n_rows - 1), max(below, 0)
            both = load(image, below * n_columns + x) + load(image, above * n_columns + x)
            total = total + both * fill(taps[radius + k])
        store(out, x, total)


@njit(cache=True, nogil=True, error_model="numpy")
def _blur_and_resize(
    padded: np.ndarray,
    margin: int,
    taps: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    out: np.ndarray,
) -> None:
    """Gaussian blur, then bilinear interpolation; only the rows that are needed are blurred.

    `out` has room behind it for lanes.
    """
    n_rows, n_columns = padded.shape[0], padded.shape[1] - 2 * margin
    blurred = np.empty(n_rows * n_columns + WIDTH, np.float32)
    _blur_rows(padded, margin, taps, blurred)
    if out.shape == (n_rows, n_columns):
        for y in range(n_rows):
            _blur_column(blurred, n_rows, n_columns, taps, y, out[y])
        return
    row = np.empty(n_columns + WIDTH, np.float32)
    positions = lay_out(left, fraction_x, n_columns)
    # The lower one of two stretched rows is often the upper one of the next two.
    stretched = np.empty((2, positions.shape[1]), np.float32)
    held = np.array([-1, -1])
    for y in range(out.shape[0]):
        for r in range(2):
            wanted = min(top[y] + r, n_rows - 1)
            if held[r] == wanted:
                continue
            held[r] = wanted
            if r == 0 and held[1] == wanted:
                for x in range(len(stretched[0])):  # an assignment of rows compiles for seconds
                    stretched[0, x] = stretched[1, x]
                continue
            _blur_column(blurred, n_rows, n_columns, taps, wanted, row)
            stretch_row(row, positions, stretched[r])
        mix_rows(stretched[0], stretched[1], fraction_y[y], np.float32(1), out[y])


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_columns(image: np.ndarray, y: int, rows: np.ndarray) -> None:
    """Apply g, y g and y^2 g along the columns for one row, into `rows`, with margins.

    `image` has `POLYNOMIAL_RADIUS` rows of margin, `rows` as many columns.
    """
    n_columns, pitch = image.shape[1], rows.shape[1]
    middle = (y + POLYNOMIAL_RADIUS) * n_columns
    for x in range(0, n_columns, WIDTH):
        smooth = fill(FILTERS[0, 0]) * load(image, middle + x)
        slope = curve = fill(np.float32(0))
        for k in range(1, POLYNOMIAL_RADIUS + 1):
            above = load(image, middle - k * n_columns + x)
            below = load(image, middle + k * n_columns + x)
            both = above + below
            smooth = smooth + fill(FILTERS[0, k]) * both
            slope = slope + fill(FILTERS[1, k]) * (below - above)
            curve = curve + fill(FILTERS[2, k]) * both
        store(rows, POLYNOMIAL_RADIUS + x, smooth)
        store(rows, POLYNOMIAL_RADIUS + pitch + x, slope)
        store(rows, POLYNOMIAL_RADIUS + 2 * pitch + x, curve)
    first, behind = POLYNOMIAL_RADIUS, POLYNOMIAL_RADIUS + n_columns
    for c in range(3):
        for k in range(POLYNOMIAL_RADIUS):
            rows[c, k] = rows[c, first]
            rows[c, behind + k] = rows[c, behind - 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_smooth(row: np.ndarray, x1: np.ndarray, x2: np.ndarray, mean: np.ndarray) -> None:
    """Coefficients of x and x^2 along a row with 7 columns of margin, and the mean's share."""
    e11, e03, e33 = INVERSE_ENTRIES[0], INVERSE_ENTRIES[1], INVERSE_ENTRIES[2]
    for x in range(len(x1)):
        b1 = np.float64(FILTERS[0, 0] * row[x + 7])
        b2 = 0.0
        b4 = 0.0
        for k in range(1, 8):
            right, left = row[x + 7 + k], row[x + 7 - k]
            both = np.float64(right + left)
            b1 += FILTERS[0, k] * both
            b4 += FILTERS[2, k] * both
            b2 += FILTERS[1, k] * (right - left)
        x1[x] = b2 * e11
        x2[x] = b1 * e03 + b4 * e33
        mean[x] = b1 * e03


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_slope(row: np.ndarray, y1: np.ndarray, xy: np.ndarray) -> None:
    """Coefficients of y and x y along a row of slopes with 7 columns of margin."""
    e11, e55 = INVERSE_ENTRIES[0], INVERSE_ENTRIES[3]
    for x in range(len(y1)):
        b3 = np.float64(FILTERS[0, 0] * row[x + 7])
        b6 = 0.0
        for k in range(1, 8):
            right, left = row[x + 7 + k], row[x + 7 - k]
            b3 += FILTERS[0, k] * (right + left)
            b6 += FILTERS[1, k] * (right - left)
        y1[x] = b3 * e11
        xy[x] = b6 * e55


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_curve(row: np.ndarray, mean: np.ndarray, y2: np.ndarray) -> None:
    """Coefficient of y^2 along a row of curvatures with 7 columns of margin."""
    e33 = INVERSE_ENTRIES[2]
    for x in range(len(y2)):
        b5 = np.float64(FILTERS[0, 0] * row[x + 7])
        for k in range(1, 8):
            b5 += FILTERS[0, k] * (row[x + 7 + k] + row[x + 7 - k])
        y2[x] = mean[x] + b5 * e33


@njit(cache=True, nogil=True, error_model="numpy")
def _expand_level(
    padded: np.ndarray,
    margin: int,
    taps: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    out: np.ndarray,
) -> None:
    """Coefficients y, x, yy, xx, xy of the local quadratics of a frame blurred and resized."""
    n_rows, n_columns = out.shape[1:]
    image = lanes.planes(1, n_rows + 2 * POLYNOMIAL_RADIUS, n_columns)[0]
    inner = image[POLYNOMIAL_RADIUS : POLYNOMIAL_RADIUS + n_rows]
    _blur_and_resize(padded, margin, taps, top, fraction_y, left, fraction_x, inner)
    for k in range(POLYNOMIAL_RADIUS):
        for x in range(n_columns):
            image[k, x] = inner[0, x]
            image[POLYNOMIAL_RADIUS + n_rows + k, x] = inner[n_rows - 1, x]
    # Columns are filtered a row ahead: numbers just written come back slowly at other offsets.
    ahead = np.empty((2, 3, n_columns + 2 * POLYNOMIAL_RADIUS + WIDTH), np.float32)
    mean = np.empty(n_columns, np.float64)
    for y in range(-1, n_rows):
        if y + 1 < n_rows:
            _filter_columns(image, y + 1, ahead[(y + 1) % 2])
        if y >= 0:
            rows = ahead[y % 2]
            _filter_smooth(rows[0], out[1, y], out[3, y], mean)
            _filter_slope(rows[1], out[0, y], out[4, y])
            _filter_curve(rows[2], mean, out[2, y])


def expand(grey: np.ndarray, levels: list[Scale]) -> list[np.ndarray]:
    """Expand a frame into local quadratics on every level of the pyramid.

    Parameters
    ----------
    grey
        uint8 (row, column), the full-resolution frame.
    levels
        Pyramid levels of that size.

    Returns
    -------
    list of ndarray of float32, shape (5, row, column)
        Coefficients of y, x, y^2, x^2 and xy per level, each from the full-resolution frame
        blurred by (factor - 1) / 2 pixels.
    """
    sigmas = [(level.factor - 1) * 0.5 for level in levels]
    kernels = [gaussian_kernel(max(3, round(sigma * 5) | 1), sigma) for sigma in sigmas]
    margin = max(len(taps) for taps in kernels) // 2
    image = lanes.empty(grey.shape[0], grey.shape[1] + 2 * margin)
    _pad_columns(grey, margin, image)
    expansions = []
    for level, taps in zip(levels, kernels, strict=True):
        rows = bilinear_positions(grey.shape[0], level.height)
        columns = bilinear_positions(grey.shape[1], level.width)
        expansion = lanes.empty(5, level.height, level.width)
        _expand_level(image, margin, taps, *rows, *columns, expansion)
        expansions.append(expansion)
    return expansions
