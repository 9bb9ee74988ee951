"""Which videos are meant: files, folders of videos at any depth, and lists of them.

A video's name is what its results are called: the path below the folder or list that it comes from,
its suffix included, with forward slashes; alone, the file's own name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from idt.paths import leads_outside
from idt.video.files import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv".split()
)


def is_folder_of_videos(path: Path) -> bool:
    """Whether a path is a folder, and not one of images, which is a video itself."""
    return path.is_dir() and not _holds_images(path)


def find_videos(given: Iterable[Path]) -> dict[str, Path]:
    """Find the videos that are meant.

    Parameters
    ----------
    given
        Files, which need not exist and may have any suffix; folders of images, each a video; and
        other folders, of which all files with a video's suffix and all folders of images are taken,
        at any depth, but hidden ones. Links are followed, and may lead nowhere; a folder that is
        reached twice counts once.

    Returns
    -------
    dict
        Paths by name, sorted by name.

    Raises
    ------
    ValueError
        Two different videos have one name; there are none.
    """
    given = list(given)
    found: dict[str, Path] = {}
    for path in given:
        if is_folder_of_videos(path):
            for name in _below(path, "", set()):
                _add(found, name, path / name)
        else:
            _add(found, _own_name(path), path)
    if not found:
        folders = ", ".join(repr(str(path)) for path in given)
        raise ValueError(
            f"videos must be at least one, got none in {folders}; files are known by their "
            f"suffix ({' '.join(sorted(VIDEO_SUFFIXES))}), or give them by name"
        )
    return dict(sorted(found.items()))


def read_list(text: bytes, root: Path, *, allow_outside: bool = False) -> dict[str, Path]:
    """Find the videos of a list.

    Parameters
    ----------
    text
        Paths, one a line; or, where there is a NUL, each ending in one, as ``find -print0`` writes
        them. Empty ones are skipped.
    root
        Folder that relative paths start from. An absolute path below it is as good as a relative
        one.
    allow_outside
        Take paths outside of `root` (`idt.paths.leads_outside`), too, under their own file's name.

    Returns
    -------
    dict
        As `find_videos`.

    Raises
    ------
    ValueError
        A path leads out of `root`, two videos have one name, or there are none.
    """
    parts = text.split(b"\0") if b"\0" in text else text.splitlines()
    found: dict[str, Path] = {}
    for entry in (os.fsdecode(part) for part in parts if part.strip()):
        place = os.path.relpath(entry, root) if os.path.isabs(entry) else entry
        name = Path(os.path.normpath(place)).as_posix()
        if leads_outside(place):
            if not allow_outside:
                raise ValueError(
                    f"a list's paths must stay below {str(root)!r}, got {entry!r}; give "
                    "--allow-outside to take it nevertheless"
                )
            name = _own_name(root / entry)
        _add(found, name, root / entry)
    if not found:
        raise ValueError("a list must name at least one video, got none; write one path a line")
    return dict(sorted(found.items()))


def _own_name(path: Path) -> str:
    """Last part of a path, where it has one that is a name."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    """Keep a video under its name, which no other may have."""
    other = found.setdefault(name, path)
    if other != path and os.path.realpath(other) != os.path.realpath(path):
        raise ValueError(
            f"videos must have names of their own, got {str(other)!r} and {str(path)!r} for "
            f"{name!r}; give the folder above both"
        )


def _below(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Names of videos below a folder; files are not looked into, and links to nowhere are files."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        shown = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in shown:
        if entry.is_dir():
            if _holds_images(Path(entry.path)):
                yield prefix + entry.name
            else:
                yield from _below(Path(entry.path), f"{prefix}{entry.name}/", seen)
        elif os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES:
            yield prefix + entry.name


def _holds_images(folder: Path) -> bool:
    """Whether a folder holds images and no video: it is one."""
    found = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in VIDEO_SUFFIXES:
                return False
            found = found or suffix in IMAGE_SUFFIXES
    return found
