"""Flow out of a codec's motion vectors, on a coarse grid of blocks.

A vector tells where a block of the current frame was in its reference. Flow goes the other way,
from the previous frame to the current one, in pixels per frame, so a vector to the past is turned
round, and both kinds are divided by the distance of their reference. It stands at the block's place
in the current frame; read at a point of the previous frame, it is off by the motion, which is less
than the grid's step as a rule.

References
----------
Kantorov & Laptev, Efficient feature extraction, encoding and classification for action recognition,
CVPR 2014, section 3.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from idt.video import VECTOR

BLOCK = 8  # pixels; FFmpeg tells of no smaller blocks


@njit(cache=True, nogil=True, error_model="numpy")
def _add_vectors(
    vectors: np.ndarray,
    size: tuple[int, int],
    past: int,
    future: int,
    block: int,
    sums: np.ndarray,
) -> int:
    """Add every block's flow to the cells (3, row, column) it overlaps; returns the vectors used.

    Planes are dx, dy and weight: flow is weighted by the pixels that block and cell share.
    """
    height, width = size
    n_used = 0
    for k in range(len(vectors)):
        vector = vectors[k]
        distance = -past if vector.source < 0 else future
        if distance == 0 or vector.motion_scale == 0:
            continue
        n_used += 1
        scale = np.float32(1) / np.float32(np.int64(vector.motion_scale) * distance)
        dx = np.float32(vector.motion_x) * scale
        dy = np.float32(vector.motion_y) * scale
        left = np.int64(vector.dst_x) - vector.w // 2
        top = np.int64(vector.dst_y) - vector.h // 2
        right, bottom = min(left + vector.w, width), min(top + vector.h, height)
        left, top = max(left, 0), max(top, 0)
        for row in range(top // block, -(-bottom // block)):
            shared_rows = min(bottom, (row + 1) * block) - max(top, row * block)
            for column in range(left // block, -(-right // block)):
                shared = min(right, (column + 1) * block) - max(left, column * block)
                weight = np.float32(shared * shared_rows)
                sums[0, row, column] += dx * weight
                sums[1, row, column] += dy * weight
                sums[2, row, column] += weight
    return n_used


@njit(cache=True, nogil=True, error_model="numpy")
def _average(sums: np.ndarray, out: np.ndarray) -> None:
    """Flow of every cell; the median of the neighbours that have one where a cell has none."""
    n_rows, n_columns = sums.shape[1:]
    around = np.empty(8, np.float32)
    for row in range(n_rows):
        for column in range(n_columns):
            weight = sums[2, row, column]
            for c in range(2):
                if weight > 0:
                    out[c, row, column] = sums[c, row, column] / weight
                    continue
                n_around = 0
                for y in range(max(row - 1, 0), min(row + 2, n_rows)):
                    for x in range(max(column - 1, 0), min(column + 2, n_columns)):
                        if sums[2, y, x] > 0:
                            around[n_around] = sums[c, y, x] / sums[2, y, x]
                            n_around += 1
                out[c, row, column] = np.median(around[:n_around]) if n_around else 0


def codec_flow(
    vectors: np.ndarray,
    height: int,
    width: int,
    *,
    past: int,
    future: int,
    block: int = BLOCK,
    before: np.ndarray | None = None,
) -> np.ndarray:
    """Flow from the previous frame to the current one, out of the current one's motion vectors.

    Parameters
    ----------
    vectors
        `idt.video.VECTOR` (n,), as in `CodecFrame.vectors`.
    height, width
        Frame size in pixels.
    past, future
        Frames to the past and to the future reference; 0 leaves out the vectors to it.
    block
        Side of a grid cell in pixels.
    before
        Flow of the frame before, which is repeated where no vector is left (I pictures); None
        stands for no motion.

    Returns
    -------
    ndarray of float32, shape (2, ceil(height / block), ceil(width / block))
        Planes (dx, dy) in full-resolution pixels per frame; cell (i, j) covers the pixels from
        (block i, block j). Vectors to the past and to the future are averaged. Cells without a
        vector (blocks coded without motion) take their neighbours' median, or 0.

    Raises
    ------
    ValueError
        `vectors` has another type, a size or distance is out of range, or `before` has another
        shape.
    """
    if vectors.dtype != VECTOR or vectors.ndim != 1:
        raise ValueError(
            f"vectors must be a {VECTOR.names} array of shape (n,), got {vectors.dtype} "
            f"{vectors.shape}; take them from idt.video"
        )
    if min(height, width, block) < 1:
        raise ValueError(
            f"height, width and block must be at least 1 pixel, got {height}, {width} and {block}; "
            "give the frame's size"
        )
    if min(past, future) < 0:
        raise ValueError(
            f"past and future must be at least 0 frames, got {past} and {future}; "
            "use 0 where there is no reference"
        )
    shape = (2, -(-height // block), -(-width // block))
    if before is not None and before.shape != shape:
        raise ValueError(
            f"before must have the shape {shape}, got {before.shape}; "
            "give the flow of the frame before on the same grid"
        )
    sums = np.zeros((3, *shape[1:]), np.float32)
    if _add_vectors(vectors, (height, width), past, future, block, sums) == 0:
        return np.zeros(shape, np.float32) if before is None else before.copy()
    out = np.empty(shape, np.float32)
    _average(sums, out)
    return out
