"""SURF: fast-Hessian keypoints and 128-number descriptors.

The pip wheels of OpenCV leave SURF out; this is a numba implementation that follows OpenCV 2.4
stage by stage (sampling steps, filter sizes, tests, interpolation), so that the matches are those
of the reference program. Points are (x, y) in pixels, angles degrees counter-clockwise in an image
whose y axis points up.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from idt.flow import gaussian_kernel

HESSIAN_THRESHOLD = 200.0  # Wang & Schmid's program
N_OCTAVES = 4
N_OCTAVE_LAYERS = 2
FIRST_FILTER = 9  # pixels, side of the smallest Hessian filter
FILTER_STEP = 6  # pixels between the filters of the first octave
ORIENTATION_RADIUS = 6  # in units of the keypoint's scale
PATCH_SIZE = 20  # samples a side of the descriptor's patch
PADDED_SIDE = 24  # numbers, whole vectors, that hold a side of it

# Boxes (x0, y0, x1, y1, weight) on the 9 x 9 filter of the second derivatives xx, yy and xy.
HESSIAN_BOXES = np.array(
    [
        [[0, 2, 3, 7, 1], [3, 2, 6, 7, -2], [6, 2, 9, 7, 1], [0, 0, 0, 0, 0]],
        [[2, 0, 7, 3, 1], [2, 3, 7, 6, -2], [2, 6, 7, 9, 1], [0, 0, 0, 0, 0]],
        [[1, 1, 4, 4, 1], [5, 1, 8, 4, -1], [1, 5, 4, 8, -1], [5, 5, 8, 8, 1]],
    ],
    np.float32,
)


def _orientation_samples() -> np.ndarray:
    """Offsets and Gaussian weights (x, y, weight) of the disc that orientation is taken over."""
    weights = gaussian_kernel(2 * ORIENTATION_RADIUS + 1, 2.5)
    samples = [
        (x, y, weights[x + ORIENTATION_RADIUS] * weights[y + ORIENTATION_RADIUS])
        for x in range(-ORIENTATION_RADIUS, ORIENTATION_RADIUS + 1)
        for y in range(-ORIENTATION_RADIUS, ORIENTATION_RADIUS + 1)
        if x * x + y * y <= ORIENTATION_RADIUS**2
    ]
    return np.array(samples, np.float32)


ORIENTATION_SAMPLES = _orientation_samples()
PATCH_WEIGHTS = np.outer(gaussian_kernel(PATCH_SIZE, 3.3), gaussian_kernel(PATCH_SIZE, 3.3))


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one frame, strongest first.

    Attributes
    ----------
    points
        float32 (n, 2), (x, y) in pixels.
    sizes
        float32 (n,), side in pixels of the filter that found the point.
    angles
        float32 (n,), degrees in [0, 360).
    responses
        float32 (n,), determinant of the Hessian.
    descriptors
        float32 (n, 128), of unit length.
    """

    points: np.ndarray
    sizes: np.ndarray
    angles: np.ndarray
    responses: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


@njit(cache=True, nogil=True, error_model="numpy")
def fast_atan2(y: np.float32, x: np.float32) -> np.float32:
    """Angle of (x, y) in degrees, [0, 360), by OpenCV's polynomial (error below 0.02 degrees)."""
    p1 = np.float32(0.9997878412794807 * 180 / np.pi)
    p3 = np.float32(-0.3258083974640975 * 180 / np.pi)
    p5 = np.float32(0.1555786518463281 * 180 / np.pi)
    p7 = np.float32(-0.04432655554792128 * 180 / np.pi)
    tiny = np.float32(2.220446049250313e-16)
    ax = abs(x)
    ay = abs(y)
    ratio = min(ax, ay) / (max(ax, ay) + tiny)
    square = ratio * ratio
    angle = (((p7 * square + p5) * square + p3) * square + p1) * ratio
    if ay > ax:
        angle = np.float32(90) - angle
    if x < 0:
        angle = np.float32(180) - angle
    if y < 0:
        angle = np.float32(360) - angle
    return angle


@njit(cache=True, nogil=True, error_model="numpy")
def _integrate(image: np.ndarray, out: np.ndarray) -> None:
    """Integral image with a row and a column of zeros in front."""
    for x in range(out.shape[1]):
        out[0, x] = 0
    for y in range(image.shape[0]):
        total = np.int32(0)
        out[y + 1, 0] = 0
        for x in range(image.shape[1]):
            total += np.int32(image[y, x])
            out[y + 1, x + 1] = out[y, x + 1] + total


