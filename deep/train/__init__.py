"""Training: the loop, its checkpoints and log, and several processes at once."""

from deep.train import distributed
from deep.train.checkpoint import read as read_checkpoint
from deep.train.history import Epoch, check_board, write_csv
from deep.train.loop import OPTIMISERS, SCHEDULES, check_options, reproducible, train

__all__ = [
    "OPTIMISERS",
    "SCHEDULES",
    "Epoch",
    "check_board",
    "check_options",
    "distributed",
    "read_checkpoint",
    "reproducible",
    "train",
    "write_csv",
]
