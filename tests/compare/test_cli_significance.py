from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from compare import cli, scores, significance
from compare.cli.show import as_markdown
from compare.datasets import Labels
from compare.scores import FlatScoresWarning, ScoreTable

CLASSES = ("x", "y", "z")
IDS = tuple(f"clips/v{k:02}.avi" for k in range(24))
TRUTH = {id: CLASSES[k % 3] for k, id in enumerate(IDS)}


def write_table(
    path: Path,
    right: Sequence[bool],
    *,
    method: str,
    split: str = "s",
    seed: int | None = None,
    ids: Sequence[str] = IDS,
) -> Path:
    truth = [k % 3 for k in range(len(ids))]
    said = [t if r else (t + 1) % 3 for t, r in zip(truth, right, strict=True)]
    about = {} if seed is None else {"seed": seed}
    table = ScoreTable(tuple(ids), CLASSES, np.eye(3)[said], "decision", method, split, about)
    table.save(path)
    return path


@pytest.fixture
def labels(tmp_path: Path, write_rows: Callable[..., Path]) -> Path:
    rows = [[id, label, f"g{k // 4}"] for k, (id, label) in enumerate(TRUTH.items())]
    return write_rows(tmp_path / "labels.csv", ["id", "label", "group"], rows)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, share in (("net", 0.5), ("idt", 0.6), ("fused", 0.95), ("twin", 0.55)):
        write_table(
            tmp_path / f"run/scores/s/{name}.npz", rng.uniform(size=24) < share, method=name
        )
    (tmp_path / "run/cache").mkdir()
    (tmp_path / "run/cache/other.npz").write_bytes(b"no table")
    return tmp_path / "run"


def sheets(text: str) -> list[list[dict[str, str]]]:
    return [list(csv.DictReader(io.StringIO(part))) for part in text.split("\n\n")]


def test_all_pairs(
    tables: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["compare", "test", str(tables), "--labels", str(labels), "--format", "csv"]
    assert cli.main([*line, "--out", str(tmp_path / "out")]) == 0
    methods, pairs = sheets(capsys.readouterr().out)
    assert [row["method"] for row in methods] == ["fused", "idt", "net", "twin"]
    assert len(pairs) == 6
    for row in methods:
        assert float(row["low"]) < float(row["accuracy"]) <= float(row["high"])
        assert "by group (6" in row["interval"]
    known = cli.measured.read_labels(labels, None)
    evaluations = cli.measured.evaluate(cli.measured.read_tables([str(tables)]), known)
    outcomes = {name: significance.outcomes(of) for name, of in evaluations.items()}
    names = [(row["first"], row["second"]) for row in pairs]
    expected = significance.compare(outcomes, names, groups=known.groups)
    for row, each in zip(pairs, expected, strict=True):
        assert float(row["difference"]) == pytest.approx(100 * each.difference, abs=0.006)
        assert float(row["p"]) == pytest.approx(each.test.p, abs=6e-5)
        assert float(row["p_holm"]) == pytest.approx(each.adjusted, abs=6e-5)
        assert row["test"].startswith("exact sign-flip by group")
        assert row["test_by_video"] == "exact McNemar, by video"
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"methods.csv", "pairs.csv", "classes.csv", "videos.csv"}
    videos = sheets((tmp_path / "out/videos.csv").read_text())[0]
    classes = sheets((tmp_path / "out/classes.csv").read_text())[0]
    for row in pairs:
        of_pair = [v for v in videos if (v["first"], v["second"]) == (row["first"], row["second"])]
        fixed = [v for v in of_pair if (v["first_right"], v["second_right"]) == ("0", "1")]
        assert len(fixed) == float(row["fixed"])
        assert len(of_pair) == float(row["fixed"]) + float(row["broken"])
        by_class = [
            c for c in classes if (c["first"], c["second"]) == (row["first"], row["second"])
        ]
        assert sum(float(c["fixed"]) for c in by_class) == len(fixed)
        assert all(v["truth"] == TRUTH[v["id"]] for v in of_pair)
        for side in ("first", "second"):
            right = [v for v in of_pair if v[f"{side}_right"] == "1"]
            assert all(v[f"{side}_said"] == v["truth"] for v in right)
            assert all(v[f"{side}_said"] != v["truth"] for v in of_pair if v not in right)


