"""Decode videos once and write their frames and flow as folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deep import flow as optical
from deep.data.storing import decoded
from deep.flow import FlowSettings
from idt import jobs


def export(
    item: tuple[Path, str],
    *,
    root: Path,
    settings: FlowSettings,
    side: int | None = 128,
    layout: str = "flat",
    base: int = 1,
    form: str = "jpg",
    device: str = "cpu",
) -> optical.FlowFolder:
    """Write a video's folder of images and flow, or find it there.

    Parameters
    ----------
    item
        A video, and the name of its folder.
    root, settings, layout, base, form, device
        As for `deep.flow.write_folder`.
    side
        Length of the images' shorter side in pixels, at least 32; None for the video's own.

    Raises
    ------
    idt.video.VideoError
        The video cannot be read.
    ValueError, FileExistsError
        As for `deep.flow.write_folder`.
    """
    path, name = item
    source = jobs.file_key(path, {"side": side})
    folder = optical.image_folder(root, name, layout)
    wanted = {"flow": settings.fingerprint(), "source": source, "base": base, "form": form}
    try:
        found = optical.read_folder(folder) if folder.is_dir() else None
    except ValueError:  # not whole: written anew, where it is ours
        found = None
    if found is None or found.record is None or not wanted.items() <= found.record.items():
        optical.write_folder(
            decoded(path, side),
            root,
            name,
            settings=settings,
            layout=layout,
            base=base,
            form=form,
            device=device,
            source=source,
        )
        found = optical.read_folder(folder)
    if found is None:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold flow, got none; it was removed meanwhile"
        )
    return found


def export_all(
    items: Sequence[tuple[Path, str]],
    *,
    root: Path,
    settings: FlowSettings,
    side: int | None = 128,
    layout: str = "flat",
    base: int = 1,
    form: str = "jpg",
    device: str = "cpu",
    workers: jobs.Workers = 1,
    verbose: bool = False,
) -> list[jobs.Outcome[tuple[Path, str], optical.FlowFolder]]:
    """`export` for many videos; one that cannot be read becomes an outcome with its error.

    Wrong options, and a device that is not there, are refused before anything is decoded.
    """
    optical.check_form(layout=layout, base=base, form=form, settings=settings)
    optical.check_device(settings, device)
    work = partial(
        export,
        root=root,
        settings=settings,
        side=side,
        layout=layout,
        base=base,
        form=form,
        device=device,
    )
    return jobs.run(work, items, label="frames and flow", workers=workers, verbose=verbose)
