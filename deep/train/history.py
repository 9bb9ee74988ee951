"""What happened in each epoch, as a table and for TensorBoard."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from idt.jobs import whole_file


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes
    ----------
    number
        From 0.
    loss
        Mean training loss of a clip.
    learning_rate
        Of the layers that start at random.
    clips_per_second
        Of training, by the clock.
    waited
        Share of that time in which the network waited for clips.
    validation_loss, validation_accuracy
        Of the validation videos; None without.
    """

    number: int
    loss: float
    learning_rate: float
    clips_per_second: float
    waited: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


def write_csv(path: Path, history: Sequence[Epoch]) -> None:
    """Write a table with a row per epoch, whole or not at all."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)


@contextlib.contextmanager
def board(folder: Path | None, *, start: int) -> Iterator[Callable[[Epoch], None]]:
    """Give what adds an epoch to TensorBoard's files in a folder; without one it adds nothing.

    Parameters
    ----------
    folder
        Where TensorBoard looks.
    start
        First epoch to come; what is there from it on is superseded.

    Raises
    ------
    ImportError
        TensorBoard is not installed.
    """
    if folder is None:
        yield lambda epoch: None
        return
    check_board()
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=start) as writer:

        def add(epoch: Epoch) -> None:
            for name, value in asdict(epoch).items():
                if name != "number" and value is not None:
                    writer.add_scalar(name, value, epoch.number)
            writer.flush()

        yield add


def check_board() -> None:
    """Raise ImportError where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401  # to see whether it is there
    except ImportError as error:
        raise ImportError(
            "tensorboard must be installed to log for it, got none; "
            "pip install trajfuse[tensorboard], or leave the folder out: the CSV log has it all"
        ) from error
