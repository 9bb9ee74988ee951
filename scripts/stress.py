"""When does which family of methods help? Accuracy under less training and worse pictures.

    python scripts/stress.py data.csv --folds fold --out runs/stress --csv stress.csv

Stages, each a run of its own below OUT that goes on where it was stopped:

train
    Methods trained on a few clips of each class (the same ones for all methods; fewer are among
    more), tested on all test clips.
disturb
    Methods trained on the clips as they are, tested on copies: shaken (each frame a crop moved at
    random by up to a share of its sides, and scaled up again), darkened (brightness times a factor,
    rounded to 8 bits), and with the frames of each clip in random order.
background
    Methods that look at stills, trained and tested on the median of each clip's frames: what moves
    against a still camera is gone. What is right above chance is due to the scenery. A player who
    stands still stays, and a moving camera smears the scene, so this is a lower bound.
folds
    Folds drawn at random against as many folds that keep groups together: by how much clips of one
    source on both sides flatter.

Rows are ``stage,condition,method,accuracy,low,high,videos,groups``: percent, with the 95 % interval
by group where there are groups. Copies are kept without loss; a frame rate is not, as no method
here looks at it.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from compare import benchmark, datasets, metrics
from compare.datasets import Dataset, Split, Video, group_folds
from compare.scores import write_whole
from idt import jobs, video

COLUMNS = ("stage", "condition", "method", "accuracy", "low", "high", "videos", "groups")
STAGES = ("train", "disturb", "background", "folds")
LEVELS = {"shake": (0.02, 0.05), "dark": (0.4, 0.15, 0.05), "shuffle": (1.0,)}
STILLS = 31  # frames that the median is of, at most, evenly spaced
REPEATS = 8  # frames of a still clip
RATE = 25  # frames per second that copies say
Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    out: Path
    methods: str
    stills: str
    fuse: str
    sizes: tuple[int, ...]
    n_folds: int
    seed: int
    workers: int
    verbose: bool


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", help="data set as for 'trajfuse compare run'")
    parser.add_argument("--folds", help="column of folds, as for run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--stages", default=",".join(STAGES), help="comma-separated")
    parser.add_argument("--methods", default="flow-hist,frame-features,idt-fv,two-stream:size=112")
    parser.add_argument("--stills", default="frame-features", help="methods of 'background'")
    parser.add_argument("--fuse", default="average:idt-fv+two-stream:size=112", help="as for run")
    parser.add_argument("--sizes", default="2,4,8,16", help="training clips of each class")
    parser.add_argument("--n-folds", type=int, default=5, help="of the stage 'folds'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--csv", type=Path, help="write the table there")
    given = parser.parse_args(arguments)
    stages = [name.strip() for name in given.stages.split(",")]
    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        parser.error(f"stages must be among {', '.join(STAGES)}, got {', '.join(unknown)}")
    asked = Asked(
        out=given.out,
        methods=given.methods,
        stills=given.stills,
        fuse={"none": ""}.get(given.fuse, given.fuse),
        sizes=tuple(int(size) for size in given.sizes.split(",")),
        n_folds=given.n_folds,
        seed=given.seed,
        workers=given.workers,
        verbose=not given.quiet,
    )
    dataset = datasets.load(given.data, folds=given.folds, seed=given.seed)
    rows: Rows = []
    for name in stages:
        rows += RUNS[name](dataset, asked)
        if given.csv:
            write_whole(given.csv, as_csv(rows))
    sys.stdout.write(as_csv(rows).decode())


def as_csv(rows: Rows) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def run_train(dataset: Dataset, asked: Asked) -> Rows:
    """Accuracy against the number of training clips of each class."""
    splits = {
        size: [fewer(dataset, split, size, asked.seed) for split in dataset.splits]
        for size in asked.sizes
    }
    every = [replace(split, name=f"{split.name}, all clips") for split in dataset.splits]
    together = replace(dataset, splits=(*(s for each in splits.values() for s in each), *every))
    finished = run(replace(together, official=()), asked, "train")
    rows = []
    for label, each in [*((f"{n} clips a class", s) for n, s in splits.items()), ("all", every)]:
        names = {split.name for split in each}
        rows += measured(finished, "train", label, of_splits=names)
    return rows


def fewer(dataset: Dataset, split: Split, size: int, seed: int) -> Split:
    """Keep so many training clips of each class, drawn so that fewer are among more."""
    order = np.random.default_rng(seed).permutation(sorted(split.train)).tolist()
    kept: list[str] = []
    for label in dataset.class_names:
        of_class = [id for id in order if dataset.truth[id] == label]
        if len(of_class) < size:
            raise ValueError(
                f"sizes must be at most the training clips of each class, got {size} where "
                f"{label!r} has {len(of_class)} in {split.name!r}"
            )
        kept += of_class[:size]
    return replace(split, name=f"{split.name}, {size} clips a class", train=tuple(kept))


def run_disturb(dataset: Dataset, asked: Asked) -> Rows:
    """Accuracy on copies of the test clips that are harder to see."""
    conditions = [(kind, level) for kind, levels in LEVELS.items() for level in levels]
    tested = sorted({id for split in dataset.splits for id in split.test})
    clips = dataset.by_id
    copies: list[Video] = []
    for kind, level in conditions:
        made = partial(disturbed, kind=kind, level=level, seed=asked.seed)
        chosen = [clips[id] for id in tested]
        copies += rendered(chosen, f"{kind}-{level:g}", made, asked)
    names = [f"{kind}-{level:g}" for kind, level in conditions]
    splits = [
        replace(split, test=(*split.test, *(f"{name}/{id}" for name in names for id in split.test)))
        for split in dataset.splits
    ]
    larger = replace(dataset, videos=(*dataset.videos, *copies), splits=tuple(splits), official=())
    finished = run(larger, asked, "disturb")
    rows = measured(finished, "disturb", "as they are", of_ids=set(dataset.by_id))
    for (kind, level), name in zip(conditions, names, strict=True):
        ids = {f"{name}/{id}" for id in tested}
        rows += measured(finished, "disturb", f"{kind} {level:g}", of_ids=ids)
    return rows


def run_background(dataset: Dataset, asked: Asked) -> Rows:
    """Accuracy on backgrounds alone, beside that on the clips themselves."""
    stills = rendered(dataset.videos, "background", background, asked)
    without = {clip.id: clip.path for clip in stills}
    changed = [replace(clip, path=without[f"background/{clip.id}"]) for clip in dataset.videos]
    asked = replace(asked, methods=asked.stills, fuse="")
    whole = run(dataset, asked, "background-whole")
    rows = measured(whole, "background", "clips")
    alone = run(replace(dataset, videos=tuple(changed)), asked, "background-alone")
    rows += measured(alone, "background", "background alone")
    chance = 100 / len(dataset.class_names)
    rows.append(
        dict.fromkeys(COLUMNS, "")
        | {"stage": "background", "condition": "chance", "accuracy": f"{chance:.2f}"}
    )
    return rows


def run_folds(dataset: Dataset, asked: Asked) -> Rows:
    """Accuracy in folds drawn by video against folds drawn by group."""
    if dataset.groups is None:
        raise ValueError("data must have groups for the stage 'folds', got none; leave it out")
    rows = []
    for name in ("grouped", "random"):
        videos = tuple(
            clip if name == "grouped" else replace(clip, group=None) for clip in dataset.videos
        )
        drawn = group_folds(videos, n_folds=asked.n_folds, seed=asked.seed)
        # Intervals of random folds are by video: by group they would claim what was not kept.
        each = replace(dataset, videos=videos, splits=drawn, official=())
        rows += measured(run(each, asked, f"folds-{name}"), "folds", name)
    return rows


RUNS: dict[str, Callable[[Dataset, Asked], Rows]] = {
    "train": run_train,
    "disturb": run_disturb,
    "background": run_background,
    "folds": run_folds,
}


def run(dataset: Dataset, asked: Asked, name: str) -> benchmark.Run:
    """Run the methods in a folder of the stage's own; what is computed per video is shared."""
    return benchmark.run(
        dataset,
        asked.methods,
        fuse=asked.fuse,
        out=asked.out / name,
        cache=asked.out / "cache",
        seed=asked.seed,
        workers=asked.workers,
        verbose=asked.verbose,
        with_yardsticks=False,
    )


