"""The same function over many files: worker processes, progress, and failures that stop nothing.

Workers are spawned, not forked (threads of numba, OpenCV and torch do not survive a fork), and each
is held to one thread of BLAS, OpenCV and OpenMP, so that `workers` is the number of busy cores.
Results come back in the order of the items, whatever the number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
)
from dataclasses import dataclass
from typing import Generic, TypeVar

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
    RuntimeError
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
        raise RuntimeError(
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
