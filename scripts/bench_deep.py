"""Time TV-L1 flow against opencv-contrib's on real pairs of frames.

Case: `tv-l1 1 thread` (one pair in the middle of every golden clip, default parameters of
DualTVL1OpticalFlow; processor time of one thread). Runs of both sides alternate, and the sums of
the pairs' medians are told; the note has the smallest ratio of a pair, the mean end-point
difference of both flows and the largest quotient of their energies.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from idt.flow import tvl1, tvl1_energy
from idt.pyramid import to_grey
from idt.video import frames

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
    """Median processor seconds of each function, runs alternating."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in times]


def pairs(clips: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two grey frames in the middle of every clip."""
    files = sorted(clips.glob("*.avi"))
    if not files:
        raise SystemExit(f"--clips must hold *.avi, got {clips}; or set TRAJFUSE_SHARED")
    found = []
    for file in files:
        greys = [to_grey(frame) for frame in frames(file)]
        middle = len(greys) // 2
        found.append((greys[middle - 1], greys[middle]))
    return found


def bench_tvl1(clips: Path, repeats: int) -> Row:
    peer = cv2.optflow.createOptFlow_DualTVL1()
    cv2.setNumThreads(1)
    chosen = pairs(clips)
    empty = np.zeros(0, np.float32)  # the peer allocates its own
    tvl1(*chosen[0])  # compiles
    ours_s, peer_s, differences, energies = [], [], [], []
    for previous, current in chosen:
        taken = medians(
            repeats,
            partial(tvl1, previous, current),
            partial(peer.calc, previous, current, empty),
        )
        ours_s.append(taken[0])
        peer_s.append(taken[1])
        ours, theirs = tvl1(previous, current), peer.calc(previous, current, empty)
        differences.append(np.linalg.norm(ours - theirs, axis=-1).mean())
        energies.append(
            tvl1_energy(previous, current, ours) / tvl1_energy(previous, current, theirs)
        )
    ratios = np.divide(peer_s, ours_s)
    note = (
        f"{len(chosen)} pairs, ratio of each at least {ratios.min():.1f}; mean end-point "
        f"difference {np.mean(differences):.3f} px (largest of a pair {max(differences):.3f}); "
        f"energy {min(energies):.3f} to {max(energies):.3f} of the peer's"
    )
    ours_sum, peer_sum = sum(ours_s), sum(peer_s)
    return Row("tv-l1 1 thread", ours_sum, "opencv-contrib", peer_sum, peer_sum / ours_sum, note)


def main() -> None:
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, help="write the table here as well")
    parser.add_argument("--clips", type=Path, default=shared / "golden" / "clips", help="videos")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side of a pair")
    options = parser.parse_args()
    row = bench_tvl1(options.clips, options.repeats)
    table = Table(*Row._fields)
    times = (f"{row.ours_s:.4f}", row.peer, f"{row.peer_s:.4f}", f"{row.ratio:.1f}")
    table.add_row(row.case, *times, row.note)
    Console().print(table)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            times = (f"{row.ours_s:.6f}", row.peer, f"{row.peer_s:.6f}", f"{row.ratio:.3f}")
            writer.writerow((row.case, *times, row.note))


if __name__ == "__main__":
    main()
