"""The whole extraction, camera motion and all, against the reference program's own output.

End to end no two runs of the reference agree either: another draw of RANSAC's random numbers over
the same matches moves every figure. `sensitivity.json` tells by how much, and being inside that
band is as equal as two runs can be.
"""

import json

import numpy as np
import pytest

from idt.extract import extract
from idt.jobs import run
from idt.trajectories import Trajectories, agreement

CLIPS = [
    "synthetic_pan",
    "kth_boxing_d1",
    "hmdb_cartwheel",
    "ucf_icedancing_g01_c01",
    "k400_armwrestling",
]
DESCRIPTORS = ("trajectory", "hog", "hof", "mbhx", "mbhy")
DRAWS = ("another RANSAC draw (1)", "another RANSAC draw (2)")
SHARES = {"match": "fracA", "match_other": "fracB", "strong": "strong"}  # ours: the file's name
ROUNDING = 5e-5  # the file has four decimals
MARGIN = 1 / 3  # of the draws' distance from perfect agreement: two draws do not span the band


@pytest.fixture(scope="module")
def tables(shared):
    """Tables by clip, each extracted once, when it is first asked for."""

    class Tables(dict):
        def __missing__(self, clip):
            self[clip] = extract(shared / "golden" / "clips" / f"{clip}.avi")
            return self[clip]

    return Tables()


def golden(folder, clip):
    arrays = np.load(folder / "golden" / f"{clip}.trajectories.npz")
    return Trajectories(arrays["meta"], {name: arrays[name] for name in DESCRIPTORS})


def differences(figures):
    """Our names of the figures that are best when small, and the file's."""
    for name in DESCRIPTORS:
        short = "traj" if name == "trajectory" else name
        for ours, theirs in (
            (f"rel_{name}", f"rel_{short}_med"),
            (f"pool_{name}", f"pool_{short}"),
        ):
            if theirs in figures:
                yield ours, theirs


@pytest.mark.parametrize("clip", CLIPS)
def test_the_number_of_trajectories_is_the_reference_programs(shared, tables, clip):
    assert len(tables[clip]) == pytest.approx(len(golden(shared, clip)), rel=0.05)


@pytest.mark.parametrize("clip", CLIPS[1:])
def test_every_figure_is_within_another_draw_of_the_camera(shared, tables, clip):
    sensitivity = json.loads((shared / "golden" / "sensitivity.json").read_text())[clip]
    draws = [sensitivity[name] for name in DRAWS]
    measures = agreement(golden(shared, clip), tables[clip])
    for ours, theirs in SHARES.items():
        least = min(draw[theirs] for draw in draws)
        assert measures[ours] >= least - MARGIN * (1 - least), ours
    compared = dict(differences(draws[0]))
    assert len(compared) == 9
    for ours, theirs in compared.items():
        most = max(draw[theirs] for draw in draws)
        assert measures[ours] <= (1 + MARGIN) * most + ROUNDING, ours


def test_the_rendered_clip_has_no_band_and_comes_out_the_same(shared, tables):
    measures = agreement(golden(shared, "synthetic_pan"), tables["synthetic_pan"])
    assert measures["match"] == measures["match_other"] == 1
    assert measures["strong"] >= 0.98
    for name in DESCRIPTORS:
        assert measures[f"rel_{name}"] <= 1e-3
        assert measures[f"pool_{name}"] <= 1e-3


def assert_equal(table, other):
    np.testing.assert_array_equal(table.meta, other.meta)
    assert list(table.descriptors) == list(other.descriptors)
    for name, values in table.descriptors.items():
        np.testing.assert_array_equal(values, other.descriptors[name], err_msg=name)


@pytest.mark.parametrize("clip", ["synthetic_pan", "hmdb_cartwheel"])
def test_two_threads_give_the_same_table(shared, tables, clip):
    path = shared / "golden" / "clips" / f"{clip}.avi"
    assert_equal(extract(path, threads=2), tables[clip])


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_file(shared, tables, workers, tmp_path):
    clips = ["kth_boxing_d1", "synthetic_pan"]
    paths = [shared / "golden" / "clips" / f"{clip}.avi" for clip in clips]
    for clip, outcome in zip(
        clips, run(extract, paths, label="extracting", workers=workers), strict=True
    ):
        table = outcome.result()
        assert_equal(table, tables[clip])
        assert table.info == tables[clip].info
        first, second = tmp_path / "first.h5", tmp_path / "second.h5"
        tables[clip].save(first)
        table.save(second)
        assert first.read_bytes() == second.read_bytes()
