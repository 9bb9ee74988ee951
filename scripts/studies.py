"""What `reproduce.py` trains and tests: methods, options and folds, and the scores of one fold.

Folds come from the columns `fold` and `set` of the data sets' CSV files. UT-Interaction's two sets
have ten sequences each: `sequences` leaves out one of the 20 in turn, `five` four of them, two of
each set. Tennis7 has its own five. PCA, codebook and classifier are trained on what is not left
out. Trajectories do not depend on folds and are extracted once for each setting.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from compare.scores import ScoreTable
from idt.extract import ExtractOptions
from idt.jobs import run, whole_file
from idt.recogniser import RECOGNISERS, BagRecogniser
from idt.recogniser.pipeline import TrajectoryRecogniser
from idt.svm import chi_square_distances, gram_matrix
from idt.trajectories import provenance

UT, TENNIS = "ut_interaction", "tennis7"
ALL = "all"  # descriptors together, beside each alone
MBH = ("mbhx", "mbhy")


@dataclass(frozen=True)
class Clip:
    """One row of a data set's CSV file."""

    id: str
    label: str
    group: str
    fold: int
    set: str


@dataclass(frozen=True)
class Study:
    """One method with its options on the folds of one data set.

    Attributes
    ----------
    name
        What rows call it.
    method, options
        A recogniser of `idt.recogniser` and what differs from its defaults.
    extraction
        What differs from the extraction of the recogniser's preset.
    data
        ``"ut_interaction"`` or ``"tennis7"``.
    folds
        ``"sequences"`` or ``"five"``.
    of
        The set that is trained and tested on, alone; None takes both.
    """

    name: str
    method: str
    options: Mapping[str, Any]
    data: str
    folds: str = "five"
    extraction: Mapping[str, Any] = field(default_factory=dict)
    of: str | None = None

    def recogniser(self, tracks: Path) -> TrajectoryRecogniser:
        """Make the recogniser, with its trajectories in a folder."""
        options = dict(self.options)
        if self.extraction:
            preset = options.pop("preset", "parity")
            options["options"] = ExtractOptions.preset(preset, **self.extraction)
        return RECOGNISERS[self.method](**options, cache=tracks)

    def clips(self, data: Path) -> list[Clip]:
        """Read the clips that take part."""
        with (data / f"{self.data}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            Clip(row["path"], row["label"], row["group"], int(row["fold"]), row["set"])
            for row in rows
            if self.of in (None, row["set"])
        ]

    def fold_of(self, clip: Clip) -> str:
        """Name the fold in which a clip is tested."""
        if self.data == TENNIS:
            return f"fold {clip.fold}"
        if self.folds == "sequences":
            return f"{clip.set} sequence {clip.fold}"
        return f"fold {(clip.fold - 1) % 5 + 1}"


@dataclass(frozen=True)
class Job:
    """One fold of a study, with where its data and its results lie."""

    study: Study
    fold: str
    data: Path
    runs: Path

    @property
    def path(self) -> Path:
        """Where the scores are kept, under a key of all that decides them."""
        key = hashlib.sha256(self.made.encode()).hexdigest()[:20]
        return self.runs / "scores" / f"{key}.npz"

    @property
    def tracks(self) -> Path:
        """Where the trajectories lie."""
        return self.runs / "tracks"

    @cached_property
    def made(self) -> str:
        """All that decides the scores, as text."""
        settings = self.study.recogniser(self.tracks).settings()
        study = [self.study.data, self.study.folds, self.study.of, self.fold]
        return json.dumps([study, settings, provenance()], sort_keys=True)


@dataclass(frozen=True)
class FoldScores:
    """Scores of one fold's clips, by descriptors, and the processor time behind them."""

    tables: Mapping[str, ScoreTable]
    seconds: float


def jobs_of(study: Study, *, data: Path, runs: Path) -> list[Job]:
    """One job a fold, in the order of the folds' clips."""
    folds = dict.fromkeys(study.fold_of(clip) for clip in study.clips(data))
    return [Job(study, fold, data, runs) for fold in folds]


