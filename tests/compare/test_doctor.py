from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compare import benchmark, cli, datasets, doctor
from compare.benchmark import run_folder
from compare.doctor import Finding
from compare.doctor.machine import Machine, read_quota
from compare.scores import ScoreTable

MACHINE = Machine(
    processors=4,
    usable=4,
    quota=None,
    threads={"torch": 4, "numba": 4, "OpenCV": 4},
    memory=8 * 2**30,
    opencv={"opencv-contrib-python": "4.13.0.90"},
    gpus=(),
    gpu_build=False,
    lacking=(),
    versions={"python": "3.12"},
)


def wrong(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(each.level, each.what) for each in findings if each.level != "fine"]


def test_findings_say_what_to_do() -> None:
    fine, bad = Finding("run", "fine", "x"), Finding("run", "error", "y", "mend it")
    warning = Finding("run", "warning", "z", "look")
    assert doctor.worst([]) == "fine"
    assert doctor.worst([fine, warning]) == "warning"
    assert doctor.worst([bad, warning, fine]) == "error"
    read = json.loads(doctor.as_json([fine, bad]))
    assert read["worst"] == "error"
    assert read["findings"][1] == {
        "about": "run",
        "level": "error",
        "what": "y",
        "advice": "mend it",
    }
    with pytest.raises(ValueError, match="must say what to do"):
        Finding("run", "error", "y")
    with pytest.raises(ValueError, match="level must be one of fine, warning, error"):
        Finding("run", "bad", "y", "z")  # type: ignore[arg-type]


def test_a_machine_that_is_all_right() -> None:
    assert wrong(doctor.examine_machine(MACHINE)) == []


@pytest.mark.parametrize(
    ("changes", "level", "what", "advice"),
    [
        ({"quota": 1.5}, "warning", "time held to 1.5; 4 workers take turns", "--workers 1"),
        ({"usable": 2}, "warning", "threads: torch 4, numba 4", "OMP_NUM_THREADS=2"),
        ({"memory": 2**31}, "warning", "2.0 GiB of memory free, little for 4", "--workers 2"),
        ({"opencv": {}}, "error", "found none", "pip install"),
        ({"opencv": {"opencv-python": "4.13"}}, "error", "found opencv-python", "uninstall"),
        (
            {"opencv": {"opencv-contrib-python": "4.13", "opencv-python": "4.13"}},
            "error",
            "overwrite each other's module cv2",
            "uninstall all",
        ),
        ({"opencv": {"opencv-contrib-python": "4.9.0"}}, "error", "OpenCV 4.9.0 is not", "<6"),
        ({"opencv": {"opencv-contrib-python": "6.0"}}, "error", "OpenCV 6.0 is not", "<6"),
        ({"lacking": ("weights",)}, "warning", "no ImageNet weights", "trajfuse[pretrained]"),
    ],
)
def test_what_is_wrong_with_a_machine(
    changes: dict[str, Any], level: str, what: str, advice: str
) -> None:
    findings = doctor.examine_machine(replace(MACHINE, **changes), workers=4)
    bad = [each for each in findings if each.level == level and what in each.what]
    assert len(bad) == 1
    assert advice in bad[0].advice


def test_this_machine_and_its_quota(tmp_path: Path) -> None:
    found = doctor.examine_machine()
    assert any("opencv-contrib-python" in each.what for each in found)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert read_quota(tmp_path / "cpu.max") == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert read_quota(tmp_path / "cpu.max") is None
    assert read_quota(tmp_path / "none") is None


@pytest.fixture
def copied(clips: Path, tmp_path: Path) -> Path:
    """A copy of the data set that can be damaged."""
    shutil.copytree(clips, tmp_path / "set")
    return tmp_path / "set"


def test_a_data_set_that_is_all_right(clips: Path) -> None:
    examined = doctor.examine_data(clips / "data.csv")
    assert wrong(examined.findings) == [
        ("warning", examined.findings[-1].what)  # two frames each
    ]
    assert "24 videos have 15 frames or fewer" in examined.findings[-1].what
    assert set(examined.n_frames.values()) == {2}
    assert examined.dataset == datasets.load(clips / "data.csv")
    assert "split: 12 of 12 to train and 12 of 12 to test" in [e.what for e in examined.findings]


