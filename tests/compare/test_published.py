from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from compare import datasets, metrics, published
from compare.datasets import Dataset, Split, Video
from compare.published import DATASETS, IDT, SPLITS, TRUST
from compare.scores import ScoreTable


def test_rows_are_whole() -> None:
    rows = published.published()
    assert len(rows) > 100
    for row in rows:
        assert row.method
        assert row.source
        assert 1990 < row.year < 2100
        assert (row.dataset in DATASETS, row.splits in SPLITS) == (True, True)
        assert (row.idt in IDT, row.trust in TRUST) == (True, True)
        assert 10 < row.accuracy < 100
    keys = Counter((r.method, r.variant, r.dataset, r.splits, r.idt) for r in rows)
    assert max(keys.values()) == 1


def test_numbers_are_those_of_the_fact_sheet(shared: Path) -> None:
    """Each stands in the sheet; none of those that it marks as unverified (M) is given."""
    text = (shared / "facts/published.md").read_text()
    numbers = {float(n) for n in re.findall(r"(?<![0-9.])[0-9]{2}\.[0-9]{1,2}(?![0-9])", text)}
    rows = published.published()
    assert {row.accuracy for row in rows} <= numbers
    for method, accuracy in (("TDD", 90.3), ("TDD", 63.2), ("ST-Mult", 94.2), ("ST-Mult", 68.9)):
        assert accuracy in numbers
        assert all(row.accuracy != accuracy for row in published.published(method=method))


@pytest.mark.parametrize(
    ("method", "variant", "dataset", "splits", "idt", "accuracy", "trust"),
    [
        ("Two-Stream", "SVM fusion", "UCF101", "mean", "", 88.0, "P"),
        ("Two-Stream", "uni-directional, mean fusion", "UCF101", "1", "", 85.9, "P"),
        ("Conv fusion", "VGG-16", "HMDB51", "mean", "late", 69.2, "S"),
        ("LTC", "", "HMDB51", "mean", "late", 67.2, "P"),
        ("LTC", "", "HMDB51", "mean", "", 64.8, "S"),
        ("TDD", "", "UCF101", "mean", "early", 91.5, "P"),
        ("iDT + FV", "", "UCF101", "mean", "alone", 85.9, "P"),
        ("I3D", "RGB + flow, without Kinetics", "HMDB51", "1", "", 66.4, "P"),
    ],
)
def test_some_rows_word_for_word(
    method: str, variant: str, dataset: str, splits: str, idt: str, accuracy: float, trust: str
) -> None:
    found = [
        row
        for row in published.published(dataset=dataset, splits=splits, trust=trust)
        if (row.method, row.variant, row.idt) == (method, variant, idt)
    ]
    assert [row.accuracy for row in found] == [accuracy]


def test_choices() -> None:
    with_idt = published.published(dataset="hmdb51", idt=True, splits="mean", method="FUSION")
    assert {(row.method, row.idt) for row in with_idt} == {("Conv fusion", "late")}
    assert {row.splits for row in published.published(splits="1", idt=False)} == {"1"}
    with pytest.raises(ValueError, match="dataset must be UCF101 or HMDB51, got 'KTH'"):
        published.published(dataset="KTH")
    with pytest.raises(ValueError, match="splits must be mean or 1, got '2'"):
        published.published(splits="2")
    with pytest.raises(ValueError, match="trust must be P or S, got 'M'"):
        published.published(trust="M")


@pytest.fixture
def ucf() -> Dataset:
    """A data set that calls itself UCF101, with three official splits of two test videos."""
    videos = tuple(Video(Path(f"{k}{n}"), f"{k}{n}", n) for k in range(6) for n in "xy")
    ids = [clip.id for clip in videos]
    splits = tuple(
        Split(f"split {n}", tuple(i for i in ids if i not in test), test)
        for n, test in enumerate([("0x", "0y"), ("1x", "1y"), ("2x", "2y")], start=1)
    )
    return Dataset("UCF101", Path(), videos, ("x", "y"), splits, "official", official=(1, 2, 3))


def evaluation(ucf: Dataset, tested: dict[str, str]) -> metrics.Evaluation:
    """Tables with all said to be x, over 'name of split' to its ids."""
    tables = [
        ScoreTable(tuple(ids.split()), ("x", "y"), np.array([[1.0, 0]] * 2), "logit", "m", name)
        for name, ids in tested.items()
    ]
    return metrics.evaluate(tables, ucf.truth)


def test_ours_beside_the_same_protocol_alone(ucf: Dataset) -> None:
    whole = evaluation(ucf, {"a": "0x 0y", "b": "1x 1y", "c": "2y 2x"})  # told by ids, not by name
    assert published.standings(ucf, whole) == {"1": 50, "mean": 50}
    first = evaluation(ucf, {"split 1": "0x 0y"})
    assert published.standings(ucf, first) == {"1": 50}
    rows = published.published(method="I3D")
    found = published.beside(rows, ucf, {"whole": whole, "first": first})
    assert {each.published.dataset for each in found} == {"UCF101"}
    assert {each.published.splits: dict(each.ours) for each in found} == {
        "mean": {"whole": 50},
        "1": {"whole": 50, "first": 50},
    }
    mean_only = published.published(method="TSN")
    with pytest.raises(ValueError, match="UCF101 with splits 1, as ours"):
        published.beside(mean_only, ucf, {"first": first})


def test_ours_of_another_protocol_stands_beside_nothing(ucf: Dataset) -> None:
    part = evaluation(ucf, {"split 1": "0x 1y"})
    with pytest.raises(ValueError, match="2 videos in 'split 1' that are none of 'split 1', 's"):
        published.standings(ucf, part)
    second = evaluation(ucf, {"split 2": "1x 1y"})
    with pytest.raises(ValueError, match="on split 1 or on all three, got only 'split 2'"):
        published.standings(ucf, second)
    smaller = ucf.without({"5x"})
    with pytest.raises(ValueError, match="whole official splits of UCF101 or HMDB51, got 'UCF101'"):
        published.standings(smaller, second)


def test_ours_on_the_real_splits(shared: Path) -> None:
    hmdb = datasets.hmdb51(shared / "scores/splits/hmdb51")
    tables = [
        ScoreTable(
            split.test,
            hmdb.class_names,
            np.eye(51)[[k % 51 for k in range(len(split.test))]],
            "decision",
            "m",
            split.name,
        )
        for split in hmdb.splits
    ]
    found = published.standings(hmdb, metrics.evaluate(tables, hmdb.truth, groups=hmdb.groups))
    assert set(found) == {"1", "mean"}
