from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compare import scores
from compare.scores import ScoreJoinError, ScoreTable


def table(**changes: Any) -> ScoreTable:
    given: dict[str, Any] = {
        "ids": ("a.avi", "b.avi"),
        "classes": ("hug", "kick", "wave"),
        "scores": np.array([[1, 2, 3], [4, 5, 6.5]]),
        "kind": "decision",
        "method": "idt-fv",
        "split": "split 1",
        "provenance": {"C": 100},
    }
    return ScoreTable(**{**given, **changes})


def test_scores_are_read_only_float32() -> None:
    made = table()
    assert made.scores.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        made.scores[0, 0] = 1


def test_the_array_given_stays_writable() -> None:
    given = np.zeros((2, 3), np.float32)
    table(scores=given)
    given[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ("a", "a")}, "ids must be unique, got more than once: 'a'"),
        ({"classes": ("x", "y", "x")}, "classes must be unique"),
        ({"ids": ("a", "")}, "ids must not be empty texts, got one at 1"),
        ({"scores": np.zeros((3, 2))}, r"shape \(n_videos, n_classes\) = \(2, 3\), got \(3, 2\)"),
        ({"scores": np.zeros(6)}, r"got \(6,\)"),
        ({"scores": np.array([[1, 2, 3], [np.nan, 5, 6]])}, "finite, got NaN .* 'b.avi'"),
        ({"scores": np.array([[1, np.inf, 3], [4, 5, 6]])}, "finite, got NaN .* 'a.avi'"),
        ({"scores": np.full((2, 3), 1e300)}, "finite"),
        ({"scores": np.zeros((2, 3), complex)}, "real numbers, got an array of complex128"),
        ({"scores": np.full((2, 3), "1")}, "real numbers"),
        ({"scores": np.zeros((0, 3)), "ids": ()}, "a row and a column"),
        ({"kind": "margin"}, "'decision', 'logit' or 'probability', got 'margin'"),
        ({"kind": "probability"}, "sum to 1 in every row, got others for 'a.avi', 'b.avi'"),
    ],
)
def test_malformed_tables_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(**changes)


def test_aligning_moves_rows_and_columns_by_name() -> None:
    moved = table().aligned(["b.avi", "a.avi"], ["wave", "hug", "kick"])
    assert moved.scores.tolist() == [[6.5, 4, 5], [3, 1, 2]]
    assert moved.ids == ("b.avi", "a.avi")
    assert moved.classes == ("wave", "hug", "kick")


def test_join_names_videos_that_differ() -> None:
    ids = [f"v{k}" for k in range(8)]
    left = table(ids=ids, scores=np.zeros((8, 3)))
    right = table(ids=["v0", "V1"], scores=np.zeros((2, 3)), method="net")
    message = (
        r"same videos, got 7 only in 'idt-fv' \('v1', 'v2', 'v3', 'v4', 'v5' and 2 more\) and "
        r"1 only in 'net' \('V1'\)"
    )
    with pytest.raises(ScoreJoinError, match=message):
        scores.join([left, right])


def test_join_names_classes_that_differ() -> None:
    with pytest.raises(
        ScoreJoinError, match=r"same classes, got 1 only .*'wave'.* 1 only .*'jump'"
    ):
        scores.join([table(), table(classes=("hug", "kick", "jump"), method="net")])
    with pytest.raises(ValueError, match="one or more"):
        scores.join([])


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
@given(
    values=hnp.arrays(np.float32, (2, 3), elements=st.floats(-(2.0**99), 2.0**99, width=32)),
    names=st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=9
        ),
        min_size=5,
        max_size=5,
        unique=True,
    ),
)
def test_files_give_back_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, values: np.ndarray, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("t") / f"table{suffix}"
    made = table(ids=names[:2], classes=names[2:], scores=values, method=names[0])
    made.save(path)
    read = ScoreTable.load(path)
    assert (read.ids, read.classes) == (made.ids, made.classes)
    assert np.array_equal(read.scores, made.scores)
    assert (read.kind, read.method, read.split) == ("decision", names[0], "split 1")
    assert read.provenance == {"C": 100}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.npz"
    table().save(path)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        table(scores=np.zeros((2, 3))).save(path)
    assert ScoreTable.load(path).scores[0, 0] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["table.npz"]


def test_files_of_others_need_a_kind(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, ids=np.array(["a"]), classes=np.array(["x", "y"]), scores=np.zeros((1, 2)))
    with pytest.raises(ValueError, match="kind must be given"):
        ScoreTable.load(path)
    read = ScoreTable.load(path, kind="logit", split="s")
    assert (read.method, read.kind, read.split) == ("net", "logit", "s")
    (tmp_path / "net.csv").write_text("id,x,y\na,1,2\nb,3,4e-1\n")
    assert ScoreTable.load(tmp_path / "net.csv", kind="logit").scores[1, 1] == np.float32(0.4)


class Hostile:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_pickled_content_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.npz", tmp_path / "trace"
    hostile = np.array([Hostile(trace)], dtype=object)
    np.savez(path, ids=hostile, classes=np.array(["x"]), scores=np.zeros((1, 1)))
    with pytest.raises(ValueError, match=r"no table of scores: it holds pickled objects"):
        ScoreTable.load(path, kind="logit")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.npz", b"", "no table of scores"),
        ("t.npz", b"not a zip file", "no table of scores"),
        ("t.csv", b"", "must have a header 'id,' and the class names, got ''"),
        ("t.csv", b"\xff\xfe", "UTF-8"),
        ("t.csv", b"video,x\na,1\n", "must have a header 'id,' and the class names"),
        ("t.csv", b"id,x,y\na,1\n", "3 cells in every row, got 2 for 'a'"),
        ("t.csv", b"id,x\na,one\n", "must hold numbers, got for 'a'"),
        ("t.csv", b"id,x\na,nan\n", "no valid table of scores: scores must be finite"),
        ("t.csv", b"id,x\na,1\na,2\n", "ids must be unique"),
        ("t.csv", b"# trajfuse-scores {\nid,x\na,1\n", "describe itself in JSON"),
        ("t.csv", b'# trajfuse-scores {"format": 9}\nid,x\na,1\n', "must be of format 1"),
        ("t.pkl", b"", "must end in .npz or .csv"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ScoreTable.load(tmp_path / name, kind="decision")


def test_truncated_and_incomplete_npz(tmp_path: Path) -> None:
    table().save(tmp_path / "t.npz")
    whole = (tmp_path / "t.npz").read_bytes()
    (tmp_path / "t.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no table of scores"):
        ScoreTable.load(tmp_path / "t.npz")
    np.savez(tmp_path / "u.npz", ids=np.array(["a"]))
    with pytest.raises(ValueError, match="must hold arrays ids, classes and scores"):
        ScoreTable.load(tmp_path / "u.npz")
    np.savez(tmp_path / "v.npz", ids=np.arange(2), classes=np.array(["x"]), scores=np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"ids .* must be a list of texts, got int64"):
        ScoreTable.load(tmp_path / "v.npz")
    with pytest.raises(FileNotFoundError):
        ScoreTable.load(tmp_path / "none.npz")


def test_the_description_in_a_csv_is_json(tmp_path: Path) -> None:
    table().save(tmp_path / "t.csv")
    first, second = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()[:2]
    about = json.loads(first.removeprefix("# trajfuse-scores "))
    assert about["method"] == "idt-fv"
    assert second == "id,hug,kick,wave"
