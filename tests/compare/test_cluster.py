"""A Dask scheduler and two workers, as processes of their own, give what this machine gives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compare import benchmark, datasets
from compare.cli import main
from compare.scores import ScoreTable
from deep.recogniser import NetworkRecogniser
from idt.extract import Extraction, ExtractOptions
from idt.jobs import WorkerPool, cluster

PATIENCE = 100  # seconds for a process to start on a busy machine
QUICK = ("--preset", "fast", "--length", "5", "--end", "9")
KEPT = ("run/cache/*.npy", "run/cache/*.h5", "flow/**/*.jpg")
LINE = "import sys; from compare.cli import main; sys.exit(main())"


@pytest.fixture
def dask(requires, tmp_path, monkeypatch, project):
    """Address of a scheduler, and the processes of its two workers."""
    requires("distributed")
    monkeypatch.setenv("PYTHONPATH", str(project))
    contact = tmp_path / "scheduler.json"
    started = []

    def start(what, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, options)]
        command += ["--no-dashboard", "--scheduler-file", str(contact)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
        started.append(subprocess.Popen(command, **quiet))
        return started[-1]

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", 0)
        deadline = time.monotonic() + PATIENCE
        while not contact.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        workers = [start("worker", "--no-nanny", "--nthreads", 1) for _ in range(2)]
        yield json.loads(contact.read_text())["address"], workers
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker_gives_what_this_machine_gives(dask, shared, tmp_path):
    address, workers = dask
    clips = sorted((shared / "golden" / "clips").glob("*.avi"))
    out = tmp_path / "out"
    given = [*map(str, clips), "-o", str(out), "--scheduler", address, "--json", *QUICK]
    command = [sys.executable, "-c", LINE, "idt", "extract", *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [json.loads(process.stdout.readline())]
        os.kill(workers[0].pid, signal.SIGKILL)
        told += map(json.loads, process.stdout)
    assert process.returncode == 0
    # A file is there although the worker that wrote it was killed before it could say so.
    states = [each["state"] for each in told[:-1]]
    assert set(states) <= {"done", "kept"}
    assert len(states) == len(clips) == 5
    assert told[-1]["made"] == states.count("done") > 0
    options = ExtractOptions.preset("fast", track_length=5)
    for clip in clips:
        Extraction(clip, options=options, stop=10).save(tmp_path / "local.h5")
        whole = (tmp_path / "local.h5").read_bytes()
        assert (out / f"{clip.name}.h5").read_bytes() == whole, clip.name
    assert workers[1].poll() is None


def test_any_workers_give_the_same_bytes(dask, write_video, write_rows, tmp_path, monkeypatch):
    """Of a run, of what a network is trained on, and of flow; paths are told from here."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"{c}_{split}.avi", c, split) for c in ("hug", "kick") for split in ("train", "test")]
    clips = [str(write_video(Path("set") / name, 12)) for name, *_ in rows]
    write_rows(Path("set/data.csv"), ("path", "label", "split"), rows)
    dataset = datasets.load(Path("set/data.csv"))
    network = {"model": "two-stream", "backbone": "small", "side": 32}
    flow = ["deep", "flow", *clips[:2], "--side", "32", "--quiet"]
    found = {}
    with WorkerPool(1) as pool, cluster(dask[0]) as executor:
        for name, workers in (("here", 1), ("pool", pool), ("cluster", executor)):
            given = {"out": f"{name}/run", "workers": workers, "with_yardsticks": False}
            benchmark.run(dataset, "flow-hist", **given)
            recogniser = NetworkRecogniser(**network, workers=workers, cache=f"{name}/run/cache")
            recogniser.prepare([Path(clip).absolute() for clip in clips])
            address = ("--scheduler", dask[0]) if name == "cluster" else ()
            assert main([*flow, "-o", f"{name}/flow", *address]) == 0
            kept = [path for form in KEPT for path in Path(name).glob(form)]
            found[name] = {path.relative_to(name): path.read_bytes() for path in kept}
            scores = ScoreTable.load(Path(name, "run/scores/split/flow-hist.npz")).scores
            found[name]["scores"] = scores.tobytes()
    assert len(found["here"]) == 4 * (1 + 2) + 2 * (12 + 2 * 11) + 1
    assert found["pool"] == found["here"]
    assert found["cluster"] == found["here"]


def test_no_scheduler_is_said(requires, monkeypatch):
    requires("distributed")
    monkeypatch.setattr("idt.jobs.dask_cluster.CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(ConnectionError, match="address of a Dask scheduler that answers, got"),
        cluster("tcp://127.0.0.1:1"),
    ):
        pass


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install trajfuse\[cluster\]"), cluster("tcp://h:1"):
        pass
