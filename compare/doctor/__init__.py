"""The doctor, who looks whether a machine, a data set, extracted flow or a run is all right.

Each examination gives findings: what is so, how bad it is, and what to do. Nothing is changed.
"""

from compare.doctor.data_set import examine_data
from compare.doctor.finding import LEVELS, Finding, as_json, worst
from compare.doctor.flow_folders import examine_flow
from compare.doctor.machine import examine_machine
from compare.doctor.runs import examine_run

__all__ = [
    "LEVELS",
    "Finding",
    "as_json",
    "examine_data",
    "examine_flow",
    "examine_machine",
    "examine_run",
    "worst",
]
