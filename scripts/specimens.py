"""Small whole files of every form that the project reads, and what reads each; for `torture.py`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch
from scipy.io import savemat

from compare import datasets
from compare.benchmark.spec_file import read_spec
from compare.datasets.official import HMDB51_CLASSES, HMDB51_COUNTS, UCF101_CLASSES, UCF101_COUNTS
from compare.doctor import examine_data, examine_run
from compare.report.cost import read_costs
from compare.report.stored import read_places, read_run
from compare.scores import ScoreTable, export_scores, foreign, read_classes, read_listing
from deep import flow as optical
from deep import weights
from deep.clips import ClipSpec
from deep.data import Cutting, grid_views, read_clip, read_frames, store
from deep.flow import FlowSettings
from deep.recogniser import NetworkRecogniser
from deep.table import read_table
from idt.camera import read_boxes, read_homographies
from idt.codebook import Codebook, Vocabulary
from idt.encodings import Encodings, encode_into
from idt.extract import Extraction, ExtractOptions
from idt.stacked import StackedCodebook
from idt.trajectories import FORMS, Trajectories
from idt.video import frames

cv2.setNumThreads(1)
torch.set_num_threads(1)

SIDE = 128  # pixels; clips are scaled down to it
N_FRAMES = 40  # of a clip that are worked on
FAST = ExtractOptions.preset("fast")
CODEC = ExtractOptions.preset("codec", stabilise="subtract")
FLOW = FlowSettings(algorithm="dis-fast")
GOOD = {"good-0.avi": "train", "good-1.avi": "test"}  # clips that stand beside the one looked at
NETWORK = "network.safetensors"
_loaded: list[NetworkRecogniser] = []  # of this process: loading takes longer than scoring


class Specimen(NamedTuple):
    """A file or folder, and the name of what reads it; of a folder, the files that are broken."""

    path: Path
    reader: str
    parts: tuple[str, ...] = ()


def tracks(path: Path) -> None:
    """Extract a video."""
    Extraction(path, options=FAST, max_side=SIDE, stop=N_FRAMES).table()


def codec_tracks(path: Path) -> None:
    """Extract a video along its codec's vectors."""
    Extraction(path, options=CODEC, stop=N_FRAMES).table()


def flow(path: Path) -> None:
    """Store frames and flow of a video, in a folder beside it."""
    folder = path.parent / f"flow-{path.name}"
    folder.mkdir(exist_ok=True)
    store(path, folder=folder, side=optical.MIN_SIDE, flow=FLOW)


def images(path: Path) -> None:
    """Decode a folder of images."""
    for _ in frames(path, max_side=SIDE):
        pass


def doctor(path: Path) -> None:
    """Let the doctor look at a data set that the video is part of, and raise what is found."""
    table = path.parent / "doctor.csv"
    rows = [(path.name, "a", "train"), *((name, "b", part) for name, part in GOOD.items())]
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    found = [each.what for each in examine_data(table).findings if each.level == "error"]
    if found:
        raise ValueError("; ".join(found))


def predict(path: Path) -> None:
    """Score a video with the network of its folder."""
    if not _loaded:
        _loaded.append(NetworkRecogniser.load(path.parent / NETWORK))
    scores = _loaded[0].scores([path])
    if not np.isfinite(scores).all():
        raise AssertionError(f"scores are not finite: {scores}")


def stored(path: Path) -> None:
    """Read clips out of the frames and flow that are stored of a video, made again if need be."""
    clip = (path / "clip.txt").read_text(encoding="utf-8")
    found = store(clip, folder=path, side=optical.MIN_SIDE, flow=FLOW)
    read_frames(found, 3)
    spec = ClipSpec(segments=2, stack=4)
    cutting = Cutting(size=16, bound=FLOW.bound)
    for each in spec.spaced(found.n_frames, 2):
        read_clip(found, each, grid_views(found, 16, 1)[0], cutting)


def encodings(path: Path) -> None:
    """Open encodings and read every row."""
    opened = Encodings.open(path)
    opened.check()
    float(np.asarray(opened.values).sum())


def run_folder(path: Path) -> None:
    """Read a run as the report does, and examine it as the doctor does."""
    findings = examine_run(path)
    read_places(path / "labels.csv")
    read_run(path)
    if any(finding.level == "error" for finding in findings):
        raise ValueError(f"errors are told of {path.name}")


def listed(form: str) -> Callable[[Path], Any]:
    """What reads a data set of a form without its clips."""

    def read(path: Path) -> Any:
        folds = "1" if form in ("ucf101", "hmdb51") else None
        return datasets.load(path, form=form, folds=folds, must_exist=False)

    return read


