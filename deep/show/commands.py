"""The commands ``trajfuse deep show``: what a network sees and does, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deep.options import PROCESSES, Quiet, Workers, check_cache
from idt.cli.workers import Memory, Scheduler, TimeLimit, open_workers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deep.data import Stored
    from deep.recogniser import NetworkRecogniser

app = typer.Typer(
    name="show",
    help="Look inside: layers of a network, and pictures of filters, flow, saliency, features and "
    "scores over time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Network = Annotated[
    Path, typer.Argument(metavar="WEIGHTS", help="A .safetensors file that `train` wrote.")
]
Video = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT.png", help="File to write.")]
Frame = Annotated[
    int | None, typer.Option(help="Frame to look at, counted from 0. Default: the middle one.")
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder that keeps decoded frames and flow between runs.")
]


@app.command("filters")
def show_filters(
    network: Network,
    output: Output,
    stream: Annotated[
        str | None,
        typer.Option(help="rgb, flow or rgb-difference. Default: the first tower's."),
    ] = None,
) -> None:
    """Draw the filters of a network's first layer.

    Example: trajfuse deep show filters two-stream.safetensors --stream flow -o filters.png
    """
    from deep import explain
    from deep.recogniser import NetworkRecogniser
    from deep.show import figures

    _check_output(output)
    loaded = NetworkRecogniser.load(network)
    towers = explain.towers(loaded.network_)
    stream = next(iter(towers)) if stream is None else stream
    if stream not in towers:
        raise ValueError(
            f"stream must be one of {', '.join(towers)} for {network}, got {stream!r}; choose one"
        )
    filters = explain.first_filters(towers[stream])
    title = f"{loaded.model}, {towers[stream].name}: first layer of the tower on {stream}"
    _save(figures.draw_filters(filters, title=title), output)


@app.command("flow")
def show_flow(
    video: Video,
    output: Output,
    frame: Frame = None,
    stack: Annotated[int, typer.Option(min=1, help="Number of fields.")] = 10,
    stacking: Annotated[
        str, typer.Option(help="plain, trajectory (along the paths of points) or bi-directional.")
    ] = "plain",
    algorithm: Annotated[
        str, typer.Option(help="Of the flow, see `deep.flow.ALGORITHMS`.")
    ] = "dis-medium",
    warped: Annotated[bool, typer.Option("--warped", help="Take out the camera's motion.")] = False,
    side: Annotated[int, typer.Option(help="Shorter side in pixels.")] = 128,
    cache: Cache = None,
) -> None:
    """Draw the stack of flow fields around a frame, as a temporal network sees it.

    Example: trajfuse deep show flow clip.avi --frame 40 --warped -o flow.png
    """
    from deep import data, explain
    from deep.clips import ClipSpec
    from deep.data import Cutting
    from deep.flow import FlowSettings
    from deep.recogniser.inputs import cache_folder
    from deep.show import figures

    _check_output(output)
    settings = FlowSettings(
        algorithm=algorithm, warped=warped, backward=stacking == "bi-directional"
    )
    spec = ClipSpec(stack=stack, stacking=stacking)
    owner = _Owner()
    stored = data.store(video, folder=cache_folder(owner, cache), side=side, flow=settings)
    cutting = Cutting(size=side, subtract_mean=False, bound=settings.bound)
    rgb, flow, frames = explain.middle_clip(stored, spec, cutting, frame=frame)
    if flow is None:
        raise ValueError(f"stack must be at least 1, got {stack}; the papers use 10")
    clip = spec.at(int(frames[0]), 1, n_frames=stored.n_frames)
    numbers = [*map(str, clip.fields[0]), *(f"{number} back" for number in clip.backward[0])]
    title = f"{video.name}, frame {frames[0]}: {stacking} stack, {algorithm}"
    title += ", less the camera's motion" if warped else ""
    figure = figures.draw_flow(
        rgb[0, 0, :, 0].permute(1, 2, 0).numpy(),
        flow[0, 0].numpy(),
        title=title,
        fields=numbers,
        aspect=stored.height / stored.width,
    )
    _save(figure, output)


@app.command("saliency")
def show_saliency(
    network: Network,
    video: Video,
    output: Output,
    of: Annotated[
        str | None, typer.Option("--class", help="Its name. Default: the class of highest score.")
    ] = None,
    frame: Frame = None,
    cache: Cache = None,
) -> None:
    """Draw which pixels a class's score depends on (Simonyan et al. 2014).

    Example: trajfuse deep show saliency two-stream.safetensors clip.avi --class hug -o hug.png
    """
    import torch

    from deep import explain
    from deep.show import figures

    _check_output(output)
    loaded, stored = _opened(network, video, cache)
    names = loaded.class_names_
    if of is not None and of not in names:
        raise ValueError(f"class must be one of {', '.join(names)}, got {of!r}; choose one")
    spec, cutting = loaded.spec_, loaded.cutting_
    rgb, flow, frames = explain.middle_clip(stored, spec, cutting, frame=frame)
    with torch.inference_mode():
        scores = loaded.network_(rgb=rgb, flow=flow)[0]
    label = int(scores.argmax()) if of is None else names.index(of)
    maps = explain.saliency(loaded.network_, rgb, flow, label)
    chunk = len(frames) // 2
    centre = spec.frames.index(0) if 0 in spec.frames else 0
    picture = rgb[0, chunk, :, centre].permute(1, 2, 0).numpy()
    title = f"{video.name}, frame {frames[chunk]}: {loaded.model} on {names[label]!r}"
    title += f" (highest: {names[int(scores.argmax())]!r})"
    shown = {name: saliency[chunk] for name, saliency in maps.items()}
    aspect = stored.height / stored.width
    _save(figures.draw_saliency(picture, shown, title=title, aspect=aspect), output)


@app.command("features")
def show_features(
    network: Network,
    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEO...", help="Videos, each in a folder named after its class."),
    ],
    output: Output,
    clips: Annotated[int, typer.Option(min=1, help="Clips per video.")] = 5,
    perplexity: Annotated[
        float | None, typer.Option(help="Neighbours that count. Default: 30, or what fits.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of t-SNE.")] = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    time_limit: TimeLimit = None,
    memory: Memory = None,
    cache: Cache = None,
    quiet: Quiet = False,
) -> None:
    """Draw what a network's last layer is fed, video by video, on a plane (t-SNE).

    Example: trajfuse deep show features two-stream.safetensors clips/*/*.avi -o features.png
    """
    from deep import explain
    from deep.recogniser import NetworkRecogniser
    from deep.show import figures

    _check_output(output)
    if len(videos) < explain.FEWEST:
        raise ValueError(f"videos must be at least {explain.FEWEST}, got {len(videos)}; name more")
    check_cache(cache, scheduler)
    with open_workers(
        workers, scheduler=scheduler, time_limit=time_limit, memory=memory, default=PROCESSES
    ) as crew:
        loaded = NetworkRecogniser.load(network, workers=crew, verbose=not quiet, cache=cache)
        outcomes = loaded.prepare([video.absolute() for video in videos])
        stored = [outcome.result() for outcome in outcomes]
    rows = explain.features(
        loaded.network_,
        stored,
        spec=loaded.spec_,
        cutting=loaded.cutting_,
        n_clips=clips,
        verbose=not quiet,
    )
    classes = [video.resolve().parent.name for video in videos]
    names = sorted(set(classes))
    places = explain.embed(rows, perplexity=perplexity, seed=seed)
    title = f"{loaded.model}: inputs of its last layer, {len(videos)} videos"
    labels = [names.index(name) for name in classes]
    _save(figures.draw_embedding(places, labels, names, title=title), output)


@app.command("scores")
def show_scores(
    network: Network,
    video: Video,
    output: Output,
    clips: Annotated[int, typer.Option(min=2, help="Clips at equal spacing.")] = 25,
    most: Annotated[int, typer.Option(min=1, help="Classes to draw.")] = 6,
    cache: Cache = None,
) -> None:
    """Draw a network's scores for the clips of a video over its time.

    Example: trajfuse deep show scores two-stream.safetensors clip.avi -o scores.png
    """
    from deep import explain
    from deep.show import figures

    _check_output(output)
    loaded, stored = _opened(network, video, cache)
    frames, shares = explain.scores_over_time(
        loaded.network_, stored, spec=loaded.spec_, cutting=loaded.cutting_, n_clips=clips
    )
    title = f"{video.name}: {loaded.model}, {clips} clips"
    names = loaded.class_names_
    _save(figures.draw_scores(frames, shares, names, title=title, most=most), output)


class _Owner:
    """Whose end is that of a temporary folder."""


def _opened(network: Path, video: Path, cache: Path | None) -> tuple[NetworkRecogniser, Stored]:
    """A trained network, and a video stored as it sees it."""
    from deep.recogniser import NetworkRecogniser

    loaded = NetworkRecogniser.load(network, cache=cache)
    return loaded, loaded.prepare([video])[0].result()


def _check_output(output: Path) -> None:
    """Refuse a file that cannot become a picture, before anything is computed."""
    if output.suffix.lower() != ".png":
        raise ValueError(f"output must end in .png, got {str(output)!r}; rename it")
    if not output.absolute().parent.is_dir():
        raise ValueError(
            f"output must be in a folder that exists, got {str(output)!r}; make the folder first"
        )


def _save(figure: Figure, output: Path) -> None:
    """Write a figure, whole or not at all, and say where."""
    from deep.show.figures import DPI
    from idt.jobs import whole_file

    with whole_file(output) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
    typer.echo(str(output))
