from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from compare import datasets
from compare.datasets import Dataset, official


@pytest.fixture
def lists(shared: Path) -> Path:
    return shared / "scores/splits"


def touch(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def groups_of(dataset: Dataset, ids: Sequence[str]) -> set[str]:
    groups = dataset.groups
    assert groups is not None
    return {groups[id] for id in ids}


@pytest.mark.parametrize("folder", ["ucf101", "ucf101_crcv_spelling"])
def test_ucf101_as_published(lists: Path, folder: str) -> None:
    dataset = datasets.load(lists / folder, must_exist=False)
    assert dataset.name == "UCF101"
    assert dataset.official == (1, 2, 3)
    assert "videos not looked for" in dataset.protocol
    assert len(dataset.videos) == 13320
    sizes = [(len(s.train), len(s.test)) for s in dataset.splits]
    assert sizes == [(9537, 3783), (9586, 3734), (9624, 3696)]
    assert [len(groups_of(dataset, s.test)) for s in dataset.splits] == [707, 707, 707]
    assert len(groups_of(dataset, list(dataset.by_id))) == 101 * 25
    names = dataset.class_names
    assert len(names) == 101
    assert names.index("HammerThrow") > names.index("Hammering")  # not in the order of ASCII


def test_hmdb51_as_published(lists: Path) -> None:
    dataset = datasets.load(lists / "hmdb51", must_exist=False)
    assert dataset.official == (1, 2, 3)
    truth = dataset.truth
    for split in dataset.splits:
        assert (len(split.train), len(split.test)) == (3570, 1530)
        assert set(Counter(truth[id] for id in split.train).values()) == {70}
        assert set(Counter(truth[id] for id in split.test).values()) == {30}
    assert dataset.class_names.index("climb") < dataset.class_names.index("climb_stairs")
    tested = [id for split in dataset.splits for id in split.test]
    assert len(set(tested)) < len(tested)  # the three test sets share videos
    assert "brush_hair: April_09" in groups_of(dataset, tested)


def test_hmdb51_with_its_videos(lists: Path, tmp_path: Path) -> None:
    bare = datasets.hmdb51(lists / "hmdb51", splits=[2])
    touch(tmp_path, list(bare.by_id))
    dataset = datasets.load(lists / "hmdb51", videos=tmp_path, folds="2")
    assert dataset.official == (2,)
    assert dataset.protocol == "official split 2"
    assert all(clip.path == tmp_path / clip.id for clip in dataset.videos)
    gone = dataset.splits[0].test[7]
    (tmp_path / gone).unlink()
    with pytest.raises(FileNotFoundError, match="got 1 of 5100 missing") as caught:
        datasets.hmdb51(lists / "hmdb51", videos=tmp_path, splits=[2])
    assert gone in str(caught.value)
    partial = datasets.hmdb51(lists / "hmdb51", videos=tmp_path, splits=[2], allow_missing=True)
    assert len(partial.videos) == 5099
    assert partial.official == ()
    assert "1 missing videos were left out" in partial.protocol


@pytest.fixture
def tiny_ucf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """UCF101's layout with 2 classes, 2 groups in each, 2 clips in each of those, split 1."""
    monkeypatch.setattr(official, "UCF101_CLASSES", 2)
    monkeypatch.setattr(official, "UCF101_COUNTS", {1: (4, 4)})
    names = ("Archery", "HandstandPushups")
    ids = {
        group: [f"{n}/v_{n}_{group}_c{take:02}.avi" for n in names for take in (1, 2)]
        for group in ("g01", "g08")
    }
    (tmp_path / "classInd.txt").write_text("1 Archery\n2 HandstandPushups\n")
    (tmp_path / "testlist01.txt").write_text("\n".join(ids["g01"]) + "\n")
    labelled = [f"{id} {1 + (k > 1)}" for k, id in enumerate(ids["g08"])]
    (tmp_path / "trainlist01.txt").write_text("\r\n".join(labelled) + "\r\n\r\n")
    return tmp_path


def test_ucf101_clips_in_another_spelling_and_suffix(tiny_ucf: Path, tmp_path: Path) -> None:
    ids = [c.id for c in datasets.ucf101(tiny_ucf, splits=[1]).videos]
    other = [
        f"clips/{Path(id).stem.replace('Handstand', 'HandStand')}.mp4" if "Hand" in id else id
        for id in ids
    ]
    dataset = datasets.ucf101(tiny_ucf, splits=[1], videos=touch(tmp_path / "all", other))
    assert [c.id for c in dataset.videos] == ids
    assert "4 found under another folder or spelling" in dataset.protocol
    assert dataset.by_id[ids[-1]].path.name == "v_HandStandPushups_g08_c02.mp4"
    touch(tmp_path / "all", ["again/v_handstandpushups_g01_c01.avi"])
    with pytest.raises(ValueError, match=r"once, got 'again/v_hand.*', 'clips/v_Hand"):
        datasets.ucf101(tiny_ucf, splits=[1], videos=tmp_path / "all")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classInd.txt", "1 Archery\n3 HandstandPushups\n", "number 2 classes from 1 on"),
        ("testlist01.txt", "Archery/v_Archery_g01_c01.avi\n", "4 and 4 clips .* got 4 and 1"),
        ("testlist01.txt", "Juggling/v_Juggling_g01_c01.avi\n", "name clips as CLASS/CLIP.avi"),
        ("trainlist01.txt", "Archery/v_Archery_g08_c01.avi 2\n", "'Archery' its number .* 1, got"),
        ("trainlist01.txt", "\n\n", "must list clips, got only blank"),
    ],
)
def test_changed_lists_of_ucf101(tiny_ucf: Path, file: str, text: str, message: str) -> None:
    (tiny_ucf / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        datasets.ucf101(tiny_ucf, splits=[1])


def test_a_group_on_both_sides_and_a_missing_list(tiny_ucf: Path) -> None:
    test = (tiny_ucf / "testlist01.txt").read_text().replace("g01_c02", "g08_c03")
    (tiny_ucf / "testlist01.txt").write_text(test)
    with pytest.raises(ValueError, match="each group on one side, got on both the groups 'Arch"):
        datasets.ucf101(tiny_ucf, splits=[1])
    (tiny_ucf / "testlist01.txt").unlink()
    with pytest.raises(FileNotFoundError, match="testlist01"):
        datasets.ucf101(tiny_ucf, splits=[1])
    with pytest.raises(ValueError, match=r"among 1, 2 and 3, each once, got \(1, 4\)"):
        datasets.ucf101(tiny_ucf, splits=[1, 4])
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        datasets.kth("nowhere")


def test_changed_lists_of_hmdb51(lists: Path, tmp_path: Path) -> None:
    copied = tmp_path / "hmdb"
    copied.mkdir()
    for path in (lists / "hmdb51").glob("*_split1.txt"):
        (copied / path.name).write_bytes(path.read_bytes())
    path = copied / "wave_test_split1.txt"
    path.write_text(path.read_text().replace(".avi 2", ".avi 0", 1))
    with pytest.raises(ValueError, match=r"wave_test_split1.* 70 and 30 .* got 70 and 29"):
        datasets.hmdb51(copied, splits=[1])
    path.write_text(path.read_text().replace(".avi 0", ".avi 3", 1))
    with pytest.raises(ValueError, match="flag 0, 1 or 2"):
        datasets.hmdb51(copied, splits=[1])
    path.unlink()
    with pytest.raises(ValueError, match=r"51 files CLASS_test_split1.txt, got 50"):
        datasets.hmdb51(copied, splits=[1])


def test_validation_shares_no_group_with_training(lists: Path) -> None:
    dataset = datasets.ucf101(lists / "ucf101", splits=[1])
    (split,) = dataset.splits
    inner = datasets.inner_folds(dataset, split, n_folds=3, seed=1)
    assert sorted(id for fold in inner for id in fold.test) == sorted(split.train)
    for fold in inner:
        assert not groups_of(dataset, fold.train) & groups_of(dataset, fold.test)
        assert not set(split.test) & (set(fold.train) | set(fold.test))


def kth_names() -> list[str]:
    return [
        f"{label}/person{person:02}_{label}_d{scenario}_uncomp.avi"
        for label in datasets.acted.KTH_CLASSES
        for person in range(1, 26)
        for scenario in range(1, 5)
        if (person, label, scenario) != (13, "handclapping", 3)
    ]


def test_kth(tmp_path: Path) -> None:
    root = touch(tmp_path, [*kth_names(), "intro.avi"])
    dataset = datasets.load(root, form="kth")
    (split,) = dataset.splits
    assert len(dataset.videos) == 599
    assert (len(split.train), len(split.test)) == (16 * 24 - 1, 9 * 24)
    tested = {2, 3, 5, 6, 7, 8, 9, 10, 22}
    assert groups_of(dataset, split.test) == {f"person {n:02}" for n in tested}
    assert "1 videos of other names were ignored" in dataset.protocol
    people = datasets.load(root, form="kth", folds="people")
    assert [s.name for s in people.splits[::12]] == ["fold 1", "fold 13", "fold 25"]
    assert [len(s.test) for s in people.splits[::12]] == [24, 23, 24]
    (root / kth_names()[0]).unlink()
    with pytest.raises(ValueError, match="KTH must have 599 clips, got 598"):
        datasets.kth(root)
    partial = datasets.load(root, form="kth", allow_missing=True)
    assert (partial.official, len(partial.videos)) == ((), 598)
    with pytest.raises(ValueError, match="'official' or 'people' for KTH, got 'some'"):
        datasets.load(root, form="kth", folds="some")
    touch(root, ["copy/person01_boxing_d2_uncomp.avi"])
    with pytest.raises(ValueError, match="once, got twice: 'person01_boxing_d2_uncomp'"):
        datasets.kth(root, allow_missing=True)


@pytest.mark.parametrize("name", ["person26_boxing_d1", "person01_boxing_d5", "person01_dance_d1"])
def test_what_is_not_of_kth(tmp_path: Path, name: str) -> None:
    touch(tmp_path, [f"{name}.avi"])
    with pytest.raises(ValueError, match="a clip of KTH must be of"):
        datasets.kth(tmp_path)


def test_ut_interaction(shared: Path) -> None:
    dataset = datasets.load(shared / "data/ut_interaction", form="ut-interaction")
    assert len(dataset.videos) == 120
    assert len(dataset.splits) == 20
    assert dataset.official == (1, 2)
    first = dataset.splits[0]
    assert first.name == "set 1 sequence 01"
    assert groups_of(dataset, first.test) == {"sequence 01"}
    assert groups_of(dataset, first.train) == {f"sequence {n:02}" for n in range(2, 11)}
    assert dataset.splits[-1].name == "set 2 sequence 20"
    listed = datasets.load(shared / "data/ut_interaction.csv")
    assert {Path(c.id).name: c.label for c in dataset.videos} == {
        Path(c.id).name: c.label for c in listed.videos
    }
    second = datasets.load(shared / "data/ut_interaction", form="ut-interaction", folds="2")
    assert len(second.splits) == 10
    with pytest.raises(ValueError, match="1, 2 or both"):
        datasets.ut_interaction(shared / "data/ut_interaction", sets=[3])


def test_ut_interaction_that_is_not_whole(tmp_path: Path) -> None:
    names = [f"segmented_set1/{6 * s + c}_{s}_{c}.avi" for s in (1, 2, 3) for c in range(6)]
    touch(tmp_path, names)
    with pytest.raises(ValueError, match="set 1 must have 60 clips, got 18"):
        datasets.ut_interaction(tmp_path, sets=[1])
    partial = datasets.ut_interaction(tmp_path, sets=[1], allow_missing=True)
    assert partial.official == ()
    assert "42 missing videos" in partial.protocol
    touch(tmp_path, ["1_21_0.avi"])
    with pytest.raises(ValueError, match="sequence 1 to 20"):
        datasets.ut_interaction(tmp_path)
    with pytest.raises(FileNotFoundError, match="named as the set's are, got none"):
        datasets.kth(tmp_path)


LISTED = [
    ("Archery/v_Archery_g08_c01", 0, "train"),
    ("Archery/v_Archery_g09_c01", 0, "train"),
    ("Diving/v_Diving_g08_c01", 1, "train"),
    ("Archery/v_Archery_g01_c01", 0, "val"),
    ("Diving/v_Diving_g01_c02", 1, "val"),
]


def write_lists(folder: Path, line: Callable[[str, int], str], name: str = "ucf_{}_1.txt") -> Path:
    for side in ("train", "val"):
        rows = [line(path, label) for path, label, of in LISTED if of == side]
        (folder / name.format(side)).write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("frames", [False, True])
def test_lists_of_tsn_and_mmaction2(tmp_path: Path, frames: bool) -> None:
    suffix = "" if frames else ".avi"
    write_lists(tmp_path, lambda path, n: f"{path}{suffix} {'120 ' if frames else ''}{n}")
    bare = datasets.load(tmp_path, form="lists", must_exist=False)
    assert bare.class_names == ("Archery", "Diving")
    assert bare.protocol.startswith("1 pair of list files; groups by the names UCF101 gives")
    assert groups_of(bare, bare.splits[0].test) == {"Archery_g01", "Diving_g01"}
    clips = tmp_path / "clips"
    for path, _, _ in LISTED:
        if frames:
            (clips / path).mkdir(parents=True)
        else:
            touch(clips, [f"{path}.avi"])
    dataset = datasets.load(tmp_path, form="lists", videos=clips)
    assert [len(dataset.splits[0].train), len(dataset.splits[0].test)] == [3, 2]
    assert all(clip.path.exists() for clip in dataset.videos)


def test_lists_with_a_class_file_and_absolute_paths(tmp_path: Path) -> None:
    write_lists(tmp_path, lambda path, n: f"/data/set/{path.split('/')[1]}.avi {n}")
    (tmp_path / "classes.txt").write_text("0 drawing a bow\n1 diving\n")
    with pytest.raises(ValueError, match="give what they all begin with as prefix"):
        datasets.load(tmp_path, form="lists", must_exist=False)
    pairs = datasets.list_pairs(tmp_path)
    dataset = datasets.from_lists(
        pairs, name="set", prefix="/data/set", classes=tmp_path / "classes.txt"
    )
    assert dataset.class_names == ("drawing a bow", "diving")
    assert dataset.videos[0].id == "v_Archery_g08_c01.avi"
    numbered = datasets.from_lists(pairs, name="set", prefix="/data/set", group_pattern="(g0.)")
    assert numbered.class_names == ("0", "1")  # no class file, no class folders
    assert numbered.videos[0].group == "g08"
    clips = touch(tmp_path / "c", [f"{path.split('/')[1]}.avi" for path, _, _ in LISTED])
    write_lists(tmp_path, lambda path, n: f"{clips}/{path.split('/')[1]}.avi {n}")
    below = datasets.load(tmp_path, form="lists", videos=clips)
    assert below.videos[0].id == "v_Archery_g08_c01.avi"


def test_lists_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a list \*train\*.txt"):
        datasets.list_pairs(tmp_path)
    write_lists(tmp_path, lambda path, n: f"{path} {n}")
    pairs = datasets.list_pairs(tmp_path)
    with pytest.raises(ValueError, match="got no match of"):
        datasets.from_lists(pairs, name="s", group_pattern="(x)")
    with pytest.raises(ValueError, match="must begin with prefix '/d'"):
        datasets.from_lists(pairs, name="s", prefix="/d")
    (tmp_path / "classes.txt").write_text("0 one\n")
    with pytest.raises(ValueError, match="must name 2 or more classes, each once, got 1"):
        datasets.load(tmp_path, form="lists", must_exist=False)
    train = tmp_path / "ucf_train_1.txt"
    (tmp_path / "ucf_val_1.txt").write_text("Archery/v_Archery_g08_c01 1\n")
    with pytest.raises(ValueError, match=r"must have one label, got 0 and, in .*val_1.* 1"):
        datasets.from_lists(pairs, name="s")
    (tmp_path / "ucf_val_1.txt").write_text("Archery/v_Archery_g08_c01 one\n")
    with pytest.raises(ValueError, match="lines PATH LABEL or PATH FRAMES LABEL"):
        datasets.from_lists(pairs, name="s")
    write_lists(tmp_path, lambda path, n: f"{path} {n}", "ucf_flow_{}_1.txt")
    with pytest.raises(ValueError, match="lists of one kind"):
        datasets.list_pairs(tmp_path)
    train.rename(tmp_path / "ucf_train_2.txt")
    with pytest.raises(ValueError, match=r"one partner .* got none"):
        datasets.list_pairs(tmp_path)


def test_kinetics(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    header = ["label", "youtube_id", "time_start", "time_end", "split"]
    rows = [
        ["diving", "aB-_1", "3", "13"],
        ["diving", "ab-_1", "20", "30"],
        ["archery", "cccc", "0", "10"],
    ]
    write_rows(tmp_path / "train.csv", header, [[*row, "train"] for row in rows])
    val = [["archery", "dddd", "7", "17", "validate"], ["diving", "eeee", "1", "11", "validate"]]
    write_rows(tmp_path / "validate.csv", header, val)
    bare = datasets.load(tmp_path, form="kinetics", must_exist=False)
    assert bare.class_names == ("archery", "diving")
    assert bare.splits[0].name == "validate"
    assert bare.videos[0].id == "diving/aB-_1_000003_000013"
    assert groups_of(bare, bare.splits[0].test) == {"dddd", "eeee"}
    stems = [Path(clip.id).name for clip in bare.videos]
    clips = touch(tmp_path / "clips", [f"x/{stem}.mp4" for stem in stems[:-1]])
    dataset = datasets.load(tmp_path, form="kinetics", videos=clips, allow_missing=True)
    assert len(dataset.videos) == 4
    assert "1 missing videos" in dataset.protocol
    assert dataset.by_id[bare.videos[1].id].path.name == "ab-_1_000020_000030.mp4"
    with pytest.raises(FileNotFoundError, match="got 1 of 5 missing"):
        datasets.load(tmp_path, form="kinetics", videos=clips)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["diving", "a", "3", "13", "train"]], "rows of train and of validate or val or test"),
        ([["", "a", "3", "13", "train"]], "line 2 must have a label"),
        ([["diving", "a", "x", "13", "train"]], "line 2 must give times"),
    ],
)
def test_tables_that_are_not_kinetics(
    tmp_path: Path, write_rows: Callable[..., Path], rows: list[list[str]], message: str
) -> None:
    header = ["label", "youtube_id", "time_start", "time_end", "split"]
    path = write_rows(tmp_path / "t.csv", header, rows)
    with pytest.raises(ValueError, match=message):
        datasets.kinetics([path])
    with pytest.raises(ValueError, match="a column 'label'"):
        datasets.kinetics([write_rows(tmp_path / "u.csv", ["name"], [["x"]])])


