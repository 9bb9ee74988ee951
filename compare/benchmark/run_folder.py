"""The folder of a run: whether it may be used, what it holds, what its files are called.

Only a folder that is new, empty, or of a run is ever written to. ``run.json`` says which videos,
splits, seed and version the folder belongs to, videos by their content; scores of another run are
never taken for its own.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compare.datasets import Dataset, Split
from compare.scores import write_whole

FORMAT = 1
RUN_FILE = "run.json"
WRITTEN = (
    *("results.json", "labels.csv", "results.csv", "pairs.csv", "videos.csv"),
    *("report.html", "report.md", "report.tex"),
)


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder with other things in it, even where overwriting is asked for."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out must be a folder, got {str(folder)!r}, which is a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RUN_FILE).is_file():
        also = "; overwriting is for folders of runs only" if overwrite else ""
        raise ValueError(
            f"out must be new, empty or the folder of a run, got {str(folder)!r}, which holds "
            f"other things; choose another folder{also}"
        )


def open_folder(folder: Path, identity: Mapping[str, Any], overwrite: bool) -> None:
    """Make the folder this run's: new, emptied, or found to be of the same run."""
    path = folder / RUN_FILE
    if path.is_file() and overwrite:
        for name in ("scores", "held-out"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in WRITTEN:
            (folder / name).unlink(missing_ok=True)
    elif path.is_file():
        _require_same_run(path, identity)
    content = {"format": FORMAT, "identity": dict(identity)}
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def score_path(folder: Path, split: str, label: str) -> Path:
    """Return where the scores of a method or fusion rule for a split stand."""
    return folder / "scores" / slug(split) / f"{slug(label)}.npz"


def held_out_path(folder: Path, split: str, n_folds: int, label: str) -> Path:
    """Return where a method's scores of a split's training videos stand, held out in folds."""
    return folder / "held-out" / slug(split) / f"{n_folds}-folds" / f"{slug(label)}.npz"


def kept(folder: Path, split: Split, label: str) -> list[Path]:
    """Return the files of a method's scores for a split: of its test, and those held out."""
    held_out = (folder / "held-out" / slug(split.name)).rglob(f"{slug(label)}.npz")
    tested = score_path(folder, split.name, label)
    return [*([tested] if tested.is_file() else []), *sorted(held_out)]


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError where two names would be one file's."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(slug(name).casefold(), name)
        if other != name:
            raise ValueError(
                f"names must differ in letters or digits, got {other!r} and {name!r}, whose scores "
                "would be kept in one file"
            )


def slug(name: str) -> str:
    """Write a name so that it can be a file's on any system."""
    return re.sub(r"[^\w.+=-]+", "-", name).strip("-.")[:120] or "unnamed"


def identity_of(dataset: Dataset, *, seed: int, version: str) -> dict[str, Any]:
    """Return what must agree for scores of an earlier run to be taken."""
    clips = [
        [clip.id, clip.label, clip.group, _content(clip.path)]
        for clip in sorted(dataset.videos, key=lambda clip: clip.id)
    ]
    splits = [[split.name, sorted(split.train), sorted(split.test)] for split in dataset.splits]
    return {
        "data set": dataset.name,
        "videos": _digest(clips),
        "splits": _digest(splits),
        "seed": seed,
        "version": version,
    }


def _require_same_run(path: Path, identity: Mapping[str, Any]) -> None:
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))["identity"]
        differing = [name for name in identity if earlier.get(name) != identity[name]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{str(path)!r} must describe a run, got something else; choose another folder"
        ) from error
    if differing:
        was = ", ".join(
            f"{name} {earlier.get(name)!r} then, {identity[name]!r} now" for name in differing
        )
        raise ValueError(
            f"out must be the folder of a run with the same settings, got {str(path.parent)!r} "
            f"with others ({was}); choose another folder or start over with --overwrite"
        )


def _content(path: Path) -> str:
    """Digest of a video's bytes; of a folder of images, of their names and bytes."""
    if path.is_dir():
        return _digest([[each.name, _content(each)] for each in sorted(path.iterdir())])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
