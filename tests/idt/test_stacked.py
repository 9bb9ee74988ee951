"""Stacked Fisher vectors: sub-volumes, projections, both layers against plain twins, their file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from idt.codebook import Codebook, videos
from idt.extract import Extraction, ExtractOptions, extract
from idt.fisher import FewTrajectoriesWarning, FisherVectorEncoder, fisher_vector
from idt.stacked import StackedCodebook, StackedEncoder
from idt.stacked.projection import margin_objective, margin_projection, principal_projection
from idt.stacked.volumes import LocalAccumulator, sub_volumes
from idt.video import read

RELATIVE = 1e-5  # of the norm: float32 sums over blocks, cut in another way
PAN = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"
QUICK = ExtractOptions.preset("fast", max_scales=2, stride=5)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def made_video(n_rows: int, *, label: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng([seed, label])
    return {
        "hof": (random.standard_normal((n_rows, 4)) * (1 + label)).astype(np.float32),
        "hog": (random.standard_normal((n_rows, 6)) + label).astype(np.float32),
        "positions": random.random((n_rows, 3)),
    }


VIDEOS = [made_video(300, label=i % 2, seed=i) for i in range(6)]
LABELS = ["run", "walk"] * 3


@pytest.fixture(scope="module")
def first() -> Codebook:
    samples = {name: np.concatenate([video[name] for video in VIDEOS]) for name in ("hof", "hog")}
    return Codebook(3, whiten=True, max_iter=5).fit(samples)


@pytest.fixture(scope="module")
def stacked(first: Codebook) -> StackedCodebook:
    return StackedCodebook(first, n_components=2, n_reduced=5, min_rows=20).fit(VIDEOS, LABELS)


class TestSubVolumes:
    def test_sizes_and_places(self) -> None:
        volumes = sub_volumes()
        assert volumes.shape == (144, 96)
        assert len(np.unique(volumes, axis=0)) == 144
        assert volumes[-1].all()
        boxes = volumes.reshape(-1, 4, 4, 6)
        heights = boxes.any(axis=(2, 3)).sum(axis=1)
        widths = boxes.any(axis=(1, 3)).sum(axis=1)
        lengths = boxes.any(axis=(1, 2)).sum(axis=1)
        np.testing.assert_array_equal(volumes.sum(axis=1), heights * widths * lengths)  # no holes
        sizes, counts = np.unique(np.stack([heights, widths, lengths]), axis=1, return_counts=True)
        found = {tuple(size): int(count) for size, count in zip(sizes.T, counts, strict=True)}
        places = {2: 3, 4: 1}, {2: 5, 4: 3, 6: 1}
        assert found == {
            (h, w, t): places[0][h] * places[0][w] * places[1][t]
            for h in (2, 4)
            for w in (2, 4)
            for t in (2, 4, 6)
        }

    def test_each_is_the_fisher_vector_of_what_lies_in_it(self, first: Codebook) -> None:
        video = made_video(900, seed=9)
        accumulator = LocalAccumulator(first, min_rows=100)
        accumulator.add(video, positions=video["positions"])
        local, x, y, t = accumulator.local(), *video["positions"].T
        insides = []
        for top in (0, 1, 2):  # quarters of the height; all of the width; two thirds of the time
            for start in (0, 1, 2):  # sixths
                inside = (4 * y >= top) & (4 * y < top + 2) & (6 * t >= start) & (6 * t < start + 4)
                insides.append(inside)
        insides += [(4 * x >= 2) & (4 * x < 4) & (4 * y < 2) & (3 * t >= 1) & (3 * t < 2)]
        for inside in insides:
            assert (inside.sum() >= 100) == (inside is not insides[-1])
        for name, vectors in local.items():
            assert vectors.dtype == np.float32
            for inside in insides:
                expected = fisher_vector(
                    video[name][inside], first.gmms_[name], pca=first.pcas_[name]
                )
                differences = np.linalg.norm(vectors - expected, axis=1)
                assert (differences.min() < 1e-4) == (inside is not insides[-1])

    def test_whole_is_the_plain_vector(self, first: Codebook) -> None:
        video = made_video(200, seed=3)
        accumulator = LocalAccumulator(first, min_rows=200)
        accumulator.add(video, positions=video["positions"])
        expected = FisherVectorEncoder(first).encode(video)
        found = np.concatenate(list(accumulator.whole().values()))
        assert relative_difference(found, expected) < RELATIVE
        only = np.concatenate([vectors[0] for vectors in accumulator.local().values()])
        assert relative_difference(only, expected) < RELATIVE
        assert {len(vectors) for vectors in accumulator.local().values()} == {1}


def made_classes(n_rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ along dimensions of small variance."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=n_rows)
    rows = random.standard_normal((n_rows, 20)) * np.linspace(3, 0.3, 20)
    rows[:, 12:15] += 1.5 * np.eye(3)[labels]
    return rows.astype(np.float32), labels


class TestProjection:
    def test_principal_axes_are_scikit_learn_s(self) -> None:
        rows, _ = made_classes(200, seed=0)
        found = principal_projection(rows, 4).transform(rows)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, PCA(4).fit_transform(rows.astype(float)), atol=1e-4)

    def test_objective_by_hand(self) -> None:
        # One axis (2, 0), weights 1 and -1; rows (1, 5) of class 0 and (-1, 7) of class 0 project
        # to 2 and -2, and fall short of the margin by 1 - 4 < 0 and 1 + 4.
        rows, start = np.array([[1.0, 5], [-1, 7]]), np.array([[1.0, 0]])
        value, _ = margin_objective(
            np.array([2.0, 0, 1, -1]), rows, np.array([0, 0]), start, penalty=0.5
        )
        assert value == pytest.approx(25 / 2 + 0.25 * (1 + 2))

    def test_gradient_is_that_of_finite_differences(self) -> None:
        random = np.random.default_rng(0)
        rows, labels = random.standard_normal((30, 6)), random.integers(4, size=30)
        start, parameters = random.standard_normal((3, 6)), random.standard_normal(18 + 12)

        def value(at: np.ndarray) -> float:
            return margin_objective(at, rows, labels, start, 0.3)[0]

        _, gradient = margin_objective(parameters, rows, labels, start, 0.3)
        expected = approx_fprime(parameters, value, 1e-7)
        np.testing.assert_allclose(gradient, expected, atol=1e-4 * abs(expected).max())

    def test_margin_finds_what_pca_leaves_out(self) -> None:
        (rows, labels), (new, expected) = made_classes(400, seed=1), made_classes(400, seed=2)
        accuracies = []
        for projection in (
            principal_projection(rows, 5),
            margin_projection(rows, labels, 5),
            margin_projection(rows, labels, 5, penalty=1e6),
        ):
            judge = LinearDiscriminantAnalysis().fit(projection.transform(rows), labels)
            accuracies.append(judge.score(projection.transform(new), expected))
        assert accuracies[1] > accuracies[0] + 0.2
        assert accuracies[2] == accuracies[0]  # held to the principal axes

    def test_refuses_what_it_cannot_use(self) -> None:
        rows, labels = made_classes(10, seed=0)
        with pytest.raises(ValueError, match=r"n_reduced must be from 1 to 10, .* got 11"):
            margin_projection(rows, labels, 11)
        with pytest.raises(ValueError, match="two classes or more, got 1"):
            margin_projection(rows, np.zeros(10), 2)


class TestEncoder:
    def test_is_a_fisher_vector_of_projected_local_vectors(self, stacked: StackedCodebook) -> None:
        video, encoder = made_video(400, seed=8), StackedEncoder(stacked)
        found = encoder.encode(video)
        assert found.dtype == np.float32
        assert found.shape == (encoder.n_features,) == (2 * 3 * (2 + 3) + 2 * 2 * 2 * 5,)
        assert list(encoder.parts) == ["hof", "hog", "hof_stacked", "hog_stacked"]
        assert encoder.feature_names()[-1] == "hog_stacked_19"
        plain = FisherVectorEncoder(stacked.first).encode(video)
        assert relative_difference(found[: len(plain)], plain) < RELATIVE
        local = stacked.gather(video).local()
        for name, projection in stacked.projections_.items():
            assert len(local[name]) > 20
            rows = (local[name].astype(float) - projection.mean) @ projection.axes.T.astype(float)
            expected = fisher_vector(rows, stacked.gmms_[name])
            part = found[encoder.parts[f"{name}_stacked"]]
            assert relative_difference(part, expected) < 1e-3  # the root shows small numbers
        alone = StackedEncoder(stacked, plain=False)
        np.testing.assert_array_equal(alone.encode(video), found[len(plain) :])
        assert list(alone.parts) == ["hof_stacked", "hog_stacked"]

    def test_order_and_blocks_change_nothing_but_rounding(self, stacked: StackedCodebook) -> None:
        video, encoder = made_video(500, seed=4), StackedEncoder(stacked)
        accumulator = encoder.accumulator()
        for part in np.array_split(np.random.default_rng(0).permutation(500), 3):
            block = {name: video[name][part] for name in ("hog", "hof")}
            accumulator.add(block, positions=video["positions"][part])
        assert accumulator.n_rows == 500
        assert relative_difference(accumulator.finish(), encoder.encode(video)) < 1e-3

    def test_few_trajectories(self, stacked: StackedCodebook) -> None:
        encoder = StackedEncoder(stacked)
        with pytest.warns(FewTrajectoriesWarning, match="no trajectories"):
            assert not encoder.encode(made_video(0)).any()
        with pytest.warns(FewTrajectoriesWarning, match="a single trajectory"):
            one = encoder.encode(made_video(1))
        with pytest.warns(FewTrajectoriesWarning, match="19 trajectories, and no sub-volume holds"):
            some = encoder.encode(made_video(19))
        for vector in (one, some):
            assert np.isfinite(vector).all()
            assert vector[encoder.parts["hog"]].any()
            assert not vector[encoder.parts["hog_stacked"]].any()
        assert encoder.encode(made_video(20))[encoder.parts["hog_stacked"]].any()

    def test_refused_block_changes_nothing(self, stacked: StackedCodebook) -> None:
        accumulator, video = StackedEncoder(stacked).accumulator(), made_video(60)
        places = video["positions"]
        accumulator.add(video, positions=places)
        before = accumulator.finish()
        for change, positions, message in (
            ({"hog": video["hog"][:, :4]}, places, "must have 6 columns, got 4"),
            ({"hog": np.full((60, 6), np.nan)}, places, "must be finite"),
            ({"hog": np.full((60, 6), 1e30)}, places, "check the scale"),
            ({}, places[:9], "positions must be those of the 60 trajectories, got 9"),
            ({}, places + 1, "positions must be from 0 to 1"),
            ({}, None, "positions must be given"),
        ):
            with pytest.raises(ValueError, match=message):
                accumulator.add(video | change, positions=positions)
        np.testing.assert_array_equal(accumulator.finish(), before)

    def test_a_stream_is_encoded_as_its_table_is(self, tmp_path: Path, monkeypatch) -> None:
        table = extract(PAN, options=QUICK)
        table.save(tmp_path / "table.h5", dtype="float32")
        first = Codebook(2, max_iter=2).fit_videos([table])
        codebook = StackedCodebook(
            first, n_components=2, n_reduced=3, projection="pca", min_rows=10
        ).fit([tmp_path / "table.h5"])
        encoder = StackedEncoder(codebook)
        expected = encoder.encode(table)
        monkeypatch.setattr(videos, "BATCH_ROWS", 20)
        for source in (PAN, Extraction(read(PAN), options=QUICK), tmp_path / "table.h5"):
            found = encoder.encode_source(source, options=QUICK)
            assert relative_difference(found, expected) < 1e-3
        with pytest.raises(ValueError, match="as for the videos that the codebook was fitted on"):
            encoder.encode_source(PAN, options=ExtractOptions.preset("fast", normalise="l2"))


class TestCodebook:
    def test_same_seed_same_codebook(self, first: Codebook, stacked: StackedCodebook) -> None:
        again = StackedCodebook(first, n_components=2, n_reduced=5, min_rows=20)
        again.fit(VIDEOS, np.array([0, 1] * 3))  # what labels are called does not matter
        for name, gmm in stacked.gmms_.items():
            np.testing.assert_array_equal(gmm.means_, again.gmms_[name].means_)

    def test_draws_no_more_than_it_may_hold(self, first: Codebook) -> None:
        few = StackedCodebook(first, n_components=2, n_reduced=4, min_rows=20, n_local=12)
        few.fit(VIDEOS, LABELS)
        with pytest.raises(ValueError, match=r"projection of 'hof': n_reduced .* from 1 to 3"):
            StackedCodebook(first, n_reduced=4, min_rows=20, n_local=3).fit(VIDEOS, LABELS)
        with pytest.raises(ValueError, match=r"second layer of 'hof': .* at least 9999 rows"):
            StackedCodebook(first, n_components=9999, n_reduced=4, min_rows=20).fit(VIDEOS, LABELS)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"projection": "lda"}, "projection must be one of margin, pca, got 'lda'"),
            ({"penalty": 0}, "penalty must be above 0"),
            ({"n_reduced": 0}, "n_reduced must be at least 1"),
            ({"min_rows": 0}, "min_rows must be at least 1"),
            ({"n_local": 0}, "n_local must be at least 1"),
            ({"n_components": 0}, "n_components must be at least 1"),
        ],
    )
    def test_options_are_refused(self, first: Codebook, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            StackedCodebook(first, **options)

    def test_videos_are_refused(self, first: Codebook) -> None:
        codebook = StackedCodebook(first, n_components=2, n_reduced=2, min_rows=20)
        with pytest.raises(ValueError, match="labels must be given for the projection 'margin'"):
            codebook.fit(VIDEOS)
        with pytest.raises(ValueError, match=r"one for each of 6 videos, got the shape \(5,\)"):
            codebook.fit(VIDEOS, LABELS[1:])
        with pytest.raises(ValueError, match="two classes or more, got 1"):
            codebook.fit(VIDEOS, ["run"] * 6)
        with pytest.raises(ValueError, match="must hold 20 trajectories, got none that does in 2"):
            codebook.fit([made_video(19), made_video(9)], ["run", "walk"])
        with pytest.raises(ValueError, match="got none that does in 0 videos"):
            codebook.fit([], [])
        with pytest.raises(ValueError, match="first must be fitted"):
            StackedCodebook(Codebook())
        with pytest.raises(ValueError, match="codebook must be fitted"):
            StackedEncoder(codebook)

    def test_file_encodes_the_same(self, stacked: StackedCodebook, tmp_path: Path) -> None:
        path, video = tmp_path / "stacked.npz", made_video(90)
        stacked.save(path)
        loaded = StackedCodebook.load(
            path, descriptors={"hof": 4, "hog": 6}, settings={"n_reduced": 5}
        )
        assert loaded.settings() == stacked.settings()
        expected = StackedEncoder(stacked).encode(video)
        np.testing.assert_array_equal(StackedEncoder(loaded).encode(video), expected)
        copy = pickle.loads(pickle.dumps(StackedEncoder(stacked)))
        np.testing.assert_array_equal(copy.encode(video), expected)

    def test_another_file_is_refused(self, stacked: StackedCodebook, tmp_path: Path) -> None:
        path = tmp_path / "stacked.npz"
        stacked.save(path)
        with pytest.raises(ValueError, match=r"must be hof \(4\), hog \(6\), as the codebook was"):
            StackedCodebook.load(path, descriptors={"hog": 6})
        with pytest.raises(ValueError, match=r"n_reduced of the stacked codebook .* must be 6"):
            StackedCodebook.load(path, settings={"n_reduced": 6})
        with np.load(path) as file:
            arrays = dict(file)
        for change, message in (
            ({"0.projection.axes": arrays["0.projection.axes"][1:]}, "'hof' has 4 axes"),
            ({"0.projection.axes": arrays["0.projection.axes"][:, 1:]}, "must have 12 columns"),
            ({"1.projection.mean": np.full(18, np.nan)}, "mean must be finite"),
            ({"1.second.means": arrays["1.second.means"][:, 1:]}, "columns|shape"),
            ({"1.second.weights": np.array([0.5, 0.6])}, "weights must be positive and of sum 1"),
        ):
            np.savez(path, **(arrays | change))
            with pytest.raises(ValueError, match=f"whole stacked codebook.*({message})"):
                StackedCodebook.load(path)
        stacked.first.save(path)
        with pytest.raises(ValueError, match="not of the form 'trajfuse stacked codebook 1'"):
            StackedCodebook.load(path)
