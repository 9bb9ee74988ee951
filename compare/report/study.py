"""What a report is about: methods with their evaluations, costs and settings, from whatever source.

A benchmark's run (`of_run`) and score tables that were made elsewhere (`of_tables`) become the same
`Study`; everything that the report shows is worked out from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from compare.benchmark import Role, Run, versions
from compare.benchmark.methods import YARDSTICKS
from compare.datasets.dataset import named
from compare.metrics import Evaluation
from compare.report.cost import Cost, cost_of, costs_of, mapping, members_of
from compare.scores import ScoreTable

HANDCRAFTED = re.compile(r"(?<![a-z])i?dt(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Entry:
    """One method, fusion or yardstick; `evaluations` has one per seed, `members` what it fuses.

    `way` says how it fuses (kind, normalisation), `weights` with which weights, in the order of
    `members`; `costs_by_split` are those that tables tell of; `calibrations`
    says by member by which kind it was calibrated before, and its ``error_before`` and
    ``error_after``, 0 to 1; `caveat` is anything that sets the entry outside the protocol of the
    others.
    """

    label: str
    role: Role
    evaluations: tuple[Evaluation, ...]
    members: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    way: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    costs_by_split: Mapping[str, Cost] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    calibrations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    caveat: str = ""
    resumed: bool = False

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation of the first seed."""
        return self.evaluations[0]

    @property
    def accuracy(self) -> float:
        """Mean over splits and seeds."""
        return float(np.mean([each.split_mean for each in self.evaluations]))

    @property
    def handcrafted(self) -> bool:
        """Whether the name says that these are (improved) dense trajectories and nothing else."""
        return not self.members and HANDCRAFTED.search(self.label) is not None


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that a report says, before it is worked out.

    `groups` is None without groups; `paths` leads from ids to clips that may or may not be there;
    `splits` holds (name, number of training videos or None, number of test videos).
    """

    name: str
    protocol: str
    entries: tuple[Entry, ...]
    truth: Mapping[str, str]
    groups: Mapping[str, str] | None
    splits: tuple[tuple[str, int | None, int], ...]
    paths: Mapping[str, Path] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    unable: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    command: str = ""
    started: str = ""
    seconds: float | None = None
    peak_memory: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.entries:
            raise ValueError("a report must be of one method or more, got none")
        classes = self.entries[0].evaluation.classes
        ordered = tuple(
            replace(e, evaluations=tuple(_in_order(v, classes, e.label) for v in e.evaluations))
            for e in self.entries
        )
        object.__setattr__(self, "entries", ordered)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of all evaluations."""
        return self.entries[0].evaluation.classes

    def of(self, *roles: Role) -> tuple[Entry, ...]:
        """Return the entries of some roles, in order."""
        return tuple(entry for entry in self.entries if entry.role in roles)

    def named(self, label: str) -> Entry:
        """Return the entry of that label."""
        for entry in self.entries:
            if entry.label == label:
                return entry
        known = named([entry.label for entry in self.entries])
        raise ValueError(f"method must be among {known}, got {label!r}")


def of_run(run: Run) -> Study:
    """Take a benchmark's run as the subject of a report."""
    study = of_tables(
        {result.label: result.tables for result in run.results},
        {result.label: (result.evaluation,) for result in run.results},
        name=run.dataset.name,
        truth=run.dataset.truth,
        groups=run.dataset.groups,
        protocol=run.dataset.protocol,
        n_trained={split.name: len(split.train) for split in run.dataset.splits},
        paths={video.id: video.path for video in run.dataset.videos},
        roles={result.label: result.role for result in run.results},
        excluded={bad.id: bad.reason for bad in run.excluded},
        unable=run.unable,
        seed=run.seed,
        command=run.command,
        started=run.started,
        seconds=run.seconds,
        peak_memory=run.peak_memory,
        versions=run.versions,
    )
    told = zip(study.entries, run.results, strict=True)
    entries = (replace(e, settings=r.settings, resumed=r.resumed) for e, r in told)
    return replace(study, entries=tuple(entries))


