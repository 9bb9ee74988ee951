"""Trajectories as codebooks and encodings take them: tables, files of them, videos while extracted.

A video need not be held: its trajectories are gathered, as they end, into batches of some
thousands, which are worked on far faster than the few of one frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from idt.codebook.rows import MAX_SAMPLE, RowSampler
from idt.extract import Extraction, ExtractOptions
from idt.jobs import progress
from idt.trajectories import FORMS, Trajectories, time_positions
from idt.video import frames

BATCH_ROWS = 4096  # trajectories gathered from an extraction before they are worked on
POSITIONS = slice(-3, None)  # of META_COLUMNS: x_pos, y_pos, t_pos
# Settings that may differ from video to video, or that choose among descriptors.
FREE_SETTINGS = ("descriptors", "seed", "homographies", "boxes", "max_side")

Video: TypeAlias = Trajectories | Mapping  # a table, or arrays by name: in memory
Source: TypeAlias = str | Path | Extraction | Video


@dataclass(frozen=True)
class Batch:
    """Some trajectories of a video.

    Attributes
    ----------
    descriptors
        By name, float32 (n, dimension).
    positions
        (n, 3): x, y and time in the video, from 0 to 1. Time is 0 where it was not asked for; None
        where arrays come without positions.
    """

    descriptors: Mapping[str, ArrayLike]
    positions: ArrayLike | None


def open_source(
    source: Source, *, options: ExtractOptions | None = None, threads: int = 1
) -> Video | Extraction:
    """Load a table, or prepare an extraction.

    Parameters
    ----------
    source
        A video in memory, the path of a table (its suffix tells), an extraction, or the path of a
        video.
    options, threads
        Of the extraction of a path, as in `idt.extract.Extraction`.
    """
    if isinstance(source, Video | Extraction):
        return source
    if str(source).lower().endswith(FORMS):
        return Trajectories.load(source)
    return Extraction(source, options=options, threads=threads)


def settings_of(source: Video | Extraction) -> dict[str, Any] | None:
    """Settings that every video of one codebook shares; None where a video does not tell them."""
    if isinstance(source, Extraction):
        settings = asdict(source.options)
    elif isinstance(source, Trajectories) and "settings" in source.info:
        settings = source.info["settings"]
    else:
        return None
    if not isinstance(settings, Mapping):
        raise ValueError(
            f"settings of a table must be values by name, got {settings!r}; extract it again"
        )
    return {name: value for name, value in settings.items() if name not in FREE_SETTINGS}


def check_settings(
    expected: Mapping[str, Any] | None, found: Mapping[str, Any] | None, *, of: str
) -> None:
    """Refuse settings of an extraction that differ from those expected; None is not known."""
    for name, value in (found or {}).items():
        if expected is not None and name in expected and expected[name] != value:
            raise ValueError(
                f"{name} of the extraction must be {expected[name]!r}, as {of}, got {value!r}; "
                "extract all videos with the same settings"
            )


def batches(source: Video | Extraction, *, with_time: bool = False) -> Iterator[Batch]:
    """Give the trajectories of a video in order.

    Parameters
    ----------
    source
        A table is one batch; so are arrays by name, of which that named ``positions``, if there is
        one, is (n, 3).
    with_time
        Fill in the place in time, too. It takes the number of frames, which a file is decoded for
        once more: what it declares is often wrong.

    Raises
    ------
    ValueError
        The number of frames is asked for and cannot be known.
    VideoError
        The video cannot be read.
    """
    if isinstance(source, Trajectories):
        yield Batch(source.descriptors, source.meta[:, POSITIONS])
        return
    if isinstance(source, Mapping):
        descriptors = {name: rows for name, rows in source.items() if name != "positions"}
        yield Batch(descriptors, source.get("positions"))
        return
    n_frames = _count_frames(source) if with_time else None
    held: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    n_held = 0
    for block in source.blocks():
        held.append((block.meta, block.descriptors))
        n_held += len(block.meta)
        if n_held >= BATCH_ROWS:
            yield _join(source, held, n_frames)
            held, n_held = [], 0
    if held:
        yield _join(source, held, n_frames)


def draw_rows(
    sources: Iterable[Source],
    *,
    n_rows: int = MAX_SAMPLE,
    seed: int = 0,
    options: ExtractOptions | None = None,
    threads: int = 1,
    verbose: bool = False,
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Draw trajectories over all of some videos alike, with no more than the sample in memory.

    Parameters
    ----------
    sources
        Tables, arrays by name, paths of tables, extractions, or paths of videos, which are
        extracted on the way.
    n_rows
        Trajectories over all videos.
    seed
        Of the draw. The sample depends on the order of the videos, too.
    options, threads
        Of the extraction of paths, as in `idt.extract.Extraction`.
    verbose
        Show progress on standard error.

    Returns
    -------
    rows : dict of str to ndarray of float32, (at most n_rows, dimension)
        The same trajectories in every array.
    settings : dict or None
        Of the extraction of all of them, as far as the sources tell.

    Raises
    ------
    ValueError
        No trajectory in any of them, other descriptors or settings in one than in those before.
    VideoError
        A video cannot be read.
    """
    sampler = RowSampler(n_rows, seed=seed)
    shared: dict[str, Any] | None = None
    for given in progress(sources, label="sampling", verbose=verbose):
        source = open_source(given, options=options, threads=threads)
        settings = settings_of(source)
        check_settings(shared, settings, of="of the videos before")
        shared = shared or settings
        for batch in batches(source):
            sampler.add(batch.descriptors)
    if sampler.n_seen == 0:
        raise ValueError(
            "training videos must hold trajectories, got none in any of them; they need more "
            "frames than a track is long, and motion"
        )
    return sampler.sample(), shared


def _join(
    extraction: Extraction,
    held: list[tuple[np.ndarray, dict[str, np.ndarray]]],
    n_frames: int | None,
) -> Batch:
    """One batch of several blocks."""
    meta = np.concatenate([part for part, _ in held])
    if n_frames is not None:
        meta[:, -1] = time_positions(meta[:, 0], **extraction.clock(n_frames))
    names = held[0][1]
    descriptors = {name: np.concatenate([part[name] for _, part in held]) for name in names}
    return Batch(descriptors, meta[:, POSITIONS])


def _count_frames(extraction: Extraction) -> int:
    """Number of frames that an extraction will work on."""
    start, stop, step = extraction.start, extraction.stop, extraction.options.frame_step
    if extraction.path is not None:
        source = frames(extraction.path, start=start, stop=stop, max_side=extraction.max_side)
        return len(range(0, sum(1 for _ in source), step))
    try:
        n_given = len(extraction.video)  # type: ignore[arg-type]  # what has no length is refused
    except TypeError:
        raise ValueError(
            "video must be a file or a sequence of frames where a grid divides time, got frames "
            "without a length; give a list of them"
        ) from None
    return len(range(n_given)[start:stop:step])
