"""Time flow, the loader, and the training steps of the networks.

Cases:

- `tv-l1 1 thread`: beside opencv-contrib's, on one pair in the middle of every golden clip, default
  parameters of DualTVL1OpticalFlow; processor time of one thread. Runs of both sides alternate, and
  the sums of the pairs' medians are told; the note has the smallest ratio of a pair, the mean
  end-point difference of both flows and the largest quotient of their energies.
- `vgg-16 late fusion`, `vgg-16 conv fusion`: forward and backward of a two-stream network, and of
  conv fusion with two chunks, on one clip of 224 pixels; the peer is the same number of operations
  at the rate of this machine's matrix product, so that the ratio is the share of that rate. The
  note has the share of the convolutions alone and what else takes time. Processor time.
- `loader`: two-stream trained on the golden clips; what it waits for clips, beside all of an epoch.
- `over-fit two-stream`, `conv-fusion`, `fstcn`: 16 real clips of UT-Interaction learned until all
  are right, beside the two minutes that it may take; processor time of all threads together.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from deep import backbones, models
from deep.data import Cutting, store_all
from deep.flow import FlowSettings
from deep.recogniser import NetworkRecogniser, fitting
from deep.train import reproducible, train
from idt.flow import tvl1, tvl1_energy
from idt.pyramid import to_grey
from idt.video import frames

PROJECT = Path(__file__).resolve().parent.parent


LIMIT = 120.0  # seconds in which 16 clips are to be learned
OVER_FIT_EPOCHS = 60
# Nothing that keeps a network from learning its clips by heart
OVER_FIT: dict[str, Any] = {
    "learning_rate": 2e-3,
    "label_smoothing": 0.0,
    "dropout": 0.0,
    "mirror": False,
    "scale": 0.95,
    "batch_size": 8,
    "grid": 1,
    "mirror_views": False,
}


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


def bench_network(
    name: str, model: str, repeats: int, *, backbone: str = "vgg-16", **options: Any
) -> Row:
    """One step of a network, beside its operations in matrix products."""
    network = models.load(model).build(101, backbone=backbone, dropout=0.5, **options)
    spec, side = models.clips(model, **options), backbones.side(backbone) or 224
    rgb = torch.rand(1, spec.segments, 3, 1, side, side)
    flow = torch.randn(1, spec.segments, 2, spec.stack, side, side)

    def step() -> None:
        heads = network.heads(rgb=rgb, flow=flow)
        label = torch.zeros(1, dtype=torch.int64)
        losses = [functional.cross_entropy(logits, label) for logits in heads.values()]
        network.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops()
    of_convolutions = sum(
        count
        for operator, count in counter.get_flop_counts()["Global"].items()
        if "convolution" in str(operator)
    )
    n = 2048
    left, right = torch.rand(n, n), torch.rand(n, n)
    step_s, product_s = medians(repeats, step, partial(torch.mm, left, right))
    rate = 2 * n**3 / product_s  # operations per second of processor
    with profile(activities=[ProfilerActivity.CPU]) as taken:
        step()
    spent = {event.key: event.self_cpu_time_total for event in taken.key_averages()}
    everything = sum(spent.values())
    inside = sum(seconds for key, seconds in spent.items() if "conv" in key.lower())
    others = sorted(
        ((seconds, key) for key, seconds in spent.items() if "conv" not in key.lower()),
        reverse=True,
    )
    share = of_convolutions / (rate * step_s * inside / everything)
    rest = ", ".join(f"{key} {seconds / everything:.0%}" for seconds, key in others[:4])
    note = (
        f"{operations / 1e9:.0f} GFLOP, {operations / step_s / 1e9:.0f} a second against "
        f"{rate / 1e9:.0f}; {inside / everything:.0%} of it in convolutions at {share:.0%} of the "
        f"rate; then {rest}; {torch.get_num_threads()} threads"
    )
    peer_s = operations / rate
    return Row(name, step_s, "matrix product", peer_s, peer_s / step_s, note)


def bench_loader(clips: Path, folder: Path) -> Row:
    """Share of a training's time in which the network waits."""
    files = sorted(clips.glob("*.avi"))
    flow = FlowSettings()
    stored = [each.result() for each in store_all(files, folder=folder, side=128, flow=flow)]
    module = models.load("two-stream")
    batches = fitting.batches(
        stored,
        range(len(stored)),
        spec=module.INPUT,
        cutting=Cutting(size=112),
        batch_size=16,
        passes=16,
        seed=0,
    )
    with reproducible(0):
        network = module.build(len(stored), backbone="small")
        _, *measured = train(network, batches, epochs=4, learning_rate=1e-3, optimiser="adamw")
    waited = statistics.median(epoch.waited for epoch in measured)
    pace = statistics.median(epoch.clips_per_second for epoch in measured)
    n_clips = 16 * len(stored)
    note = (
        f"waits {waited:.1%} of the time; {pace:.0f} clips a second of 112 pixels, one frame and "
        f"10 fields each, backbone small; median of {len(measured)} epochs after a first one"
    )
    return Row("loader", waited * n_clips / pace, "training", n_clips / pace, 1 / waited, note)


