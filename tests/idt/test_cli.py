"""The command ``trajfuse idt extract``."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from idt.cli import app
from idt.trajectories import Trajectories

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"


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


def test_help_needs_no_heavy_import():
    code = (
        "import sys; from idt.cli import app\n"
        "try: app(['extract', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'cv2', 'numpy', 'torch'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