def measured(
    finished: benchmark.Run,
    stage: str,
    condition: str,
    *,
    of_splits: set[str] | None = None,
    of_ids: set[str] | None = None,
) -> Rows:
    """Rows of every method and fusion, over some of the splits or some of the videos."""
    rows = []
    for result in finished.results:
        tables = [t for t in result.tables if of_splits is None or t.split in of_splits]
        if of_ids is not None:
            kept = [[row for row, id in enumerate(t.ids) if id in of_ids] for t in tables]
            tables = [
                replace(t, ids=tuple(t.ids[row] for row in k), scores=t.scores[k])
                for t, k in zip(tables, kept, strict=True)
            ]
        data = finished.dataset
        found = metrics.evaluate(tables, data.truth, groups=data.groups)
        interval = found.by_video if found.by_group is None else found.by_group
        numbers = (100 * found.accuracy, 100 * interval.low, 100 * interval.high)
        values = [f"{number:.2f}" for number in numbers]
        counts = [str(found.n_tested), str(found.n_groups)]
        row = [stage, condition, result.label, *values, *counts]
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def rendered(
    clips: Sequence[Video], name: str, made: Callable[[Video], list[np.ndarray]], asked: Asked
) -> list[Video]:
    """Write copies of clips below OUT/videos/NAME, those that are not there yet."""
    copies = [
        replace(c, id=f"{name}/{c.id}", path=asked.out / "videos" / name / f"{c.id}.mkv")
        for c in clips
    ]
    pairs = [pair for pair in zip(clips, copies, strict=True) if not pair[1].path.exists()]
    outcomes = jobs.run(
        partial(_render, made), pairs, label=name, workers=asked.workers, verbose=asked.verbose
    )
    for outcome in outcomes:
        outcome.result()
    return copies