READERS: dict[str, Callable[[Path], Any]] = {
    "tracks": tracks,
    "codec tracks": codec_tracks,
    "flow": flow,
    "images": images,
    "doctor": doctor,
    "predict": predict,
    "stored": stored,
    "trajectories": Trajectories.load,
    "codebook": Codebook.load,
    "vocabulary": Vocabulary.load,
    "stacked codebook": StackedCodebook.load,
    "encodings": encodings,
    "homographies": read_homographies,
    "boxes": read_boxes,
    "network": NetworkRecogniser.load,
    "state": weights.read_state,
    "matconvnet": weights.read_matconvnet,
    "videos": lambda path: read_table(path / "table.csv", labelled=True),
    "scores": lambda path: ScoreTable.load(path),
    "foreign scores": foreign.read,
    "classes": read_classes,
    "list": read_listing,
    "labels": datasets.load_labels,
    "spec": read_spec,
    "costs": read_costs,
    "run": run_folder,
    **{form: listed(form) for form in ("csv", "ucf101", "hmdb51", "lists", "kinetics")},
}
DECODERS = ("tracks", "codec tracks", "flow", "images", "doctor", "predict")


def write_all(folder: Path, company: Path) -> list[Specimen]:
    """Write one or more specimens of every form; `company` is what `write_company` filled."""
    made = [*_clips(folder / "clips"), *_arrays(folder / "arrays")]
    made += _weights(folder / "weights", company / NETWORK)
    return [*made, *_scores(folder / "scores"), *_lists(folder / "lists")]


def write_company(folder: Path) -> None:
    """Write what some readers look for beside a video: a network, and clips that are well.

    Kernels are compiled, once for all processes: readers may take 10 s, and compiling takes more.
    """
    for name in GOOD:
        write_clip(folder / name, "mpeg4", "yuv420p", n_frames=3)
    _train_network(folder).save(folder / NETWORK)
    whole = write_clip(folder / "whole.avi", "mpeg4", "yuv420p")
    for read in (tracks, codec_tracks):
        read(whole)
    whole.unlink()


