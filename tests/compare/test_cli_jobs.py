"""``trajfuse idt extract`` into a folder, and ``trajfuse jobs``."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compare.cli import main
from idt.extract import Extraction, ExtractOptions
from idt.jobs import WorkerPool

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
FAST = ("--preset", "fast", "--length", "5")
ODD = "ü '\"\n.avi"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with two classes, an odd name, a broken file and a link to nowhere."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("run/a.avi", f"walk/{ODD}"):
        (root / name).parent.mkdir()
        shutil.copy(CLIP, root / name)
    (root / "broken.avi").write_bytes(CLIP.read_bytes()[:999])
    (root / "nowhere.avi").symlink_to("gone.avi")
    return root


@pytest.fixture(scope="module")
def expected(videos, tmp_path_factory):
    """Bytes of the results, each from one pass of its own."""
    folder = tmp_path_factory.mktemp("expected")
    options = ExtractOptions.preset("fast", track_length=5)
    for name in ("run/a.avi", f"walk/{ODD}"):
        (folder / name).parent.mkdir()
        Extraction(videos / name, options=options).save(folder / f"{name}.h5")
    return bytes_of(folder)


def bytes_of(folder):
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.h5")}
    return dict(sorted(found.items()))


def extract(*arguments):
    return main(["idt", "extract", *map(str, arguments), *FAST])


@pytest.fixture(scope="module")
def done(videos, tmp_path_factory):
    """The folder of a run over everything, and its exit code."""
    out = tmp_path_factory.mktemp("done") / "out"
    return out, extract(videos, "-o", out, "--workers", 2, "--quiet")


@pytest.fixture
def copy(done, tmp_path):
    """A folder of results to work on."""
    return Path(shutil.copytree(done[0], tmp_path / "out"))


def test_a_folder_is_worked_through_and_bad_videos_are_skipped(done, expected, capsys):
    out, code = done
    assert code == 1
    assert bytes_of(out) == expected
    assert main(["jobs", "status", str(out)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{out}: 2 done, 2 failed"
    assert told[1].startswith("failed   broken.avi: cannot read video")
    assert told[2].startswith("failed   nowhere.avi: cannot read video")
    assert told[2].endswith("no such file")
    assert len(told) == 3


def test_what_is_missing_or_does_not_fit_is_made_again(copy, videos, expected, capsys):
    options = ExtractOptions.preset("fast", track_length=6)
    Extraction(videos / "run" / "a.avi", options=options).save(copy / "run" / "a.avi.h5")
    (copy / "walk" / f"{ODD}.h5").unlink()
    (copy / "manifest.sqlite").unlink()
    listed = videos / "list"
    listed.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in ("run/a.avi", f"walk/{ODD}")))
    # As the one process of a job array of one.
    given = ("--list", listed, "-o", copy, "--json", "--workers", 1, "--shard", "1/1")
    assert extract(*given) == 0
    first, second, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["video"], first["state"]) == ("run/a.avi", "done")
    assert first["reason"] == "it was made with track_length 6, not 5"
    assert (second["video"], second["reason"]) == (f"walk/{ODD}", "")
    assert (second["done"], second["total"], second["failed"]) == (2, 2, 0)
    assert last == {"folder": str(copy), "made": 2, "kept": 0, "failed": 0, "lost": 0, "left": 0}
    assert bytes_of(copy) == expected

    assert extract(*given[:4], "--workers", 1) == 0
    assert capsys.readouterr().out == f"{copy}: 0 made, 2 there before\n"


def heed_interrupts():
    """Tests that a shell runs in the background ignore Ctrl-C, and what they start does so too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_so_and_goes_on(number, tmp_path):
    out, many = tmp_path / "out", tmp_path / "many"
    many.mkdir()
    for name in "abcdefghijkl":  # more than is finished after the first
        shutil.copy(CLIP, many / f"{name}.avi")
    line = "import sys; from compare.cli import main; sys.exit(main())"
    given = [str(many), "-o", str(out), "--workers", "1", "--json", *FAST]
    command = [sys.executable, "-c", line, "idt", "extract", *given]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, preexec_fn=heed_interrupts) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=50)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert errors.decode() == ("trajfuse: interrupted\n" if number == signal.SIGINT else "")
    results = {f"{name}.avi.h5" for name in "abcdefghijkl"}
    there = {path.name for path in out.iterdir()}
    assert there <= {"manifest.lock", "manifest.sqlite", "manifest.sqlite-journal", *results}
    assert 0 < len(there & results) < len(results)
    if number == signal.SIGTERM:
        assert extract(many, "-o", out, "--workers", 1, "--quiet") == 0
        assert extract(many, "-o", tmp_path / "undisturbed", "--workers", 2, "--quiet") == 0
        assert bytes_of(out) == bytes_of(tmp_path / "undisturbed")


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(
    small_disk, videos, expected, tmp_path, capsys
):
    place, resize = small_disk
    assert resize(int(2.5 * len(expected["run/a.avi.h5"]))) == 0
    given = [videos / "run", "-o", place / "out", "--workers", 1, "--quiet"]
    for number in range(3):
        shutil.copy(CLIP, tmp_path / f"{number}.avi")
    given[1:1] = [tmp_path / f"{number}.avi" for number in range(3)]
    code = extract(*given)
    message = capsys.readouterr().err
    assert code == 3, message
    assert "the disk must have room, got" in message
    assert "make room and run again: what was done is kept" in message
    kept = bytes_of(place)
    assert 1 <= len(kept) <= 2
    assert not list((place / "out").glob("*.scratch"))
    assert resize(10 * len(expected["run/a.avi.h5"])) == 0
    assert extract(*given) == 0
    whole = bytes_of(place)
    assert len(whole) == 4
    assert kept.items() <= whole.items()


