"""What runs in a worker process."""

from __future__ import annotations

import functools
import os
import pickle
import platform
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from idt.jobs.outcome import WorkerLost

READY, BEGUN, VALUE, ERROR = "ready", "begun", "value", "error"  # what a worker says
TERMINATED = 128 + signal.SIGTERM  # exit code, as shells tell it

PACKAGES = ("trajfuse", "opencv-contrib-python", "numpy")  # on which numbers depend
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def work(connection: Connection, threads: int, prepare: bytes) -> None:
    """Take calls from a connection, one at a time, and send back what comes of them.

    First, what `prepare` holds pickled is called; unpacked here, it finds threads held already.
    Ctrl-C is the parent's to handle. SIGTERM unwinds the call at hand, so that its temporary files
    go. A worker never outlives its parent, however that ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    hold_to_threads(threads)
    pickle.loads(prepare)()
    with suppress(EOFError, OSError):  # at the pipe's other end nobody waits any more
        connection.send((READY, None))
        while True:
            connection.send_bytes(_answer(connection.recv_bytes(), connection))


def hold_to_threads(threads: int) -> None:
    """Keep BLAS, OpenMP, numba, OpenCV and torch of this process to a number of threads.

    Those that are not loaded yet find it in the environment.
    """
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    loaded = sys.modules
    if "numpy" in loaded:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
    if "cv2" in loaded:
        loaded["cv2"].setNumThreads(threads)
    if "torch" in loaded:
        loaded["torch"].set_num_threads(threads)
    if "numba" in loaded:
        _hold_numba(threads)


def _hold_numba(threads: int) -> None:
    """Limit numba's threads: it refuses another number in the environment once they run."""
    from numba import get_num_threads, set_num_threads
    from numba.np.ufunc import parallel

    if parallel._is_initialized:
        os.environ["NUMBA_NUM_THREADS"] = str(parallel.NUM_THREADS)
        set_num_threads(min(threads, get_num_threads()))


@dataclass(frozen=True)
class Home:
    """The process that gives calls away, which others have to be like.

    Attributes
    ----------
    process
        Name of the machine, and number of the process there.
    versions
        Of the packages that decide numbers.
    """

    process: tuple[str, int]
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Home:
        """What calls from this process say of it."""
        return cls((platform.node(), os.getpid()), versions())


def versions() -> dict[str, str]:
    """Versions of the packages that decide numbers, by name."""
    return {name: _version(name) for name in PACKAGES}


_version = functools.cache(version)  # looks in files


def held(home: Home, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of somebody else's, held to one thread there.

    Parameters
    ----------
    home
        Where the call comes from. There, threads are left alone.
    function, arguments
        The call.

    Raises
    ------
    WorkerLost
        This process has other versions, and would give other results.
    """
    here = Home.here()
    if home.process != here.process:
        if home.versions != here.versions:
            raise WorkerLost(
                f"its worker must have the versions {home.versions}, got {here.versions}"
            )
        _hold_once(threading.get_ident())  # OpenMP has a limit a thread
    return function(*arguments)


@functools.cache
def _hold_once(thread: int) -> None:
    hold_to_threads(1)


def _answer(call: bytes, connection: Connection) -> bytes:
    """Make a call and pack its value, or its error."""
    try:
        function, arguments, options = pickle.loads(call)  # imports what the call needs
        connection.send((BEGUN, None))
        return pickle.dumps((VALUE, function(*arguments, **options)))
    except Exception as error:
        try:
            return pickle.dumps((ERROR, error))
        except Exception:
            return pickle.dumps((ERROR, RuntimeError(f"{type(error).__name__}: {error}")))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
