"""What can be asked and done about a folder of results between its runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from idt.jobs.folder import manifest_files
from idt.jobs.lock import Busy, holder, locked
from idt.jobs.manifest import FAILED, LOST, RUNNING, STATES, WAITING, Manifest, Row, merged

RETRIED = (FAILED, LOST, RUNNING)


@dataclass(frozen=True)
class Status:
    """What became of a folder's items.

    Attributes
    ----------
    rows
        Every item, by name.
    made
        Settings and versions that the results are made with.
    runs
        Who works there now, in words; mostly nobody.
    """

    rows: dict[str, Row]
    made: dict[str, Any]
    runs: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of items in each state, states without any left out."""
        states = [row.state for row in self.rows.values()]
        return {state: n for state in STATES if (n := states.count(state))}


def status(folder: str | Path) -> Status:
    """Look what became of a folder's items; a run may go on meanwhile.

    Raises
    ------
    FileNotFoundError
        The folder holds no manifest.
    """
    folder = Path(folder)
    files = _files(folder)
    tables: list[dict[str, Row]] = []
    made: dict[str, Any] = {}
    for path in files:
        with Manifest(path, must_exist=True) as manifest:
            tables.append(manifest.rows())
            made = made or manifest.made.get("made", {})
    held = (holder(path) for path in sorted(folder.glob("manifest*.lock")))
    return Status(merged(tables), made, tuple(filter(None, held)))


def retry(folder: str | Path, *, names: Sequence[str] = ()) -> list[str]:
    """Let the next run try again what failed.

    Parameters
    ----------
    folder
        Of results; nobody works there.
    names
        Items that are tried again where they failed or were lost; none for all of these.

    Returns
    -------
    list of str
        Names of the items that wait now.

    Raises
    ------
    FileNotFoundError
        The folder holds no manifest.
    BlockingIOError
        A run works there.
    ValueError
        A name is none of its items'.
    """
    folder = Path(folder)
    found: set[str] = set()
    known: set[str] = set()
    with _alone(folder):
        for path in _files(folder):
            with Manifest(path, must_exist=True) as manifest:
                rows = manifest.rows()
                known |= rows.keys()
                asked = [
                    row
                    for row in rows.values()
                    if row.state in RETRIED and (not names or row.name in names)
                ]
                manifest.put(replace(row, state=WAITING, changed="") for row in asked)
                found |= {row.name for row in asked}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"names must be items of {str(folder)!r}, got {unknown[0]!r} and {len(unknown) - 1} "
            "more that are not; see trajfuse jobs status"
        )
    return sorted(found)


def clean(folder: str | Path, *, suffix: str, stale: bool = False, dry: bool = False) -> list[Path]:
    """Remove what killed runs left behind, and as wanted results that do not fit.

    Parameters
    ----------
    folder
        Of results; nobody works there.
    suffix
        Of the results' names.
    stale
        Remove results that were made with other settings than the folder's last run, too, and
        those whose sources are gone or failed since.
    dry
        Remove nothing.

    Returns
    -------
    list of Path
        What is removed.

    Raises
    ------
    FileNotFoundError
        The folder holds no manifest.
    BlockingIOError
        A run works there.
    """
    folder = Path(folder)
    with _alone(folder):
        removed = sorted(folder.glob("manifest*.scratch"))
        for path in _files(folder):
            with Manifest(path, must_exist=True) as manifest:
                key = manifest.made.get("key")
                unfit = [row for row in manifest.rows().values() if stale and not _fits(row, key)]
                removed += [path for row in unfit for path in _result(folder, row, suffix)]
                if not dry:
                    manifest.forget(row.name for row in unfit if row.key != key)
        for path in removed:
            if dry:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return list(dict.fromkeys(removed))


def _fits(row: Row, key: str | None) -> bool:
    return row.key == key and row.state != FAILED


def _result(folder: Path, row: Row, suffix: str) -> Iterator[Path]:
    """The result of an item, if it is there; a manifest from elsewhere leads nowhere else."""
    path = folder / f"{row.name}{suffix}"
    if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
        yield path


def _files(folder: Path) -> list[Path]:
    files = manifest_files(folder)
    if not files:
        raise FileNotFoundError(
            f"no manifest in {str(folder)!r}; give a folder that a run with --output FOLDER made"
        )
    return files


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep runs out."""
    _files(folder)
    try:
        with locked(folder / "manifest.lock"):
            yield
    except Busy as error:
        raise BlockingIOError(
            f"folder must have no run at work, got {str(folder)!r}, where {error} is; wait for its "
            "end"
        ) from None
