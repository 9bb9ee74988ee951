"""What a method takes: time on the clock, and memory of this process and those that it started."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.05  # seconds from one look at the memory to the next
PROCESSES = Path("/proc")
NOTHING = "nothing"  # what a recogniser that starts from scratch was trained on before


@dataclass
class Effort:
    """What a block took, known once it has ended.

    `peak_bytes` is the largest sum of resident memory of this process and of all that it started,
    looked at every `INTERVAL` seconds; a page that processes share counts once for each. It is None
    where the system has no ``/proc`` that tells.
    """

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextlib.contextmanager
def measured() -> Iterator[Effort]:
    """Measure a block; what `Effort` says is complete when the block has ended well or not."""
    effort = Effort(peak_bytes=resident_bytes(os.getpid()))
    ended = threading.Event()

    def look() -> None:
        now = resident_bytes(os.getpid())
        if now is not None:
            effort.peak_bytes = max(now, effort.peak_bytes or 0)

    def watch() -> None:
        while not ended.wait(INTERVAL):
            look()

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    clock = time.perf_counter()
    watcher.start()
    try:
        yield effort
    finally:
        effort.seconds = time.perf_counter() - clock
        ended.set()
        watcher.join()
        look()


def resident_bytes(process: int) -> int | None:
    """Resident memory of a process and of all that it started; None where nothing tells."""
    folder = PROCESSES / str(process)
    try:
        n_pages = int((folder / "statm").read_text().split()[1])
        started = _started(folder)
    except (OSError, ValueError, IndexError):  # no such system, or the process has ended
        return None
    of_children = (resident_bytes(child) or 0 for child in started)
    return n_pages * os.sysconf("SC_PAGE_SIZE") + sum(of_children)


def largest_alive() -> int:
    """Peak resident bytes of the largest process that this one started and that lives; else 0."""
    peaks = [0]
    with contextlib.suppress(OSError):  # no such system
        for child in _started(PROCESSES / str(os.getpid())):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                status = (PROCESSES / str(child) / "status").read_text()
                found = re.search(r"^VmHWM:\s*([0-9]+) kB$", status, re.MULTILINE)
                peaks += [int(found[1]) * 1024] if found else []
    return max(peaks)


def _started(folder: Path) -> list[int]:
    """Numbers of the processes that one has started, by its folder in ``/proc``."""
    return [
        int(child)
        for thread in (folder / "task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


def trained_before(each: Iterable[str]) -> str:
    """Say what several recognisers were trained on before, each data set once."""
    named = dict.fromkeys(data for said in each for data in said.split("; "))
    return "; ".join(data for data in named if data != NOTHING) or NOTHING
