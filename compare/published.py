"""Accuracies from the literature on UCF101 and HMDB51, and ours beside them where that is fair.

The numbers are top-1 accuracies in percent, as restated facts with their sources, in
``published.csv``. Trust is ``P`` for a paper's own text or its authors' repository and ``S`` for
another paper's table, a survey or notes; numbers that nobody has verified are not in it.
``splits`` is ``mean`` for the mean of the three official splits and ``1`` for split 1; ``idt`` is
empty without improved dense trajectories, ``alone`` for those alone, ``late`` where their scores
were fused and ``early`` where their features were.

`standings` says under which of these protocols an evaluation stands; `beside` sets it beside the
numbers of the same data set and protocol, and of no other. What a method was trained on before is
not part of that: the variant and the note tell where a paper says so.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from compare.datasets.dataset import Dataset, named
from compare.metrics import Evaluation

DATA = "published.csv"
SPLITS = ("mean", "1")
IDT = ("", "alone", "late", "early")
TRUST = ("P", "S")
DATASETS = ("UCF101", "HMDB51")
N_SPLITS = 3


@dataclass(frozen=True)
class Published:
    """One accuracy from the literature, in percent; see the module for `splits`, `idt`, `trust`."""

    method: str
    year: int
    variant: str
    dataset: str
    splits: str
    accuracy: float
    idt: str
    trust: str
    source: str
    note: str


@dataclass(frozen=True)
class Beside:
    """A published accuracy and ours under the same protocol, in percent, by method."""

    published: Published
    ours: Mapping[str, float]


def published(
    *,
    dataset: str | None = None,
    method: str | None = None,
    splits: str | None = None,
    idt: bool | None = None,
    trust: str | None = None,
) -> tuple[Published, ...]:
    """List accuracies from the literature.

    Parameters
    ----------
    dataset
        ``UCF101`` or ``HMDB51``; None: both. Case does not count.
    method
        Part of the method's name; case does not count.
    splits
        ``"mean"`` of the three splits or ``"1"``; None: both.
    idt
        With improved dense trajectories, or without them; None: both.
    trust
        ``"P"`` or ``"S"``; None: both.

    Raises
    ------
    ValueError
        A choice that there is not.
    """
    for name, value, choices in (
        ("dataset", dataset and dataset.upper(), DATASETS),
        ("splits", splits, SPLITS),
        ("trust", trust, TRUST),
    ):
        if value is not None and value not in choices:
            raise ValueError(f"{name} must be {' or '.join(choices)}, got {value!r}")
    return tuple(
        row
        for row in _rows()
        if (dataset is None or row.dataset == dataset.upper())
        and (method is None or method.casefold() in row.method.casefold())
        and (splits is None or row.splits == splits)
        and (idt is None or bool(row.idt) == idt)
        and (trust is None or row.trust == trust)
    )


def standings(dataset: Dataset, evaluation: Evaluation) -> dict[str, float]:
    """Return our accuracy in percent under each protocol of the literature that it meets.

    Parameters
    ----------
    dataset
        UCF101 or HMDB51 by its official split files, all clips there or none looked for.
    evaluation
        Of one method, of whole official splits.

    Returns
    -------
    dict
        ``"1"`` where split 1 was tested, ``"mean"`` where all three were.

    Raises
    ------
    ValueError
        Another data set, other splits, or other test videos than those of a split; says which.
    """
    if dataset.name not in DATASETS or not dataset.official:
        raise ValueError(
            f"ours must be of whole official splits of {' or '.join(DATASETS)}, got "
            f"{dataset.name!r} ({dataset.protocol}); published numbers of another protocol are "
            "nothing to compare with"
        )
    tested: dict[str, set[str]] = {}
    for prediction in evaluation.predictions:
        tested.setdefault(prediction.split, set()).add(prediction.id)
    by_number: dict[int, float] = {}
    for name, ids in tested.items():
        for number, split in zip(dataset.official, dataset.splits, strict=True):
            if ids == set(split.test):
                by_number[number] = 100 * evaluation.accuracy_by_split[name]
                break
        else:
            raise ValueError(
                f"ours must be tested on a whole official split of {dataset.name}, got "
                f"{len(ids)} videos in {name!r} that are none of "
                f"{named([s.name for s in dataset.splits])}"
            )
    found = {"1": by_number[1]} if 1 in by_number else {}
    if len(by_number) == N_SPLITS:
        found["mean"] = sum(by_number.values()) / N_SPLITS
    if not found:
        raise ValueError(
            f"ours must be tested on split 1 or on all three, got only "
            f"{named([f'split {n}' for n in sorted(by_number)])}; the literature gives no such "
            "numbers"
        )
    return found


def beside(
    rows: Sequence[Published], dataset: Dataset, ours: Mapping[str, Evaluation]
) -> tuple[Beside, ...]:
    """Set ours beside the published numbers of the same data set and protocol; leave out others.

    Raises
    ------
    ValueError
        One of ours stands under no protocol of the literature, or no row is of ours.
    """
    standing = {name: standings(dataset, evaluation) for name, evaluation in ours.items()}
    found = [
        Beside(row, {name: of[row.splits] for name, of in standing.items() if row.splits in of})
        for row in rows
        if row.dataset == dataset.name
    ]
    agreeing = tuple(each for each in found if each.ours)
    if not agreeing:
        protocols = sorted({splits for of in standing.values() for splits in of})
        raise ValueError(
            f"rows must hold one of {dataset.name} with splits {' or '.join(protocols)}, as ours "
            "are, got none; ask for fewer things"
        )
    return agreeing


def _rows() -> tuple[Published, ...]:
    text = resources.files("compare").joinpath(DATA).read_text(encoding="utf-8")
    return tuple(
        Published(
            method=row["method"],
            year=int(row["year"]),
            variant=row["variant"],
            dataset=row["dataset"],
            splits=row["splits"],
            accuracy=float(row["accuracy"]),
            idt=row["idt"],
            trust=row["trust"],
            source=row["source"],
            note=row["note"],
        )
        for row in csv.DictReader(text.splitlines())
    )
