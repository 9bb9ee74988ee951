"""Paths that a file names, which are not to be followed anywhere."""

from __future__ import annotations

import re
from pathlib import PurePosixPath


def leads_outside(path: str) -> bool:
    """Say whether a path, as a list or a table has it, is absolute or climbs out of its folder.

    Symbolic links are not looked at: they were laid by whoever owns the folder.
    """
    parts = PurePosixPath(path.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or bool(re.match("[A-Za-z]:", path))
