"""What a report is about: methods with their evaluations, costs and settings, from whatever source.

A benchmark's run (`of_run`) and score tables that were made elsewhere (`of_tables`) become the same
`Study`; everything that the report shows is worked out from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from compare.benchmark import Result, Role, Run, versions
from compare.benchmark.methods import YARDSTICKS
from compare.datasets.csv_file import read_csv
from compare.datasets.dataset import named
from compare.metrics import Evaluation
from compare.scores import ScoreTable

HANDCRAFTED = re.compile(r"(?<![a-z])i?dt(?![a-z])", re.IGNORECASE)
COST_COLUMNS = ("method", "fit_seconds", "score_seconds", "memory_gib", "parameters", "pretraining")


@dataclass(frozen=True)
class Cost:
    """What a method took, over all splits; None where nobody said.

    Seconds are of wall clock, `memory_bytes` is the peak, `pretraining` names the data that the
    method had seen before.
    """

    fit_seconds: float | None = None
    score_seconds: float | None = None
    memory_bytes: float | None = None
    parameters: float | None = None
    pretraining: str | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds of fitting and scoring together; of the one alone where the other is unknown."""
        known = [s for s in (self.fit_seconds, self.score_seconds) if s is not None]
        return sum(known) if known else None

    @classmethod
    def of_all(cls, costs: Sequence[Cost]) -> Cost:
        """Cost of several methods together: seconds and parameters add up, memory is the largest.

        A number that is unknown of one is unknown of all.
        """

        def each(name: str) -> list[Any] | None:
            values = [getattr(cost, name) for cost in costs]
            return None if None in values or not values else values

        seen = dict.fromkeys(cost.pretraining for cost in costs if cost.pretraining)
        fit, score, parameters = each("fit_seconds"), each("score_seconds"), each("parameters")
        memory = each("memory_bytes")
        return cls(
            fit_seconds=None if fit is None else sum(fit),
            score_seconds=None if score is None else sum(score),
            memory_bytes=None if memory is None else max(memory),
            parameters=None if parameters is None else sum(parameters),
            pretraining="; ".join(seen) or None,
        )


