"""VLAD by hand, against a plain twin and VLFeat."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from idt.codebook import Vocabulary
from idt.fisher import FewTrajectoriesWarning
from idt.grids import Grid
from idt.vlad import vlad_encoder

RELATIVE = 1e-5  # float32 residuals, float64 sums
CHOICES = list(product([False, True], [False, True]))


def made_rows(n_rows: int, dimension: int, *, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = 2 * random.standard_normal((5, dimension)) + 1
    noise = random.standard_normal((n_rows, dimension))
    return (centres[random.integers(5, size=n_rows)] + noise).astype(np.float32)


def made_video(n_rows: int) -> dict[str, np.ndarray]:
    return {
        "hog": made_rows(n_rows, 6, seed=8),
        "hof": made_rows(n_rows, 4, seed=9),
        "positions": np.random.default_rng(7).random((n_rows, 3)),
    }


def plain_vlad(rows: np.ndarray, centres: np.ndarray, *, root: bool, intra: bool) -> np.ndarray:
    """One word at a time, float64, (n_words, dimension)."""
    squares = ((rows[:, None].astype(float) - centres) ** 2).sum(axis=2)
    nearest = squares.argmin(axis=1)
    blocks = []
    for k, centre in enumerate(centres.astype(float)):
        block = (rows[nearest == k] - centre).sum(axis=0)
        if root:
            block = np.sign(block) * np.sqrt(abs(block))
        if intra and block.any():
            block /= np.linalg.norm(block)
        blocks.append(block)
    return np.array(blocks) / np.linalg.norm(blocks)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    samples = {"hof": made_rows(300, 4), "hog": made_rows(300, 6, seed=1)}
    return Vocabulary(7, n_init=2, reduction=0.5).fit(samples)


def test_by_hand() -> None:
    # Two groups, their words the means; the residuals of three rows are (1, 0), (0, -4), (3, 0).
    rows = np.array([[0.0, 0], [2, 2], [10, 10], [12, 12]])
    vocabulary = Vocabulary(2, n_init=1).fit({"hog": rows})
    first, second = np.argsort(vocabulary.kmeans_["hog"].centres_[:, 0])
    video = {"hog": np.array([[2.0, 1], [1, -3], [14, 11]])}
    expected = np.zeros((2, 2))
    for options, values in (
        ({"root": False}, [[1, -4], [3, 0]]),
        ({}, [[1, -2], [np.sqrt(3), 0]]),
        (
            {"intra": True, "root": False},
            [[1 / np.sqrt(17), -4 / np.sqrt(17)], [1, 0]],
        ),
    ):
        expected[[first, second]] = values
        expected /= np.linalg.norm(expected)
        found = vlad_encoder(vocabulary, **options).encode(video)
        np.testing.assert_allclose(found, expected.ravel(), rtol=RELATIVE, atol=1e-7)


@pytest.mark.parametrize(("root", "intra"), CHOICES)
def test_equals_plain_twin(vocabulary: Vocabulary, root: bool, intra: bool) -> None:
    video = made_video(2500)
    encoder = vlad_encoder(vocabulary, root=root, intra=intra, grids=["1x1x1", "2x2t2"])
    found = encoder.encode(video)
    assert found.dtype == np.float32
    assert found.shape == (encoder.n_features,) == ((1 + 8) * 7 * (2 + 3),)
    assert encoder.parts == {"hof": slice(0, 126), "hog": slice(126, 315)}
    assert encoder.feature_names()[-1] == "hog_2x2t2_7_6_2"
    for (name, grid, cell), place in encoder.channels.items():
        rows = video[name][Grid.parse(grid).cells(video["positions"]) == cell]
        expected = plain_vlad(
            vocabulary.pcas_[name].transform(rows),
            vocabulary.kmeans_[name].centres_,
            root=root,
            intra=intra,
        )
        np.testing.assert_allclose(found[place], expected.ravel(), atol=RELATIVE)


@pytest.mark.parametrize(("root", "intra"), CHOICES)
def test_equals_vlfeat_on_real_descriptors(shared, requires, root: bool, intra: bool) -> None:
    vlad = requires("cyvlfeat.vlad").vlad
    with np.load(shared / "golden" / "kth_boxing_d1.trajectories.npz") as file:
        training = file["mbhx"].astype(np.float32)
    with np.load(shared / "golden" / "hmdb_cartwheel.trajectories.npz") as file:
        rows = file["mbhx"].astype(np.float32)
    vocabulary = Vocabulary(32, n_init=1).fit({"mbhx": training})
    words = vocabulary.kmeans_["mbhx"]
    assignments = np.eye(32, dtype=np.float32)[words.predict(rows)]
    expected = vlad(rows, words.centres_, assignments, square_root=root, normalize_components=intra)
    found = vlad_encoder(vocabulary, root=root, intra=intra).encode({"mbhx": rows})
    # VLFeat sums float32 rows and takes the centres off at the end; the root shows what is small.
    np.testing.assert_allclose(found, expected.ravel(), atol=2e-3 if root else 1e-4)


def test_order_and_blocks_change_nothing_but_rounding(vocabulary: Vocabulary) -> None:
    video, encoder = made_video(900), vlad_encoder(vocabulary, grids=["1x1x1", "h3x1"])
    accumulator = encoder.accumulator()
    for part in np.array_split(np.random.default_rng(0).permutation(900), 7):
        block = {name: video[name][part] for name in ("hof", "hog")}
        accumulator.add(block, positions=video["positions"][part])
    np.testing.assert_allclose(accumulator.finish(), encoder.encode(video), atol=1e-5)


def test_few_trajectories(vocabulary: Vocabulary) -> None:
    encoder = vlad_encoder(vocabulary, grids=["1x1x1", "t2"], intra=True)
    with pytest.warns(FewTrajectoriesWarning, match="no trajectories"):
        assert not encoder.encode(made_video(0)).any()
    with pytest.warns(FewTrajectoriesWarning, match="a single trajectory"):
        vector = encoder.encode(made_video(1))
    norms = [np.linalg.norm(vector[place]) for place in encoder.channels.values()]
    np.testing.assert_allclose(sorted(norms), [0, 0, 1, 1, 1, 1], rtol=RELATIVE)
    # A row that is its word leaves nothing.
    word = vocabulary.kmeans_["hof"].centres_[2]
    there = word @ vocabulary.pcas_["hof"].components_ + vocabulary.pcas_["hof"].mean_
    exact = {"hof": np.stack([there, there]), "hog": made_rows(2, 6)}
    assert np.isfinite(vlad_encoder(vocabulary).encode(exact)).all()
