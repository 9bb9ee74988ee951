"""Train a small network as one process of one or more: ``one_process.py FOLDER [KILLED_IN]``.

FOLDER holds frames.h5 and flow.h5. Losses and weights go to FOLDER/RANK.safetensors. In the epoch
KILLED_IN, behind its first batch, the process kills itself.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from deep import models, weights
from deep.clips import ClipSpec
from deep.data import Batch, Cutting, Stored, training_batches
from deep.train import distributed, reproducible, train

SPEC = ClipSpec(stack=2)
N_FRAMES, SIDE = 12, 32


def run(folder: Path, *, killed_in: int | None = None, dropout: float = 0.0) -> None:
    videos = [
        Stored(folder / f"{index}.avi", folder / "frames.h5", folder / "flow.h5", n, SIDE, SIDE)
        for index, n in enumerate((N_FRAMES, N_FRAMES - 2, N_FRAMES - 4))
    ]

    def batches(epoch: int) -> Iterator[Batch]:
        found = training_batches(
            videos,
            [0, 1, 2],
            spec=SPEC,
            cutting=Cutting(size=SIDE, scale=0.5),
            batch_size=5,
            n_clips=8,
            seed=3,
            epoch=epoch,
            share=(distributed.rank(), distributed.world()),
        )
        for batch in found:
            yield batch
            if epoch == killed_in:
                os.kill(os.getpid(), signal.SIGKILL)

    with reproducible(5), distributed.processes("cpu") as device:
        network = models.load("two-stream").build(3, backbone="small", stack=2, dropout=dropout)
        history = train(
            network,
            batches,
            epochs=3,
            learning_rate=0.02,
            clip_gradient=1.0,
            device=device,
            checkpoint=folder / "checkpoint.safetensors",
        )
        tensors = dict(network.state_dict())
        tensors["losses"] = torch.tensor([epoch.loss for epoch in history], dtype=torch.float64)
        weights.save(folder / f"{distributed.rank()}.safetensors", tensors, settings={})


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), killed_in=int(sys.argv[2]) if len(sys.argv) > 2 else None)