def test_strict_stops_with_the_first_error(videos, tmp_path, capsys):
    given = (videos / "broken.avi", videos / "walk", "-o", tmp_path / "out")
    assert extract(*given, "--strict", "--workers", 1, "--quiet") == 2
    assert "error: cannot read video" in capsys.readouterr().err
    assert bytes_of(tmp_path / "out") == {}


def test_jobs_clean_and_retry_say_what_they_did(copy, capsys):
    (copy / "manifest.scratch").mkdir()
    assert main(["jobs", "clean", str(copy), "--dry-run"]) == 0
    scratch = copy / "manifest.scratch"
    assert capsys.readouterr().out == f"{scratch}\n{copy}: 1 would be removed\n"
    assert main(["jobs", "clean", str(copy), "--stale"]) == 0
    assert capsys.readouterr().out == f"{scratch}\n{copy}: 1 were removed\n"
    assert main(["jobs", "retry", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy}: 2 wait for the next run; give its line again\n"
    assert main(["jobs", "status", str(copy), "--json", "--all"]) == 0
    first, *rest = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["counts"] == {"waiting": 2, "done": 2}
    assert [each["video"] for each in rest][2:] == ["run/a.avi", f"walk/{ODD}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "videos must be given, got none"),
        (["VIDEOS", "-o", "x.h5"], "output must be a folder for many videos"),
        (["VIDEOS", "-o", "-"], "output must be a folder for many videos"),
        (["VIDEOS", "--shard", "3/2"], "shard must be I/N with I from 1 to N, got '3/2'"),
        (["VIDEOS", "--shard", "one"], "shard must be I/N"),
        (["VIDEOS", "--workers", "0"], "workers must be at least 1, got 0"),
        (["VIDEOS", "--time-limit", "0"], "time_limit must be above 0"),
        (["VIDEOS", "--memory", "-1"], "memory must be above 0"),
        (["VIDEOS", "--scheduler", "tcp://h:1", "--memory", "1"], "memory must be left out with"),
        (["VIDEOS", "--homography", "h.npz"], "homography must be left out for many videos"),
        (["VIDEOS", "--profile"], "profile must be left out for many videos"),
        (["CLIP", "-o", "x.h5", "--strict"], "strict must be left out for one video into a file"),
        (["--list", "gone.txt"], "gone.txt"),
        (["--list", "LIST"], "a list's paths must stay below"),
        (["VIDEOS", "-o", "file"], "folder must be one that can be written to"),
        (["CLIP", "-o", "file"], "folder must be one that can be written to"),
        (["VIDEOS", "--dtype", "int8"], "dtype must be float16 or float32"),
        (["VIDEOS", "-S", "-1"], "start must be at least 0"),
        (["VIDEOS", "-S", "5", "-E", "4"], "end must be at least start"),
        (["VIDEOS", "--max-side", "0"], "max_side must be at least 1"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(
    arguments, message, videos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(WorkerPool, "submit", lambda *_: pytest.fail("work began"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "list.txt").write_text("../clip.avi\n")
    places = {"VIDEOS": videos, "CLIP": CLIP, "LIST": "list.txt"}
    given = [places.get(part, part) for part in arguments]
    output = () if "-o" in given else ("-o", "out")
    assert extract(*given, *output) == 2
    assert message in capsys.readouterr().err


def test_a_folder_in_use_is_refused_by_name(copy, videos, capsys):
    from idt.jobs.lock import locked

    with locked(copy / "manifest.lock"):
        assert extract(videos, "-o", copy) == 2
        assert f"process {os.getpid()} on" in capsys.readouterr().err
        main(["jobs", "status", str(copy)])
        assert f"at work: process {os.getpid()} on" in capsys.readouterr().out
    assert extract(videos, "-o", copy, "-W", 7) == 2
    assert "got stride 5 instead of 7; give --redo" in capsys.readouterr().err
