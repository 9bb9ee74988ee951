"""Fast-Hessian keypoints: maxima over place and scale of a determinant made of boxes.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from __future__ import annotations

import numpy as np
from numba import njit

N_OCTAVES = 4
N_OCTAVE_LAYERS = 2  # that maxima are looked for in; one more on either side
FIRST_FILTER = 9  # pixels, side of the smallest Hessian filter
FILTER_STEP = 6  # pixels between the filters of the first octave

# Boxes (x0, y0, x1, y1, weight) on the 9 x 9 filter of the second derivatives xx, yy and xy.
HESSIAN_BOXES = np.array(
    [
        [[0, 2, 3, 7, 1], [3, 2, 6, 7, -2], [6, 2, 9, 7, 1], [0, 0, 0, 0, 0]],
        [[2, 0, 7, 3, 1], [2, 3, 7, 6, -2], [2, 6, 7, 9, 1], [0, 0, 0, 0, 0]],
        [[1, 1, 4, 4, 1], [5, 1, 8, 4, -1], [1, 5, 4, 8, -1], [5, 5, 8, 8, 1]],
    ],
    np.float32,
)


@njit(cache=True, nogil=True, error_model="numpy")
def integrate_image(image: np.ndarray, out: np.ndarray) -> None:
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
        _scale_boxes(boxes[k], FIRST_FILTER, size, corners[k], weights[k])
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
def detect_keypoints(integral: np.ndarray, boxes: np.ndarray, threshold: np.float32) -> np.ndarray:
    """All keypoints (x, y, size, response) of a frame, in order of octave, layer and raster."""
    n_rows, n_columns = integral.shape[0] - 1, integral.shape[1] - 1
    found = np.empty((n_rows * n_columns // 16 + 16, 4), np.float32)
    n_found = 0
    sizes = np.empty(N_OCTAVE_LAYERS + 2, np.int64)
    for octave in range(N_OCTAVES):
        step = 1 << octave
        determinants = np.zeros(
            (N_OCTAVE_LAYERS + 2, n_rows // step + 1, n_columns // step + 1), np.float32
        )
        phases = np.zeros((step, n_rows + 1, n_columns // step + 1), np.int32)
        _split_phases(integral, step, phases)
        for layer in range(N_OCTAVE_LAYERS + 2):
            sizes[layer] = (FIRST_FILTER + FILTER_STEP * layer) << octave
            _hessian_layer(phases, (n_rows, n_columns), boxes, sizes[layer], determinants[layer])
        for layer in range(1, N_OCTAVE_LAYERS + 1):
            n_found = _find_maxima(
                determinants, n_rows, n_columns, sizes, layer, step, threshold, found, n_found
            )
    return found[:n_found]
