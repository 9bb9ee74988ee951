"""Dense optical flow: the reference program's Farneback over the pyramid, and DIS.

Flow is (dx, dy) in pixels per frame, at the scale of the images it was computed on. Inside the
pyramid it is kept as planes, (2, row, column); the public functions for a single pair return
(row, column, 2).

The reference has a Farneback of its own: the same sqrt(2) scales as the tracks, a 5 x 5 median on
every level before its flow is used or handed down, and a determinant regularised by 1e-3. The
polynomial expansions of a frame serve all flows that it takes part in.

References
----------
Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion, SCIA 2003.
Wang & Schmid, Action Recognition with Improved Trajectories, ICCV 2013, section 3.1.
Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from idt.pyramid import SCALE_STEP, Scale, bilinear_positions, scales

POLYNOMIAL_RADIUS = 7  # pixels
POLYNOMIAL_SIGMA = 1.5  # pixels
WINDOW_RADIUS = 5  # pixels; the reference's averaging window of 10 has 11 taps
WINDOW_SIGMA = 1.5  # pixels; 0.3 of the radius, as OpenCV has it
ITERATIONS = 2
MEDIAN_SIZE = 5  # pixels
REGULARISER = 1e-3  # added to the determinant
BORDER_WEIGHTS = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)  # outermost first


def gaussian_kernel(size: int, sigma: float) -> np.ndarray:
    """Float32 Gaussian taps as OpenCV makes them; `sigma` 0 with 3 taps gives 1/4, 1/2, 1/4."""
    if sigma <= 0:
        if size != 3:
            raise ValueError(f"size must be 3 where sigma is 0, got {size}; give a sigma")
        return np.array([0.25, 0.5, 0.25], np.float32)
    offsets = np.arange(size) - (size - 1) / 2
    taps = np.exp(-(offsets**2) / (2 * sigma**2)).astype(np.float32)
    return (taps / taps.sum(dtype=np.float64)).astype(np.float32)


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


# The kernels keep the reference's order of operations and are compiled without fused multiply-adds:
# where a frame is flat or its structure has one direction, the last bit decides the flow.


@njit(cache=True, nogil=True, error_model="numpy")
def _blur_rows(image: np.ndarray, taps: np.ndarray, out: np.ndarray) -> None:
    """Blur along rows, mirrored at the border."""
    n_rows, n_columns = image.shape
    size = len(taps)
    radius = size // 2
    row = np.empty(n_columns + 2 * radius, np.float32)
    for y in range(n_rows):
        for x in range(n_columns):
            row[radius + x] = np.float32(image[y, x])
        for k in range(1, radius + 1):
            row[radius - k] = row[radius + min(k, n_columns - 1)]
            row[radius + n_columns - 1 + k] = row[radius + max(n_columns - 1 - k, 0)]
        target = out[y]
        if size <= 5:
            centre = row[radius:]
            for x in range(n_columns):
                target[x] = taps[radius] * centre[x]
            for k in range(1, radius + 1):
                left, right, weight = row[radius - k :], row[radius + k :], taps[radius + k]
                for x in range(n_columns):
                    target[x] += (left[x] + right[x]) * weight
        else:
            target[:] = 0
            for k in range(size):
                source, weight = row[k:], taps[k]
                for x in range(n_columns):
                    target[x] += weight * source[x]


@njit(cache=True, nogil=True, error_model="numpy")
def _blur_column(image: np.ndarray, taps: np.ndarray, y: int, out: np.ndarray) -> None:
    """Fill one row of the image blurred along columns, mirrored at the border."""
    n_rows, n_columns = image.shape
    radius = len(taps) // 2
    middle = image[y]
    for x in range(n_columns):
        out[x] = taps[radius] * middle[x]
    for k in range(1, radius + 1):
        above, below, weight = abs(y - k), y + k, taps[radius + k]
        if below >= n_rows:
            below = 2 * (n_rows - 1) - below
        upper, lower = image[min(above, n_rows - 1)], image[max(below, 0)]
        for x in range(n_columns):
            out[x] += (lower[x] + upper[x]) * weight


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate_row(
    upper: np.ndarray,
    lower: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    fraction_y: np.float32,
    out: np.ndarray,
) -> None:
    """Fill a row bilinearly between two source rows: along x first, then along y."""
    one = np.float32(1)
    last = len(upper) - 1
    for x in range(len(out)):
        first = left[x]
        second = min(first + 1, last)
        near, far = one - fraction_x[x], fraction_x[x]
        above = upper[first] * near + upper[second] * far
        below = lower[first] * near + lower[second] * far
        out[x] = above * (one - fraction_y) + below * fraction_y


@njit(cache=True, nogil=True, error_model="numpy")
def _enlarge(
    plane: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    factor: np.float32,
    out: np.ndarray,
) -> None:
    """Resize a plane of flow bilinearly and scale its values."""
    for y in range(out.shape[0]):
        below = min(top[y] + 1, plane.shape[0] - 1)
        _interpolate_row(plane[top[y]], plane[below], left, fraction_x, fraction_y[y], out[y])
        for x in range(out.shape[1]):
            out[y, x] *= factor


@njit(cache=True, nogil=True, error_model="numpy")
def _blur_and_resize(
    image: np.ndarray,
    taps: np.ndarray,
    top: np.ndarray,
    fraction_y: np.ndarray,
    left: np.ndarray,
    fraction_x: np.ndarray,
    out: np.ndarray,
) -> None:
    """Gaussian blur, then bilinear interpolation; only the rows that are needed are blurred."""
    n_rows, n_columns = image.shape
    blurred = np.empty(image.shape, np.float32)
    _blur_rows(image, taps, blurred)
    rows = np.empty((2, n_columns), np.float32)
    held = np.full(2, -1)
    for y in range(out.shape[0]):
        for r in range(2):
            wanted = min(top[y] + r, n_rows - 1)
            if held[r] != wanted:
                if r == 0 and held[1] == wanted:
                    rows[0] = rows[1]
                else:
                    _blur_column(blurred, taps, wanted, rows[r])
                held[r] = wanted
        _interpolate_row(rows[0], rows[1], left, fraction_x, fraction_y[y], out[y])


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_columns(
    image: np.ndarray,
    filters: np.ndarray,
    y: int,
    smooth: np.ndarray,
    slope: np.ndarray,
    curve: np.ndarray,
) -> None:
    """Apply g, y g and y^2 g along the columns for one row; `image` has 7 rows of margin."""
    n_columns = image.shape[1]
    centre = image[y + 7]
    for x in range(n_columns):
        smooth[x] = filters[0, 0] * centre[x]
    slope[:] = 0
    curve[:] = 0
    for k in range(1, 8):
        above, below = image[y + 7 - k], image[y + 7 + k]
        g0, g1, g2 = filters[0, k], filters[1, k], filters[2, k]
        for x in range(n_columns):
            both = above[x] + below[x]
            smooth[x] += g0 * both
            curve[x] += g2 * both
        for x in range(n_columns):
            slope[x] += g1 * (below[x] - above[x])


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_smooth(
    row: np.ndarray,
    filters: np.ndarray,
    entries: np.ndarray,
    x1: np.ndarray,
    x2: np.ndarray,
    mean: np.ndarray,
) -> None:
    """Coefficients of x and x^2 along a row with 7 columns of margin, and the mean's share."""
    e11, e03, e33 = entries[0], entries[1], entries[2]
    for x in range(len(x1)):
        b1 = np.float64(filters[0, 0] * row[x + 7])
        b2 = 0.0
        b4 = 0.0
        for k in range(1, 8):
            right, left = row[x + 7 + k], row[x + 7 - k]
            both = np.float64(right + left)
            b1 += filters[0, k] * both
            b4 += filters[2, k] * both
            b2 += filters[1, k] * (right - left)
        x1[x] = b2 * e11
        x2[x] = b1 * e03 + b4 * e33
        mean[x] = b1 * e03


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_slope(
    row: np.ndarray, filters: np.ndarray, entries: np.ndarray, y1: np.ndarray, xy: np.ndarray
) -> None:
    """Coefficients of y and x y along a row of slopes with 7 columns of margin."""
    e11, e55 = entries[0], entries[3]
    for x in range(len(y1)):
        b3 = np.float64(filters[0, 0] * row[x + 7])
        b6 = 0.0
        for k in range(1, 8):
            right, left = row[x + 7 + k], row[x + 7 - k]
            b3 += filters[0, k] * (right + left)
            b6 += filters[1, k] * (right - left)
        y1[x] = b3 * e11
        xy[x] = b6 * e55


