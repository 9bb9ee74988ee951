"""Fisher vectors against the derivative of the log-likelihood, a plain twin and VLFeat."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from idt.codebook import PCA, Codebook, DiagonalGMM
from idt.fisher import (
    FisherAccumulator,
    FisherVectorEncoder,
    NoTrajectoriesWarning,
    fisher_vector,
)

# Relative to the norm of the vector. Ours sums float32 in blocks; posteriors below 1e-6 are left
# out, which the square root of an improved vector makes visible.
RELATIVE = 1e-5
RELATIVE_IMPROVED = 5e-4


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def made_rows(n_rows: int, dimension: int, *, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = 2 * random.standard_normal((5, dimension))
    noise = random.standard_normal((n_rows, dimension))
    return (centres[random.integers(5, size=n_rows)] + noise).astype(np.float32)


def log_likelihood(rows: np.ndarray, weights, means, deviations) -> float:
    """Mean over rows, float64."""
    joint = np.log(weights) + norm.logpdf(rows[:, None], means, deviations).sum(axis=2)
    return float(np.logaddexp.reduce(joint, axis=1).mean())


def plain_fisher_vector(rows: np.ndarray, gmm: DiagonalGMM, *, improved: bool) -> np.ndarray:
    """Formulas of the module, float64, one component at a time."""
    rows, weights = rows.astype(float), gmm.weights_
    means, deviations = gmm.means_.astype(float), np.sqrt(gmm.variances_.astype(float))
    joint = np.log(weights) + norm.logpdf(rows[:, None], means, deviations).sum(axis=2)
    posteriors = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    of_means, of_deviations = [], []
    for k in range(len(weights)):
        standard = (rows - means[k]) / deviations[k]
        of_means.append(posteriors[:, k] @ standard / len(rows) / np.sqrt(weights[k]))
        of_deviations.append(
            posteriors[:, k] @ (standard**2 - 1) / len(rows) / np.sqrt(2 * weights[k])
        )
    vector = np.concatenate([*of_means, *of_deviations])
    if improved:
        vector = np.sign(vector) * np.sqrt(abs(vector))
        vector /= np.linalg.norm(vector)
    return vector


@pytest.fixture(scope="module")
def gmm() -> DiagonalGMM:
    return DiagonalGMM(6, max_iter=10).fit(made_rows(2000, 7))


class TestFisherVector:
    def test_one_gaussian_by_hand(self) -> None:
        # Rows 1 and 5 under mean 1, deviation 2: standardised 0 and 2.
        gmm = DiagonalGMM.from_parameters([1.0], [[1.0]], [[4.0]])
        vector = fisher_vector(np.array([[1.0], [5.0]]), gmm, improved=False)
        np.testing.assert_allclose(vector, [1.0, (-1 + 3) / 2 / np.sqrt(2)], rtol=RELATIVE)
        improved = fisher_vector(np.array([[1.0], [5.0]]), gmm)
        roots = np.sqrt([1.0, 1 / np.sqrt(2)])
        np.testing.assert_allclose(improved, roots / np.linalg.norm(roots), rtol=RELATIVE)

    def test_order_of_the_parts(self) -> None:
        # A row under the second of two far components, moved along the second dimension.
        gmm = DiagonalGMM.from_parameters([0.5, 0.5], [[0.0, 0.0], [100.0, 0.0]], np.ones((2, 2)))
        vector = fisher_vector(np.array([[100.0, -1.0]]), gmm, improved=False)
        expected = [0, 0, 0, -np.sqrt(2), 0, 0, -1, 0]
        np.testing.assert_allclose(vector, expected, atol=RELATIVE)

    def test_is_the_scaled_gradient_of_the_log_likelihood(self, gmm: DiagonalGMM) -> None:
        rows = made_rows(300, 7, seed=1)
        found = fisher_vector(rows, gmm, improved=False).reshape(2, 6, 7)
        twin = rows.astype(float)
        means, deviations = gmm.means_.astype(float), np.sqrt(gmm.variances_.astype(float))
        expected = np.empty((2, 6, 7))
        for part, values in enumerate((means, deviations)):
            for place in np.ndindex(6, 7):
                here, step = values[place], 1e-5
                values[place] = here + step
                above = log_likelihood(twin, gmm.weights_, means, deviations)
                values[place] = here - step
                below = log_likelihood(twin, gmm.weights_, means, deviations)
                values[place] = here
                expected[part][place] = (above - below) / (2 * step)
        # The Fisher information of a mean is w / sigma², that of a deviation 2 w / sigma².
        scale = deviations / np.sqrt(gmm.weights_)[:, None]
        expected *= np.stack([scale, scale / np.sqrt(2)])
        assert relative_difference(found, expected) < RELATIVE

    @pytest.mark.parametrize("n_rows", [1, 2, 5, 4099])
    @pytest.mark.parametrize(
        ("improved", "tolerance"), [(False, RELATIVE), (True, RELATIVE_IMPROVED)]
    )
    def test_equals_plain_twin(
        self, gmm: DiagonalGMM, n_rows: int, improved: bool, tolerance: float
    ) -> None:
        rows = made_rows(n_rows, 7, seed=2)
        found = fisher_vector(rows, gmm, improved=improved)
        assert found.dtype == np.float32
        assert found.shape == (2 * 6 * 7,)
        assert relative_difference(found, plain_fisher_vector(rows, gmm, improved=improved)) < (
            tolerance
        )

    def test_order_of_rows_changes_nothing_but_rounding(self, gmm: DiagonalGMM) -> None:
        rows = made_rows(5000, 7, seed=3)
        mixed = np.random.default_rng(0).permutation(rows)
        found, expected = fisher_vector(mixed, gmm), fisher_vector(rows, gmm)
        assert relative_difference(found, expected) < RELATIVE

    def test_repeated_rows_change_nothing_but_rounding(self, gmm: DiagonalGMM) -> None:
        rows = made_rows(700, 7, seed=3)
        found, expected = fisher_vector(np.tile(rows, (4, 1)), gmm), fisher_vector(rows, gmm)
        assert relative_difference(found, expected) < RELATIVE

    def test_same_bits_for_any_number_of_threads(self, gmm: DiagonalGMM) -> None:
        import numba

        rows = made_rows(9000, 7, seed=3)
        expected, before = fisher_vector(rows, gmm), numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            found = fisher_vector(rows, gmm)
        finally:
            numba.set_num_threads(before)
        np.testing.assert_array_equal(found, expected)

    def test_row_far_from_every_component_is_finite(self, gmm: DiagonalGMM) -> None:
        vector = fisher_vector(np.full((1, 7), 1e6), gmm)
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) == pytest.approx(1, rel=RELATIVE)

    def test_no_rows_give_zeros_and_a_warning(self, gmm: DiagonalGMM) -> None:
        with pytest.warns(NoTrajectoriesWarning, match="no trajectories"):
            vector = fisher_vector(np.empty((0, 7)), gmm)
        assert vector.shape == (84,)
        assert not vector.any()

    def test_refuses_bad_rows(self, gmm: DiagonalGMM) -> None:
        with pytest.raises(ValueError, match="must have 7 columns, got 6"):
            fisher_vector(np.ones((3, 6)), gmm)
        with pytest.raises(ValueError, match="must have 7 columns, got 6"):
            fisher_vector(np.ones((0, 6)), gmm)
        with pytest.raises(ValueError, match="must be finite"):
            fisher_vector(np.full((3, 7), np.inf), gmm)
        with pytest.raises(ValueError, match="check the scale"):
            fisher_vector(np.full((3, 7), 1e30), gmm)


class TestAccumulator:
    @pytest.mark.parametrize("cuts", [(), (0, 0), (1,), (2048,), (3, 2500)])
    def test_blocks_equal_the_whole(self, gmm: DiagonalGMM, cuts: tuple[int, ...]) -> None:
        rows = made_rows(4500, 7, seed=4)
        accumulator = FisherAccumulator(gmm)
        for block in np.split(rows, cuts):
            accumulator.add(block)
        assert relative_difference(accumulator.finish(), fisher_vector(rows, gmm)) < RELATIVE

    def test_finish_may_be_asked_before_the_end(self, gmm: DiagonalGMM) -> None:
        rows = made_rows(100, 7, seed=4)
        accumulator = FisherAccumulator(gmm)
        accumulator.add(rows[:50])
        np.testing.assert_array_equal(accumulator.finish(), fisher_vector(rows[:50], gmm))
        accumulator.add(rows[50:])
        assert relative_difference(accumulator.finish(), fisher_vector(rows, gmm)) < RELATIVE

    def test_pca_comes_first(self) -> None:
        rows = made_rows(20_000, 8)  # more than one block of reduction
        pca = PCA(whiten=True).fit(rows)
        gmm = DiagonalGMM(3, max_iter=3).fit(pca.transform(rows))
        found = fisher_vector(rows, gmm, pca=pca, improved=False)
        expected = plain_fisher_vector(pca.transform(rows), gmm, improved=False)
        # The rows trained the mixture, so the gradient is near 0 and its digits are fewer.
        assert relative_difference(found, expected) < 1e-3


def real_descriptors(shared: Path, clip: str) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / f"{clip}.trajectories.npz") as file:
        return {name: file[name] for name in ("trajectory", "hog", "hof", "mbhx", "mbhy")}


@pytest.mark.parametrize("name", ["trajectory", "hog", "hof", "mbhx", "mbhy"])
@pytest.mark.parametrize("improved", [False, True])
def test_equals_vlfeat_on_real_descriptors(shared, requires, name: str, improved: bool) -> None:
    fisher = requires("cyvlfeat.fisher").fisher
    training = real_descriptors(shared, "ucf_icedancing_g01_c01")[name]
    pca = PCA().fit(training)
    gmm = DiagonalGMM(64, max_iter=10).fit(pca.transform(training))
    for clip in ("hmdb_cartwheel", "kth_boxing_d1"):
        rows = pca.transform(real_descriptors(shared, clip)[name])
        expected = fisher(
            rows, gmm.means_, gmm.variances_, gmm.weights_.astype(np.float32), improved=improved
        )
        found = fisher_vector(rows, gmm, improved=improved)
        assert relative_difference(found, expected.ravel()) < 1e-4  # both sum float32


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    samples = {"trajectory": made_rows(400, 6), "hog": made_rows(400, 5, seed=1)}
    return Codebook(4, max_iter=5).fit(samples)


class TestEncoder:
    def video(self, n_rows: int) -> dict[str, np.ndarray]:
        return {
            "hog": made_rows(n_rows, 5, seed=8),
            "trajectory": made_rows(n_rows, 6, seed=9),
            "hof": made_rows(n_rows, 4),
        }

    def test_descriptors_stand_in_the_codebook_s_order(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook), self.video(60)
        vector = encoder.encode(video)
        assert vector.dtype == np.float32
        assert vector.shape == (encoder.n_features,) == (2 * 4 * (3 + 3),)
        assert encoder.parts == {"trajectory": slice(0, 24), "hog": slice(24, 48)}
        for name, part in encoder.parts.items():
            expected = fisher_vector(video[name], codebook.gmms_[name], pca=codebook.pcas_[name])
            np.testing.assert_array_equal(vector[part], expected)

    def test_streamed_video_equals_the_whole(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook, improved=False), self.video(90)
        accumulator = encoder.accumulator()
        for start in range(0, 90, 40):
            accumulator.add({name: rows[start : start + 40] for name, rows in video.items()})
        assert accumulator.n_rows == 90
        assert relative_difference(accumulator.finish(), encoder.encode(video)) < RELATIVE

    def test_no_trajectories_warn_once(self, codebook: Codebook) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            vector = FisherVectorEncoder(codebook).encode(self.video(0))
        assert [warning.category for warning in caught] == [NoTrajectoriesWarning]
        assert vector.shape == (48,)
        assert not vector.any()

    def test_one_trajectory_is_enough(self, codebook: Codebook) -> None:
        vector = FisherVectorEncoder(codebook).encode(self.video(1))
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) == pytest.approx(np.sqrt(2), rel=RELATIVE)

    def test_file_encodes_the_same(self, codebook: Codebook, tmp_path: Path) -> None:
        codebook.save(tmp_path / "codebook.npz")
        loaded = Codebook.load(tmp_path / "codebook.npz")
        video = self.video(30)
        np.testing.assert_array_equal(
            FisherVectorEncoder(loaded).encode(video), FisherVectorEncoder(codebook).encode(video)
        )

    def test_refused_block_changes_nothing(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook), self.video(20)
        accumulator = encoder.accumulator()
        accumulator.add(video)
        before = accumulator.finish()
        for change, message in (
            ({"hog": video["hog"][:3]}, "one row for each trajectory"),
            ({"hog": video["hog"][:, :4]}, "descriptor 'hog' must have 5 columns, got 4"),
            ({"hog": np.full((20, 5), np.nan)}, "descriptor 'hog' must be finite"),
        ):
            with pytest.raises(ValueError, match=message):
                accumulator.add(video | change)
        with pytest.raises(ValueError, match="got none for trajectory; extract"):
            accumulator.add({"hog": video["hog"]})
        np.testing.assert_array_equal(accumulator.finish(), before)
