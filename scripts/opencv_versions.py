"""Compare extractions under two versions of OpenCV.

    python scripts/opencv_versions.py [--folder FOLDER] [--shared FOLDER] [--csv FILE]

Trajectories should not depend on the OpenCV that is installed. This makes an environment for the
newest 4.13 and one for the newest 5 (in FOLDER, which is kept, or in a temporary one), installs the
checkout's package in both with what an extraction needs, extracts the embedded clip and, where the
shared folder has them, the golden clips of public data sets, and tells which share of the rows is
the same: `match` and `strong` as `idt.trajectories.agreement` has them. It ends with 1 where either
is below 99.9 %. Takes some minutes, most of them for installing and compiling.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from idt.jobs import whole_file
from idt.trajectories import Trajectories, agreement

PROJECT = Path(__file__).resolve().parent.parent
PAN = PROJECT / "tests" / "golden" / "synthetic_pan.avi"
VERSIONS = ("4.13.*", "5.*")
OPENCV = "opencv-contrib-python"
NEEDED = ("av", "h5py", "numba", "numpy", "rich")  # by an extraction, beside OpenCV
SOURCES = ("idt", "deep", "compare", "pyproject.toml", "README.md", "LICENSE")
LEAST = 0.999  # share of the rows
# Extracts clips into tables of full precision beside each other and prints OpenCV's version.
SCRIPT = """
import sys
from importlib.metadata import version
from pathlib import Path
from idt.extract import Extraction
folder, *clips = map(Path, sys.argv[1:])
for clip in clips:
    Extraction(clip).save(folder / f"{clip.stem}.h5", dtype="float32")
print(version("opencv-contrib-python"))
"""


class Row(NamedTuple):
    """One clip under both versions."""

    clip: str
    opencv_a: str
    opencv_b: str
    n_a: int
    n_b: int
    match: float
    strong: float


def run(*command: str | Path) -> str:
    """Output of a command, which must succeed."""
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the checkout's package, from a copy, so that nothing is left in the checkout."""
    copy = folder / "source"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in SOURCES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--wheel-dir", copy / "dist", copy)
    (wheel,) = (copy / "dist").glob("*.whl")
    return wheel


def make_environment(folder: Path, version: str, wheel: Path) -> Path:
    """Make an environment with a version of OpenCV, or renew it; returns its interpreter."""
    home = folder / f"opencv-{version.rstrip('.*')}"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
    pins = folder / "constraints.txt"
    lines = (PROJECT / "constraints.txt").read_text().splitlines(keepends=True)
    pins.write_text("".join(line for line in lines if not line.startswith(OPENCV)))
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--constraint", pins, "--upgrade", f"{OPENCV}=={version}", *NEEDED)
    run(*pip, "--no-deps", "--force-reinstall", wheel)
    return python


def extract(python: Path, clips: list[Path], folder: Path) -> str:
    """Extract clips into a folder with an environment's interpreter; returns OpenCV's version."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not from the checkout, which would come before the installed package.
    done = subprocess.run(
        [str(python), "-c", SCRIPT, str(folder), *map(str, clips)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def compare(clips: list[Path], folder: Path) -> list[Row]:
    """Extract clips under both versions and measure how far the tables agree."""
    wheel = build_wheel(folder)
    tables, versions = [], []
    for version in VERSIONS:
        Console(stderr=True).print(f"OpenCV {version}: environment and {len(clips)} clips")
        python = make_environment(folder, version, wheel)
        tables.append(folder / f"tables-{version.rstrip('.*')}")
        versions.append(extract(python, clips, tables[-1]))
    rows = []
    for clip in clips:
        first, second = (Trajectories.load(each / f"{clip.stem}.h5") for each in tables)
        measures = agreement(first, second)
        shares = measures["match"], measures["strong"]
        a, b = versions
        rows.append(Row(clip.stem, a, b, len(first), len(second), *shares))
    return rows


def write(rows: list[Row], path: Path | None) -> None:
    """Print the table, and write it where a file is wanted."""
    shown = Table("clip", *(f"rows, OpenCV {name}" for name in rows[0][1:3]), "match", "strong")
    for row in rows:
        shown.add_row(row.clip, str(row.n_a), str(row.n_b), f"{row.match:.5f}", f"{row.strong:.5f}")
    Console(width=120).print(shown)
    if path is not None:
        with whole_file(path) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)


def main() -> int:
    """Compare both versions; 1 where they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where environments are made and kept")
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder with golden/clips")
    parser.add_argument("--csv", type=Path, help="file to write")
    arguments = parser.parse_args()
    golden = arguments.shared / "golden" / "clips"
    clips = [PAN, *sorted(clip for clip in golden.glob("*.avi") if clip.stem != PAN.stem)]
    with tempfile.TemporaryDirectory(prefix="trajfuse-") as temporary:
        folder = Path(temporary) if arguments.folder is None else arguments.folder.resolve()
        rows = compare(clips, folder)
    write(rows, arguments.csv)
    failed = [row.clip for row in rows if min(row.match, row.strong) < LEAST]
    if failed:
        print(f"less than {LEAST:.1%} is the same: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
