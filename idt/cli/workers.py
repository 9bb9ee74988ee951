"""What commands that work through many videos share: who works on them, and within which limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from idt import jobs

MANY = 8  # processes; more are seldom faster on one disk, and each takes memory

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Processes that work on videos, one each. Default: the processors there are, up to "
        f"{MANY}.",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT",
        help="Work on videos in a Dask cluster that sees the same folders: its scheduler.",
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Give up work on a video that takes longer."),
]
Memory = Annotated[
    float | None,
    typer.Option(metavar="GB", help="Give up work on a video that takes more memory."),
]


@contextmanager
def open_workers(
    workers: int | None,
    *,
    scheduler: str | None,
    time_limit: float | None,
    memory: float | None,
    default: int | None = None,
    apart: bool = False,
    prepare: Callable[[], object] | None = None,
) -> Iterator[jobs.Workers]:
    """Make what the options of a command line ask for, and close it in the end.

    Parameters
    ----------
    workers
        Number of processes; None for `default`.
    scheduler
        Address of a Dask cluster's, in place of processes and limits.
    time_limit, memory
        Seconds that work on one video may take, and gigabytes that a process may hold.
    default
        Number of processes where none is given; None for `workers_or_default`'s.
    apart
        Work in another process even where there is one without limits, so that a decoder that
        crashes there costs one video.
    prepare
        As for `idt.jobs.WorkerPool`; a cluster does without.

    Yields
    ------
    Executor or int
        For `idt.jobs.run` and all that has its `workers`.

    Raises
    ------
    ValueError
        A number that cannot be, or a scheduler beside others.
    ConnectionError, ImportError
        As for `idt.jobs.cluster`.
    """
    from idt.jobs import WorkerPool, cluster

    if scheduler is not None:
        asked = {"workers": workers, "time-limit": time_limit, "memory": memory}
        for name, value in asked.items():
            if value is not None:
                raise ValueError(
                    f"{name} must be left out with --scheduler, got {value}; the cluster has its "
                    "own workers and limits"
                )
        with cluster(scheduler) as executor:
            yield executor
        return
    count = default if workers is None and default is not None else workers_or_default(workers)
    if count == 1 and time_limit is None and memory is None and not apart:
        yield count
        return
    with WorkerPool(
        count,
        time_limit=time_limit,
        memory=None if memory is None else memory * 1e9,
        prepare=prepare,
    ) as pool:
        yield pool


def workers_or_default(workers: int | None) -> int:
    """Number of processes: as given, or the processors there are, up to `MANY`."""
    return min(os.cpu_count() or 1, MANY) if workers is None else workers


def threads_beside(workers: int | None, scheduler: str | None) -> int:
    """Threads for each process, so that all together keep the processors busy; 1 in a cluster."""
    if scheduler is not None:
        return 1
    return max((os.cpu_count() or 1) // max(workers_or_default(workers), 1), 1)
