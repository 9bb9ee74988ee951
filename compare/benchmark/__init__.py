"""The benchmark: which methods, on which splits, kept in which folder; `run` is the one loop."""

from compare.benchmark.early import EarlyFusion
from compare.benchmark.loop import run
from compare.benchmark.result import Result, Role, Run, summary, versions

__all__ = ["EarlyFusion", "Result", "Role", "Run", "run", "summary", "versions"]
