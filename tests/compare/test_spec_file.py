from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compare import cli
from compare.benchmark import methods
from compare.benchmark.spec_file import KEYS, read_spec
from compare.fusion import parse_rules


@pytest.fixture
def spec(tmp_path: Path, clips: Path) -> Path:
    """A file beside which the data set's folder lies."""
    (tmp_path / "set").symlink_to(clips)
    path = tmp_path / "run.toml"
    path.write_text(
        'data = "set/data.csv"\nout = "run"\nmethods = ["idt-fv", "two-stream"]\n'
        'fuse = ["average", "grid"]\ninner_folds = 2\nseed = 3\nno_yardsticks = true\n'
    )
    return path


def test_a_file_is_read_as_the_options_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('data = "a/b.csv"\ncache = "/c"\nmethods = ["x:y=1", "z"]\nfolds = 3\n')
    assert read_spec(path) == {
        "data": tmp_path / "a/b.csv",
        "cache": Path("/c"),
        "methods": "x:y=1,z",
        "folds": "3",
    }


def test_a_run_from_a_file(
    spec: Path,
    tmp_path: Path,
    fakes: Mapping[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(methods, "find", lambda names: fakes)
    line = ["compare", "run", "--spec", str(spec), "--workers", "1", "--quiet"]
    assert cli.main(line) == 0
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert [r["label"] for r in results["results"]] == ["idt-fv", "two-stream", "average", "grid"]
    assert results["seed"] == 3
    assert cli.main([*line, "--seed", "0", "--out", str(tmp_path / "b"), "--fuse", "none"]) == 0
    results = json.loads((tmp_path / "b/results.json").read_text())
    assert results["seed"] == 0  # said on the command line, although it is the default
    assert [r["label"] for r in results["results"]] == ["idt-fv", "two-stream"]
    spec.write_text('data = "set/data.csv"\nmethods = "idt-fv"\n')
    capsys.readouterr()
    assert cli.main(line) == 2
    assert "out must be given, got none; add --out, or a line out = ..." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metods = 'x'", "got 'metods'; did you mean 'methods'"),
        ("Fold = 'x'\nyardsticks = true", "'Fold', 'yardsticks'; did you mean 'folds', 'no_yard"),
        ("seed = true", "seed must be a whole number of 0 or more, got True"),
        ("seed = -1", "seed must be a whole number of 0 or more, got -1"),
        ("workers = 0", "workers must be a whole number of 1 or more, got 0"),
        ("time_limit = 0", "time_limit must be a number of seconds above 0, got 0"),
        ("memory = nan", "memory must be a number of gigabytes above 0, got nan"),
        ("memory = true", "memory must be a number of gigabytes above 0, got True"),
        ("inner_folds = 2.0", "inner_folds must be a whole number of 2 or more, got 2.0"),
        ("methods = []", "methods must be a text or a list of texts, got \\[\\]"),
        ("methods = ['a', 1]", "methods must be a text or a list of texts"),
        ("data = ''", "data must be a path, got ''"),
        ("no_yardsticks = 1", "no_yardsticks must be true or false, got 1"),
        ("seed = ", "must be a TOML file"),
        ("seed = 1\nseed = 2", "must be a TOML file"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_spec(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="which is no file"):
        read_spec(tmp_path / "run.toml")
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="must be a TOML file"):
        read_spec(tmp_path / "run.toml")


def test_every_key_is_an_option_of_the_command() -> None:
    shown = CliRunner().invoke(cli.compare_app, ["run", "--help"], env={"COLUMNS": "200"})
    for key in KEYS:
        assert f"--{key.replace('_', '-')}" in shown.output


def test_the_spec_of_both_families_names_methods_and_rules_that_there_are(project: Path) -> None:
    spec = read_spec(project / "scripts" / "both_families.toml")
    parsed = methods.parse_methods(spec["methods"])
    methods.check(parsed, methods.find([method.name for method in parsed]))
    labels = [method.label for method in parsed]
    rules = {rule.name: rule for rule in parse_rules(spec["fuse"], labels, learned=True)}
    for names in combinations(("dt", "idt", "two-stream", "conv-fusion"), 2):
        meant = {label for label in labels if label.split(":")[0].removesuffix("-fv") in names}
        of_pair = [rule for rule in rules.values() if set(rule.methods) == meant]
        assert of_pair, names
        learned = [rule for rule in of_pair if rule.name.endswith(" learned")]
        mixed = len(set(names) & {"dt", "idt"}) == 1
        assert len(of_pair) == 1 + mixed
        assert len(learned) == mixed
    for name in ("all four", "all four learned"):
        assert set(rules[name].methods) == set(labels)
