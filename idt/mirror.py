"""Trajectories of a video seen in a mirror, without extracting them once more."""

from __future__ import annotations

import numpy as np

from idt.descriptors import HISTOGRAM_DESCRIPTORS
from idt.histogram import N_DIRECTIONS
from idt.trajectories import META_COLUMNS, Trajectories

LAST_POSITION = np.float32(0.999)  # the largest place in the frame


def mirrored(table: Trajectories) -> Trajectories:
    """Turn left and right of a video's trajectories.

    Tracks and directions are turned, and the cells of every window change sides. What comes out is
    what an extraction of the mirrored video gives, up to three things that have a side: windows
    have an even number of pixels and reach half a pixel further to the left, the grid of seeds
    begins at the left border, and RANSAC draws other matches.

    Parameters
    ----------
    table
        With the usual descriptors or some of them, and with the info of its extraction.

    Returns
    -------
    Trajectories
        Rows as they were. The info is that of the table.

    Raises
    ------
    ValueError
        The table does not tell the frame's width and the number of cells, or has a descriptor that
        is none of the usual ones.
    """
    try:
        width = int(table.info["video"]["width"])
        n_cells = int(table.info["settings"]["n_cells"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            "info of a table must tell the video's width and n_cells to be mirrored, got "
            f"{sorted(table.info)}; take a table that was extracted here, from an h5 or npz file"
        ) from error
    sums = {each.name: (each.n_bins, each.mirror_sum) for each in HISTOGRAM_DESCRIPTORS}
    strangers = table.descriptors.keys() - sums.keys() - {"trajectory"}
    if strangers:
        raise ValueError(
            f"descriptors must be trajectory, {', '.join(sums)} to be mirrored, got "
            f"{', '.join(sorted(strangers))}; leave these out"
        )
    descriptors = {}
    for name, rows in table.descriptors.items():
        if name == "trajectory":
            descriptors[name] = rows * np.tile(np.array([-1, 1], np.float32), rows.shape[1] // 2)
        else:
            n_bins, mirror_sum = sums[name]
            descriptors[name] = rows[:, _columns(rows.shape[1], n_cells, n_bins, mirror_sum)]
    meta = table.meta.copy()
    mean_x, x_pos = META_COLUMNS.index("mean_x"), META_COLUMNS.index("x_pos")
    meta[:, mean_x] = np.float32(width - 1) - meta[:, mean_x]
    meta[:, x_pos] = np.clip(meta[:, mean_x] / np.float32(width), 0, LAST_POSITION)
    return Trajectories(meta, descriptors, table.info)


def _columns(dimension: int, n_cells: int, n_bins: int, mirror_sum: int) -> np.ndarray:
    """Where each number of a mirrored histogram stood before, int64 (dimension,)."""
    bins = np.arange(n_bins)
    bins[:N_DIRECTIONS] = (mirror_sum - bins[:N_DIRECTIONS]) % N_DIRECTIONS
    places = np.arange(dimension).reshape(-1, n_cells, n_cells, n_bins)  # time, x, y, bin
    return places[:, ::-1, :, bins].ravel()
