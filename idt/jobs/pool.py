"""Worker processes under supervision: one that dies, hangs or swells costs its call, not the run.

The standard library's pool breaks whole when a process dies. Here every worker has its own pipe,
and one thread waits on all pipes and all processes at once: it hands out calls, takes answers, and
puts a new worker in the place of one that is gone.

Memory is bounded by watching what a worker holds (its anonymous memory, Linux), not by RLIMIT_AS:
that limit counts addresses, of which torch, numba and the stacks of threads reserve gigabytes that
they never touch, and LLVM aborts where it is met. A worker that takes memory faster than it is
looked at may pass the bound for an instant.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from idt.jobs.outcome import WorkerCrashed, WorkerLost
from idt.jobs.worker import BEGUN, READY, VALUE, work

GRACE = 2.0  # seconds that a worker has to unwind before it is killed
FALSE_STARTS = 5  # workers in a row that end before they are ready; then something is wrong
WATCH = 0.2  # seconds from one look at the workers' memory to the next
IDLE = 30.0  # seconds without a call after which a worker goes, and its memory with it
LONGEST = 3600.0  # seconds of one wait, of which a system call takes no more than some weeks
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)


class _Call(NamedTuple):
    """A call that waits for a worker."""

    future: Future[Any]
    packed: bytes


@dataclass(eq=False)
class _Worker:
    """A process, and what it is at."""

    process: SpawnProcess
    connection: Connection
    ready: bool = False
    mute: bool = False  # its end of the pipe is closed
    call: _Call | None = None
    overtime: float | None = None  # when its call has taken too long, by the monotonic clock
    doom: str | None = None  # why it is being ended
    kill: float | None = None  # when it has had its time to unwind
    idle: float | None = None  # when it has waited long enough for a call


class WorkerPool(Executor):
    """An executor of spawned processes that outlives its workers.

    Workers are spawned, not forked (threads of numba, OpenCV and torch do not survive a fork), as
    many as there are calls for, and go when there are none for a while. Each is held to one thread
    of BLAS, OpenMP, numba, OpenCV and torch: `workers` is the number of busy processors, and
    results do not depend on it. Leaving the ``with`` block by an exception, Ctrl-C among them, ends
    them within seconds.

    Parameters
    ----------
    workers
        Number of processes, at least 1.
    threads
        Threads of each process's libraries. More than 1 changes the last digits of sums.
    time_limit
        Seconds that a call may take, not counting imports; None for no limit.
    memory
        Bytes that a worker may hold; None for no limit. Linux.
    prepare
        Called once in every worker before its first call, say to load kernels.

    Raises
    ------
    ValueError
        A number that cannot be, or a bound on memory where it cannot be watched.
    """

    def __init__(
        self,
        workers: int,
        *,
        threads: int = 1,
        time_limit: float | None = None,
        memory: float | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        for name, count in (("workers", workers), ("threads", threads)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}; give a number of {name}")
        for name, limit in (("time_limit", time_limit), ("memory", memory)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be above 0, got {limit}; leave it out for no limit")
        if memory is not None and not Path("/proc/self/status").exists():
            raise ValueError(
                f"memory must be left out on {sys.platform}, got {memory}; it is watched through "
                "Linux's /proc"
            )
        self.workers, self.threads = workers, threads
        self.time_limit, self.memory = time_limit, memory
        self._prepare = pickle.dumps(prepare or _nothing)
        self._context = multiprocessing.get_context("spawn")
        self._incoming: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._calls: deque[_Call] = deque()
        self._crew: list[_Worker] = []
        self._false_starts = 0
        self._lock = threading.Lock()  # of what submit and shutdown read and set
        self._closed = self._dropped = self._stopped = False
        self._broken: str | None = None
        self._woken, self._wake = multiprocessing.Pipe(duplex=False)
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **options: Any
    ) -> Future[Any]:
        """Queue a call; its future raises `WorkerLost` where the worker does not live to answer."""
        packed = pickle.dumps((function, arguments, options))
        future: Future[Any] = Future()
        with self._lock:
            if self._broken is not None:
                raise BrokenExecutor(self._broken)
            if self._closed:
                raise RuntimeError("the pool must be open, got a call after shutdown; make another")
            if not self._supervisor.is_alive():
                self._supervisor.start()
            self._incoming.put(_Call(future, packed))
            self._wake.send_bytes(b"call")
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let the workers go when all are answered."""
        self._dropped |= cancel_futures
        with self._lock:
            self._closed = True
            self._wake.send_bytes(b"close")
        if wait and self._supervisor.is_alive():
            self._supervisor.join()

    def stop(self) -> None:
        """Drop all calls and end the workers, within `GRACE` seconds and an instant."""
        self._stopped = True
        self.shutdown(cancel_futures=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what was asked for, or drop it after an exception."""
        if kind is None:
            self.shutdown()
        else:
            self.stop()

    def _supervise(self) -> None:
        """Run the crew until there is nothing left to do."""
        # Workers inherit the mask: Ctrl-C in a terminal, which goes to all, is the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            while self._has_work():
                self._hire()
                self._hand_out()
                self._listen()
                self._watch()
        except BaseException as error:  # whoever waits for a future must not wait forever
            self._broken = f"the supervisor of the workers failed: {error!r}"
            raise
        finally:
            self._dismiss()

    def _has_work(self) -> bool:
        """Take in what was submitted; False when the crew can go."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.append(self._incoming.get_nowait())
        while self._dropped and self._calls:
            self._calls.popleft().future.cancel()
        if self._stopped or self._broken is not None:
            return False
        busy = any(worker.call for worker in self._crew)
        return bool(self._calls) or busy or not self._closed

    def _hire(self) -> None:
        """Start as many workers as there are calls for."""
        wanted = len(self._calls) + sum(worker.call is not None for worker in self._crew)
        while len(self._crew) < min(wanted, self.workers):
            ours, theirs = multiprocessing.Pipe()
            process = self._context.Process(
                target=work, args=(theirs, self.threads, self._prepare), daemon=True
            )
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            self._crew.append(_Worker(process, ours))

    def _hand_out(self) -> None:
        """Give a call to every worker that has none."""
        for worker in self._crew:
            if not worker.ready or worker.call or worker.doom:
                continue
            while self._calls and worker.call is None:
                call = self._calls.popleft()
                if call.future.set_running_or_notify_cancel():
                    worker.call = call
            if worker.call is not None:
                worker.idle = None
                with contextlib.suppress(OSError):  # it is gone, which is found out next
                    worker.connection.send_bytes(worker.call.packed)

    def _listen(self) -> None:
        """Wait for an answer, an end or a time to act, and take what has come."""
        ends = [worker.process.sentinel for worker in self._crew]
        pipes = [worker.connection for worker in self._crew if not worker.mute]
        heard = set(wait([self._woken, *ends, *pipes], timeout=self._patience()))
        while self._woken.poll():
            self._woken.recv_bytes()
        for worker in list(self._crew):
            if worker.connection in heard:
                self._take(worker)
            if worker.process.sentinel in heard:
                self._lose(worker)

    def _patience(self) -> float | None:
        """Seconds until something has to be done unasked; None where nothing has."""
        times = [worker.overtime for worker in self._crew if worker.overtime is not None]
        times += [worker.kill for worker in self._crew if worker.kill is not None]
        times += [worker.idle for worker in self._crew if worker.idle is not None]
        if self.memory is not None and any(worker.call for worker in self._crew):
            times.append(time.monotonic() + WATCH)
        return min(max(min(times) - time.monotonic(), 0.0), LONGEST) if times else None

    def _take(self, worker: _Worker) -> None:
        """Take what a worker says."""
        try:
            kind, content = worker.connection.recv()
        except (EOFError, OSError):
            worker.mute = True
            return
        except Exception as error:  # an answer that cannot be unpacked here
            kind, content = "error", error
        if kind == READY:
            worker.ready, self._false_starts = True, 0
            worker.idle = time.monotonic() + IDLE
        elif kind == BEGUN:
            if self.time_limit is not None and not worker.doom:
                worker.overtime = time.monotonic() + self.time_limit
        elif worker.call is not None and not worker.doom:
            future, worker.call, worker.overtime = worker.call.future, None, None
            worker.idle = time.monotonic() + IDLE
            if kind == VALUE:
                future.set_result(content)
            else:
                future.set_exception(content)

    def _lose(self, worker: _Worker) -> None:
        """Strike a worker that has ended, and tell whoever waits for it."""
        while not worker.mute and worker.connection.poll():  # its last words
            self._take(worker)
        worker.process.join()
        self._crew.remove(worker)
        worker.connection.close()
        reason = worker.doom or f"its worker {_ending(worker.process.exitcode)}"
        if worker.call is not None:
            crashed = worker.doom is None and -(worker.process.exitcode or 0) in CRASHES
            lost = WorkerCrashed if crashed else WorkerLost
            worker.call.future.set_exception(lost(reason))
        elif not worker.ready:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                self._broken = (
                    f"worker processes must start, got {FALSE_STARTS} in a row that "
                    f"{_ending(worker.process.exitcode)} at once; in a script, call this under "
                    "if __name__ == '__main__', and see what they said on standard error"
                )

    def _watch(self) -> None:
        """End workers that took too long or too much; kill those that would not unwind."""
        now = time.monotonic()
        for worker in self._crew:
            if worker.kill is not None and now >= worker.kill:
                worker.process.kill()
                worker.kill = None
            elif worker.idle is not None and now >= worker.idle:
                worker.connection.close()  # which is what it ends by
                worker.mute, worker.idle, worker.doom = True, None, "it had nothing to do"
                worker.kill = now + GRACE
            elif worker.call is None or worker.doom:
                continue
            elif worker.overtime is not None and now >= worker.overtime:
                self._doom(worker, f"it took more than the time limit of {self.time_limit:g} s")
            elif self.memory is not None and (held := _memory(worker.process)) > self.memory:
                self._doom(
                    worker,
                    f"its worker held {held / 1e9:.2f} GB, more than the limit of "
                    f"{self.memory / 1e9:g} GB",
                )

    def _doom(self, worker: _Worker, reason: str) -> None:
        worker.doom, worker.overtime = reason, None
        worker.kill = time.monotonic() + GRACE
        worker.process.terminate()

    def _dismiss(self) -> None:
        """Let idle workers go, end busy ones, and leave no future unanswered."""
        with self._lock:
            self._closed = True
            reason = self._broken or "the pool was stopped"
            self._has_work()
        for call in self._calls:
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(BrokenExecutor(reason))
        self._calls.clear()
        until = time.monotonic() + GRACE
        for worker in self._crew:
            if worker.call is not None or self._stopped:
                worker.process.terminate()
            worker.connection.close()
        for worker in self._crew:
            worker.process.join(max(until - time.monotonic(), 0.0))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            if worker.call is not None:
                worker.call.future.set_exception(WorkerLost(reason))
        self._crew.clear()


def _nothing() -> None:
    """Prepare for nothing."""


def _ending(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is not None and exit_code < 0:
        name = {each.value: each.name for each in signal.Signals}.get(-exit_code, f"{-exit_code}")
        memory = ", which may be a lack of memory" if -exit_code == signal.SIGKILL else ""
        return f"died of {name}{memory}"
    return f"ended with exit code {exit_code}"


def _memory(process: SpawnProcess) -> int:
    """Anonymous memory of a process in bytes; what is mapped from files does not count."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