def test_options_of_another_form_are_refused(lists: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form must be one of csv, folders, ucf101"):
        datasets.load(tmp_path, form="ucf")
    with pytest.raises(ValueError, match="videos must be given for data of form 'ucf101'"):
        datasets.load(lists / "ucf101")
    with pytest.raises(ValueError, match="videos must be left out for data of form 'folders'"):
        datasets.load(tmp_path, videos=tmp_path)
    with pytest.raises(ValueError, match="group_pattern must be left out for data of form 'csv'"):
        datasets.load(tmp_path / "a.csv", group_pattern="(x)")
    with pytest.raises(ValueError, match="numbers joined by '\\+'"):
        datasets.load(lists / "ucf101", must_exist=False, folds="first")


def test_labels_alone(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    rows = [["a", "x", "g"], ["b", "y", "h"]]
    found = datasets.load_labels(write_rows(tmp_path / "l.csv", ["id", "label", "group"], rows))
    assert (found.truth, found.groups) == ({"a": "x", "b": "y"}, {"a": "g", "b": "h"})
    bare = [row[:2] for row in rows]
    assert (
        datasets.load_labels(write_rows(tmp_path / "m.csv", ["id", "label"], bare)).groups is None
    )
    for header, cells, message in (
        (["id", "group"], ["a", "g"], "columns id and label"),
        (["id", "label"], ["a", ""], "line 2 must have a label"),
        (["id", "label", "group"], ["a", "x", ""], "line 2 must have a group"),
    ):
        with pytest.raises(ValueError, match=message):
            datasets.load_labels(write_rows(tmp_path / "n.csv", header, [cells]))
    with pytest.raises(ValueError, match="line 3 must name a video of its own"):
        datasets.load_labels(write_rows(tmp_path / "o.csv", ["id", "label"], [bare[0], bare[0]]))


def test_a_csv_whose_videos_are_elsewhere(tmp_path: Path, write_rows: Callable[..., Path]) -> None:
    rows = [["a", "x", "train"], ["b", "y", "train"], ["c", "x", "test"]]
    path = write_rows(tmp_path / "s.csv", ["path", "label", "split"], rows)
    assert len(datasets.load(path, must_exist=False).videos) == 3
