"""Flow that is given beside a folder's images, in place of one that is computed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from deep.flow import FlowFolder, FlowSettings, check_fingerprint, read_folder
from idt import video


def given_flow(path: Path, flow: FlowSettings | None, *, side: int) -> FlowFolder | None:
    """Find the flow beside a folder's images, after a check that it is the one that is wanted.

    Parameters
    ----------
    path
        A video.
    flow
        Which flow is wanted; None for none, which finds none.
    side
        Shorter side of the stored frames in pixels.

    Returns
    -------
    FlowFolder, or None where flow is to be computed

    Raises
    ------
    idt.video.VideoError
        There is no such video, or its images and flow do not fit.
    ValueError
        The flow was made in another way, or at another size, or nothing says how.
    """
    if not path.exists():
        raise video.VideoError(path, "no such file")
    if flow is None:
        return None
    beside = read_folder(path) if path.is_dir() else None
    if beside is None:
        if flow.is_given:
            raise video.VideoError(
                path,
                f"flow of {flow.algorithm!r} must lie beside its images, as flow_x_00001.jpg and "
                "flow_y_00001.jpg, and there is none",
            )
        return None
    if beside.record is None:
        if not flow.is_given:
            raise ValueError(
                f"flow beside images must say what made it, got no flow.json in {str(path)!r}; "
                "name it by algorithm='given:NAME', or move it away to have flow computed"
            )
        return beside
    check_fingerprint(
        dict(beside.record["flow"]), flow.fingerprint(), owner=f"what reads {str(path)!r}"
    )
    if beside.record["side"] != side:
        raise ValueError(
            f"flow must be made at the stored frames' shorter side of {side} pixels, got "
            f"{beside.record['side']} in {str(path)!r}; write it at that side, or store at its own"
        )
    return beside


def given_fields(
    beside: FlowFolder, *, bound: float | None, n_images: int, size: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """Read the flow beside a folder's images at the size of the stored frames.

    Parameters
    ----------
    beside
        The flow.
    bound
        Of the flow that is wanted.
    n_images
        Frames that were decoded.
    size
        Rows and columns of the stored frames. Fields of another size are resized, by area where
        they shrink, and their displacements with them.

    Yields
    ------
    ndarray of float32, shape (row, column, 2)
        Pixels per frame of the stored size.

    Raises
    ------
    idt.video.VideoError
        There are more frames than numbered images, or a file cannot be read.
    """
    if n_images != beside.n_images:
        raise video.VideoError(
            beside.path,
            f"it holds {n_images} frames, of which {beside.n_images} are numbered images; keep "
            "nothing else in the folder",
        )
    for field in beside.fields(bound=bound):
        n_rows, n_columns = field.shape[:2]
        if (n_rows, n_columns) != size:
            method = cv2.INTER_AREA if size[0] < n_rows else cv2.INTER_LINEAR
            ratio = np.array([size[1] / n_columns, size[0] / n_rows], np.float32)
            field = cv2.resize(field, size[::-1], interpolation=method) * ratio
        yield field
