"""Points of the previous frame and where they are in the current one.

Matches come from keypoints and, where a frame is poor in them, from the dense flow at Shi-Tomasi
corners. Points are (x, y) in pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.surf import Keypoints

MATCH_RADIUS = 25.0  # pixels; matches must move less than this along x and along y


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
    for i in range(len(points)):
        best = np.float32(np.inf)
        out[i] = -1
        for j in range(len(previous_points)):
            if abs(points[i, 0] - previous_points[j, 0]) >= radius:
                continue
            if abs(points[i, 1] - previous_points[j, 1]) >= radius:
                continue
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
    for i in range(len(points)):
        best = np.uint64(0xFFFFFFFFFFFFFFFF)
        out[i] = -1
        for j in range(len(previous_points)):
            if abs(points[i, 0] - previous_points[j, 0]) >= radius:
                continue
            if abs(points[i, 1] - previous_points[j, 1]) >= radius:
                continue
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
    column = np.clip(np.rint(points[:, 0]).astype(int), 0, flow.shape[2] - 1)
    row = np.clip(np.rint(points[:, 1]).astype(int), 0, flow.shape[1] - 1)
    return points, points + flow[:, row, column].T