def extract(studies: Sequence[Study], *, data: Path, runs: Path, workers: int) -> None:
    """Extract the trajectories that studies read and that are not there yet."""
    for study in studies:
        recogniser = study.recogniser(runs / "tracks")
        videos = [data / clip.id for clip in study.clips(data)]
        recogniser.tracks.extract(videos, runs / "tracks", workers=workers)


def score(jobs: Sequence[Job], *, workers: int) -> None:
    """Train and score the folds that are not done yet."""
    waiting = list({job.path: job for job in jobs if not job.path.exists()}.values())
    for outcome in run(score_fold, waiting, label="folds", workers=workers):
        outcome.result()


def score_fold(job: Job) -> None:
    """Train on all clips but those of one fold, score these, and keep the scores."""
    clock = time.process_time()
    study = job.study
    recogniser = study.recogniser(job.tracks)
    clips = study.clips(job.data)
    train = [clip for clip in clips if study.fold_of(clip) != job.fold]
    test = [clip for clip in clips if study.fold_of(clip) == job.fold]
    classes = sorted({clip.label for clip in clips})
    labels = [classes.index(clip.label) for clip in train]
    videos = {"train": [job.data / c.id for c in train], "test": [job.data / c.id for c in test]}
    recogniser.fit(videos["train"], labels, groups=[clip.group for clip in train])
    files: list[Any] = [recogniser.encode(videos[part]) for part in ("train", "test")]
    encodings = np.concatenate(files)
    for each in files:  # mapped from the cache
        Path(each.filename).unlink()
    scores = {}
    for name, pairs in _pairs(recogniser, encodings):
        machine = recogniser.new_machine(recogniser.encoder_).set_params(kernel="precomputed")
        machine.fit(pairs[: len(train), : len(train)], labels, n_classes=len(classes))
        scores[name] = machine.decision_function(pairs[len(train) :, : len(train)])
    job.path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(job.path) as part, part.open("wb") as file:
        np.savez(
            file,
            made=job.made,
            seconds=time.process_time() - clock,
            ids=[clip.id for clip in test],
            classes=classes,
            variants=list(scores),
            scores=np.stack(list(scores.values())),
        )


def read_scores(job: Job) -> FoldScores:
    """Read what `score_fold` kept."""
    with np.load(job.path, allow_pickle=False) as arrays:
        held = dict(arrays)
    tables = {
        variant: ScoreTable(
            ids=tuple(held["ids"].tolist()),
            classes=tuple(held["classes"].tolist()),
            scores=scores,
            kind="decision",
            method=job.study.method,
            split=job.fold,
        )
        for variant, scores in zip(held["variants"].tolist(), held["scores"], strict=True)
    }
    return FoldScores(tables, float(held["seconds"]))


def _pairs(
    recogniser: TrajectoryRecogniser, encodings: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """What machines know of all pairs of clips, by descriptors and grids.

    All descriptors together come first, then MBH, then each alone; each of these with the first
    grid, and with the first and one of the others. Inner products are computed once for each
    descriptor and cell, and summed; distances stand side by side.
    """
    of_words = isinstance(recogniser, BagRecogniser)
    channels = list(recogniser.encoder_.channels)
    places = list(recogniser.encoder_.channels.values())
    if of_words:
        known = np.moveaxis(chi_square_distances(encodings, channels=places), -1, 0)
    else:
        known = np.stack([gram_matrix(encodings[:, place]) for place in places])
    parts, grids = (list(dict.fromkeys(channel[i] for channel in channels)) for i in (0, 1))
    subsets = {ALL: parts} | ({"mbh": list(MBH)} if {*MBH} < {*parts} else {})
    subsets |= {part: [part] for part in parts} if len(parts) > 1 else {}
    for subset, names in subsets.items():
        for other in [None, *grids[1:]]:
            chosen = [c[0] in names and c[1] in (grids[0], other) for c in channels]
            pairs = np.moveaxis(known[chosen], 0, -1) if of_words else known[chosen].sum(axis=0)
            yield subset if other is None else f"{subset} + {other}", pairs
