"""Who works on videos, in every command that has many: options, limits, and workers that die."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from compare import benchmark, cli
from compare.benchmark import methods
from compare.datasets import Dataset, check_videos
from compare.scores import ScoreTable
from deep import cli as deep_cli
from idt import cli as idt_cli
from idt import jobs
from idt.cli.workers import MANY, open_workers
from tests.compare.deadly import crash, die

Fakes = Mapping[str, Callable[..., Any]]
SHARED_OPTIONS = ("--scheduler", "--time-limit", "--memory")
LINES = {
    "compare run": "compare run --data DATA --methods idt-fv --out OUT",
    "compare demo": "compare demo --out OUT",
    "doctor": "doctor --data DATA",
    "deep train": "deep train DATA -o OUT.safetensors --cache OUT",
    "deep predict": "deep predict DATA n.safetensors -o OUT.npz --cache OUT",
    "deep flow": "deep flow DATA -o OUT",
    "deep show features": "deep show features n.safetensors a b c d e -o OUT.png --cache OUT",
}


def commands(command: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """All commands below one, by what is typed."""
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, *words, name)
    if not hasattr(command, "commands"):
        yield " ".join(words), command


def test_every_command_with_workers_has_the_cluster_and_the_limits() -> None:
    apps = {"idt": idt_cli.app, "deep": deep_cli.app, "compare": cli.compare_app}
    found = [each for word, app in apps.items() for each in commands(typer_of(app), word)]
    found += commands(typer_of(cli.app))
    with_workers, helps = set(), set()
    for line, command in found:
        options = {name: option for option in command.params for name in option.opts}
        if "--workers" in options:
            with_workers.add(line)
            helps.add(tuple(options[name].help for name in SHARED_OPTIONS))
    assert with_workers == {"idt extract", *LINES}
    assert len(helps) == 1


def test_every_commands_help_has_an_example() -> None:
    apps = {"idt": idt_cli.app, "deep": deep_cli.app, "compare": cli.compare_app}
    found = [each for word, app in apps.items() for each in commands(typer_of(app), word)]
    found += [each for each in commands(typer_of(cli.app)) if each[0] not in apps]
    assert len(found) > 20
    for line, command in found:
        assert f"trajfuse {line} " in " ".join((command.help or "").split()), line


def typer_of(app: typer.Typer) -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize("command", LINES)
def test_what_cannot_work_is_said_before_any_work(
    command: str,
    clips: Path,
    tmp_path: Path,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(methods, "find", lambda names: fakes)
    monkeypatch.setattr(jobs.WorkerPool, "submit", lambda *_: pytest.fail("work began"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.chdir(tmp_path)
    places = {"DATA": str(clips / "data.csv")}
    line = [places.get(word, word) for word in LINES[command].split()]
    cluster = ("--scheduler", "tcp://h:1")
    for given, message in (
        (("--workers", "0"), "workers must be at least 1, got 0"),
        (("--time-limit", "0"), "time_limit must be above 0, got 0"),
        (("--memory", "-1"), "memory must be above 0, got -1"),
        ((*cluster, "--workers", "2"), "workers must be left out with --scheduler, got 2"),
        ((*cluster, "--time-limit", "9"), "time-limit must be left out with --scheduler"),
        (cluster, "pip install trajfuse[cluster]"),
    ):
        assert cli.main([*line, *given]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_needs_a_cache_that_it_sees(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["deep", "train", str(clips / "data.csv"), "-o", str(tmp_path / "n.safetensors")]
    assert cli.main([*line, "--scheduler", "tcp://h:1"]) == 2
    assert "cache must be given with --scheduler, got none" in capsys.readouterr().err


def test_a_scheduler_that_is_not_there_is_said(
    clips: Path,
    tmp_path: Path,
    requires: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    requires("distributed")
    monkeypatch.setattr("idt.jobs.dask_cluster.CONNECT_SECONDS", 0.5)
    line = ["deep", "flow", str(clips / "data.csv"), "-o", str(tmp_path / "flow")]
    assert cli.main([*line, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "must be the address of a Dask scheduler that answers" in capsys.readouterr().err


def test_options_become_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(workers: int | None, **given: Any) -> Any:
        usual = {"scheduler": None, "time_limit": None, "memory": None}
        with open_workers(workers, **{**usual, **given}) as crew:
            if isinstance(crew, jobs.WorkerPool):
                return crew.workers, crew.time_limit, crew.memory
            return crew

    assert opened(1) == opened(None, default=1) == 1
    assert opened(1, apart=True) == (1, None, None)
    assert opened(2) == opened(2, default=1) == (2, None, None)
    assert opened(1, time_limit=5.0) == (1, 5.0, None)
    assert opened(None, memory=2.0, default=1) == (1, None, 2e9)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert opened(None) == (MANY, None, None)


class Working:
    """A recogniser whose fit has workers look at each video."""

    def __init__(
        self, *, fake: Callable[..., Any], look: Callable[[Path], object], **common: Any
    ) -> None:
        self.fake, self.look, self.workers = fake(**common), look, common["workers"]
        self.scores, self.settings = self.fake.scores, self.fake.settings

    def fit(self, videos: Sequence[Path], labels: Sequence[int], **more: Any) -> Working:
        assert isinstance(self.workers, jobs.WorkerPool)
        for outcome in jobs.run(self.look, videos, label="looking", workers=self.workers):
            outcome.result()
        self.fake.fit(videos, labels, **more)
        return self


def test_a_run_whose_worker_dies_names_the_video_and_goes_on_when_called_again(
    clips: Path,
    dataset: Dataset,
    tmp_path: Path,
    fakes: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deadly = tmp_path / "deadly"
    deadly.touch()
    look = partial(die, "kick_bob_0.avi", deadly)
    known = {**fakes, "two-stream": partial(Working, fake=fakes["two-stream"], look=look)}
    monkeypatch.setattr(methods, "find", lambda names: known)
    line = ["compare", "run", "--data", str(clips / "data.csv"), "--no-yardsticks"]
    line += ["--methods", "idt-fv,two-stream", "--workers", "2", "--out", str(tmp_path / "run")]
    assert cli.main(line) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"got '{clips / 'clips' / 'kick_bob_0.avi'}' lost: its worker died of SIGKILL" in said
    assert "run again to go on from here" in said
    assert "(in method 'two-stream', 'split')" in said
    deadly.unlink()
    assert cli.main(line) == 0
    said = capsys.readouterr().err
    assert "idt-fv: taken from" in said
    assert "two-stream: taken from" not in said
    undisturbed = {"out": tmp_path / "other", "fuse": "average", "recognisers": fakes}
    benchmark.run(dataset, "idt-fv,two-stream", **undisturbed, with_yardsticks=False)
    for name in ("idt-fv", "two-stream", "average"):
        kept, whole = (
            ScoreTable.load(tmp_path / run / f"scores/split/{name}.npz") for run in ("run", "other")
        )
        assert kept.ids == whole.ids
        np.testing.assert_array_equal(kept.scores, whole.scores)


class Losing(Executor):
    """An executor none of whose workers lives to answer."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(RuntimeError("all of them died"))
        return future


def test_a_video_that_crashes_the_decoder_is_one_that_cannot_be_read(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compare.datasets.readable._count_frames", partial(crash, "kick_bob_0.avi"))
    [bad] = check_videos(dataset, workers=2)
    assert (bad.id, bad.reason) == ("clips/kick_bob_0.avi", "its worker died of SIGSEGV")


def test_a_data_set_does_not_shrink_by_workers_that_die(dataset: Dataset) -> None:
    first = dataset.videos[0].path
    with pytest.raises(jobs.WorkerLost, match=f"got '{first}' lost: no result came back"):
        check_videos(dataset, workers=Losing())
