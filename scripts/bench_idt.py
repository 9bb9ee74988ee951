"""Time the extraction against the reference iDT program.

    python scripts/bench_idt.py [--csv FILE] [--repeats 3] [--shared FOLDER]

The reference cannot be run everywhere, but its cost in passes of OpenCV's Farneback over the same
frames was measured (`timing.json`). A pass is timed here beside ours, in turn: peer_s = the clip's
ratio x seconds(pass). One-thread rows count processor seconds of all threads together, as the
reference's were counted, so a decoder's threads are in them; rows of several threads count seconds
on the clock. The parity preset has decoding and writing HDF5 in it; the others get frames that are
decoded beforehand, apart from codec, whose motion vectors come with decoding. Compiling is left out
and has rows of its own. Stage rows tell the parity preset's time by stage, beside the pass.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numba import njit
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from idt.extract import Extraction, ExtractOptions
from idt.jobs import whole_file
from idt.pyramid import scales, to_grey
from idt.video import read

PROJECT = Path(__file__).resolve().parent.parent
PAN = PROJECT / "tests" / "golden" / "synthetic_pan.avi"
CODEC_CLIP = "data/ut_interaction"  # its files have motion vectors, the golden clips have none
FLOPS_PER_PIXEL = 2 * 275  # of a flow: two iterations of 95 for the equations and 180 to solve them
# Told by a fresh interpreter on Linux: memory after the imports and at most, in MiB. What ru_maxrss
# tells has the parent in it.
MEMORY_SCRIPT = """
import sys
from idt.extract import Extraction

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
before = peak()
Extraction(sys.argv[1]).save(sys.argv[2])
print(before, peak())
"""
# Seconds of a first and a second extraction in a fresh interpreter.
START_SCRIPT = """
import sys, time
from idt.extract import Extraction
for _ in range(2):
    start = time.perf_counter()
    Extraction(sys.argv[1]).table()
    print(time.perf_counter() - start)
"""


class Row(NamedTuple):
    """One line of the table."""

    case: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float
    note: str


def medians(
    repeats: int,
    *functions: Callable[[], object],
    clock: Callable[[], float] = time.process_time,
) -> list[float]:
    """Median seconds of each function, runs alternating."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = clock()
            function()
            taken.append(clock() - start)
    return [statistics.median(taken) for taken in times]


def farneback_pass(greys: list[np.ndarray]) -> None:
    """OpenCV's Farneback over consecutive frames, with the settings of the unit."""
    for previous, current in pairwise(greys):
        cv2.calcOpticalFlowFarneback(
            previous, current, np.empty((*previous.shape, 2), np.float32), 0.5, 5, 10, 2, 7, 1.5, 0
        )


def bench_clip(path: Path, ratio: float, repeats: int, folder: Path) -> Iterator[Row]:
    """Rows of one clip: presets, decoding, threads, stages."""
    clip, video = path.stem, read(path)
    greys = [to_grey(frame) for frame in video]
    n_frames = len(greys)
    fast = ExtractOptions.preset("fast")

    def note(seconds: float, text: str = "") -> str:
        return f"{1e3 * seconds / n_frames:.2f} ms a frame" + (f", {text}" if text else "")

    whole, quick, decoding, unit = medians(
        repeats,
        lambda: Extraction(path).save(folder / "out.h5"),
        lambda: Extraction(video, options=fast).table(),
        lambda: read(path),
        lambda: farneback_pass(greys),
    )
    peer = f"reference program, {ratio} passes"
    for case, seconds, text in (
        ("parity 1 thread", whole, "decoding and HDF5 included"),
        ("fast 1 thread", quick, "frames decoded beforehand"),
    ):
        yield Row(
            f"{clip} {case}",
            seconds,
            peer,
            ratio * unit,
            ratio * unit / seconds,
            note(seconds, text),
        )
    yield Row(f"{clip} decoding", decoding, "Farneback pass", unit, unit / decoding, note(decoding))
    one, two = medians(
        repeats,
        lambda: Extraction(path).save(folder / "out.h5"),
        lambda: Extraction(path, threads=2).save(folder / "out.h5"),
        clock=time.perf_counter,
    )
    loop = loop_speed_up(repeats)
    yield Row(
        f"{clip} parity 2 threads",
        two,
        "1 thread",
        one,
        one / two,
        f"two copies of a numba loop reach {loop:.2f}; {one / two / loop:.2f} of that",
    )
    extraction = Extraction(path)
    extraction.save(folder / "out.h5")
    pixels = sum(level.width * level.height for level in scales(*greys[0].shape[::-1]))
    for name, seconds in sorted(extraction.stages.seconds.items(), key=lambda item: -item[1]):
        text = ""
        if name == "flow":
            rate = FLOPS_PER_PIXEL * pixels * (n_frames - 1) / seconds / 1e9
            text = f"{rate:.0f} GFLOP/s where a loop in cache reaches {peak_flops():.0f}"
        row = f"{clip} stage: {name}"
        yield Row(row, seconds, "Farneback pass", unit, unit / seconds, note(seconds, text))


