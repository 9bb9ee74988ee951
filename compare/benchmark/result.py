"""What a run gives: scores and measures of every method, and everything else that a report says."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from compare.benchmark.effort import largest_alive
from compare.datasets import Dataset, Unreadable
from compare.fusion import FusionRule
from compare.metrics import Evaluation
from compare.scores import ScoreTable

Role = Literal["method", "fusion", "yardstick"]
PACKAGES = ("trajfuse", "numpy", "scipy", "scikit-learn", "opencv-contrib-python", "numba", "torch")
COSTS = ("fit_seconds", "score_seconds", "peak_memory_bytes", "parameters", "pretraining")
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Result:
    """Scores and measures of one method, yardstick or fusion rule over all splits.

    Attributes
    ----------
    label
        The method or rule as it was written.
    role
        ``"method"``, ``"fusion"`` or ``"yardstick"``.
    tables
        Scores of the test videos, one table a split.
    evaluation
        Measures of all tables together.
    settings
        All that decided the scores, JSON-able.
    rule
        Of a fusion, its rule.
    resumed
        Whether some of the scores were taken from the run's folder; what they cost is what they
        cost when they were made.
    """

    label: str
    role: Role
    tables: tuple[ScoreTable, ...]
    evaluation: Evaluation
    settings: Mapping[str, Any] = field(default_factory=dict)
    rule: FusionRule | None = None
    resumed: bool = False

    @property
    def fit_seconds(self) -> float:
        """Seconds over all splits; of a rule that learns, of the scores that it was fitted to."""
        return sum(table.provenance.get("fit_seconds", 0.0) for table in self.tables)

    @property
    def score_seconds(self) -> float:
        """Seconds over all splits; 0 of a fusion rule."""
        return sum(table.provenance.get("score_seconds", 0.0) for table in self.tables)


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that a report says.

    Attributes
    ----------
    dataset
        Without the videos that were left out; paths are absolute.
    results
        Methods, then fusions, then yardsticks, each in the order asked for.
    excluded
        Videos that were left out, and why.
    unable
        Yardsticks that could not run, and why.
    seed
        Of all that was drawn.
    command
        What made the run.
    started
        Date and time, UTC, ISO 8601.
    seconds
        By the clock, from the first video to the last score.
    peak_memory
        Bytes: of this process, and of the largest process that it started.
    versions
        Of Python, the system and packages.
    """

    dataset: Dataset
    results: tuple[Result, ...]
    excluded: tuple[Unreadable, ...]
    unable: Mapping[str, str]
    seed: int
    command: str
    started: str
    seconds: float
    peak_memory: Mapping[str, int]
    versions: Mapping[str, str]

    def of(self, role: Role) -> tuple[Result, ...]:
        """Return the results of one role, in the order of the run."""
        return tuple(result for result in self.results if result.role == role)


def summary(run: Run) -> dict[str, Any]:
    """Return everything about a run but its scores, JSON-able."""
    return {
        "format": FORMAT,
        "dataset": {
            "name": run.dataset.name,
            "protocol": run.dataset.protocol,
            "classes": list(run.dataset.class_names),
            "n_videos": len(run.dataset.videos),
            "splits": {s.name: [len(s.train), len(s.test)] for s in run.dataset.splits},
        },
        "results": [_result_summary(result) for result in run.results],
        "excluded": {bad.id: bad.reason for bad in run.excluded},
        "yardsticks_not_run": dict(run.unable),
        "seed": run.seed,
        "command": run.command,
        "started": run.started,
        "seconds": round(run.seconds, 3),
        "peak_memory_bytes": dict(run.peak_memory),
        "versions": dict(run.versions),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, the system and the packages behind a result."""
    system = f"{platform.system()} {platform.machine()}"
    found = {"python": platform.python_version(), "system": system}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _result_summary(result: Result) -> dict[str, Any]:
    measured = result.evaluation
    by_group = measured.by_group
    return {
        "label": result.label,
        "role": result.role,
        "accuracy": measured.accuracy,
        "mean_class_accuracy": measured.mean_class_accuracy,
        "n_right": measured.n_right,
        "n_tested": measured.n_tested,
        "top5": measured.top5,
        "mean_average_precision": measured.mean_average_precision,
        "split_mean": measured.split_mean,
        "interval_of_split_mean": asdict(measured.split_mean_interval),
        "interval_by_video": asdict(measured.by_video),
        "interval_by_group": None if by_group is None else asdict(by_group),
        "n_groups": measured.n_groups,
        "accuracy_by_split": measured.accuracy_by_split,
        "recall": {
            name: None if value != value else float(value)
            for name, value in zip(measured.classes, measured.recall, strict=True)
        },
        "confusion": measured.confusion.tolist(),
        "fit_seconds": round(result.fit_seconds, 3),
        "score_seconds": round(result.score_seconds, 3),
        "cost_by_split": {
            table.split: {key: table.provenance[key] for key in COSTS if key in table.provenance}
            for table in result.tables
        },
        "settings": dict(result.settings),
        "resumed": result.resumed,
    }


def peak_memory() -> dict[str, int]:
    """Peak resident bytes of this process and of the largest that it has started."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return {
        "this process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
        "largest worker": max(ended * scale, largest_alive()),
    }
