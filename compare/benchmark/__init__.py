"""The benchmark: which methods, on which splits, kept in which folder; `run` is the one loop."""

from compare.benchmark.loop import Result, Role, Run, run, summary, versions

__all__ = ["Result", "Role", "Run", "run", "summary", "versions"]
