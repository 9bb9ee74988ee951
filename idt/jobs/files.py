"""Files that are there whole or not at all, and keys of what is computed from a file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it becomes `path` when the block ends well.

    What was written reaches the disk before the name does, so that not even a loss of power leaves
    half a file. After an error nothing is left: a file that stood at `path` is as it was.

    Parameters
    ----------
    path
        Of the file, in a folder that exists.

    Yields
    ------
    Path
        An empty file in the same folder, hidden, with the same suffix.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r}; make it, or write elsewhere")
    descriptor, name = tempfile.mkstemp(
        prefix=f".{path.stem[:40]}.", suffix=path.suffix, dir=path.parent
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def file_key(path: str | Path, settings: Mapping[str, Any]) -> str:
    """Name what is computed from a file under given settings: 20 hexadecimal digits.

    The key changes with the file's path, size and time of change, and with any setting; of a
    folder, with those of the files in it. The content is not read.

    Parameters
    ----------
    path
        A file or folder; relative to where, and by which links, does not matter.
    settings
        Plain values that JSON holds.

    Raises
    ------
    FileNotFoundError
        There is nothing at `path`.
    """
    path = Path(path).resolve()
    status = path.stat()
    content = [str(path), status.st_size, status.st_mtime_ns, settings]
    if path.is_dir():
        entries = [(entry.name, entry.stat()) for entry in os.scandir(path)]
        content.append(sorted((name, each.st_size, each.st_mtime_ns) for name, each in entries))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