@njit(cache=True, nogil=True, error_model="numpy")
def _scale_boxes(
    boxes: np.ndarray, old_size: int, new_size: int, corners: np.ndarray, weights: np.ndarray
) -> None:
    """Rescale filter boxes to another filter size; weights are divided by the boxes' areas."""
    ratio = np.float32(new_size) / np.float32(old_size)
    for k in range(boxes.shape[0]):
        for c in range(4):
            corners[k, c] = np.int32(np.rint(ratio * boxes[k, c]))
        area = (corners[k, 2] - corners[k, 0]) * (corners[k, 3] - corners[k, 1])
        weights[k] = boxes[k, 4] / np.float32(area) if area > 0 else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _split_phases(integral: np.ndarray, step: int, out: np.ndarray) -> None:
    """Rearrange rows by column modulo `step`: ``out[p, y, j] = integral[y, j * step + p]``."""
    n_columns = integral.shape[1]
    for y in range(integral.shape[0]):
        row = integral[y]
        for phase in range(step):
            target = out[phase, y]
            for j in range((n_columns - phase + step - 1) // step):
                target[j] = row[j * step + phase]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_box_row(
    phases: np.ndarray,
    corners: np.ndarray,
    weight: np.float32,
    y: int,
    out: np.ndarray,
) -> None:
    """Add the weighted sums of a box at every filter position of a row."""
    step = len(phases)
    # Views from each corner on, so that the loop's index is the only one and it can vectorise.
    left, right = phases[corners[0] % step], phases[corners[2] % step]
    top_left = left[y + corners[1], corners[0] // step :]
    bottom_left = left[y + corners[3], corners[0] // step :]
    top_right = right[y + corners[1], corners[2] // step :]
    bottom_right = right[y + corners[3], corners[2] // step :]
    for j in range(len(out)):
        total = top_left[j] + bottom_right[j] - top_right[j] - bottom_left[j]
        out[j] += np.float32(total) * weight


@njit(cache=True, nogil=True, error_model="numpy")
def _hessian_layer(
    phases: np.ndarray,
    shape: tuple[int, int],
    boxes: np.ndarray,
    size: int,
    determinant: np.ndarray,
) -> None:
    """Fill one layer with the determinant of the box-filtered Hessian."""
    n_rows, n_columns = shape
    step = len(phases)
    if size > n_rows or size > n_columns:
        return
    corners = np.empty((3, 4, 4), np.int32)
    weights = np.empty((3, 4), np.float32)
    for k in range(3):
        _scale_boxes(boxes[k], 9, size, corners[k], weights[k])
    margin = (size // 2) // step
    n_x = 1 + (n_columns - size) // step
    second = np.empty((3, n_x), np.float32)
    for i in range(1 + (n_rows - size) // step):
        for k in range(3):
            for j in range(n_x):
                second[k, j] = 0
            for b in range(4):
                if weights[k, b] != 0:
                    _add_box_row(phases, corners[k, b], weights[k, b], i * step, second[k])
        xx, yy, xy = second[0], second[1], second[2]
        out = determinant[i + margin, margin:]
        for j in range(n_x):
            out[j] = xx[j] * yy[j] - np.float32(0.81) * xy[j] * xy[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _is_maximum(below: np.ndarray, layer: np.ndarray, above: np.ndarray, i: int, j: int) -> bool:
    """Whether a response exceeds its 26 neighbours."""
    value = layer[i, j]
    for y in range(i - 1, i + 2):
        for x in range(j - 1, j + 2):
            if below[y, x] >= value or above[y, x] >= value:
                return False
            if (y != i or x != j) and layer[y, x] >= value:
                return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _refine_maximum(
    below: np.ndarray, layer: np.ndarray, above: np.ndarray, i: int, j: int, offset: np.ndarray
) -> bool:
    """Offset (x, y, layer) of a maximum by a quadratic fit; False where it leaves its cell."""
    value = np.float64(layer[i, j])
    gx = (layer[i, j + 1] - layer[i, j - 1]) / 2.0
    gy = (layer[i + 1, j] - layer[i - 1, j]) / 2.0
    gs = (above[i, j] - below[i, j]) / 2.0
    hxx = layer[i, j - 1] - 2.0 * value + layer[i, j + 1]
    hyy = layer[i - 1, j] - 2.0 * value + layer[i + 1, j]
    hss = below[i, j] - 2.0 * value + above[i, j]
    hxy = (
        layer[i + 1, j + 1] - layer[i + 1, j - 1] - layer[i - 1, j + 1] + layer[i - 1, j - 1]
    ) / 4.0
    hxs = (above[i, j + 1] - above[i, j - 1] - below[i, j + 1] + below[i, j - 1]) / 4.0
    hys = (above[i + 1, j] - above[i - 1, j] - below[i + 1, j] + below[i - 1, j]) / 4.0
    cxx = hyy * hss - hys * hys
    cxy = hys * hxs - hxy * hss
    cxs = hxy * hys - hyy * hxs
    determinant = hxx * cxx + hxy * cxy + hxs * cxs
    if determinant == 0:
        return False
    cyy = hxx * hss - hxs * hxs
    cys = hxy * hxs - hxx * hys
    css = hxx * hyy - hxy * hxy
    offset[0] = -(cxx * gx + cxy * gy + cxs * gs) / determinant
    offset[1] = -(cxy * gx + cyy * gy + cys * gs) / determinant
    offset[2] = -(cxs * gx + cys * gy + css * gs) / determinant
    if offset[0] == 0 and offset[1] == 0 and offset[2] == 0:
        return False
    return abs(offset[0]) <= 1 and abs(offset[1]) <= 1 and abs(offset[2]) <= 1


@njit(cache=True, nogil=True, error_model="numpy")
def _find_maxima(
    responses: np.ndarray,
    n_rows: int,
    n_columns: int,
    sizes: np.ndarray,
    layer: int,
    step: int,
    threshold: np.float32,
    found: np.ndarray,
    n_found: int,
) -> int:
    """Append the interpolated maxima (x, y, size, response) of one layer; returns their count."""
    below, middle, above = responses[layer - 1], responses[layer], responses[layer + 1]
    size = sizes[layer]
    margin = (sizes[layer + 1] // 2) // step + 1
    offset = np.empty(3, np.float64)
    for i in range(margin, n_rows // step - margin):
        for j in range(margin, n_columns // step - margin):
            value = middle[i, j]
            if value <= threshold or not _is_maximum(below, middle, above, i, j):
                continue
            if not _refine_maximum(below, middle, above, i, j, offset):
                continue
            if n_found == len(found):
                return n_found
            x = step * (j - (size // 2) // step) + (size - 1) * 0.5
            y = step * (i - (size // 2) // step) + (size - 1) * 0.5
            found[n_found, 0] = x + offset[0] * step
            found[n_found, 1] = y + offset[1] * step
            found[n_found, 2] = np.rint(size + offset[2] * (size - sizes[layer - 1]))
            found[n_found, 3] = value
            n_found += 1
    return n_found


@njit(cache=True, nogil=True, error_model="numpy")
def _detect(integral: np.ndarray, boxes: np.ndarray, threshold: np.float32) -> np.ndarray:
    """All keypoints (x, y, size, response) of a frame, in order of octave, layer and raster."""
    n_rows, n_columns = integral.shape[0] - 1, integral.shape[1] - 1
    found = np.empty((n_rows * n_columns // 16 + 16, 4), np.float32)
    n_found = 0
    sizes = np.empty(4, np.int64)
    for octave in range(4):
        step = 1 << octave
        determinants = np.zeros((4, n_rows // step + 1, n_columns // step + 1), np.float32)
        phases = np.zeros((step, n_rows + 1, n_columns // step + 1), np.int32)
        _split_phases(integral, step, phases)
        for layer in range(4):
            sizes[layer] = (9 + 6 * layer) << octave
            _hessian_layer(phases, (n_rows, n_columns), boxes, sizes[layer], determinants[layer])
        for layer in range(1, 3):
            n_found = _find_maxima(
                determinants, n_rows, n_columns, sizes, layer, step, threshold, found, n_found
            )
    return found[:n_found]


@njit(cache=True, nogil=True, error_model="numpy")
def _dominant_angle(response_x: np.ndarray, response_y: np.ndarray) -> np.float32:
    """Direction of the largest sum of responses within 29 degrees of a multiple of five."""
    angles = np.empty(len(response_x), np.float32)
    for k in range(len(response_x)):
        angles[k] = fast_atan2(response_y[k], response_x[k])
    # Such a window holds 12 runs of four degrees and the 11 multiples of five between them. Both
    # are summed up for each of the 72 multiples, and repeated so that a window need not wrap.
    runs = np.zeros((2, 84))
    fives = np.zeros((2, 84))
    for k in range(len(angles)):
        degree = int(np.rint(angles[k])) % 360
        sums = fives if degree % 5 == 0 else runs
        sums[0, degree // 5] += response_x[k]
        sums[1, degree // 5] += response_y[k]
    for k in range(12):
        for c in range(2):
            runs[c, 72 + k] = runs[c, k]
            fives[c, 72 + k] = fives[c, k]
    best, best_x, best_y = 0.0, 0.0, 0.0
    for step in range(72):
        first = (step - 6) % 72  # the run that begins 29 degrees before
        total_x, total_y = runs[0, first], runs[1, first]
        for k in range(first + 1, first + 12):
            total_x += runs[0, k] + fives[0, k]
            total_y += runs[1, k] + fives[1, k]
        length = total_x * total_x + total_y * total_y
        if length > best:
            best, best_x, best_y = length, total_x, total_y
    return fast_atan2(np.float32(-best_y), np.float32(best_x))


@njit(cache=True, nogil=True, error_model="numpy")
def _orient(integral: np.ndarray, keypoint: np.ndarray, samples: np.ndarray) -> np.float32:
    """Dominant direction of Haar responses around a keypoint; -1 where none can be sampled."""
    scale = keypoint[2] * np.float32(1.2) / np.float32(9)
    wavelet = 2 * int(np.rint(np.float32(2) * scale))
    n_rows, n_columns = integral.shape
    if n_rows < wavelet or n_columns < wavelet:
        return np.float32(-1)
    half = wavelet // 2
    weight = np.float32(1) / np.float32(half * wavelet)
    middle = np.float32(wavelet - 1) / np.float32(2)
    response_x = np.empty(len(samples), np.float32)
    response_y = np.empty(len(samples), np.float32)
    n_responses = 0
    for k in range(len(samples)):
        x = int(np.rint(keypoint[0] + samples[k, 0] * scale - middle))
        y = int(np.rint(keypoint[1] + samples[k, 1] * scale - middle))
        if y < 0 or y >= n_rows - wavelet or x < 0 or x >= n_columns - wavelet:
            continue
        top_left, top_right = integral[y, x], integral[y, x + wavelet]
        bottom_left, bottom_right = integral[y + wavelet, x], integral[y + wavelet, x + wavelet]
        top, bottom = integral[y, x + half], integral[y + wavelet, x + half]
        left, right = integral[y + half, x], integral[y + half, x + wavelet]
        haar_x = (bottom_right - bottom - top_right + top) - (bottom - bottom_left - top + top_left)
        haar_y = (right - left - top_right + top_left) - (bottom_right - bottom_left - right + left)
        response_x[n_responses] = np.float32(haar_x) * weight * samples[k, 2]
        response_y[n_responses] = np.float32(haar_y) * weight * samples[k, 2]
        n_responses += 1
    if n_responses == 0:
        return np.float32(-1)
    return _dominant_angle(response_x[:n_responses], response_y[:n_responses])


@njit(cache=True, nogil=True, error_model="numpy")
def _add_scaled(source: np.ndarray, weight: np.float32, out: np.ndarray) -> None:
    for i in range(PADDED_SIDE):
        out[i] += weight * source[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _cut_patch(
    image: np.ndarray, keypoint: np.ndarray, angle: np.float32, patch: np.ndarray
) -> None:
    """Fill the patch of a keypoint: its window, turned, by nearest pixels, averaged over areas."""
    n_rows, n_columns = image.shape
    n_out = patch.shape[0]
    size = int(np.float32(n_out) * (keypoint[2] * np.float32(1.2) / np.float32(9)))
    radians = angle * np.float32(np.pi / 180)
    sine = np.float32(np.sin(radians))
    cosine = np.float32(np.cos(radians))
    offset = -np.float32(size - 1) / np.float32(2)
    start_x = keypoint[0] + offset * cosine + offset * sine
    start_y = keypoint[1] - offset * sine + offset * cosine
    # Each row or column of the window falls into one cell of the patch, or into two.
    ratio = size / n_out
    cell = np.empty(size, np.int64)
    share = np.empty(size, np.float32)
    rest = np.empty(size, np.float32)
    for i in range(size):
        cell[i] = min(int(i / ratio), n_out - 1)
        inside = min((cell[i] + 1) * ratio, i + 1.0) - i
        share[i] = inside / ratio
        rest[i] = (1.0 - inside) / ratio if cell[i] + 1 < n_out else 0.0
    pixels = image.reshape(-1)
    index = np.empty(size, np.int32)
    value = np.empty(size, np.float32)
    total = np.zeros(size, np.float32)
    following = np.zeros(size, np.float32)
    # Averaged along y, one window column after the other, so that averaging along x adds vectors.
    averaged = np.zeros((size, PADDED_SIDE), np.float32)
    for i in range(size):
        row_x = start_x + np.float32(i) * sine
        row_y = start_y + np.float32(i) * cosine
        for j in range(size):
            x = np.int32(np.rint(row_x + np.float32(j) * cosine))
            y = np.int32(np.rint(row_y - np.float32(j) * sine))
            x = min(max(x, np.int32(0)), np.int32(n_columns - 1))
            y = min(max(y, np.int32(0)), np.int32(n_rows - 1))
            index[j] = y * np.int32(n_columns) + x
        for j in range(size):
            value[j] = pixels[np.uint32(index[j])]
        for j in range(size):
            total[j] += share[i] * value[j]
        if rest[i] > 0:
            for j in range(size):
                following[j] += rest[i] * value[j]
        if i + 1 == size or cell[i + 1] != cell[i]:
            for j in range(size):
                averaged[j, cell[i]] = total[j]
            for j in range(size):
                total[j] = following[j]
                following[j] = 0
    turned = np.zeros((n_out + 1, PADDED_SIDE), np.float32)
    for j in range(size):
        _add_scaled(averaged[j], share[j], turned[cell[j]])
        if rest[j] > 0:
            _add_scaled(averaged[j], rest[j], turned[cell[j] + 1])
    for i in range(n_out):
        for j in range(n_out):
            patch[i, j] = np.rint(turned[j, i])


@njit(cache=True, nogil=True, error_model="numpy")
def _describe_patch(patch: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Fill a 128-number descriptor: 4 x 4 cells of sums of signed and absolute differences."""
    for k in range(128):
        out[k] = 0
    for i in range(20):
        for j in range(20):
            weight = weights[i, j]
            upper = patch[i, j + 1] - patch[i, j]
            lower = patch[i + 1, j + 1] - patch[i + 1, j]
            dx = (upper + lower) * weight
            dy = (patch[i + 1, j] - patch[i, j] + patch[i + 1, j + 1] - patch[i, j + 1]) * weight
            cell = 8 * ((i // 5) * 4 + j // 5)
            if dy >= 0:
                out[cell] += dx
                out[cell + 1] += abs(dx)
            else:
                out[cell + 2] += dx
                out[cell + 3] += abs(dx)
            if dx >= 0:
                out[cell + 4] += dy
                out[cell + 5] += abs(dy)
            else:
                out[cell + 6] += dy
                out[cell + 7] += abs(dy)
    square = 0.0
    for k in range(128):
        square += np.float64(out[k]) * np.float64(out[k])
    scale = np.float32(1.0 / (np.sqrt(square) + 2.220446049250313e-16))
    for k in range(128):
        out[k] *= scale


@njit(cache=True, nogil=True, error_model="numpy")
def _describe(
    image: np.ndarray,
    integral: np.ndarray,
    keypoints: np.ndarray,
    samples: np.ndarray,
    weights: np.ndarray,
    angles: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill angle and descriptor of every keypoint; the angle is -1 where there is none."""
    patch = np.empty((21, 21), np.float32)
    for k in range(len(keypoints)):
        angles[k] = _orient(integral, keypoints[k], samples)
        if angles[k] < 0:
            continue
        _cut_patch(image, keypoints[k], angles[k], patch)
        _describe_patch(patch, weights, out[k])


def detect_and_describe(
    grey: np.ndarray,
    *,
    threshold: float = HESSIAN_THRESHOLD,
    allowed: np.ndarray | None = None,
) -> Keypoints:
    """Find SURF keypoints of a frame and describe them.

    Parameters
    ----------
    grey
        uint8 (row, column).
    threshold
        Smallest determinant of the Hessian, positive.
    allowed
        bool (row, column): keypoints are kept where it is True; None keeps all.

    Returns
    -------
    Keypoints
        Strongest first.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(
            f"grey must be a uint8 array of shape (row, column), got {grey.dtype} {grey.shape}; "
            "convert it with idt.pyramid.to_grey"
        )
    if not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}; 200 is the usual value")
    integral = np.empty((grey.shape[0] + 1, grey.shape[1] + 1), np.int32)
    _integrate(grey, integral)
    found = _detect(integral, HESSIAN_BOXES, np.float32(threshold))
    if allowed is not None:
        column = np.clip(np.rint(found[:, 0]).astype(int), 0, grey.shape[1] - 1)
        row = np.clip(np.rint(found[:, 1]).astype(int), 0, grey.shape[0] - 1)
        found = found[allowed[row, column]]
    found = found[np.argsort(-found[:, 3], kind="stable")]
    angles = np.empty(len(found), np.float32)
    descriptors = np.empty((len(found), 128), np.float32)
    _describe(grey, integral, found, ORIENTATION_SAMPLES, PATCH_WEIGHTS, angles, descriptors)
    kept = angles >= 0
    return Keypoints(
        points=found[kept, :2],
        sizes=found[kept, 2],
        angles=angles[kept],
        responses=found[kept, 3],
        descriptors=descriptors[kept],
    )
