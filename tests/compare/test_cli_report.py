from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compare import cli
from compare.benchmark import methods
from compare.scores import ScoreTable

CLASSES = ("x", "y", "z")
IDS = tuple(f"v{k:02}.avi" for k in range(24))


@pytest.fixture
def labels(tmp_path: Path, write_rows: Callable[..., Path]) -> Path:
    rows = [[id, CLASSES[k % 3], f"g{k // 4}"] for k, id in enumerate(IDS)]
    return write_rows(tmp_path / "labels.csv", ["id", "label", "group"], rows)


def write_table(folder: Path, method: str, share: float, number: int, **about: Any) -> None:
    right = np.random.default_rng(number).uniform(size=24) < share
    said = [(k + (not r)) % 3 for k, r in enumerate(right)]
    table = ScoreTable(IDS, CLASSES, np.eye(3)[said], "decision", method, "s", about)
    table.save(folder / f"{method}-{number}.npz")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "scores"
    for method, share in (("net", 0.6), ("idt", 0.5)):
        for seed in (1, 2):
            write_table(folder, method, share, seed, seed=seed)
    for name, members in (("net+idt", ("net", "idt")), ("net+twin", ("net", "twin"))):
        weights = dict.fromkeys(members, 0.5)
        write_table(folder, name, 0.9, 3, rule=name, kind="weighted", weights=weights)
    return folder


def test_a_report_of_score_tables(
    tables: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "costs.csv").write_text("method,fit_seconds\nnet,60\nidt,30\n")
    line = ["compare", "report", str(tables), "--labels", str(labels), "--name", "my <set>"]
    line += ["--out", str(tmp_path / "out"), "--costs", str(tmp_path / "costs.csv")]
    assert cli.main([*line, "--gain", "net,net+idt,net+twin"]) == 0
    assert f"report: {tmp_path / 'out' / 'report.html'}" in capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text()
    assert "<h1>my &lt;set&gt;</h1>" in page
    assert "(2 seeds)" in page
    assert "Over the control" in page
    with (tmp_path / "out/results.csv").open() as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    assert rows["net"]["fit_seconds"] == "60"
    assert rows["net+idt"]["fit_seconds"] == "90"
    assert rows["net+twin"]["fit_seconds"] == ""
    assert (rows["net"]["n_seeds"], rows["net+idt"]["role"]) == ("2", "fusion")


def test_a_run_is_reported_again_as_it_was(
    clips: Path,
    tmp_path: Path,
    fakes: Mapping[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(methods, "find", lambda names: dict(fakes))
    run = tmp_path / "run"
    line = ["compare", "run", "--data", str(clips / "data.csv"), "--out", str(run), "--quiet"]
    assert cli.main([*line, "--methods", "idt-fv,two-stream", "--workers", "1"]) == 0
    assert cli.main(["compare", "report", str(run), "--out", str(tmp_path / "again")]) == 0
    for name in ("results.csv", "pairs.csv", "videos.csv", "report.md", "report.tex"):
        assert (tmp_path / "again" / name).read_text() == (run / name).read_text(), name
    first, again = ((f / "report.html").read_text() for f in (run, tmp_path / "again"))
    settings = first.index("<h3>Settings</h3>")
    assert again[:settings] == first[:settings]
    assert 'src="data:image/jpeg' in first


def test_a_folder_that_is_no_finished_run_is_refused(
    tables: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "report", str(tables)]) == 2
    assert "run must be a folder with results.json" in capsys.readouterr().err
    assert cli.main(["compare", "report", str(tables), "--labels", str(labels)]) == 2
    assert "out must be given for tables of scores" in capsys.readouterr().err
    (tables / "results.json").write_text(json.dumps({"results": []}))
    assert cli.main(["compare", "report", str(tables)]) == 2
    assert "must be what a run writes" in capsys.readouterr().err
