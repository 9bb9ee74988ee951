"""The runner over many items, progress, whole files and keys."""

import errno
import io
import operator
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from idt.jobs import (
    DiskFull,
    Outcome,
    Tally,
    WorkerLost,
    WorkerPool,
    file_key,
    progress,
    run,
    whole_file,
)
from idt.jobs.outcome import attempt, is_disk_full
from idt.jobs.progress import duration_text, rate_text
from idt.jobs.worker import THREAD_VARIABLES, Home, held, work

SETTINGS = {"label": "testing"}


@pytest.fixture(scope="module")
def pool():
    """Two workers, with a limit of time that only a hang reaches."""
    with WorkerPool(2, time_limit=1.0) as workers:
        yield workers


def once(action, folder, item):
    """Act on an item's first try, and give its number on the second."""
    mark = Path(folder) / str(item)
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        action(item)
    return item


def unless_zero(action, item):
    if item == 0:
        action(item)
    return item


def kill_self(item):
    os.kill(os.getpid(), signal.SIGKILL)


def hang(item):
    time.sleep(60)


def full(item):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.h5")


def raise_after_full(item):
    try:
        full(item)
    except OSError:
        raise RuntimeError("cannot close") from None


class Untold(Exception):
    """Cannot be made again from what it says."""

    def __init__(self, a, b):
        super().__init__("it cannot travel")


def raise_untold(item):
    raise Untold(1, 2)


def process_of(item):
    return os.getpid()


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def threads_of(item):
    import cv2
    import numba
    from threadpoolctl import threadpool_info

    blas = {library["num_threads"] for library in threadpool_info()}
    return blas, cv2.getNumThreads(), numba.config.NUMBA_NUM_THREADS


def swell(item):
    held = bytearray(item)
    time.sleep(60)
    return len(held)


def test_results_come_in_order_whatever_works(pool):
    items = [4, 1, 3]
    with ThreadPoolExecutor(2) as threads:
        for workers in (1, pool, threads):
            outcomes = run(operator.neg, items, workers=workers, **SETTINGS)
            assert [outcome.item for outcome in outcomes] == items
            assert [outcome.result() for outcome in outcomes] == [-4, -1, -3]
            assert {outcome.tries for outcome in outcomes} == {1}


def test_a_failure_stops_nothing_and_keeps_its_error(pool):
    for workers in (1, pool):
        outcomes = run(operator.index, [1, "two", 3], workers=workers, **SETTINGS)
        assert [outcome.value for outcome in outcomes] == [1, None, 3]
        with pytest.raises(TypeError):
            outcomes[1].result()


def test_strict_stops_at_the_first_failure():
    seen = []
    with pytest.raises(TypeError):
        run(operator.index, [1, "two", 3], strict=True, begin=seen.append, **SETTINGS)
    assert seen == [0, 1]


def test_outcomes_are_told_as_they_come(pool):
    begun, told = [], {}
    run(operator.neg, [5, 6], workers=pool, begin=begun.append, each=told.__setitem__, **SETTINGS)
    assert begun == [0, 1]
    assert {index: outcome.value for index, outcome in told.items()} == {0: -5, 1: -6}


@pytest.mark.parametrize(
    ("action", "reason"), [(kill_self, "SIGKILL"), (hang, "time limit of 1 s")]
)
def test_a_lost_worker_costs_one_try(action, reason, pool, tmp_path):
    begun = []
    function = partial(once, action, tmp_path)
    outcomes = run(function, [1, 2], workers=pool, begin=begun.append, **SETTINGS)
    assert [outcome.result() for outcome in outcomes] == [1, 2]
    assert [outcome.tries for outcome in outcomes] == [2, 2]
    assert sorted(begun) == [0, 0, 1, 1]
    lost, kept = run(partial(unless_zero, action), [0, 5], workers=pool, **SETTINGS)
    assert isinstance(lost.error, WorkerLost)
    assert reason in str(lost.error)
    assert lost.tries == 2
    assert kept.result() == 5


@pytest.mark.parametrize(
    ("item", "name"),
    [
        (Path("in") / "clip.avi", "'in/clip.avi'"),
        ("clip", "'clip'"),
        ((3, Path("a.h5"), "b"), "'a.h5'"),
        (7, "'7'"),
    ],
)
def test_the_error_of_a_lost_worker_names_the_item(item, name):
    outcome = Outcome(item, error=WorkerLost("it took too long"), tries=2)
    with pytest.raises(WorkerLost, match=f"got {name} lost: it took too long; run again") as caught:
        outcome.result()
    assert caught.value.__cause__ is outcome.error
    assert not outcome.refused


