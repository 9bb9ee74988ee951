"""The runner over many items, progress, whole files and keys."""

import operator
import os

import pytest

from idt.jobs import file_key, progress, run, whole_file


def test_results_come_in_order_whatever_the_workers():
    items = [4, 1, 3]
    for workers in (1, 2):
        outcomes = run(operator.neg, items, label="negating", workers=workers)
        assert [outcome.item for outcome in outcomes] == items
        assert [outcome.result() for outcome in outcomes] == [-4, -1, -3]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_stops_nothing_and_keeps_its_error(workers):
    outcomes = run(operator.index, [1, "two", 3], label="indexing", workers=workers)
    assert [outcome.value for outcome in outcomes] == [1, None, 3]
    with pytest.raises(TypeError):
        outcomes[1].result()


def test_a_dead_worker_is_named():
    with pytest.raises(ChildProcessError, match="a worker process died"):
        run(os._exit, [1, 1], label="dying", workers=2)


def test_no_workers_is_refused():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run(operator.neg, [1], label="negating", workers=0)


def test_progress_yields_everything_and_shows_on_demand(capsys):
    assert list(progress([1, 2], label="silent")) == [1, 2]
    assert capsys.readouterr().err == ""
    assert list(progress([1, 2], label="loud", verbose=True)) == [1, 2]
    captured = capsys.readouterr()
    assert "loud" in captured.err
    assert captured.out == ""


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