@njit(cache=True, nogil=True, error_model="numpy")
def _filter_curve(
    row: np.ndarray, filters: np.ndarray, e33: float, mean: np.ndarray, y2: np.ndarray
) -> None:
    """Coefficient of y^2 along a row of curvatures with 7 columns of margin."""
    for x in range(len(y2)):
        b5 = np.float64(filters[0, 0] * row[x + 7])
        for k in range(1, 8):
            b5 += filters[0, k] * (row[x + 7 + k] + row[x + 7 - k])
        y2[x] = mean[x] + b5 * e33


@njit(cache=True, nogil=True, error_model="numpy")
def _expand_polynomial(
    image: np.ndarray, filters: np.ndarray, entries: np.ndarray, out: np.ndarray
) -> None:
    """Coefficients y, x, yy, xx, xy of the local quadratic; `image` has 7 rows of margin."""
    n_columns = image.shape[1]
    rows = np.empty((3, n_columns + 14), np.float32)
    mean = np.empty(n_columns, np.float64)
    for y in range(out.shape[1]):
        _filter_columns(image, filters, y, rows[0, 7:-7], rows[1, 7:-7], rows[2, 7:-7])
        for c in range(3):
            rows[c, :7] = rows[c, 7]
            rows[c, n_columns + 7 :] = rows[c, n_columns + 6]
        _filter_smooth(rows[0], filters, entries, out[1, y], out[3, y], mean)
        _filter_slope(rows[1], filters, entries, out[0, y], out[4, y])
        _filter_curve(rows[2], filters, entries[2], mean, out[2, y])


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
    expansions = []
    for level in levels:
        sigma = (level.factor - 1) * 0.5
        taps = gaussian_kernel(max(3, round(sigma * 5) | 1), sigma)
        padded = np.empty((level.height + 2 * POLYNOMIAL_RADIUS, level.width), np.float32)
        inner = padded[POLYNOMIAL_RADIUS:-POLYNOMIAL_RADIUS]
        top, fraction_y = bilinear_positions(grey.shape[0], level.height)
        left, fraction_x = bilinear_positions(grey.shape[1], level.width)
        _blur_and_resize(grey, taps, top, fraction_y, left, fraction_x, inner)
        padded[:POLYNOMIAL_RADIUS] = inner[0]
        padded[-POLYNOMIAL_RADIUS:] = inner[-1]
        expansion = np.empty((5, level.height, level.width), np.float32)
        _expand_polynomial(padded, FILTERS, INVERSE_ENTRIES, expansion)
        expansions.append(expansion)
    return expansions


