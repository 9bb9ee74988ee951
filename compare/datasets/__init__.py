"""Data sets: which videos, of which class and group, and who trains and who tests.

A data set comes from a CSV file (columns ``path`` and ``label``, and as wanted ``group``, ``split``
or any column that names folds), from a folder with one folder of videos per class, or from the
files of a published set: UCF101, HMDB51, KTH, UT-Interaction, lists as TSN and mmaction2 have them,
Kinetics' tables. Everything that can be wrong with it is said here, before any video is worked on.
"""

from __future__ import annotations

from compare.datasets.acted import kth, ut_interaction
from compare.datasets.class_folders import from_folder
from compare.datasets.csv_file import from_csv
from compare.datasets.dataset import Dataset, Split, Video
from compare.datasets.folds import group_folds, inner_folds
from compare.datasets.forms import FORMS, load
from compare.datasets.labels import Labels, load_labels
from compare.datasets.list_files import from_lists, kinetics, list_pairs
from compare.datasets.official import hmdb51, ucf101
from compare.datasets.readable import Unreadable, check_videos

__all__ = [
    "FORMS",
    "Dataset",
    "Labels",
    "Split",
    "Unreadable",
    "Video",
    "check_videos",
    "from_csv",
    "from_folder",
    "from_lists",
    "group_folds",
    "hmdb51",
    "inner_folds",
    "kinetics",
    "kth",
    "list_pairs",
    "load",
    "load_labels",
    "ucf101",
    "ut_interaction",
]