def picture(t: int, *, height: int = 48, width: int = 64) -> np.ndarray:
    """A texture that moves by two pixels a frame, uint8 (row, column, 3)."""
    texture = np.random.default_rng(0).integers(0, 256, (height // 4, 60, 3), np.uint8)
    large = np.repeat(np.repeat(texture, 4, axis=0), 4, axis=1)
    return np.ascontiguousarray(large[:height, 2 * t : 2 * t + width])


CLIPS = (  # name, codec, format of its pixels, and what reads it besides the extraction
    ("mpeg4.avi", "mpeg4", "yuv420p", "codec tracks"),
    ("h264.mp4", "libx264", "yuv420p", "codec tracks"),
    ("h264.mkv", "libx264", "yuv420p", "doctor"),
    ("mjpeg.avi", "mjpeg", "yuvj420p", "flow"),
    ("mpeg2.ts", "mpeg2video", "yuv420p", "codec tracks"),
    ("ffv1.mkv", "ffv1", "yuv420p", "doctor"),
    ("gif.gif", "gif", "rgb8", "flow"),
)


def write_clip(path: Path, codec: str, pixels: str, *, n_frames: int = 20) -> Path:
    """Encode a clip of the moving texture."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for t in range(n_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(t), "bgr24")))
        container.mux(stream.encode())
    return path


def _clips(folder: Path) -> Iterable[Specimen]:
    folder.mkdir(parents=True)
    for name, codec, pixels, reader in CLIPS:
        path = write_clip(folder / name, codec, pixels)
        yield Specimen(path, "tracks")
        yield Specimen(path, reader)
    shown = folder / "images"
    shown.mkdir()
    for suffix in ("png", "jpg", "bmp", "tif"):
        cv2.imwrite(str(shown / f"{suffix}.{suffix}"), picture(0))
    yield Specimen(shown, "images", tuple(sorted(path.name for path in shown.iterdir())))
    kept = folder / "stored"
    kept.mkdir()
    clip = folder / CLIPS[0][0]
    store(clip, folder=kept, side=optical.MIN_SIDE, flow=FLOW)
    parts = tuple(sorted(path.name for path in kept.iterdir()))
    (kept / "clip.txt").write_text(str(clip), encoding="utf-8")
    yield Specimen(kept, "stored", parts)


def _arrays(folder: Path) -> Iterable[Specimen]:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    rows = {name: random.random((60, n), np.float32) for name, n in (("hog", 6), ("mbhx", 4))}
    meta = random.random((60, 10), np.float32)
    meta[:, 5] = 15
    table = Trajectories(meta, rows, {"video": "clip.avi", "versions": {"numpy": "2"}})
    for form in FORMS:
        usual = {"trajectory": 30, "hog": 96, "hof": 108, "mbhx": 96, "mbhy": 96}
        text = {name: random.random((3, n), np.float32) for name, n in usual.items()}
        small = Trajectories(meta[:3], text) if form.startswith(".txt") else table
        small.save(folder / f"table{form}")
        yield Specimen(folder / f"table{form}", "trajectories")
    codebook = Codebook(2, seed=0).fit(rows)
    codebook.save(folder / "codebook.npz")
    Vocabulary(3, n_init=1).fit(rows).save(folder / "vocabulary.npz")
    positions = random.random((60, 3), np.float32)
    stacked = StackedCodebook(
        codebook, n_components=1, n_reduced=2, projection="pca", min_rows=1, n_local=50
    )
    videos: list[Any] = [{**rows, "positions": positions} for _ in range(2)]
    stacked.fit(videos).save(folder / "stacked.npz")
    encode_into(
        folder / "encodings.h5",
        lambda n: np.full(8, n, np.float32),
        range(5),
        ids=[f"clip {n}" for n in range(5)],
        n_columns=8,
        settings={"codebook": "a"},
    )
    frame = np.arange(1, 4)
    np.savez(folder / "homography.npz", frame=frame, H=np.tile(np.eye(3), (3, 1, 1)))
    (folder / "boxes.bb").write_text(
        "0 1 2 30 40 0.9\n1\n2 1 2 3 4 1 5 6 7 8 1\n", encoding="utf-8"
    )
    yield Specimen(folder / "codebook.npz", "codebook")
    yield Specimen(folder / "vocabulary.npz", "vocabulary")
    yield Specimen(folder / "stacked.npz", "stacked codebook")
    yield Specimen(folder / "encodings.h5", "encodings")
    yield Specimen(folder / "homography.npz", "homographies")
    yield Specimen(folder / "boxes.bb", "boxes")


def _train_network(folder: Path) -> NetworkRecogniser:
    """Train a network for one epoch on two clips."""
    clips = [
        write_clip(folder / f"{codec}.avi", codec, pixels)
        for codec, pixels in (("mpeg4", "yuv420p"), ("mjpeg", "yuvj420p"))
    ]
    recogniser = NetworkRecogniser(
        model="two-stream", backbone="small", epochs=1, size=32, n_clips=1, side=32, flow=FLOW
    )
    return recogniser.fit(clips, [0, 1], class_names=["left", "right"])


def _weights(folder: Path, network: Path) -> Iterable[Specimen]:
    folder.mkdir(parents=True)
    state = {"conv1.weight": torch.ones(2, 3, 3, 3), "conv1.bias": torch.zeros(2)}
    torch.save(state, folder / "state.pth")
    plain = folder / "plain.safetensors"
    weights.save(plain, state, settings={})
    cell = np.empty((1, 1), object)
    cell[0, 0] = {"type": "conv", "name": "conv1", "filters": np.ones((3, 3, 3, 2), np.float32)}
    savemat(folder / "net.mat", {"layers": cell})
    yield Specimen(network, "network")
    yield Specimen(folder / "state.pth", "state")
    yield Specimen(plain, "state")
    yield Specimen(folder / "net.mat", "matconvnet")


def _scores(folder: Path) -> Iterable[Specimen]:
    folder.mkdir(parents=True)
    ids = tuple(f"v_{n}" for n in range(6))
    values = np.random.default_rng(0).random((6, 3))
    table = ScoreTable(ids, ("hug", "kick", "wave"), values, "logit", "net", "1", {"seed": 0})
    truth = dict(zip(ids, ("hug", "kick", "wave") * 2, strict=True))
    for suffix in (".npz", ".csv"):
        table.save(folder / f"own{suffix}")
        yield Specimen(folder / f"own{suffix}", "scores")
    export_scores(table, folder / "tsn.npz", form="tsn", truth=truth)
    export_scores(table, folder / "mmaction.pkl", form="mmaction2", truth=truth)
    np.save(folder / "matrix.npy", values)
    names = np.array(ids, dtype=object).reshape(-1, 1)
    savemat(folder / "matlab.mat", {"scores": values, "names": names, "labels": np.ones((6, 1))})
    savemat(folder / "packed.mat", {"scores": values}, do_compression=True)
    lines = ["name,hug,kick,wave", *(f"{id},1,2,{n}e-1" for n, id in enumerate(ids))]
    (folder / "plain.csv").write_text("\n".join(lines), encoding="utf-8")
    for name in ("tsn.npz", "mmaction.pkl", "matrix.npy", "matlab.mat", "packed.mat", "plain.csv"):
        yield Specimen(folder / name, "foreign scores")
    yield from _run(folder / "run", table)


def _run(folder: Path, table: ScoreTable) -> Iterable[Specimen]:
    """The folder of a run, with what report and doctor read of it."""
    folder.mkdir()
    identity = {"data set": "a", "videos": "b", "splits": "c", "seed": 0, "version": "0"}
    texts = {
        "run.json": json.dumps({"format": 1, "identity": identity}),
        "labels.csv": "id,label,group,path\nv_0,hug,ann,/clips/v_0.avi\nv_1,kick,bob,/v_1.avi\n",
        "results.json": json.dumps(
            {
                "results": [{"label": "net", "role": "method"}],
                "dataset": {"name": "a", "protocol": "b", "splits": {"1": [4, 2]}},
                "excluded": {},
                "yardsticks_not_run": {},
                "seed": 0,
                "command": "trajfuse",
                "started": "now",
                "seconds": 1.5,
                "peak_memory_bytes": {"main": 1},
                "versions": {"numpy": "2"},
            }
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    table.save(folder / "scores" / "1" / "net.npz")
    yield Specimen(folder, "run", (*texts, "scores/1/net.npz"))


def _lists(folder: Path) -> Iterable[Specimen]:
    folder.mkdir(parents=True)
    rows = [f"clips/{n}.avi,{'abc'[n % 3]},g{n % 4},{('train', 'test')[n % 2]}" for n in range(12)]
    costs = ["method,fit_seconds,score_seconds,memory_gib", "net,1,2.5,0.1", "idt,,3,"]
    texts = {
        "data.csv": ("csv", ["path,label,group,split", *rows]),
        "labels.csv": ("labels", ["id,label", *(f"v{n},{'ab'[n % 2]}" for n in range(6))]),
        "classes.txt": ("classes", [f"{n} class{n}" for n in range(8)]),
        "list.txt": ("list", [f"c{n % 3}/v{n}.avi {n % 3}" for n in range(9)]),
        "list.csv": ("list", ["id,label", *(f"v{n},{'ab'[n % 2]}" for n in range(6))]),
        "costs.csv": ("costs", costs),
        "run.toml": ("spec", ['data = "a.csv"', 'methods = ["idt-fv", "two-stream"]', "seed = 3"]),
    }
    for name, (reader, lines) in texts.items():
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
        yield Specimen(folder / name, reader)
    clips = folder / "videos" / "clips"
    clips.mkdir(parents=True)
    for n in range(12):
        (clips / f"{n}.avi").touch()
    _write(clips.parent / "table.csv", ["path,label,group,split", *rows])
    yield Specimen(clips.parent, "videos", ("table.csv",))
    yield from _folders(folder)


def _folders(folder: Path) -> Iterable[Specimen]:
    """Official split files, with made-up clips in the right numbers, and lists in folders."""
    ucf, hmdb, tsn, kinetics = (folder / name for name in ("ucf", "hmdb", "tsn", "kinetics"))
    for each in (ucf, hmdb, tsn, kinetics):
        each.mkdir()
    classes = [f"Class{n:03}" for n in range(UCF101_CLASSES)]
    n_train, n_test = UCF101_COUNTS[1]
    of = [n % len(classes) for n in range(n_train)]
    train = [f"{classes[c]}/v_C_g{n % 18 + 8:02}_c{n:05}.avi {c + 1}" for n, c in enumerate(of)]
    test = [f"{classes[of[n]]}/v_C_g{n % 7 + 1:02}_c{n:05}.avi" for n in range(n_test)]
    _write(ucf / "classInd.txt", [f"{n + 1} {name}" for n, name in enumerate(classes)])
    _write(ucf / "trainlist01.txt", train)
    _write(ucf / "testlist01.txt", test)
    for n in range(HMDB51_CLASSES):
        flags = [1] * HMDB51_COUNTS[0] + [2] * HMDB51_COUNTS[1] + [0]
        names = [f"T{k}_act{n:02}_u_cm_np1_fr_med_{k}.avi" for k in range(len(flags))]
        lines = [f"{name} {flag}" for name, flag in zip(names, flags, strict=True)]
        _write(hmdb / f"act{n:02}_test_split1.txt", lines)
    _write(tsn / "train_1.txt", [f"a/v{n} {20 + n} {n % 3}" for n in range(9)])
    _write(tsn / "val_1.txt", [f"b/w{n} {20 + n} {n % 3}" for n in range(6)])
    header = "label,youtube_id,time_start,time_end,split"
    _write(kinetics / "train.csv", [header, *(f"c{n % 2},id{n},{n},9,train" for n in range(6))])
    _write(kinetics / "val.csv", [header, *(f"c{n % 2},ix{n},{n},9,validate" for n in range(6))])
    yield Specimen(ucf, "ucf101", ("classInd.txt", "trainlist01.txt", "testlist01.txt"))
    yield Specimen(hmdb, "hmdb51", ("act00_test_split1.txt", "act50_test_split1.txt"))
    yield Specimen(tsn, "lists", ("train_1.txt", "val_1.txt"))
    yield Specimen(kinetics, "kinetics", ("train.csv", "val.csv"))


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
