"""Trajectory-pooled deep-convolutional descriptors: networks' maps along improved trajectories.

Wang, Qiao and Tang, "Action Recognition with Trajectory-Pooled Deep-Convolutional Descriptors",
CVPR 2015.
"""

from deep.tdd.describing import (
    STREAMS,
    Stream,
    default_layers,
    describe,
    descriptor_names,
)
from deep.tdd.lattice import Lattice, run_layers
from deep.tdd.pooling import NORMALISATIONS, TrackPoints, TrajectoryPool

__all__ = [
    "NORMALISATIONS",
    "STREAMS",
    "Lattice",
    "Stream",
    "TrackPoints",
    "TrajectoryPool",
    "default_layers",
    "describe",
    "descriptor_names",
    "run_layers",
]