def test_a_gain_beside_its_control_in_the_terminal_and_markdown(
    tables: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    line = ["compare", "test", str(tables), "--labels", str(labels)]
    assert cli.main([*line, "--gain", "net,fused,twin", "--gain", "net,fused"]) == 0
    said = capsys.readouterr().out
    assert "gains: percent, 95 % intervals" in said
    assert "none given" in said
    assert "pairs:" not in said
    assert "Jeffreys at effective n" in said
    assert cli.main([*line, "--gain", "net,fused,twin", "--format", "markdown"]) == 0
    assert "| net | fused | twin |" in capsys.readouterr().out
    assert cli.main([*line, "--against", "net", "--no-groups", "--confidence", "0.9"]) == 0
    said = capsys.readouterr().out
    assert "90 % intervals" in said
    assert "by video (24" in said
    assert cli.main([*line, "--pair", "net,idt", "--format", "csv"]) == 0
    _, pairs = sheets(capsys.readouterr().out)
    assert [(row["first"], row["second"]) for row in pairs] == [("net", "idt")]


def test_seeds_and_splits_of_a_method_are_found(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        for seed in (0, 1, 2):
            for split, ids in (("one", IDS[:12]), ("two", IDS[12:])):
                write_table(
                    tmp_path / f"t/{name}{seed}{split}.npz",
                    rng.uniform(size=12) < 0.7,
                    **{"method": name, "split": split, "seed": seed, "ids": ids},  # type: ignore[arg-type]
                )
    line = ["compare", "test", str(tmp_path / "t"), "--labels", str(labels), "--format", "csv"]
    assert cli.main(line) == 0
    methods, (pair,) = sheets(capsys.readouterr().out)
    assert [(row["splits"], row["seeds"], row["videos"]) for row in methods] == [
        ("2", "3", "24")
    ] * 2
    assert "3 and 3 seeds" in pair["test"]
    assert "6 and 3 seeds" in pair["interval"]


def test_other_spellings_are_matched_when_asked(
    tmp_path: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name in ("a", "b"):
        ids = [id.removeprefix("clips/").upper() for id in IDS]
        paths.append(str(write_table(tmp_path / f"{name}.npz", [True] * 24, method=name, ids=ids)))
    line = ["compare", "test", *paths, "--labels", str(labels)]
    assert cli.main(line) == 2
    said = capsys.readouterr().err
    assert "labels must name every video of 'a', got none for 24: 'V00.AVI'" in said
    assert "--tolerant" in said
    assert cli.main([*line, "--tolerant", "folder,case"]) == 0
    assert "a: 24 videos spelt as in the labels" in capsys.readouterr().err
    assert cli.main([*line, "--tolerant", "luck"]) == 2
    assert "tolerant must be among folder" in capsys.readouterr().err


def test_a_spelling_that_fits_two_videos_is_refused(
    tmp_path: Path, write_rows: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [["a/v.avi", "x"], ["b/v.avi", "y"], ["a/w.avi", "z"]]
    labels = write_rows(tmp_path / "two.csv", ["id", "label"], rows)
    path = write_table(tmp_path / "m.npz", [True], method="m", ids=["v.avi"])
    line = ["compare", "test", str(path), "--labels", str(labels), "--tolerant", "folder"]
    assert cli.main(line) == 2
    assert "differ by more than folder, got 'a/v.avi', 'b/v.avi'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--against", "nobody"], "against must be among fused, idt, net, twin, got 'nobody'"),
        (["--pair", "net"], "pair must be FIRST,SECOND, got 'net'"),
        (["--pair", "net,idt", "--against", "net"], "against must be left out beside pair"),
        (["--gain", "net"], "gain must be BASE,FUSED,CONTROL, got 'net'"),
        (["--gain", "net,fused,nobody"], "pairs must name methods among"),
        (["--confidence", "1.5"], "confidence must lie between 0 and 1"),
    ],
)
def test_wrong_requests(
    tables: Path, labels: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert cli.main(["compare", "test", str(tables), "--labels", str(labels), *more]) == 2
    assert message in capsys.readouterr().err


def test_tables_that_cannot_be_told_apart(
    tables: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = write_table(tmp_path / "again.npz", [True] * 24, method="net")
    line = ["compare", "test", str(tables), str(again), "--labels", str(labels)]
    assert cli.main(line) == 2
    assert "got 'net', 's', seed unknown again" in capsys.readouterr().err
    line[3] = f"other={again}"
    assert cli.main([*line, "--against", "other"]) == 0
    assert "other, net" in capsys.readouterr().out
    (tmp_path / "none").mkdir()
    assert cli.main(["compare", "test", str(tmp_path / "none"), "--labels", str(labels)]) == 2
    assert "must hold tables of scores" in capsys.readouterr().err


def test_labels_of_a_data_set_whose_clips_are_elsewhere(
    tables: Path,
    tmp_path: Path,
    write_rows: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [[id, label, "test"] for id, label in TRUTH.items()]
    rows += [[f"t{label}.avi", label, "train"] for label in CLASSES]
    data = write_rows(tmp_path / "data.csv", ["path", "label", "split"], rows)
    assert cli.main(["compare", "test", str(tables), "--labels", str(data)]) == 0
    assert "by video (24" in capsys.readouterr().out
    mixed = write_table(
        tmp_path / "mixed.npz", [True] * 3, method="m", split="split", ids=[*IDS[:2], "tz.avi"]
    )
    assert cli.main(["compare", "test", str(mixed), "--labels", str(data)]) == 2
    assert "1 training videos of 'split' in 'm': 'tz.avi'" in capsys.readouterr().err
    other = write_table(
        tmp_path / "o.npz", [True] * 2, method="o", split="1", ids=["tz.avi", "tx.avi"]
    )
    assert cli.main(["compare", "test", str(other), "--labels", str(data)]) == 2
    assert "2 training videos of '1' in 'o'" in capsys.readouterr().err  # whatever it is called
    assert cli.main(["compare", "test", str(mixed), "--labels", str(tmp_path / "none.csv")]) == 2
    assert "labels must be a CSV file" in (said := capsys.readouterr().err)
    assert "which does not exist" in said


def test_numbers_are_never_cut_off(
    tables: Path, labels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["compare", "test", str(tables), "--labels", str(labels)]
    shown = []
    for width in ("40", "300"):
        monkeypatch.setenv("COLUMNS", width)
        assert cli.main(line) == 0
        shown.append(re.findall(r"[+-]?\d+\.\d\d", capsys.readouterr().out))
    assert sorted(shown[0]) == sorted(shown[1])
    assert len(shown[0]) > 40


@pytest.mark.filterwarnings("always::UserWarning")
def test_scores_that_tell_nothing_are_named(
    tables: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = ScoreTable(IDS, CLASSES, np.ones((len(IDS), 3)), "logit", "flat", "s")
    flat.save(tmp_path / "flat.npz")
    line = ["compare", "test", str(tmp_path / "flat.npz"), "--labels", str(labels)]
    with pytest.warns(FlatScoresWarning, match="'flat' scores all classes alike for 24 of 24"):
        scores.warn_of_flat(flat)
    assert cli.main(line) == 0
    said = capsys.readouterr().err
    assert "trajfuse: warning: 'flat' scores all classes alike for 24 of 24 videos (" in said
    assert "'x', its first class, counts" in said


def test_published(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    line = ["compare", "published", "--dataset", "hmdb51", "--with-idt", "--splits", "mean"]
    assert cli.main([*line, "--format", "csv", "--method", "st-"]) == 0
    (rows,) = sheets(capsys.readouterr().out)
    assert [(row["method"], row["accuracy"]) for row in rows] == [
        ("ST-ResNet", "70.3"),
        ("ST-Multiplier", "72.2"),
    ]
    assert cli.main([*line, "--format", "markdown"]) == 0
    assert "| Conv fusion | 2016 | VGG-16 | HMDB51 | mean | 69.2 | late | S |" in (
        capsys.readouterr().out
    )
    monkeypatch.setenv("COLUMNS", "250")
    assert cli.main(["compare", "published", "--without-idt", "--trust", "P"]) == 0
    said = capsys.readouterr().out
    assert "Two-Stream" in said
    assert "Conv fusion" not in said
    assert cli.main([*line, "--method", "nothing"]) == 2
    assert "must leave a published number" in capsys.readouterr().err
    assert cli.main([*line, "--beside", "x"]) == 2
    assert "beside and lists must be given together" in capsys.readouterr().err


def test_published_beside_ours(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from compare import datasets

    lists = shared / "scores/splits/hmdb51"
    hmdb = datasets.hmdb51(lists, splits=[1])
    (split,) = hmdb.splits
    own = np.array([hmdb.class_names.index(hmdb.truth[id]) for id in split.test])
    said = np.where(np.arange(len(own)) % 4 == 0, (own + 1) % 51, own)
    table = ScoreTable(split.test, hmdb.class_names, np.eye(51)[said], "logit", "m", "split 1")
    table.save(tmp_path / "m.npz")
    line = ["compare", "published", "--lists", str(lists), "--beside"]
    assert cli.main([*line, f"ours={tmp_path / 'm.npz'}", "--format", "csv"]) == 0
    (rows,) = sheets(capsys.readouterr().out)
    assert {(row["dataset"], row["splits"]) for row in rows} == {("HMDB51", "1")}
    assert {row["ours"] for row in rows} == {f"{100 * np.mean(own == said):.2f}"}
    part = ScoreTable(split.test[:9], hmdb.class_names, np.eye(51)[:9], "logit", "m", "split 1")
    part.save(tmp_path / "part.npz")
    assert cli.main([*line, str(tmp_path / "part.npz")]) == 2
    assert "a whole official split of HMDB51, got 9 videos" in capsys.readouterr().err


def test_markdown_keeps_a_row_a_row() -> None:
    text = as_markdown("t", ["name", "n"], [["a|b\nc", "1"]])
    assert "| a\\|b c | 1 |" in text
    assert "|---|---:|" in text


def test_labels_of_a_data_set(clips: Path) -> None:
    labels = cli.measured.read_labels(clips / "data.csv", None)
    assert isinstance(labels, Labels)
    assert labels.groups is not None
    assert labels.groups["clips/hug_ann_0.avi"] == "ann"


def test_help_answers_without_numpy() -> None:
    program = (
        "import sys; from compare import cli; cli.main(['compare', 'test', '--help']); "
        "cli.main(['compare', 'published', '--help']); sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
