"""Others' score files as tables: which video each row is, and which class each column.

A file with names is joined to a list by name, one without by the list's order, which somebody has
to vouch for. Columns get their names from what is surest: the labels that the file itself holds,
together with the classes of its videos. A list of classes that says otherwise is refused, for a
wrong order of columns shows in no error, only in a lower accuracy: HMDB51's classes sorted by the
names of their split files stand in another order than sorted by their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compare.datasets.dataset import named
from compare.scores import foreign, names
from compare.scores.foreign import Foreign
from compare.scores.listing import Listing
from compare.scores.table import Kind, ScoreTable

Rows = Literal["listed", "sorted"]
ROWS = ("listed", "sorted")


def import_scores(
    path: str | Path,
    *,
    kind: Kind,
    method: str | None = None,
    split: str = "",
    listing: Listing | None = None,
    classes: Sequence[str] | None = None,
    tolerant: Collection[str] = (),
    rows: Rows = "listed",
    variable: str | None = None,
) -> ScoreTable:
    """Read a score file of another program into a table.

    Parameters
    ----------
    path
        See `compare.scores.foreign` for the forms. Nothing in it is run.
    kind
        What the scores are; files do not say.
    method, split
        Names of the table; the method is by default the file's name without suffix.
    listing
        The videos. A file with names is brought into its order and takes its ids; a file without
        names needs it, with as many videos as rows.
    classes
        The classes in the order of the columns; needed where the file holds neither names nor
        labels, or does not label every class.
    tolerant
        What may differ between the file's names and the list's, see `compare.scores.names`.
    rows
        Order of a file without names: as in the list, or ``"sorted"`` by id, as TSN writes it.
    variable
        See `compare.scores.foreign.read`.

    Raises
    ------
    ScoreJoinError
        Names of the file and of the list differ.
    ValueError
        The file is unreadable, or rows, columns, labels and classes do not fit each other.
    """
    path = Path(path)
    content = foreign.read(path, variable=variable)
    method = method or path.stem
    if rows not in ROWS:
        raise ValueError(f"rows must be listed or sorted, got {rows!r}")
    try:
        ids, matched, order = _rows_of(content, listing, tolerant, rows, method)
        content = Foreign(
            content.scores[order],
            None,
            None if content.labels is None else content.labels[order],
            content.classes,
        )
        truth = _truth_of(ids, listing)
        columns, source = _columns_of(content, ids, truth, classes)
        provenance: dict[str, Any] = {
            "imported from": path.name,
            "classes from": source,
            **({"matched": matched} if matched else {}),
        }
        return ScoreTable(ids, columns, content.scores, kind, method, split, provenance)
    except names.ScoreJoinError:
        raise
    except ValueError as error:
        raise ValueError(f"{str(path)!r} makes no table of scores: {error}") from error


def _rows_of(
    content: Foreign,
    listing: Listing | None,
    tolerant: Collection[str],
    rows: Rows,
    method: str,
) -> tuple[tuple[str, ...], dict[str, Any], np.ndarray]:
    """Return ids, an account of a tolerant match, and which row of the file each id is."""
    n = len(content.scores)
    for what, values in (("names", content.names), ("labels", content.labels)):
        if values is not None and len(values) != n:
            raise ValueError(f"it must have as many {what} as rows, got {len(values)} and {n}")
    if content.names is None:
        if listing is None:
            raise ValueError(
                "its rows have no names; give the list of videos that they are (--list)"
            )
        if len(listing.ids) != n:
            raise ValueError(
                f"the list must have a video per row, got {len(listing.ids)} and scores of shape "
                f"{content.scores.shape}"
            )
        ids = listing.ids if rows == "listed" else tuple(sorted(listing.ids))
        return ids, {}, np.arange(n)
    repeated = [name for name, count in Counter(content.names).items() if count > 1]
    if repeated:
        raise ValueError(f"it must name a video once, got more than once: {named(repeated)}")
    if listing is None:
        return content.names, {}, np.arange(n)
    tolerant = names.check_tolerances(tolerant)
    found = names.match(
        content.names, listing.ids, what="videos", sides=(method, "the list"), tolerant=tolerant
    )
    row_of = {name: row for row, name in enumerate(content.names)}
    order = np.array([row_of[found[id]] for id in listing.ids])
    return listing.ids, {"videos": names.account(found, tolerant)} if tolerant else {}, order


def _truth_of(ids: Sequence[str], listing: Listing | None) -> dict[str, str]:
    """Classes of the videos, as the list or else the folders in their names say."""
    if listing is not None and listing.labels is not None:
        return listing.truth
    folders = {id: id.rpartition("/")[0] for id in ids}
    flat = all(folder and "/" not in folder for folder in folders.values())
    return folders if flat and len(set(folders.values())) > 1 else {}


def _columns_of(
    content: Foreign,
    ids: Sequence[str],
    truth: dict[str, str],
    given: Sequence[str] | None,
) -> tuple[tuple[str, ...], str]:
    """Return the classes of the columns, and where they come from."""
    n = content.scores.shape[1]
    stated = tuple(given or content.classes or ())
    if given and content.classes and tuple(given) != content.classes:
        raise ValueError("classes must not be given for a file that names its own")
    if stated and len(stated) != n:
        raise ValueError(f"classes must be one per column, got {len(stated)} for {n} columns")
    derived = _labelled_classes(content.labels, ids, truth, n, stated)
    if not derived and not stated:
        raise ValueError(
            "its columns have no names; give the classes in their order (--classes), or a list "
            "that says which class each video is (--list)"
        )
    contradicted = [
        f"column {column + 1} is {derived[column]!r} by its videos and {name!r} by the list"
        for column, name in enumerate(stated)
        if column in derived and derived[column] != name
    ]
    if contradicted:
        raise ValueError(
            f"classes must stand in the order of the columns, got {len(contradicted)} that do not: "
            f"{'; '.join(contradicted[:3])}; leave them out to take them from the file's labels"
        )
    if stated:
        return stated, "a list" if given else "the file"
    lacking = [str(column + 1) for column in range(n) if column not in derived]
    if lacking:
        raise ValueError(
            f"its labels must show every class, got none for the columns {named(lacking)}; give "
            "the classes in their order (--classes)"
        )
    return tuple(derived[column] for column in range(n)), "the file's labels"


def _labelled_classes(
    labels: np.ndarray | None,
    ids: Sequence[str],
    truth: dict[str, str],
    n: int,
    stated: Sequence[str],
) -> dict[int, str]:
    """Column to class as the file's labels and the videos' classes tell together."""
    if labels is None or not truth:
        return {}
    base = _base_of(labels, n)
    if base is None:
        base = _base_that_fits(labels, [truth[id] for id in ids], stated)
    seen: defaultdict[int, set[str]] = defaultdict(set)
    for id, label in zip(ids, labels.tolist(), strict=True):
        seen[label - base].add(truth[id])
    torn = {column: names_ for column, names_ in seen.items() if len(names_) > 1}
    if torn:
        column, classes = min(torn.items())
        raise ValueError(
            f"each label must mean one class, got {len(torn)} that mean several (label "
            f"{column + base}: {named(sorted(classes))}); the list's rows are in another order "
            "than the file's, or of another data set"
        )
    derived = {column: next(iter(classes)) for column, classes in seen.items()}
    if len(set(derived.values())) != len(derived):
        raise ValueError("each class must have one label, got two labels for one class")
    return derived


def _base_of(labels: np.ndarray, n: int) -> int | None:
    """Whether labels count from 0 or from 1; None where they do not tell."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > n or (low == 0 and high == n):
        raise ValueError(f"labels must be numbers of {n} classes, got {low} to {high}")
    return 0 if low == 0 else 1 if high == n else None


def _base_that_fits(labels: np.ndarray, truth: Sequence[str], stated: Sequence[str]) -> int:
    fitting = [
        base
        for base in (0, 1)
        if stated
        and all(stated[k - base] == name for k, name in zip(labels.tolist(), truth, strict=True))
    ]
    if len(fitting) != 1:
        raise ValueError(
            f"labels must show whether they count from 0 or from 1, got {labels.min()} to "
            f"{labels.max()}; give the classes in their order (--classes)"
        )
    return fitting[0]
