"""One run at a time: locks that name who holds them, and go with the process that does."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

TRIES = (0.02, 0.05, 0.1)  # seconds between looks at a lock that is held


class Busy(RuntimeError):
    """Somebody else holds a lock; says who."""


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file while the block runs.

    The system gives the lock back when its holder ends, however that ends: a dead holder's lock is
    free. The file stays, and says who holds it, or nothing.

    Parameters
    ----------
    path
        Of the lock's file; made where it is not there.
    shared
        Share it with others who do so; who they are is not written down.

    Raises
    ------
    Busy
        Somebody holds it.
    OSError
        The file system has no locks.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            if not _taken(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
                raise Busy(_told(path))
        except OSError as error:
            raise OSError(
                f"folder must be on a file system with locks, got {str(path)!r}, which cannot be "
                f"locked ({error.strerror}); write elsewhere"
            ) from error
        if shared:
            yield
            return
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        file.truncate(0)
        json.dump(holder, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(path: Path) -> str | None:
    """Who holds a lock alone, in words; None where nobody does."""
    if not path.exists():
        return None
    with path.open("r", encoding="utf-8") as file:
        return None if _taken(file, fcntl.LOCK_SH) else _told(path)


def _taken(file: IO[str], kind: int) -> bool:
    """Take a lock; whoever looks whether it is free holds it for an instant, so try some times."""
    for wait in (*TRIES, None):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is not None:
                time.sleep(wait)
        else:
            return True
    return False


def _told(path: Path) -> str:
    """What the holder wrote down."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"process {held['pid']} on {held['host']}, since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a run that has just begun"