@njit(cache=True, nogil=True, error_model="numpy")
def _update_matrices(
    first: np.ndarray,
    second: np.ndarray,
    flow: np.ndarray,
    border: np.ndarray,
    out: np.ndarray,
) -> None:
    """Normal equations g11, g12, g22, h1, h2 of the displacement at every pixel."""
    n_rows, n_columns = first.shape[1:]
    one, half, quarter = np.float32(1), np.float32(0.5), np.float32(0.25)
    for y in range(n_rows):
        scale_y = np.float32(1)
        if y < 5:
            scale_y *= border[y]
        if y >= n_rows - 5:
            scale_y *= border[n_rows - 1 - y]
        for x in range(n_columns):
            dx = flow[0, y, x]
            dy = flow[1, y, x]
            px = np.float32(x) + dx
            py = np.float32(y) + dy
            x1 = np.int32(np.floor(px))
            y1 = np.int32(np.floor(py))
            fx = px - np.float32(x1)
            fy = py - np.float32(y1)
            inside = x1 >= 0 and y1 >= 0 and x1 < n_columns - 1 and y1 < n_rows - 1
            if inside:
                w00 = (one - fx) * (one - fy)
                w01 = fx * (one - fy)
                w10 = (one - fx) * fy
                w11 = fx * fy
                r2 = (
                    w00 * second[0, y1, x1]
                    + w01 * second[0, y1, x1 + 1]
                    + w10 * second[0, y1 + 1, x1]
                    + w11 * second[0, y1 + 1, x1 + 1]
                )
                r3 = (
                    w00 * second[1, y1, x1]
                    + w01 * second[1, y1, x1 + 1]
                    + w10 * second[1, y1 + 1, x1]
                    + w11 * second[1, y1 + 1, x1 + 1]
                )
                r4 = (
                    w00 * second[2, y1, x1]
                    + w01 * second[2, y1, x1 + 1]
                    + w10 * second[2, y1 + 1, x1]
                    + w11 * second[2, y1 + 1, x1 + 1]
                )
                r5 = (
                    w00 * second[3, y1, x1]
                    + w01 * second[3, y1, x1 + 1]
                    + w10 * second[3, y1 + 1, x1]
                    + w11 * second[3, y1 + 1, x1 + 1]
                )
                r6 = (
                    w00 * second[4, y1, x1]
                    + w01 * second[4, y1, x1 + 1]
                    + w10 * second[4, y1 + 1, x1]
                    + w11 * second[4, y1 + 1, x1 + 1]
                )
                r4 = (first[2, y, x] + r4) * half
                r5 = (first[3, y, x] + r5) * half
                r6 = (first[4, y, x] + r6) * quarter
            else:
                r2 = np.float32(0)
                r3 = np.float32(0)
                r4 = first[2, y, x]
                r5 = first[3, y, x]
                r6 = first[4, y, x] * half
            r2 = (first[0, y, x] - r2) * half + (r4 * dy + r6 * dx)
            r3 = (first[1, y, x] - r3) * half + (r6 * dy + r5 * dx)
            weight = scale_y
            if x < 5:
                weight *= border[x]
            if x >= n_columns - 5:
                weight *= border[n_columns - 1 - x]
            r2 *= weight
            r3 *= weight
            r4 *= weight
            r5 *= weight
            r6 *= weight
            out[0, y, x] = r4 * r4 + r6 * r6
            out[1, y, x] = (r4 + r5) * r6
            out[2, y, x] = r5 * r5 + r6 * r6
            out[3, y, x] = r4 * r2 + r6 * r3
            out[4, y, x] = r6 * r2 + r5 * r3


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_flow(
    matrices: np.ndarray, taps: np.ndarray, regulariser: float, flow: np.ndarray
) -> None:
    """Average the normal equations over a Gaussian window and solve them at every pixel."""
    n_rows, n_columns = matrices.shape[1:]
    margin = 16
    rows = np.empty((5, n_columns + 2 * margin), np.float32)
    sums = np.empty((5, n_columns), np.float32)
    for y in range(n_rows):
        for c in range(5):
            for x in range(n_columns):
                rows[c, margin + x] = taps[0] * matrices[c, y, x]
            for k in range(1, 6):
                above = max(y - k, 0)
                below = min(y + k, n_rows - 1)
                weight = taps[k]
                for x in range(n_columns):
                    rows[c, margin + x] += weight * (matrices[c, above, x] + matrices[c, below, x])
            for k in range(1, 6):
                rows[c, margin - k] = rows[c, margin]
                rows[c, margin + n_columns - 1 + k] = rows[c, margin + n_columns - 1]
            for x in range(n_columns):
                total = taps[0] * rows[c, margin + x]
                for k in range(1, 6):
                    total += taps[k] * (rows[c, margin + x + k] + rows[c, margin + x - k])
                sums[c, x] = total
        for x in range(n_columns):
            g11, g12, g22 = np.float64(sums[0, x]), np.float64(sums[1, x]), np.float64(sums[2, x])
            h1, h2 = np.float64(sums[3, x]), np.float64(sums[4, x])
            inverse = 1.0 / (g11 * g22 - g12 * g12 + regulariser)
            flow[0, y, x] = (g11 * h2 - g12 * h1) * inverse
            flow[1, y, x] = (g22 * h1 - g12 * h2) * inverse


