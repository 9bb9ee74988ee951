"""What makes a trajectory file of a folder fit, and why it does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from idt.extract import Extraction, ExtractOptions
from idt.extract.into_folder import IntoFolder
from idt.jobs.folder import Made, Work
from idt.trajectories import provenance

CLIP = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"


@pytest.fixture
def many(tmp_path):
    """Works on three frames: quick, and no trajectory."""
    return IntoFolder(ExtractOptions.preset("fast"), stop=3, scratch=tmp_path)


@pytest.fixture
def work(many, tmp_path):
    """A video whose result is there."""
    (tmp_path / "clip.avi").write_bytes(CLIP.read_bytes())
    (work,) = many.works({"deep/in/clip.avi": tmp_path / "clip.avi"}, tmp_path / "out")
    assert many(work) == Made()
    assert work.result == tmp_path / "out" / "deep" / "in" / "clip.avi.h5"
    return work


def test_what_fits_is_kept_and_is_what_one_pass_writes(many, work, tmp_path):
    whole = work.result.read_bytes()
    Extraction(work.source, options=many.options, stop=3).save(tmp_path / "alone.h5")
    assert (tmp_path / "alone.h5").read_bytes() == whole
    before = work.result.stat().st_mtime_ns
    assert many(work) == Made(kept=True)
    assert work.result.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"options": ExtractOptions.preset("fast", stride=9)}, "it was made with stride 5, not 9"),
        ({"max_side": 100}, "it was made with max_side null, not 100"),
        ({"dtype": "float32"}, "it was made with dtype float16, not float32"),
        ({"stop": 4}, "it was made of another range of frames"),
    ],
)
def test_other_settings_are_named(change, reason, many, work):
    assert replace(many, **change)(work) == Made(reason=reason)
    assert replace(many, **change)(work) == Made(kept=True)
    assert many.made != replace(many, **change).made


def test_another_video_and_a_broken_file_are_named(many, work):
    work.source.write_bytes(CLIP.read_bytes() + b"more")
    assert many(work) == Made(reason="the video's content has changed")
    renamed = work.source.with_name("other.avi")
    work.source.rename(renamed)
    assert many(replace(work, source=renamed)).reason == "the video's name has changed"
    work.result.write_bytes(work.result.read_bytes()[:999])
    reason = many(Work(work.name, renamed, work.result)).reason
    assert "must be a whole trajectory file, got one that cannot be used" in reason


def test_other_versions_are_named(many, work, monkeypatch):
    other = {**provenance(), "numpy": "1.0"}
    monkeypatch.setattr("idt.extract.into_folder.provenance", lambda: other)
    monkeypatch.setattr("idt.extract.extraction.provenance", lambda: other)
    assert many(work).reason.startswith('it was made with numpy "')
    assert many.made["versions"]["numpy"] == "1.0"
