from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compare import datasets
from compare.datasets import Dataset, Split, Video


def make(root: Path, rows: list[list[str]], header: str, write_rows: Callable[..., Path]) -> Path:
    """Write a CSV with empty files under all of its paths."""
    for row in rows:
        path = root / row[0]
        if root in path.resolve().parents:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return write_rows(root / "set.csv", header.split(","), rows)


def simple(videos: list[Video], splits: list[Split]) -> Dataset:
    names = tuple(sorted({clip.label for clip in videos}))
    return Dataset("set", Path(), tuple(videos), names, tuple(splits), "by hand")


def test_csv_with_split_column(clips: Path) -> None:
    dataset = datasets.load(clips / "data.csv")
    assert dataset.class_names == ("hug", "kick", "wave")
    assert len(dataset.videos) == 24
    first = dataset.videos[0]
    assert first == Video(clips / "clips/hug_ann_0.avi", "clips/hug_ann_0.avi", "hug", "ann")
    (split,) = dataset.splits
    assert (len(split.train), len(split.test)) == (12, 12)
    assert {dataset.by_id[id].group for id in split.test} == {"cid", "dot"}
    assert datasets.load(clips / "data.csv", folds="split") == dataset


def test_csv_with_fold_column(clips: Path) -> None:
    dataset = datasets.load(clips / "data.csv", folds="half")
    assert [split.name for split in dataset.splits] == ["fold 0", "fold 1"]
    groups = dataset.groups
    assert groups is not None
    assert {groups[id] for id in dataset.splits[0].test} == {"ann", "cid"}
    assert {groups[id] for id in dataset.splits[0].train} == {"bob", "dot"}


def test_fold_values_are_in_natural_order(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    rows = [[f"{c}{k}.avi", c, str(k)] for c in "ab" for k in (10, 9, 2)]
    dataset = datasets.load(make(tmp_path, rows, "path,label,fold", write_rows), folds="fold")
    assert [split.name for split in dataset.splits] == ["fold 2", "fold 9", "fold 10"]
    assert dataset.groups is None


def test_byte_order_mark_blank_lines_and_spaces_are_read(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.avi").touch()
    text = "\ufeffpath, label ,split\r\na.avi, x,train\r\n\r\nb.avi,y ,train\r\nc.avi,x,test\r\n"
    (tmp_path / "set.csv").write_text(text, encoding="utf-8")
    dataset = datasets.load(tmp_path / "set.csv")
    assert dataset.truth == {"a.avi": "x", "b.avi": "y", "c.avi": "x"}


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("path,label,split", [], "must have rows below a header"),
        ("path,name,split", [["a", "x", "train"]], "must have a column 'label'"),
        ("path,label,label", [["a", "x", "y"]], "name a column once, got twice: 'label'"),
        ("path,label,split", [["a", "x"]], "line 2 must have 3 cells .* got 2"),
        ("path,label,split", [["a", "", "train"]], "line 2 must have a label"),
        ("path,label,split", [["a", "x", "val"]], "'train' or 'test', got 'val' in line 2"),
        (
            "path,label,split",
            [["a", "x", "train"], ["b", "y", "train"], ["a", "x", "test"]],
            "line 4 .*'a', which line 2",
        ),
        (
            "path,label,split",
            [["a", "x", "train"], ["b", "y", "train"], ["./a", "x", "test"]],
            "listed once",
        ),
        (
            "path,label,split",
            [["a", "x", "train"], ["b", "y", "test"]],
            "split 'split' must have a training video of every class, got none of 'y'",
        ),
        ("path,label,split", [["a", "x", "train"], ["b", "y", "train"]], "must have test videos"),
        ("path,label,split", [["a", "x", "train"], ["b", "x", "test"]], "2 or more classes"),
        (
            "path,label,group,split",
            [["a", "x", "g1", "train"], ["b", "y", "g2", "train"], ["c", "x", "g1", "test"]],
            "each group on one side, got on both the groups 'g1'",
        ),
        ("path,label,group,split", [["a", "x", "", "train"]], "line 2 must have a group"),
    ],
)
def test_what_is_wrong_with_a_csv_is_said(
    tmp_path: Path,
    write_rows: Callable[..., Path],
    header: str,
    rows: list[list[str]],
    message: str,
) -> None:
    path = make(tmp_path, rows, header, write_rows)
    with pytest.raises(ValueError, match=message):
        datasets.load(path)


