"""What a run's folder holds beside the scores, so that its report can be written again."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from compare.benchmark import Role
from compare.datasets.csv_file import read_csv
from compare.report.study import Study

# What JSON of another form sets off when it is taken apart.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
RESULTS, LABELS = "results.json", "labels.csv"


@dataclass(frozen=True)
class Stored:
    """A finished run as its folder tells it: `roles` are in the run's order of methods.

    `about` holds fields of `Study` under their names.
    """

    name: str
    protocol: str
    roles: dict[str, Role]
    splits: dict[str, tuple[int, int]]
    about: dict[str, Any] = field(default_factory=dict)


def labels_csv(study: Study) -> str:
    """Write classes, groups and places of all videos as CSV text: id,label,group,path."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    grouped = study.groups is not None
    writer.writerow(["id", "label", *(["group"] if grouped else []), "path"])
    for id, label in study.truth.items():
        group = [study.groups[id]] if study.groups is not None else []
        writer.writerow([id, label, *group, study.paths.get(id, "")])
    return buffer.getvalue()


def read_places(path: str | Path) -> dict[str, Path]:
    """Read where clips stand from a CSV with columns id and path; {} where it has none such."""
    columns, rows = read_csv(Path(path))
    if not {"id", "path"} <= set(columns):
        return {}
    return {row["id"]: Path(row["path"]) for _, row in rows if row["path"]}


def read_run(folder: str | Path) -> Stored:
    """Read the account of a finished run, ``results.json``.

    Raises
    ------
    FileNotFoundError
        There is none: the folder is of no run, or of one that is not finished.
    ValueError
        It is not of the form that a run writes.
    """
    path = Path(folder) / RESULTS
    if not path.is_file():
        raise FileNotFoundError(
            f"run must be a folder with {RESULTS}, got {str(folder)!r}; give tables of scores and "
            "--labels for what no run has made, or finish the run"
        )
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        roles = {str(r["label"]): r["role"] for r in said["results"]}
        if not roles or not set(roles.values()) <= set(get_args(Role)):
            raise ValueError("results must be of a known role")
        return Stored(
            name=str(said["dataset"]["name"]),
            protocol=str(said["dataset"]["protocol"]),
            roles=roles,
            splits={str(k): (int(a), int(b)) for k, (a, b) in said["dataset"]["splits"].items()},
            about={
                "excluded": {str(k): str(v) for k, v in said["excluded"].items()},
                "unable": {str(k): str(v) for k, v in said["yardsticks_not_run"].items()},
                "seed": int(said["seed"]),
                "command": str(said["command"]),
                "started": str(said["started"]),
                "seconds": float(said["seconds"]),
                "peak_memory": {str(k): int(v) for k, v in said["peak_memory_bytes"].items()},
                "versions": {str(k): str(v) for k, v in said["versions"].items()},
            },
        )
    except UNREADABLE as error:
        raise ValueError(
            f"{str(path)!r} must be what a run writes, got something else ({error}); run it again"
        ) from error
