"""The command ``trajfuse compare fuse``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    from compare.fusion import FusionRule
    from compare.scores import Listing, ScoreTable


def fuse(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="TABLE...",
            help="Tables of scores (.npz, .csv) of different methods for one split's test videos; "
            "others' files become tables by 'trajfuse compare import'.",
            show_default=False,
        ),
    ],
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="[NAME=]KIND[@SCALE][:TERMS], repeatable. KIND: average, weighted, product, max, "
            "borda, sci; learned: grid, logistic, svm. TERMS: A+B, 0.75*A+0.25*B, or weights 2/1/1 "
            "in the order of the tables. SCALE: none, softmax, l2, l1 (negatives cut), zscore, "
            "rank, unit. A rule may fuse the results of earlier ones. Default: average.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where fused tables go: a folder or, for one rule, a .npz or .csv file."),
    ] = None,
    listed: Listed = None,
    list_split: ListSplit = None,
    tolerant: Tolerant = "",
    fit_on: Annotated[
        list[Path] | None,
        typer.Option(
            help="Repeatable, one per method: table of the training videos' scores by models that "
            "did not see them or their groups. --fit-list says their classes.",
        ),
    ] = None,
    fit_list: Annotated[
        Path | None, typer.Option(help="As --list, for the videos of --fit-on.")
    ] = None,
    cross_fit_groups: Annotated[
        bool,
        typer.Option(
            "--cross-fit-groups",
            help="There are test scores only: learn, for each group, from the others. Lies outside "
            "the official protocol, and is labelled so.",
        ),
    ] = False,
    group_pattern: Annotated[
        str | None,
        typer.Option(
            help="Regular expression whose first group, searched for in a video's id, is its "
            "group. Default: the groups of the list."
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Folds of groups to cross-fit in. Default: each group alone for grid, else 10.",
            min=2,
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="temperature|platt",
            help="Make probabilities of every table first, fitted like what is learned.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the folds.", min=0)] = 0,
    dataset: DatasetName = "",
    csv_file: AccuracyFile = None,
) -> None:
    """Fuse tables of scores, joined by video id and class name, and say what each gets right.

    Example: trajfuse compare fuse rgb.npz flow.npz idt.npz --list testlist01.txt
    --rule net=weighted@none:1*rgb+1.5*flow --rule weighted@l2:0.75*net+0.25*idt
    """
    from compare import fusion, scores

    given = [scores.ScoreTable.load(path) for path in tables]
    methods = [table.method for table in given]
    again = next((k for k, name in enumerate(methods) if name in methods[:k]), None)
    if again is not None:
        first = tables[methods.index(methods[again])]
        raise ValueError(
            f"tables must be of different methods, got {methods[again]!r} in {str(first)!r} and "
            f"{str(tables[again])!r}; 'trajfuse compare import TABLE --method NAME --out FILE' "
            "names one otherwise"
        )
    for table in given:
        scores.warn_of_flat(table)
    texts = rule or ["average"]
    rules = fusion.parse_rules(",".join(texts), methods, learned=True)
    if csv_file is not None and listed is None:
        raise ValueError("csv must be given with --list, which says what is right")
    listing = None if listed is None else scores.read_listing(listed, split=list_split)
    fit_tables, fit_listing = _to_fit_on(fit_on, fit_list, list_split)
    groups = _groups([each for each in (listing, fit_listing) if each is not None], group_pattern)
    if calibrate is not None or any(each.learns for each in rules):
        _check_learning(listing, groups, fit_tables, cross_fit_groups)
    elif fit_tables or cross_fit_groups:
        raise ValueError("fit-on and cross-fit-groups must be given for rules that learn, got none")
    learning = _Learning(
        listing,
        groups,
        fit_tables,
        {} if fit_listing is None else fit_listing.truth,
        cross_fit_groups,
        calibrate,
        folds,
        seed,
    )
    given = scores.join(given, tolerant=names_of(tolerant))
    if listing is not None:
        given = [
            table.aligned(
                listing.ids, table.classes, tolerant=names_of(tolerant), asked_by="the list"
            )
            for table in given
        ]
    pool, fused = list(given), []
    for each in rules:
        made = learning.fused(each, pool)
        pool.append(made)
        fused.append(made)
    _print([*given, *fused], rules, learning)
    if fit_tables and groups is None:
        typer.echo("groups are not known: what was fitted and what is tested may share some")
    if tolerant:
        _print_renamed(given)
    if csv_file is not None and listing is not None:
        scores.write_whole(csv_file, accuracy_rows(dataset, fused, listing.truth))
        typer.echo(f"accuracies: {csv_file}")
    if out is not None:
        _save(fused, out)


@dataclass(frozen=True)
class _Learning:
    """What there is to learn from, and how a rule is fused with it."""

    listing: Listing | None
    groups: Mapping[str, str] | None
    fit_pool: list[ScoreTable]
    fit_truth: Mapping[str, str]
    crossed: bool
    calibration: str | None
    folds: int | None
    seed: int

    def fused(self, rule: FusionRule, pool: Sequence[ScoreTable]) -> ScoreTable:
        """Fuse by a rule, learning first where it learns or where tables are calibrated."""
        from compare import fusion

        if not (rule.learns or self.calibration):
            if self.fit_pool:
                self.fit_pool.append(fusion.fuse(self.fit_pool, rule))
            return fusion.fuse(pool, rule)
        if self.crossed:
            assert self.listing is not None
            assert self.groups is not None
            return fusion.cross_fit(
                rule,
                pool,
                self.listing.truth,
                self.groups,
                calibration=self.calibration,
                n_folds=self.folds,
                seed=self.seed,
            )
        learned = fusion.fit(
            rule,
            self.fit_pool,
            self.fit_truth,
            test=pool[0].ids,
            groups=self.groups,
            calibration=self.calibration,
        )
        return learned.apply(pool, groups=self.groups)


def _to_fit_on(
    tables: Sequence[Path] | None, listed: Path | None, split: int | None
) -> tuple[list[ScoreTable], Listing | None]:
    """Read the tables of training videos, and what their classes are."""
    from compare import scores

    if not tables:
        return [], None
    if listed is None:
        raise ValueError("fit-on must be given with --fit-list, which says the classes")
    listing = scores.read_listing(listed, split=split, part="train")
    return [scores.ScoreTable.load(path) for path in tables], listing


def _check_learning(
    listing: Listing | None,
    groups: Mapping[str, str] | None,
    fit_tables: Sequence[ScoreTable],
    crossed: bool,
) -> None:
    """Refuse what there is not enough for to learn from, or too much."""
    if bool(fit_tables) == crossed:
        raise ValueError(
            "rules that learn, and calibration, must be given one of --fit-on (scores of training "
            "videos) and --cross-fit-groups (other groups of the test), got "
            f"{'both' if crossed else 'neither'}"
        )
    if fit_tables and groups is not None and listing is None:
        raise ValueError("groups of --fit-on must be given with --list, for those of the test")
    if crossed and (listing is None or listing.labels is None):
        raise ValueError("cross-fit-groups must be given with a --list that says the classes")
    if crossed and groups is None:
        raise ValueError(
            "cross-fit-groups must know the groups; give --group-pattern, or a list with groups"
        )


def _groups(lists: Sequence[Listing], pattern: str | None) -> Mapping[str, str] | None:
    if pattern is None:
        if not lists or any(each.groups is None for each in lists):
            return None
        return {
            id: group
            for each in lists
            for id, group in zip(each.ids, each.groups or (), strict=True)
        }
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ValueError(
            f"group-pattern must be a regular expression, got {pattern!r}: {error}"
        ) from error
    groups = {}
    for id in (id for each in lists for id in each.ids):
        found = search(id)
        if found is None or not found.groups():
            raise ValueError(
                f"group-pattern must find a group in every id, got {pattern!r} for {id!r}"
            )
        groups[id] = found[1]
    return groups


def _print(tables: Sequence[ScoreTable], rules: Sequence[FusionRule], learning: _Learning) -> None:
    """Print what each table gets right, and under what weights rules were fused."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from compare import fusion

    truth = learning.listing.truth if learning.listing is not None else {}
    shown = Table()
    shown.add_column("method or rule", overflow="fold")
    if truth:
        shown.add_column("top-1 %", justify="right", no_wrap=True)
        shown.add_column("calibration error %", justify="right")
    shown.add_column("weights", overflow="fold")
    by_name = {rule.name: rule for rule in rules}
    for table in tables:
        cells = [table.method]
        if truth:
            error = (
                f"{100 * fusion.table_error(table, truth):.2f}"
                if table.kind in ("logit", "probability")
                else ""
            )
            cells += [f"{100 * top_one(table, truth):.2f}", error]
        weights = table.provenance.get("weights", {}) if table.method in by_name else {}
        cells.append(" ".join(f"{name} {share:.3g}" for name, share in weights.items()))
        shown.add_row(*(Text(cell) for cell in cells))
    console = Console()
    console.print(shown)
    notes = {t.provenance["protocol"] for t in tables if "protocol" in t.provenance}
    for note in sorted(notes):
        typer.echo(note)


def _print_renamed(tables: Sequence[ScoreTable]) -> None:
    """Say what a tolerant join took for the same."""
    for table in tables:
        for what, account in table.provenance.get("matched", {}).items():
            if account["renamed"]:
                typer.echo(
                    f"{table.method}: {account['renamed']} {what} renamed, alike but for "
                    f"{' and '.join(account['tolerant'])}"
                )


def _save(fused: Sequence[ScoreTable], out: Path) -> None:
    """Write fused tables; names of rules become names of files."""
    if out.suffix in (".npz", ".csv"):
        if len(fused) != 1:
            raise ValueError(
                f"out must be a folder for {len(fused)} rules, got {str(out)!r}; give one rule"
            )
        paths = [out]
    else:
        stems = [re.sub(r"[^\w.+=-]+", "-", each.method).strip("-.") for each in fused]
        if len(set(stems)) != len(stems):
            raise ValueError(
                f"rules must differ in letters or digits to be kept in one folder, got "
                f"{', '.join(each.method for each in fused)}; name them (NAME=RULE)"
            )
        paths = [out / f"{stem}.npz" for stem in stems]
    for table, path in zip(fused, paths, strict=True):
        table.save(path)
        typer.echo(f"scores: {path}")
