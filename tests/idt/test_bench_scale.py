"""The benchmark of scale, on a small problem."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc"
)


@pytest.fixture
def script(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_scale", project / "scripts/bench_scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *options: object) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_scale.py", *map(str, options)])
    script.main()


SMALL = ("--rows", 60, "--test-rows", 20, "--columns", 2000, "--classes", 3, "--threads", 1)


def test_small_run(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = ("--extract-ms", 36, "--encode-ms", 3.6, "--codebook-s", 7200, "--workers", 1)
    run(script, monkeypatch, *SMALL, *cost, "--folder", tmp_path, "--csv", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]  # the data are gone
    with (tmp_path / "out.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    stages = [float(row["ours_s"]) for row in rows.values() if row["peer"] == "whole run"]
    assert len(stages) == 5
    assert float(rows["whole run"]["ours_s"]) == pytest.approx(sum(stages), abs=1e-4)
    accuracy = re.search(r"accuracy ([\d.]+)%", rows["whole run"]["note"])
    assert accuracy is not None
    assert float(accuracy[1]) > 60  # chance is 33; the seed decides
    # 2.485 million frames: at 36 ms 24.85 h, at 3.6 ms 2.49 h; codebook 2 h.
    assert float(rows["UCF101 from videos"]["peer_s"]) == pytest.approx(89_460)
    hours = "extraction 24.85 h, encoding 2.48 h, codebook 2.00 h"
    assert hours in rows["UCF101 from videos"]["note"]


def test_rows_are_made_of_the_seed_and_their_number(script: ModuleType) -> None:
    one, same, other = (script.simulated(500, 4, 0, row) for row in (9, 9, 13))
    np.testing.assert_array_equal(one, same)
    norms = [np.linalg.norm(part) for part in np.array_split(other, 5)]
    np.testing.assert_allclose(norms, 1, rtol=1e-6)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("options", [("--classes", 1), ("--rows", 2), ("--columns", 4)])
def test_sizes_that_cannot_be(
    script: ModuleType,
    options: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(script, monkeypatch, *SMALL, *options)
    assert "take 2 classes or more" in capsys.readouterr().err
