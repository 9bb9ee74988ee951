"""Tables of scores: one row per video, one column per class, joined by name and never by place.

Two programs rarely write videos, or classes, in the same order. Fusing their rows by position
changes the result without an error; where only the order inside classes differs it even raises the
fused accuracy while every single accuracy stays as it was. A `ScoreTable` therefore always carries
its video ids and class names, and `join` refuses tables that differ, naming what differs.

On disk a table is an ``.npz`` of plain arrays (nothing pickled: ids, classes, scores, and a JSON
text with the rest) or a ``.csv`` with a first line ``# trajfuse-scores {...}`` of the same JSON.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from compare.datasets.dataset import joined, named
from compare.scores import files, names

Kind = Literal["decision", "logit", "probability"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one method on the test videos of one split.

    Parameters
    ----------
    ids
        Video ids, unique, one per row.
    classes
        Class names, unique, one per column.
    scores
        Shape (n_videos, n_classes), finite; larger means more likely. Kept as read-only float32.
    kind
        ``"decision"`` (an SVM's signed distances, or any scale of its own), ``"logit"`` (log
        odds up to a constant per video) or ``"probability"`` (non-negative, rows sum to 1).
    method, split
        What made the scores, and for which split's test videos.
    provenance
        JSON-able settings, versions and seconds behind the scores.

    Raises
    ------
    ValueError
        Names the rule that is broken and where.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    scores: np.ndarray
    kind: Kind
    method: str
    split: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(str(id) for id in self.ids))
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        object.__setattr__(self, "scores", _checked_scores(self))

    def aligned(
        self,
        ids: Sequence[str],
        classes: Sequence[str],
        *,
        tolerant: Collection[str] = (),
        asked_by: str = "what is asked for",
    ) -> ScoreTable:
        """Return the same scores with rows and columns in another order, under the names asked for.

        Parameters
        ----------
        ids, classes
            All of this table's names, in the order that is wanted.
        tolerant
            What may differ between spellings, see `compare.scores.names.folded`; of classes, only
            case and characters may. What was renamed is told in the provenance, as ``"matched"``.
        asked_by
            What an error calls the names that are asked for.

        Raises
        ------
        ScoreJoinError
            `ids` or `classes` are not exactly this table's own.
        """
        tolerant = names.check_tolerances(tolerant)
        sides = (self.method, asked_by)
        of_classes = [each for each in tolerant if each in ("case", "characters")]
        videos = names.match(self.ids, ids, what="videos", sides=sides, tolerant=tolerant)
        columns = names.match(
            self.classes, classes, what="classes", sides=sides, tolerant=of_classes
        )
        row_of = {id: row for row, id in enumerate(self.ids)}
        column_of = {name: column for column, name in enumerate(self.classes)}
        taken = np.ix_(
            [row_of[videos[id]] for id in ids], [column_of[columns[name]] for name in classes]
        )
        provenance = dict(self.provenance)
        if tolerant:
            provenance["matched"] = {
                "videos": names.account(videos, tolerant),
                "classes": names.account(columns, of_classes),
            }
        return replace(
            self,
            ids=tuple(ids),
            classes=tuple(classes),
            scores=self.scores[taken],
            provenance=provenance,
        )

    def save(self, path: str | Path) -> None:
        """Write the table whole or not at all, as ``.npz`` or ``.csv`` by the suffix of `path`."""
        path = Path(path)
        about = {
            "format": files.FORMAT,
            "kind": self.kind,
            "method": self.method,
            "split": self.split,
            "provenance": dict(self.provenance),
        }
        about_text = json.dumps(about, ensure_ascii=False, allow_nan=False)
        if path.suffix == ".npz":
            content = files.npz_bytes(self, about_text)
        elif path.suffix == ".csv":
            content = files.csv_bytes(self, about_text)
        else:
            raise ValueError(f"path must end in .npz or .csv, got {str(path)!r}")
        files.write_whole(path, content)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        kind: Kind | None = None,
        method: str | None = None,
        split: str | None = None,
    ) -> ScoreTable:
        """Read a table from ``.npz`` (arrays ids, classes, scores) or ``.csv`` (id, then classes).

        Parameters
        ----------
        path
            The file. Nothing in it is executed: pickled content is refused.
        kind, method, split
            Take precedence over the file's own. A file that says nothing of itself needs `kind`;
            `method` is then its name without suffix, `split` empty.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is no table of scores, with the reason.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path must be a table of scores, got {str(path)!r}: no file")
        if path.suffix == ".npz":
            ids, classes, scores, about = files.read_npz(path)
        elif path.suffix == ".csv":
            ids, classes, scores, about = files.read_csv(path)
        else:
            raise ValueError(f"path must end in .npz or .csv, got {str(path)!r}")
        kind = kind or about.get("kind")
        if kind is None:
            raise ValueError(
                f"kind must be given for {str(path)!r}, which does not say whether it holds "
                f"{_either(KINDS)} scores; 'trajfuse compare import' makes a table that says so"
            )
        try:
            return cls(
                ids=ids,
                classes=classes,
                scores=scores,
                kind=kind,
                method=method or about.get("method") or path.stem,
                split=split or about.get("split") or "",
                provenance=about.get("provenance") or {},
            )
        except ValueError as error:
            raise ValueError(f"{str(path)!r} is no valid table of scores: {error}") from error


