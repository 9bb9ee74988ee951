"""Others' score files: each form, each trap, and what is refused."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from compare import scores
from compare.scores import Listing, ScoreJoinError, foreign

CLASSES = ("hug", "kick", "wave")
IDS = ("hug/a.avi", "hug/b.avi", "kick/c.avi", "wave/d.avi")
LABELS = ("hug", "hug", "kick", "wave")
LISTING = Listing(IDS, LABELS)
VALUES = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2


def objects(values: np.ndarray, labels: list[int]) -> np.ndarray:
    rows = np.empty((len(values), 2), dtype=object)
    for index, label in enumerate(labels):  # two frames, one crop
        rows[index, 0] = np.stack([values[index] - 1, values[index] + 1])[:, None]
        rows[index, 1] = label
    return rows


def write_coviar(path: Path, order: list[int], columns: list[int]) -> Path:
    labels = [columns.index(CLASSES.index(LABELS[k])) for k in order]
    np.savez(
        path,
        scores=objects(VALUES[order][:, columns], labels),
        labels=np.array(labels),
        names=np.array([IDS[k] for k in order]),
    )
    return path


def read(path: Path, **options: Any) -> scores.ScoreTable:
    return scores.import_scores(path, **{"kind": "logit", "split": "1", **options})


def test_rows_and_columns_of_coviar_are_named_by_its_own_names_and_labels(tmp_path: Path) -> None:
    path = write_coviar(tmp_path / "net.npz", [2, 0, 3, 1], [1, 2, 0])
    for table in (read(path), read(path, listing=LISTING)):
        again = table.aligned(IDS, CLASSES)
        np.testing.assert_array_equal(again.scores, VALUES)
        assert (table.method, table.kind, table.split) == ("net", "logit", "1")
        assert table.provenance["classes from"] == "the file's labels"
    assert read(path, listing=LISTING).ids == IDS


def test_a_wrong_order_of_classes_is_refused(tmp_path: Path) -> None:
    path = write_coviar(tmp_path / "net.npz", [0, 1, 2, 3], [1, 2, 0])
    assert read(path, classes=("kick", "wave", "hug")).classes == ("kick", "wave", "hug")
    with pytest.raises(
        ValueError, match=r"column 1 is 'kick' by its videos and 'hug' by the list; column 2"
    ):
        read(path, classes=CLASSES)


def test_tsn_without_names_needs_the_list_and_may_be_sorted(tmp_path: Path) -> None:
    path, listing = tmp_path / "tsn.npz", Listing(IDS[::-1], LABELS[::-1])
    np.savez(path, scores=objects(VALUES, [0, 0, 1, 2]), labels=np.array([0, 0, 1, 2]))
    with pytest.raises(ValueError, match="rows have no names; give the list"):
        read(path)
    table = read(path, listing=listing, rows="sorted")
    assert table.ids == IDS
    np.testing.assert_array_equal(table.aligned(IDS, CLASSES).scores, VALUES)
    with pytest.raises(ValueError, match=r"mean several \(label 0: 'kick', 'wave'\)"):
        read(path, listing=listing)
    with pytest.raises(ValueError, match=r"a video per row, got 3 and scores of shape \(4, 3\)"):
        read(path, listing=Listing(IDS[:3], LABELS[:3]))
    with pytest.raises(ValueError, match="rows must be listed or sorted"):
        read(path, listing=listing, rows="random")


@pytest.mark.parametrize("wrap", [torch.from_numpy, np.asarray])
def test_mmaction2_of_each_version(tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "dump.pkl"
    new = [
        {"pred_score": wrap(row), "gt_label": wrap(np.array([CLASSES.index(label)])), "n": (1, 2)}
        for row, label in zip(VALUES, LABELS, strict=True)
    ]
    early = [
        {"pred_scores": {"item": each["pred_score"]}, "gt_labels": {"item": each["gt_label"]}}
        for each in new
    ]
    for results in (new, early):
        path.write_bytes(pickle.dumps(results))
        table = read(path, listing=LISTING)
        assert table.classes == CLASSES
        np.testing.assert_array_equal(table.scores, VALUES)
    named = [{**each, "filename": id} for each, id in zip(new, IDS, strict=True)][::-1]
    path.write_bytes(pickle.dumps(named))
    np.testing.assert_array_equal(read(path, listing=LISTING).scores, VALUES)
    path.write_bytes(pickle.dumps(list(VALUES)))
    table = read(path, listing=LISTING, classes=CLASSES)
    np.testing.assert_array_equal(table.scores, VALUES)


def test_mat_with_names_counts_labels_from_one(tmp_path: Path) -> None:
    path, order = tmp_path / "idt.mat", [3, 1, 0, 2]
    names = np.array([Path(IDS[k]).stem for k in order], dtype=object)[:, None]
    labels = np.array([[CLASSES.index(LABELS[k]) + 1] for k in order], dtype=np.uint8)
    savemat(path, {"scores_idt": VALUES[order], "vn_idt": names, "gt_idt": labels})
    with pytest.raises(ScoreJoinError, match=r"they agree but for folder and extension .*tolerant"):
        read(path, listing=LISTING)
    table = read(path, listing=LISTING, tolerant=["folder", "extension"])
    assert (table.ids, table.classes) == (IDS, CLASSES)
    np.testing.assert_array_equal(table.scores, VALUES)
    assert table.provenance["matched"]["videos"]["renamed"] == 4


def test_mat_and_npy_of_scores_alone(tmp_path: Path) -> None:
    savemat(tmp_path / "net.mat", {"prediction": VALUES})
    np.save(tmp_path / "net.npy", VALUES)
    for name in ("net.mat", "net.npy"):
        table = read(tmp_path / name, listing=LISTING, classes=CLASSES)
        np.testing.assert_array_equal(table.scores, VALUES)
        with pytest.raises(ValueError, match="columns have no names; give the classes"):
            read(tmp_path / name, listing=LISTING)
        with pytest.raises(ValueError, match="one per column, got 2 for 3"):
            read(tmp_path / name, listing=LISTING, classes=CLASSES[:2])
    savemat(tmp_path / "two.mat", {"rgb": VALUES, "flow": VALUES + 1})
    with pytest.raises(ValueError, match=r"one matrix of scores, got rgb \(4, 3\), flow \(4, 3\)"):
        read(tmp_path / "two.mat", listing=LISTING, classes=CLASSES)
    table = read(tmp_path / "two.mat", listing=LISTING, classes=CLASSES, variable="flow")
    np.testing.assert_array_equal(table.scores, VALUES + 1)


def test_csv_of_others(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_text("video,wave,hug,kick\nd,3,1,2\na,6,4,5\n")
    assert read(path).classes == ("wave", "hug", "kick")
    assert read(path).ids == ("d", "a")
    path.write_text("clip,wave\nd,3\n")
    with pytest.raises(ValueError, match="header must start with id, name"):
        read(path)
    path.write_text("id,wave,hug\nd,3\n")
    with pytest.raises(ValueError, match="3 cells, got 2: 'd'"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.array([0, 0, 1])}, "as many labels as rows, got 3 and 4"),
        ({"labels": np.array([0, 0, 1, 9])}, "labels must be numbers of 3 classes, got 0 to 9"),
        ({"labels": np.array([0, 1, 2, 2])}, "mean several"),
        ({"labels": np.array([0, 0, 1.5, 2])}, "whole numbers"),
        ({"names": np.array(["a", "a", "b", "c"])}, "name a video once, got more than once: 'a'"),
        ({"names": np.array([1, 2, 3, 4])}, "names must be texts, got int"),
        ({"scores": VALUES[:, 0]}, "a row per video"),
        ({"scores": np.where(VALUES == 25, np.nan, VALUES)}, "NaN or infinity for 'hug/b.avi'"),
        ({"scores": np.full((4, 3), "x")}, "must be numbers"),
        ({"scores": VALUES.astype(complex)}, "of numbers or texts, got complex128"),
        (
            {"scores": VALUES[:0], "labels": np.zeros(0), "names": np.zeros(0, "U1")},
            "a row per video, got shape .0, 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "net.npz"
    whole = {"scores": VALUES, "labels": np.array([0, 0, 1, 2]), "names": np.array(IDS)}
    np.savez(path, **{**whole, **changes})
    with pytest.raises(ValueError, match=message):
        read(path)


def test_rows_of_other_widths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.pkl"
    path.write_bytes(pickle.dumps([np.ones(3), np.ones(2)]))
    with pytest.raises(ValueError, match="as many classes in every row"):
        read(path, listing=LISTING)


def test_labels_that_leave_the_base_open_need_the_classes(tmp_path: Path) -> None:
    path, ids = tmp_path / "net.npz", np.array(["kick/a", "wave/b"])
    for labels in ([1, 2], [2, 3]):
        values = VALUES[:2] if labels == [1, 2] else np.hstack([VALUES[:2], VALUES[:2, :1]])
        classes = CLASSES if labels == [1, 2] else ("hug", "kick", "wave", "walk")
        np.savez(path, scores=values, labels=np.array(labels), names=ids)
        with pytest.raises(ValueError, match="count from 0 or from 1"):
            read(path)
        assert read(path, classes=classes).classes == classes


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".pkl"])
def test_hostile_files_are_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    path, trace = tmp_path / f"bad{suffix}", tmp_path / "trace"
    bad = np.array([Hostile(trace)], dtype=object)
    if suffix == ".npz":
        np.savez(path, scores=bad)
    elif suffix == ".npy":
        np.save(path, bad, allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps([{"pred_score": Hostile(trace)}]))
    with pytest.raises(ValueError, match=r"no file of scores: a pickle must hold .*nothing was"):
        read(path, listing=LISTING)
    assert not trace.exists()


def test_files_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    write_coviar(tmp_path / "net.npz", [0, 1, 2, 3], [0, 1, 2])
    savemat(tmp_path / "net.mat", {"prediction": VALUES})
    np.save(tmp_path / "net.npy", VALUES)
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(list(VALUES)))
    for name in ("net.npz", "net.mat", "net.npy", "net.pkl"):
        whole = (tmp_path / name).read_bytes()
        for part in (0, 5, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:part])
            with pytest.raises(ValueError, match="no file of scores"):
                read(tmp_path / name, listing=LISTING, classes=CLASSES)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"path must end in \.npz"):
        read(Path(__file__))


def test_sizes_are_looked_at_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "MAX_BYTES", 10_000)
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, scores=np.zeros((1000, 1000)))
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="at most 10000 bytes, got 8000128 unpacked"):
        read(path)
    np.save(tmp_path / "zeros.npy", np.zeros((100, 100)))
    with pytest.raises(ValueError, match="at most 10000 bytes"):
        read(tmp_path / "zeros.npy")


def test_a_header_that_claims_more_than_there_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", scores=VALUES)
    with zipfile.ZipFile(tmp_path / "net.npz") as archive:
        content = archive.read("scores.npy").replace(b"(4, 3)", b"(4000000000000, 3)"[:6] + b" ")
    (tmp_path / "net.npy").write_bytes(content.replace(b"(40000 ", b"(9, 3)"))
    with pytest.raises(ValueError, match="no file of scores"):
        read(tmp_path / "net.npy", listing=LISTING, classes=CLASSES)


@pytest.mark.parametrize(("form", "name"), [("tsn", "t.npz"), ("mmaction2", "t.pkl")])
def test_what_is_exported_is_imported_again(tmp_path: Path, form: str, name: str) -> None:
    table = scores.ScoreTable(IDS, CLASSES, VALUES, "logit", "net", "1")
    scores.export_scores(table, tmp_path / name, form=form, truth=LISTING.truth)
    again = read(tmp_path / name)
    assert (again.ids, again.classes) == (IDS, CLASSES)
    np.testing.assert_array_equal(again.scores, VALUES)


def test_tsn_reads_what_is_exported_for_it(tmp_path: Path) -> None:
    """As its script does: the first column's mean over crops, then over frames."""
    table = scores.ScoreTable(IDS, CLASSES, VALUES, "logit", "net", "1")
    scores.export_scores(table, tmp_path / "t.npz", form="tsn", truth=LISTING.truth)
    file = np.load(tmp_path / "t.npz", allow_pickle=True)
    rows = [each.mean(axis=1).mean(axis=0) for each in file["scores"][:, 0]]
    np.testing.assert_array_equal(rows, VALUES)
    assert file["labels"].tolist() == [0, 0, 1, 2]


