"""One process at a time writes what stands at a path; the next one is told who does.

The lock is the kernel's (``flock``) on a file beside the path, so that it ends with its process,
however that ends, and is never left behind shut. What the file says serves the message alone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".lock"
# Of file systems that have no such locks, as some of clusters.
WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class HeldError(OSError):
    """Another process is writing what this one would write; says which, where and since when."""


@contextmanager
def hold(path: str | Path) -> Iterator[None]:
    """Be the only process that writes a path, until the block ends.

    Parameters
    ----------
    path
        Of what is written; the lock is the file of its name with ``.lock``, which is removed
        behind the block. A killed process leaves it, and it holds nobody up.

    Raises
    ------
    HeldError
        Another process holds it.

    Warns
    -----
    UserWarning
        The folder's file system has no locks: nobody is kept out.
    """
    path = Path(path)
    place = path.with_name(path.name + SUFFIX)
    descriptor = _locked(place, path)
    try:
        said = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(said).encode(), 0)
        yield
    finally:
        place.unlink(missing_ok=True)  # before it is let go: whoever waits sees that it is gone
        os.close(descriptor)


def holder(path: str | Path) -> str | None:
    """Say who is writing a path, as in ``process 12 on host since 12:00``; None where nobody is."""
    path = Path(path)
    place = path.with_name(path.name + SUFFIX)
    try:
        descriptor = os.open(place, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return _told(descriptor) if error.errno in (errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(descriptor)
    return None


def _locked(place: Path, path: Path) -> int:
    """Descriptor of a lock that is held, and whose file still stands where it was found."""
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in WITHOUT:
                warnings.warn(
                    f"{str(path.parent)!r} has no locks ({error.strerror}): see to it that one "
                    "process alone writes there",
                    stacklevel=4,
                )
                return descriptor
            told = _told(descriptor)
            os.close(descriptor)
            raise HeldError(
                f"{str(path)!r} must be written by one process at a time, got {told} at it; wait "
                "for it, or write elsewhere"
            ) from error
        if _is_there(place, descriptor):
            return descriptor
        os.close(descriptor)  # its holder has finished and removed it meanwhile


def _is_there(place: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(place), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _told(descriptor: int) -> str:
    """What the holder wrote about itself."""
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (ValueError, KeyError, TypeError):  # it has not written it yet
        return "another process"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
