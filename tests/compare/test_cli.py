from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from compare import cli
from compare.benchmark import methods

HEAVY = ("torch", "numba", "cv2", "numpy", "rich", "idt.jobs", "deep", "compare.benchmark")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, fakes: Mapping[str, Callable[..., Any]]) -> None:
    monkeypatch.setattr(methods, "find", lambda names: fakes)


def run(clips: Path, out: Path, *more: str) -> list[str]:
    return [
        *("compare", "run", "--data", str(clips / "data.csv"), "--out", str(out)),
        *("--methods", "idt-fv,two-stream,conv-fusion", "--workers", "1", *more),
    ]


def test_a_run(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = run(clips, tmp_path / "run", "--fuse", "average,weighted:0.5/0.25/0.25", "--seed", "4")
    assert cli.main(line) == 0
    said = capsys.readouterr()
    for name in ("idt-fv", "conv-fusion", "average", "weighted:0.5/0.25/0.25", "flow-hist"):
        assert name in said.out
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said.out
    assert "12 videos train" in said.err
    page = (tmp_path / "run/report.html").read_text()
    assert "--seed 4" in page
    assert str(clips / "data.csv") in page
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {
        *("report.html", "report.md", "report.tex", "results.csv", "pairs.csv", "videos.csv"),
        *("labels.csv", "results.json", "run.json", "scores"),
    }


def test_running_again_says_what_was_kept(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for methods_asked, said in (("idt-fv", False), ("idt-fv,two-stream", True)):
        line = run(clips, tmp_path / "run", "--methods", methods_asked, "--quiet")
        assert cli.main(line) == 0
        kept = "scores taken from an earlier start of this run: idt-fv, flow-hist"
        assert (kept in capsys.readouterr().out) == said


@pytest.mark.parametrize(("seed", "folder"), [("0", "demo"), ("3", "demo-3")])
def test_demo_renders_beside_the_run(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seed: str,
    folder: str,
) -> None:
    asked: list[tuple[Path, int]] = []

    def write(folder: Path, *, seed: int, verbose: bool) -> Path:
        asked.append((folder, seed))
        return clips / "data.csv"

    monkeypatch.setattr("compare.demo.write", write)
    monkeypatch.chdir(tmp_path)
    line = ["compare", "demo", "--seed", seed, "--quiet", "--workers", "1"]
    assert cli.main([*line, "--methods", "idt-fv,conv-fusion"]) == 0
    assert asked == [(Path("runs", f"{folder}-videos"), int(seed))]
    assert f"report: runs/{folder}/report.html" in capsys.readouterr().out
    assert (tmp_path / "runs" / folder / "report.html").is_file()


def test_quiet_says_the_table_alone(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(run(clips, tmp_path / "run", "--quiet", "--no-yardsticks")) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "average" in said.out  # the default for two methods or more
    assert "flow-hist" not in said.out


def test_no_fusion_and_folds(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = run(clips, tmp_path / "run", "--fuse", "none", "--folds", "half", "--quiet")
    assert cli.main(line) == 0
    assert "average" not in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "run/scores").iterdir()} == {"fold-0", "fold-1"}


def test_class_folders(
    tmp_path: Path, write_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("hug", "kick"):
        for group in "ab":
            write_video(tmp_path / "set" / name / f"{name}_{group}_1.avi")
    line = f"compare run --data {tmp_path / 'set'} --methods idt-fv --out {tmp_path / 'run'}"
    assert (
        cli.main([*line.split(), "--folds", "2", "--workers", "1", "--group-pattern", "_([ab])_"])
        == 0
    )
    assert "of 4 test videos" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--methods", "lstm"], "method must be one of conv-fusion, flow-hist, idt-fv, two-stream"),
        (["--fuse", "mean"], "fusion rule must be one of average"),
        (["--fuse", "weighted:1"], "one weight for each"),
        (["--folds", "third"], "must have a column 'third'"),
        (["--data", "nowhere.csv"], "'nowhere.csv', which does not exist"),
        (["--out", "."], "holds other things"),
    ],
)
def test_errors_are_one_line(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    assert cli.main(run(clips, tmp_path / "run", *changes)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("trajfuse: error: ")
    assert message in line


@pytest.mark.parametrize("place", [0, 2, None])
def test_debug_shows_where_an_error_comes_from(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int | None
) -> None:
    line = run(clips, tmp_path / "run", "--fuse", "mean")
    line.insert(len(line) if place is None else place, "--debug")
    assert cli.main(line) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ValueError" in said
    assert said.splitlines()[-1].startswith("trajfuse: error: fusion rule must be")


@pytest.mark.parametrize("line", [["compare", "run", "--nope"], ["nope"], ["compare", "nope"]])
def test_wrong_usage_is_code_2(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line) == 2
    assert "nope" in capsys.readouterr().err


def test_an_interrupt_is_one_line_and_code_130(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(names: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "find", interrupt)
    assert cli.main(run(clips, tmp_path / "run", "--quiet")) == 130
    assert capsys.readouterr().err == "trajfuse: interrupted\n"


def test_a_warning_is_one_line(
    clips: Path,
    tmp_path: Path,
    fakes: Mapping[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def warn(names: object) -> Mapping[str, Callable[..., Any]]:
        warnings.simplefilter("always")
        warnings.warn("did not converge;\nallow more", RuntimeWarning, stacklevel=2)
        return fakes

    monkeypatch.setattr(methods, "find", warn)
    assert cli.main(run(clips, tmp_path / "run", "--quiet")) == 0
    assert capsys.readouterr().err == "trajfuse: warning: did not converge; allow more\n"


def test_programming_errors_are_not_hidden(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(names: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(methods, "find", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(run(clips, tmp_path / "run"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"trajfuse {version('trajfuse')}\n"


def test_help_of_a_command_lists_its_options() -> None:
    shown = CliRunner().invoke(cli.compare_app, ["run", "--help"])
    assert shown.exit_code == 0
    for option in ("--data", "--methods", "--fuse", "--folds", "--no-yardsticks", "--overwrite"):
        assert option in shown.output


@pytest.mark.parametrize("package", ["idt", "deep"])
def test_the_rest_of_the_line_goes_to_the_package(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[list[str], str]] = []
    module = ModuleType(f"{package}.cli")
    module.app = lambda args, prog_name: called.append((args, prog_name))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"{package}.cli", module)
    assert cli.main([package, "extract", "v.avi", "-o", "x.h5", "--help"]) == 0
    assert called == [(["extract", "v.avi", "-o", "x.h5", "--help"], f"trajfuse {package}")]


def python(code: str, project: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(project), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_help_imports_nothing_heavy(project: Path) -> None:
    code = (
        "import sys; from compare.cli import main; code = main(['--help']); "
        f"print([m for m in {HEAVY} if m in sys.modules]); sys.exit(code)"
    )
    done = python(code, project)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ("idt", "deep", "compare"):
        assert f"\n  {name} " in done.stdout


def test_exit_code_of_the_process(project: Path, tmp_path: Path) -> None:
    line = ["run", "--data", str(tmp_path / "x.csv"), "--methods", "idt-fv", "--out", "y"]
    code = (
        "import runpy, sys; "
        f"sys.argv = ['compare', *{line}]; runpy.run_module('compare', run_name='__main__')"
    )
    done = python(code, project)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("trajfuse: error: data must be a CSV file or a folder")
    assert len(done.stderr.splitlines()) == 1


def test_a_run_on_list_files(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    for side, people in (("train", ("ann", "bob")), ("val", ("cid", "dot"))):
        rows = [
            f"{name}_{person}_{take}.avi {label}"
            for label, name in enumerate(("hug", "kick", "wave"))
            for person in people
            for take in (0, 1)
        ]
        (lists / f"set_{side}_split_1_videos.txt").write_text("\n".join(rows))
    (lists / "classes.txt").write_text("hug\nkick\nwave\n")
    line = ["compare", "run", "--data", str(lists), "--form", "lists", "--methods", "idt-fv"]
    line += ["--out", str(tmp_path / "run"), "--workers", "1", "--quiet"]
    assert cli.main(line) == 2
    assert "videos must be given for data of form 'lists'" in capsys.readouterr().err
    line += ["--videos", str(clips / "clips"), "--group-pattern", "_([a-z]+)_"]
    assert cli.main(line) == 0
    page = (tmp_path / "run/report.html").read_text()
    assert "1 pair of list files; groups by pattern" in page