def test_rows_without_a_file_are_named(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    rows = [["a", "x", "train"], ["b", "y", "train"], ["c", "x", "test"]]
    path = make(tmp_path, rows, "path,label,split", write_rows)
    (tmp_path / "b").unlink()
    with pytest.raises(FileNotFoundError, match="got 1 that do not: line 3: 'b'"):
        datasets.load(path)


@pytest.mark.parametrize("outside", ["../a.avi", "x/../../a.avi", "/a.avi", "C:\\a.avi"])
def test_paths_outside_are_refused_unless_asked(
    tmp_path: Path, write_rows: Callable[..., Path], outside: str
) -> None:
    rows = [[outside, "x", "train"]]
    path = write_rows(tmp_path / "set.csv", ["path", "label", "split"], rows)
    with pytest.raises(ValueError, match="line 2 must name a path inside"):
        datasets.load(path)
    with pytest.raises(FileNotFoundError, match="line 2"):
        datasets.load(path, allow_outside=True)


def test_a_path_outside_is_read_when_asked(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    rows = [["../a", "x", "train"], ["../b", "y", "train"], ["../c", "x", "test"]]
    path = write_rows(tmp_path / "inner/set.csv", ["path", "label", "split"], rows)
    dataset = datasets.load(path, allow_outside=True)
    assert [clip.id for clip in dataset.videos] == ["../a", "../b", "../c"]


def test_files_that_are_no_csv_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_bytes(b"path,label\n\xff\xfe\x00,x\n")
    with pytest.raises(ValueError, match="CSV file in UTF-8"):
        datasets.load(tmp_path / "set.csv")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        datasets.load(tmp_path / "none.csv")


def test_folds_of_an_unknown_column(clips: Path) -> None:
    with pytest.raises(ValueError, match="must have a column 'third', got only 'path', 'label'"):
        datasets.load(clips / "data.csv", folds="third")
    with pytest.raises(ValueError, match="between 2 and the number of groups, 4, got 5"):
        datasets.load(clips / "data.csv", folds="5")


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for name in ("kick", "hug"):
        for group in range(4):
            for take in range(2):
                path = tmp_path / "set" / name / "deep" / f"v_g{group}_{take}.AVI"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    (tmp_path / "set/hug/notes.txt").touch()
    (tmp_path / "set/hug/.hidden.avi").touch()
    (tmp_path / "set/.cache").mkdir()
    return tmp_path / "set"


def test_class_folders(class_folders: Path) -> None:
    dataset = datasets.load(class_folders, folds=2, group_pattern="_(g[0-9])_", seed=3)
    assert dataset.name == "set"
    assert dataset.class_names == ("hug", "kick")
    assert dataset.videos[0].id == "hug/deep/v_g0_0.AVI"
    assert dataset.videos[0].group == "g0"
    assert len(dataset.videos) == 16
    assert "2 folds drawn by group" in dataset.protocol
    assert "seed 3" in dataset.protocol
    assert "1 files without a video's suffix" in dataset.protocol
    assert [len(split.test) for split in dataset.splits] == [8, 8]


def test_class_folders_without_groups(class_folders: Path) -> None:
    dataset = datasets.load(class_folders)
    assert len(dataset.splits) == 5
    assert dataset.groups is None
    assert "by video (no groups given)" in dataset.protocol


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_pattern": "_(g"}, "regular expression"),
        ({"group_pattern": "_g[0-9]_"}, "parentheses"),
        ({"group_pattern": "(actor)"}, "must match every video"),
        ({"folds": "half"}, "a folder has no columns"),
    ],
)
def test_wrong_requests_of_class_folders(
    class_folders: Path, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.load(class_folders, **arguments)  # type: ignore[arg-type]


def test_folders_that_are_no_class_folders(class_folders: Path, tmp_path: Path) -> None:
    (class_folders / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty' must hold videos"):
        datasets.load(class_folders)
    for name in ("train", "test"):
        shutil.copytree(class_folders / "hug", tmp_path / "parts" / name / "hug")
    with pytest.raises(ValueError, match="named after classes, got 'test', 'train'"):
        datasets.load(tmp_path / "parts")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="got none in"):
        datasets.load(tmp_path / "nothing")


@given(
    groups=st.lists(
        st.lists(st.sampled_from("ab"), min_size=1, max_size=5), min_size=4, max_size=12
    ),
    n_folds=st.integers(2, 4),
    seed=st.integers(0, 9),
)
def test_drawn_folds_keep_groups_together_and_test_every_video_once(
    groups: list[list[str]], n_folds: int, seed: int
) -> None:
    videos = [
        Video(Path(f"{g}_{k}"), f"{g}_{k}", label, f"g{g}")
        for g, labels in enumerate(groups)
        for k, label in enumerate(labels)
    ]
    splits = datasets.group_folds(videos, n_folds=n_folds, seed=seed)
    assert splits == datasets.group_folds(videos, n_folds=n_folds, seed=seed)
    group_of = {clip.id: clip.group for clip in videos}
    tested = Counter(id for split in splits for id in split.test)
    assert tested == Counter(clip.id for clip in videos)
    for split in splits:
        assert not {group_of[id] for id in split.train} & {group_of[id] for id in split.test}
        assert sorted(split.train + split.test) == sorted(group_of)


def test_drawn_folds_spread_classes_evenly() -> None:
    videos = [
        Video(Path(f"{name}{k}"), f"{name}{k}", name, f"g{k}") for name in "abc" for k in range(10)
    ]
    label_of = {clip.id: clip.label for clip in videos}
    for split in datasets.group_folds(videos, n_folds=5, seed=1):
        assert Counter(label_of[id] for id in split.test) == {"a": 2, "b": 2, "c": 2}
    assert datasets.group_folds(videos, n_folds=5, seed=1) != datasets.group_folds(
        videos, n_folds=5, seed=2
    )


def test_a_data_set_made_in_python_is_checked_too() -> None:
    a, b, c = (Video(Path(name), name, label) for name, label in ("ax", "bx", "cy"))
    with pytest.raises(ValueError, match="must keep train and test apart"):
        simple([a, b, c], [Split("s", ("a", "b", "c"), ("a",))])
    with pytest.raises(ValueError, match="must name videos of the data set, got 'z'"):
        simple([a, b, c], [Split("s", ("a", "z"), ("b",))])
    with pytest.raises(ValueError, match="must name a video once"):
        simple([a, b, c], [Split("s", ("a", "c", "a"), ("b",))])
    with pytest.raises(ValueError, match="all videos or none"):
        simple([a, b, Video(Path("d"), "d", "y", "g")], [Split("s", ("a", "d"), ("b",))])


def test_leaving_videos_out(dataset: Dataset) -> None:
    smaller = dataset.without({"clips/hug_ann_0.avi", "clips/hug_dot_1.avi"})
    assert len(smaller.videos) == 22
    assert "clips/hug_ann_0.avi" not in smaller.splits[0].train
    assert "clips/hug_dot_1.avi" not in smaller.splits[0].test
    assert dataset.without(()) is dataset
    trained = {id for id in dataset.splits[0].train if "hug" in id}
    with pytest.raises(ValueError, match="every class, got none of 'hug'") as caught:
        dataset.without(trained)
    assert "4 videos were left out as unreadable" in caught.value.__notes__[0]


def test_unreadable_videos_are_found_with_reasons(
    tmp_path: Path, write_rows: Callable[..., Path], write_video: Callable[..., Path]
) -> None:
    for name in ("good1", "good2", "good3"):
        write_video(tmp_path / f"{name}.avi")
    (tmp_path / "empty.avi").touch()
    (tmp_path / "text.avi").write_text("this is no video")
    names = ["good1", "good2", "good3", "empty", "text"]
    rows = [[f"{n}.avi", "xyxxy"[i], "train" if i < 2 else "test"] for i, n in enumerate(names)]
    dataset = datasets.load(write_rows(tmp_path / "s.csv", ["path", "label", "split"], rows))
    bad = datasets.check_videos(dataset)
    assert [each.id for each in bad] == ["empty.avi", "text.avi"]
    assert "0 bytes" in bad[0].reason
    assert all(each.reason for each in bad)


def test_real_sets(shared: Path) -> None:
    dataset = datasets.load(shared / "data/ut_interaction.csv")
    (split,) = dataset.splits
    assert (len(split.train), len(split.test), len(dataset.class_names)) == (83, 37, 6)
    tennis = datasets.load(shared / "data/tennis7.csv", folds="fold")
    assert len(tennis.splits) == 5
    assert sum(len(split.test) for split in tennis.splits) == len(tennis.videos) == 371
