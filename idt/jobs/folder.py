"""A folder of results, one file an item: worked on by one run at a time, resumed, never mixed.

Beside the results lie ``manifest.sqlite``, what became of each item, ``manifest.lock``, who works
there, and while someone does ``manifest.scratch``, where results are written before they are moved
to their place. A part i of n has these files for itself, with ``-i-of-n`` in their names; a run
over everything takes the manifests of all parts into its own.

A result fits when it was made from the same content, settings and versions. What it holds says so,
and the function that makes it looks. What the manifest knows saves that: a source of the same path,
size and time of change is taken to have the same content, as ``make`` and ``git`` take it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from idt.jobs.files import file_key
from idt.jobs.lock import Busy, holder, locked
from idt.jobs.manifest import DONE, FAILED, LOST, RUNNING, WAITING, Manifest, Row, merged
from idt.jobs.outcome import DiskFull, Outcome, WorkerLost
from idt.jobs.progress import Tally
from idt.jobs.running import Workers, run

OF_A_SHARD = re.compile(r"manifest-([0-9]+)-of-([0-9]+)")


@dataclass(frozen=True)
class Work:
    """One item.

    Attributes
    ----------
    name
        The result's path in the folder, without its suffix; forward slashes.
    source
        File or folder that it is made from.
    result
        Where the result goes.
    """

    name: str
    source: Path
    result: Path


class Made(NamedTuple):
    """What a function says of a result that is there when it returns.

    Attributes
    ----------
    kept
        It was there, and fits.
    reason
        Why what was there was made again; empty where nothing was.
    """

    kept: bool = False
    reason: str = ""


class Event(NamedTuple):
    """An item that is through, and how far the run is."""

    row: Row
    kept: bool
    tally: Tally


class Counts(NamedTuple):
    """What a run did.

    Attributes
    ----------
    made, kept
        Results that are new, and that were there and fit.
    failed, lost
        Items that failed in this run by a fault of their own, and others.
    left
        Items that failed in an earlier run, and were not tried again.
    """

    made: int
    kept: int
    failed: int
    lost: int
    left: int


class ResultFolder:
    """A folder that this run alone writes to, between ``with`` and its end.

    Parameters
    ----------
    path
        Made where it is not there.
    made
        All that decides the results besides their sources, settings and versions, as JSON holds it.
    shard
        Number, from 1, and count of parts, where other processes work on other parts; None for all.
    redo
        Where the folder's results were made otherwise, make them again instead of refusing.

    Raises
    ------
    BlockingIOError
        Another run works there; names it.
    ValueError
        The folder's results were made with other settings or versions; names them.
    OSError
        The folder cannot be made or written to.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        made: Mapping[str, Any],
        shard: tuple[int, int] | None = None,
        redo: bool = False,
    ) -> None:
        self.path = Path(path)
        self.made = json.loads(json.dumps(made))
        self.shard, self.redo = shard, redo
        self.key = hashlib.sha256(json.dumps(self.made, sort_keys=True).encode()).hexdigest()[:20]
        self._stem = "manifest" if shard is None else f"manifest-{shard[0]}-of-{shard[1]}"
        self.scratch = self._file(self._stem, "scratch")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock(stack)
                shutil.rmtree(self.scratch, ignore_errors=True)  # of a run that was killed
                self.scratch.mkdir()
            except Busy as error:
                raise BlockingIOError(
                    f"folder must be for one run at a time, got {str(self.path)!r}, where {error} "
                    "is at work; wait for its end, or write elsewhere"
                ) from None
            except (FileExistsError, NotADirectoryError, PermissionError) as error:
                raise type(error)(
                    f"folder must be one that can be written to, got {str(self.path)!r} "
                    f"({error.strerror}); write elsewhere"
                ) from error
            stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
            self._manifest = stack.enter_context(Manifest(self._file(self._stem, "sqlite")))
            self._take_over()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def work(
        self,
        function: Callable[[Work], Made],
        works: Sequence[Work],
        *,
        label: str,
        workers: Workers = 1,
        strict: bool = False,
        report: Callable[[Event], None] | None = None,
        verbose: bool = False,
    ) -> Counts:
        """Make the results that are missing or do not fit, and leave the rest.

        Parameters
        ----------
        function
            Makes the result of one item, unless it is there and fits. It writes below `scratch`
            and moves the result to its place; with another executor both are on a file system that
            all share.
        works
            Everything; a part of it is chosen here. What failed by a fault of its own, and would
            again, is left.
        label, workers, strict, verbose
            As for `idt.jobs.run`.
        report
            Called with every item that is through.

        Raises
        ------
        DiskFull
            There is no room. What is done is kept.
        Exception
            With `strict`, what the first item failed with.
        """
        if self.shard is not None:
            works = works[self.shard[0] - 1 :: self.shard[1]]
        known = merged(self._others()) | self._manifest.rows()
        rows = [self._row(work, known.get(work.name)) for work in works]
        waiting = [place for place, row in enumerate(rows) if row.state == WAITING]
        tally = Tally(len(waiting))
        n_left = sum(row.state == FAILED for row in rows)
        counts = {"made": 0, "kept": len(rows) - len(waiting) - n_left, FAILED: 0, LOST: 0}
        self._manifest.put(rows[place] for place in waiting)

        def begin(index: int) -> None:
            row = rows[waiting[index]]
            rows[waiting[index]] = replace(row, state=RUNNING, tries=row.tries + 1)
            self._manifest.put([rows[waiting[index]]])

        def each(index: int, outcome: Outcome[Work, Made]) -> None:
            row = _after(rows[waiting[index]], outcome)
            kept = outcome.error is None and outcome.result().kept
            rows[waiting[index]] = row
            self._manifest.put([row])
            counts["kept" if kept else "made" if row.state == DONE else row.state] += 1
            if report is not None:
                report(Event(row, kept, tally))

        run(
            function,
            [works[place] for place in waiting],
            label=label,
            workers=workers,
            strict=strict,
            begin=begin,
            each=each,
            tally=tally,
            verbose=verbose,
        )
        return Counts(**counts, left=n_left)

    def _row(self, work: Work, known: Row | None) -> Row:
        """What is to be done about an item: waiting where anything is."""
        try:
            source = file_key(work.source, {})
        except (OSError, RuntimeError):  # links to nowhere, and in circles
            source = ""
        row = known or Row(work.name)
        same = (row.source, row.key) == (source, self.key)
        if same and (row.state == FAILED or (row.state == DONE and work.result.is_file())):
            return row
        return replace(row, state=WAITING, source=source, key=self.key, changed="")

    def _lock(self, stack: ExitStack) -> None:
        """Keep others out: from everything, or from this part and from other ways to part."""
        whole = self._file("manifest", "lock")
        if self.shard is None:
            try:
                stack.enter_context(locked(whole))
            except Busy:
                parts = (holder(path) for path in sorted(self.path.glob("manifest-*.lock")))
                part = next(filter(None, parts), None)
                if part is None:
                    raise
                raise Busy(part) from None
            return
        stack.enter_context(locked(whole, shared=True))
        stack.enter_context(locked(self._file(self._stem, "lock")))
        for path in sorted(self.path.glob("manifest-*.lock")):
            found = OF_A_SHARD.fullmatch(path.stem)
            if found and int(found[2]) != self.shard[1] and (other := holder(path)):
                raise Busy(other)

    def _take_over(self) -> None:
        """Refuse results of another kind; take what parts have told into one manifest."""
        others = {path: Manifest(path) for path in self._other_files()}
        try:
            for manifest in (self._manifest, *others.values()):
                difference = _difference(manifest.made.get("made"), self.made)
                if difference and not self.redo:
                    raise ValueError(
                        f"results in {str(self.path)!r} must be made as asked for, got {difference}"
                        "; give --redo to make them again, or write elsewhere"
                    )
            self._manifest.tell({"made": self.made, "key": self.key})
            if self.shard is None and others:
                manifests = [self._manifest, *others.values()]
                self._manifest.put(merged(each.rows() for each in manifests).values())
        finally:
            for manifest in others.values():
                manifest.close()
        if self.shard is None:
            for path in others:
                path.unlink()
                path.with_suffix(".lock").unlink(missing_ok=True)

    def _others(self) -> list[dict[str, Row]]:
        """What the manifests of other parts, or of everything, tell."""
        tables = []
        for path in self._other_files():
            with Manifest(path) as manifest:
                tables.append(manifest.rows())
        return tables

    def _other_files(self) -> list[Path]:
        own = self._file(self._stem, "sqlite")
        return [path for path in manifest_files(self.path) if path != own]

    def _file(self, stem: str, suffix: str) -> Path:
        return self.path / f"{stem}.{suffix}"


def manifest_files(folder: Path) -> list[Path]:
    """Manifests of a folder: of everything, then of parts."""
    found = [
        path
        for path in folder.glob("manifest*.sqlite")
        if path.stem == "manifest" or OF_A_SHARD.fullmatch(path.stem)
    ]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _after(row: Row, outcome: Outcome[Work, Made]) -> Row:
    """What to tell of an item that is through."""
    error = outcome.error
    if error is None:
        state, reason = DONE, outcome.result().reason
    else:
        outside = isinstance(error, (WorkerLost, OSError, MemoryError, DiskFull))
        state, reason = (LOST if outside else FAILED), _told(error)
    return replace(row, state=state, seconds=outcome.seconds, reason=reason, changed="")


def _told(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    plain = isinstance(error, (ValueError, WorkerLost, OSError))
    return text if plain and text else f"{type(error).__name__}: {text}"


def _difference(found: Any, wanted: Any, name: str = "") -> str:
    """Where what made the results differs from what is asked for, in words; empty if nowhere."""
    if found is None or found == wanted:
        return ""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
        return ", ".join(_difference(found.get(k, "none"), wanted.get(k, "none"), k) for k in keys)
    return f"{name} {json.dumps(found)} instead of {json.dumps(wanted)}"
