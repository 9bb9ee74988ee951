"""One function over many items, in any executor."""

from __future__ import annotations

import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from typing import Any

from idt.jobs.outcome import DiskFull, Item, Outcome, Value, WorkerLost, attempt, attempt_afar
from idt.jobs.pool import WorkerPool
from idt.jobs.progress import Tally, meter
from idt.jobs.worker import TERMINATED, Home, held

Workers = int | Executor  # a number of processes on this machine, or what else works on items

TRIES = 2  # of an item whose worker was lost
WINDOW = 1000  # items that another executor holds at once: it deals them out itself


def run(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    label: str,
    workers: Workers = 1,
    strict: bool = False,
    begin: Callable[[int], None] | None = None,
    each: Callable[[int, Outcome[Item, Value]], None] | None = None,
    tally: Tally | None = None,
    verbose: bool = False,
) -> list[Outcome[Item, Value]]:
    """Call a function once per item and keep going when an item fails.

    An item whose worker dies, hangs or takes too much memory (see `WorkerPool`) is tried once more,
    in a new worker, and then counts as failed. SIGTERM, where nothing else handles it, ends the run
    as Ctrl-C does: workers have two seconds to unwind.

    Parameters
    ----------
    function
        Takes one item. But in this process, it and its results must pickle.
    items
        The work, one entry each.
    label
        What the progress calls the work.
    workers
        Number of processes, at least 1, where 1 works in this process; or any executor. One with
        limits, or with processes even for one worker, is a `WorkerPool`; a cluster's comes from
        `cluster`. An executor stays open, but for a `WorkerPool` that is stopped by an error.
    strict
        Stop at the first item that fails, with its error.
    begin
        Called here with the number of an item that is given to a worker, at every try.
    each
        Called here with the number of an item and its outcome, as they come.
    tally
        Counts the items; None makes one.
    verbose
        Show progress with the rate and the time left on standard error.

    Returns
    -------
    list of Outcome
        One per item, in the order of `items`.

    Raises
    ------
    ValueError
        `workers` is less than 1.
    DiskFull
        An item found no room to write to. What is done is kept; the rest is dropped.
    ChildProcessError
        The executor cannot work at all any more.
    Exception
        With `strict`, what the first item failed with.
    """
    if not isinstance(workers, Executor) and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; give a number of processes")
    items = list(items)
    outcomes: list[Any] = [None] * len(items)
    tally = Tally(len(items)) if tally is None else tally
    begin = begin or _ignore

    with unwound_by_sigterm(), meter(tally, label=label, verbose=verbose) as show:

        def finish(index: int, outcome: Outcome[Item, Value]) -> None:
            if isinstance(outcome.error, DiskFull):
                raise outcome.error
            outcomes[index] = outcome
            show(failed=outcome.error is not None)
            if each is not None:
                each(index, outcome)
            if strict:
                outcome.result()

        if isinstance(workers, Executor):
            _spread(function, items, workers, begin, finish)
        elif min(workers, len(items)) <= 1:
            for index, item in enumerate(items):
                begin(index)
                finish(index, attempt(function, item))
        else:
            with WorkerPool(min(workers, len(items))) as pool:
                _spread(function, items, pool, begin, finish)
    return outcomes


def _spread(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    executor: Executor,
    begin: Callable[[int], None],
    finish: Callable[[int, Outcome[Item, Value]], None],
) -> None:
    """Work through items in an executor."""
    is_ours, home = isinstance(executor, WorkerPool), Home.here()
    window = executor.workers if isinstance(executor, WorkerPool) else WINDOW
    waiting = deque((index, 1) for index in range(len(items)))
    given: dict[Future[Any], tuple[int, int]] = {}
    done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def give() -> None:
        while waiting and len(given) < window:
            index, n_try = waiting.popleft()
            begin(index)
            if is_ours:
                future = executor.submit(attempt_afar, function, items[index])
            else:
                future = executor.submit(held, home, attempt_afar, function, items[index])
            given[future] = index, n_try
            future.add_done_callback(done.put)

    try:
        give()
        while given:
            future = done.get()
            index, n_try = given.pop(future)
            outcome = _outcome(future, items[index], n_try)
            if is_ours and isinstance(outcome.error, WorkerLost) and n_try < TRIES:
                waiting.appendleft((index, n_try + 1))
                give()
            else:
                give()  # first: no worker waits until this is written down
                finish(index, outcome)
    except BaseException as error:
        for future in given:
            future.cancel()
        if isinstance(executor, WorkerPool):
            executor.stop()
        if isinstance(error, BrokenExecutor):
            raise ChildProcessError(str(error)) from error
        raise


def _outcome(future: Future[Any], item: Item, n_try: int) -> Outcome[Item, Any]:
    """Outcome of a future that is done; what stands in the way of one is a lost worker."""
    try:
        outcome = future.result()
    except WorkerLost as error:
        return Outcome(item, error=error, tries=n_try)
    except BrokenExecutor:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(item, error=WorkerLost(f"no result came back ({reason})"), tries=n_try)
    return Outcome(item, outcome.value, outcome.error, outcome.seconds, n_try)


@contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that what is open is closed; but where it has a handler."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _ignore(index: int) -> None:
    """Do nothing with the number of an item that begins."""
