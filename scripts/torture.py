"""Break what is read, kill what runs, and see that nothing else breaks.

    python scripts/torture.py --short [--parts odd,mutate] [--seed N] [--data FOLDER]

odd
    Every file of a folder of odd videos through extraction, flow, prediction and the doctor.
mutate
    Small whole files of every form that is read, broken in 2,000 ways: clips, tables, codebooks,
    encodings, weights, score files, split files, spec files, runs.

Each reader may take 10 s and 1 GiB and has to end with data or with one of the project's errors,
which name the file and the reason. What is read runs in processes of its own. A decoder that
crashes in native code costs its process and is counted; anything else that does is a failure.
All is drawn from the seed. The last line sums up; the exit code is 1 where anything failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import shutil
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutations import mutate
from specimens import DECODERS, READERS, Specimen, write_all, write_company

SHARED = Path(__file__).resolve().parents[2] / "shared"
PARTS = ("odd", "mutate")
STAGES = {"extract": "tracks", "flow": "flow", "predict": "predict", "doctor": "doctor"}
LIMIT_S = 10.0  # that one reader may take with one file
START_S = 120.0  # that a process may take to be ready; imports and kernels are not the file's
MEMORY = 1 << 30  # bytes above what the libraries take
N_MUTANTS = 2_000
N_PROCESSES = 2
PLAIN = (ValueError, OSError)  # errors that users see as one line
BARE = (UnicodeError, json.JSONDecodeError)  # of these that tell nothing of the file


class Task(NamedTuple):
    """A file, and what is done to it."""

    reader: str
    path: Path  # of a file or folder, which is copied
    seed: tuple[int, ...] | None = None  # of what is broken; None leaves it whole
    part: str = ""  # of a folder, the file that is broken
    other: Path | None = None  # that lends its header


class Outcome(NamedTuple):
    """What became of a task: ``data``, ``refused``, ``bare``, ``crashed`` or ``hung``."""

    task: Task
    kind: str
    text: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether this must not happen."""
        crash_allowed = self.task.reader in DECODERS
        return self.kind in ("bare", "hung") or (self.kind == "crashed" and not crash_allowed)


def work(pipe: Connection, folder: Path) -> None:
    """Read what is asked for, in a folder of this process's own, until the pipe is closed."""
    import resource

    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    pipe.send("ready")
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(attempt(task, folder))


def attempt(task: Task, folder: Path) -> tuple[str, str]:
    """Put a file into a folder, broken as the task says, and read it."""
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
        READERS[task.reader](path)
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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: Any = None

    def read(self, task: Task) -> Outcome:
        """Do a task, or say how the process ended."""
        if self._process is None:
            self._start()
        begun = time.monotonic()
        try:
            self._pipe.send(task)
            if not self._pipe.poll(LIMIT_S):
                self.stop()
                return Outcome(task, "hung", f"no answer within {LIMIT_S:.0f} s")
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
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=work, args=(theirs, self.folder), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_S) or self._pipe.recv() != "ready":
            raise RuntimeError(f"a process that reads must start within {START_S:.0f} s")


def read_all(tasks: Sequence[Task], folder: Path, *, processes: int) -> list[Outcome]:
    """Do all tasks, each process in a folder that is a copy of `folder`."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    done: list[Outcome] = []
    failures: list[BaseException] = []

    def serve(own: Path) -> None:
        shutil.copytree(folder, own)
        reader = Reader(own)
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


def odd_tasks(data: Path) -> list[Task]:
    """Every file of a folder, in every stage."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    return [Task(reader, path) for path in files for reader in STAGES.values()]


def mutant_tasks(specimens: Sequence[Specimen], n: int, seed: int) -> list[Task]:
    """So many broken files, the same number of each specimen's, headers lent within a reader."""
    random = np.random.default_rng(seed)
    tasks = []
    for number in range(n):
        specimen = specimens[number % len(specimens)]
        kin = [each for each in specimens if _family(each) == _family(specimen)]
        lender = kin[int(random.integers(len(kin)))]
        parts = [specimen.parts or ("",), lender.parts or ("",)]
        part, lent = (options[int(random.integers(len(options)))] for options in parts)
        other = lender.path / lent if lent else lender.path
        tasks.append(Task(specimen.reader, specimen.path, (seed, number), part, other))
    return tasks


def _family(specimen: Specimen) -> str:
    return "video" if specimen.reader in DECODERS and not specimen.parts else specimen.reader


def whole_tasks(specimens: Iterable[Specimen]) -> list[Task]:
    """Every specimen as it is: where it is refused, a broken one would prove nothing."""
    return [Task(each.reader, each.path) for each in specimens]


def show(part: str, outcomes: Sequence[Outcome], *, verbose: bool) -> list[str]:
    """Print what failed, and return the lines of it."""
    failures = []
    for outcome in sorted(outcomes, key=lambda each: (each.task.reader, str(each.task.path))):
        task = outcome.task
        where = f"{part}: {task.reader} of {task.path.name} {task.part} {task.seed or ''}"
        line = f"{where}: {outcome.kind} after {outcome.seconds:.1f} s: {outcome.text}"
        if outcome.failed:
            failures.append(line)
            print(line)
        elif verbose:
            print(line.splitlines()[0])
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for; 0 where nothing failed, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="the bounded run: at most 10 minutes")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"any of {','.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "odd", help="odd videos")
    parser.add_argument("--mutants", type=int, default=N_MUTANTS, help="files that are broken")
    parser.add_argument("--processes", type=int, default=N_PROCESSES)
    parser.add_argument("--only", default="", help="readers whose files are broken, by comma")
    parser.add_argument("--verbose", action="store_true", help="a line for every file")
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts must be among {', '.join(PARTS)}, got {options.parts}")
    if "odd" in parts and not options.data.is_dir():
        parser.error(f"--data must be a folder of odd videos, got {options.data}")
    begun = time.monotonic()
    failures, told = [], []
    with tempfile.TemporaryDirectory() as root:
        company = Path(root) / "company"
        company.mkdir()
        write_company(company)
        todo: list[tuple[str, Callable[[], list[Task]]]] = []
        if "odd" in parts:
            todo.append(("odd", lambda: odd_tasks(options.data)))
        if "mutate" in parts:
            specimens = [
                each
                for each in write_all(Path(root) / "specimens")
                if not options.only or each.reader in options.only.split(",")
            ]
            whole = read_all(whole_tasks(specimens), company, processes=options.processes)
            for each in whole:
                if each.kind != "data":
                    failures.append(f"whole: {each.task.path}: {each.kind}: {each.text}")
                    print(failures[-1])
            todo.append(("mutate", lambda: mutant_tasks(specimens, options.mutants, options.seed)))
        for name, tasks in todo:
            outcomes = read_all(tasks(), company, processes=options.processes)
            failures += show(name, outcomes, verbose=options.verbose)
            counts = Counter(each.kind for each in outcomes)
            slowest = max(outcomes, key=lambda each: each.seconds)
            told.append(
                f"{name} {len(outcomes)}: "
                + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
                + f", slowest {slowest.seconds:.1f} s"
            )
    verdict = "FAILED" if failures else "passed"
    seconds = time.monotonic() - begun
    print(f"torture {verdict}: {len(failures)} failures; {'; '.join(told)}; {seconds:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
