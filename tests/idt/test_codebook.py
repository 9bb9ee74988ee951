"""Sampling, PCA, the diagonal mixture, and the codebook's file."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from idt.codebook import PCA, Codebook, DiagonalGMM, RowSampler, draw_rows
from idt.codebook import kmeans as kmeans_module
from idt.trajectories import Trajectories

# float32 sums of 2,048 terms, then float64: six digits remain.
RELATIVE = 1e-5


def blobs(n_rows: int, dimension: int, n_blobs: int, *, seed: int = 0) -> np.ndarray:
    """Rows of overlapping clusters with unequal spread and weight, float32, away from 0."""
    random = np.random.default_rng(seed)
    centres = 3 * random.standard_normal((n_blobs, dimension)) + 5
    spreads = random.uniform(0.3, 1.5, (n_blobs, dimension))
    labels = random.choice(n_blobs, n_rows, p=random.dirichlet(5 * np.ones(n_blobs)))
    noise = random.standard_normal((n_rows, dimension))
    return (centres[labels] + spreads[labels] * noise).astype(np.float32)


def log_likelihood(mixture: DiagonalGMM, rows: np.ndarray) -> float:
    """Plain float64 twin of `score`."""
    deviations = np.sqrt(mixture.variances_.astype(float))
    joint = np.log(mixture.weights_) + norm.logpdf(
        rows[:, None].astype(float), mixture.means_, deviations
    ).sum(axis=2)
    return float(np.logaddexp.reduce(joint, axis=1).mean())


class TestRowSampler:
    def test_keeps_all_rows_in_order_while_there_is_room(self) -> None:
        sampler = RowSampler(10)
        rows = np.arange(12, dtype=np.float32).reshape(6, 2)
        sampler.add({"hog": rows[:4]})
        sampler.add({"hog": rows[4:4]})
        sampler.add({"hog": rows[4:]})
        np.testing.assert_array_equal(sampler.sample()["hog"], rows)

    @given(cuts=st.lists(st.integers(0, 500), max_size=6), n_rows=st.integers(1, 600))
    @settings(max_examples=40, deadline=None)
    def test_does_not_depend_on_how_rows_are_cut(self, cuts: list[int], n_rows: int) -> None:
        rows = np.arange(500, dtype=np.float32)[:, None]
        whole, parts = RowSampler(n_rows, seed=3), RowSampler(n_rows, seed=3)
        whole.add({"hog": rows, "hof": -rows})
        edges = [0, *sorted(cuts), 500]
        for start, stop in pairwise(edges):
            parts.add({"hof": -rows[start:stop], "hog": rows[start:stop]})
        kept = whole.sample()["hog"]
        assert len(kept) == min(n_rows, 500) == len(np.unique(kept))
        np.testing.assert_array_equal(kept, parts.sample()["hog"])
        np.testing.assert_array_equal(kept, -parts.sample()["hof"])  # one draw for all

    def test_every_row_is_as_likely(self) -> None:
        counts = np.zeros(100)
        for seed in range(400):
            sampler = RowSampler(25, seed=seed)
            for start in range(0, 100, 10):
                sampler.add({"hog": np.arange(start, start + 10, dtype=np.float32)[:, None]})
            counts[sampler.sample()["hog"][:, 0].astype(int)] += 1
        # 400 draws at 1 in 4: 100 each, deviation 8.7; five of them for 100 comparisons.
        assert abs(counts - 100).max() < 5 * 8.7

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            ({"hog": np.zeros((3, 2))}, "descriptors must be hog, hof, got hog;"),
            ({"hog": np.zeros((3, 2)), "hof": np.zeros((2, 3))}, "one row for each trajectory"),
            ({"hog": np.zeros((3, 2)), "hof": np.zeros((3, 4))}, "must have 3 columns, got 4"),
            ({"hog": np.full((3, 2), np.nan), "hof": np.zeros((3, 3))}, "'hog' must be finite"),
            ({}, "got none"),
        ],
    )
    def test_refuses_what_does_not_fit(self, second: dict, message: str) -> None:
        sampler = RowSampler(5)
        sampler.add({"hog": np.ones((2, 2)), "hof": np.ones((2, 3))})
        with pytest.raises(ValueError, match=message):
            sampler.add(second)
        assert sampler.n_seen == 2


class TestPCA:
    def test_two_dimensions_by_hand(self) -> None:
        # Along (3, 4) / 5 with deviation 5, across with deviation 1; the sign makes 4 positive.
        along, across = np.array([3.0, 4.0]) / 5, np.array([-4.0, 3.0]) / 5
        rows = [10 + 5 * along, 10 - 5 * along, 10 + across, 10 - across]
        pca = PCA(1).fit(np.array(rows))
        np.testing.assert_allclose(pca.mean_, [10, 10], rtol=RELATIVE)
        np.testing.assert_allclose(pca.components_, [[0.6, 0.8]], rtol=RELATIVE)
        np.testing.assert_allclose(pca.explained_variance_, [50 / 3], rtol=RELATIVE)
        np.testing.assert_allclose(pca.transform(np.array([[13.0, 14.0]])), [[5.0]], rtol=RELATIVE)

    @pytest.mark.parametrize("whiten", [False, True])
    def test_agrees_with_scikit_learn(self, whiten: bool) -> None:
        from sklearn.decomposition import PCA as Peer

        rows = blobs(2000, 11, 5)
        ours = PCA(whiten=whiten).fit(rows)
        peer = Peer(6, whiten=whiten).fit(rows.astype(float))
        assert ours.components_.shape == (6, 11)
        found, expected = ours.transform(rows), peer.transform(rows.astype(float))
        signs = np.sign((found * expected).sum(axis=0))
        np.testing.assert_allclose(found, expected * signs, atol=1e-4)
        largest = abs(ours.components_).argmax(axis=1)
        assert (ours.components_[np.arange(6), largest] > 0).all()

    def test_refuses_bad_rows(self) -> None:
        with pytest.raises(ValueError, match="at least 4 rows, got 3"):
            PCA(4).fit(np.eye(3, 8))
        with pytest.raises(ValueError, match="from 1 to the dimension 3, got 4"):
            PCA(4).fit(np.eye(3))
        with pytest.raises(ValueError, match=r"infinity in 1 of 4 rows \(row 2 first\)"):
            PCA().fit(np.where(np.eye(4)[2][:, None] > 0, np.inf, np.eye(4)))
        with pytest.raises(ValueError, match="vary along all 2 components to be whitened"):
            PCA(2, whiten=True).fit(np.outer(np.arange(5), [1.0, 2, 3]))
        with pytest.raises(ValueError, match="must have 4 columns, got 3"):
            PCA().fit(np.eye(4)).transform(np.eye(3))


class TestKmeans:
    def test_finds_separate_groups(self) -> None:
        corners = np.array([[0, 0], [0, 100], [100, 0], [100, 100]], dtype=np.float32)
        rows = np.repeat(corners, 5, axis=0) + np.tile(np.arange(5, dtype=np.float32), 4)[:, None]
        centres, labels = kmeans_module.cluster(rows, 4, seed=1)
        assert sorted(map(tuple, centres.round(3))) == sorted(map(tuple, corners + 2))
        np.testing.assert_allclose(centres[labels], np.repeat(corners + 2, 5, axis=0), rtol=1e-5)

    def test_as_tight_as_scikit_learn(self) -> None:
        from sklearn.cluster import KMeans

        rows = blobs(3001, 9, 20)
        ours, peer = [], []
        for seed in range(5):
            centres, labels = kmeans_module.cluster(rows, 20, seed=seed, max_iter=200, tol=0)
            ours.append(((rows - centres[labels]) ** 2).sum())
            peer.append(KMeans(20, n_init=1, random_state=seed).fit(rows).inertia_)
        assert np.median(ours) <= 1.1 * np.median(peer)  # other starts, so other optima

    def test_fewer_different_rows_than_centres(self) -> None:
        rows = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
        centres, labels = kmeans_module.cluster(rows, 5, seed=0)
        np.testing.assert_allclose(centres[labels], rows, atol=1e-6)


class TestDiagonalGMM:
    def test_statistics_of_two_components_by_hand(self) -> None:
        # Equal weights and variances, means at 0 and 2: the row 1 lies half way.
        mixture = DiagonalGMM.from_parameters([0.5, 0.5], [[0.0], [2.0]], [[1.0], [1.0]])
        sums = mixture.statistics(np.array([[1.0]]))
        np.testing.assert_allclose(sums.mass, [0.5, 0.5], rtol=RELATIVE)
        np.testing.assert_allclose(sums.first, [[0.5], [-0.5]], rtol=RELATIVE)
        np.testing.assert_allclose(sums.second, [[0.5], [0.5]], rtol=RELATIVE)
        assert sums.log_likelihood == pytest.approx(norm.logpdf(1), rel=RELATIVE)

    @pytest.mark.parametrize("dimension", [1, 2, 15, 48])
    @pytest.mark.parametrize("n_rows", [1, 3, 5000])
    def test_score_equals_plain_twin(self, dimension: int, n_rows: int) -> None:
        rows = blobs(5000, dimension, 7)
        mixture = DiagonalGMM(7, max_iter=3).fit(rows)
        found = mixture.score(rows[:n_rows])
        assert found == pytest.approx(log_likelihood(mixture, rows[:n_rows]), rel=RELATIVE)

    def test_score_far_from_the_origin(self) -> None:
        rows = blobs(1000, 6, 4)
        mixture = DiagonalGMM(4, max_iter=5).fit(rows)
        moved = DiagonalGMM.from_parameters(
            mixture.weights_, mixture.means_ + 1000, mixture.variances_
        )
        # Positions of 1,000 have steps of 6e-5 in float32, against deviations from 0.3.
        assert moved.score(rows + 1000) == pytest.approx(mixture.score(rows), rel=1e-4)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_log_likelihood_never_falls(self, seed: int) -> None:
        mixture = DiagonalGMM(16, max_iter=40, tol=0, seed=seed).fit(blobs(4000, 10, 24, seed=seed))
        assert not mixture.restarts_
        steps = np.diff(mixture.log_likelihoods_)
        assert steps.max() > 1e-3
        assert steps.min() > -1e-6 * abs(mixture.log_likelihoods_[-1])  # rounding of float32

    def test_recovers_what_made_the_rows(self) -> None:
        random = np.random.default_rng(0)
        truth = np.array([[-4.0, 0], [0, 4], [4, 0]]), np.array([[1.0, 0.25], [0.25, 1], [1, 1]])
        labels = random.choice(3, 30_000, p=[0.2, 0.3, 0.5])
        rows = truth[0][labels] + np.sqrt(truth[1][labels]) * random.standard_normal((30_000, 2))
        mixture = DiagonalGMM(3, tol=1e-6).fit(rows)
        order = mixture.means_[:, 0].argsort()
        # Four standard errors of 6,000 rows.
        np.testing.assert_allclose(mixture.weights_[order], [0.2, 0.3, 0.5], atol=0.012)
        np.testing.assert_allclose(mixture.means_[order], truth[0], atol=0.055)
        np.testing.assert_allclose(mixture.variances_[order], truth[1], rtol=0.08)
        assert mixture.converged_

    def test_as_likely_as_scikit_learn_from_the_same_start(self) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        rows = blobs(6000, 12, 40)
        start = DiagonalGMM(32, max_iter=1, seed=5).fit(rows)
        ours = DiagonalGMM(32, max_iter=20, tol=0, variance_floor=1e-6).fit(rows, start=start)
        peer = GaussianMixture(
            32,
            covariance_type="diag",
            max_iter=20,
            tol=0,
            weights_init=start.weights_,
            means_init=start.means_,
            precisions_init=1 / start.variances_,
        )
        with pytest.warns(ConvergenceWarning):
            peer.fit(rows.astype(float))
        expected = peer.score(rows.astype(float))
        assert ours.score(rows) == pytest.approx(expected, rel=1e-4)  # asked for: 0.5 %
        np.testing.assert_allclose(ours.means_, peer.means_, atol=0.02)

    def test_as_likely_as_vlfeat_from_the_same_start(self, requires) -> None:
        cy_gmm = requires("cyvlfeat.gmm.cygmm").cy_gmm
        rows = blobs(6000, 12, 40)
        start = DiagonalGMM(32, max_iter=1, seed=5).fit(rows)
        ours = DiagonalGMM(32, max_iter=20, tol=0).fit(rows, start=start)
        means, variances, weights, _, _ = cy_gmm(
            rows,
            32,
            20,
            b"custom",
            1,
            0,
            covariance_bound=None,
            init_priors=start.weights_.astype(np.float32),
            init_means=start.means_.copy(),
            init_covars=start.variances_.copy(),
        )
        theirs = DiagonalGMM.from_parameters(weights, means, variances)
        assert ours.score(rows) == pytest.approx(theirs.score(rows), rel=5e-3)

    def test_vlfeat_iterates_as_we_do(self, requires) -> None:
        requires("cyvlfeat.gmm")
        rows = blobs(3000, 8, 30)
        ours = DiagonalGMM(12, max_iter=8, tol=0, seed=3).fit(rows)
        theirs = DiagonalGMM(12, max_iter=8, tol=0, seed=3, backend="vlfeat").fit(rows)
        steps = np.diff(theirs.log_likelihoods_)
        assert steps.max() > 1e-3
        # Its sums are of float32 as ours, over all rows at once.
        assert steps.min() > -1e-5
        np.testing.assert_allclose(theirs.log_likelihoods_, ours.log_likelihoods_, rtol=1e-4)
        np.testing.assert_allclose(theirs.weights_, ours.weights_, rtol=1e-2)
        np.testing.assert_allclose(theirs.means_, ours.means_, atol=1e-2)

    def test_vlfeat_keeps_floor_and_restarts(self, requires) -> None:
        requires("cyvlfeat.gmm")
        rows = blobs(3000, 4, 3)
        rows[:, 3] = 7  # never varies
        start = DiagonalGMM.from_parameters(
            [0.5, 0.5], [rows.mean(axis=0), rows.mean(axis=0) + 500], np.ones((2, 4))
        )
        mixture = DiagonalGMM(2, max_iter=50, variance_floor=0.3, backend="vlfeat")
        mixture.fit(rows, start=start)
        assert mixture.restarts_ == [0]
        assert mixture.weights_.min() > 0.1
        assert (mixture.variances_[:, :3] >= 0.2999 * rows.var(axis=0)[:3]).all()
        assert mixture.converged_

    def test_without_cyvlfeat(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.startswith("cyvlfeat.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "cyvlfeat", None)
        with pytest.raises(ModuleNotFoundError, match=r"backend must be .* trajfuse\[vlfeat\]"):
            DiagonalGMM(2, backend="vlfeat").fit(blobs(50, 3, 4))
        with pytest.raises(ValueError, match="backend must be native or vlfeat, got 'matlab'"):
            DiagonalGMM(2, backend="matlab")

    def test_stops_when_little_is_gained(self) -> None:
        rows = blobs(4000, 10, 24)
        mixture = DiagonalGMM(16, tol=1e-3).fit(rows)
        gains = np.diff(mixture.log_likelihoods_)
        assert mixture.converged_
        assert gains[-1] < 1e-3
        assert (gains[:-1] >= 1e-3).all()
        short = DiagonalGMM(16, tol=1e-3, max_iter=3).fit(rows)
        assert not short.converged_
        assert short.log_likelihoods_ == mixture.log_likelihoods_[:3]

    def test_dead_component_is_restarted(self) -> None:
        rows = blobs(3000, 4, 3)
        start = DiagonalGMM.from_parameters(
            [0.5, 0.5], [rows.mean(axis=0), rows.mean(axis=0) + 500], np.ones((2, 4))
        )
        mixture = DiagonalGMM(2, max_iter=50).fit(rows, start=start)
        assert mixture.restarts_ == [0]
        assert mixture.weights_.min() > 0.1
        assert (np.diff(mixture.log_likelihoods_)[1:] > -1e-6).all()

    @pytest.mark.parametrize("n_components", [10, 30])
    def test_hardly_more_rows_than_components(self, n_components: int) -> None:
        rows = blobs(30, 5, 6)
        mixture = DiagonalGMM(n_components).fit(rows)
        assert mixture.converged_
        assert mixture.weights_.sum() == pytest.approx(1)
        assert np.isfinite(mixture.score(rows))

    def test_variance_has_a_floor(self) -> None:
        rows = blobs(400, 3, 2)
        rows[:200] = rows[0]
        rows[:, 2] = 7  # never varies
        mixture = DiagonalGMM(4, variance_floor=0.01).fit(rows)
        assert (mixture.variances_[:, :2] >= 0.00999 * rows.var(axis=0)[:2]).all()
        assert mixture.variances_.min() > 0
        assert np.isfinite(mixture.log_likelihoods_).all()

    def test_order_of_rows_hardly_matters(self) -> None:
        rows = blobs(5000, 8, 6)
        start = DiagonalGMM(6, max_iter=1).fit(rows)
        one = DiagonalGMM(6, max_iter=10).fit(rows, start=start)
        other = DiagonalGMM(6, max_iter=10).fit(rows[::-1], start=start)
        np.testing.assert_allclose(one.means_, other.means_, rtol=1e-4, atol=1e-4)

    def test_same_seed_same_mixture_for_any_number_of_threads(self) -> None:
        import numba

        rows = blobs(7000, 8, 6)
        one = DiagonalGMM(12, max_iter=5, seed=4).fit(rows)
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            other = DiagonalGMM(12, max_iter=5, seed=4).fit(rows)
        finally:
            numba.set_num_threads(before)
        np.testing.assert_array_equal(one.means_, other.means_)
        np.testing.assert_array_equal(one.variances_, other.variances_)
        assert one.log_likelihoods_ == other.log_likelihoods_
        different = DiagonalGMM(12, max_iter=5, seed=5).fit(rows)
        assert not np.array_equal(one.means_, different.means_)

    def test_refuses_bad_rows(self) -> None:
        mixture = DiagonalGMM(4)
        with pytest.raises(ValueError, match="at least 4 rows, got 3"):
            mixture.fit(np.eye(3))
        with pytest.raises(ValueError, match="must be finite"):
            mixture.fit(np.full((5, 2), np.nan))
        with pytest.raises(ValueError, match="must differ, got all the same"):
            mixture.fit(np.ones((5, 2)))
        with pytest.raises(ValueError, match=r"shape \(n, dimension\), got \(5,\)"):
            mixture.fit(np.ones(5))
        with pytest.raises(ValueError, match="real numbers, got <U1"):
            mixture.fit(np.array([["a", "b"]]))
        fitted = mixture.fit(blobs(50, 3, 4))
        with pytest.raises(ValueError, match="must have 3 columns, got 2"):
            fitted.score(np.ones((5, 2)))
        with pytest.raises(ValueError, match="check the scale of the descriptor"):
            fitted.score(np.full((1, 3), 1e30))
        with pytest.raises(ValueError, match="start must have means of shape"):
            DiagonalGMM(3).fit(blobs(50, 3, 4), start=fitted)

    @pytest.mark.parametrize(
        "options", [{"n_components": 0}, {"max_iter": 0}, {"tol": -1}, {"variance_floor": 0}]
    )
    def test_refuses_bad_options(self, options: dict) -> None:
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            DiagonalGMM(**options)

    @pytest.mark.parametrize(
        ("weights", "means", "variances", "message"),
        [
            ([0.5, 0.4], np.zeros((2, 1)), np.ones((2, 1)), "of sum 1"),
            ([1.0, 0.0], np.zeros((2, 1)), np.ones((2, 1)), "positive"),
            ([1.0], np.zeros((2, 1)), np.ones((2, 1)), "of as many components"),
            ([1.0], np.zeros((1, 2)), np.zeros((1, 2)), "variances must be positive"),
            ([1.0], np.full((1, 2), np.nan), np.ones((1, 2)), "means must be finite"),
        ],
    )
    def test_refuses_what_is_no_mixture(self, weights, means, variances, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            DiagonalGMM.from_parameters(weights, means, variances)


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    samples = {"trajectory": blobs(300, 6, 4), "hog": blobs(300, 5, 4, seed=1)}
    return Codebook(4, max_iter=5, seed=2).fit(samples)


class TestCodebook:
    def test_halves_every_descriptor(self, codebook: Codebook) -> None:
        assert codebook.dimensions_ == {"trajectory": 6, "hog": 5}
        assert codebook.gmms_["trajectory"].means_.shape == (4, 3)
        assert codebook.gmms_["hog"].means_.shape == (4, 3)

    @pytest.mark.parametrize(
        ("options", "shapes"),
        [
            ({"reduction": 1.0}, {"trajectory": 6, "hog": 5}),
            ({"reduction": 1.0, "max_dimension": 5}, {"trajectory": 5, "hog": 5}),
            ({"max_dimension": 4}, {"trajectory": 3, "hog": 3}),
            ({"whiten": True}, {"trajectory": 3, "hog": 3}),
            ({"pca": "none"}, {"trajectory": 6, "hog": 5}),
            ({"pca": "joint"}, {"joint": 6}),  # of 11
            ({"pca": "joint", "whiten": True}, {"joint": 6}),
        ],
    )
    def test_parts(self, options: dict, shapes: dict[str, int], tmp_path: Path) -> None:
        samples = {"trajectory": blobs(300, 6, 4), "hog": blobs(300, 5, 4, seed=1)}
        codebook = Codebook(4, max_iter=3, **options)
        codebook.fit(samples, extraction={"track_length": 15})
        codebook.save(tmp_path / "codebook.npz")
        loaded = Codebook.load(tmp_path / "codebook.npz", settings=options)
        assert loaded.extraction_ == {"track_length": 15}
        assert loaded.settings() == codebook.settings()
        for found in (codebook, loaded):
            assert {part: gmm.means_.shape[1] for part, gmm in found.gmms_.items()} == shapes
            assert list(found.pcas_) == ([] if found.pca == "none" else list(shapes))
            assert found.dimensions_ == {"trajectory": 6, "hog": 5}
        reduced, again = codebook.reduce(samples), loaded.reduce(samples)
        for part, rows in reduced.items():
            np.testing.assert_array_equal(again[part], rows)
            if codebook.whiten:
                np.testing.assert_allclose(rows.var(axis=0, ddof=1), 1, rtol=1e-4)

    def test_no_pca_leaves_rows_as_they_are(self) -> None:
        samples = {"trajectory": blobs(300, 6, 4)}
        codebook = Codebook(4, pca="none", max_iter=3).fit(samples)
        np.testing.assert_array_equal(codebook.reduce(samples)["trajectory"], samples["trajectory"])

    def test_joint_is_one_pca_over_all_descriptors(self) -> None:
        samples = {"trajectory": blobs(300, 6, 4), "hog": blobs(300, 5, 4, seed=1)}
        joint = np.hstack(list(samples.values()))
        found = Codebook(4, pca="joint", max_iter=3).fit(samples).reduce(samples)
        np.testing.assert_array_equal(found["joint"], PCA(6).fit(joint).transform(joint))

    def test_file_gives_everything_back(self, codebook: Codebook, tmp_path: Path) -> None:
        path = tmp_path / "codebook.npz"
        codebook.save(path)
        loaded = Codebook.load(
            path, descriptors={"hog": 5, "trajectory": 6}, settings=codebook.settings()
        )
        assert list(loaded.dimensions_) == ["trajectory", "hog"]
        assert loaded.settings() == codebook.settings()
        for name in codebook.dimensions_:
            for key in ("mean_", "components_", "explained_variance_"):
                np.testing.assert_array_equal(
                    getattr(loaded.pcas_[name], key), getattr(codebook.pcas_[name], key)
                )
            for key in ("weights_", "means_", "variances_"):
                np.testing.assert_array_equal(
                    getattr(loaded.gmms_[name], key), getattr(codebook.gmms_[name], key)
                )
        assert [file.name for file in tmp_path.iterdir()] == ["codebook.npz"]

    def test_interrupted_save_leaves_the_old_file(
        self, codebook: Codebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "codebook.npz"
        codebook.save(path)
        before = path.read_bytes()

        def fail(file, **arrays) -> None:
            file.write(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(np, "savez", fail)
        with pytest.raises(KeyboardInterrupt):
            codebook.save(path)
        assert path.read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1

    def test_refuses_another_purpose(self, codebook: Codebook, tmp_path: Path) -> None:
        path = tmp_path / "codebook.npz"
        codebook.save(path)
        with pytest.raises(ValueError, match=r"must be trajectory \(6\), hog \(5\), .* hog \(7\)"):
            Codebook.load(path, descriptors={"hog": 7})
        with pytest.raises(ValueError, match=r"n_components of the codebook .* must be 8, got 4"):
            Codebook.load(path, settings={"n_components": 8})
        with pytest.raises(
            ValueError, match=r"pca of the codebook .* be 'joint', got 'descriptor'"
        ):
            Codebook.load(path, settings={"pca": "joint"})
        with pytest.raises(ValueError, match="settings must be among"):
            Codebook.load(path, settings={"words": 8})

    def test_refuses_bad_samples(self) -> None:
        with pytest.raises(ValueError, match="'hog' must have at least 4 rows, got 3"):
            Codebook(4).fit({"trajectory": blobs(9, 4, 2), "hog": blobs(3, 4, 2)})
        with pytest.raises(ValueError, match="'hog' must be finite"):
            Codebook(4).fit({"hog": np.full((9, 4), np.inf)})
        with pytest.raises(ValueError, match="descriptor 'hog': rows must differ"):
            Codebook(4).fit({"hog": np.ones((9, 4))})
        with pytest.raises(ValueError, match="got none"):
            Codebook(4).fit({})
        with pytest.raises(ValueError, match=r"one row for each trajectory, got .'a': 9, 'b': 8"):
            Codebook(4, pca="joint").fit({"a": blobs(9, 4, 2), "b": blobs(8, 4, 2)})

    def test_refuses_bad_options(self) -> None:
        with pytest.raises(ValueError, match="reduction must be"):
            Codebook(4, reduction=0)
        for options in ({"max_dimension": 0}, {"max_dimension": 9, "pca": "none"}):
            with pytest.raises(ValueError, match="max_dimension must be at least 1, and of a PCA"):
                Codebook(4, **options)
        with pytest.raises(ValueError, match="pca must be one of descriptor, joint, none, got ''"):
            Codebook(4, pca="")
        with pytest.raises(ValueError, match="whiten must be False without PCA"):
            Codebook(4, pca="none", whiten=True)
        with pytest.raises(ValueError, match="backend must be native or vlfeat"):
            Codebook(4, backend="none")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="fit and save one first"):
            Codebook.load(tmp_path / "none.npz")


def made_table(n_rows: int, *, first: int = 0, info: dict | None = None) -> Trajectories:
    """Rows that are numbered, so that a draw can be told."""
    numbers = np.arange(first, first + n_rows, dtype=np.float32)[:, None]
    meta = np.zeros((n_rows, 10), dtype=np.float32)
    return Trajectories(meta, {"hog": numbers + np.zeros(3), "hof": -numbers}, info or {})


class TestDrawRows:
    def test_tables_and_their_files_are_one_stream(self, tmp_path: Path) -> None:
        tables = [made_table(40), made_table(0), made_table(60, first=40)]
        info = {"settings": {"track_length": 15, "seed": 3, "descriptors": ["hog"]}}
        tables[1] = made_table(0, info=info)
        tables[2].save(tmp_path / "table.npz", dtype="float32")
        rows, extraction = draw_rows([*tables[:2], tmp_path / "table.npz"], n_rows=30, seed=5)
        sampler = RowSampler(30, seed=5)
        sampler.add(made_table(100).descriptors)
        np.testing.assert_array_equal(rows["hog"], sampler.sample()["hog"])
        np.testing.assert_array_equal(rows["hof"][:, 0], -rows["hog"][:, 0])
        assert extraction == {"track_length": 15}  # what all videos share

    def test_refuses_other_settings(self) -> None:
        tables = [made_table(9, info={"settings": {"flow": flow}}) for flow in ("dis", "codec")]
        with pytest.raises(ValueError, match="flow of the extraction must be 'dis', as of the"):
            draw_rows(tables)
        with pytest.raises(ValueError, match="settings of a table must be values by name, got 3"):
            draw_rows([made_table(9, info={"settings": 3})])
        with pytest.raises(ValueError, match="must hold trajectories, got none in any"):
            draw_rows([made_table(0)])
        with pytest.raises(ValueError, match="must hold trajectories, got none in any"):
            draw_rows([])
        other = Trajectories(np.zeros((2, 10), np.float32), {"hog": np.zeros((2, 3), np.float32)})
        with pytest.raises(ValueError, match="descriptors must be hog, hof, got hog"):
            draw_rows([made_table(3), other])


class TestHostileFiles:
    """A file made to harm is refused with one error, and nothing in it is run."""

    @pytest.fixture
    def arrays(self, codebook: Codebook, tmp_path: Path) -> dict[str, np.ndarray]:
        codebook.save(tmp_path / "good.npz")
        with np.load(tmp_path / "good.npz") as file:
            return dict(file)

    def refuse(self, path: Path, message: str = "must be a whole codebook") -> None:
        with pytest.raises(ValueError, match=message):
            Codebook.load(path)

    def test_not_an_archive(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.npz"
        for content in (b"", b"\x89HDF", pickle.dumps({"a": 1})):
            path.write_bytes(content)
            self.refuse(path)

    def test_cut_short(self, arrays, tmp_path: Path) -> None:
        whole = (tmp_path / "good.npz").read_bytes()
        (tmp_path / "bad.npz").write_bytes(whole[: len(whole) // 2])
        self.refuse(tmp_path / "bad.npz")

    def test_one_bit_turned(self, arrays, tmp_path: Path) -> None:
        whole = bytearray((tmp_path / "good.npz").read_bytes())
        whole[whole.index(arrays["0.gmm.means"].tobytes()) + 5] ^= 1
        (tmp_path / "bad.npz").write_bytes(whole)
        self.refuse(tmp_path / "bad.npz", "CRC")

    def test_pickled_array(self, arrays, tmp_path: Path) -> None:
        ran = tmp_path / "ran"

        class Harm:
            def __reduce__(self):
                return (Path.touch, (ran,))

        arrays["0.gmm.means"] = np.array([Harm()], dtype=object)
        np.savez(tmp_path / "bad.npz", **arrays)
        self.refuse(tmp_path / "bad.npz")
        assert not ran.exists()

    def test_compressed(self, arrays, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "bad.npz", **arrays)
        self.refuse(tmp_path / "bad.npz", "compressed")

    def test_shape_larger_than_its_data(self, arrays, tmp_path: Path) -> None:
        path = tmp_path / "bad.npz"
        with zipfile.ZipFile(path, "w") as archive:
            header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 9), }"
            header += b" " * (117 - len(header)) + b"\n"
            start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
            for name in arrays:
                archive.writestr(f"{name}.npy", start + header)
        self.refuse(path)

    @pytest.mark.parametrize(
        "change",
        [
            lambda head: head.update(format="trajfuse codebook 99"),
            lambda head: head.pop("settings"),
            lambda head: head["settings"].update(words=3),
            lambda head: head["settings"].update(n_components=5),
            lambda head: head["settings"].update(pca="joint"),
            lambda head: head["settings"].update(pca="none"),
            lambda head: head.update(extraction=[3]),
            lambda head: head.update(descriptors={}),
            lambda head: head.update(descriptors={"trajectory": 5}),
            lambda head: head.update(descriptors=[1]),
            lambda head: head["descriptors"].update(hof=3),
        ],
    )
    def test_false_head(self, arrays, tmp_path: Path, change) -> None:
        head = json.loads(arrays["head"].tobytes())
        change(head)
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
        np.savez(tmp_path / "bad.npz", **arrays)
        self.refuse(tmp_path / "bad.npz")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("0.gmm.weights", np.ones(4)),
            ("0.gmm.variances", np.zeros((4, 3))),
            ("0.gmm.means", np.full((4, 3), np.nan)),
            ("0.gmm.means", np.zeros((4, 2))),
            ("0.pca.components", np.zeros((3, 5))),
            ("0.pca.mean", np.zeros(())),
            ("0.pca.explained_variance", -np.ones(3)),
            ("head", np.zeros(3, dtype=np.uint8)),
        ],
    )
    def test_false_array(self, arrays, tmp_path: Path, key: str, value: np.ndarray) -> None:
        arrays[key] = value
        np.savez(tmp_path / "bad.npz", **arrays)
        self.refuse(tmp_path / "bad.npz")
