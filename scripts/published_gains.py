"""What iDT adds to networks that others published, beside what another network of theirs adds.

    python scripts/published_gains.py SCORES_DIR --csv FILE

For each set of networks: the gain of fusing iDT with it, the gain of fusing another network of the
same set in its place (the control: anything new helps a little), and the difference of the two,
with intervals and tests by group, jointly over HMDB51's splits, Holm-adjusted over the rows of a
data set and set. Nobody published scores of training videos, so weights are cross-fitted over
groups: outside the official protocol. The last columns say how much higher a fusion reads where the
best weights of a grid are picked on the test videos themselves than where they are cross-fitted.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from compare import datasets, fusion, metrics, scores, significance
from compare.datasets import Dataset
from compare.fusion import FusionRule
from compare.scores import Listing, ScoreTable

COVIAR = ("iframe", "mv", "residual", "flow")
HIDDEN = {
    "spatial": "spatial_quality100",
    "tvl1": "temporal_tvl1",
    "motionnet": "temporal_hidden",
}
ASKED = {  # networks to start from, and the control in the place of iDT
    "CoViAR": (
        (("iframe",), "flow"),
        (("iframe", "mv", "residual"), "flow"),
        (("iframe", "mv", "flow"), "residual"),
    ),
    "Hidden Two-Stream": (
        (("spatial",), "tvl1"),
        (("spatial",), "motionnet"),
        (("spatial", "tvl1"), "motionnet"),
    ),
}
COLUMNS = (
    *("dataset", "splits", "networks", "control", "accuracy", "with_idt", "with_control"),
    *("idt_gain", "idt_low", "idt_high", "idt_p", "control_gain", "control_low", "control_high"),
    *("idt_over_control", "over_low", "over_high", "over_p"),
    *("optimism_with_idt", "optimism_with_control"),
)
DATASETS = {"UCF101": datasets.ucf101, "HMDB51": datasets.hmdb51}
SPLITS = {("CoViAR", "UCF101"): (1,), ("CoViAR", "HMDB51"): (1, 2, 3)}
SPLITS["Hidden Two-Stream", "UCF101"] = (1,)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="SCORES_DIR")
    parser.add_argument("--csv", type=Path, help="write the table there")
    parser.add_argument(
        "--rule", default="logistic", choices=["grid", "logistic"], help="how weights are learned"
    )
    options = parser.parse_args(arguments)
    rows = []
    for (set_name, data), splits in SPLITS.items():
        name = data.lower()
        dataset = DATASETS[data](options.folder / "splits" / name, splits=splits)
        tables = {
            split: read(options.folder, set_name, dataset, position, split)
            for position, split in enumerate(splits)
        }
        rows += measured(set_name, data, dataset, tables, options.rule)
    print_table(rows)
    if options.csv:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        scores.write_whole(options.csv, text.getvalue().encode())


def read(
    folder: Path, set_name: str, dataset: Dataset, position: int, split: int
) -> list[ScoreTable]:
    """Import the networks of a set, and iDT, for one split."""
    test = dataset.splits[position].test
    listing = Listing(test, tuple(dataset.truth[id] for id in test))
    short = dataset.name.lower()
    idt = folder / f"ltc_idt/{short.removesuffix('51').removesuffix('101')}_idt_split{split}.mat"
    everything = ("folder", "extension", "case", "characters")
    made = [take(idt, "idt", "decision", split, listing, everything)]
    if set_name == "CoViAR":
        for name in COVIAR:
            path = folder / f"coviar/{short}/{name}/split{split}/{name}_score_model_best.npz"
            made.append(take(path, name, "logit", split, listing, ("case", "characters")))
        return made
    beside = scores.read_listing(folder / "hidden_two_stream/testlist01.txt")
    classes = scores.read_classes(folder / "splits/ucf101/classInd.txt")
    for name, stem in HIDDEN.items():
        path = folder / f"hidden_two_stream/{stem}_split01.mat"
        table = scores.import_scores(
            path, kind="logit", method=name, split=str(split), listing=beside, classes=classes
        )
        made.append(table.aligned(test, table.classes, tolerant=["case"]))
    return made


def take(
    path: Path,
    name: str,
    kind: scores.Kind,
    split: int,
    listing: Listing,
    tolerant: Sequence[str],
) -> ScoreTable:
    return scores.import_scores(
        path, kind=kind, method=name, split=str(split), listing=listing, tolerant=tolerant
    )


def measured(
    set_name: str,
    data: str,
    dataset: Dataset,
    tables: Mapping[int, Sequence[ScoreTable]],
    kind: str,
) -> list[dict[str, str]]:
    """One row per fusion that is asked for; one family of tests."""
    groups = dataset.groups or {}
    outcomes, optimism, asked = {}, {}, []
    for networks, control in ASKED[set_name]:
        named = ["+".join([*networks, *more]) for more in ((), ("idt",), (control,))]
        asked.append((named[0], named[1], named[2]))
        for name in named:
            if name not in outcomes:
                outcomes[name], optimism[name] = fused(name, dataset, groups, tables, kind)
    rows = []
    pairs = [pair for a, b, c in asked for pair in ((a, b), (a, c), (c, b))]
    found = iter(significance.compare(outcomes, pairs, groups=groups))
    for base, with_idt, with_control in asked:
        by_idt, by_control, over = next(found), next(found), next(found)
        standing = {
            name: significance.standing(name, outcomes[name], groups=groups).accuracy
            for name in (base, with_idt, with_control)
        }
        values = [
            *(standing[name] for name in (base, with_idt, with_control)),
            *(by_idt.difference, by_idt.interval.low, by_idt.interval.high),
            *(by_control.difference, by_control.interval.low, by_control.interval.high),
            *(over.difference, over.interval.low, over.interval.high),
            *(optimism[with_idt], optimism[with_control]),
        ]
        names = [c for c in COLUMNS[4:] if c not in ("idt_p", "over_p")]
        row = {name: f"{100 * value:.2f}" for name, value in zip(names, values, strict=True)}
        row |= {"idt_p": f"{by_idt.adjusted:.2g}", "over_p": f"{over.adjusted:.2g}"}
        row |= {"dataset": data, "splits": " ".join(map(str, tables)), "networks": base}
        row["control"] = with_control.rpartition("+")[2]
        rows.append(row)
    return rows


def fused(
    name: str,
    dataset: Dataset,
    groups: Mapping[str, str],
    tables: Mapping[int, Sequence[ScoreTable]],
    kind: str,
) -> tuple[significance.Outcomes, float]:
    """Cross-fit a fusion in every split; returns what is right, and the optimism of picking."""
    methods = tuple(name.split("+"))
    if len(methods) == 1:
        made = [next(t for t in each if t.method == name) for each in tables.values()]
        return significance.outcomes([metrics.evaluate(made, dataset.truth, groups=groups)]), 0.0
    rule = FusionRule(name, methods, (1 / len(methods),) * len(methods), kind)
    grid = replace(rule, kind="grid")
    made, optimism = [], []
    for each in tables.values():
        made.append(fusion.cross_fit(rule, each, dataset.truth, groups))
        on_grid = fusion.cross_fit(grid, each, dataset.truth, groups)
        said = on_grid.scores.argmax(axis=1) == scores.labels_of(on_grid, dataset.truth)
        optimism.append(fusion.picked_on_test(grid, each, dataset.truth) - float(np.mean(said)))
    evaluation = metrics.evaluate(made, dataset.truth, groups=groups)
    return significance.outcomes([evaluation]), float(np.mean(optimism))


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Print the table in Markdown."""
    print("| data set, splits | networks | alone | + iDT | gain | + control | gain | ", end="")
    print("iDT over control | p | picked on test |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['dataset']} {row['splits']} | {row['networks'].replace('+', ' + ')} | "
            f"{row['accuracy']} | {row['with_idt']} | {spread(row, 'idt_gain', 'idt')} | "
            f"{row['with_control']} ({row['control']}) | "
            f"{spread(row, 'control_gain', 'control')} | "
            f"{spread(row, 'idt_over_control', 'over')} | {row['over_p']} | "
            f"{float(row['optimism_with_idt']):+.2f} |"
        )


def spread(row: Mapping[str, str], name: str, prefix: str) -> str:
    low, high = float(row[f"{prefix}_low"]), float(row[f"{prefix}_high"])
    return f"{float(row[name]):+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
