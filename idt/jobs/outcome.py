"""What becomes of one item, and the two failures that are not the item's own fault."""

from __future__ import annotations

import errno
import os
import pickle
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: its value, or the error that it raised.

    Attributes
    ----------
    item
        What the function was called with.
    value
        What it returned; None after an error.
    error
        What it raised, or a `WorkerLost`, whose text is the reason alone; None where all went well.
    seconds
        Of the last try, by a clock that never jumps; 0 where the worker was lost.
    tries
        How often it was begun in this run: 2 where a worker was lost.
    """

    item: Item
    value: Value | None = None
    error: Exception | None = None
    seconds: float = 0.0
    tries: int = 1

    @property
    def refused(self) -> bool:
        """Whether the item itself cannot be used: a ValueError, an OSError, or a decoder's crash.

        A worker that was lost in another way may be the machine's fault.
        """
        if isinstance(self.error, WorkerLost):
            return isinstance(self.error, WorkerCrashed)
        return isinstance(self.error, ValueError | OSError)

    def result(self) -> Value:
        """Return the value, or raise the error; a `WorkerLost` then names the item, too."""
        if isinstance(self.error, WorkerLost):
            raise WorkerLost(
                f"every item must come through, got {_name(self.item)!r} lost: {self.error}; run "
                "again to go on from here, within other limits, or leave it out"
            ) from self.error
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None is a value where Value allows it


class WorkerLost(ChildProcessError):
    """A worker that died, or was ended for taking too long or too much memory, and why."""


class WorkerCrashed(WorkerLost):
    """A worker that died of a fault in native code, as a decoder's over a broken file."""


class DiskFull(OSError):
    """There is no room to write to; nothing else can be done before there is some."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.ENOSPC, reason)

    def __str__(self) -> str:
        return (
            f"the disk must have room, got {self.strerror}; make room and run again: what was done "
            "is kept"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return DiskFull, (self.strerror,)


def attempt(function: Callable[[Item], Value], item: Item) -> Outcome[Item, Value]:
    """Call a function and keep its error; one about a full disk says so."""
    begun = time.perf_counter()
    value: Value | None = None
    error: Exception | None = None
    try:
        value = function(item)
    except DiskFull as raised:
        error = raised
    except Exception as raised:
        error = DiskFull(" ".join(str(raised).split())) if is_disk_full(raised) else raised
    return Outcome(item, value, error, time.perf_counter() - begun)


def attempt_afar(function: Callable[[Item], Value], item: Item) -> Outcome[Item, Value]:
    """`attempt`, in a worker: an error that cannot travel is told by one that can."""
    outcome = attempt(function, item)
    if outcome.error is not None:
        try:
            pickle.loads(pickle.dumps(outcome.error))
        except Exception:
            told = RuntimeError(f"{type(outcome.error).__name__}: {outcome.error}")
            return replace(outcome, error=told)
    return outcome


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it comes from, says that the disk is full."""
    return any(
        getattr(each, "errno", None) in FULL
        or getattr(each, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or os.strerror(errno.ENOSPC) in str(each)
        for each in _chain(error)
    )


def _name(item: object) -> str:
    """What an item is called: a path or text, of several the first."""
    parts = item if isinstance(item, tuple) else (item,)
    return next((str(part) for part in parts if isinstance(part, str | os.PathLike)), repr(item))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
