"""K-means words against scikit-learn, and the vocabulary's file."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numba
import numpy as np
import pytest

from idt.codebook import Codebook, KMeans, Vocabulary


def blobs(n_rows: int, dimension: int, n_blobs: int, *, seed: int = 0) -> np.ndarray:
    """Overlapping clusters away from the origin, float32."""
    random = np.random.default_rng(seed)
    centres = 3 * random.standard_normal((n_blobs, dimension)) + 50
    noise = random.standard_normal((n_rows, dimension))
    return (centres[random.integers(n_blobs, size=n_rows)] + noise).astype(np.float32)


class TestKMeans:
    def test_two_words_by_hand(self) -> None:
        rows = np.array([[0.0], [2.0], [10.0], [13.0]])
        words = KMeans(2, n_init=2).fit(rows)
        assert sorted(words.centres_[:, 0].tolist()) == [1.0, 11.5]
        assert words.inertia_ == pytest.approx(1 + 1 + 2 * 1.5**2)
        near = words.predict(np.array([[1.0], [6.0], [7.0], [-90.0]]))
        assert words.centres_[near, 0].tolist() == [1.0, 1.0, 11.5, 1.0]

    def test_first_of_equally_near_words(self) -> None:
        words = KMeans.from_centres(np.array([[4.0], [-1.0], [1.0], [-1.0]]))
        assert words.predict(np.array([[0.0], [-1.0]])).tolist() == [1, 1]

    @pytest.mark.parametrize(("n_words", "dimension"), [(1, 3), (7, 1), (300, 9), (513, 6)])
    def test_nearest_equals_plain_twin(self, n_words: int, dimension: int) -> None:
        # More words than a tile, a number of dimensions and rows that fours do not divide.
        rows, centres = blobs(4099, dimension, 5), blobs(n_words, dimension, 5, seed=0)
        found = KMeans.from_centres(centres).predict(rows)
        squares = ((rows[:, None].astype(float) - centres) ** 2).sum(axis=2)
        chosen = squares[np.arange(len(rows)), found]
        # Products of centred float32 decide: what they take for nearest is nearest to 6 digits of
        # the squared norms, here some hundred.
        assert (chosen - squares.min(axis=1)).max() < 1e-3
        assert (found == squares.argmin(axis=1)).mean() > 0.999

    def test_same_start_ends_as_scikit_learn(self) -> None:
        from sklearn.cluster import KMeans as Peer

        rows = blobs(5000, 10, 30)
        start = rows[:40]
        ours = KMeans(40, max_iter=300, tol=0).fit(rows, start=start)
        peer = Peer(40, init=start.astype(float), n_init=1, max_iter=300, tol=0)
        peer.fit(rows.astype(float))
        # A row half way between two centres may go the other way, and with it a round.
        assert ours.inertia_ == pytest.approx(peer.inertia_, rel=1e-4)
        assert (ours.predict(rows) == peer.labels_).mean() > 0.99
        np.testing.assert_allclose(ours.centres_, peer.cluster_centers_, atol=0.2)
        one_round = KMeans(40, max_iter=1).fit(rows, start=start)
        peer_round = Peer(40, init=start.astype(float), n_init=1, max_iter=1)
        peer_round.fit(rows.astype(float))
        np.testing.assert_allclose(one_round.centres_, peer_round.cluster_centers_, atol=1e-3)

    def test_keeps_the_best_start(self) -> None:
        rows = blobs(1500, 4, 25)
        words = KMeans(25, n_init=6, seed=3).fit(rows)
        assert len(words.inertias_) == 6
        assert len(set(words.inertias_)) > 1
        assert words.inertia_ == min(words.inertias_)
        centres = words.centres_[words.predict(rows)]
        assert words.inertia_ == pytest.approx(((rows - centres) ** 2.0).sum(), rel=1e-5)

    def test_as_tight_as_scikit_learn(self) -> None:
        from sklearn.cluster import KMeans as Peer

        rows = blobs(4000, 8, 60)
        ours = KMeans(60, n_init=4).fit(rows)
        peer = Peer(60, n_init=4, random_state=0).fit(rows)
        assert ours.inertia_ <= 1.03 * peer.inertia_

    def test_same_bits_for_any_number_of_threads(self) -> None:
        rows, before = blobs(9000, 7, 20), numba.get_num_threads()
        expected = KMeans(50, n_init=3).fit(rows)
        numba.set_num_threads(1)
        try:
            found = KMeans(50, n_init=3).fit(rows)
            labels = found.predict(rows)
        finally:
            numba.set_num_threads(before)
        np.testing.assert_array_equal(found.centres_, expected.centres_)
        np.testing.assert_array_equal(labels, expected.predict(rows))
        assert found.inertias_ == expected.inertias_

    def test_fewer_different_rows_than_words(self) -> None:
        rows = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
        words = KMeans(6, n_init=2).fit(rows)
        assert words.inertia_ == pytest.approx(0, abs=1e-9)
        assert np.isfinite(words.centres_).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_words": 0}, "n_words must be at least 1"),
            ({"n_init": 0}, "n_init must be at least 1"),
            ({"max_iter": 0}, "max_iter must be at least 1"),
            ({"tol": float("nan")}, "tol must be at least 0"),
        ],
    )
    def test_refuses_settings(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            KMeans(**options)

    def test_refuses_rows(self) -> None:
        words, rows = KMeans(4, n_init=1), np.arange(12.0).reshape(6, 2)
        with pytest.raises(ValueError, match="at least 4 rows, got 3"):
            words.fit(rows[:3])
        with pytest.raises(ValueError, match=r"in 1 of 6 rows \(row 2 first\)"):
            words.fit(np.where(rows == 4, np.nan, rows))
        with pytest.raises(ValueError, match="check the scale"):
            words.fit(rows * 1e30)
        with pytest.raises(ValueError, match="start must have 4 rows, one a word, got 3"):
            words.fit(rows, start=rows[:3])
        words.fit(rows)
        with pytest.raises(ValueError, match="must have 2 columns, got 3"):
            words.predict(np.ones((1, 3)))
        with pytest.raises(ValueError, match="check the scale"):
            words.predict(np.full((1, 2), 1e30))
        with pytest.raises(ValueError, match="check the scale"):
            KMeans.from_centres(rows * 1e30)
        assert words.predict(np.empty((0, 2))).shape == (0,)


def samples() -> dict[str, np.ndarray]:
    return {"hof": blobs(300, 6, 5), "hog": blobs(300, 5, 5, seed=1)}


class TestVocabulary:
    @pytest.mark.parametrize(
        ("reduction", "dimensions"), [(None, [6, 5]), (0.5, [3, 3]), (1, [6, 5])]
    )
    def test_words_of_every_descriptor(self, reduction: float | None, dimensions: list) -> None:
        drawn = samples()
        vocabulary = Vocabulary(8, reduction=reduction, n_init=2, seed=5).fit(drawn)
        assert vocabulary.dimensions_ == {"hof": 6, "hog": 5}
        for (name, rows), dimension in zip(drawn.items(), dimensions, strict=True):
            expected = KMeans(8, n_init=2, seed=5).fit(vocabulary.reduce(name, rows))
            np.testing.assert_array_equal(vocabulary.kmeans_[name].centres_, expected.centres_)
            assert expected.centres_.shape == (8, dimension)

    @pytest.mark.parametrize("reduction", [None, 0.5])
    def test_file_gives_the_same_words(self, reduction: float | None, tmp_path: Path) -> None:
        drawn = samples()
        vocabulary = Vocabulary(8, reduction=reduction, n_init=1).fit(drawn)
        vocabulary.save(tmp_path / "words.npz")
        loaded = Vocabulary.load(
            tmp_path / "words.npz", descriptors={"hof": 6, "hog": 5}, settings={"n_words": 8}
        )
        assert loaded.settings() == vocabulary.settings()
        assert list(loaded.dimensions_) == ["hof", "hog"]
        for name, rows in drawn.items():
            np.testing.assert_array_equal(
                loaded.kmeans_[name].predict(loaded.reduce(name, rows)),
                vocabulary.kmeans_[name].predict(vocabulary.reduce(name, rows)),
            )

    def test_refuses_another_use(self, tmp_path: Path) -> None:
        path = tmp_path / "words.npz"
        Vocabulary(8, n_init=1).fit(samples()).save(path)
        for options, message in (
            ({"descriptors": {"hog": 5}}, r"must be hof \(6\), hog \(5\), as the vocabulary was"),
            ({"descriptors": {"hof": 7, "hog": 5}}, r"got hof \(7\), hog \(5\)"),
            ({"settings": {"n_words": 9}}, "n_words of the vocabulary .* must be 9, got 8; fit it"),
            ({"settings": {"reduction": 0.5}}, "reduction of the vocabulary .* got None"),
            ({"settings": {"words": 9}}, "settings must be among n_words, reduction"),
        ):
            with pytest.raises(ValueError, match=message):
                Vocabulary.load(path, **options)

    def test_refuses_what_is_no_vocabulary(self, tmp_path: Path) -> None:
        path = tmp_path / "words.npz"
        with pytest.raises(FileNotFoundError, match="no vocabulary at"):
            Vocabulary.load(path)
        vocabulary = Vocabulary(8, n_init=1).fit(samples())
        vocabulary.save(path)
        whole = path.read_bytes()
        with np.load(path) as file:
            arrays = dict(file)
        head = json.loads(arrays["head"].tobytes())
        other_settings = {**head, "settings": {**head["settings"], "n_words": 7}}
        for change, message in (
            ({"0.centres": arrays["0.centres"][:, 1:]}, "the words of 'hof' have the shape"),
            ({"1.centres": np.full((8, 5), np.nan)}, "must be finite"),
            ({"head": _text(other_settings)}, r"the words of 'hof' have the shape \(8, 6\)"),
            ({"head": _text({**head, "format": "trajfuse codebook 1"})}, "not of the form"),
            ({"head": _text({**head, "descriptors": {}})}, "holds no descriptor"),
            ({"head": np.array([pickle.dumps(0)], dtype=object)}, "cannot be read"),
        ):
            np.savez(path, **(arrays | change))
            with pytest.raises(ValueError, match=f"whole vocabulary.*{message}"):
                Vocabulary.load(path)
        np.savez_compressed(path, **arrays)
        with pytest.raises(ValueError, match="it is compressed"):
            Vocabulary.load(path)
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match="cannot be read"):
            Vocabulary.load(path)
        path.write_bytes(whole)
        assert zipfile.is_zipfile(path)
        assert Vocabulary.load(path).n_words == 8
        drawn = samples()
        Codebook(2, max_iter=2).fit(drawn).save(tmp_path / "codebook.npz")
        with pytest.raises(ValueError, match="not of the form 'trajfuse vocabulary 1'"):
            Vocabulary.load(tmp_path / "codebook.npz")

    def test_refuses_samples(self) -> None:
        with pytest.raises(ValueError, match="one descriptor or more, got none"):
            Vocabulary(4).fit({})
        with pytest.raises(ValueError, match="descriptor 'hog' must have at least 301 rows"):
            Vocabulary(301).fit({"hog": samples()["hog"]})
        with pytest.raises(ValueError, match="descriptor 'hog': rows must be within"):
            Vocabulary(4).fit({"hog": samples()["hog"] * np.float32(1e30)})
        with pytest.raises(ValueError, match="descriptor 'hof' must be finite"):
            Vocabulary(4).fit({"hof": np.full((9, 2), np.inf)})
        with pytest.raises(ValueError, match="reduction must be above 0"):
            Vocabulary(reduction=0)
        with pytest.raises(ValueError, match="whiten must be False without PCA"):
            Vocabulary(whiten=True)
        with pytest.raises(ValueError, match="n_words must be at least 1"):
            Vocabulary(0)


def _text(head: dict) -> np.ndarray:
    return np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
