"""Sizes that a file's pictures are coded at, read beside the decoding.

From 4.7 on OpenCV brings every frame to the size of the first one and does not say so. A size can
change at key pictures alone, so these are decoded a second time, in step with the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av


def coded_sizes(path: Path) -> Iterator[tuple[int, int] | None]:
    """Give width and height after every packet of the first video stream, in decoding order.

    None comes before the first key picture. A picture of another size displays after all that were
    decoded before it, so its packet has the number of its frame. Nothing comes out of files that
    PyAV cannot open, and what is broken in others is passed over: whether a file can be decoded is
    said where it is.
    """
    size: tuple[int, int] | None = None
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                return
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None:  # a codec that PyAV does not know
                return
            context.thread_count = 1  # more would tell the size late
            context.skip_frame = "ALL" if stream.codec.intra_only else "NONKEY"
            for packet in container.demux(stream):
                if packet.size and packet.is_keyframe:
                    with suppress(av.FFmpegError):
                        packet.decode()
                        size = context.width, context.height
                yield size
    except av.FFmpegError:
        return
