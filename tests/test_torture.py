"""scripts/torture.py: a sample of it, and that it finds what it looks for."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def torture(project: Path) -> Iterator[ModuleType]:
    sys.path.insert(0, str(project / "scripts"))  # where processes that it starts find it
    import torture

    yield torture
    sys.path.remove(str(project / "scripts"))


def test_a_sample_of_odd_and_broken_files(
    torture: ModuleType, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--processes", "1", "--files", "2", "--mutants", "180", "--seed", "7", "--kills", "10"]
    code = torture.main([*few, "--data", str(shared / "data" / "odd")])
    printed = capsys.readouterr().out
    assert code == 0, printed
    last = printed.splitlines()[-1]
    assert last.startswith("torture passed: 0 failures; odd: 8 files read, ")
    assert "; mutate: 180 files read, " in last


READERS = """
import os, signal
import numpy as np

def spin(path):
    while True:
        pass

def end(path):
    os.kill(os.getpid(), signal.SIGSEGV)

def refuse(path):
    raise ValueError(f"{path.name} is no such file")

def lack_the_name(path):
    raise ValueError("no such file")

def break_down(path):
    raise KeyError(path.name)

def swell(path):
    np.ones(1 << 29)

def give(path):
    path.read_bytes()

READERS = dict(globals())
"""
KINDS = {  # of outcome, its text, and whether it counts as a failure
    "give": ("data", "", False),
    "refuse": ("refused", "a.toml is no such file", False),
    "lack_the_name": ("bare", "ValueError: no such file", True),
    "break_down": ("bare", "KeyError", True),
    "swell": ("bare", "MemoryError", True),
    "end": ("crashed", "ended with -11", True),
    "spin": ("hung", "no answer", True),
}


def test_what_must_not_happen_is_found(torture: ModuleType, tmp_path: Path, monkeypatch) -> None:
    import reading

    monkeypatch.setattr(reading, "LIMIT_S", 0.3)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_readers.py").write_text(READERS)
    (tmp_path / "a.toml").write_bytes(b"x" * 100)
    (tmp_path / "work").mkdir()
    process = reading.Reader(tmp_path / "work", module="own_readers")
    outcomes = {}
    try:
        for name in (*KINDS, "give"):  # the last in a process that was started again
            outcomes[name] = process.read(reading.Task(name, tmp_path / "a.toml"))
    finally:
        process.stop()
    for name, (kind, text, failed) in KINDS.items():
        assert (outcomes[name].kind, outcomes[name].failed) == (kind, failed), name
        assert text in outcomes[name].text
    decoder = outcomes["end"]._replace(task=outcomes["end"].task._replace(may_crash=True))
    assert not decoder.failed
    assert torture.summary("odd", [decoder, decoder]) == "odd: 2 files read, 2 crashed"


@pytest.mark.usefixtures("torture")
def test_mutations_are_drawn_from_the_seed_and_change_the_file() -> None:
    from mutations import mutate

    text = b'{"a": 1, "b": [2, 3]}\n' * 20
    made = [mutate(text, np.random.default_rng((0, n)), other=b"other" * 50) for n in range(60)]
    again = mutate(text, np.random.default_rng((0, 7)), other=b"other" * 50)
    assert made[7] == again
    assert len(set(made)) > 50
    assert sum(each == text for each in made) < 5


def test_work_done_too_often_and_bytes_that_differ_are_found(
    torture: ModuleType, tmp_path: Path
) -> None:
    """A run of 40 clips, of which one was tried three times and killed once."""
    import kills

    from idt.jobs.manifest import DONE, Manifest, Row

    victims = []
    for name in ("calm", "killed"):
        victim = kills.Victim(tmp_path, tmp_path / name, np.random.default_rng(0))
        tracks = victim.folder / kills.TRACKS
        tracks.mkdir()
        (tracks / "a.h5").write_bytes(b"same")
        (victim.folder / kills.ENCODINGS).write_text(name)
        with Manifest(tracks / "manifest.sqlite") as manifest:
            manifest.put(Row(f"clip{n:02}", DONE, 3 if n == 5 else 1) for n in range(kills.N_CLIPS))
        lines = [f"7 clip{n:02}\n" for n in range(kills.N_CLIPS)]
        (victim.folder / kills.LOG).write_text("".join([*lines, lines[3], "8 cl"]))
        victims.append(victim)
    calm, killed = victims
    killed.hits[kills.TRACKS].update(["clip05"])
    killed.check(calm.folder)
    assert killed.failures == [
        "kill: encodings.h5 differs from the undisturbed run's",
        "kill: tracks: clip05 was worked on 3 times, killed 1 times",
        "kill: encodings.h5: clip03 was worked on 2 times, killed 0 times",
    ]
    killed.failures.clear()
    killed.hits[kills.TRACKS].update(["clip05"])
    killed.hits[kills.ENCODINGS].update(["clip03"])
    (killed.folder / kills.ENCODINGS).write_text("calm")
    killed.check(calm.folder)
    assert killed.failures == []


def test_processes_that_another_thread_started_are_seen(torture: ModuleType) -> None:
    """The pool's thread starts the workers."""
    import kills

    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    started: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
    seen = threading.Event()

    def start() -> None:
        started.put(subprocess.Popen(sleep))
        seen.wait()

    thread = threading.Thread(target=start)
    thread.start()
    child = started.get()
    try:
        assert kills.Process(child.pid, False) in list(kills.descendants(os.getpid()))
    finally:
        seen.set()
        thread.join()
        child.kill()
        child.wait()
