"""The command ``trajfuse deep flow``: videos to folders of images and flow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from deep.options import PROCESSES, AllowOutside, Quiet, Workers
from idt.cli.workers import Memory, Scheduler, TimeLimit, open_workers

TABLE = ".csv"


def write_flow(
    videos: Annotated[
        list[Path],
        typer.Argument(
            metavar="VIDEO|DATA.csv ...",
            help="Video files, folders of images, or a CSV with the column path, paths from its "
            "folder; its other columns are kept in a CSV of the same name in the output folder.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the videos' folders.")],
    algorithm: Annotated[
        str, typer.Option(help="dis-medium, dis-fast, tvl1 or farneback.")
    ] = "dis-medium",
    bound: Annotated[
        float, typer.Option(help="Pixels per frame that the outermost levels stand for.")
    ] = 20.0,
    own_bounds: Annotated[
        bool,
        typer.Option(
            "--own-bounds",
            help="Clip nothing: bounds of each field's own, which flow.json tells. Other programs "
            "do not read them.",
        ),
    ] = False,
    warped: Annotated[bool, typer.Option("--warped", help="Take the camera's motion out.")] = False,
    side: Annotated[
        int,
        typer.Option(min=0, help="Shorter side of the images in pixels; 0 for the video's own."),
    ] = 128,
    layout: Annotated[
        str,
        typer.Option(
            metavar="flat|uv",
            help="flat: VIDEO/img_00001.jpg, VIDEO/flow_x_00001.jpg, VIDEO/flow_y_00001.jpg; "
            "uv: img/VIDEO/frame000001.jpg, and so in u and v.",
        ),
    ] = "flat",
    base: Annotated[int, typer.Option(metavar="0|1", help="Number of the first file.")] = 1,
    form: Annotated[
        str, typer.Option("--format", metavar="jpg|png", help="png loses nothing, and is larger.")
    ] = "jpg",
    device: Annotated[
        str, typer.Option(help="Where tvl1 is computed: cpu, or a GPU such as cuda.")
    ] = "cpu",
    workers: Workers = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    allow_outside: AllowOutside = False,
    quiet: Quiet = False,
) -> None:
    """Write the frames of videos and the flow between them as numbered images.

    A video of n frames has n - 1 fields: field k leads from image k to image k + 1.

    Folders that are there, made with the same settings, are left as they are.

    Networks train on them, as in:

    trajfuse deep flow videos.csv -o flow --algorithm tvl1 --format png

    trajfuse deep train flow/videos.csv -o net.safetensors --option algorithm=tvl1
    """
    from deep.data.exporting import export_all
    from deep.flow import FlowSettings, image_folder

    items, tables = _find(videos, allow_outside=allow_outside)
    with open_workers(
        workers, scheduler=scheduler, time_limit=time_limit, memory=memory, default=PROCESSES
    ) as crew:
        outcomes = export_all(
            items,
            root=output.absolute(),  # another machine has another working folder
            settings=FlowSettings(
                algorithm=algorithm, bound=None if own_bounds else bound, warped=warped
            ),
            side=side or None,
            layout=layout,
            base=base,
            form=form,
            device=device,
            workers=crew,
            verbose=not quiet,
        )
    written: dict[Path, str] = {}
    for (path, name), outcome in zip(items, outcomes, strict=True):
        if outcome.refused:
            typer.echo(f"left out: {outcome.error}", err=True)
        else:
            outcome.result()
            written[path] = image_folder(Path(), name, layout).as_posix()
    if not written:
        raise ValueError(
            f"at least one video must be readable, got none of {len(items)}; see the reasons above"
        )
    for table, rows in tables.items():
        _write_table(output / table.name, [(written.get(path), row) for path, row in rows])
    n_fields = sum(len(each.value.x) for each in outcomes if each.value is not None)
    typer.echo(f"{output}: {len(written)} videos, {n_fields} fields of flow")


Rows = list[tuple[Path, dict[str, str]]]


def _find(
    videos: list[Path], *, allow_outside: bool
) -> tuple[list[tuple[Path, str]], dict[Path, Rows]]:
    """Videos with the names of their folders, and the rows of each table."""
    import csv

    from idt.paths import leads_outside

    items: list[tuple[Path, str]] = []
    tables: dict[Path, Rows] = {}
    for given in videos:
        if given.suffix.lower() != TABLE:
            items.append((given.absolute(), _name(given.resolve().name, given)))
            continue
        with given.open(newline="", encoding="utf-8-sig") as file:
            try:
                rows = list(csv.DictReader(file, strict=True))
            except (UnicodeDecodeError, csv.Error) as error:
                raise ValueError(
                    f"{given} must be a CSV file in UTF-8: {error}; save it again as one"
                ) from error
        empty = next((n for n, row in enumerate(rows, start=2) if not row.get("path")), None)
        if empty is not None or not rows:
            where = "no rows" if empty is None else f"none in line {empty}"
            raise ValueError(
                f"{given} must have a column path with a value in every row, got {where}; "
                "fill it in"
            )
        outside = [row["path"] for row in rows if leads_outside(row["path"])]
        if outside and not allow_outside:
            raise ValueError(
                f"every path of {given} must lie in its folder, got {outside[0]!r}; move the video "
                "there, or give --allow-outside"
            )
        folder = given.parent.absolute()
        tables[given] = [(folder / row["path"], row) for row in rows]
        items += [(path, _name(row["path"], path)) for path, row in tables[given]]
    places: dict[str, Path] = {}
    for path, name in items:
        if not path.exists():
            raise FileNotFoundError(f"every video must exist, got {str(path)!r}; correct its path")
        if name in places:
            raise ValueError(
                f"videos must differ in name, got {str(places[name])!r} and {str(path)!r}, which "
                f"would both be written to {name!r}; rename one"
            )
        places[name] = path
    return items, tables


def _name(written: str, path: Path) -> str:
    """Name of a video's folder: its path as written, or the end of one that leads elsewhere."""
    name = Path(os.path.normpath(written))
    if name.is_absolute() or ".." in name.parts:
        name = Path(name.name)
    return (name if path.is_dir() else name.with_suffix("")).as_posix()


def _write_table(output: Path, rows: list[tuple[str | None, dict[str, str]]]) -> None:
    """Write a table with the paths of the folders, without videos that have none."""
    import csv

    from idt import jobs

    with (
        jobs.whole_file(output) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [name for name in rows[0][1] if name is not None])
        writer.writeheader()
        for folder, row in rows:
            if folder is not None:
                writer.writerow({**{k: row[k] for k in writer.fieldnames}, "path": folder})
