"""The same function over many files: workers, progress, failures that stop nothing, resuming.

`run` calls a function once per item in any `concurrent.futures.Executor`: its own `WorkerPool` of
spawned processes, a Dask cluster's (`cluster`), or another. Results come back in the order of the
items, and are the same whatever works on them. `idt.jobs.folder.ResultFolder` keeps them in a
folder, with a manifest that says what became of each, and goes on where an earlier run stopped;
`idt.jobs.upkeep` tells about such a folder. Files that hold results are written whole or not at
all, and know the content and the settings they come from.
"""

from idt.jobs.dask_cluster import cluster
from idt.jobs.files import file_key, whole_file
from idt.jobs.outcome import DiskFull, Outcome, WorkerCrashed, WorkerLost
from idt.jobs.pool import WorkerPool
from idt.jobs.progress import Tally, progress
from idt.jobs.running import Workers, run

__all__ = [
    "DiskFull",
    "Outcome",
    "Tally",
    "WorkerCrashed",
    "WorkerLost",
    "WorkerPool",
    "Workers",
    "cluster",
    "file_key",
    "progress",
    "run",
    "whole_file",
]
