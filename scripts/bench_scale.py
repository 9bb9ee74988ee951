"""Time the linear SVM at UCF101's own sizes, on simulated encodings.

    python scripts/bench_scale.py [--csv FILE] [--folder FOLDER] [--rows N --columns N --classes N]

9,537 training rows of 109,056 columns in 101 classes, then 3,783 test rows: split 1. A row is
simulated from the seed and its own number, five parts of norm 1, a faint centre of its class in
noise, and goes to disk through `idt.encodings`. Told are seconds by stage, the peak of anonymous
memory (what is not file cache: RssAnon of /proc/self/status, Linux), disk and accuracy. Rows of the
table compare a stage with the whole run, and the whole run with the 20 minutes that it may take.

What all of UCF101 costs from videos follows with the milliseconds a frame that extraction
(`bench_idt.py`, its note) and encoding take on one core: --extract-ms, --encode-ms, --codebook-s.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from idt.encodings import Encodings, encode_into
from idt.svm import LinearSVM

ROWS, TEST_ROWS, COLUMNS, CLASSES = 9_537, 3_783, 109_056, 101  # UCF101, split 1; 2 x 213 x 256
N_PARTS = 5  # descriptors, each of norm 1
STRENGTH = (
    0.65  # of a class's centre in the noise, where there is one column: falls with their root
)
# 320 x 240; published sets of its frames count 1.79 million in split 1's training clips, 0.697 in
# its test clips, and Soomro, Zamir and Shah (2012) 27 hours of 25 frames a second.
UCF101_CLIPS, UCF101_FRAMES = 13_320, 2_485_000
LIMIT_S = 20 * 60
LIMIT_BYTES = 3e9


class Row(NamedTuple):
    """One line of the table."""

    case: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float
    note: str


class Stages:
    """Seconds and highest anonymous memory of named parts of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Watch a block; memory is looked at 50 times a second."""
        done = threading.Event()
        self.peaks[name] = anonymous_memory()

        def watch() -> None:
            while not done.wait(0.02):
                self.peaks[name] = max(self.peaks[name], anonymous_memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start
            done.set()
            watcher.join()


def anonymous_memory() -> int:
    """Bytes of this process in memory that are not pages of files."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))


class StagedSVM(LinearSVM):
    """The linear SVM, its stages watched."""

    stages: Stages

    def _pairs(self, X: np.ndarray) -> np.ndarray:
        with self.stages("Gram matrix"):
            return super()._pairs(X)

    def _fit_pairs(self, pairs: np.ndarray, codes: np.ndarray, n_classes: int) -> None:
        with self.stages("coordinate descent"):
            super()._fit_pairs(pairs, codes, n_classes)

    def _weights(self, X: np.ndarray) -> np.ndarray:
        with self.stages("weights"):
            return super()._weights(X)


def simulated(n_columns: int, n_classes: int, seed: int, row: int) -> np.ndarray:
    """Encoding of a row, float32 (n_columns,); its class is the row's number modulo n_classes."""
    centre = np.random.default_rng([seed, 0, row % n_classes])
    noise = np.random.default_rng([seed, 1, row])
    encoding = noise.standard_normal(n_columns, dtype=np.float32)
    encoding += STRENGTH * n_columns**-0.25 * centre.standard_normal(n_columns, dtype=np.float32)
    for part in np.array_split(encoding, N_PARTS):
        part /= np.linalg.norm(part)
    return encoding


def write_rows(path: Path, rows: range, options: argparse.Namespace) -> Encodings:
    """Simulated encodings on disk."""
    settings = {"simulated": True, "seed": options.seed, "classes": options.classes}
    return encode_into(
        path,
        partial(simulated, options.columns, options.classes, options.seed),
        rows,
        ids=[f"row {row}" for row in rows],
        n_columns=options.columns,
        settings=settings,
        verbose=True,
    )


