"""Pictures of what networks see and do: one function a figure, none of them drawn on a screen.

Colours are those of Okabe and Ito (2008), which people tell apart who do not see all colours; where
there are more classes than colours, markers and lines change too. Signed values run from orange
through white to purple, magnitudes from dark to bright.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
MARKERS = "os^DvPX*"
LINES: tuple[Any, ...] = ("-", "--", ":", "-.")
SIGNED = "PuOr"
MAGNITUDE = "viridis"
DPI = 150
BRIGHTEST = 0.995  # quantile of a saliency that is as bright as can be
MOST_FILTERS = 96
MOST_FLOW_FILTERS = 16  # rows of a table of fields


def draw_filters(filters: np.ndarray, *, title: str) -> Figure:
    """Draw a network's first filters.

    Parameters
    ----------
    filters : ndarray of float, shape (filter, channel, time, row, column)
        With three channels each is a colour picture, grey at zero, of its own range; the first 96.
        With flow's two, each of the first 16 is a row of its times, dx above dy.
    title
        Stands above.

    Raises
    ------
    ValueError
        There are neither three channels nor two.
    """
    if filters.ndim != 5 or filters.shape[1] not in (2, 3):
        raise ValueError(
            "filters must have the shape (filter, 2 or 3 channels, time, row, column), got "
            f"{filters.shape}; give those of a first convolution"
        )
    if filters.shape[1] == 3:
        return _colour_filters(filters, title)
    return _flow_filters(filters[:MOST_FLOW_FILTERS], title, len(filters))


def _colour_filters(filters: np.ndarray, title: str) -> Figure:
    n_times = filters.shape[2]
    shown = filters[: MOST_FILTERS // n_times]
    largest = np.abs(shown).max(axis=(1, 2, 3, 4), keepdims=True)
    scaled = 0.5 + shown / np.where(largest > 0, 2 * largest, 1)
    tiles = scaled.transpose(0, 2, 3, 4, 1).reshape(-1, *shown.shape[3:], 3)
    n_columns = n_times if n_times > 1 else min(12, len(tiles))
    n_rows = -(-len(tiles) // n_columns)
    blank = np.full((n_rows * n_columns - len(tiles), *tiles.shape[1:]), np.nan)
    tiles = np.concatenate([tiles, blank]).reshape(n_rows, n_columns, *tiles.shape[1:])
    mosaic = _mosaic(tiles)
    figure = Figure(figsize=(0.5 * n_columns + 1.4, 0.5 * n_rows + 1.2), layout="constrained")
    ax = figure.subplots()
    ax.imshow(np.nan_to_num(mosaic, nan=1.0), interpolation="nearest")
    first = [str(row * n_columns // n_times) for row in range(n_rows)]
    ax.set_yticks(_middles(n_rows, shown.shape[3]), first, fontsize=8)
    ax.set_ylabel("filter, the first of each row" if n_times == 1 else "filter")
    columns = [f"{'+' if n_times == 1 else ''}{n + (n_times > 1)}" for n in range(n_columns)]
    ax.set_xticks(_middles(n_columns, shown.shape[4]), columns, fontsize=8)
    ax.set_xlabel("" if n_times == 1 else "frame")
    _bare(ax)
    figure.suptitle(f"{title}\n{_of(len(shown), len(filters))}, grey is 0", fontsize=10)
    return figure


def _flow_filters(filters: np.ndarray, title: str, n_all: int) -> Figure:
    n_filters, _, n_times = filters.shape[:3]
    largest = np.abs(filters).max(axis=(1, 2, 3, 4), keepdims=True)
    tiles = (filters / np.where(largest > 0, largest, 1)).reshape(-1, *filters.shape[2:])
    figure = Figure(figsize=(0.5 * n_times + 2.4, 0.8 * n_filters + 1.2), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(_mosaic(tiles), cmap=SIGNED, vmin=-1, vmax=1, interpolation="nearest")
    names = [f"{number} d{component}" for number in range(n_filters) for component in "xy"]
    ax.set_yticks(_middles(2 * n_filters, filters.shape[3]), names, fontsize=7)
    ax.set_ylabel("filter and component")
    times = [str(time + 1) for time in range(n_times)]
    ax.set_xticks(_middles(n_times, filters.shape[4]), times, fontsize=7)
    ax.set_xlabel("field of the stack")
    _bare(ax)
    figure.colorbar(image, ax=ax, shrink=0.5, label="weight, share of the filter's largest")
    figure.suptitle(f"{title}\n{_of(n_filters, n_all)}", fontsize=10)
    return figure


def _mosaic(tiles: np.ndarray) -> np.ndarray:
    """Lay tiles (row, column, h, w, ...) out as one picture, NaN of one pixel between them."""
    padded = np.pad(
        tiles.astype(np.float64),
        ((0, 0), (0, 0), (0, 1), (0, 1), *((0, 0),) * (tiles.ndim - 4)),
        constant_values=np.nan,
    )
    rows = padded.swapaxes(1, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1, *tiles.shape[4:])[:-1, :-1]


def _middles(n: int, length: int) -> list[float]:
    """Where the middles of a mosaic's tiles lie along one side."""
    return [place * (length + 1) + (length - 1) / 2 for place in range(n)]