WINDOW_TAPS = gaussian_kernel(2 * WINDOW_RADIUS + 1, WINDOW_SIGMA)[WINDOW_RADIUS:]


def flow_pyramid(previous: list[np.ndarray], current: list[np.ndarray]) -> list[np.ndarray]:
    """Flow from one expanded frame to the next on every level, coarse to fine.

    Parameters
    ----------
    previous, current
        What `expand` returned for the two frames.

    Returns
    -------
    list of ndarray of float32, shape (2, row, column)
        Median-filtered flow per level as planes (dx, dy), in that level's pixels per frame.
    """
    flows: list[np.ndarray] = []
    for first, second in zip(reversed(previous), reversed(current), strict=True):
        n_rows, n_columns = first.shape[1:]
        flow = np.zeros((2, n_rows, n_columns), np.float32)
        if flows:
            coarse = flows[-1]
            rows = bilinear_positions(coarse.shape[1], n_rows)
            columns = bilinear_positions(coarse.shape[2], n_columns)
            for c in range(2):
                _enlarge(coarse[c], *rows, *columns, SCALE_STEP, flow[c])
        matrices = np.empty_like(first)
        for _ in range(ITERATIONS):
            _update_matrices(first, second, flow, BORDER_WEIGHTS, matrices)
            _solve_flow(matrices, WINDOW_TAPS, REGULARISER, flow)
        for c in range(2):
            flow[c] = cv2.medianBlur(flow[c], MEDIAN_SIZE)
        flows.append(flow)
    return flows[::-1]