def labels_of(table: ScoreTable, truth: Mapping[str, str]) -> np.ndarray:
    """Return the column of each row's class, int64 (n_videos,); ValueError where there is none."""
    column_of = {name: column for column, name in enumerate(table.classes)}
    unknown = [id for id in table.ids if truth.get(id) not in column_of]
    if unknown:
        said = [f"{id!r} {truth[id]!r}" if id in truth else f"{id!r} none" for id in unknown]
        raise ValueError(
            f"every video of {table.method!r} must have a class among its classes "
            f"({named(table.classes)}), got others for {len(unknown)}: {joined(said)}; give the "
            "labels of these videos, with classes spelt as in the table"
        )
    return np.array([column_of[truth[id]] for id in table.ids])


class FlatScoresWarning(UserWarning):
    """Videos for which a table scores all classes alike: the first class counts as its answer."""


def warn_of_flat(table: ScoreTable) -> None:
    """Warn where a table scores all classes of a video alike, or has one class, and tells nothing.

    Warns
    -----
    FlatScoresWarning
        Names the first few videos.
    """
    flat = np.flatnonzero(np.ptp(table.scores, axis=1) == 0).tolist()
    if len(table.classes) == 1:
        warnings.warn(
            f"{table.method!r} has one class, {table.classes[0]!r}: it is always right",
            FlatScoresWarning,
            stacklevel=2,
        )
    elif flat:
        warnings.warn(
            f"{table.method!r} scores all classes alike for {len(flat)} of {len(table.ids)} videos "
            f"({named([table.ids[row] for row in flat])}); {table.classes[0]!r}, its first class, "
            "counts as what it says of them",
            FlatScoresWarning,
            stacklevel=2,
        )


def join(tables: Sequence[ScoreTable], *, tolerant: Collection[str] = ()) -> list[ScoreTable]:
    """Bring tables into the row and column order of the first, matched by id and class name.

    Parameters
    ----------
    tables
        One or more.
    tolerant
        What may differ between spellings, as for `ScoreTable.aligned`; the first table's stay.

    Raises
    ------
    ScoreJoinError
        Two tables score other videos or other classes; the message gives the first few on either
        side, how many there are, and which tolerances would make them agree.
    """
    if not tables:
        raise ValueError("tables must be one or more, got none")
    first, *others = tables
    if not tolerant:
        for other in others:
            sides = (first.method, other.method)
            names.require_same(first.ids, other.ids, what="videos", sides=sides)
            names.require_same(first.classes, other.classes, what="classes", sides=sides)
    return [
        first,
        *(other.aligned(first.ids, first.classes, tolerant=tolerant) for other in others),
    ]


def _checked_scores(table: ScoreTable) -> np.ndarray:
    """Scores as read-only float32, once everything about the table has been checked."""
    if table.kind not in KINDS:
        raise ValueError(f"kind must be {_either(KINDS)}, got {table.kind!r}")
    for name, values in (("ids", table.ids), ("classes", table.classes)):
        repeated = [value for value, n in Counter(values).items() if n > 1]
        if repeated:
            raise ValueError(f"{name} must be unique, got more than once: {named(repeated)}")
        if "" in values:
            raise ValueError(f"{name} must not be empty texts, got one at {values.index('')}")
    given = np.asarray(table.scores)
    if given.dtype.kind not in "fiu":
        raise ValueError(f"scores must be real numbers, got an array of {given.dtype}")
    wanted = (len(table.ids), len(table.classes))
    if given.shape != wanted:
        raise ValueError(
            f"scores must have shape (n_videos, n_classes) = {wanted}, got {given.shape}"
        )
    if 0 in wanted:
        raise ValueError(f"scores must have a row and a column, got shape {wanted}")
    with np.errstate(over="ignore"):
        scores = given.astype(np.float32)
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        rows = [table.ids[row] for row in np.flatnonzero(bad).tolist()]
        raise ValueError(f"scores must be finite, got NaN or infinity for {named(rows)}")
    if table.kind == "probability":
        _check_probabilities(table.ids, scores)
    scores.flags.writeable = False
    return scores


def _check_probabilities(ids: Sequence[str], scores: np.ndarray) -> None:
    sums = scores.sum(axis=1, dtype=np.float64)
    bad = (scores < 0).any(axis=1) | (np.abs(sums - 1) > 1e-3)
    if bad.any():
        rows = [ids[row] for row in np.flatnonzero(bad).tolist()]
        raise ValueError(
            "probabilities must be 0 or more and sum to 1 in every row, got others for "
            f"{named(rows)}; call the scores 'decision' or 'logit' if that is what they are"
        )


def _either(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:-1]) + f" or {names[-1]!r}"
