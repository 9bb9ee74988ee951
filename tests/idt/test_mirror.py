"""Mirrored trajectories: by hand, and against extractions of the mirrored video."""

import dataclasses

import numpy as np
import pytest

from idt.extract import ExtractOptions, extract
from idt.mirror import mirrored
from idt.trajectories import META_COLUMNS, Trajectories, agreement

INFO = {"video": {"width": 100}, "settings": {"n_cells": 1}}


def _table(descriptors, info=INFO):
    meta = np.zeros((1, len(META_COLUMNS)), np.float32)
    meta[0, 1], meta[0, 7] = 10, 0.1
    return Trajectories(meta, {k: np.float32([v]) for k, v in descriptors.items()}, info)


def test_directions_by_hand():
    bins = np.arange(8)
    table = mirrored(
        _table({"trajectory": [1, 2, 3, 4], "hog": bins, "hof": [*bins, 8], "mbhx": bins})
    )
    assert table.descriptors["trajectory"].tolist() == [[-1, 2, -3, 4]]
    # right and left change places, up and down stay
    assert table.descriptors["hog"].tolist() == [[4, 3, 2, 1, 0, 7, 6, 5]]
    assert table.descriptors["hof"].tolist() == [[4, 3, 2, 1, 0, 7, 6, 5, 8]]
    assert table.descriptors["mbhx"].tolist() == [[0, 7, 6, 5, 4, 3, 2, 1]]
    assert table.column("mean_x").tolist() == [89]
    assert table.column("x_pos") == pytest.approx(0.89)


def test_cells_change_sides_by_hand():
    rows = np.zeros((2, 2, 2, 8), np.float32)  # time, x, y, bin
    rows[0, 0, 1, 0] = 1
    info = {"video": {"width": 100}, "settings": {"n_cells": 2}}
    turned = mirrored(_table({"mbhy": rows.ravel()}, info)).descriptors["mbhy"]
    assert np.argwhere(turned.reshape(rows.shape)).tolist() == [[0, 1, 1, 4]]


def _clip():
    """A patch that moves along a diagonal over blobs; left and right differ."""
    rng = np.random.default_rng(5)
    ground = np.kron(rng.integers(60, 190, (14, 20)), np.ones((10, 10)))
    patch = np.kron(rng.integers(0, 256, (10, 10)), np.ones((7, 7)))
    video = np.empty((17, 140, 200, 3), np.uint8)
    for t in range(len(video)):
        image = ground.copy()
        image[20 + t : 90 + t, 30 + 2 * t : 100 + 2 * t] = patch
        video[t] = image[..., None]
    return video


# Windows of an odd number of pixels, a width of whole strides and no RANSAC: nothing has a side.
NO_SIDE = ExtractOptions(patch_size=31, n_cells=1, max_scales=1, stabilise="none")


def _extracted(options):
    """A clip's table, and that of its mirror image."""
    video = _clip()
    turned = np.ascontiguousarray(video[:, :, ::-1])
    return extract(video, options=options), extract(turned, options=options)


def test_a_mirrored_video_gives_the_same_where_nothing_has_a_side():
    table, found = _extracted(NO_SIDE)
    ours = mirrored(table)
    compared = agreement(found, ours)
    assert len(found) > 100
    # Points halfway between two pixels are rounded to the right in both: some tracks part there.
    assert compared["strong"] == compared["match"] > 0.8
    for name in found.descriptors:
        assert compared[f"rel_{name}"] < 1e-5  # the flow's sums are rounded in another order
        np.testing.assert_array_equal(mirrored(ours).descriptors[name], table.descriptors[name])


def test_a_mirrored_video_gives_nearly_the_same_with_cells():
    table, found = _extracted(dataclasses.replace(NO_SIDE, patch_size=32, n_cells=2))
    compared, unturned = agreement(found, mirrored(table)), agreement(found, table)
    assert compared["match"] > 0.8 > 0.3 > unturned["match"]
    for name in found.descriptors:
        assert compared[f"rel_{name}"] < 0.1  # windows are a pixel apart
        assert compared[f"pool_{name}"] < 0.5 * unturned[f"pool_{name}"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (_table({"hog": np.zeros(8)}, {}), "must tell the video's width and n_cells"),
        (_table({"vgg": np.zeros(8)}), "descriptors must be trajectory, hog.*, got vgg"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        mirrored(table)
