"""What methods took, as their tables of scores or a file of costs say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from compare.benchmark.effort import trained_before
from compare.datasets.csv_file import read_csv
from compare.scores import ScoreTable

COLUMNS = ("method", "fit_seconds", "score_seconds", "memory_gib", "parameters", "pretraining")


@dataclass(frozen=True)
class Cost:
    """What a method took, over all splits; None where nobody said.

    Seconds are of wall clock, `memory_bytes` is the peak, `parameters` counts the numbers that
    scoring takes, `pretraining` names the data that the method had seen before.
    """

    fit_seconds: float | None = None
    score_seconds: float | None = None
    memory_bytes: float | None = None
    parameters: float | None = None
    pretraining: str | None = None

    @property
    def known(self) -> bool:
        """Whether anything is."""
        return self != Cost()

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

        seen = [cost.pretraining for cost in costs if cost.pretraining]
        fit, score, parameters = each("fit_seconds"), each("score_seconds"), each("parameters")
        memory = each("memory_bytes")
        return cls(
            fit_seconds=None if fit is None else sum(fit),
            score_seconds=None if score is None else sum(score),
            memory_bytes=None if memory is None else max(memory),
            parameters=None if parameters is None else sum(parameters),
            pretraining=trained_before(seen) if seen else None,
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
    unknown = [column for column in columns if column not in COLUMNS]
    if "method" not in columns or unknown:
        raise ValueError(
            f"{str(path)!r} must have columns among {', '.join(COLUMNS)}, with method, "
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


def costs_of(
    tables: Mapping[str, Sequence[ScoreTable]], said: Mapping[str, Cost] | None = None
) -> dict[str, Cost]:
    """Return what each method took, over all its tables.

    Parameters
    ----------
    tables
        By method.
    said
        By method, what is said elsewhere and goes before what tables say.

    Returns
    -------
    dict
        A fusion costs what the methods behind it cost, each counted once, and what a rule that
        learns took for its scores of training videos; nothing is known where a method is not there.
    """
    own = {
        label: _filled((said or {}).get(label, Cost()), cost_of(of_method))
        for label, of_method in tables.items()
        if not members_of(of_method[0])
    }
    return {label: own[label] if label in own else _fused(label, tables, own) for label in tables}


def cost_of(tables: Sequence[ScoreTable]) -> Cost:
    """Cost of a method as its tables say, over all of them."""
    said = [table.provenance for table in tables]

    def numbers(key: str) -> list[float]:
        found = [about.get(key, mapping(about.get("settings")).get(key)) for about in said]
        return [float(n) for n in found if isinstance(n, int | float) and n >= 0]

    fit, score = numbers("fit_seconds"), numbers("score_seconds")
    settings = mapping(said[0].get("settings"))
    start = said[0].get("pretraining", settings.get("pretraining", settings.get("start")))
    if isinstance(start, Mapping):
        start = ", ".join(f"{part}: {weights}" for part, weights in start.items())
    return Cost(
        fit_seconds=sum(fit) if len(fit) == len(said) else None,
        score_seconds=sum(score) if len(score) == len(said) else None,
        memory_bytes=max(numbers("peak_memory_bytes"), default=None),
        parameters=max(numbers("parameters"), default=None),
        pretraining=str(start) if start else None,
    )


def members_of(table: ScoreTable) -> dict[str, float]:
    """Weight by method that a fused table says it was made with; none of another table."""
    about = table.provenance
    weights = mapping(about.get("weights")) if "rule" in about else {}
    return {str(k): float(v) for k, v in weights.items() if isinstance(v, int | float)}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return what should be a mapping, or an empty one where a file says something else."""
    return value if isinstance(value, Mapping) else {}


def _fused(label: str, tables: Mapping[str, Sequence[ScoreTable]], own: Mapping[str, Cost]) -> Cost:
    """Cost of all methods behind a fusion, each counted once; unknown where one is not there."""
    waiting, seen, learning = [label], dict[str, None](), 0.0
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen[name] = None
        if name not in own:
            if name not in tables:
                return Cost()
            learning += cost_of(tables[name]).fit_seconds or 0.0
            waiting += members_of(tables[name][0])
    total = Cost.of_all([own[name] for name in seen if name in own])
    if total.fit_seconds is None:
        return total
    return replace(total, fit_seconds=total.fit_seconds + learning)


def _filled(said: Cost, otherwise: Cost) -> Cost:
    names = [each.name for each in fields(Cost) if getattr(said, each.name) is None]
    return replace(said, **{name: getattr(otherwise, name) for name in names})


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
