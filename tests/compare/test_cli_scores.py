"""The commands ``trajfuse compare import`` and ``fuse``, as a user calls them."""

from __future__ import annotations

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compare import cli
from compare.scores import ScoreTable

CLASSES = ("hug", "kick")
IDS = tuple(f"{name}/v_g{k // 2}_c{k % 2}.avi" for name in CLASSES for k in range(10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two methods' files of others, a list, and tables of them for training videos."""
    rng = np.random.default_rng(0)
    own = np.eye(2)[[CLASSES.index(id.split("/")[0]) for id in IDS]]
    (tmp_path / "list.txt").write_text("\n".join(IDS))
    names = [id.replace("/v_", "/V_") for id in IDS]
    for name, strength in (("rgb", 1.5), ("idt", 1.0)):
        values = strength * own + rng.normal(size=own.shape)
        np.savez(
            tmp_path / f"{name}.npz",
            scores=values,
            labels=own.argmax(axis=1),
            names=np.array(names if name == "idt" else IDS),
        )
        train = [id.replace("_g", "_t") for id in IDS]
        kind = "logit" if name == "rgb" else "decision"
        values = strength * own + rng.normal(size=own.shape)
        made = ScoreTable(tuple(train), CLASSES, values, kind, name, "1")  # type: ignore[arg-type]
        made.save(tmp_path / f"{name}-train.npz")
    (tmp_path / "train.txt").write_text("\n".join(id.replace("_g", "_t") for id in IDS))
    return tmp_path


def run(*line: object) -> int:
    return cli.main(["compare", *map(str, line)])


def imported(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    made = []
    for name, kind, more in (
        ("rgb", "logit", ()),
        ("idt", "decision", ("--list", folder / "list.txt", "--tolerant", "case")),
    ):
        out = folder / f"{name}-table.npz"
        line = ("import", folder / f"{name}.npz", "--kind", kind, "--split", "1", "--out", out)
        assert run(*line, *more) == 0
        made.append(out)
    said = capsys.readouterr().out
    assert "rgb: 20 videos, 2 classes, logit scores; classes named by the file's labels" in said
    assert "20 videos renamed, alike but for case ('hug/V_g0_c0.avi' is 'hug/v_g0_c0.avi')" in said
    return made


def test_import_and_fuse(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = imported(folder, capsys)
    line = ("fuse", *tables, "--list", folder / "list.txt", "--dataset", "Two", "--csv")
    line = (*line, folder / "a.csv", "--rule", "net=weighted@none:2*rgb+idt")
    assert run(*line, "--rule", "product:net+idt", "--out", folder / "fused") == 0
    said = capsys.readouterr().out
    assert "rgb 0.667 idt 0.333" in said
    rows = list(csv.DictReader((folder / "a.csv").read_text().splitlines()))
    assert [row["rule"] for row in rows] == ["net", "product:net+idt"]
    assert {(row["dataset"], row["split"]) for row in rows} == {("Two", "1")}
    assert sorted(path.name for path in (folder / "fused").iterdir()) == [
        "net.npz",
        "product-net+idt.npz",
    ]
    net = ScoreTable.load(folder / "fused/net.npz")
    said = [net.classes[k] for k in net.scores.argmax(axis=1)]
    right = np.mean([a == id.split("/")[0] for id, a in zip(net.ids, said, strict=True)])
    assert rows[0]["accuracy"] == f"{100 * right:.2f}"
    first, second = (ScoreTable.load(path) for path in tables)
    expected = (2 * first.scores + second.scores) / 3
    np.testing.assert_allclose(net.scores, expected, rtol=1e-5)


def test_average_is_the_default(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = imported(folder, capsys)
    assert run("fuse", *tables, "--out", folder / "mean.csv") == 0
    assert ScoreTable.load(folder / "mean.csv").method == "average"


@pytest.mark.parametrize("rule", ["grid", "logistic", "svm"])
def test_learning_from_training_videos(
    folder: Path, capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    tables = imported(folder, capsys)
    learn = ("--fit-list", folder / "train.txt", "--fit-on", folder / "rgb-train.npz")
    learn = (*learn, "--fit-on", folder / "idt-train.npz", "--rule", rule)
    out = ("--out", folder / "fused.npz")
    assert run("fuse", *tables, "--list", folder / "list.txt", *learn, *out) == 0
    said = capsys.readouterr().out
    assert "protocol" not in said
    assert "groups are not known" in said
    table = ScoreTable.load(folder / "fused.npz")
    assert table.provenance["fitted on"] == 20
    assert table.ids == IDS


def test_learning_from_test_videos_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = imported(folder, capsys)
    learn = ("--rule", "grid", "--fit-list", folder / "list.txt")
    learn = (*learn, *(part for path in tables for part in ("--fit-on", path)))
    assert run("fuse", *tables, *learn) == 2
    said = capsys.readouterr().err
    assert "must not be fitted to videos that are tested, got 20 on both sides: 'hug/v_g0" in said
    pattern = ("--group-pattern", "_[gt]([0-9])", "--list", folder / "list.txt")
    trained = ("--fit-on", folder / "rgb-train.npz", "--fit-on", folder / "idt-train.npz")
    line = ("fuse", *tables, *trained, "--fit-list", folder / "train.txt", "--rule", "grid")
    assert run(*line, *pattern) == 2
    assert "must not be fitted to groups that are tested" in capsys.readouterr().err


def test_cross_fitting_is_labelled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = imported(folder, capsys)
    line = ("fuse", *tables, "--list", folder / "list.txt", "--cross-fit-groups", "--rule")
    pattern = ("--group-pattern", "(.+)_c[0-9]+")
    assert run(*line, "grid", *pattern, "--out", folder / "fused.npz") == 0
    assert "outside the official protocol" in capsys.readouterr().out
    assert "outside" in ScoreTable.load(folder / "fused.npz").provenance["protocol"]
    more = ("--calibrate", "temperature", "--folds", "5")
    assert run(*line, "product", *pattern, *more, "--out", folder / "p.npz") == 0
    assert ScoreTable.load(folder / "p.npz").provenance["folds of groups"] == 5
    rows = [f"{id},{id.split('/')[0]},{id.split('_c')[0]}" for id in IDS]
    (folder / "list.csv").write_text("\n".join(["id,label,group", *rows]))
    line = ("fuse", *tables, "--list", folder / "list.csv", "--cross-fit-groups")
    assert run(*line, "--rule", "grid", "--out", folder / "again.npz") == 0
    by_pattern, by_column = (ScoreTable.load(folder / f"{n}.npz") for n in ("fused", "again"))
    np.testing.assert_array_equal(by_pattern.scores, by_column.scores)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rule", "grid"], "must be given one of --fit-on .*, got neither"),
        (["--rule", "grid", "--cross-fit-groups"], "with a --list that says the classes"),
        (["--rule", "grid", "--cross-fit-groups", "--list", "LIST"], "must know the groups"),
        (["--cross-fit-groups", "--list", "LIST"], "must be given for rules that learn, got none"),
        (["--group-pattern", "(", "--list", "LIST"], "must be a regular expression, got '[(]'"),
        (["--group-pattern", "x(.)", "--list", "LIST"], "must find a group in every id"),
        (["--csv", "a.csv"], "csv must be given with --list"),
        (["--rule", "average", "--rule", "max", "--out", "x.npz"], "a folder for 2 rules"),
        (["--rule", "median"], "fusion rule must be one of average"),
        (["--rule", "average@cube"], "scale of .* must be one of none"),
        (["--calibrate", "platt"], "must be given one of --fit-on"),
    ],
)
def test_errors_of_fuse(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    tables = imported(folder, capsys)
    given = [part.replace("LIST", str(folder / "list.txt")) for part in more]
    assert run("fuse", *tables, *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    with pytest.raises(ValueError, match=message):
        raise ValueError(line)


def test_tables_that_differ_say_what_to_ask_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("rgb", "idt"):
        out = folder / f"{name}-t.npz"
        assert run("import", folder / f"{name}.npz", "--kind", "logit", "--out", out) == 0
    tables = (folder / "rgb-t.npz", folder / "idt-t.npz")
    assert run("fuse", *tables) == 2
    assert "20 only in 'rgb'" in (said := capsys.readouterr().err)
    assert "(--tolerant case)" in said
    assert run("fuse", *tables, "--tolerant", "case") == 0
    assert "idt: 20 videos renamed, alike but for case" in capsys.readouterr().out


@pytest.mark.filterwarnings("always::UserWarning")
def test_tables_that_do_not_belong_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = imported(folder, capsys)
    assert run("fuse", tables[0], tables[0]) == 2
    said = capsys.readouterr().err
    assert f"different methods, got 'rgb' in '{tables[0]}' and '{tables[0]}'" in said
    other = replace(ScoreTable.load(tables[1]), split="2")
    other.save(folder / "other.npz")
    assert run("fuse", tables[0], folder / "other.npz") == 2
    assert "must be of one split, got 'rgb' of '1', 'idt' of '2'" in capsys.readouterr().err
    (folder / "short.csv").write_text("\n".join(["id,label", *(f"{id},hug" for id in IDS[2:])]))
    assert run("fuse", *tables, "--list", folder / "short.csv") == 2
    said = capsys.readouterr().err
    assert f"2 only in 'rgb' ('{IDS[0]}', '{IDS[1]}') and not in 'the list'; nothing is" in said
    (folder / "other.csv").write_text("\n".join(["id,label", *(f"{id},sit" for id in IDS)]))
    assert run("fuse", *tables, "--list", folder / "other.csv") == 2
    assert f"got others for 20: '{IDS[0]}' 'sit'," in capsys.readouterr().err
    (folder / "gap.csv").write_text(f"id,label\n{IDS[0]},hug\n{IDS[1]},\n")
    assert run("fuse", *tables, "--list", folder / "gap.csv") == 2
    assert "line 3 must have a label, got an empty cell" in capsys.readouterr().err
    (folder / "nothing.csv").write_text("")
    assert run("fuse", folder / "nothing.csv", tables[0]) == 2
    assert "must have a header 'id,' and the class names, got ''" in capsys.readouterr().err
    (folder / "one.csv").write_text("id,hug\nv,1\n")
    out = folder / "one.npz"
    assert run("import", folder / "one.csv", "--kind", "logit", "--out", out) == 0
    assert "'one' has one class, 'hug': it is always right" in capsys.readouterr().err


def test_errors_of_import(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = folder / "rgb.npz", folder / "x.npz"
    assert run("import", path, "--out", out) == 2
    assert "kind must be one of decision, logit, probability" in capsys.readouterr().err
    assert run("import", path, "--kind", "logit", "--out", out, "--form", "slowfast") == 2
    assert "form must be one of trajfuse, tsn, mmaction2" in capsys.readouterr().err
    assert run("import", path, "--kind", "logit", "--out", out, "--form", "tsn") == 2
    assert "must have a class among its classes" in capsys.readouterr().err
    (folder / "bad.pkl").write_bytes(b"cposix\nsystem\n(X\x02\x00\x00\x00ls\x85R.")
    line = ("import", folder / "bad.pkl", "--kind", "logit", "--out", out)
    assert run(*line, "--list", folder / "list.txt") == 2
    assert "posix.system; nothing was run" in capsys.readouterr().err
    assert not out.exists()


def test_a_table_is_written_for_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, *_ = imported(folder, capsys)
    out = folder / "dump.pkl"
    line = ("import", table, "--form", "mmaction2", "--list", folder / "list.txt", "--out", out)
    assert run(*line) == 0
    first = pickle.loads(out.read_bytes())[0]
    assert first["filename"] == IDS[0]
    assert first["gt_label"].tolist() == [0]
    np.testing.assert_array_equal(first["pred_score"], ScoreTable.load(table).scores[0])
