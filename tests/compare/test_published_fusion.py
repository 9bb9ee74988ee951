"""Scores that others published: what each file gets right, and what their fusions do."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from compare import fusion, scores
from compare.scores import Listing, ScoreTable

COVIAR = ("iframe", "mv", "residual", "flow")
HIDDEN = {
    "spatial": "spatial_quality100",
    "tvl1": "temporal_tvl1",
    "motionnet": "temporal_hidden",
}
ALONE = {  # top-1 in percent, by split
    ("ucf101", "idt"): (83.61, 85.59, 84.28),
    ("ucf101", "iframe"): (86.70,),
    ("ucf101", "mv"): (67.96,),
    ("ucf101", "residual"): (78.72,),
    ("ucf101", "flow"): (82.74,),
    ("ucf101", "spatial"): (80.97,),
    ("ucf101", "tvl1"): (85.80,),
    ("ucf101", "motionnet"): (84.06,),
    ("hmdb51", "idt"): (56.73, 57.19, 57.78),
    ("hmdb51", "iframe"): (53.92, 50.65, 50.59),
    ("hmdb51", "mv"): (38.04, 39.87, 40.72),
    ("hmdb51", "residual"): (43.92, 42.22, 44.25),
    ("hmdb51", "flow"): (49.61, 51.31, 55.36),
}
WITH_IDT = "weighted@l2:0.75*net+0.25*idt"
FUSED = [  # network's rule, data set, top-1 of it and with iDT, by split
    ("weighted@none:2*iframe+mv+residual", "ucf101", (90.70,), (92.99,)),
    (
        "weighted@none:2*iframe+mv+residual",
        "hmdb51",
        (61.96, 58.50, 57.84),
        (67.25, 65.10, 66.73),
    ),
    ("weighted@none:2*iframe+mv+residual+flow", "ucf101", (91.65,), (93.31,)),
    (
        "weighted@none:2*iframe+mv+residual+flow",
        "hmdb51",
        (65.16, 61.90, 62.22),
        (68.30, 66.01, 66.99),
    ),
    ("weighted@l1:1*spatial+1.5*tvl1", "ucf101", (91.30,), (92.60,)),
    ("weighted@l1:1*spatial+1.5*motionnet", "ucf101", (89.00,), (91.65,)),
]


@cache
def listing(folder: Path, name: str, split: int) -> Listing:
    return scores.read_listing(folder / "splits" / name, split=split)


@cache
def read(folder: Path, name: str, method: str, split: int) -> ScoreTable:
    """Import one published file, in the order of the official list."""
    test = listing(folder, name, split)
    if method in HIDDEN:
        table = scores.import_scores(
            folder / f"hidden_two_stream/{HIDDEN[method]}_split01.mat",
            kind="logit",
            method=method,
            listing=scores.read_listing(folder / "hidden_two_stream/testlist01.txt"),
            classes=scores.read_classes(folder / "splits/ucf101/classInd.txt"),
        )
        return table.aligned(test.ids, table.classes, tolerant=["case"])
    if method == "idt":
        path = folder / f"ltc_idt/{name[:-2].removesuffix('1')}_idt_split{split}.mat"
        tolerant = ["folder", "extension", *(["case"] if name == "ucf101" else [])]
    else:
        path = folder / f"coviar/{name}/{method}/split{split}/{method}_score_model_best.npz"
        tolerant = ["case" if name == "ucf101" else "characters"]
    return scores.import_scores(path, kind="logit", method=method, listing=test, tolerant=tolerant)


def top_one(table: ScoreTable, test: Listing) -> float:
    """Percent of the videos that are right, to the printed digit."""
    said = table.scores.argmax(axis=1)
    return round(100 * float(np.mean(said == scores.labels_of(table, test.truth))), 2)


@pytest.mark.parametrize(("name", "method"), ALONE)
def test_files_reach_their_accuracy(shared: Path, name: str, method: str) -> None:
    folder = shared / "scores"
    for split, expected in enumerate(ALONE[name, method], start=1):
        test = listing(folder, name, split)
        table = read(folder, name, method, split)
        assert table.ids == test.ids
        assert top_one(table, test) == expected


@pytest.mark.parametrize(("text", "name", "alone", "with_idt"), FUSED)
def test_fusions_reach_their_accuracy(
    shared: Path,
    text: str,
    name: str,
    alone: tuple[float, ...],
    with_idt: tuple[float, ...],
) -> None:
    folder = shared / "scores"
    methods = [*HIDDEN, "idt"] if "spatial" in text else [*COVIAR, "idt"]
    net, both = fusion.parse_rules(f"net={text},{WITH_IDT}", methods)
    for split, expected in enumerate(zip(alone, with_idt, strict=True), start=1):
        test = listing(folder, name, split)
        tables = [read(folder, name, method, split) for method in methods]
        network = fusion.fuse(tables, net)
        fused = fusion.fuse([*tables, network], both)
        assert (top_one(network, test), top_one(fused, test)) == expected


def test_rows_shuffled_inside_classes_inflate_by_position_and_not_by_id(shared: Path) -> None:
    folder = shared / "scores"
    test = listing(folder, "ucf101", 1)
    tables = [read(folder, "ucf101", method, 1) for method in COVIAR]
    net, both = fusion.parse_rules(
        f"net=weighted@none:2*iframe+mv+residual+flow,{WITH_IDT}", [*COVIAR, "idt"]
    )
    network = fusion.fuse(tables, net)
    idt = read(folder, "ucf101", "idt", 1).aligned(network.ids, network.classes)
    truth = scores.labels_of(network, test.truth)
    rng, moved = np.random.default_rng(0), np.arange(len(truth))
    for label in range(len(network.classes)):
        own = np.flatnonzero(truth == label)
        moved[own] = rng.permutation(own)
    shuffled = idt.scores[moved]
    by_position = ScoreTable(network.ids, network.classes, shuffled, "logit", "idt", "")
    assert top_one(by_position, test) == top_one(idt, test) == 83.61  # alone it looks sound
    assert 96.5 < top_one(fusion.fuse([network, by_position], both), test) < 97.5
    ids = tuple(network.ids[k] for k in moved)
    by_id = ScoreTable(ids, network.classes, shuffled, "logit", "idt", "")
    assert top_one(fusion.fuse([network, by_id], both), test) == 93.31


def test_hmdb51_columns_read_as_alphabetical_are_not_noticed_but_by_labels(shared: Path) -> None:
    """52.2 for 56.7: the classes of the columns as somebody would write them down."""
    folder = shared / "scores"
    test, idt = listing(folder, "hmdb51", 1), read(folder, "hmdb51", "idt", 1)
    alphabetical = tuple(sorted(idt.classes))
    assert idt.classes != alphabetical
    wrong = ScoreTable(idt.ids, alphabetical, idt.scores, "decision", "idt", "")
    assert round(top_one(wrong, test), 1) == 52.2