def test_an_item_is_refused_by_errors_of_its_own():
    errors = {ValueError("v"): True, OSError("o"): True, TypeError("t"): False, None: False}
    for error, refused in errors.items():
        assert Outcome(1, error=error).refused == refused


def test_workers_without_work_go_and_others_come(monkeypatch):
    monkeypatch.setattr("idt.jobs.pool.IDLE", 0.2)
    with WorkerPool(1) as pool:
        first = run(process_of, [0], workers=pool, **SETTINGS)[0].result()
        deadline = time.monotonic() + 50
        while is_there(first) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_there(first)
        outcomes = run(process_of, range(3), workers=pool, **SETTINGS)
    assert all(outcome.tries == 1 and outcome.result() != first for outcome in outcomes)


def test_a_worker_for_whom_nobody_waits_ends_quietly(capfd):
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    late = pickle.dumps(partial(time.sleep, 0.2))
    process = context.Process(target=work, args=(theirs, 1, late))
    process.start()
    theirs.close()
    ours.close()
    process.join(60)
    assert process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_a_limit_of_time_may_be_as_long_as_can_be_said():
    with WorkerPool(1, time_limit=float("inf")) as pool:
        assert run(abs, [-1], workers=pool, **SETTINGS)[0].result() == 1


def test_the_items_beside_a_killer_go_on(pool):
    outcomes = run(os._exit, [3], workers=pool, **SETTINGS)
    outcomes += run(abs, [-1, -2, -3], workers=pool, **SETTINGS)
    assert "ended with exit code 3" in str(outcomes[0].error)
    assert [outcome.value for outcome in outcomes[1:]] == [1, 2, 3]


def test_errors_that_cannot_travel_are_told(pool):
    outcome = run(raise_untold, [1], workers=pool, **SETTINGS)[0]
    assert "Untold: it cannot travel" in str(outcome.error)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is watched in /proc")
def test_memory_and_threads_are_held():
    with WorkerPool(1, memory=0.4e9) as pool:
        assert run(threads_of, [0], workers=pool, **SETTINGS)[0].result() == ({1}, 1, 1)
        lost = run(swell, [500_000_000], workers=pool, **SETTINGS)[0]
        kept = run(abs, [-1], workers=pool, **SETTINGS)[0]
    assert re.search(r"held 0\.[45]\d GB, more than the limit of 0.4 GB", str(lost.error))
    assert kept.value == 1


def test_another_process_is_held_to_one_thread_and_this_one_is_not(monkeypatch):
    for variable in THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert held(Home.here(), os.getenv, "OMP_NUM_THREADS") is None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        outcomes = run(threads_of, [0], workers=executor, **SETTINGS)
    assert outcomes[0].result() == ({1}, 1, 1)


def test_a_full_disk_stops_the_run(pool, tmp_path):
    for workers in (1, pool):
        begun = []
        with pytest.raises(DiskFull, match=r"the disk must have room, got .*; make room"):
            run(full, [1, 2, 3], begin=begun.append, workers=workers, **SETTINGS)
        assert len(begun) == (1 if workers == 1 else 3)
        pool = workers
    assert isinstance(pool, WorkerPool)
    with pytest.raises(RuntimeError, match="the pool must be open"):
        pool.submit(abs, 1)


def test_a_full_disk_is_known_by_what_led_to_an_error():
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert is_disk_full(RuntimeError("write failed: No space left on device"))
    assert not is_disk_full(OSError(errno.EACCES, "no"))
    outcome = attempt(raise_after_full, 1)
    assert isinstance(outcome.error, DiskFull)
    assert str(pickle.loads(pickle.dumps(outcome.error))) == str(outcome.error)


def test_another_process_with_other_versions_is_refused(monkeypatch):
    here = Home.here()
    monkeypatch.setattr("idt.jobs.worker.hold_to_threads", lambda threads: None)
    elsewhere = replace(here, process=("another machine", os.getpid()))
    assert held(elsewhere, abs, -1) == 1
    older = replace(elsewhere, versions={**here.versions, "numpy": "1.0"})
    with pytest.raises(WorkerLost, match=r"must have the versions .*'numpy': '1.0'.*, got {"):
        held(older, abs, -1)


class Losing(Executor):
    """An executor of somebody else's, none of whose workers lives to answer."""

    def submit(self, function, /, *arguments, **options):
        future = Future()
        future.set_exception(RuntimeError("attempted to run on 4 workers,\nall of which died"))
        return future


def test_what_another_executor_loses_is_lost():
    outcomes = run(abs, [1, 2], workers=Losing(), **SETTINGS)
    assert [outcome.tries for outcome in outcomes] == [1, 1]  # it has tried again by itself
    for outcome in outcomes:
        assert isinstance(outcome.error, WorkerLost)
        assert "RuntimeError: attempted to run on 4 workers, all of" in str(outcome.error)