def test_missing_and_broken_videos_are_told_in_full(copied: Path) -> None:
    for name in ("hug_ann_0", "hug_dot_1", "wave_ann_0", "wave_ann_1", "wave_bob_0", "wave_bob_1"):
        (copied / f"clips/{name}.avi").unlink()
    (copied / "clips/kick_cid_0.avi").write_bytes(b"")
    (copied / "clips/kick_dot_0.avi").write_text("no video")
    examined = doctor.examine_data(copied / "data.csv")
    assert examined.dataset is None
    assert len(examined.n_frames) == 16
    errors = [what for level, what in wrong(examined.findings) if level == "error"]
    assert errors[0].startswith("6 of 24 listed videos are missing: 'clips/hug_ann_0.avi', ")
    assert errors[1].endswith("7 of 12 to train and 11 of 12 to test; none to train of 'wave'")
    assert errors[2].startswith("2 of 18 videos cannot be decoded: clips/kick_cid_0.avi (")
    assert len(errors) == 3
    shutil.rmtree(copied / "clips")
    examined = doctor.examine_data(copied / "data.csv", decode=False)
    assert "24 of 24 listed videos are missing" in wrong(examined.findings)[0][1]


def test_lists_that_cannot_be_read_are_a_finding(tmp_path: Path) -> None:
    (finding,) = doctor.examine_data(tmp_path / "none.csv").findings
    assert finding.level == "error"
    assert "does not exist" in finding.what


def test_clips_of_list_files(clips: Path, tmp_path: Path) -> None:
    for side, people in (("train", ("ann", "bob")), ("val", ("cid", "dot"))):
        rows = [
            f"{name}_{person}_{take}.avi {label}"
            for label, name in enumerate(("hug", "kick", "wave"))
            for person in people
            for take in (0, 1)
        ]
        rows += ["hug_eve_0.avi 0"] if side == "val" else []
        (tmp_path / f"set_{side}_split_1_videos.txt").write_text("\n".join(rows))
    alone = doctor.examine_data(tmp_path, form="lists")
    assert ("warning", "clips were not looked for") in wrong(alone.findings)
    assert not any("missing" in each.what for each in alone.findings)
    found = doctor.examine_data(tmp_path, form="lists", videos=clips / "clips", decode=False)
    assert "1 of 25 listed videos are missing: 'hug_eve_0.avi'" in wrong(found.findings)[0][1]
    assert found.findings[2].what.endswith("12 of 12 to train and 12 of 13 to test")


def test_official_lists_of_published_sets(shared: Path) -> None:
    found = doctor.examine_data(shared / "scores/splits/hmdb51", folds="1").findings
    assert found[1].what == "split 1: 3570 of 3570 to train and 1530 of 1530 to test"


def write_frames(folder: Path, *, images: range, flow: range, y: range | None = None) -> Path:
    folder.mkdir(parents=True)
    for number in images:
        (folder / f"img_{number:05}.jpg").write_bytes(b"x")
    for axis, numbers in (("x", flow), ("y", flow if y is None else y)):
        for number in numbers:
            (folder / f"flow_{axis}_{number:05}.jpg").write_bytes(b"x")
    return folder


def test_flow_that_is_all_right(tmp_path: Path) -> None:
    for name in "ab":
        write_frames(tmp_path / "hug" / name, images=range(1, 6), flow=range(1, 5))
    findings = doctor.examine_flow(tmp_path, n_frames={"x/a.avi": 5}, ids=["x/a.avi", "b.avi"])
    assert wrong(findings) == []
    said = [each.what for each in findings]
    assert said[1:] == [
        "numbers start at 1",
        "n images, n - 1 fields of flow",
        "1 folders fit their videos' frames",
    ]


@pytest.mark.parametrize(
    ("second", "level", "message"),
    [
        ({"images": range(5), "flow": range(4)}, "error", "numbers start differently: flow x from"),
        ({"images": range(1, 6), "flow": range(4)}, "error", "such as 'b'"),
        ({"images": range(1, 6), "flow": range(1, 6)}, "error", "0 fewer in 1 (b), 1 fewer in 1"),
        ({"images": range(1, 10, 2), "flow": range(1, 5)}, "error", "b (images 2)"),
        (
            {"images": range(1, 6), "flow": range(1, 5), "y": range(1, 4)},
            "error",
            "different number: b (4 x, 3 y)",
        ),
        ({"images": range(1, 9), "flow": range(1, 8)}, "error", "b (5 frames, 7 flow x"),
    ],
)
def test_what_is_wrong_with_flow(
    tmp_path: Path, second: dict[str, range], level: str, message: str
) -> None:
    write_frames(tmp_path / "a", images=range(1, 6), flow=range(1, 5))
    write_frames(tmp_path / "b", **second)  # type: ignore[arg-type]
    found = wrong(doctor.examine_flow(tmp_path, n_frames={"a": 5, "b.mp4": 5}))
    assert any(each == level and message in what for each, what in found)


def test_flow_in_folders_u_and_v(tmp_path: Path) -> None:
    for place, n in (("u/walk", 4), ("v/walk", 4), ("walk", 5), ("run", 5), ("run/u", 4)):
        (tmp_path / place).mkdir(parents=True)
        for number in range(1, n + 1):
            (tmp_path / place / f"frame{number:06}.jpg").write_bytes(b"x")
    found = wrong(doctor.examine_flow(tmp_path, n_frames={"walk": 5, "run": 5}))
    assert [what for _, what in found] == [
        "1 folders hold x and y of different number: run (4 x, 0 y)"
    ]


