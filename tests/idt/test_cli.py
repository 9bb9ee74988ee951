"""The commands ``trajfuse idt extract`` and ``compare``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from idt.cli import app
from idt.trajectories import Trajectories

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
GOLDEN = CLIP.with_suffix(".trajectories.npz")


def test_extract_writes_a_table_and_says_so(tmp_path):
    output = tmp_path / "pan.h5"
    result = CliRunner().invoke(app, ["extract", str(CLIP), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "636 trajectories from 24 frames" in result.output
    table = Trajectories.load(output)
    assert len(table) == 636
    assert table.info["video"]["name"] == CLIP.name


def test_quiet_prints_nothing(tmp_path):
    output = tmp_path / "pan.h5"
    arguments = ["extract", str(CLIP), "-o", str(output), "--quiet", "--dtype", "float32"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.output == ""
    assert output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.avi", "-o", "out.h5"], "no such file"),
        ([str(CLIP), "-o", "out.csv"], "output must end in .h5"),
        ([str(CLIP), "-o", "nowhere/out.h5"], "no folder"),
        ([str(CLIP), "-o", "out.h5", "--dtype", "int8"], "dtype must be float16 or float32"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["extract", *arguments])
    assert result.exit_code != 0
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_compare_prints_the_measures():
    result = CliRunner().invoke(app, ["compare", str(GOLDEN), str(GOLDEN)])
    assert result.exit_code == 0, result.output
    for name in ("n_reference", "match_other", "strong", "rel_trajectory", "pool_mbhy"):
        assert name in result.output
    assert "636" in result.output


def test_compare_prints_json(tmp_path):
    table = Trajectories.load(GOLDEN)
    table = Trajectories(table.meta[:300], {"hog": table.descriptors["hog"][:300]})
    table.save(tmp_path / "part.txt.gz")
    arguments = ["compare", str(GOLDEN), str(tmp_path / "part.txt.gz"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--dimensions", "hog=96"])
    assert result.exit_code == 0, result.output
    measures = json.loads(result.output)
    assert (measures["n_reference"], measures["n_other"]) == (636, 300)
    assert measures["match"] == pytest.approx(300 / 636)
    assert measures["match_other"] == 1
    assert measures["rel_hog"] < 1e-6
    assert "rel_hof" not in measures


def test_compare_says_null_for_what_cannot_be_measured(tmp_path):
    table = Trajectories.load(GOLDEN)
    Trajectories(table.meta[:0], {"hog": table.descriptors["hog"][:0]}).save(tmp_path / "none.npy")
    result = CliRunner().invoke(app, ["compare", str(GOLDEN), str(tmp_path / "none.npy"), "--json"])
    measures = json.loads(result.output)
    assert measures["match"] == 0
    assert measures["rel_hog"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(GOLDEN), "none.h5"], "no trajectories at 'none.h5'"),
        ([str(GOLDEN), str(CLIP)], "path must end in .h5, .npz, .npy, .txt, .txt.gz"),
        (["a.txt", "a.txt", "--dimensions", "hog"], "dimensions must be pairs like"),
    ],
)
def test_what_cannot_be_compared_is_said(arguments, message):
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert result.exit_code != 0
    assert message in str(result.exception)


@pytest.mark.parametrize("command", ["extract", "compare"])
def test_help_needs_no_heavy_import(command):
    code = (
        "import sys; from idt.cli import app\n"
        f"try: app(['{command}', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'cv2', 'numpy', 'torch'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
