"""A few threads that share the work on one video's frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


class Crew:
    """Threads that take tasks in the order in which they came.

    The thread that waits for a result works, too: `threads` is the number of busy processors. A
    task may wait for one that was submitted before it, and for no other.

    Parameters
    ----------
    threads
        At least 1; with 1 a task is done when its result is asked for.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}; give a number of threads")
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._helpers = [
            threading.Thread(target=self._help, daemon=True) for _ in range(threads - 1)
        ]
        for helper in self._helpers:
            helper.start()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop what nobody has begun, and end the threads."""
        while not self._tasks.empty():
            self._tasks.get()
        for _ in self._helpers:
            self._tasks.put(None)
        for helper in self._helpers:
            helper.join()

    def submit(
        self,
        function: Callable[Arguments, Value],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Future[Value]:
        """Queue a call."""
        future: Future[Value] = Future()

        def task() -> None:
            try:
                future.set_result(function(*arguments, **options))
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(task)
        return future

    def result(self, future: Future[Value]) -> Value:
        """Wait for a result, and work meanwhile."""
        while not future.done():
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task is not None:
                task()
        return future.result()

    def _help(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
