"""Training: the loop, its checkpoints and log, and several processes at once."""

from deep.train import distributed
from deep.train.checkpoint import read as read_checkpoint
from deep.train.history import Epoch, write_csv
from deep.train.loop import OPTIMISERS, SCHEDULES, check_loop, reproducible, train

__all__ = [
    "OPTIMISERS",
    "SCHEDULES",
    "Epoch",
    "check_loop",
    "distributed",
    "read_checkpoint",
    "reproducible",
    "train",
    "write_csv",
]
