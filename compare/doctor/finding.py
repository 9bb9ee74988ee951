"""What an examination found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Level = Literal["fine", "warning", "error"]
LEVELS: tuple[str, ...] = get_args(Level)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    about
        What was examined: ``"machine"``, ``"data"``, ``"flow"`` or ``"run"``.
    level
        ``"fine"``; ``"warning"``, which may make results slower or different; or ``"error"``, with
        which results would be wrong or missing.
    what
        What is so.
    advice
        What to do; empty where nothing needs to be.
    """

    about: str
    level: Level
    what: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {self.level!r}")
        if self.level != "fine" and not self.advice:
            raise ValueError(f"a finding must say what to do, got none for {self.what!r}")


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level among findings; fine where there are none."""
    return max((each.level for each in findings), key=LEVELS.index, default="fine")


def as_json(findings: Sequence[Finding]) -> str:
    """Write findings, and the worst level among them, as JSON."""
    content = {"worst": worst(findings), "findings": [asdict(each) for each in findings]}
    return json.dumps(content, indent=1, ensure_ascii=False)
