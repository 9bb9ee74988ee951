"""What tests may need from outside the checkout: real clips and optional packages.

Both are asked for through a fixture. What is missing skips the test with a reason, except where
``CI=true``: there it fails.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import matplotlib
import pytest

matplotlib.use("Agg")

PROJECT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome")}


def missing(reason: str) -> NoReturn:
    """Skip the calling test, or fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI must have it", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def project() -> Path:
    """Folder of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real clips and reference output: `TRAJFUSE_SHARED`, or ../shared."""
    if not SHARED.is_dir():
        missing(f"no folder {SHARED} (set TRAJFUSE_SHARED)")
    return SHARED


@pytest.fixture
def requires() -> Callable[[str], Any]:
    """Ask for an optional package, as a module, or for a program, as its path.

    ``cyvlfeat = requires("cyvlfeat.fisher")``, ``chromium = requires("chromium")``.
    """

    def require(name: str) -> Any:
        if name in PROGRAMS:
            found = next((path for each in PROGRAMS[name] if (path := shutil.which(each))), None)
            if found is None:
                missing(f"the program {name} is not installed")
            return found
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name.split(".")[0]:
                raise
            missing(f"the package {error.name} is not installed")

    return require


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[int], int]]]:
    """A file system of its own, and a function that sets its size in bytes."""
    place = tmp_path / "small"
    place.mkdir()

    def mount(size: int, *options: str) -> int:
        with_size = ",".join([*options, f"size={size}"])
        command = ["mount", "-t", "tmpfs", "-o", with_size, "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if os.geteuid() != 0 or mount(1 << 20):
        pytest.skip("only root can mount a file system")
    yield place, lambda size: mount(size, "remount")
    subprocess.run(["umount", str(place)], check=True)
