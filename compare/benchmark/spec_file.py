"""A run described in a TOML file: the options of ``trajfuse compare run`` under their names.

::

    data = "ut_interaction.csv"
    out = "runs/ut-interaction"
    methods = ["idt-fv", "two-stream:size=112"]
    fuse = ["average", "grid"]
    folds = "fold"
    inner_folds = 4

Paths are relative to the file's folder, so that a file and its data can move together.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

TEXTS = ("methods", "fuse")  # a text, or a list of texts
PATHS = ("data", "out", "videos", "cache")
# What each key must be: Python's types, and how an error calls them.
KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(PATHS, ((str,), "a path")),
    **dict.fromkeys(TEXTS, ((str, list), "a text or a list of texts")),
    "form": ((str,), "a text"),
    "folds": ((str, int), "a text or a whole number"),
    "group_pattern": ((str,), "a text"),
    "allow_missing": ((bool,), "true or false"),
    "allow_outside": ((bool,), "true or false"),
    "inner_folds": ((int,), "a whole number of 2 or more"),
    "calibrate": ((str,), "a text"),
    "seed": ((int,), "a whole number of 0 or more"),
    "workers": ((int,), "a whole number of 1 or more"),
    "scheduler": ((str,), "the address of a Dask scheduler"),
    "time_limit": ((int, float), "a number of seconds above 0"),
    "memory": ((int, float), "a number of gigabytes above 0"),
    "no_yardsticks": ((bool,), "true or false"),
}
LEAST = {"seed": 0, "workers": 1, "inner_folds": 2}
POSITIVE = ("time_limit", "memory")


def read_spec(path: str | Path) -> dict[str, Any]:
    """Read the options of a run from a TOML file.

    Parameters
    ----------
    path
        The file; its keys are among `KEYS`.

    Returns
    -------
    dict
        The keys that are there. Paths are `Path`, relative ones joined to the file's folder; lists
        of texts are joined by commas; `folds` is text.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is not TOML, or has an unknown key (the nearest valid one is named) or a wrong value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"spec must be a TOML file, got {str(path)!r}, which is no file")
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"spec must be a TOML file, got {str(path)!r}: {error}") from error
    unknown = [key for key in given if key not in KEYS]
    if unknown:
        near = [_nearest(key) for key in unknown]
        raise ValueError(
            f"keys of {str(path)!r} must be among {', '.join(KEYS)}, got "
            f"{', '.join(map(repr, unknown))}; did you mean {', '.join(map(repr, near))}?"
        )
    return {key: _value(path, key, value) for key, value in given.items()}


def _nearest(key: str) -> str:
    """Find the valid key that is spelled most like one that is not."""
    return difflib.get_close_matches(key.casefold(), KEYS, n=1, cutoff=0.0)[0]


def _value(path: Path, key: str, value: Any) -> Any:
    kinds, name = KEYS[key]
    wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
    if isinstance(value, list):
        wrong = not value or not all(isinstance(each, str) for each in value)
    wrong = wrong or (key in LEAST and value < LEAST[key]) or (key in POSITIVE and not value > 0)
    if wrong or value == "":
        raise ValueError(f"{key} must be {name}, got {value!r} in {str(path)!r}")
    if key in PATHS:
        return path.parent / value
    if key in TEXTS:
        return ",".join(value) if isinstance(value, list) else value
    return str(value) if key == "folds" else value
