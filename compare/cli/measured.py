"""Tables of scores from the command line, measured against labels: one method, split, seed each."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from compare.datasets import Dataset, Labels
    from compare.metrics import Evaluation
    from compare.scores import ScoreTable

Tables = dict[str, dict[str, list["ScoreTable"]]]  # by method, then by seed: one table a split

Data = Annotated[
    Path,
    typer.Option(
        "--labels",
        help="What the videos are: a CSV id,label,group; or a data set in any form (clips need not "
        "be there), e.g. the folder of UCF101's split files.",
    ),
]
DataForm = Annotated[
    str | None,
    typer.Option(
        "--form",
        help="Form of the data set, where its files do not say: csv, folders, ucf101, hmdb51, kth, "
        "ut-interaction, lists or kinetics.",
    ),
]
Tolerant = Annotated[
    str,
    typer.Option(
        help="What may differ between the spellings of scores and labels, comma-separated: folder, "
        "extension, case, characters. Default: nothing."
    ),
]


def read_tables(arguments: Sequence[str]) -> Tables:
    """Read score tables from files and folders, each maybe ``NAME=PATH``, by method and seed.

    Raises
    ------
    FileNotFoundError, ValueError
        No table is found, or a method's split is given twice with the same seed.
    """
    from compare.scores import ScoreTable, warn_of_flat

    tables: Tables = defaultdict(lambda: defaultdict(list))
    for argument in arguments:
        name, path = _named_path(argument)
        within = path / "scores" if (path / "scores").is_dir() else path  # a run's folder
        files = sorted(within.rglob("*.npz")) if path.is_dir() else [path]
        if not files:
            raise FileNotFoundError(f"{str(path)!r} must hold tables of scores (.npz), got none")
        for file in files:
            table = ScoreTable.load(file, method=name)
            warn_of_flat(table)
            seed = str(table.provenance.get("seed", ""))
            of_seed = tables[table.method][seed]
            if table.split in {each.split for each in of_seed}:
                raise ValueError(
                    f"tables must be one per method, split and seed, got {table.method!r}, "
                    f"{table.split!r}, seed {seed or 'unknown'} again in {str(file)!r}; name it "
                    "otherwise as NAME=PATH"
                )
            of_seed.append(table)
    return {method: dict(seeds) for method, seeds in tables.items()}


def read_labels(path: Path, form: str | None) -> Labels:
    """Read classes and groups from a CSV with a column id, or from a data set."""
    from compare import datasets

    if not path.exists():
        raise FileNotFoundError(
            f"labels must be a CSV file with columns id and label, or a data set, got "
            f"{str(path)!r}, which does not exist"
        )
    if form is None and path.is_file():
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            if "id" in [cell.strip() for cell in file.readline().split(",")]:
                return datasets.load_labels(path)
    return datasets.Labels.of(read_dataset(path, form))


def read_dataset(path: Path, form: str | None) -> Dataset:
    """Read a data set whose clips need not be there."""
    from compare import datasets

    return datasets.load(path, form=form, must_exist=False)


def evaluate(
    tables: Tables, labels: Labels, *, tolerant: str = "", grouped: bool = True
) -> dict[str, list[Evaluation]]:
    """Measure every method, one evaluation per seed; say on standard error what was renamed."""
    from compare import metrics
    from compare.scores import names

    asked = names.check_tolerances(part.strip() for part in tolerant.split(",") if part.strip())
    videos = _Spellings("videos", list(labels.truth), asked)
    classes = _Spellings(
        "classes", sorted(set(labels.truth.values())), [t for t in asked if t != "folder"]
    )
    return {
        method: [
            metrics.evaluate(
                [_tested(_spelt(table, videos, classes), labels) for table in of_seed],
                labels.truth,
                groups=labels.groups if grouped else None,
            )
            for of_seed in seeds.values()
        ]
        for method, seeds in tables.items()
    }


class _Spellings:
    """Names as the labels spell them, found by other spellings of them."""

    def __init__(self, what: str, known: Sequence[str], tolerant: Sequence[str]) -> None:
        from compare.scores import names

        self.what, self.known, self.tolerant = what, set(known), tolerant
        self.by_key: Mapping[str, list[str]] = defaultdict(list)
        for name in known:
            self.by_key[names.folded(name, tolerant)].append(name)

    def of(self, given: Sequence[str], method: str) -> tuple[str, ...]:
        """Return each name as the labels spell it."""
        from compare.scores import ScoreJoinError, names

        if not self.tolerant:
            missing = [name for name in given if name not in self.known]
            if missing and self.what == "videos":
                unused = sorted(self.known - set(given))
                raise ScoreJoinError(
                    f"labels must name every video of {method!r}, got none for {len(missing)}: "
                    + ", ".join(map(repr, missing[:3]))
                    + names.suggestion(missing, unused)
                )
            return tuple(given)
        spelt = []
        for name in given:
            found = self.by_key.get(names.folded(name, self.tolerant), [])
            if len(found) > 1:
                raise ScoreJoinError(
                    f"{self.what} must differ by more than {' and '.join(self.tolerant)}, got "
                    f"{', '.join(map(repr, found[:3]))} for {name!r}; ask for fewer tolerances"
                )
            spelt.append(found[0] if found else name)
        n_renamed = sum(a != b for a, b in zip(given, spelt, strict=True))
        if n_renamed:
            print(f"{method}: {n_renamed} {self.what} spelt as in the labels", file=sys.stderr)
        return tuple(spelt)


def _spelt(table: ScoreTable, videos: _Spellings, classes: _Spellings) -> ScoreTable:
    return replace(
        table,
        ids=videos.of(table.ids, table.method),
        classes=classes.of(table.classes, table.method),
    )


def _tested(table: ScoreTable, labels: Labels) -> ScoreTable:
    """Return the table unless it scores training videos of its split."""
    from compare.datasets.dataset import named

    trained = labels.trained.get(table.split)
    if trained is None:  # a split of another name: what trains in all splits is tested in none
        trained = frozenset.intersection(*labels.trained.values() or [frozenset[str]()])
    mixed = [id for id in table.ids if id in trained]
    if mixed:
        raise ValueError(
            f"tables must score test videos, got {len(mixed)} training videos of {table.split!r} "
            f"in {table.method!r}: {named(mixed)}; leave them out, or give the labels of the split "
            "that was tested"
        )
    return table


def _named_path(argument: str) -> tuple[str | None, Path]:
    name, mark, path = argument.partition("=")
    if mark and not Path(argument).exists():
        return name, Path(path)
    return None, Path(argument)
