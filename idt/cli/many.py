"""What commands that work many videos into a folder share: their options, and what they tell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from idt.jobs.folder import Counts, Event

FAILED = 1  # exit code of a run that is through, but not with all

Videos = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="VIDEO...",
        help="Video files, folders of images, or folders of these at any depth.",
        show_default=False,
    ),
]
ListFile = Annotated[
    Path | None,
    typer.Option(
        "--list",
        metavar="FILE",
        help="File with more videos, one a line or each ending in NUL, relative to it; - reads "
        "standard input.",
    ),
]
AllowOutside = Annotated[
    bool,
    typer.Option("--allow-outside", help="Let --list name videos outside of its own folder."),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Into a folder: only part I of N, from 1/N to N/N, as in a job array.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Into a folder: stop at the first video that fails.")
]
Redo = Annotated[
    bool,
    typer.Option(
        "--redo",
        help="Into a folder: where its results were made with other settings or versions, make "
        "them again.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Into a folder: print one JSON object a line for every video, and at the end.",
    ),
]


def videos_of(
    given: Sequence[Path], listed: Path | None, *, allow_outside: bool
) -> dict[str, Path]:
    """Videos of a command line, by name."""
    from idt.video import find_videos, read_list

    found = find_videos(given) if given or listed is None else {}
    if listed is not None:
        from_input = str(listed) == "-"
        text = sys.stdin.buffer.read() if from_input else listed.read_bytes()
        root = Path() if from_input else listed.parent
        for name, path in read_list(text, root, allow_outside=allow_outside).items():
            if found.setdefault(name, path) != path:
                raise ValueError(
                    f"videos must have names of their own, got {str(found[name])!r} and "
                    f"{str(path)!r} for {name!r}; leave one out"
                )
    return dict(sorted(found.items()))


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Part and number of parts out of ``I/N``."""
    if text is None:
        return None
    part, slash, count = text.partition("/")
    if slash and part.isdecimal() and count.isdecimal() and 1 <= int(part) <= int(count):
        return int(part), int(count)
    raise ValueError(f"shard must be I/N with I from 1 to N, got {text!r}; write 1/8 to 8/8")


def teller(*, as_json: bool, quiet: bool) -> Callable[[Event], None]:
    """Make what tells of every video as it is through: all to machines, trouble to people."""

    def tell(event: Event) -> None:
        row = event.row
        if as_json:
            state = "kept" if event.kept else row.state
            told = {"video": row.name, "state": state, "reason": row.reason, "tries": row.tries}
            told |= {"seconds": round(row.seconds, 3), **event.tally.as_dict()}
            print(json.dumps(told), flush=True)
        elif row.state != "done":
            print(f"{shown(row.name)}: {row.state}: {shown(row.reason)}", file=sys.stderr)
        elif row.reason and not quiet:
            print(f"{shown(row.name)}: made again: {shown(row.reason)}", file=sys.stderr)

    return tell


def finish(counts: Counts, folder: Path, *, as_json: bool, quiet: bool) -> None:
    """Tell what a run did, and exit with 1 where not all is done."""
    if as_json:
        print(json.dumps({"folder": str(folder), **counts._asdict()}), flush=True)
    elif not quiet:
        parts = [f"{counts.made} made", f"{counts.kept} there before"]
        parts += [f"{counts.failed} failed"] if counts.failed else []
        parts += [f"{counts.lost} lost, run again to try them again"] if counts.lost else []
        parts += [f"{counts.left} failed before"] if counts.left else []
        print(f"{shown(str(folder))}: {', '.join(parts)}")
        if counts.failed or counts.left:
            print(
                f"trajfuse jobs status {shown(str(folder))} tells why; trajfuse jobs retry lets "
                "them be tried again",
                file=sys.stderr,
            )
    if counts.failed or counts.lost or counts.left:
        raise typer.Exit(FAILED)


def shown(text: str) -> str:
    """Text that may stand in a line: names can hold line ends, control codes, bytes of no text."""
    return text if text.isprintable() else ascii(text)
