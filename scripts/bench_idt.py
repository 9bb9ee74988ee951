"""Time the extraction against the reference iDT program, on one thread.

    python scripts/bench_idt.py [--csv FILE] [--repeats 3] [--golden FOLDER]

The reference cannot be run everywhere, but its cost in passes of OpenCV's Farneback over the same
frames was measured (`timing.json`). A pass is timed here beside ours, in turn, on one thread:
peer_s = the clip's ratio x seconds(pass). Ours has decoding and writing HDF5 in it; compiling is
left out and told. Stage rows give what a stage of ours takes over the whole clip; their peer is the
Farneback pass itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from idt.camera import fit_homography, flow_pairs, match_keypoints, warp_frame
from idt.descriptors import HISTOGRAM_DESCRIPTORS
from idt.extract import extract
from idt.flow import expand, flow_pyramid
from idt.histogram import Votes, integrate
from idt.jobs import whole_file
from idt.pyramid import grey_pyramid, scales, to_grey
from idt.sampling import corners, min_eigenvalues
from idt.surf import detect_and_describe
from idt.video import read

PROJECT = Path(__file__).resolve().parent.parent


class Row(NamedTuple):
    """One line of the table."""

    case: str
    ours_s: float
    peer: str
    peer_s: float
    ratio: float
    note: str


def medians(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, runs alternating."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def farneback_pass(greys: list[np.ndarray]) -> None:
    """OpenCV's Farneback over consecutive frames, with the settings of the unit."""
    for previous, current in pairwise(greys):
        cv2.calcOpticalFlowFarneback(
            previous, current, np.empty((*previous.shape, 2), np.float32), 0.5, 5, 10, 2, 7, 1.5, 0
        )


def bench_clip(path: Path, ratio: float, repeats: int, folder: Path) -> list[Row]:
    """Rows of one clip: the whole, decoding, and stages."""
    video = read(path)
    greys = [to_grey(frame) for frame in video]
    whole, decoding, unit = medians(
        repeats,
        lambda: extract(path).save(folder / "out.h5"),
        lambda: read(path),
        lambda: farneback_pass(greys),
    )
    n_frames = len(greys)
    rows = [
        Row(
            f"{path.stem} parity 1 thread",
            whole,
            "reference program",
            ratio * unit,
            ratio * unit / whole,
            f"{1e3 * whole / n_frames:.1f} ms a frame, decoding and HDF5 included",
        )
    ]
    stages = {"decoding": decoding} | stage_seconds(greys)
    for name, seconds in stages.items():
        note = f"{1e3 * seconds / n_frames:.2f} ms a frame"
        row = Row(f"{path.stem} {name}", seconds, "Farneback pass", unit, unit / seconds, note)
        rows.append(row)
    return rows


def stage_seconds(greys: list[np.ndarray]) -> dict[str, float]:
    """Seconds that each stage of ours takes over the clip, with the camera estimated."""
    levels = scales(greys[0].shape[1], greys[0].shape[0])
    taken: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any], *arguments: object) -> Any:
        start = time.perf_counter()
        value = function(*arguments)
        taken[name] = taken.get(name, 0.0) + time.perf_counter() - start
        return value

    votes = [Votes.empty(level.height, level.width) for level in levels]
    expansions = [timed("expansion", expand, grey, levels) for grey in greys]
    keypoints = [timed("SURF", detect_and_describe, grey) for grey in greys]
    for t in range(1, len(greys)):
        pyramid = timed("pyramid", grey_pyramid, greys[t - 1], levels)
        eigenvalues = [timed("eigenvalues", min_eigenvalues, image) for image in pyramid]
        flow = timed("flow", flow_pyramid, expansions[t - 1], expansions[t])
        by_flow = flow_pairs(flow[0], timed("corners", corners, eigenvalues[0]))
        by_surf = timed("matching", match_keypoints, keypoints[t - 1], keypoints[t])
        pairs = [np.concatenate(both) for both in zip(by_flow, by_surf, strict=True)]
        if len(pairs[0]) >= 4:
            timed("RANSAC", fit_homography, *pairs)
        timed("warp", warp_frame, greys[t - 1], greys[t], np.eye(3))
        for k, image in enumerate(pyramid):
            for descriptor in HISTOGRAM_DESCRIPTORS:
                timed("votes", descriptor.vote, image, flow[k], votes[k])
                timed("integrals", integrate, votes[k], descriptor.n_bins)
    return taken


def main() -> int:
    """Run all clips; print the table and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, help="file to write")
    parser.add_argument("--repeats", type=int, default=3)
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser.add_argument("--golden", type=Path, default=shared / "golden")
    arguments = parser.parse_args()
    timing = arguments.golden / "timing.json"
    if not timing.is_file():
        parser.error(f"--golden must hold timing.json, got {arguments.golden}")
    rows: list[Row] = []
    console = Console(width=140)
    cv2.setNumThreads(1)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        extract(PROJECT / "tests" / "golden" / "synthetic_pan.avi")
        console.print(f"compiling or loading kernels: {time.perf_counter() - start:.1f} s")
        for clip, entry in json.loads(timing.read_text()).items():
            path = arguments.golden / "clips" / f"{clip}.avi"
            rows += bench_clip(path, entry["ratio"], arguments.repeats, Path(folder))
    shown = Table(*Row._fields)
    for row in rows:
        shown.add_row(
            row.case,
            f"{row.ours_s:.3f}",
            row.peer,
            f"{row.peer_s:.3f}",
            f"{row.ratio:.2f}",
            row.note,
        )
    console.print(shown)
    if arguments.csv is not None:
        with whole_file(arguments.csv) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
