"""A Dask cluster as an executor."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

CONNECT_SECONDS = 10.0  # a busy scheduler may take some


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Connect to a Dask cluster.

    Its workers need this package, OpenCV and NumPy in the same versions, or their items are lost,
    and the folders under the same names; give absolute paths. Give each worker one thread
    (``dask worker --nthreads 1``); limits of time and memory are the cluster's own.
    A worker that dies is the scheduler's to replace: it gives the item to another, and gives it up
    after as many deaths as its setting ``allowed-failures`` says.

    Parameters
    ----------
    address
        Of the scheduler, as ``tcp://host:8786``.

    Yields
    ------
    concurrent.futures.Executor
        For `run`; it is closed with the connection.

    Raises
    ------
    ImportError
        The package distributed is not installed.
    ConnectionError
        No scheduler answers there within 10 seconds.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "scheduler must be left out without the package distributed; pip install "
            "trajfuse[cluster]"
        ) from error
    try:
        client = Client(address, set_as_default=False, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"scheduler must be the address of a Dask scheduler that answers, got {address!r}: "
            f"{' '.join(str(error).split())}; start one with dask scheduler"
        ) from error
    with client:
        yield client.get_executor(pure=False)
