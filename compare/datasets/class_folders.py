"""Data sets from a folder that holds one folder of videos per class."""

from __future__ import annotations

import re
from pathlib import Path

from compare.datasets.dataset import Dataset, Video, named
from compare.datasets.folds import DEFAULT_FOLDS, group_folds, text_of_folds
from idt.video import VIDEO_SUFFIXES

SPLIT_FOLDERS = frozenset("train training test testing val valid validation".split())


def from_folder(
    root: str | Path,
    *,
    group_pattern: str | None = None,
    folds: int = DEFAULT_FOLDS,
    seed: int = 0,
) -> Dataset:
    """Read a data set from a folder that holds one folder of videos per class.

    Parameters
    ----------
    root
        The folder. A class folder may have folders of its own; a video's id is its path below
        `root`, with forward slashes. Hidden files and files without a video's suffix are ignored,
        and counted in `Dataset.protocol`.
    group_pattern
        Regular expression searched in the id; its first group is the video's group, as in
        ``"_(g[0-9]+)_"``. None: every video is on its own.
    folds
        Number of folds, drawn so that groups stay together and classes are spread evenly.
    seed
        Of the drawing.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data must be a folder, got {str(root)!r}, which is none")
    pattern = compiled(group_pattern)
    class_folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    names = {folder.name.lower() for folder in class_folders}
    if names and names <= SPLIT_FOLDERS:
        raise ValueError(
            f"class folders must be named after classes, got {named(sorted(names))} in "
            f"{str(root)!r}; for a given split write a CSV file with columns path,label,split"
        )
    videos, n_ignored = [], 0
    for folder in class_folders:
        files = _files_below(folder)
        clips = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        n_ignored += len(files) - len(clips)
        if not clips:
            raise ValueError(
                f"class folder {str(folder)!r} must hold videos, got none with a suffix among "
                f"{' '.join(sorted(VIDEO_SUFFIXES))}; add some or move the folder away"
            )
        for clip in clips:
            id = clip.relative_to(root).as_posix()
            videos.append(Video(clip, id, folder.name, _group_of(id, pattern)))
    if not videos:
        raise ValueError(f"data must hold class folders with videos, got none in {str(root)!r}")
    protocol = text_of_folds(videos, folds, seed)
    if n_ignored:
        protocol += f"; {n_ignored} files without a video's suffix were ignored"
    return Dataset(
        name=root.resolve().name,
        root=root,
        videos=tuple(videos),
        class_names=tuple(folder.name for folder in class_folders),
        splits=group_folds(videos, n_folds=folds, seed=seed),
        protocol=protocol,
    )


def compiled(group_pattern: str | None) -> re.Pattern[str] | None:
    """Compile the pattern, which must mark the group with parentheses."""
    if group_pattern is None:
        return None
    try:
        pattern = re.compile(group_pattern)
    except re.error as error:
        raise ValueError(
            f"group_pattern must be a regular expression, got {group_pattern!r}: {error}"
        ) from error
    if pattern.groups < 1:
        raise ValueError(
            f"group_pattern must mark the group with parentheses, got {group_pattern!r}; "
            "write for instance '_(g[0-9]+)_'"
        )
    return pattern


def _group_of(id: str, pattern: re.Pattern[str] | None) -> str | None:
    if pattern is None:
        return None
    found = pattern.search(id)
    if found is None or not found[1]:
        raise ValueError(
            f"group_pattern must match every video, got no match of {pattern.pattern!r} in {id!r}"
        )
    return found[1]


def _files_below(folder: Path) -> list[Path]:
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(
        file for file in found if not any(p[0] == "." for p in file.relative_to(folder).parts)
    )