def farneback(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Flow between two grey frames by the reference program's Farneback.

    Parameters
    ----------
    previous, current
        uint8 (row, column), of one size.

    Returns
    -------
    ndarray of float32, shape (row, column, 2)
        (dx, dy) in pixels per frame.
    """
    _check_pair(previous, current)
    levels = scales(previous.shape[1], previous.shape[0])
    flow = flow_pyramid(expand(previous, levels), expand(current, levels))[0]
    return np.ascontiguousarray(np.moveaxis(flow, 0, -1))


def dis(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Flow between two grey frames by dense inverse search (OpenCV, preset MEDIUM).

    Parameters
    ----------
    previous, current
        uint8 (row, column), of one size, at least 16 pixels a side.

    Returns
    -------
    ndarray of float32, shape (row, column, 2)
        (dx, dy) in pixels per frame.
    """
    _check_pair(previous, current)
    if min(previous.shape) < 16:
        raise ValueError(
            f"frames must be at least 16 pixels a side for DIS, got {previous.shape}; "
            "use farneback or enlarge them"
        )
    algorithm = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((*previous.shape, 2), np.float32)
    return np.asarray(algorithm.calc(previous, current, start), np.float32)


def _check_pair(previous: np.ndarray, current: np.ndarray) -> None:
    for name, image in (("previous", previous), ("current", current)):
        if image.ndim != 2 or image.dtype != np.uint8:
            raise ValueError(
                f"{name} must be a uint8 grey image (row, column), got {image.dtype} "
                f"{image.shape}; convert it with idt.pyramid.to_grey"
            )
    if previous.shape != current.shape:
        raise ValueError(
            f"previous and current must have one size, got {previous.shape} and "
            f"{current.shape}; resize one of them"
        )
