"""Tables of scores in the forms that other programs read.

Object arrays and dictionaries can only be written pickled. That is what those programs expect; what
is written holds arrays, numbers and texts alone, so that `compare.scores.pickled` reads it back.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from compare.scores.files import write_whole
from compare.scores.table import ScoreTable, labels_of

FORMS = {"tsn": ".npz", "mmaction2": ".pkl"}


def export_scores(
    table: ScoreTable, path: str | Path, *, form: str, truth: Mapping[str, str]
) -> None:
    """Write a table as TSN's ``.npz`` or mmaction2's ``.pkl``, whole or not at all.

    Parameters
    ----------
    table
        Rows and columns are written in its order.
    path
        Ends in ``.npz`` for ``"tsn"`` and in ``.pkl`` for ``"mmaction2"``.
    form
        ``"tsn"``: ``scores``, objects (n_videos, 2) of float32 (frames 1, crops 1, n_classes) and
        the label; ``labels``; and, as CoViAR has them, ``names``. ``"mmaction2"``: per video a
        dictionary with ``pred_score``, ``pred_label``, ``gt_label`` and ``filename``.
    truth
        The class of each video: both forms hold its number, counted from 0 by column.

    Raises
    ------
    ValueError
        An unknown form, another suffix, or a video whose class is unknown.
    """
    path = Path(path)
    if FORMS.get(form) != path.suffix:
        raise ValueError(
            f"form and path must be among {', '.join(f'{k} *{v}' for k, v in FORMS.items())}, got "
            f"{form} {str(path)!r}"
        )
    labels = labels_of(table, truth).tolist()
    write_whole(path, _tsn(table, labels) if form == "tsn" else _mmaction2(table, labels))


def _tsn(table: ScoreTable, labels: list[int]) -> bytes:
    rows = np.empty((len(labels), 2), dtype=object)
    for index, (scores, label) in enumerate(zip(table.scores, labels, strict=True)):
        rows[index, 0], rows[index, 1] = scores[None, None].copy(), label
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        scores=rows,
        labels=np.array(labels, dtype=np.int64),
        names=np.array(table.ids, dtype=np.str_),
    )
    return buffer.getvalue()


def _mmaction2(table: ScoreTable, labels: list[int]) -> bytes:
    samples = [
        {
            "pred_score": scores.copy(),
            "pred_label": np.array([int(scores.argmax())]),
            "gt_label": np.array([label]),
            "filename": id,
        }
        for id, scores, label in zip(table.ids, table.scores, labels, strict=True)
    ]
    return pickle.dumps(samples, protocol=4)
