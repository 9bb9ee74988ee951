"""The command ``trajfuse compare import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compare.cli.options import (
    AccuracyFile,
    DatasetName,
    Listed,
    ListSplit,
    Tolerant,
    accuracy_rows,
    names_of,
    top_one,
)

if TYPE_CHECKING:
    from compare.scores import ScoreTable


def import_scores(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Scores of another program: .npz (TSN, CoViAR), .pkl (mmaction2), .mat, .npy or "
            ".csv; or a table of this one, to write it in another form.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File to write, .npz or .csv; with --form tsn .npz, with --form mmaction2 .pkl."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="decision|logit|probability",
            help="What the scores are: an SVM's margins or any scale of its own, logits, or "
            "probabilities. Files of others do not say.",
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Name of the method. Default: the file's, without suffix.")
    ] = None,
    split: Annotated[str, typer.Option(help="Name of the split that the videos test.")] = "",
    listed: Listed = None,
    list_split: ListSplit = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="File with a class per line, numbered or in the order of the columns. Needed "
            "where the file holds neither class names nor labels."
        ),
    ] = None,
    tolerant: Tolerant = "",
    rows: Annotated[
        str,
        typer.Option(
            metavar="listed|sorted",
            help="Order of the rows of a file without names: the list's, or sorted, as TSN writes.",
        ),
    ] = "listed",
    variable: Annotated[
        str | None, typer.Option(help="Name of the matrix in a file that holds several.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(metavar="trajfuse|tsn|mmaction2", help="Form of the file that is written."),
    ] = "trajfuse",
    dataset: DatasetName = "",
    csv_file: AccuracyFile = None,
) -> None:
    """Read others' scores into a table with video ids and class names, or write one for others.

    Nothing in a file is run, pickled content included.

    Example: trajfuse compare import hmdb_idt_split1.mat --kind decision --list splits/hmdb51
    --list-split 1 --tolerant folder,extension --method idt --out idt.npz
    """
    from compare import scores

    order = None if classes is None else scores.read_classes(classes)
    listing = (
        None if listed is None else scores.read_listing(listed, classes=order, split=list_split)
    )
    if form not in ("trajfuse", *scores.FORMS):
        raise ValueError(f"form must be one of trajfuse, {', '.join(scores.FORMS)}, got {form!r}")
    if scores.is_table(file):
        table = scores.ScoreTable.load(file, method=method, split=split or None)
        if listing is not None:
            table = table.aligned(
                listing.ids, table.classes, tolerant=names_of(tolerant), asked_by="the list"
            )
    elif kind not in scores.KINDS:
        raise ValueError(
            f"kind must be one of {', '.join(scores.KINDS)}, got {kind!r}; {str(file)!r} does not "
            "say what its scores are"
        )
    else:
        table = scores.import_scores(
            file,
            kind=kind,  # type: ignore[arg-type]  # one of KINDS
            method=method,
            split=split,
            listing=listing,
            classes=order,
            tolerant=names_of(tolerant),
            rows=rows,  # type: ignore[arg-type]  # checked there
            variable=variable,
        )
    scores.warn_of_flat(table)
    truth = {} if listing is None else listing.truth
    if csv_file is not None:
        scores.write_whole(csv_file, accuracy_rows(dataset, [table], truth))
    if form == "trajfuse":
        table.save(out)
    else:
        scores.export_scores(table, out, form=form, truth=truth)
    typer.echo(_said(table, truth))
    typer.echo(f"scores: {out}")


def _said(table: ScoreTable, truth: dict[str, str]) -> str:
    """One line on what was read."""
    n, c = table.scores.shape
    parts = [f"{table.method}: {n} videos, {c} classes, {table.kind} scores"]
    if truth:
        parts.append(f"top-1 {100 * top_one(table, truth):.2f} %")
    if "classes from" in table.provenance:
        parts.append(f"classes named by {table.provenance['classes from']}")
    matched = table.provenance.get("matched", {}).get("videos")
    if matched:
        example = "".join(f" ({a!r} is {b!r})" for a, b in matched["first"][:1])
        parts.append(
            f"{matched['renamed']} videos renamed, alike but for "
            f"{' and '.join(matched['tolerant'])}{example}"
        )
    return "; ".join(parts)
