"""Folders of results: resuming, manifests, one run at a time, parts, nothing mixed."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from idt.jobs import DiskFull, WorkerLost, upkeep
from idt.jobs.folder import Made, ResultFolder, Work
from idt.jobs.lock import Busy, holder, locked
from idt.jobs.manifest import Manifest, Row, merged

MADE = {"kind": "copies", "settings": {"loud": True}, "versions": {"numpy": "2.0"}}
NAMES = ("a", "b\nc", "d'\"; DROP TABLE items", "ü/é…", "..", "-e", os.fsdecode(b"\xff\xfe"))


@dataclass
class Copier:
    """Copies text in capitals, and keeps account of what it was called for."""

    scratch: Path
    called: list[str] = field(default_factory=list)

    def __call__(self, work: Work) -> Made:
        self.called.append(work.name)
        text = work.source.read_text().upper()
        if text == "BAD":
            raise ValueError("it is bad")
        if text == "LOST":
            raise WorkerLost("its worker died")
        if text == "FULL":
            raise DiskFull("no room")
        reason = ""
        if work.result.exists():
            if work.result.read_text() == text:
                return Made(kept=True)
            reason = "the text has changed"
        (self.scratch / "half").write_text(text)
        work.result.parent.mkdir(parents=True, exist_ok=True)
        (self.scratch / "half").replace(work.result)
        return Made(reason=reason)


@pytest.fixture
def sources(tmp_path):
    """Make sources of given texts; a dictionary of works by name."""

    def make(texts):
        works = []
        for name, text in texts.items():
            source = tmp_path / "in" / f"{name}.txt"
            source.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                source.write_text(text)
            works.append(Work(name, source, tmp_path / "out" / f"{name}.up"))
        return works

    return make


def go(works, folder, **options):
    """One run; what it did, what it was called for, and what it told."""
    settings = {name: options.pop(name) for name in ("made", "shard", "redo") if name in options}
    told = []
    with ResultFolder(folder, **{"made": MADE, **settings}) as opened:
        copier = Copier(opened.scratch)

        def report(event):
            told.append(event)
            assert event.tally.done == len(told)

        counts = opened.work(copier, works, label="copying", report=report, **options)
    return counts, copier.called, told


def test_a_second_run_does_what_is_missing_and_says_why_it_does_again(sources, tmp_path):
    out = tmp_path / "out"
    works = sources({name: f"text {name!r}" for name in NAMES})
    counts, called, told = go(works, out)
    assert counts == (7, 0, 0, 0, 0)
    assert called == list(NAMES)
    assert (out / "ü" / "é….up").read_text() == "TEXT 'Ü/É…'"
    assert sorted(path.name for path in out.glob("manifest*")) == [
        "manifest.lock",
        "manifest.sqlite",
        "manifest.sqlite-journal",
    ]

    assert go(works, out) == ((0, 7, 0, 0, 0), [], [])

    works[0].source.write_text("changed")
    works[1].result.unlink()
    os.utime(works[2].source, ns=(0, 0))  # another time, the same content
    counts, called, told = go(works, out)
    assert counts == (2, 5, 0, 0, 0)
    assert called == list(NAMES[:3])
    assert [(event.row.reason, event.kept) for event in told] == [
        ("the text has changed", False),
        ("", False),
        ("", True),
    ]
    assert upkeep.status(out).counts == {"done": 7}


def test_results_without_a_manifest_are_found_again(sources, tmp_path):
    works = sources({"a": "x", "b": "y"})
    go(works, tmp_path / "out")
    (tmp_path / "out" / "manifest.sqlite").unlink()
    assert go(works, tmp_path / "out")[0] == (0, 2, 0, 0, 0)


def test_own_faults_are_left_and_others_tried_again(sources, tmp_path):
    works = sources({"bad": "bad", "gone": None, "lost": "lost", "good": "good"})
    counts, called, _ = go(works, tmp_path / "out")
    assert counts == (1, 0, 1, 2, 0)
    rows = upkeep.status(tmp_path / "out").rows
    assert {name: (row.state, row.reason, row.tries) for name, row in rows.items()} == {
        "bad": ("failed", "it is bad", 1),
        "gone": ("lost", rows["gone"].reason, 1),
        "good": ("done", "", 1),
        "lost": ("lost", "its worker died", 1),
    }
    assert "No such file" in rows["gone"].reason
    counts, called, _ = go(works, tmp_path / "out")
    assert counts == (0, 1, 0, 2, 1)
    assert called == ["gone", "lost"]

    works[0].source.write_text("mended")
    assert go(works[:1], tmp_path / "out")[0] == (1, 0, 0, 0, 0)


def test_retry_lets_own_faults_be_tried_again(sources, tmp_path):
    out = tmp_path / "out"
    works = sources({"bad": "bad", "worse": "bad", "good": "good"})
    go(works, out)
    assert upkeep.retry(out, names=["worse"]) == ["worse"]
    assert go(works, out)[1] == ["worse"]
    assert upkeep.retry(out) == ["bad", "worse"]
    assert upkeep.status(out).counts == {"waiting": 2, "done": 1}
    with pytest.raises(ValueError, match="got 'none' and 0 more"):
        upkeep.retry(out, names=["none"])
    with pytest.raises(FileNotFoundError, match="no manifest in"):
        upkeep.retry(tmp_path)


def test_strict_and_a_full_disk_keep_what_is_done(sources, tmp_path):
    out = tmp_path / "out"
    works = sources({"a": "x", "bad": "bad", "full": "full", "z": "z"})
    with pytest.raises(ValueError, match="it is bad"):
        go(works, out, strict=True)
    assert upkeep.status(out).counts == {"waiting": 2, "done": 1, "failed": 1}
    with pytest.raises(DiskFull, match="the disk must have room, got no room; make room and run"):
        go(works, out)
    assert upkeep.status(out).counts == {"waiting": 1, "running": 1, "done": 1, "failed": 1}
    works[2].source.write_text("there is room")
    assert go(works, out)[0] == (2, 1, 0, 0, 1)
    assert not list(out.glob("*.scratch"))


def test_results_of_other_settings_or_versions_are_not_mixed(sources, tmp_path):
    out = tmp_path / "out"
    works = sources({"a": "x", "b": "y"})
    go(works, out)
    other = {"kind": "copies", "settings": {"loud": False, "new": 1}, "versions": {"numpy": "2.1"}}
    with pytest.raises(ValueError, match="must be made as asked for, got") as caught:
        go(works, out, made=other)
    for part in ("loud true instead of false", 'new "none" instead of 1', '"2.0" instead of "2.1"'):
        assert part in str(caught.value)
    works[1].result.write_text("as other settings would not make it")
    counts, called, told = go(works, out, made=other, redo=True)
    assert called == ["a", "b"]
    assert counts == (1, 1, 0, 0, 0)
    assert told[1].row.reason == "the text has changed"
    with pytest.raises(ValueError, match="loud false instead of true"):
        go(works, out)


def test_parts_share_the_work_and_the_whole_takes_them_over(sources, tmp_path):
    out = tmp_path / "out"
    works = sources({name: name for name in "abcde"})
    with ResultFolder(out, made=MADE, shard=(1, 2)) as first:
        called = go(works, out, shard=(2, 2))[1]
        assert called == ["b", "d"]
        copier = Copier(first.scratch)
        first.work(copier, works, label="copying")
        assert copier.called == ["a", "c", "e"]
    assert upkeep.status(out).counts == {"done": 5}
    assert go(works, out, shard=(1, 3))[1] == []  # cut otherwise, the others' rows are known
    with pytest.raises(ValueError, match="got kind"):
        go(works, out, made=MADE | {"kind": "others"})
    assert go(works, out) == ((0, 5, 0, 0, 0), [], [])
    assert [path.name for path in out.glob("*.sqlite")] == ["manifest.sqlite"]
    assert set(upkeep.status(out).rows) == set("abcde")


@pytest.mark.parametrize(
    ("first", "second", "busy"),
    [
        (None, None, True),
        (None, (1, 2), True),
        ((1, 2), None, True),
        ((1, 2), (1, 2), True),
        ((1, 2), (1, 3), True),
        ((1, 2), (2, 2), False),
    ],
)
def test_one_run_at_a_time(first, second, busy, tmp_path):
    with ResultFolder(tmp_path, made=MADE, shard=first):
        again = ResultFolder(tmp_path, made=MADE, shard=second)
        if busy:
            with pytest.raises(BlockingIOError, match=rf"process {os.getpid()} on .*, since 20"):
                again.__enter__()
            with pytest.raises(BlockingIOError, match="no run at work"):
                upkeep.clean(tmp_path, suffix=".up")
        else:
            with again:
                assert len(upkeep.status(tmp_path).runs) == 2
        assert str(os.getpid()) in upkeep.status(tmp_path).runs[0]
    with again:
        pass
    assert upkeep.status(tmp_path).runs == ()


HOLDING = """
import sys, time
from pathlib import Path
from idt.jobs.folder import ResultFolder
with ResultFolder(sys.argv[1], made={"kind": "copies"}) as folder:
    (folder.scratch / "half").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_dead_holder_is_followed(tmp_path):
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=f"process {process.pid} on"):
            ResultFolder(tmp_path, made={"kind": "copies"}).__enter__()
        process.send_signal(signal.SIGKILL)
    assert upkeep.status(tmp_path).runs == ()
    removed = upkeep.clean(tmp_path, suffix=".up", dry=True)
    assert [path.name for path in removed] == ["manifest.scratch"]
    assert (tmp_path / "manifest.scratch" / "half").exists()
    with ResultFolder(tmp_path, made={"kind": "copies"}) as folder:
        assert list(folder.scratch.iterdir()) == []


