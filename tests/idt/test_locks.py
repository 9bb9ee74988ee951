"""One writer at a time, whatever becomes of it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from idt import locks

HOLD = """
import sys
from idt.locks import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(path: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(locks.__file__).parents[1]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_the_second_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    process = start_holder(path)
    try:
        name = f"process {process.pid} on {socket.gethostname()} since 20"
        with pytest.raises(locks.HeldError, match=f"one process at a time, got {name}"):
            with locks.hold(path):
                pass
        assert (locks.holder(path) or "").startswith(name)
    finally:
        process.communicate(b"")
    assert list(tmp_path.iterdir()) == []
    assert locks.holder(path) is None
    with locks.hold(path):
        assert (locks.holder(path) or "").startswith(f"process {os.getpid()} ")


def test_a_killed_holder_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    process = start_holder(path)
    process.kill()
    process.communicate()
    assert [each.name for each in tmp_path.iterdir()] == ["a.h5.lock"]
    assert locks.holder(path) is None
    with locks.hold(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locks.hold(tmp_path / "a"):
        raise KeyError
    with locks.hold(tmp_path / "a"), pytest.raises(locks.HeldError), locks.hold(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match=r"has no locks \(No locks available\)"):
        with locks.hold(tmp_path / "a"):
            pass