def bench_codec(path: Path, ratio: float, repeats: int) -> Row:
    """Row of the codec preset, against the reference by its mean cost on the golden clips."""
    greys = [to_grey(frame) for frame in read(path)]
    options = ExtractOptions.preset("codec")
    Extraction(path, options=options).table()
    ours, unit = medians(
        repeats,
        lambda: Extraction(path, options=options).table(),
        lambda: farneback_pass(greys),
    )
    shape = "x".join(map(str, greys[0].shape[::-1]))
    return Row(
        f"{path.stem} codec 1 thread",
        ours,
        f"reference program, {ratio:.1f} passes",
        ratio * unit,
        ratio * unit / ours,
        f"{1e3 * ours / len(greys):.2f} ms a frame of {shape}, decoding included",
    )


@njit(cache=True, nogil=True)
def _multiply_and_add(values: np.ndarray, n_rounds: int) -> None:
    """Two operations a number and round."""
    for _ in range(n_rounds):
        for i in range(len(values)):
            values[i] = values[i] * np.float32(0.999) + np.float32(1e-3)


def loop_speed_up(repeats: int) -> float:
    """What two threads gain on two independent copies of a loop in cache, here and now."""
    values = [np.ones(4096, np.float32) for _ in range(2)]

    def work(k: int) -> None:
        _multiply_and_add(values[k], 200_000)

    def together() -> None:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    work(0)
    one, two = medians(repeats, lambda: work(0), together, clock=time.perf_counter)
    return 2 * one / two


def peak_flops() -> float:
    """Billions of float32 multiplications and additions a second, in cache, one thread."""
    values = np.ones(4096, np.float32)
    _multiply_and_add(values, 1)
    seconds = medians(5, lambda: _multiply_and_add(values, 50_000))[0]
    return 2 * 4096 * 50_000 / seconds / 1e9


def bench_start(folder: Path) -> Iterator[Row]:
    """Rows of the first extraction on a machine, and of the first in a process."""
    for case, cache in (("first ever", folder / "cache"), ("kernels cached", folder / "cache")):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
        command = [sys.executable, "-c", START_SCRIPT, str(PAN)]
        said = subprocess.run(
            command, env=environment, cwd=PROJECT, check=True, capture_output=True, text=True
        )
        first, second = map(float, said.stdout.split())
        yield Row(
            f"start, {case}",
            first,
            "second run in the process",
            second,
            second / first,
            f"{first - second:.1f} s of compiling or loading",
        )


def bench_memory(path: Path, folder: Path) -> Row:
    """Row of memory beyond the imports; the columns of seconds hold MiB."""
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(path), str(folder / "out.h5")]
    said = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    before, most = map(float, said.stdout.split())
    return Row(
        f"{path.stem} memory (MiB)",
        most - before,
        "interpreter and imports",
        before,
        before / (most - before),
        f"{most - before:.0f} MiB above the imports",
    )


def lasting(path: Path, folder: Path, times: int) -> Path:
    """Write a clip again and again into one file, to see whether memory grows with length."""
    frames = read(path)
    out = folder / f"{path.stem}_{times}_times.avi"
    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
    for _ in range(times):
        for frame in frames:
            writer.write(frame)
    writer.release()
    return out


def main() -> int:
    """Run everything; print the table and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, help="file to write")
    parser.add_argument("--repeats", type=int, default=3)
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder with golden and data")
    arguments = parser.parse_args()
    golden = arguments.shared / "golden"
    if not (golden / "timing.json").is_file():
        parser.error(f"--shared must hold golden/timing.json, got {arguments.shared}")
    timing = json.loads((golden / "timing.json").read_text())
    rows: list[Row] = []
    cv2.setNumThreads(1)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for preset in ("parity", "fast"):
            Extraction(PAN, options=ExtractOptions.preset(preset)).save(folder / "out.h5")
        for clip, entry in timing.items():
            path = golden / "clips" / f"{clip}.avi"
            rows += bench_clip(path, entry["ratio"], arguments.repeats, folder)
        mean = statistics.mean(entry["ratio"] for entry in timing.values())
        codec_clip = sorted((arguments.shared / CODEC_CLIP).rglob("*.avi"))[0]
        rows.append(bench_codec(codec_clip, mean, arguments.repeats))
        clip = golden / "clips" / "hmdb_cartwheel.avi"
        rows += [bench_memory(p, folder) for p in (clip, lasting(clip, folder, 5))]
        rows += bench_start(folder)
    shown = Table(*Row._fields)
    for row in rows:
        figures = f"{row.ours_s:.3f}", row.peer, f"{row.peer_s:.3f}", f"{row.ratio:.2f}"
        shown.add_row(row.case, *figures, row.note)
    Console(width=160).print(shown)
    if arguments.csv is not None:
        with whole_file(arguments.csv) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