def test_clean_removes_what_does_not_fit(sources, tmp_path):
    out = tmp_path / "out"
    works = sources({"a": "x", "b": "y"})
    go(works, out)
    go(works[:1], out, made=MADE | {"kind": "others"}, redo=True)
    outside = tmp_path / "outside.up"
    outside.write_text("not ours")
    with Manifest(out / "manifest.sqlite") as manifest:
        manifest.put([Row("../outside", state="done", key="other")])
    (out / "manifest.scratch").mkdir()
    assert upkeep.clean(out, suffix=".up") == [out / "manifest.scratch"]
    assert upkeep.clean(out, suffix=".up", stale=True, dry=True) == [out / "b.up"]
    assert works[1].result.exists()
    assert upkeep.clean(out, suffix=".up", stale=True) == [out / "b.up"]
    assert not works[1].result.exists()
    assert works[0].result.exists()
    assert outside.exists()
    assert set(upkeep.status(out).rows) == {"a"}


def test_no_clock_decides_what_is_done(sources, tmp_path, monkeypatch):
    works = sources({"a": "x", "b": "bad"})
    go(works, tmp_path / "out")
    for work in works:
        os.utime(work.result.parent, ns=(0, 0))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert go(works, tmp_path / "out")[0] == (0, 1, 0, 0, 1)


