"""The files of a report: one HTML page, Markdown, LaTeX, CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from compare.benchmark import Run
from compare.report import stored, study, tables, videos
from compare.report.content import page_content
from compare.report.findings import Findings, find
from compare.report.study import Study
from compare.scores import write_whole

PAGE_BYTES = 2_000_000
LISTED = (300, 150, 75, 25, 0)  # videos that each list shows: as many as fit into PAGE_BYTES
N_PICTURES = 60
SHORT = 14  # characters of a heading that need no line break


def write(run: Run, folder: str | Path) -> Path:
    """Write the report of a run into its folder; return the page's path.

    ``labels.csv`` is written too, so that ``trajfuse compare report`` can do it again.
    """
    subject = study.of_run(run)
    write_whole(Path(folder) / stored.LABELS, stored.labels_csv(subject).encode())
    return write_study(subject, folder)


def write_study(
    subject: Study,
    folder: str | Path,
    *,
    gains: Sequence[tuple[str, str, str | None]] | None = None,
    with_pictures: bool = True,
) -> Path:
    """Write ``report.html``, ``.md`` and ``.tex``, ``results.csv``, ``pairs.csv``, ``videos.csv``.

    Parameters
    ----------
    subject
        What the report is about.
    folder
        Made where it is not there.
    gains
        See `compare.report.findings.find`.
    with_pictures
        Show small pictures of videos on which methods disagree, where the clips are there.

    Returns
    -------
    Path
        Of the page.
    """
    folder = Path(folder)
    found = find(subject, gains=gains)
    voters = subject.of("method", "fusion")
    written = {
        "results.csv": tables.results_csv(subject, found),
        "pairs.csv": tables.pairs_csv(found),
        "videos.csv": videos.as_csv(videos.disputed(voters) if voters else [], voters),
        "report.md": tables.as_markdown(subject, found),
        "report.tex": tables.as_latex(subject, found),
        "report.html": as_html(subject, found, with_pictures=with_pictures),
    }
    for name, text in written.items():
        write_whole(folder / name, text.encode())
    return folder / "report.html"


def as_html(subject: Study, found: Findings, *, with_pictures: bool = True) -> str:
    """Return the page: one HTML text with its styles, script and pictures inside.

    Lists of videos are cut so that the page stays under 2 MB, and say so.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["breakable"] = _breakable
    environment.globals["SHORT"] = SHORT
    environment.globals["style"] = Markup(_source("page.css"))
    environment.globals["script"] = Markup(_source("page.js"))
    template = environment.from_string(_source("page.html.j2"))
    voters = subject.of("method", "fusion")
    disputed = videos.disputed(voters) if voters else []
    shown = [row.id for row in disputed[:N_PICTURES]] if with_pictures else []
    thumbnails = videos.pictures(subject, shown)
    text = ""
    for n_videos in LISTED:
        content: dict[str, Any] = page_content(
            subject, found, disputed, thumbnails, n_videos=n_videos
        )
        text = template.render(content)
        if len(text.encode()) < PAGE_BYTES:
            break
    return text


def _source(name: str) -> str:
    return resources.files("compare.report").joinpath(name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """Escape a text for the page and let lines break after its punctuation."""
    return Markup("<wbr>").join(re.split(r"(?<=[/:+_.=])(?=\w)(?<![0-9][.])", text))
