"""The same function over many files: worker processes, progress, failures that stop nothing.

Workers are spawned, not forked (threads of numba, OpenCV and torch do not survive a fork), and each
is held to one thread of BLAS, OpenCV and OpenMP, so that `workers` is the number of busy cores.
Results come back in the order of the items, whatever the number of workers. Files that hold results
are written whole or not at all, and are named after the content and the settings they come from.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
Value = TypeVar("Value")

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: its value, or the error that it raised."""

    item: Item
    value: Value | None = None
    error: Exception | None = None

    def result(self) -> Value:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None is a value where Value allows it


def run(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    label: str,
    workers: int = 1,
    verbose: bool = False,
) -> list[Outcome[Item, Value]]:
    """Call a function once per item and keep going when an item fails.

    Parameters
    ----------
    function
        Takes one item. With more than one worker it and its results must pickle.
    items
        The work, one entry each.
    label
        What the progress bar calls the work.
    workers
        Number of processes, at least 1; 1 works in this process.
    verbose
        Show a progress bar with the time left on standard error.

    Returns
    -------
    list of Outcome
        One per item, in the order of `items`.

    Raises
    ------
    ValueError
        `workers` is less than 1.
    ChildProcessError
        A worker process died (out of memory, or killed); names the first item it left unfinished.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; give a number of processes")
    items = list(items)
    if min(workers, len(items)) <= 1:
        bar = progress(items, label=label, verbose=verbose)
        return [_attempt(function, item) for item in bar]
    with _executor(min(workers, len(items))) as executor:
        futures = [executor.submit(_attempt, function, item) for item in items]
        try:
            for _ in progress(
                as_completed(futures), label=label, total=len(items), verbose=verbose
            ):
                pass
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        return [_collect(future, item) for future, item in zip(futures, items, strict=True)]


def progress(
    iterable: Iterable[Item], *, label: str, total: int | None = None, verbose: bool = False
) -> Iterator[Item]:
    """Yield from an iterable under a progress bar with elapsed and remaining time.

    Parameters
    ----------
    iterable
        What is worked through.
    label
        What the bar calls the work.
    total
        Number of entries, where `iterable` has no length.
    verbose
        False yields silently.
    """
    if not verbose:
        yield from iterable
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(iterable, total=total, description=label)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it becomes `path` when the block ends well.

    After an error nothing is left: a file that stood at `path` is as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r}; make it, or write elsewhere")
    descriptor, name = tempfile.mkstemp(
        prefix=f".{path.stem[:40]}.", suffix=path.suffix, dir=path.parent
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def file_key(path: str | Path, settings: Mapping[str, Any]) -> str:
    """Name what is computed from a file under given settings: 20 hexadecimal digits.

    The key changes with the file's path, size and time of change, and with any setting; of a
    folder, with those of the files in it.
    """
    path = Path(path).resolve()
    status = path.stat()
    content = [str(path), status.st_size, status.st_mtime_ns, settings]
    if path.is_dir():
        entries = [(entry.name, entry.stat()) for entry in os.scandir(path)]
        content.append(sorted((name, each.st_size, each.st_mtime_ns) for name, each in entries))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _attempt(function: Callable[[Item], Value], item: Item) -> Outcome[Item, Value]:
    try:
        return Outcome(item, value=function(item))
    except Exception as error:
        return Outcome(item, error=error)


def _collect(future: Future[Outcome[Item, Value]], item: Item) -> Outcome[Item, Value]:
    """Outcome of a finished future; a worker that died ends the run."""
    try:
        return future.result()
    except BrokenExecutor as error:
        raise ChildProcessError(
            f"a worker process died before {item!r} was done; it may have run out of memory: "
            "try fewer workers"
        ) from error


def _executor(workers: int) -> Executor:
    """Spawned worker processes, one thread each."""
    return ProcessPoolExecutor(
        max_workers=workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_hold_to_one_thread,
    )


def _hold_to_one_thread() -> None:
    """Keep a worker's libraries to one thread each."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(1)