def of_tables(
    tables: Mapping[str, Sequence[ScoreTable]],
    evaluations: Mapping[str, Sequence[Evaluation]],
    *,
    name: str,
    truth: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
    protocol: str = "",
    n_trained: Mapping[str, int] | None = None,
    paths: Mapping[str, Path] | None = None,
    costs: Mapping[str, Cost] | None = None,
    roles: Mapping[str, Role] | None = None,
    **about: Any,
) -> Study:
    """Take score tables as the subject of a report.

    Parameters
    ----------
    tables
        All tables of each method; their provenance says what was fused, cost and settings.
    evaluations
        One per seed, of the same methods.
    name, protocol
        What the data set and its splits are called.
    truth, groups
        Class and group of each video id.
    n_trained
        Number of training videos by split, where known.
    paths
        Clips, for thumbnails; those that are not there are passed over.
    costs
        By method, where the tables do not say.
    roles
        By method, where known; else what fuses is a fusion, and the benchmark's yardsticks are.
    about
        Further fields of `Study`.
    """
    of_label = costs_of(tables, costs)
    entries = []
    for label, of_method in tables.items():
        weights = _weights(of_method)
        guessed: Role = "yardstick" if label in YARDSTICKS else "fusion" if weights else "method"
        entries.append(
            Entry(
                label=label,
                role=roles.get(label, guessed) if roles else guessed,
                evaluations=tuple(evaluations[label]),
                members=tuple(weights),
                weights=tuple(weights.values()),
                way=_way(of_method[0]),
                cost=of_label[label],
                costs_by_split=_by_split(of_method),
                settings=of_method[0].provenance,
                calibrations=_calibrations(of_method),
                caveat=str(of_method[0].provenance.get("protocol", "")),
            )
        )
    first = entries[0].evaluation
    tested = {s: sum(p.split == s for p in first.predictions) for s in first.accuracy_by_split}
    return Study(
        name=name,
        protocol=protocol,
        entries=tuple(entries),
        truth=truth,
        groups=groups,
        splits=tuple((s, (n_trained or {}).get(s), n) for s, n in tested.items()),
        paths=paths or {},
        versions=about.pop("versions", None) or versions(),
        **about,
    )


def _weights(tables: Sequence[ScoreTable]) -> dict[str, float]:
    """Weight of each method that was fused, the mean over tables."""
    each = [members_of(table) for table in tables]
    return {name: float(np.mean([w.get(name, 0.0) for w in each])) for name in each[0]}


def _calibrations(tables: Sequence[ScoreTable]) -> dict[str, dict[str, Any]]:
    """How each member was calibrated, with errors, the mean over tables, where they say so."""
    each = [mapping(table.provenance.get("calibration")) for table in tables]
    found = {}
    for member, about in each[0].items():
        told = [mapping(one.get(member)) for one in each]
        if all("error_before" in one and "error_after" in one for one in told):
            errors = {
                key: float(np.mean([one[key] for one in told]))
                for key in ("error_before", "error_after")
            }
            found[str(member)] = {"kind": str(about.get("kind", "")), **errors}
    return found


def _by_split(tables: Sequence[ScoreTable]) -> dict[str, Cost]:
    """Cost of each split, the sum over seeds; of those that their tables tell of."""
    splits = dict.fromkeys(table.split for table in tables)
    costs = {name: cost_of([t for t in tables if t.split == name]) for name in splits}
    return {name: cost for name, cost in costs.items() if cost.known}


def _way(table: ScoreTable) -> tuple[str, ...]:
    if "rule" not in table.provenance:
        return ()
    return tuple(str(table.provenance.get(key, "")) for key in ("kind", "normalisation"))


def _in_order(measured: Evaluation, classes: tuple[str, ...], label: str) -> Evaluation:
    """Return the evaluation with its classes in the order of the others."""
    if measured.classes == classes:
        return measured
    if set(measured.classes) != set(classes):
        differing = sorted(set(measured.classes) ^ set(classes))
        raise ValueError(
            f"all methods must score the same classes, got differing ones for {label!r}: "
            f"{named(differing)}"
        )
    order = [measured.classes.index(name) for name in classes]
    return replace(
        measured,
        classes=classes,
        recall=measured.recall[order],
        confusion=measured.confusion[np.ix_(order, order)],
    )