@dataclass(frozen=True, eq=False)
class Entry:
    """One method, fusion or yardstick; `evaluations` has one per seed, `members` what it fuses.

    `way` says how it fuses (kind, normalisation), `weights` with which weights, in the order of
    `members`; `caveat` is anything that sets it outside the protocol of the others.
    """

    label: str
    role: Role
    evaluations: tuple[Evaluation, ...]
    members: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    way: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    settings: Mapping[str, Any] = field(default_factory=dict)
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
    costs = {
        result.label: replace(
            _cost(result.tables),
            fit_seconds=result.fit_seconds,
            score_seconds=result.score_seconds,
        )
        for result in run.results
        if result.rule is None
    }
    return Study(
        name=run.dataset.name,
        protocol=run.dataset.protocol,
        entries=tuple(_entry_of(result, costs) for result in run.results),
        truth=run.dataset.truth,
        groups=run.dataset.groups,
        splits=tuple((s.name, len(s.train), len(s.test)) for s in run.dataset.splits),
        paths={video.id: video.path for video in run.dataset.videos},
        excluded={bad.id: bad.reason for bad in run.excluded},
        unable=run.unable,
        seed=run.seed,
        command=run.command,
        started=run.started,
        seconds=run.seconds,
        peak_memory=run.peak_memory,
        versions=run.versions,
    )


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
    of_label: dict[str, Cost] = {}
    for label, of_method in tables.items():
        if not _weights(of_method[0]):
            said = costs[label] if costs and label in costs else Cost()
            of_label[label] = _filled(said, _cost(of_method))
    entries = []
    for label, of_method in tables.items():
        weights = _weights(of_method[0])
        guessed: Role = "yardstick" if label in YARDSTICKS else "fusion" if weights else "method"
        entries.append(
            Entry(
                label=label,
                role=roles.get(label, guessed) if roles else guessed,
                evaluations=tuple(evaluations[label]),
                members=tuple(weights),
                weights=tuple(weights.values()),
                way=_way(of_method[0]),
                cost=of_label.get(label) or _fused_cost(label, tables, of_label),
                settings=of_method[0].provenance,
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


def read_costs(path: str | Path) -> dict[str, Cost]:
    """Read costs by method from a CSV file; an empty cell is what nobody knows.

    Columns: method, then any of fit_seconds, score_seconds, memory_gib, parameters, pretraining.

    Raises
    ------
    ValueError
        Another column, a method twice, or what is no number of 0 or more, with the line.
    """
    columns, rows = read_csv(Path(path))
    unknown = [column for column in columns if column not in COST_COLUMNS]
    if "method" not in columns or unknown:
        raise ValueError(
            f"{str(path)!r} must have columns among {', '.join(COST_COLUMNS)}, with method, "
            f"got {', '.join(columns) or 'none'}"
        )
    found: dict[str, Cost] = {}
    for line, row in rows:
        where = f"{str(path)!r} line {line}"
        if row["method"] in found:
            raise ValueError(f"{where} must name a method of its own, got {row['method']!r} again")
        memory = _number(row.get("memory_gib"), where)
        found[row["method"]] = Cost(
            fit_seconds=_number(row.get("fit_seconds"), where),
            score_seconds=_number(row.get("score_seconds"), where),
            memory_bytes=None if memory is None else memory * 2**30,
            parameters=_number(row.get("parameters"), where),
            pretraining=row.get("pretraining") or None,
        )
    return found


def _entry_of(result: Result, costs: Mapping[str, Cost]) -> Entry:
    rule = result.rule
    if rule is None:
        cost = costs[result.label]
    else:
        cost = Cost.of_all([costs.get(name, Cost()) for name in rule.methods])
    return Entry(
        label=result.label,
        role=result.role,
        evaluations=(result.evaluation,),
        members=() if rule is None else rule.methods,
        weights=() if rule is None else rule.weights,
        way=() if rule is None else (rule.kind, rule.normalisation),
        cost=cost,
        settings=result.settings,
        caveat=str(result.tables[0].provenance.get("protocol", "")),
        resumed=result.resumed,
    )


def _cost(tables: Sequence[ScoreTable]) -> Cost:
    """Cost as the tables say, over all splits."""
    said = [table.provenance for table in tables]

    def numbers(key: str) -> list[float]:
        found = [about.get(key, _mapping(about.get("settings")).get(key)) for about in said]
        return [float(n) for n in found if isinstance(n, int | float) and n >= 0]

    fit, score = numbers("fit_seconds"), numbers("score_seconds")
    settings = _mapping(said[0].get("settings"))
    start = settings.get("pretraining", said[0].get("pretraining", settings.get("start")))
    if isinstance(start, Mapping):
        start = ", ".join(f"{part}: {weights}" for part, weights in start.items())
    return Cost(
        fit_seconds=sum(fit) if len(fit) == len(said) else None,
        score_seconds=sum(score) if len(score) == len(said) else None,
        memory_bytes=max(numbers("peak_memory_bytes"), default=None),
        parameters=max(numbers("parameters"), default=None),
        pretraining=str(start) if start else None,
    )


def _fused_cost(
    label: str, tables: Mapping[str, Sequence[ScoreTable]], costs: Mapping[str, Cost]
) -> Cost:
    """Cost of all methods behind a fusion, each counted once; unknown where one is not there."""
    waiting, seen = [label], dict[str, None]()
    while waiting:
        name = waiting.pop()
        if name in costs:
            seen[name] = None
        elif name not in tables or len(seen) > len(costs):
            return Cost()
        else:
            waiting += [m for m in _weights(tables[name][0]) if m != name]
    return Cost.of_all([costs[name] for name in seen])


def _filled(said: Cost, otherwise: Cost) -> Cost:
    names = [each.name for each in fields(Cost) if getattr(said, each.name) is None]
    gaps = {name: getattr(otherwise, name) for name in names}
    return replace(said, **gaps)


def _weights(table: ScoreTable) -> dict[str, float]:
    """Weight by method that a fused table says it was made with; none of another table."""
    about = table.provenance
    weights = _mapping(about.get("weights")) if "rule" in about else {}
    return {str(k): float(v) for k, v in weights.items() if isinstance(v, int | float)}


def _way(table: ScoreTable) -> tuple[str, ...]:
    if "rule" not in table.provenance:
        return ()
    return tuple(str(table.provenance.get(key, "")) for key in ("kind", "normalisation"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(text: str | None, where: str) -> float | None:
    if not text or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{where} must hold numbers of 0 or more, got {text!r}; leave gaps empty")
    return value


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
