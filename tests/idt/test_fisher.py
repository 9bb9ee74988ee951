"""Fisher vectors against the derivative of the log-likelihood, a plain twin and VLFeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from idt.codebook import PCA, DiagonalGMM
from idt.fisher import (
    FewTrajectoriesWarning,
    FisherAccumulator,
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


def plain_fisher_vector(
    rows: np.ndarray, gmm: DiagonalGMM, *, improved: bool, with_weights: bool = False
) -> np.ndarray:
    """Formulas of the module, float64, one component at a time."""
    rows, weights = rows.astype(float), gmm.weights_
    means, deviations = gmm.means_.astype(float), np.sqrt(gmm.variances_.astype(float))
    joint = np.log(weights) + norm.logpdf(rows[:, None], means, deviations).sum(axis=2)
    posteriors = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    of_weights, of_means, of_deviations = [], [], []
    for k in range(len(weights)):
        standard = (rows - means[k]) / deviations[k]
        of_weights.append([(posteriors[:, k] - weights[k]).mean() / np.sqrt(weights[k])])
        of_means.append(posteriors[:, k] @ standard / len(rows) / np.sqrt(weights[k]))
        of_deviations.append(
            posteriors[:, k] @ (standard**2 - 1) / len(rows) / np.sqrt(2 * weights[k])
        )
    parts = [*of_weights[:-1]] if with_weights else []
    vector = np.concatenate([*parts, *of_means, *of_deviations])
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
        rows = np.array([[100.0, -1.0], [100.0, -1.0]])
        vector = fisher_vector(rows, gmm, improved=False)
        expected = [0, 0, 0, -np.sqrt(2), 0, 0, -1, 0]
        np.testing.assert_allclose(vector, expected, atol=RELATIVE)
        # The weight part of the first component: it has none of the rows and half the weight.
        vector = fisher_vector(rows, gmm, improved=False, weights=True)
        np.testing.assert_allclose(vector, [-0.5 / np.sqrt(0.5), *expected], atol=RELATIVE)

    def test_is_the_scaled_gradient_of_the_log_likelihood(self, gmm: DiagonalGMM) -> None:
        rows = made_rows(300, 7, seed=1)
        found = fisher_vector(rows, gmm, improved=False, weights=True)
        twin = rows.astype(float)
        logits = np.log(gmm.weights_)  # weights are their softmax
        means, deviations = gmm.means_.astype(float), np.sqrt(gmm.variances_.astype(float))
        expected = []
        for values in (logits, means, deviations):
            gradient = np.empty_like(values)
            for place in np.ndindex(*values.shape):
                here, step, around = values[place], 1e-5, []
                for values[place] in (here + step, here - step):
                    weights = np.exp(logits) / np.exp(logits).sum()
                    around.append(log_likelihood(twin, weights, means, deviations))
                values[place] = here
                gradient[place] = (around[0] - around[1]) / (2 * step)
            expected.append(gradient)
        # Fisher information: w of a weight, w / sigma² of a mean, 2 w / sigma² of a deviation.
        roots = np.sqrt(gmm.weights_)
        expected[0] = expected[0] / roots
        expected[1] *= deviations / roots[:, None]
        expected[2] *= deviations / roots[:, None] / np.sqrt(2)
        weight_part = expected.pop(0)
        assert relative_difference(found[:5], weight_part[:5]) < RELATIVE
        assert relative_difference(found[5:], np.concatenate(expected).ravel()) < RELATIVE
        # What is left out follows from the rest.
        assert -(roots[:5] @ found[:5]) / roots[5] == pytest.approx(weight_part[5], abs=RELATIVE)

    @pytest.mark.parametrize("n_rows", [2, 5, 4099])
    @pytest.mark.parametrize("weights", [False, True])
    @pytest.mark.parametrize(
        ("improved", "tolerance"), [(False, RELATIVE), (True, RELATIVE_IMPROVED)]
    )
    def test_equals_plain_twin(
        self, gmm: DiagonalGMM, n_rows: int, weights: bool, improved: bool, tolerance: float
    ) -> None:
        rows = made_rows(n_rows, 7, seed=2)
        found = fisher_vector(rows, gmm, improved=improved, weights=weights)
        expected = plain_fisher_vector(rows, gmm, improved=improved, with_weights=weights)
        assert found.dtype == np.float32
        assert found.shape == (((2 * 7 + 1) * 6 - 1) if weights else 2 * 6 * 7,)
        assert relative_difference(found, expected) < tolerance

    def test_a_single_component_has_no_weight_part(self) -> None:
        gmm = DiagonalGMM.from_parameters([1.0], [[1.0]], [[4.0]])
        assert fisher_vector(np.array([[1.0], [5.0]]), gmm, weights=True).shape == (2,)

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
        vector = fisher_vector(np.full((2, 7), 1e6), gmm)
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) == pytest.approx(1, rel=RELATIVE)

    def test_no_rows_give_zeros_and_a_warning(self, gmm: DiagonalGMM) -> None:
        with pytest.warns(FewTrajectoriesWarning, match="no trajectories"):
            vector = fisher_vector(np.empty((0, 7)), gmm)
        assert vector.shape == (84,)
        assert not vector.any()

    def test_a_single_row_is_encoded_with_a_warning(self, gmm: DiagonalGMM) -> None:
        rows = made_rows(1, 7)
        with pytest.warns(FewTrajectoriesWarning, match="a single trajectory"):
            vector = fisher_vector(rows, gmm)
        expected = plain_fisher_vector(rows, gmm, improved=True)
        assert relative_difference(vector, expected) < RELATIVE_IMPROVED

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


class TestVLFeat:
    @pytest.mark.parametrize("improved", [False, True])
    def test_blocks_add_up(self, gmm: DiagonalGMM, requires, improved: bool) -> None:
        requires("cyvlfeat.fisher")
        rows = made_rows(900, 7, seed=5)
        accumulator = FisherAccumulator(gmm, improved=improved, backend="vlfeat")
        for block in np.split(rows, (0, 1, 400)):
            accumulator.add(block)
        expected = plain_fisher_vector(rows, gmm, improved=improved)
        tolerance = RELATIVE_IMPROVED if improved else RELATIVE
        assert relative_difference(accumulator.finish(), expected) < tolerance

    def test_refuses_the_same_rows(self, gmm: DiagonalGMM, requires) -> None:
        requires("cyvlfeat.fisher")
        for rows, message in (
            (np.ones((3, 6)), "must have 7 columns, got 6"),
            (np.full((3, 7), np.nan), "must be finite"),
            (np.full((3, 7), 1e30), "check the scale"),
        ):
            with pytest.raises(ValueError, match=message):
                fisher_vector(rows, gmm, backend="vlfeat")

    def test_has_no_weight_part(self, gmm: DiagonalGMM) -> None:
        with pytest.raises(ValueError, match="weights must be False with the backend 'vlfeat'"):
            FisherAccumulator(gmm, weights=True, backend="vlfeat")
        with pytest.raises(ValueError, match="backend must be native or vlfeat, got 'gpu'"):
            FisherAccumulator(gmm, backend="gpu")


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
        for backend in ("native", "vlfeat"):
            found = fisher_vector(rows, gmm, improved=improved, backend=backend)
            assert relative_difference(found, expected.ravel()) < 1e-4  # both sum float32
