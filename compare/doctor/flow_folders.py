"""Folders of images and flow beside a data set: one folder per video, one file per frame.

What TSN, mmaction2 and others extract: ``img_00001.jpg``, ``flow_x_00001.jpg``,
``flow_y_00001.jpg``, or the flow in folders ``u`` and ``v``, see `deep.flow.folders`. Between n
frames there are n - 1 fields of flow. Some programs write a last field once more, some leave out
the last image, some number from 0: a reader that expects another habit reads past the end, or pairs
a frame with its neighbour's flow, without an error.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from compare.datasets.dataset import joined, named
from compare.doctor.finding import Finding
from deep.flow.folders import COMPONENTS, NUMBERED, STREAMS

FLOW = tuple(COMPONENTS)
LETTERS = {letter: stream for stream, letter in COMPONENTS.items()}


@dataclass(frozen=True)
class Folder:
    """What lies in one video's folder: the numbers of each stream's files, and empty files."""

    numbers: Mapping[str, tuple[int, ...]]
    empty: tuple[str, ...] = ()
    strange: tuple[str, ...] = field(default=())


def examine_flow(
    root: str | Path, *, n_frames: Mapping[str, int] | None = None, ids: Iterable[str] | None = None
) -> list[Finding]:
    """Examine a folder of folders of images and flow.

    Parameters
    ----------
    root
        Holds one folder per video, at any depth; its name is the video's without suffix.
    n_frames
        Decoded frames of each video id, where known.
    ids
        Video ids that must have a folder, where known.

    Returns
    -------
    list of Finding
        Numbers that start at 0 or at 1, gaps, empty files, streams of different length, n against
        n - 1 fields of flow, against decoded frames, and videos without a folder.
    """
    root = Path(root)
    if not root.is_dir():
        advice = "give the folder that holds one folder per video"
        return [Finding("flow", "error", f"{str(root)!r} is no folder", advice)]
    folders = read_folders(root)
    if not folders:
        text = f"{str(root)!r} holds no numbered images or flow in folders of videos"
        advice = "give the folder that holds one folder per video, as img_00001.jpg in VIDEO/"
        return [Finding("flow", "error", text, advice)]
    findings = [Finding("flow", "fine", f"{len(folders)} folders in {str(root)!r}")]
    findings += _numbering(folders) + _files(folders) + _lengths(folders)
    stems = {Path(id).stem: n for id, n in (n_frames or {}).items()}
    findings += _against_videos(folders, stems)
    lacking = [id for id in ids or () if Path(id).stem not in folders]
    if lacking:
        text = f"{len(lacking)} videos have no folder: {named(lacking)}"
        findings.append(Finding("flow", "error", text, "extract them"))
    return findings


def read_folders(root: Path) -> dict[str, Folder]:
    """Read which numbered files each folder below a root holds, by the folder's name."""
    folders: dict[str, Folder] = {}
    for place in sorted(path for path in root.rglob("*") if path.is_dir()):
        numbers: dict[str, list[int]] = defaultdict(list)
        empty, strange = [], []
        letter = next((part for part in place.relative_to(root).parts if part in LETTERS), None)
        for entry in place.iterdir():
            matched = NUMBERED.fullmatch(entry.name)
            if matched is None or not entry.is_file():
                continue
            stream = LETTERS[letter] if letter else STREAMS.get(matched[1].lower())
            if stream is None:
                strange.append(entry.name)
                continue
            numbers[stream].append(int(matched[2]))
            if entry.stat().st_size == 0:
                empty.append(entry.name)
        if numbers or strange:
            ordered = {stream: tuple(sorted(each)) for stream, each in numbers.items()}
            name = place.parent.name if place.name in LETTERS else place.name
            known = folders.get(name)
            if known is not None and not set(ordered) & set(known.numbers):  # u, v, and images
                ordered = {**known.numbers, **ordered}
                empty, strange = [*known.empty, *empty], [*known.strange, *strange]
            folders[name] = Folder(ordered, tuple(sorted(empty)), tuple(sorted(strange)))
    return folders


def _numbering(folders: Mapping[str, Folder]) -> list[Finding]:
    """From where streams are numbered, and whether all alike."""
    firsts = Counter(
        (stream, each[0]) for folder in folders.values() for stream, each in folder.numbers.items()
    )
    found = ", ".join(
        f"{stream} from {first} in {n}" for (stream, first), n in sorted(firsts.items())
    )
    if len({first for _, first in firsts}) > 1:
        odd = _minority(folders, firsts)
        return [
            Finding(
                "flow",
                "error",
                f"numbers start differently: {found} folders; such as {named(odd)}",
                "extract them alike: a reader takes one base for all, and would be a frame off",
            )
        ]
    base = next(iter(firsts))[1] if firsts else 0
    if base not in (0, 1):
        text, advice = f"numbers start at {base}", "extract again: frames before it are missing"
        return [Finding("flow", "error", text, advice)]
    return [Finding("flow", "fine", f"numbers start at {base}")]