def test_workers_that_cannot_start_are_not_started_for_ever():
    with (
        WorkerPool(1, prepare=partial(os._exit, 7)) as pool,
        pytest.raises(ChildProcessError, match="5 in a row that ended with exit code 7 at once"),
    ):
        run(abs, [1, 2], workers=pool, **SETTINGS)


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run(operator.neg, [1], workers=0, **SETTINGS)
    for name in ("workers", "threads", "time_limit", "memory"):
        with pytest.raises(ValueError, match=f"{name} must be .* got 0"):
            WorkerPool(**{"workers": 1, name: 0})


def test_a_stopped_pool_answers_every_future():
    pool = WorkerPool(1)
    futures = [pool.submit(time.sleep, 60) for _ in range(3)]
    deadline = time.monotonic() + 60
    while not futures[0].running() and time.monotonic() < deadline:
        time.sleep(0.02)
    pool.stop()
    assert all(isinstance(future, Future) and future.done() for future in futures)
    with pytest.raises(WorkerLost, match="the pool was stopped"):
        futures[0].result()
    assert futures[1].cancelled()


RUNNING = """
import os, sys, time
from pathlib import Path
from idt.jobs import WorkerPool, run, whole_file

def write(item):
    with whole_file(Path(sys.argv[1]) / f"{item}.txt") as path:
        path.write_text("half")
        os.write(1, b"writing\\n")  # at once: two workers share the pipe
        time.sleep(60)

if __name__ == "__main__":
    with WorkerPool(2) as pool:
        run(write, [1, 2, 3], label="writing", workers=pool)
"""


def heed_interrupts():
    """Tests that a shell runs in the background ignore Ctrl-C, and what they start does so too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_a_signal_leaves_nothing_behind(number, code, tmp_path):
    script, folder = tmp_path / "script.py", tmp_path / "out"
    script.write_text(RUNNING)
    folder.mkdir()
    command = [sys.executable, str(script), str(folder)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "writing\n"
    if number == signal.SIGKILL:
        process.send_signal(number)  # workers are on their own
    else:
        os.killpg(process.pid, number)  # as a terminal or a batch system does it
    # Until the last process that holds the pipe is gone: the workers. Items would take longer.
    process.communicate(timeout=50)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert list(folder.iterdir()) == []


def test_progress_yields_everything_and_shows_on_demand(capsys):
    assert list(progress([1, 2], label="silent")) == [1, 2]
    assert capsys.readouterr().err == ""
    assert list(progress([1, 2], label="loud", verbose=True)) == [1, 2]
    captured = capsys.readouterr()
    assert re.fullmatch(r"loud: 2 of 2, [0-9.]+/s, in 00:00:00\n", captured.err)
    assert captured.out == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    run(operator.index, [1, "two"], verbose=True, label="[b]counting[/b]")
    assert "[b]counting[/b]" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()


def test_a_tally_tells_rate_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "time", lambda: pytest.fail("a clock that may jump"))
    tally = Tally(13_320, _begun=now[0])
    assert tally.left is None
    for index in range(120):
        tally.step(failed=index < 3)
    now[0] += 240.0
    assert tally.as_dict() == {
        "done": 120,
        "total": 13_320,
        "failed": 3,
        "rate": 0.5,
        "elapsed": 240.0,
        "left": 26_400.0,
    }
    assert tally.line() == "120 of 13320, 3 failed, 30.0/min, 07:20:00 left"
    assert Tally(None).left is None


def test_rates_and_durations_for_people():
    assert [rate_text(rate) for rate in (2, 0.5, 0.01, 1e-5)] == [
        "2.0/s",
        "30.0/min",
        "36.0/h",
        "0.0/h",
    ]
    assert duration_text(93_784.4) == "1 d 02:03:04"


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "result.txt"
    with whole_file(path) as temporary:
        temporary.write_text("first")
    assert path.read_text() == "first"

    def fail_midway() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("second")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="no folder"), whole_file(tmp_path / "x" / "y"):
        pass


def test_a_key_changes_with_settings_and_content(tmp_path):
    path = tmp_path / "clip.avi"
    path.write_bytes(b"one")
    key = file_key(path, {"a": 1})
    assert key == file_key(path, {"a": 1})
    assert key != file_key(path, {"a": 2})
    path.write_bytes(b"three")
    assert key != file_key(path, {"a": 1})


def test_the_key_of_a_folder_changes_with_its_files(tmp_path):
    image = tmp_path / "1.png"
    image.write_bytes(b"one")
    key = file_key(tmp_path, {})
    assert key == file_key(tmp_path, {})
    status = tmp_path.stat()
    image.write_bytes(b"three")
    os.utime(tmp_path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert key != file_key(tmp_path, {})
