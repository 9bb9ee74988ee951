"""How far a run has come: a bar in a terminal, seldom a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")

SECONDS_A_LINE = 30.0
PERIODS = (("s", 1.0), ("min", 60.0), ("h", 3600.0))  # a rate is told in the first that gives >= 1


@dataclass
class Tally:
    """Counts of a run, and what follows from them.

    Times are differences of a monotonic clock: a clock that is set meanwhile changes nothing.

    Attributes
    ----------
    total
        Number of items to work on; None where nobody knows.
    done
        Number of items that are through, failed ones among them.
    failed
        Number that failed.
    """

    total: int | None
    done: int = 0
    failed: int = 0
    _begun: float = field(default_factory=time.monotonic, repr=False)

    def step(self, *, failed: bool = False) -> None:
        """Count one more item."""
        self.done += 1
        self.failed += failed

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    @property
    def rate(self) -> float:
        """Items a second, over the whole run so far."""
        return self.done / max(self.elapsed, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at this rate; None where nobody can tell."""
        if self.total is None or not self.done:
            return None
        return (self.total - self.done) * self.elapsed / self.done

    def as_dict(self) -> dict[str, Any]:
        """Numbers for machines: counts, items a second, seconds."""
        left = self.left
        return {
            "done": self.done,
            "total": self.total,
            "failed": self.failed,
            "rate": round(self.rate, 4),
            "elapsed": round(self.elapsed, 2),
            "left": None if left is None else round(left, 1),
        }

    def line(self) -> str:
        """The same for people."""
        parts = [f"{self.done} of {self.total}" if self.total is not None else f"{self.done}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(rate_text(self.rate))
        if self.left:
            parts.append(f"{duration_text(self.left)} left")
        else:
            parts.append(f"in {duration_text(self.elapsed)}")
        return ", ".join(parts)


def rate_text(rate: float) -> str:
    """Items a second, as in ``12.5/min``."""
    for name, seconds in PERIODS:
        if rate * seconds >= 1 or name == PERIODS[-1][0]:
            break
    return f"{rate * seconds:.1f}/{name}"


def duration_text(seconds: float) -> str:
    """Seconds, as in ``2 d 03:04:05``."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hours:02d}:{minutes:02d}:{whole:02d}"


def progress(
    iterable: Iterable[Item], *, label: str, total: int | None = None, verbose: bool = False
) -> Iterator[Item]:
    """Yield from an iterable and show on standard error how far it is.

    Parameters
    ----------
    iterable
        What is worked through.
    label
        What the work is called.
    total
        Number of entries, where `iterable` has no length.
    verbose
        False yields silently.
    """
    if total is None:
        total = getattr(iterable, "__len__", lambda: None)()
    with meter(Tally(total), label=label, verbose=verbose) as show:
        for each in iterable:
            yield each
            show()


@contextmanager
def meter(
    tally: Tally, *, label: str, verbose: bool, count: bool = True
) -> Iterator[Callable[..., None]]:
    """Show a tally on standard error while the block runs.

    The callable that is given counts an item (``failed=True`` for one that failed), unless `count`
    is off, and shows what is new: in a terminal as a bar, elsewhere as a line every half a minute
    and at the end.
    """
    with _shown(tally, label) if verbose else _silent() as show:

        def step(*, failed: bool = False) -> None:
            if count:
                tally.step(failed=failed)
            show()

        yield step


@contextmanager
def _silent() -> Iterator[Callable[[], None]]:
    yield lambda: None


def _shown(tally: Tally, label: str) -> Any:
    return _bar(tally, label) if sys.stderr.isatty() else _lines(tally, label)


@contextmanager
def _lines(tally: Tally, label: str) -> Iterator[Callable[[], None]]:
    """Plain lines, for files and other programs."""
    told = time.monotonic()

    def show() -> None:
        nonlocal told
        if time.monotonic() - told >= SECONDS_A_LINE and tally.done != tally.total:
            told = time.monotonic()
            print(f"{label}: {tally.line()}", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print(f"{label}: {tally.line()}", file=sys.stderr, flush=True)


@contextmanager
def _bar(tally: Tally, label: str) -> Iterator[Callable[[], None]]:
    """A bar, in a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=tally.total, note="")

        def show() -> None:
            failed = f", {tally.failed} failed" if tally.failed else ""
            note = f"{rate_text(tally.rate)}{failed}"
            bar.update(task, completed=tally.done, note=note)

        yield show