def _minority(folders: Mapping[str, Folder], firsts: Counter[tuple[str, int]]) -> list[str]:
    """Folders whose numbers do not start where most do."""
    by_base = Counter[int]()
    for (_, first), n in firsts.items():
        by_base[first] += n
    usual = by_base.most_common(1)[0][0]
    return [
        name for name, f in folders.items() if any(each[0] != usual for each in f.numbers.values())
    ]


def _files(folders: Mapping[str, Folder]) -> list[Finding]:
    """Gaps in numbers, files of 0 bytes, files of unknown names."""
    gaps = []
    for name, folder in folders.items():
        for stream, each in folder.numbers.items():
            absent = [n + 1 for n, after in pairwise(each) if after > n + 1]
            if absent:
                gaps.append(f"{name} ({stream} {absent[0]})")
    empty = [f"{name}/{file}" for name, folder in folders.items() for file in folder.empty]
    strange = [f"{name}/{folder.strange[0]}" for name, folder in folders.items() if folder.strange]
    findings = []
    if gaps:
        text = f"{len(gaps)} streams have gaps: {joined(gaps)}"
        findings.append(Finding("flow", "error", text, "extract these videos again"))
    if empty:
        text = f"{len(empty)} files have 0 bytes: {named(empty)}"
        findings.append(Finding("flow", "error", text, "extract these videos again"))
    if strange:
        text = f"{len(strange)} folders hold numbered files of unknown names: {named(strange)}"
        advice = "rename them as img_00001.jpg, flow_x_00001.jpg, flow_y_00001.jpg"
        findings.append(Finding("flow", "warning", text, advice))
    return findings


def _lengths(folders: Mapping[str, Folder]) -> list[Finding]:
    """Whether x and y agree, and how many fewer fields of flow there are than images."""
    findings = []
    unlike = [
        f"{name} ({n[0]} x, {n[1]} y)"
        for name, folder in folders.items()
        if len(set(n := [len(folder.numbers.get(stream, ())) for stream in FLOW])) > 1
    ]
    if unlike:
        text = f"{len(unlike)} folders hold x and y of different number: {joined(unlike)}"
        findings.append(Finding("flow", "error", text, "extract these videos again"))
    fewer: dict[int, list[str]] = defaultdict(list)
    for name, folder in folders.items():
        if "images" in folder.numbers and "flow x" in folder.numbers:
            lengths = [len(folder.numbers[stream]) for stream in ("images", "flow x")]
            fewer[lengths[0] - lengths[1]].append(name)
    if set(fewer) == {1}:
        findings.append(Finding("flow", "fine", "n images, n - 1 fields of flow"))
    elif set(fewer) == {0}:
        findings.append(
            Finding(
                "flow",
                "warning",
                "as many fields of flow as images: the last field is a copy, or the last image "
                "was left out",
                "tell the reader that there are n fields, or leave the last one out",
            )
        )
    elif fewer:
        rows = [f"{k} fewer in {len(each)} ({each[0]})" for k, each in sorted(fewer.items())]
        findings.append(
            Finding(
                "flow",
                "error",
                f"fields of flow against images differ from folder to folder: {joined(rows)}",
                "extract them alike, with n - 1 fields for n images",
            )
        )
    return findings


def _against_videos(folders: Mapping[str, Folder], n_frames: Mapping[str, int]) -> list[Finding]:
    """Images and flow against the frames that videos decode to."""
    wrong, n_compared = [], 0
    for name, n in n_frames.items():
        if name not in folders:
            continue
        n_compared += 1
        lengths = {stream: len(each) for stream, each in folders[name].numbers.items()}
        if any(each not in (n, n - 1) for each in lengths.values()):
            shown = ", ".join(f"{each} {stream}" for stream, each in sorted(lengths.items()))
            wrong.append(f"{name} ({n} frames, {shown})")
    if wrong:
        text = f"{len(wrong)} folders do not belong to their videos: {joined(wrong)}"
        return [Finding("flow", "error", text, "extract these videos again")]
    if n_compared:
        return [Finding("flow", "fine", f"{n_compared} folders fit their videos' frames")]
    return []