def bench(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Write, train, score."""
    stages = Stages()
    train_rows = range(options.rows)
    test_rows = range(options.rows, options.rows + options.test_rows)
    with stages("simulating and writing"):
        train = write_rows(folder / "train.h5", train_rows, options)
        test = write_rows(folder / "test.h5", test_rows, options)
    svm = StagedSVM(C=100.0)
    svm.stages = stages
    svm.fit(train.values, np.array(train_rows) % options.classes, n_classes=options.classes)
    with stages("scores of test rows"):
        scores = svm.decision_function(test.values)
    accuracy = (scores.argmax(axis=1) == np.array(test_rows) % options.classes).mean()
    disk = sum(path.stat().st_size for path in folder.iterdir())
    whole, peak = sum(stages.seconds.values()), max(stages.peaks.values())
    table = [
        Row(
            name, seconds, "whole run", whole, whole / seconds, f"{stages.peaks[name] / 1e9:.2f} GB"
        )
        for name, seconds in stages.seconds.items()
    ]
    note = (
        f"{options.rows:,} + {options.test_rows:,} x {options.columns:,}, {options.classes} classes"
        f"; peak of anonymous memory {peak / 1e9:.2f} GB ({LIMIT_BYTES / 1e9:.0f} allowed), disk "
        f"{disk / 1e9:.2f} GB, accuracy {accuracy:.2%}, {svm.n_iter_.mean():.0f} passes a class"
    )
    table.append(Row("whole run", whole, "20 minutes", LIMIT_S, LIMIT_S / whole, note))
    if options.extract_ms is not None:
        training = whole - stages.seconds["simulating and writing"]
        table.append(ucf101_from_videos(training, options))
    return table


def ucf101_from_videos(training: float, options: argparse.Namespace) -> Row:
    """What all clips and one split take, by the seconds measured elsewhere and here."""
    passes = {"extraction": options.extract_ms, "encoding": options.encode_ms}
    hours = {name: UCF101_FRAMES * ms / 3.6e6 / options.workers for name, ms in passes.items()}
    hours |= {"codebook": options.codebook_s / 3600, "SVM and scores, one split": training / 3600}
    whole = sum(hours.values())
    note = f"{UCF101_FRAMES / 1e6:.2f} million frames on {options.workers} cores: "
    note += ", ".join(f"{name} {each:.2f} h" for name, each in hours.items())
    extraction = 3600 * hours["extraction"]
    return Row(
        "UCF101 from videos",
        3600 * whole,
        "extraction alone",
        extraction,
        extraction / (3600 * whole),
        f"{note}; {whole:.1f} h in all; encodings take "
        f"{4 * UCF101_CLIPS * options.columns / 1e9:.2f} GB",
    )


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(*Row._fields)
    for row in rows:
        times = f"{row.ours_s:.1f}", row.peer, f"{row.peer_s:.1f}", f"{row.ratio:.2f}"
        table.add_row(row.case, *times, row.note)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, help="write the table here as well")
    parser.add_argument("--folder", type=Path, help="the data go to a folder here, and are deleted")
    parser.add_argument("--rows", type=int, default=ROWS, help="to train on")
    parser.add_argument("--test-rows", type=int, default=TEST_ROWS)
    parser.add_argument("--columns", type=int, default=COLUMNS)
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="of matrix products")
    parser.add_argument("--extract-ms", type=float, help="a frame, on one core, with decoding")
    parser.add_argument("--encode-ms", type=float, default=0.0, help="a frame, on one core")
    parser.add_argument(
        "--codebook-s",
        type=float,
        default=0.0,
        help="PCA and mixtures, and extracting the clips that they are trained on",
    )
    parser.add_argument("--workers", type=int, default=2, help="cores that extract and encode")
    options = parser.parse_args()
    if options.rows < options.classes or options.classes < 2 or options.columns < N_PARTS:
        parser.error(f"take 2 classes or more, a row of each, and {N_PARTS} columns or more")
    needed = 4 * options.columns * (options.rows + options.test_rows)
    free = shutil.disk_usage(options.folder or tempfile.gettempdir()).free
    if needed > free:
        parser.error(f"--folder must have {needed / 1e9:.1f} GB, got {free / 1e9:.1f} GB free")
    with (
        tempfile.TemporaryDirectory(prefix="trajfuse-scale-", dir=options.folder) as folder,
        threadpool_limits(options.threads),
    ):
        rows = bench(Path(folder), options)
    show(rows)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            for row in rows:
                times = (f"{row.ours_s:.6f}", row.peer, f"{row.peer_s:.6f}", f"{row.ratio:.3f}")
                writer.writerow((row.case, *times, row.note))


if __name__ == "__main__":
    main()
