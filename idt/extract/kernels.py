"""Kernels of an extraction loaded ahead: from numba's cache, or compiled where it has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from idt.extract.loop import track
from idt.extract.options import ExtractOptions
from idt.extract.source import Picture
from idt.extract.stages import Stages
from idt.flow import codec_flow
from idt.trajectories import META_COLUMNS, lear_text
from idt.trajectories.half import round_to_half
from idt.video import VECTOR

GRAIN = 4  # pixels of the texture
STEP = 2  # pixels a frame, so that tracks are valid and matches agree


def load_kernels(options: ExtractOptions, *, as_text: bool = False) -> None:
    """Work on a few small frames, so that an extraction finds its kernels loaded.

    Parameters
    ----------
    options
        Settings of that extraction.
    as_text
        Whether it writes text.
    """
    # All tracks move with the camera; some have to be kept.
    short = replace(
        options,
        track_length=options.n_time_cells,
        detect_people=False,
        remove_camera_tracks=False,
    )
    # Three scales, and more than the 50 matches that a homography takes.
    side = max(2 * options.patch_size, 64)
    for _ in track(_pictures(short, side), short, stages=Stages()):
        pass
    if as_text:
        meta = np.zeros((1, len(META_COLUMNS)), np.float32)
        lear_text.to_text(meta, {"hog": np.zeros((1, 1), np.float32)})
    else:
        round_to_half(np.zeros(1, np.float32), np.zeros(1, np.float16))


def _pictures(options: ExtractOptions, side: int) -> Iterator[Picture]:
    """Frames of one moving texture."""
    n_frames = options.track_length + 1
    n_coarse = -(-side // GRAIN), -(-(side + STEP * n_frames) // GRAIN)
    coarse = np.random.default_rng(0).integers(0, 256, n_coarse)
    texture = np.kron(coarse, np.ones((GRAIN, GRAIN)))[:side].astype(np.uint8)
    vectors = np.array([(-1, 8, 8, 4, 4, 4, 4, 0, 0, 0, 1)], VECTOR)
    blocks = codec_flow(vectors, side, side, past=1, future=0)
    blocks[0] = STEP
    for index in range(n_frames):
        left = STEP * (n_frames - index)
        grey = np.ascontiguousarray(texture[:, left : left + side])
        if options.flow == "codec":
            yield Picture(index, grey, blocks=blocks)
        else:
            yield Picture(index, np.repeat(grey[..., None], 3, axis=2))