def test_exports_need_labels_and_the_right_suffix(tmp_path: Path) -> None:
    table = scores.ScoreTable(IDS, CLASSES, VALUES, "logit", "net", "1")
    with pytest.raises(ValueError, match=r"class .* got others for 4: 'hug/a.avi' none"):
        scores.export_scores(table, tmp_path / "t.npz", form="tsn", truth={})
    with pytest.raises(ValueError, match=r"tsn \*.npz, mmaction2 \*.pkl, got tsn"):
        scores.export_scores(table, tmp_path / "t.pkl", form="tsn", truth=LISTING.truth)
    assert not list(tmp_path.iterdir())


def test_lists_of_each_form(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("hug/a.avi\r\nkick/b.avi 2\r\n\r\n")
    assert scores.read_listing(path) == Listing(("hug/a.avi", "kick/b.avi"), ("hug", "kick"))
    path.write_text("/data/a 120 0\n/data/b 30 2\n")
    assert scores.read_listing(path) == Listing(("/data/a", "/data/b"))
    assert scores.read_listing(path, classes=CLASSES).labels == ("hug", "wave")
    path.write_text("a.mp4 1\nb.mp4 3\n")
    assert scores.read_listing(path, classes=CLASSES).labels == ("hug", "wave")
    path.write_text("a.mp4 1\nb.mp4 2\n")
    with pytest.raises(ValueError, match="count from 0 or from 1"):
        scores.read_listing(path, classes=CLASSES)
    path.write_text("a.mp4 1\nb.mp4 4\n")
    with pytest.raises(ValueError, match="numbers of 3 classes, got 1 to 4"):
        scores.read_listing(path, classes=CLASSES)
    path.write_text("a 1\na 1\n")
    with pytest.raises(ValueError, match="name a video once, got twice: 'a'"):
        scores.read_listing(path)
    table = tmp_path / "list.csv"
    table.write_text("id,label,group\na,hug,x\nb,kick,y\n")
    assert scores.read_listing(table) == Listing(("a", "b"), ("hug", "kick"), ("x", "y"))
    table.write_text("path,group\na,x\nb,\n")
    with pytest.raises(ValueError, match="line 3 must have a group, got an empty cell; leave the"):
        scores.read_listing(table)
    table.write_text("path\na\nb\n")
    assert scores.read_listing(table) == Listing(("a", "b"))
    table.write_text("clip\na\n")
    with pytest.raises(ValueError, match="column 'id' or 'path'"):
        scores.read_listing(table)


def test_classes_are_numbered_or_in_order(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    for text in ("hug\nkick\nwave\n", "2 kick\n1 hug\n3 wave\n", "wave 2\nhug 0\nkick 1\n"):
        path.write_text(text)
        assert scores.read_classes(path) == CLASSES
    for text, message in (("1 hug\n3 kick\n", "numbered"), ("a\na\n", "got 'a'"), ("", "none")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            scores.read_classes(path)


def test_folders_of_official_splits_give_groups(shared: Path, tmp_path: Path) -> None:
    folder = shared / "scores/splits"
    for name, n_test, n_groups in (("ucf101", 3783, 707), ("hmdb51", 1530, None)):
        listing = scores.read_listing(folder / name, split=1)
        assert listing.groups is not None
        assert len(listing.ids) == n_test
        if n_groups is not None:
            assert len(set(listing.groups)) == n_groups
        trains = scores.read_listing(folder / name, split=1, part="train")
        assert trains.groups is not None
        assert not set(trains.groups) & set(listing.groups)
    alone = scores.read_listing(folder / "ucf101/testlist01.txt")
    whole = scores.read_listing(folder / "ucf101", split=1)
    assert (alone.ids, alone.labels) == (whole.ids, whole.labels)
    for options in ({}, {"split": 1, "part": "val"}):
        with pytest.raises(ValueError, match="number of the split, and train or test"):
            scores.read_listing(folder / "hmdb51", **options)
    with pytest.raises(ValueError, match="HMDB51 must have 51 files"):
        scores.read_listing(tmp_path, split=1)


def test_published_files_show_each_trap(shared: Path) -> None:
    folder = shared / "scores"
    hmdb = scores.read_listing(folder / "splits/hmdb51", split=1)
    idt = folder / "ltc_idt/hmdb_idt_split1.mat"
    tolerant = ["folder", "extension"]
    alphabetical = sorted(set(hmdb.truth.values()))
    with pytest.raises(ValueError, match="got 6 that do not: column 6 is 'climb_stairs'"):
        read(idt, listing=hmdb, tolerant=tolerant, classes=alphabetical)
    with pytest.raises(ValueError, match=r"got 5\d that do not"):
        read(
            folder / "coviar/hmdb51/mv/split1/mv_score_model_best.npz",
            listing=hmdb,
            classes=alphabetical,
        )
    ucf = scores.read_listing(folder / "splits/ucf101/testlist01.txt")
    coviar = folder / "coviar/ucf101/mv/split1/mv_score_model_best.npz"
    with pytest.raises(ScoreJoinError, match=r"28 only in .* agree but for case .*HandStand"):
        read(coviar, listing=ucf)
    assert read(coviar, listing=ucf, tolerant=["case"]).provenance["matched"]["videos"] == {
        "tolerant": ["case"],
        "renamed": 28,
        "first": [
            [f"HandstandPushups/v_Hand{s}tandPushups_g01_c0{k}.avi" for s in "Ss"]
            for k in (1, 2, 3)
        ],
    }
    sorted_by_case = sorted(set(ucf.truth.values()))
    with pytest.raises(ValueError, match=r"column 35 is 'Hammering' .* 'HammerThrow'"):
        read(coviar, listing=ucf, tolerant=["case"], classes=sorted_by_case)
    hmdb2 = scores.read_listing(folder / "splits/hmdb51", split=2)
    with pytest.raises(ScoreJoinError, match="agree but for characters"):
        read(folder / "coviar/hmdb51/mv/split2/mv_score_model_best.npz", listing=hmdb2)
