"""Fast-Hessian keypoints: maxima over place and scale of a determinant made of boxes.

References
----------
Bay, Ess, Tuytelaars, Van Gool, SURF: Speeded Up Robust Features, CVIU 2008.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.lanes import WIDTH, Lanes, bits_above, fill, load, store, to_floats

N_OCTAVES = 4
N_LAYERS = 4  # of an octave; maxima are looked for in all but the first and the last
FIRST_FILTER = 9  # pixels, side of the smallest Hessian filter
FILTER_STEP = 6  # pixels between the filters of the first octave

# Edges of the boxes on the 9 x 9 filter. The second derivatives along an axis have three boxes
# side by side, weighted 1, -2 and 1; the mixed one has four, weighted 1, -1, -1 and 1.
THIRDS = np.array([0, 3, 6, 9], np.float32)  # along that axis
BAND = np.array([2, 7], np.float32)  # along the other one
QUADRANTS = np.array([1, 4, 5, 8], np.float32)  # along both axes


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
def _split_phases(phases: np.ndarray, shape: tuple[int, int], step: int) -> np.ndarray:
    """Rearrange the rows of an integral image, split by column modulo `step`, to twice the step.

    Filter positions are a step apart, and so lie side by side. The arrays are flat: column x of row
    y is at ``((x % step) * n_rows + y) * pitch + x // step``, where the frame has the given shape,
    the integral image n_rows, one more, and ``pitch = shape[1] // step + 1``.
    """
    n_rows, pitch = shape[0] + 1, shape[1] // step + 1
    out_pitch = shape[1] // (2 * step) + 1
    out = np.empty(2 * step * n_rows * out_pitch + WIDTH, np.int32)
    for line in range(step * n_rows):
        source = phases[line * pitch : (line + 1) * pitch]
        even = out[line * out_pitch :]
        odd = out[(step * n_rows + line) * out_pitch :]
        for j in range(pitch // 2):
            even[j] = source[2 * j]
            odd[j] = source[2 * j + 1]
        if pitch % 2:
            even[pitch // 2] = source[pitch - 1]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _place_edges(
    edges: np.ndarray, size: int, step: int, plane: int, pitch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale edges to a filter: their pixels, and how far they lead along a row and down."""
    pixels = np.empty(len(edges), np.int64)
    across = np.empty(len(edges), np.int64)
    down = np.empty(len(edges), np.int64)
    ratio = np.float32(size) / np.float32(FIRST_FILTER)
    for k in range(len(edges)):
        pixels[k] = np.rint(ratio * edges[k])
        across[k] = pixels[k] % step * plane + pixels[k] // step
        down[k] = pixels[k] * pitch
    return pixels, across, down


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _sum_bands(
    phases: np.ndarray, i: int, p0: int, p1: int, p2: int, p3: int, far: int, weight: Lanes
) -> Lanes:
    """Second derivative along an axis; `far` leads to the other edge along the other one."""
    s0 = load(phases, i + p0 + far) - load(phases, i + p0)
    s1 = load(phases, i + p1 + far) - load(phases, i + p1)
    s2 = load(phases, i + p2 + far) - load(phases, i + p2)
    s3 = load(phases, i + p3 + far) - load(phases, i + p3)
    middle = weight + weight
    total = to_floats(s1 - s0) * weight - to_floats(s2 - s1) * middle
    return total + to_floats(s3 - s2) * weight


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _sum_box(phases: np.ndarray, i: int, left: int, right: int, top: int, bottom: int) -> Lanes:
    """Sum over a box."""
    above = load(phases, i + right + top) - load(phases, i + left + top)
    return to_floats(load(phases, i + right + bottom) - load(phases, i + left + bottom) - above)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_layer(
    phases: np.ndarray,
    shape: tuple[int, int],
    size: int,
    step: int,
    layer: int,
    determinants: np.ndarray,
) -> None:
    """Fill a layer with the determinant of the box-filtered Hessian, where the filter has room.

    Elsewhere there are any numbers. `phases` are as `_split_phases` returns them.
    """
    pitch = shape[1] // step + 1
    plane = (shape[0] + 1) * pitch
    thirds, thirds_x, thirds_y = _place_edges(THIRDS, size, step, plane, pitch)
    band, band_x, band_y = _place_edges(BAND, size, step, plane, pitch)
    corner, corner_x, corner_y = _place_edges(QUADRANTS, size, step, plane, pitch)
    # All of a filter's boxes are of one size, whatever the rounding.
    one = np.float32(1)
    along = fill(one / np.float32((thirds[1] - thirds[0]) * (band[1] - band[0])))
    mixed = fill(one / np.float32((corner[1] - corner[0]) * (corner[1] - corner[0])))
    x0, x1, x2, x3 = corner_x[0], corner_x[1], corner_x[2], corner_x[3]
    y0, y1, y2, y3 = corner_y[0], corner_y[1], corner_y[2], corner_y[3]
    balance = fill(np.float32(0.81))
    margin = (size // 2) // step
    n_x = 1 + (shape[1] - size) // step
    for row in range(1 + (shape[0] - size) // step):
        i = row * step * pitch
        place = ((layer * determinants.shape[1]) + row + margin) * pitch + margin
        for _ in range(0, n_x, WIDTH):
            j = i + band_y[0]
            far = band_y[1] - band_y[0]
            xx = _sum_bands(
                phases, j, thirds_x[0], thirds_x[1], thirds_x[2], thirds_x[3], far, along
            )
            j = i + band_x[0]
            far = band_x[1] - band_x[0]
            yy = _sum_bands(
                phases, j, thirds_y[0], thirds_y[1], thirds_y[2], thirds_y[3], far, along
            )
            xy = _sum_box(phases, i, x0, x1, y0, y1) * mixed
            xy = xy - _sum_box(phases, i, x2, x3, y0, y1) * mixed
            xy = xy - _sum_box(phases, i, x0, x1, y2, y3) * mixed
            xy = xy + _sum_box(phases, i, x2, x3, y2, y3) * mixed
            store(determinants, place, xx * yy - balance * xy * xy)
            i += WIDTH
            place += WIDTH


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
    pitch = responses.shape[2]
    size = sizes[layer]
    margin = (sizes[layer + 1] // 2) // step + 1
    end = n_columns // step - margin
    offset = np.empty(3, np.float64)
    floor = fill(threshold)
    for i in range(margin, n_rows // step - margin):
        for first in range(margin, end, WIDTH):
            place = (layer * responses.shape[1] + i) * pitch + first
            centre = load(responses, place)
            candidates = bits_above(centre, floor)
            candidates &= bits_above(centre, load(responses, place - 1))
            candidates &= bits_above(centre, load(responses, place + 1))
            candidates &= bits_above(centre, load(responses, place - pitch))
            candidates &= bits_above(centre, load(responses, place + pitch))
            for j in range(first, min(first + WIDTH, end)):
                if candidates == 0:
                    break
                is_candidate = candidates & 1
                candidates >>= 1
                if not is_candidate or not _is_maximum(below, middle, above, i, j):
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
                found[n_found, 3] = middle[i, j]
                n_found += 1
    return n_found


@njit(cache=True, nogil=True, error_model="numpy")
def detect_keypoints(integral: np.ndarray, threshold: np.float32) -> np.ndarray:
    """All keypoints (x, y, size, response) of a frame, in order of octave, layer and raster.

    `integral`, int32 (row, column) from `idt.lanes.empty`, is what `integrate_image` filled.
    """
    n_rows, n_columns = integral.shape[0] - 1, integral.shape[1] - 1
    found = np.empty((n_rows * n_columns // 16 + 16, 4), np.float32)
    n_found = int(np.int64(0))  # a literal would have the kernel below compiled twice
    sizes = np.empty(N_LAYERS, np.int64)
    phases = integral.reshape(-1)
    for octave in range(N_OCTAVES):
        step = 1 << octave
        if octave > 0:
            phases = _split_phases(phases, (n_rows, n_columns), step // 2)
        shape = N_LAYERS, n_rows // step + 1, n_columns // step + 1
        size = shape[0] * shape[1] * shape[2]
        determinants = np.empty(size + WIDTH, np.float32)[:size].reshape(shape)
        for layer in range(N_LAYERS):
            sizes[layer] = (FIRST_FILTER + FILTER_STEP * layer) << octave
            if sizes[layer] <= min(n_rows, n_columns):
                _fill_layer(phases, (n_rows, n_columns), sizes[layer], step, layer, determinants)
        for layer in range(1, N_LAYERS - 1):
            n_found = _find_maxima(
                determinants, n_rows, n_columns, sizes, layer, step, threshold, found, n_found
            )
    return found[:n_found]
