"""Where tracks begin: a dense grid, thinned by the smaller eigenvalue of the structure tensor.

The same eigenvalues give the Shi-Tomasi corners from which the camera's motion is estimated.
Points are (x, y) in pixels of the image they were found in.

References
----------
Wang, Klaeser, Schmid, Liu, Dense Trajectories and Motion Boundary Descriptors for Action
Recognition, IJCV 2013, section 3.1. Shi & Tomasi, Good Features to Track, CVPR 1994.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.lanes import WIDTH, bits_above, fill, highest, larger, load

STRIDE = 5  # pixels between candidates, Wang & Schmid 2013
QUALITY = 0.001  # of the frame's largest eigenvalue, Wang & Schmid 2013
MAX_CORNERS = 1000
CORNER_DISTANCE = 3.0  # pixels


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _min_eigenvalues(image: np.ndarray, out: np.ndarray) -> None:
    """Smaller eigenvalue of the 3 x 3 sum of Sobel products; mirrored borders."""
    n_rows, n_columns = image.shape
    scale = np.float32(1.0 / (4 * 3 * 255))
    # Rows of dx*dx, dx*dy and dy*dy: a ring of three, with a column of margin at both ends.
    products = np.empty((3, 3, n_columns + 2), np.float32)
    smooth = np.empty(n_columns + 2, np.float32)
    slope = np.empty(n_columns + 2, np.float32)
    for step in range(-1, n_rows + 1):
        y = min(max(step, 0), n_rows - 1)
        if step != y:
            y = min(1, n_rows - 1) if step < 0 else max(n_rows - 2, 0)
        above = y - 1 if y > 0 else min(1, n_rows - 1)
        below = y + 1 if y < n_rows - 1 else max(n_rows - 2, 0)
        for x in range(n_columns):
            top = np.float32(image[above, x])
            middle = np.float32(image[y, x])
            bottom = np.float32(image[below, x])
            smooth[x + 1] = (top + bottom) + (middle + middle)
            slope[x + 1] = bottom - top
        smooth[0], slope[0] = smooth[min(2, n_columns)], slope[min(2, n_columns)]
        last = max(n_columns - 1, 1)
        smooth[n_columns + 1], slope[n_columns + 1] = smooth[last], slope[last]
        ring = products[(step + 3) % 3]
        for x in range(n_columns):
            dx = (smooth[x + 2] - smooth[x]) * scale
            dy = ((slope[x] + slope[x + 2]) + (slope[x + 1] + slope[x + 1])) * scale
            ring[0, x + 1] = dx * dx
            ring[1, x + 1] = dx * dy
            ring[2, x + 1] = dy * dy
        for c in range(3):
            ring[c, 0] = ring[c, min(2, n_columns)]
            ring[c, n_columns + 1] = ring[c, last]
        if step < 1:
            continue
        for x in range(n_columns):
            a = np.float32(0)
            b = np.float32(0)
            c2 = np.float32(0)
            for r in range(3):
                a += products[r, 0, x] + products[r, 0, x + 1] + products[r, 0, x + 2]
                b += products[r, 1, x] + products[r, 1, x + 1] + products[r, 1, x + 2]
                c2 += products[r, 2, x] + products[r, 2, x + 1] + products[r, 2, x + 2]
            a *= np.float32(0.5)
            c2 *= np.float32(0.5)
            out[step - 1, x] = (a + c2) - np.sqrt((a - c2) * (a - c2) + b * b)


def min_eigenvalues(grey: np.ndarray) -> np.ndarray:
    """Smaller eigenvalue of the structure tensor at every pixel.

    Parameters
    ----------
    grey
        uint8 (row, column).

    Returns
    -------
    ndarray of float32, shape (row, column)
        Sobel gradients of size 3 in grey levels / 255 / 12, summed over 3 x 3 pixels.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(
            f"grey must be a uint8 array of shape (row, column), got {grey.dtype} {grey.shape}; "
            "convert it with idt.pyramid.to_grey"
        )
    out = np.empty(grey.shape, np.float32)
    _min_eigenvalues(grey, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _seed_points(
    eigenvalues: np.ndarray, live: np.ndarray, stride: int, threshold: np.float32
) -> np.ndarray:
    """Centres of the grid cells that hold texture and no live point, in raster order."""
    n_rows, n_columns = eigenvalues.shape[0] // stride, eigenvalues.shape[1] // stride
    taken = np.zeros((n_rows, n_columns), np.bool_)
    for k in range(len(live)):
        column = int(np.floor(live[k, 0])) // stride
        row = int(np.floor(live[k, 1])) // stride
        if 0 <= row < n_rows and 0 <= column < n_columns:
            taken[row, column] = True
    points = np.empty((n_rows * n_columns, 2), np.float32)
    n_points = 0
    for i in range(n_rows):
        y = i * stride + stride // 2
        for j in range(n_columns):
            x = j * stride + stride // 2
            if not taken[i, j] and eigenvalues[y, x] > threshold:
                points[n_points, 0] = x
                points[n_points, 1] = y
                n_points += 1
    return points[:n_points]


def seed_points(
    eigenvalues: np.ndarray,
    live: np.ndarray,
    *,
    stride: int = STRIDE,
    quality: float = QUALITY,
) -> np.ndarray:
    """Choose new track points: one per free grid cell that is not homogeneous.

    Parameters
    ----------
    eigenvalues
        What `min_eigenvalues` returned for the frame.
    live
        float32 (n, 2), points (x, y) of the live tracks; their cells get no new one.
    stride
        Grid step in pixels, at least 1.
    quality
        Share of the frame's largest eigenvalue that a point must exceed, from 0 to 1.

    Returns
    -------
    ndarray of float32, shape (n_new, 2)
        (x, y) in raster order.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1 pixel, got {stride}; 5 is the usual value")
    threshold = np.float32(np.float32(quality) * eigenvalues.max())
    return _seed_points(eigenvalues, live, stride, threshold)


@njit(cache=True, nogil=True, error_model="numpy")
def _strongest(eigenvalues: np.ndarray, allowed: np.ndarray) -> np.float32:
    """Largest eigenvalue of the allowed pixels, at least 0."""
    strongest = np.float32(0)
    if allowed.size == 0:
        most = fill(strongest)
        for i in range(0, eigenvalues.size - WIDTH + 1, WIDTH):
            most = larger(load(eigenvalues, i), most)
        strongest = highest(most)
        for i in range(eigenvalues.size // WIDTH * WIDTH, eigenvalues.size):
            strongest = max(strongest, eigenvalues.flat[i])
    else:
        for y in range(eigenvalues.shape[0]):
            for x in range(eigenvalues.shape[1]):
                if allowed[y, x]:
                    strongest = max(strongest, eigenvalues[y, x])
    return strongest


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _peaks_from(eigenvalues: np.ndarray, y: int, first: int, threshold: np.float32) -> int:
    """Bits of the next `WIDTH` pixels of a row above a threshold and no smaller than around them.

    Neighbours may be as large. The last column is left out.
    """
    n_columns = eigenvalues.shape[1]
    bits = 0
    if first + WIDTH < n_columns:
        place = y * n_columns + first
        centre = load(eigenvalues, place)
        most = larger(load(eigenvalues, place - 1), load(eigenvalues, place + 1))
        for row in (place - n_columns, place + n_columns):
            beside = larger(load(eigenvalues, row - 1), load(eigenvalues, row + 1))
            most = larger(most, larger(load(eigenvalues, row), beside))
        bits = bits_above(centre, fill(threshold)) & ~bits_above(most, centre)
    else:
        for x in range(first, n_columns - 1):
            centre = eigenvalues[y, x]
            is_peak = centre > threshold
            for v in range(y - 1, y + 2):
                for u in range(x - 1, x + 2):
                    is_peak &= eigenvalues[v, u] <= centre
            bits |= is_peak << (x - first)
    return bits


@njit(cache=True, nogil=True, error_model="numpy")
def _local_maxima(eigenvalues: np.ndarray, quality: float, allowed: np.ndarray) -> np.ndarray:
    """Keys of the 3 x 3 maxima above a share of the largest value, the border left out.

    In ascending order they lead from the strongest to the weakest, and in raster order where these
    are equal: above, 32 bits of the value (positive floats are ordered as their bits are), which
    are turned round; below, the raster index. All pixels are allowed where `allowed` is empty.
    """
    n_rows, n_columns = eigenvalues.shape
    threshold = np.float32(np.float64(_strongest(eigenvalues, allowed)) * quality)
    value_bits = eigenvalues.reshape(-1).view(np.uint32)
    keys = np.empty(eigenvalues.size, np.uint64)
    n_found = 0
    for y in range(1, n_rows - 1):
        for first in range(1, n_columns - 1, WIDTH):
            peaks = _peaks_from(eigenvalues, y, first, threshold)
            x = first
            while peaks != 0:
                if peaks & 1 and (allowed.size == 0 or allowed[y, x]):
                    index = y * n_columns + x
                    turned = np.uint64(np.uint32(0xFFFFFFFF) - value_bits[index])
                    keys[n_found] = (turned << np.uint64(32)) | np.uint64(index)
                    n_found += 1
                peaks >>= 1
                x += 1
    return keys[:n_found]


@njit(cache=True, nogil=True, error_model="numpy")
def _keep_distant(
    keys: np.ndarray, shape: tuple[int, int], distance: float, limit: int
) -> np.ndarray:
    """Greedy choice, in the order of keys, of points that keep a distance from all chosen ones."""
    radius = int(np.ceil(distance))
    reach = np.empty(2 * radius + 1, np.int64)  # along x in each row around a point
    for v in range(-radius, radius + 1):
        reach[v + radius] = -1
        while (reach[v + radius] + 1) ** 2 + v * v < distance * distance:
            reach[v + radius] += 1
    taken = np.zeros((shape[0] + 2 * radius, shape[1] + 2 * radius), np.bool_)
    points = np.empty((limit, 2), np.float32)
    n_points = 0
    for key in keys:
        if n_points == limit:
            break
        index = np.int64(key & np.uint64(0xFFFFFFFF))
        y, x = index // shape[1], index % shape[1]
        if taken[y + radius, x + radius]:
            continue
        points[n_points, 0] = x
        points[n_points, 1] = y
        n_points += 1
        for v in range(2 * radius + 1):
            for u in range(x + radius - reach[v], x + radius + reach[v] + 1):
                taken[y + v, u] = True
    return points[:n_points]


def corners(
    eigenvalues: np.ndarray,
    *,
    allowed: np.ndarray | None = None,
    limit: int = MAX_CORNERS,
    quality: float = QUALITY,
    distance: float = CORNER_DISTANCE,
) -> np.ndarray:
    """Shi-Tomasi corners, strongest first.

    Parameters
    ----------
    eigenvalues
        What `min_eigenvalues` returned for the frame.
    allowed
        bool (row, column): corners are taken where it is True; None allows all.
    limit
        Largest number of corners.
    quality
        Share of the frame's largest eigenvalue that a corner must exceed, from 0 to 1.
    distance
        Least distance in pixels between corners.

    Returns
    -------
    ndarray of float32, shape (n, 2)
        (x, y) in pixels.
    """
    if allowed is None:
        allowed = np.empty((0, 0), np.bool_)
    elif allowed.shape != eigenvalues.shape:
        raise ValueError(
            f"allowed must have the frame's shape {eigenvalues.shape}, got {allowed.shape}; "
            "give one bool a pixel"
        )
    keys = _local_maxima(np.ascontiguousarray(eigenvalues), quality, allowed)
    keys.sort()
    return _keep_distant(keys, eigenvalues.shape, distance, limit)
