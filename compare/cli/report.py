"""The command ``trajfuse compare report``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compare.cli.measured import DataForm, Tables, Tolerant, evaluate, read_labels, read_tables
from compare.cli.options import PROGRAM, Seed
from compare.cli.significance import gains_asked

if TYPE_CHECKING:
    from compare.datasets import Labels
    from compare.metrics import Evaluation
    from compare.report import Stored, Study


def report(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN | TABLE...",
            help="The folder of a finished run; or tables of scores (.npz, .csv) or folders of "
            "them, each maybe NAME=PATH. Tables of one method are its splits and seeds.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="What the videos are: a CSV id,label,group; or a data set in any form (clips need "
            "not be there). A run's folder has them."
        ),
    ] = None,
    form: DataForm = None,
    tolerant: Tolerant = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report. Default: the run's own.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the page is called.")] = None,
    gain: Annotated[
        list[str] | None,
        typer.Option(
            help="BASE,FUSED,CONTROL: show the gain of FUSED over BASE beside that of CONTROL. May "
            "be repeated. Default: what was fused with a method named idt or dt, beside the most "
            "accurate fusion of the same kind without."
        ),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            help="CSV method,fit_seconds,score_seconds,memory_gib,parameters,pretraining, for what "
            "tables do not say; gaps may be empty."
        ),
    ] = None,
    videos: Annotated[
        Path | None, typer.Option(help="Folder in which the clips stand under their ids.")
    ] = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="No pictures of videos, though they are there.")
    ] = False,
    no_groups: Annotated[
        bool, typer.Option("--no-groups", help="Take test videos as independent.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Write the report of a run or of score tables: HTML, Markdown, LaTeX, CSV.

    Example: trajfuse compare report scores/ --labels ucf101_splits/ --out report
    """
    from compare import report as reports
    from idt.paths import leads_outside

    run = Path(sources[0]) if len(sources) == 1 and labels is None else None
    stored = None if run is None else reports.read_run(run)
    if run is not None:
        labels, out = run / reports.LABELS, out or run
    if labels is None or out is None:
        missing = "labels" if labels is None else "out"
        raise ValueError(
            f"{missing} must be given for tables of scores, got none; only a run's folder, given "
            "alone, has its own"
        )
    known = read_labels(labels, form)
    paths = reports.read_places(labels) if run is not None else {}
    if videos is not None:
        paths = {id: videos / id for id in known.truth if not leads_outside(id)}
    tables = read_tables(sources)
    if stored is not None:
        tables = _finished(tables, stored)
    evaluations = evaluate(tables, known, tolerant=tolerant, grouped=not no_groups)
    line = shlex.join([PROGRAM, *(context.obj or ())])
    study = _study(
        tables, evaluations, known, stored, name or labels.stem, line, no_groups, seed, paths, costs
    )
    page = reports.write_study(
        study, out, gains=gains_asked(gain) if gain else None, with_pictures=not no_pictures
    )
    print(reports.headline(study))
    print(f"report: {page}")


def _finished(tables: Tables, stored: Stored) -> Tables:
    """Return the tables of a run's results, in their order; others are of earlier starts."""
    lacking = [label for label in stored.roles if label not in tables]
    if lacking:
        raise ValueError(
            f"a run must have the scores of all its methods, got none of {', '.join(lacking)}; run "
            "it again"
        )
    return {label: tables[label] for label in stored.roles}


def _study(
    tables: Tables,
    evaluations: dict[str, list[Evaluation]],
    known: Labels,
    stored: Stored | None,
    name: str,
    line: str,
    no_groups: bool,
    seed: int,
    paths: dict[str, Path],
    costs: Path | None,
) -> Study:
    """Gather what the report is about, from a run's own account where there is one."""
    from compare import report as reports

    flat = {label: [t for of in seeds.values() for t in of] for label, seeds in tables.items()}
    groups = None if no_groups else known.groups
    said = reports.read_costs(costs) if costs is not None else None
    if stored is None:
        return reports.of_tables(
            flat,
            evaluations,
            name=name,
            truth=known.truth,
            groups=groups,
            n_trained={split: len(ids) for split, ids in known.trained.items()},
            paths=paths,
            costs=said,
            command=line,
            seed=seed,
        )
    return reports.of_tables(
        flat,
        evaluations,
        name=stored.name,
        truth=known.truth,
        groups=groups,
        protocol=stored.protocol,
        n_trained={split: n for split, (n, _) in stored.splits.items()},
        paths=paths,
        costs=said,
        roles=stored.roles,
        **stored.about,
    )
