"""Bags of features by hand, against plain twins and scikit-learn's matching pursuit."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import OrthogonalMatchingPursuit

from idt.bow import bag_encoder
from idt.codebook import KMeans, Vocabulary, videos
from idt.extract import Extraction, ExtractOptions, extract
from idt.fisher import FewTrajectoriesWarning
from idt.grids import Grid
from idt.video import read

PAN = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
QUICK = ExtractOptions.preset("fast", max_scales=2, stride=5)
GRIDS = ["1x1x1", "h3x1", "2x1t2"]
RELATIVE = 1e-5  # float32 vectors of float64 sums


def of_words(**centres: list) -> Vocabulary:
    """Vocabulary of given words."""
    vocabulary = Vocabulary(len(next(iter(centres.values()))), n_init=1)
    vocabulary.kmeans_ = {name: KMeans.from_centres(each) for name, each in centres.items()}
    vocabulary.dimensions_ = {
        name: words.centres_.shape[1] for name, words in vocabulary.kmeans_.items()
    }
    vocabulary.pcas_, vocabulary.extraction_ = {}, None
    return vocabulary


def made_rows(n_rows: int, dimension: int, *, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = 2 * random.standard_normal((5, dimension)) + 1
    noise = random.standard_normal((n_rows, dimension))
    return (centres[random.integers(5, size=n_rows)] + noise).astype(np.float32)


def made_video(n_rows: int) -> dict[str, np.ndarray]:
    return {
        "hog": made_rows(n_rows, 5, seed=8),
        "hof": made_rows(n_rows, 4, seed=9),
        "mbhx": made_rows(n_rows, 3),
        "positions": np.random.default_rng(7).random((n_rows, 3)),
    }


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    samples = {"hof": made_rows(300, 4), "hog": made_rows(300, 5, seed=1)}
    return Vocabulary(7, n_init=2).fit(samples)


class TestHard:
    def test_by_hand(self) -> None:
        vocabulary = of_words(hog=[[0.0], [10.0], [20.0]])
        video = {
            "hog": np.array([[1.0], [9.0], [-3.0], [11.0], [4.0]]),
            "positions": np.array([[0, 0, t] for t in (0.1, 0.2, 0.6, 0.9, 1.0)]),
        }
        encoder = bag_encoder(vocabulary, grids=["1x1x1", "t2"])
        vector = encoder.encode(video)
        thirds = [2 / 3, 1 / 3, 0]
        np.testing.assert_allclose(vector, [0.6, 0.4, 0, 0.5, 0.5, 0, *thirds], rtol=RELATIVE)
        assert encoder.channels == {
            ("hog", "1x1x1", 0): slice(0, 3),
            ("hog", "t2", 0): slice(3, 6),
            ("hog", "t2", 1): slice(6, 9),
        }
        assert encoder.feature_names()[7] == "hog_t2_1_1"
        root = bag_encoder(vocabulary, norm="l2").encode(video)
        np.testing.assert_allclose(root, np.array([3, 2, 0]) / np.sqrt(13), rtol=RELATIVE)

    @pytest.mark.parametrize("norm", ["l1", "l2"])
    def test_equals_plain_twin(self, vocabulary: Vocabulary, norm: str) -> None:
        video = made_video(3000)
        encoder = bag_encoder(vocabulary, grids=GRIDS, norm=norm)
        found = encoder.encode(video)
        assert found.dtype == np.float32
        assert found.shape == (encoder.n_features,) == (2 * (1 + 3 + 4) * 7,)
        assert encoder.parts == {"hof": slice(0, 56), "hog": slice(56, 112)}
        for (name, grid, cell), place in encoder.channels.items():
            rows = video[name][Grid.parse(grid).cells(video["positions"]) == cell]
            centres = vocabulary.kmeans_[name].centres_
            squares = ((rows[:, None].astype(float) - centres) ** 2).sum(axis=2)
            counts = np.bincount(squares.argmin(axis=1), minlength=7).astype(float)
            expected = counts / np.linalg.norm(counts, ord=1 if norm == "l1" else 2)
            np.testing.assert_allclose(found[place], expected, atol=RELATIVE)

    def test_pca_comes_first(self) -> None:
        rows = made_rows(400, 6)
        vocabulary = Vocabulary(5, n_init=1, reduction=0.5).fit({"hog": rows})
        labels = vocabulary.kmeans_["hog"].predict(vocabulary.pcas_["hog"].transform(rows))
        expected = np.bincount(labels, minlength=5) / 400
        np.testing.assert_allclose(
            bag_encoder(vocabulary).encode({"hog": rows}), expected, rtol=RELATIVE
        )


class TestPursuit:
    def test_by_hand(self) -> None:
        # Words along the axes and the diagonal, at length 1: (3, 1) is most along x, 3 against
        # 4 / sqrt 2 along the diagonal, and what is left, (0, 1), along y.
        vocabulary = of_words(hog=[[5.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
        one = bag_encoder(vocabulary, coding="omp", n_nonzero=1)
        np.testing.assert_allclose(one.encode({"hog": [[3.0, 1], [3, 1]]}), [1, 0, 0, 0])
        both = bag_encoder(vocabulary, coding="omp", n_nonzero=2)
        np.testing.assert_allclose(
            both.encode({"hog": [[3.0, 1], [0, -4]]}), [3 / 8, 5 / 8, 0, 0], rtol=RELATIVE
        )

    @pytest.mark.parametrize("n_nonzero", [1, 3, 5])
    def test_equals_scikit_learn_row_by_row(self, n_nonzero: int) -> None:
        rows, centres = made_rows(40, 5), made_rows(30, 5, seed=4)
        encoder = bag_encoder(of_words(hog=centres), coding="omp", n_nonzero=n_nonzero)
        units = centres.T / np.linalg.norm(centres, axis=1)
        pursuit = OrthogonalMatchingPursuit(n_nonzero_coefs=n_nonzero, fit_intercept=False)
        expected = np.zeros(30)
        for row in rows:
            expected += abs(pursuit.fit(units.astype(float), row.astype(float)).coef_)
        found = encoder.encode({"hog": rows})
        np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-4, atol=1e-6)

    def test_a_row_that_is_a_word_needs_no_other(self) -> None:
        encoder = bag_encoder(of_words(hog=[[1.0, 2], [2, 1], [3, -1]]), coding="omp", n_nonzero=2)
        vector = encoder.encode({"hog": [[4.0, 2], [4.0, 2]]})
        np.testing.assert_allclose(vector, [0, 1, 0], atol=1e-6)


def plain_somp(dictionary: np.ndarray, rows: np.ndarray, n_nonzero: int) -> np.ndarray:
    """Simultaneous orthogonal matching pursuit on the rows themselves, coefficients (k, n)."""
    chosen: list[int] = []
    left = rows.T
    for _ in range(n_nonzero):
        correlations = np.linalg.norm(dictionary @ left, axis=1)
        chosen.append(int(correlations.argmax()))
        solved, *_ = np.linalg.lstsq(dictionary[chosen].T, rows.T, rcond=None)
        left = rows.T - dictionary[chosen].T @ solved
    coefficients = np.zeros((len(dictionary), len(rows)))
    coefficients[chosen] = solved
    return coefficients


class TestSimultaneousPursuit:
    def test_by_hand(self) -> None:
        # All rows together lie most along y: 2² + 2² against 1² + 1². Each by itself agrees, so
        # with two words the coefficients are the coordinates.
        vocabulary = of_words(hog=[[3.0, 0], [0, 3]])
        rows = np.array([[1.0, 2], [-1, 2]])
        one = bag_encoder(vocabulary, coding="somp", n_nonzero=1, norm="l2")
        np.testing.assert_allclose(one.encode({"hog": rows}), [0, 1])
        two = bag_encoder(vocabulary, coding="somp", n_nonzero=2)
        np.testing.assert_allclose(two.encode({"hog": rows}), [1 / 3, 2 / 3], rtol=RELATIVE)

    @pytest.mark.parametrize("n_nonzero", [1, 2, 5])
    def test_equals_plain_twin(self, n_nonzero: int) -> None:
        video, centres = made_video(300), made_rows(40, 5, seed=4)
        encoder = bag_encoder(
            of_words(hog=centres), coding="somp", n_nonzero=n_nonzero, grids=["1x1x1", "t3"]
        )
        found = encoder.encode(video)
        units = centres / np.linalg.norm(centres.astype(float), axis=1, keepdims=True)
        for (_, grid, cell), place in encoder.channels.items():
            rows = video["hog"][Grid.parse(grid).cells(video["positions"]) == cell].astype(float)
            expected = np.sqrt((plain_somp(units, rows, n_nonzero) ** 2).mean(axis=1))
            assert np.count_nonzero(found[place]) == n_nonzero
            np.testing.assert_allclose(found[place], expected / expected.sum(), atol=1e-6)

    def test_one_row_is_plain_matching_pursuit(self) -> None:
        row, vocabulary = made_rows(1, 5), of_words(hog=made_rows(20, 5, seed=4))
        vectors = []
        for coding in ("omp", "somp"):
            encoder = bag_encoder(vocabulary, coding=coding, n_nonzero=3)
            with pytest.warns(FewTrajectoriesWarning, match="a single trajectory"):
                vectors.append(encoder.encode({"hog": row}))
        np.testing.assert_allclose(*vectors, atol=1e-6)

    def test_words_that_rebuild_all_are_enough(self) -> None:
        encoder = bag_encoder(of_words(hog=[[1.0, 0], [1, 1]]), coding="somp", n_nonzero=2)
        np.testing.assert_allclose(encoder.encode({"hog": [[2.0, 2], [1, 1]]}), [0, 1])


@pytest.mark.parametrize("coding", ["hard", "omp", "somp"])
class TestEveryCoding:
    def test_order_and_blocks_change_nothing_but_rounding(
        self, vocabulary: Vocabulary, coding: str
    ) -> None:
        video = made_video(700)
        encoder = bag_encoder(vocabulary, coding=coding, n_nonzero=3, grids=GRIDS)
        expected = encoder.encode(video)

        @given(seed=st.integers(0, 99), cuts=st.lists(st.integers(0, 700), max_size=3))
        @settings(max_examples=3, deadline=None)
        def check(seed: int, cuts: list[int]) -> None:
            order = np.random.default_rng(seed).permutation(700)
            accumulator = encoder.accumulator()
            for part in np.split(order, sorted(cuts)):
                block = {name: rows[part] for name, rows in video.items() if name != "positions"}
                accumulator.add(block, positions=video["positions"][part])
            assert accumulator.n_rows == 700
            np.testing.assert_allclose(accumulator.finish(), expected, atol=1e-6)

        check()

    def test_few_trajectories(self, vocabulary: Vocabulary, coding: str) -> None:
        encoder = bag_encoder(vocabulary, coding=coding, grids=["1x1x1", "t2"], n_nonzero=3)
        with pytest.warns(FewTrajectoriesWarning, match="no trajectories: the encoding is all"):
            assert not encoder.encode(made_video(0)).any()
        with pytest.warns(FewTrajectoriesWarning, match="a single trajectory"):
            vector = encoder.encode(made_video(1))
        sums = [vector[place].sum() for place in encoder.channels.values()]
        np.testing.assert_allclose(sorted(sums), [0, 0, 1, 1, 1, 1], rtol=RELATIVE)

    def test_refused_block_changes_nothing(self, vocabulary: Vocabulary, coding: str) -> None:
        encoder, video = bag_encoder(vocabulary, coding=coding, n_nonzero=3), made_video(20)
        accumulator = encoder.accumulator()
        accumulator.add(video)
        before = accumulator.finish()
        for change, message in (
            ({"hog": video["hog"][:3]}, "one row for each trajectory"),
            ({"hog": video["hog"][:, :4]}, "descriptor 'hog' must have 5 columns, got 4"),
            ({"hog": np.full((20, 5), np.nan)}, "descriptor 'hog' must be finite"),
            ({"hog": np.full((20, 5), 1e30)}, "check the scale"),
        ):
            with pytest.raises(ValueError, match=message):
                accumulator.add(video | change)
        with pytest.raises(ValueError, match="got none for hof; extract"):
            accumulator.add({"hog": video["hog"]})
        np.testing.assert_array_equal(accumulator.finish(), before)

    def test_copies_over_processes(self, vocabulary: Vocabulary, coding: str) -> None:
        encoder = bag_encoder(vocabulary, coding=coding, n_nonzero=3, grids=GRIDS)
        copy = pickle.loads(pickle.dumps(encoder))
        np.testing.assert_array_equal(copy.encode(made_video(30)), encoder.encode(made_video(30)))


@pytest.mark.parametrize("coding", ["omp", "somp"])
def test_rows_of_zeros_need_no_word(vocabulary: Vocabulary, coding: str) -> None:
    video = {"hog": np.zeros((4, 5)), "hof": np.ones((4, 4))}
    encoder = bag_encoder(vocabulary, coding=coding, n_nonzero=2)
    vector = encoder.encode(video)
    assert not vector[encoder.parts["hog"]].any()
    assert vector[encoder.parts["hof"]].sum() == pytest.approx(1)


def test_options_are_refused(vocabulary: Vocabulary) -> None:
    for options, message in (
        ({"coding": "soft"}, "coding must be one of hard, omp, somp, got 'soft'"),
        ({"norm": "max"}, "norm must be one of l1, l2, got 'max'"),
        ({"coding": "somp", "n_nonzero": 0}, "n_nonzero must be from 1 to 4 for 'hof', got 0"),
        ({"coding": "omp", "n_nonzero": 5}, "n_nonzero must be from 1 to 4 for 'hof', got 5"),
        ({"grids": "t2"}, "grids must be a list of names"),
    ):
        with pytest.raises(ValueError, match=message):
            bag_encoder(vocabulary, **options)
    with pytest.raises(ValueError, match="vocabulary must be fitted"):
        bag_encoder(Vocabulary(3))
    video = made_video(9)
    del video["positions"]
    with pytest.raises(ValueError, match="positions must be given where a grid divides"):
        bag_encoder(vocabulary, grids=["t2"]).encode(video)


@pytest.fixture(scope="module")
def of_video() -> Vocabulary:
    return Vocabulary(6, n_init=1).fit_videos([PAN], options=QUICK)


class TestVideos:
    def test_a_stream_is_encoded_as_its_table_is(
        self, of_video: Vocabulary, tmp_path: Path, monkeypatch
    ) -> None:
        monkeypatch.setattr(videos, "BATCH_ROWS", 20)
        encoder = bag_encoder(of_video, grids=["1x1x1", "2x1t3"])
        table = extract(PAN, options=QUICK)
        expected = encoder.encode(table)
        table.save(tmp_path / "table.h5", dtype="float32")
        for source in (PAN, Extraction(read(PAN), options=QUICK), tmp_path / "table.h5"):
            found = encoder.encode_source(source, options=QUICK)
            np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_other_settings_are_refused(self, of_video: Vocabulary, tmp_path: Path) -> None:
        of_video.save(tmp_path / "words.npz")
        encoder = bag_encoder(Vocabulary.load(tmp_path / "words.npz"))
        other = ExtractOptions.preset("fast", max_scales=2, stride=5, normalise="l2")
        with pytest.raises(ValueError, match="as for the videos that the vocabulary was fitted"):
            encoder.encode_source(PAN, options=other)

    def test_memory_does_not_grow_with_the_video(self, of_video: Vocabulary, monkeypatch) -> None:
        monkeypatch.setattr(videos, "BATCH_ROWS", 64)
        encoder, clip = bag_encoder(of_video), read(PAN)[:, :60, :80]
        there_and_back = [*clip, *clip[-2:0:-1]]
        peaks = []
        for n_rounds in (1, 1, 4):  # the first warms up
            frames = (frame for _ in range(n_rounds) for frame in there_and_back)
            tracemalloc.start()
            encoder.encode_source(Extraction(frames, options=QUICK))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[2] < 1.25 * peaks[1]