def test_other_flow(tmp_path: Path) -> None:
    assert "is no folder" in doctor.examine_flow(tmp_path / "none")[0].what
    assert "holds no numbered images" in doctor.examine_flow(tmp_path)[0].what
    write_frames(tmp_path / "a", images=range(1, 6), flow=range(1, 6))
    assert "as many fields of flow as images" in wrong(doctor.examine_flow(tmp_path))[0][1]
    (tmp_path / "a/img_00003.jpg").write_bytes(b"")
    (tmp_path / "a/depth_00003.jpg").write_bytes(b"x")
    found = [what for _, what in wrong(doctor.examine_flow(tmp_path, ids=["a.avi", "c.avi"]))]
    assert "1 files have 0 bytes: 'a/img_00003.jpg'" in found
    assert "1 folders hold numbered files of unknown names: 'a/depth_00003.jpg'" in found
    assert "1 videos have no folder: 'c.avi'" in found
    shutil.rmtree(tmp_path / "a")
    write_frames(tmp_path / "a", images=range(3, 6), flow=range(3, 5))
    assert ("error", "numbers start at 3") in wrong(doctor.examine_flow(tmp_path))


@pytest.fixture
def finished(copied: Path, tmp_path: Path, fakes: Mapping[str, Callable[..., Any]]) -> Path:
    """A run's folder, with a report as new as its scores."""
    folds = datasets.load(copied / "data.csv", folds="half")
    out = tmp_path / "run"
    benchmark.run(folds, "idt-fv,two-stream", fuse="average", out=out, recognisers=fakes)
    for name in run_folder.WRITTEN:
        (out / name).touch()
    return out


def test_a_run_that_is_all_right(finished: Path, copied: Path) -> None:
    dataset = datasets.load(copied / "data.csv", folds="half")
    findings = doctor.examine_run(finished, dataset=dataset)
    assert wrong(findings) == []
    assert findings[0].what.startswith("8 tables in ")
    assert findings[1].what == "every method is finished on all 2 splits"


def test_what_is_wrong_with_a_run(finished: Path, copied: Path) -> None:
    place = finished / "scores/fold-1/idt-fv.npz"
    table = ScoreTable.load(place)
    about = dict(table.provenance)
    versions = {**about["versions"], "numpy": "1.0"}
    settings = {**about["settings"], "skill": 9}
    replace(
        table, provenance={**about, "versions": versions, "settings": settings, "seed": 7}
    ).save(place)
    (finished / "scores/fold-0/two-stream.npz").unlink()
    (finished / "scores/fold-1/average.npz").write_bytes(b"PK")
    with (copied / "clips/hug_ann_0.avi").open("ab") as file:
        file.write(b"more")
    dataset = datasets.load(copied / "data.csv", folds="half")
    found = [what for _, what in wrong(doctor.examine_run(finished, dataset=dataset))]
    assert any(what.startswith("1 tables cannot be read: scores/fold-1/average") for what in found)
    assert "2 methods lack splits: average (fold 1), two-stream (fold 0)" in found
    assert "settings differ from split to split: idt-fv (skill)" in found
    assert "tables of seeds [0, 7] in a run of seed 0" in found
    assert any(what.startswith("tables were made with different versions: numpy") for what in found)
    assert "the data is not what the run was of: 'videos' changed since" in found
    assert any("numpy 1.0 then" in what for what in found)
    assert any(what.startswith("older than the scores, or not there") for what in found)
    assert "is not the folder of a run" in doctor.examine_run(copied)[0].what
    shutil.rmtree(finished / "scores")
    assert "no method is finished" in wrong(doctor.examine_run(finished))[0][1]


def test_the_command(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["doctor", "--data", str(copied / "data.csv"), "--workers", "1", "--quiet"]
    assert cli.main(line) == 0
    said = capsys.readouterr()
    assert "ok       data: split: 12 of 12 to train" in said.out
    assert "warning  data: 24 videos have 15 frames or fewer" in said.out
    assert "         -> fetch longer cuts" in said.out
    (copied / "clips/hug_ann_0.avi").unlink()
    flow = write_frames(tmp_path / "flow/hug_ann_1", images=range(1, 3), flow=range(1, 2))
    line += ["--flow", str(flow.parent), "--run", str(tmp_path), "--json"]
    assert cli.main(line) == 1
    read = json.loads(capsys.readouterr().out)
    assert read["worst"] == "error"
    assert {each["about"] for each in read["findings"]} == {"machine", "data", "flow", "run"}
    assert any("23 videos have no folder" in each["what"] for each in read["findings"])