def _bare(ax: Axes) -> None:
    """Take the frame and the marks at the numbers away."""
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def draw_flow(
    frame: np.ndarray,
    flow: np.ndarray,
    *,
    title: str,
    fields: Sequence[str],
    aspect: float = 1.0,
) -> Figure:
    """Draw a frame and the flow fields that are stacked around it.

    Parameters
    ----------
    frame : ndarray of float, shape (row, column, 3)
        RGB in [0, 1].
    flow : ndarray of float, shape (2, time, row, column)
        (dx, dy) in pixels per frame; all fields share one scale.
    title
        Stands above.
    fields
        Number of each field, or what it is called.
    aspect
        Height of a drawn pixel over its width, for what was brought to a square.
    """
    n_times = flow.shape[1]
    if len(fields) != n_times or flow.shape[0] != 2:
        raise ValueError(
            f"flow must have shape (2, {len(fields)}, row, column), one time for each of fields, "
            f"got {flow.shape}; give a stack and its numbers"
        )
    largest = max(float(np.quantile(np.abs(flow), 0.995)), 0.1)
    n_columns = min(n_times, 5)
    n_bands = -(-n_times // n_columns)
    ratio = aspect * flow.shape[2] / flow.shape[3]
    figure = Figure(
        figsize=(1.9 * (n_columns + 1) + 0.8, (3.6 * ratio + 0.7) * n_bands + 0.6),
        layout="constrained",
    )
    axes = figure.subplots(2 * n_bands, n_columns + 1, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    axes[0, 0].imshow(np.clip(frame, 0, 1), aspect=aspect)
    axes[0, 0].set_title("frame", fontsize=9)
    image = None
    for time in range(n_times):
        band, column = divmod(time, n_columns)
        for component in (0, 1):
            ax = axes[2 * band + component, column + 1]
            image = ax.imshow(
                flow[component, time], cmap=SIGNED, vmin=-largest, vmax=largest, aspect=aspect
            )
            ax.set_title(f"d{'xy'[component]} of field {fields[time]}", fontsize=9)
    if image is not None:
        figure.colorbar(
            image, ax=axes, shrink=0.6, extend="both", label="pixels per frame, right and down +"
        )
    figure.suptitle(title, fontsize=10)
    return figure


def draw_saliency(
    frame: np.ndarray, maps: Mapping[str, np.ndarray], *, title: str, aspect: float = 1.0
) -> Figure:
    """Draw a frame beside the saliency of its pixels for a class.

    Parameters
    ----------
    frame : ndarray of float, shape (row, column, 3)
        RGB in [0, 1].
    maps : dict of ndarray of float, shape (row, column)
        By what it is the saliency of, see `deep.explain.saliency`. Each has its own scale, on which
        one pixel in 200 is as bright as can be.
    title
        Stands above.
    aspect
        As for `draw_flow`.
    """
    ratio = aspect * frame.shape[0] / frame.shape[1]
    figure = Figure(figsize=(3.2 * (1 + len(maps)) + 0.4, 3.2 * ratio + 0.8), layout="constrained")
    axes = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    axes[0].imshow(np.clip(frame, 0, 1), aspect=aspect)
    axes[0].set_title("frame", fontsize=9)
    for ax, (name, saliency) in zip(axes[1:], maps.items(), strict=True):
        bright = float(np.quantile(saliency, BRIGHTEST, method="lower"))
        top = bright or float(saliency.max()) or 1.0
        image = ax.imshow(saliency, cmap=MAGNITUDE, vmin=0, vmax=top, aspect=aspect)
        ax.set_title(f"what it depends on in {name}", fontsize=9)
        figure.colorbar(image, ax=ax, shrink=0.8, extend="max", label="size of the gradient")
    figure.suptitle(title, fontsize=10)
    return figure


def draw_embedding(
    places: np.ndarray, labels: Sequence[int], names: Sequence[str], *, title: str
) -> Figure:
    """Draw videos as points on a plane, a colour and marker for each class.

    Parameters
    ----------
    places : ndarray of float, shape (n, 2)
        As `deep.explain.embed` gives them.
    labels
        Class of each.
    names
        Of the classes.
    title
        Stands above.
    """
    if len(places) != len(labels):
        raise ValueError(
            f"labels must be one for each of {len(places)} points, got {len(labels)}; give both "
            "in the same order"
        )
    figure = Figure(figsize=(6.8, 5.0), layout="constrained")
    ax = figure.subplots()
    for label, name in enumerate(names):
        chosen = places[np.asarray(labels) == label]
        ax.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=34,
            color=COLOURS[label % len(COLOURS)],
            marker=MARKERS[(label // len(COLOURS) + label % len(COLOURS)) % len(MARKERS)],
            edgecolor="white",
            linewidth=0.5,
            label=f"{name} ({len(chosen)})",
        )
    ax.set(xticks=[], yticks=[], xlabel="t-SNE, first axis", ylabel="t-SNE, second axis")
    ax.set_title(title, fontsize=10)
    _legend(figure, len(names))
    return figure


def draw_scores(
    frames: np.ndarray, shares: np.ndarray, names: Sequence[str], *, title: str, most: int = 6
) -> Figure:
    """Draw the scores of a video's clips over its time.

    Parameters
    ----------
    frames : ndarray of float, shape (clip,)
        Frame that each clip stands for.
    shares : ndarray of float, shape (clip, class)
        In [0, 1].
    names
        Of the classes.
    title
        Stands above.
    most
        Classes drawn: those of the largest mean.
    """
    if shares.shape != (len(frames), len(names)):
        raise ValueError(
            f"shares must have the shape ({len(frames)}, {len(names)}), clips and classes, got "
            f"{shares.shape}; give both of one video"
        )
    order = np.argsort(-shares.mean(axis=0), kind="stable")[:most]
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    ax = figure.subplots()
    for place, label in enumerate(order):
        ax.plot(
            frames,
            shares[:, label],
            color=COLOURS[place % len(COLOURS)],
            linestyle=LINES[place % len(LINES)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            linewidth=1.6,
            label=f"{names[label]} ({shares[:, label].mean():.2f})",
        )
    ax.set(xlabel="frame", ylabel="softmax of the clip's scores", ylim=(-0.02, 1.02))
    ax.grid(axis="y", linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    left_out = len(names) - len(order)
    note = f"; {left_out} more classes below" if left_out else ""
    ax.set_title(f"{title}\nmean over the clips in brackets{note}", fontsize=10)
    _legend(figure, len(order))
    return figure


def _legend(figure: Figure, n_entries: int) -> None:
    """Name the classes at the right, in as many columns as they need."""
    axes: list[Axes] = figure.axes
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside right center",
        fontsize=8,
        frameon=False,
        ncols=1 + (n_entries - 1) // 24,
    )


def _of(n_shown: int, n_all: int) -> str:
    """How many filters of how many are shown."""
    return f"{n_shown} filters" if n_shown == n_all else f"first {n_shown} of {n_all} filters"
