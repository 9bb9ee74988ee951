"""The one scale that is tracked where the flow is a codec's motion vectors.

Vectors stand for blocks of 8 x 8 pixels at the finest, so that nothing is gained from tracking on
more pixels than a quarter of them along x and y. Frames are shrunk by 4, and so are the window that
is described and the step between seeds. Everything that is told or tested in pixels stays in the
video's: the validity of tracks, and the flow that votes for HOF and MBH, whose threshold for no
motion is 0.4 pixels of the video.

References
----------
Kantorov & Laptev, Efficient feature extraction, encoding and classification for action recognition,
CVPR 2014. They pool HOF and MBH of the vectors on a regular grid of windows and do not track; here
the vectors move tracks, and shape and HOG are computed, too.
"""

from __future__ import annotations

import cv2
import numpy as np

from idt.extract.source import Picture
from idt.flow import BLOCK, resize_flow
from idt.pyramid import Scale

FACTOR = 4  # of the scale


def codec_scale(width: int, height: int) -> Scale:
    """The scale of frames of a size, in pixels; up to three rows and columns are left out."""
    return Scale(float(FACTOR), width // FACTOR, height // FACTOR)


def shrink_to_scale(grey: np.ndarray, scale: Scale) -> np.ndarray:
    """Mean of every 4 x 4 pixels, uint8 (row, column)."""
    whole = grey[: FACTOR * scale.height, : FACTOR * scale.width]
    return cv2.resize(whole, (scale.width, scale.height), interpolation=cv2.INTER_AREA)


def spread_blocks(picture: Picture, scale: Scale) -> np.ndarray:
    """Flow of a picture's blocks on the scale's pixels, in these, float32 (2, row, column)."""
    blocks, shrinkage = _blocks(picture), picture.shrinkage
    covered = (
        max(round(n * BLOCK * ratio / FACTOR), least)
        for n, ratio, least in (
            (blocks.shape[1], shrinkage.y, scale.height),
            (blocks.shape[2], shrinkage.x, scale.width),
        )
    )
    # The last blocks reach beyond the frame.
    flow = resize_flow(blocks, *covered, factor=1 / FACTOR)[:, : scale.height, : scale.width]
    flow[0] *= np.float32(shrinkage.x)
    flow[1] *= np.float32(shrinkage.y)
    return np.ascontiguousarray(flow)


def block_pairs(picture: Picture, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Matches of a picture's blocks, float32 (n, 2) each: from where they came, and their centres.

    Blocks whose centre lies outside the frame, or where `allowed`, bool (row, column), is False,
    are left out.
    """
    blocks, shrinkage = _blocks(picture), picture.shrinkage
    ratios = np.array([shrinkage.x, shrinkage.y])
    columns, rows = np.meshgrid(np.arange(blocks.shape[2]), np.arange(blocks.shape[1]))
    centres = (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * BLOCK * ratios - 0.5
    column, row = np.rint(centres).astype(int).T
    height, width = picture.image.shape[:2]
    kept = (column < width) & (row < height)
    if allowed is not None:
        kept[kept] = allowed[row[kept], column[kept]]
    moved = blocks.reshape(2, -1).T[kept] * ratios
    centres = centres[kept]
    return (centres - moved).astype(np.float32), centres.astype(np.float32)


def _blocks(picture: Picture) -> np.ndarray:
    """Flow of the blocks, which a picture has where the flow is the codec's."""
    if picture.blocks is None:
        raise ValueError(
            f"picture {picture.index} must have blocks, got none; decode it with its vectors"
        )
    return picture.blocks
