"""Read files in processes of their own, which may crash, hang or swell; for `torture.py`."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import queue
import resource
import shutil
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutations import mutate

LIMIT_S = 10.0  # of the processor that one reader may take with one file
PATIENCE = 12  # times as long on the clock, for machines that others use too
START_S = 240.0  # that a process may take to be ready; imports and kernels are not the file's
MEMORY = 1 << 30  # bytes above what the libraries take
PLAIN = (ValueError, OSError)  # errors that users see as one line
BARE = (UnicodeError, json.JSONDecodeError)  # of these that tell nothing of the file
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Task(NamedTuple):
    """A file, and what is done to it."""

    reader: str  # name in READERS of the module that is read with
    path: Path  # of a file or folder, which is copied
    seed: tuple[int, ...] | None = None  # of what is broken; None leaves it whole
    part: str = ""  # of a folder, the file that is broken
    other: Path | None = None  # that lends its header
    may_crash: bool = False  # where it is decoded by native code


class Outcome(NamedTuple):
    """What became of a task: ``data``, ``refused``, ``bare``, ``crashed`` or ``hung``."""

    task: Task
    kind: str
    text: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        crashed = self.kind == "crashed" and not self.task.may_crash
        return crashed or self.kind in ("bare", "hung")


def work(pipe: Connection, folder: Path, module: str) -> None:
    """Read what is asked for, in a folder of this process's own, until the pipe is closed."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    warnings.simplefilter("ignore")
    readers = importlib.import_module(module).READERS
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(task, folder, readers[task.reader]))


def attempt(task: Task, folder: Path, read: Callable[[Path], Any]) -> tuple[str, str]:
    """Put a file into a folder, broken as the task says, and read it: kind of outcome, and text."""
    path = folder / task.path.name
    _remove(path)
    if task.path.is_dir():
        shutil.copytree(task.path, path)
    else:
        shutil.copyfile(task.path, path)
    broken = path / task.part if task.part else path
    if task.seed is not None:
        other = b"" if task.other is None else task.other.read_bytes()
        random = np.random.default_rng(task.seed)
        broken.write_bytes(mutate(broken.read_bytes(), random, other=other))
    try:
        read(path)
    except Exception as error:
        text = " ".join([str(error), *getattr(error, "__notes__", ())])
        named = any(name and name in text for name in (path.name, Path(task.part).name))
        if isinstance(error, PLAIN) and not isinstance(error, BARE) and named:
            return "refused", text
        trace = "".join(traceback.format_exception(error)[-4:])
        return "bare", f"{type(error).__name__}: {text}\n{trace}"
    return "data", ""


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


class Reader:
    """A process that reads; it is started again after a crash or a hang."""

    def __init__(self, folder: Path, *, module: str) -> None:
        self.folder = folder
        self.module = module
        self._process: Any = None

    def read(self, task: Task) -> Outcome:
        """Do a task, or say how the process ended."""
        if self._process is None:
            self._start()
        begun = time.monotonic()
        try:
            self._pipe.send(task)
            before = processor_seconds(self._process.pid)
            while not self._pipe.poll(0.2):
                taken = processor_seconds(self._process.pid) - before
                elapsed = time.monotonic() - begun
                if taken > LIMIT_S or elapsed > PATIENCE * LIMIT_S:
                    self.stop()
                    text = f"no answer within {taken:.0f} s of the processor"
                    return Outcome(task, "hung", text, elapsed)
            kind, text = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code, self._process = self._process.exitcode, None
            return Outcome(task, "crashed", f"the process ended with {code}")
        return Outcome(task, kind, text, time.monotonic() - begun)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        spawn: Any = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=work, args=(theirs, self.folder, self.module), daemon=True
        )
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_S) or self._pipe.recv() != "ready":
            raise RuntimeError(f"a process that reads must start within {START_S:.0f} s")


def processor_seconds(pid: int) -> float:
    """Seconds of the processor that a process has taken so far; 0 where it is gone (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_all(tasks: Sequence[Task], folder: Path, *, module: str, processes: int) -> list[Outcome]:
    """Do all tasks with the readers of a module, each process in a copy of `folder`."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    done: list[Outcome] = []
    failures: list[BaseException] = []

    def serve(own: Path) -> None:
        shutil.copytree(folder, own)
        reader = Reader(own, module=module)
        try:
            while True:
                done.append(reader.read(waiting.get_nowait()))
        except queue.Empty:
            return
        except BaseException as error:
            failures.append(error)
        finally:
            reader.stop()

    with tempfile.TemporaryDirectory() as root:
        places = [Path(root) / str(number) for number in range(processes)]
        threads = [threading.Thread(target=serve, args=(place,)) for place in places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return done
