"""Where the videos lie that a data set's own list files name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from compare.datasets.dataset import Split, Video, named
from idt.paths import leads_outside
from idt.video import VIDEO_SUFFIXES


def locate(
    clips: Sequence[Video],
    videos: str | Path | None,
    *,
    allow_missing: bool,
    key: Callable[[str], str] = str,
) -> tuple[list[Video], str]:
    """Find each listed video in a folder, and say in a few words what was found.

    Parameters
    ----------
    clips
        Listed videos; their paths are not looked at.
    videos
        Folder to look in. A video lies there under its id, or anywhere below under its id's name
        without suffix. None: nothing is looked for, and paths are the ids.
    allow_missing
        Leave out those that are not there; else they are an error.
    key
        Applied to names before they are compared, `str.casefold` for instance.

    Raises
    ------
    FileNotFoundError
        `videos` is no folder, or (unless `allow_missing`) lacks some, or holds none at all.
    ValueError
        Two files could be the same listed video.
    """
    if videos is None:
        return [replace(clip, path=Path(clip.id)) for clip in clips], "videos not looked for"
    root = Path(videos)
    if not root.is_dir():
        raise FileNotFoundError(f"videos must be a folder, got {str(root)!r}, which is none")
    by_name: dict[str, list[Path]] | None = None
    found, missing, renamed = [], [], 0
    for clip in clips:
        if leads_outside(clip.id):
            raise ValueError(
                f"lists must name videos below {str(root)!r}, got {clip.id!r}; mend the list"
            )
        place = root / clip.id
        if not place.exists():
            if by_name is None:
                by_name = _files_by_name(root, key)
            places = by_name.get(key(Path(clip.id).stem), [])
            if len(places) > 1:
                raise ValueError(
                    f"{clip.id!r} must lie in {str(root)!r} once, got "
                    f"{named([str(p.relative_to(root)) for p in places])}"
                )
            if not places:
                missing.append(clip.id)
                continue
            place, renamed = places[0], renamed + 1
        found.append(replace(clip, path=place))
    if not found or (missing and not allow_missing):
        raise FileNotFoundError(
            f"videos must hold every listed video, got {len(missing)} of {len(clips)} missing from "
            f"{str(root)!r}: {named(missing)}; add them, or allow missing ones to be left out"
        )
    notes = [f"{renamed} found under another folder or spelling"] if renamed else []
    notes += [f"{len(missing)} missing videos were left out"] if missing else []
    return found, ", ".join(notes)


def kept(splits: Sequence[Split], clips: Sequence[Video]) -> tuple[Split, ...]:
    """Leave ids out of splits that are not among `clips`."""
    ids = {clip.id for clip in clips}
    return tuple(
        Split(
            split.name,
            tuple(id for id in split.train if id in ids),
            tuple(id for id in split.test if id in ids),
        )
        for split in splits
    )


def _files_by_name(root: Path, key: Callable[[str], str]) -> dict[str, list[Path]]:
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            by_name[key(path.stem)].append(path)
    return by_name
