"""Where an extraction's time goes."""

from __future__ import annotations

import threading
import time
from types import TracebackType


class Stages:
    """Seconds on the clock by stage, summed over frames and threads.

    ``with stages("flow"): ...`` adds the block's time to a stage. Stages do not nest.

    Attributes
    ----------
    seconds
        By name, in the order in which the stages were first met.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> _Block:
        """Time a ``with`` block."""
        return _Block(self, name)

    def add(self, name: str, seconds: float) -> None:
        """Add time to a stage."""
        with self._lock:
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds


class _Block:
    """One timed block."""

    __slots__ = ("name", "stages", "start")

    def __init__(self, stages: Stages, name: str) -> None:
        self.stages = stages
        self.name = name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stages.add(self.name, time.perf_counter() - self.start)
