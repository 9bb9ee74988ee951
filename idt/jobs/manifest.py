"""What became of every item of a folder, in an SQLite file.

The results are the truth: each says in itself what it was made from. The manifest saves reading
them, and tells what else happened: tries, seconds, reasons. A loss of power may break it, and then
it is to be deleted: nothing is done again for that. Names are kept as the bytes that the file
system knows, which need not be text.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from idt.jobs.outcome import DiskFull, is_disk_full

FORMAT = "trajfuse manifest 1"
PATIENCE = 30  # seconds to wait for another process that reads or writes
WAITING, RUNNING, DONE, FAILED, LOST = STATES = ("waiting", "running", "done", "failed", "lost")

TABLES = """
CREATE TABLE IF NOT EXISTS made (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    name BLOB PRIMARY KEY, state TEXT NOT NULL, tries INTEGER NOT NULL, seconds REAL NOT NULL,
    reason TEXT NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL, changed TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """What is known of one item.

    Attributes
    ----------
    name
        Of the item: its result's path in the folder, without what is added to it.
    state
        waiting; running (given to a worker, and still so if that run was killed); done; failed, by
        a fault of its own, which would be the same again; lost, with its worker or for a reason
        outside, which the next run tries again.
    tries
        How often it was given to a worker, over all runs.
    seconds
        Of the last try.
    reason
        Why it failed, was lost, or was made again.
    source
        Key of the source's path, size and time of change, see `idt.jobs.file_key`; empty where the
        source is not there.
    key
        Of the settings and versions that it was made with.
    changed
        When, UTC. For people: nothing is decided by it but which of two runs' shards tells.
    """

    name: str
    state: str = WAITING
    tries: int = 0
    seconds: float = 0.0
    reason: str = ""
    source: str = ""
    key: str = ""
    changed: str = ""


class Manifest:
    """An open manifest.

    Parameters
    ----------
    path
        Made where it is not there, unless it must be.
    must_exist
        Refuse a path that is not there.

    Raises
    ------
    FileNotFoundError
        It is not there and must be.
    ValueError
        The file is no manifest.
    DiskFull
        There is no room for it; from every method that writes.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        if must_exist and not path.is_file():
            raise FileNotFoundError(
                f"no manifest {str(path)!r}; give a folder that a run with -o FOLDER made"
            )
        with self._told():
            self._base = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            # No journal is made and removed on every change, and no change waits for the disk: a
            # process that dies loses nothing by that, and without power only results must last.
            self._base.execute("PRAGMA journal_mode=TRUNCATE")
            self._base.execute("PRAGMA synchronous=OFF")
            if not self._has_tables():
                self._base.executescript(f"BEGIN; {TABLES} COMMIT")
                self.tell({"format": FORMAT})
        if self.made.get("format") != FORMAT:
            self.close()
            raise ValueError(
                f"{str(path)!r} must be a manifest of form {FORMAT!r}, got another or an older "
                "one; write elsewhere"
            )

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def made(self) -> dict[str, Any]:
        """What the folder's results are made with, as `tell` was told."""
        with self._told():
            rows = self._base.execute("SELECT name, value FROM made").fetchall()
            return {name: json.loads(value) for name, value in rows}

    def tell(self, made: Mapping[str, Any]) -> None:
        """Keep what the folder's results are made with, by name, as JSON holds it."""
        values = [(name, json.dumps(value, sort_keys=True)) for name, value in made.items()]
        with self._writing():
            self._base.executemany("INSERT OR REPLACE INTO made VALUES (?, ?)", values)

    def rows(self) -> dict[str, Row]:
        """Every item, by name."""
        with self._told():
            found = self._base.execute("SELECT * FROM items ORDER BY name").fetchall()
        rows = (Row(os.fsdecode(name), *others) for name, *others in found)
        return {row.name: row for row in rows}

    def put(self, rows: Iterable[Row]) -> None:
        """Keep what is new of some items, all or nothing."""
        values = [
            (
                os.fsencode(row.name),
                row.state,
                row.tries,
                row.seconds,
                row.reason.encode("utf-8", "backslashreplace").decode(),
                row.source,
                row.key,
                row.changed or datetime.now(UTC).isoformat(timespec="milliseconds"),
            )
            for row in rows
        ]
        with self._writing():
            self._base.executemany(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values
            )

    def forget(self, names: Iterable[str]) -> None:
        """Strike items out."""
        with self._writing():
            self._base.executemany(
                "DELETE FROM items WHERE name = ?", [(os.fsencode(name),) for name in names]
            )

    def _has_tables(self) -> bool:
        tables = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return bool(tables[0])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make one change of several, whole or not at all."""
        with self._told():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what SQLite's errors mean here."""
        try:
            yield
        except sqlite3.Error as error:
            if is_disk_full(error):
                raise DiskFull(f"{error} writing {str(self.path)!r}") from error
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(
                    f"the manifest {str(self.path)!r} must be readable and writable, got: {error}; "
                    "mend that, or write elsewhere"
                ) from error
            raise ValueError(
                f"{str(self.path)!r} must be a manifest, got another or a broken file: {error}; "
                "delete it: results that fit are found again"
            ) from error


def merged(manifests: Iterable[Mapping[str, Row]]) -> dict[str, Row]:
    """Rows of several manifests of one folder: what is done counts, else what was told last."""
    rows: dict[str, Row] = {}
    for manifest in manifests:
        for name, row in manifest.items():
            other = rows.get(name)
            if other is None or _weight(row) >= _weight(other):
                rows[name] = row
    return rows


def _weight(row: Row) -> tuple[bool, str]:
    return row.state == DONE, row.changed