@pytest.mark.parametrize("content", [b"no data base at all, but longer than a header" * 9, None])
def test_a_file_that_is_no_manifest_is_refused(content, tmp_path):
    path = tmp_path / "manifest.sqlite"
    if content is None:
        with sqlite3.connect(path) as base:
            base.execute("CREATE TABLE made (name TEXT PRIMARY KEY, value TEXT)")
        base.close()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a manifest"):
        ResultFolder(tmp_path, made=MADE).__enter__()


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="folder must be one that can be written to, got"):
            ResultFolder(path, made=MADE).__enter__()


def test_what_is_done_counts_before_what_was_told_last():
    done = Row("a", state="done", changed="2020")
    late = Row("a", state="failed", changed="2030")
    early = replace(late, changed="2010")
    assert merged([{"a": late}, {"a": done}]) == merged([{"a": done}, {"a": late}]) == {"a": done}
    assert merged([{"a": late}, {"a": early}])["a"] is late


def test_locks_are_shared_on_demand(tmp_path):
    path = tmp_path / "lock"
    assert holder(path) is None
    with locked(path, shared=True), locked(path, shared=True):
        with pytest.raises(Busy, match="a run that has just begun"), locked(path):
            pass
    with locked(path):
        assert f"process {os.getpid()}" in str(holder(path))
    assert holder(path) is None


def test_a_large_folder_is_planned_quickly(sources, tmp_path):
    works = [Work(f"{i}", tmp_path / "none", tmp_path / f"{i}.up") for i in range(5_000)]
    with ResultFolder(tmp_path / "out", made=MADE) as folder:
        with pytest.raises(DiskFull):
            folder.work(_full, works, label="none")
    assert upkeep.status(tmp_path / "out").counts == {"waiting": 4_999, "running": 1}


def _full(work):
    raise DiskFull("none")
