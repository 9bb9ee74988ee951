"""Points of the previous frame and where they are in the current one.

Matches come from keypoints and, where a frame is poor in them, from the dense flow at Shi-Tomasi
corners. Points are (x, y) in pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.lanes import WIDTH, absolute, bits_above, fill, load
from idt.surf import Keypoints

MATCH_RADIUS = 25.0  # pixels; matches must move less than this along x and along y


@njit(cache=True, nogil=True)
def _split(points: np.ndarray) -> np.ndarray:
    """Flat planes x and y of float32 points, behind whose end `WIDTH` more numbers may be read."""
    n_points = len(points)
    planes = np.empty(2 * n_points + WIDTH, np.float32)
    for k in range(n_points):
        planes[k], planes[n_points + k] = points[k, 0], points[k, 1]
    return planes


@njit(cache=True, nogil=True)
def _find_near(
    planes: np.ndarray, x: np.float32, y: np.float32, radius: np.float32, near: np.ndarray
) -> int:
    """Fill the indices of the points less than a radius away along x and y; returns their number.

    `planes` are what `_split` returned for n points, `near` has room for n + 1.
    """
    n_points, n_near = len(near) - 1, 0
    centre_x, centre_y, limit = fill(x), fill(y), fill(radius)
    for first in range(0, n_points, WIDTH):
        inside = bits_above(limit, absolute(load(planes, first) - centre_x))
        inside &= bits_above(limit, absolute(load(planes, n_points + first) - centre_y))
        if inside != 0:
            # Without a branch: one that is guessed wrong costs more than all the stores.
            for k in range(min(WIDTH, n_points - first)):
                near[n_near] = first + k
                n_near += (inside >> k) & 1
    return n_near


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _match_nearest(
    points: np.ndarray,
    descriptors: np.ndarray,
    previous_points: np.ndarray,
    previous_descriptors: np.ndarray,
    radius: np.float32,
    out: np.ndarray,
) -> None:
    """Index of the nearest previous descriptor within the radius, or -1; sums may be reordered."""
    planes, near = _split(previous_points), np.empty(len(previous_points) + 1, np.int64)
    for i in range(len(points)):
        best = np.float32(np.inf)
        out[i] = -1
        n_near = _find_near(planes, points[i, 0], points[i, 1], radius, near)
        for j in near[:n_near]:
            total = np.float32(0)
            for k in range(descriptors.shape[1]):
                difference = descriptors[i, k] - previous_descriptors[j, k]
                total += difference * difference
            if total < best:
                best = total
                out[i] = j


@njit(cache=True, nogil=True)
def _count_bits(word: np.uint64) -> np.uint64:
    """Number of bits set in a word, summed in pairs, nibbles and bytes."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    word = (word & pairs) + ((word >> np.uint64(2)) & pairs)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _match_nearest_bits(
    points: np.ndarray,
    words: np.ndarray,
    previous_points: np.ndarray,
    previous_words: np.ndarray,
    radius: np.float32,
    out: np.ndarray,
) -> None:
    """Index of the previous descriptor with the fewest other bits within the radius, or -1."""
    planes, near = _split(previous_points), np.empty(len(previous_points) + 1, np.int64)
    for i in range(len(points)):
        best = np.uint64(0xFFFFFFFFFFFFFFFF)
        out[i] = -1
        n_near = _find_near(planes, points[i, 0], points[i, 1], radius, near)
        for j in near[:n_near]:
            total = np.uint64(0)
            for k in range(words.shape[1]):
                total += _count_bits(words[i, k] ^ previous_words[j, k])
            if total < best:
                best = total
                out[i] = j


def match_keypoints(
    previous: Keypoints, current: Keypoints, *, radius: float = MATCH_RADIUS
) -> tuple[np.ndarray, np.ndarray]:
    """Match every current keypoint to its most similar previous one nearby.

    Descriptors of floats are compared by their Euclidean distance, binary ones (uint8) by the
    number of bits that differ. There is no ratio test and no cross-check: RANSAC sorts the matches
    out.

    Parameters
    ----------
    previous, current
        Keypoints of the two frames, of one kind.
    radius
        Matches lie less than this many pixels apart along each axis.

    Returns
    -------
    previous_points, current_points
        float32 (n, 2) each, (x, y).

    Raises
    ------
    ValueError
        The descriptors of the two frames are not of one kind and length.
    """
    before, after = previous.descriptors, current.descriptors
    if before.dtype != after.dtype or before.shape[1] != after.shape[1]:
        raise ValueError(
            "previous and current must have descriptors of one kind, got "
            f"{before.dtype} x {before.shape[1]} and {after.dtype} x {after.shape[1]}; "
            "detect both frames' keypoints by the same features"
        )
    nearest = np.empty(len(current), np.int64)
    near = np.float32(radius)
    if after.dtype == np.uint8:
        _match_nearest_bits(
            current.points, _words(after), previous.points, _words(before), near, nearest
        )
    else:
        _match_nearest(current.points, after, previous.points, before, near, nearest)
    found = nearest >= 0
    return previous.points[nearest[found]], current.points[found]


def _words(descriptors: np.ndarray) -> np.ndarray:
    """Binary descriptors as uint64 (n, n_words), filled up with zeros."""
    n_words = -(-descriptors.shape[1] // 8)
    padded = np.zeros((len(descriptors), 8 * n_words), np.uint8)
    padded[:, : descriptors.shape[1]] = descriptors
    return padded.view(np.uint64)


@njit(cache=True, nogil=True)
def _follow(flow: np.ndarray, points: np.ndarray, out: np.ndarray) -> None:
    """Points moved by the flow at their rounded pixel, the nearest one of the frame."""
    last_row, last_column = flow.shape[1] - 1, flow.shape[2] - 1
    for k in range(len(points)):
        column = min(max(int(np.rint(points[k, 0])), 0), last_column)
        row = min(max(int(np.rint(points[k, 1])), 0), last_row)
        out[k, 0] = points[k, 0] + flow[0, row, column]
        out[k, 1] = points[k, 1] + flow[1, row, column]


def flow_pairs(flow: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move points by the flow at their rounded pixel.

    Parameters
    ----------
    flow
        float32 (2, row, column), planes (dx, dy) from the previous frame to the current one.
    points
        float32 (n, 2), (x, y) in the previous frame.

    Returns
    -------
    previous_points, current_points
        float32 (n, 2) each.
    """
    moved = np.empty_like(points)
    _follow(flow, points, moved)
    return points, moved