def _render(made: Callable[[Video], list[np.ndarray]], pair: tuple[Video, Video]) -> None:
    clip, copy = pair
    copy.path.parent.mkdir(parents=True, exist_ok=True)
    write_lossless(copy.path, made(clip))


def write_lossless(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write BGR frames, uint8 (row, column, 3), so that the same ones are read again."""
    with jobs.whole_file(path) as temporary:
        with av.open(str(temporary), "w", format="matroska") as container:
            stream = container.add_stream("ffv1", rate=RATE)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "bgr0"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
            container.mux(stream.encode())


def disturbed(clip: Video, *, kind: str, level: float, seed: int) -> list[np.ndarray]:
    """Frames of a clip, shaken, darkened or shuffled; drawn from the seed and the clip's id."""
    frames = list(video.frames(clip.path))
    rng = np.random.default_rng([seed, *clip.id.encode()])
    if kind == "shake":
        return list(shaken(frames, level, rng))
    if kind == "dark":
        return [np.rint(frame * level).astype(np.uint8) for frame in frames]
    return [frames[index] for index in rng.permutation(len(frames))]


def shaken(
    frames: Sequence[np.ndarray], share: float, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Crop each frame by a share of its sides at each edge, moved at random by up to as much."""
    for frame in frames:
        n_rows, n_columns = frame.shape[:2]
        sides = np.array([n_columns, n_rows], np.float64)
        corner = share * sides * (1 + rng.uniform(-1, 1, size=2))
        to_source = np.column_stack([np.diag(np.full(2, 1 - 2 * share)), corner])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        yield cv2.warpAffine(
            frame, to_source, (n_columns, n_rows), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )


def background(clip: Video) -> list[np.ndarray]:
    """The median of a clip's frames, a few times."""
    frames = list(video.frames(clip.path))
    taken = np.unique(np.linspace(0, len(frames) - 1, STILLS).round().astype(int))
    still = np.median(np.stack([frames[index] for index in taken]), axis=0)
    return [np.rint(still).astype(np.uint8)] * REPEATS


if __name__ == "__main__":
    main()
