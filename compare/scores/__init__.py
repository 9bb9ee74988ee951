"""Scores of videos: the table, its files, how names are matched, and the files of others."""

from compare.scores.exporting import FORMS, export_scores
from compare.scores.files import write_whole
from compare.scores.foreign import is_table
from compare.scores.importing import ROWS, import_scores
from compare.scores.listing import Listing, read_classes, read_listing
from compare.scores.names import TOLERANCES, ScoreJoinError
from compare.scores.table import (
    KINDS,
    FlatScoresWarning,
    Kind,
    ScoreTable,
    join,
    labels_of,
    warn_of_flat,
)

__all__ = [
    "FORMS",
    "KINDS",
    "ROWS",
    "TOLERANCES",
    "FlatScoresWarning",
    "Kind",
    "Listing",
    "ScoreJoinError",
    "ScoreTable",
    "export_scores",
    "import_scores",
    "is_table",
    "join",
    "labels_of",
    "read_classes",
    "read_listing",
    "warn_of_flat",
    "write_whole",
]