def bench_over_fit(model: str, data: Path, folder: Path) -> Row:
    """Time until 16 real clips are all right, flow and frames already stored."""
    with (data / "ut_interaction.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    classes = sorted({row["label"] for row in rows})[:4]
    by_class = [[row for row in rows if row["label"] == name][:4] for name in classes]
    chosen = [row for of_class in by_class for row in of_class]
    videos = [data / row["path"] for row in chosen]
    labels = [classes.index(row["label"]) for row in chosen]
    recogniser = NetworkRecogniser(
        model=model,
        backbone="small",
        epochs=OVER_FIT_EPOCHS,
        size=64,
        side=80,
        n_clips=3,
        recipe=OVER_FIT,
        cache=folder,
    )
    for outcome in recogniser.prepare(videos):
        outcome.result()
    started = time.process_time()
    right = recogniser.fit(videos, labels).scores(videos).argmax(axis=1) == labels
    taken = time.process_time() - started
    note = (
        f"{right.sum()} of {len(labels)} clips of {len(classes)} classes right after "
        f"{OVER_FIT_EPOCHS} epochs, loss {recogniser.losses_[-1]:.3f}; backbone small, 64 pixels"
    )
    return Row(f"over-fit {model}", taken, "limit", LIMIT, LIMIT / taken, note)


def cases(options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], Row]]:
    """What can be timed, by name."""
    networks: dict[str, dict[str, Any]] = {
        "late": {"fusion": "sum", "at": "softmax", "segments": 1},
        "conv": {"fusion": "conv3d", "at": "relu5", "segments": 2},
    }
    return {
        "tv-l1": lambda: bench_tvl1(options.clips, options.repeats),
        **{
            f"vgg-16-{name}": partial(
                bench_network,
                f"vgg-16 {name} fusion",
                "conv-fusion",
                options.repeats,
                **build,
            )
            for name, build in networks.items()
        },
        "loader": lambda: bench_loader(options.clips, folder),
        **{
            f"over-fit-{model}": partial(bench_over_fit, model, options.data, folder)
            for model in ("two-stream", "conv-fusion", "fstcn")
        },
    }


def main() -> None:
    shared = Path(os.environ.get("TRAJFUSE_SHARED", PROJECT.parent / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, help="write the table here as well")
    parser.add_argument("--clips", type=Path, default=shared / "golden" / "clips", help="videos")
    parser.add_argument("--data", type=Path, default=shared / "data", help="UT-Interaction")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    parser.add_argument("--cases", help="comma-separated; by default all of them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        known = cases(options, Path(folder))
        asked = options.cases.split(",") if options.cases else list(known)
        unknown = [name for name in asked if name not in known]
        if unknown:
            parser.error(f"--cases must be among {', '.join(known)}, got {', '.join(unknown)}")
        rows = [known[name]() for name in asked]
    table = Table(*Row._fields)
    for row in rows:
        times = (f"{row.ours_s:.4f}", row.peer, f"{row.peer_s:.4f}", f"{row.ratio:.2f}")
        table.add_row(row.case, *times, row.note)
    Console().print(table)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            for row in rows:
                times = (f"{row.ours_s:.6f}", row.peer, f"{row.peer_s:.6f}", f"{row.ratio:.3f}")
                writer.writerow((row.case, *times, row.note))


if __name__ == "__main__":
    main()
