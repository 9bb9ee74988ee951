"""Time the runner of many videos: throughput, what it costs a video, and memory over a long run.

    python scripts/bench_jobs.py [--csv FILE] [--clips N] [--items N] [--long N] [--repeats N]

Throughput: clips into a folder with two workers, against two processes that share them out and know
nothing of each other; both from the start of the processes to their end. Overhead: items that write
a few bytes, by one worker, against a plain loop; the start of the worker does not count. Memory:
many small clips by one worker; anonymous memory (RssAnon of /proc/self/status, Linux) of the runner
and of its worker after a fifth of them and at the end.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from idt.extract import ExtractOptions
from idt.extract.into_folder import IntoFolder
from idt.jobs import WorkerPool
from idt.jobs.folder import Event, Made, ResultFolder, Work
from idt.jobs.worker import hold_to_threads

SIZE, N_FRAMES = (160, 120), 32  # pixels, (width, height); of a clip
SMALL, N_SMALL = (48, 32), 10
WORKERS = 2


class Row(NamedTuple):
    """One line of the table."""

    case: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float
    note: str


@dataclass(frozen=True)
class Watched:
    """Extracts, and tells what memory it holds by then."""

    many: IntoFolder

    def __call__(self, work: Work) -> Made:
        """Extract a video."""
        made = self.many(work)
        return made._replace(reason=str(memory()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--long", type=int, default=500, help="small clips")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    many = IntoFolder(ExtractOptions.preset("fast"))
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as name:
        place = Path(name)
        clips = copies(place / "clips", given.clips, size=SIZE, n_frames=N_FRAMES)
        small = copies(place / "small", given.long, size=SMALL, n_frames=N_SMALL)
        in_one_process(many, clips[:1], place / "warm")  # compiles where nothing is compiled yet
        rows = [
            throughput(many, clips, place, given.repeats),
            overhead(place, given.items, given.repeats),
            *long_run(many, small, place),
        ]
    show(rows)
    if given.csv is not None:
        with given.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([Row._fields, *rows])


def throughput(many: IntoFolder, clips: list[Path], place: Path, repeats: int) -> Row:
    """Two workers of the runner, against two processes."""
    ours, peers = [], []
    for number in range(repeats):
        ours.append(timed(partial(by_runner, many, clips, place / f"ours{number}")))
        peers.append(timed(partial(by_processes, many, clips, place / f"peer{number}")))
    for result in sorted((place / "ours0").glob("*.h5")):
        if result.read_bytes() != (place / "peer0" / result.name).read_bytes():
            raise SystemExit(f"{result.name} differs")
    return row(
        f"{len(clips)} clips, {WORKERS} workers",
        statistics.median(ours),
        f"{WORKERS} independent processes",
        statistics.median(peers),
        f"goal: ratio at least 0.9; {os.cpu_count()} processors",
    )


def overhead(place: Path, n_items: int, repeats: int) -> Row:
    """What the manifest, the pipe and the pool cost an item."""
    ours, peers, spent = [], [], []
    for number in range(repeats):
        folder = place / f"tiny{number}"
        works = [Work(f"{i}", place, folder / f"{i}.txt") for i in range(n_items)]
        with WorkerPool(1) as pool, ResultFolder(folder, made={"kind": "bytes"}) as results:
            before = pool.submit(time.process_time).result()  # the worker is there
            clock = time.process_time()
            ours.append(timed(partial(results.work, tiny, works, label="tiny", workers=pool)))
            clock = time.process_time() - clock
            spent.append(clock + pool.submit(time.process_time).result() - before)
        for work in works:
            work.result.unlink()
        peers.append(timed(partial(plain_loop, works)))
    each = 1000 * (statistics.median(ours) - statistics.median(peers)) / n_items
    busy = 1000 * statistics.median(spent) / n_items
    return row(
        f"{n_items} items that write 4 bytes",
        statistics.median(ours),
        "a plain loop",
        statistics.median(peers),
        f"{each:.1f} ms an item, of which {busy:.1f} ms of processors; goal: under 20 ms",
    )


def long_run(many: IntoFolder, clips: list[Path], place: Path) -> list[Row]:
    """Memory of the runner and of its worker."""
    held: list[tuple[int, int]] = []

    def watch(event: Event) -> None:
        held.append((memory(), int(event.row.reason)))

    begun = time.perf_counter()
    by_runner(many, clips, place / "long", workers=1, report=watch)
    seconds = time.perf_counter() - begun
    early, last = held[len(held) // 5], held[-1]
    return [
        row(
            f"{len(clips)} small clips, memory of the {who}",
            seconds,
            "",
            0.0,
            f"{early[part] / 1e6:.1f} MB after {len(held) // 5}, {last[part] / 1e6:.1f} MB at the "
            "end",
        )
        for part, who in enumerate(("runner", "worker"))
    ]


def by_runner(
    many: IntoFolder,
    clips: list[Path],
    folder: Path,
    *,
    workers: int = WORKERS,
    report: Callable[[Event], None] | None = None,
) -> None:
    """Extract into a folder, as the command does."""
    with (
        ResultFolder(folder, made=many.made) as results,
        WorkerPool(workers, prepare=many.prepare) as pool,
    ):
        extract: Callable[[Work], Made] = replace(many, scratch=results.scratch)
        if report is not None:
            extract = Watched(replace(many, scratch=results.scratch))
        works = many.works({clip.name: clip for clip in clips}, folder)
        results.work(extract, works, label="clips", workers=pool, strict=True, report=report)


def by_processes(many: IntoFolder, clips: list[Path], folder: Path) -> None:
    """Extract in processes that share the clips out."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    parts = [clips[part::WORKERS] for part in range(WORKERS)]
    processes = [context.Process(target=in_one_process, args=(many, p, folder)) for p in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a process ended with {process.exitcode}")


def in_one_process(many: IntoFolder, clips: list[Path], folder: Path) -> None:
    """Extract one clip after the other."""
    folder.mkdir(exist_ok=True)
    hold_to_threads(1)
    many.prepare()
    for work in many.works({clip.name: clip for clip in clips}, folder):
        replace(many, scratch=folder)(work)


def tiny(work: Work) -> Made:
    """Write a few bytes."""
    work.result.write_bytes(b"tiny")
    return Made()


def plain_loop(works: list[Work]) -> None:
    """Do without the runner."""
    for work in works:
        tiny(work)


def copies(folder: Path, count: int, *, size: tuple[int, int], n_frames: int) -> list[Path]:
    """Render a clip of a texture that moves, and copy it."""
    folder.mkdir()
    texture = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8 + n_frames, 3))
    whole = cv2.resize(texture.astype(np.uint8), None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    first = folder / "00000.avi"
    writer = cv2.VideoWriter(str(first), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
    for index in range(n_frames):
        left = 3 * index
        writer.write(np.ascontiguousarray(whole[: size[1], left : left + size[0]]))
    writer.release()
    paths = [folder / f"{number:05}.avi" for number in range(count)]
    for path in paths[1:]:
        shutil.copyfile(first, path)
    return paths


def memory() -> int:
    """Anonymous memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if "RssAnon" in line).split()[1]) * 1024


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def row(case: str, ours_s: float, peer: str, peer_s: float, note: str) -> Row:
    """A line; the ratio is 0 where there is no peer."""
    return Row(case, round(ours_s, 3), peer, round(peer_s, 3), round(peer_s / ours_s, 3), note)


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table()
    for heading in Row._fields:
        table.add_column(heading)
    for each in rows:
        table.add_row(*map(str, each))
    Console().print(table)


if __name__ == "__main__":
    main()
