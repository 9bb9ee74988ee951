"""The Trajectories table: one row per trajectory, its place and statistics, and its descriptors.

It is written and read in five forms: HDF5, the two of NumPy, and the text of the reference program,
plain or gzipped; `TableWriter` writes them while the rows come in.
"""

from idt.trajectories.agreement import agreement
from idt.trajectories.columns import META_COLUMNS, USUAL_DIMENSIONS, time_positions
from idt.trajectories.table import Trajectories, provenance
from idt.trajectories.writer import DTYPES, FORMS, TableWriter

__all__ = [
    "DTYPES",
    "FORMS",
    "META_COLUMNS",
    "USUAL_DIMENSIONS",
    "TableWriter",
    "Trajectories",
    "agreement",
    "provenance",
    "time_positions",
]
