"""The RBF-χ² machine by hand, against plain NumPy and scikit-learn's SVC."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from idt.svm import ChiSquareSVM, NotConvergedWarning, chi_square_distances

CHANNELS = [slice(0, 40), slice(40, 100), slice(100, 130)]


def histograms(n_rows: int, n_classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of three L1-normalised channels of unlike lengths, with empty bins, and labels."""
    random, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    labels = np.arange(n_rows) % n_classes
    parts = []
    for channel in CHANNELS:
        n_bins = channel.stop - channel.start
        words = 0.3 * fixed.dirichlet(np.full(n_bins, 0.3), n_classes) + 0.7 / n_bins
        parts.append(np.stack([random.multinomial(30, words[k]) for k in labels]) / 30)
    return np.concatenate(parts, axis=1).astype(np.float32), labels


def twin(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """χ² distances in float64."""
    a, b = first[:, None].astype(float), second[None].astype(float)
    both = np.where(a + b > 0, a + b, 1)
    return 0.5 * ((a - b) ** 2 / both).sum(axis=-1)


class TestDistances:
    def test_by_hand(self) -> None:
        # (1-0)²/1 + (0-1)²/1 = 2, halved; (.5-.25)²/.75 + (.5-.75)²/1.25 = .0833 + .05, halved.
        X = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [0.25, 0.75, 0]])
        distances = chi_square_distances(X)[:, :, 0]
        assert distances[0, 1] == 1
        assert distances[2, 3] == pytest.approx(0.2 / 3, rel=1e-6)
        np.testing.assert_array_equal(distances.diagonal(), 0)

    def test_against_numpy(self) -> None:
        X, _ = histograms(70, 4)
        new, _ = histograms(37, 4, seed=1)
        for first, second in [(X, None), (new, X)]:
            found = chi_square_distances(first, second, channels=CHANNELS)
            for c, channel in enumerate(CHANNELS):
                expected = twin(
                    first[:, channel], (first if second is None else second)[:, channel]
                )
                np.testing.assert_allclose(found[:, :, c], expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(found.shape, (37, 70, 3))

    def test_tiles_change_nothing(self) -> None:
        # 70,000 columns leave one row a tile; 40 rows are two stripes and a half.
        X = np.random.default_rng(0).random((40, 70_000), dtype=np.float32)
        found = chi_square_distances(X)[:, :, 0]
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(found[3:5, :9], twin(X[3:5], X[:9]), rtol=1e-5)

    @given(
        arrays.arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32)),
    )
    @settings(max_examples=50, deadline=None)
    def test_properties(self, X: np.ndarray) -> None:
        distances = chi_square_distances(X)[:, :, 0]
        np.testing.assert_array_equal(distances, distances.T)
        np.testing.assert_array_equal(distances.diagonal(), 0)
        # At most half the sum of both rows, up to rounding.
        sums = X.sum(axis=1)
        assert (distances <= 0.5 * (sums[:, None] + sums) * (1 + 1e-5)).all()


class TestAgainstScikitLearn:
    @pytest.mark.parametrize(("C", "n_classes"), [(100.0, 5), (1.0, 5), (0.02, 3), (100.0, 2)])
    def test_decision_values_and_predictions(self, C: float, n_classes: int) -> None:
        from sklearn.svm import SVC

        X, labels = histograms(200, n_classes)
        new, _ = histograms(300, n_classes, seed=1)
        ours = ChiSquareSVM(C=C, channels=CHANNELS, tol=1e-4).fit(X, labels)
        exponents, exponents_new = np.zeros((200, 200)), np.zeros((300, 200))
        for channel in CHANNELS:
            distances = twin(X[:, channel], X[:, channel])
            scale = distances[np.triu_indices(200, 1)].mean()
            exponents += distances / scale / len(CHANNELS)
            exponents_new += twin(new[:, channel], X[:, channel]) / scale / len(CHANNELS)
        found, expected = ours.decision_function(new), np.empty((300, n_classes))
        for k in range(n_classes):
            peer = SVC(C=C, kernel="precomputed", tol=1e-4)
            peer.fit(np.exp(-exponents), labels == k)
            expected[:, k] = peer.decision_function(np.exp(-exponents_new))
            signed = np.zeros(200)
            signed[peer.support_] = peer.dual_coef_[0]
            np.testing.assert_allclose(ours.dual_coef_[k], signed, atol=0.01 * C)
        # Both stop at violations of 1e-4; kernels differ by float32's rounding.
        np.testing.assert_allclose(found, expected, atol=2e-3)
        assert min(np.corrcoef(found[:, k], expected[:, k])[0, 1] for k in range(n_classes)) > 0.999
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.995

    def test_many_channels_are_as_good_as_one(self) -> None:
        X, labels = histograms(200, 5)
        new, _ = histograms(300, 5, seed=1)
        width = X.shape[1]
        many = [slice(width * c, width * (c + 1)) for c in range(15)]
        one = ChiSquareSVM().fit(X, labels)
        svm = ChiSquareSVM(channels=many).fit(np.tile(X, 15), labels)
        np.testing.assert_allclose(svm.dual_coef_, one.dual_coef_, atol=1)
        found = svm.decision_function(np.tile(new, 15)).argmax(axis=1)
        assert (found == one.decision_function(new).argmax(axis=1)).mean() >= 0.99

    def test_duals_are_feasible_and_optimal(self) -> None:
        X, labels = histograms(90, 3)
        svm = ChiSquareSVM(C=0.5, channels=CHANNELS, tol=1e-5).fit(X, labels)
        scores = svm.decision_function(X)
        for k in range(3):
            signs = np.where(labels == k, 1, -1)
            duals = signs * svm.dual_coef_[k]
            assert duals.min() >= 0
            assert duals.max() <= 0.5
            assert abs(svm.dual_coef_[k].sum()) < 1e-9  # what a free intercept asks for
            margins = signs * scores[:, k]
            assert (margins[duals == 0] > 1 - 1e-4).all()
            assert (margins[duals == 0.5] < 1 + 1e-4).all()
            free = (duals > 0) & (duals < 0.5)
            np.testing.assert_allclose(margins[free], 1, atol=1e-4)


class TestManner:
    def test_precomputed_distances_of_some_channels(self) -> None:
        X, labels = histograms(80, 4)
        new, _ = histograms(30, 4, seed=1)
        distances = chi_square_distances(X, channels=CHANNELS)
        crosses = chi_square_distances(new, X, channels=CHANNELS)
        whole = ChiSquareSVM(channels=CHANNELS).fit(X, labels)
        other = ChiSquareSVM(kernel="precomputed").fit(distances, labels)
        np.testing.assert_array_equal(other.scales_, whole.scales_)
        np.testing.assert_array_equal(
            other.decision_function(crosses), whole.decision_function(new)
        )
        one = ChiSquareSVM(kernel="precomputed").fit(distances[:, :, [1]], labels)
        peer = ChiSquareSVM().fit(X[:, CHANNELS[1]], labels)
        np.testing.assert_array_equal(
            one.decision_function(crosses[:, :, [1]]), peer.decision_function(new[:, CHANNELS[1]])
        )

    def test_cross_scores_are_those_of_machines_trained_without_the_group(self) -> None:
        X, labels = histograms(60, 3)
        groups = np.arange(60) // 12
        found = ChiSquareSVM(channels=CHANNELS).cross_scores(X, labels, groups)
        for group in range(5):
            held_out = groups == group
            peer = ChiSquareSVM(channels=CHANNELS).fit(X[~held_out], labels[~held_out])
            np.testing.assert_allclose(
                found[held_out], peer.decision_function(X[held_out]), atol=1e-5
            )

    def test_blocks_of_new_rows_change_nothing_but_rounding(self, monkeypatch) -> None:
        X, labels = histograms(50, 3)
        svm = ChiSquareSVM(channels=CHANNELS).fit(X, labels)
        whole = svm.decision_function(X)
        monkeypatch.setattr("idt.svm.chi_square.BLOCK_NUMBERS", 50 * 7)
        np.testing.assert_allclose(svm.decision_function(X), whole, atol=1e-5)

    def test_equal_rows_of_two_classes(self) -> None:
        X = np.eye(4)[[0, 0, 1, 1]]
        svm = ChiSquareSVM(C=1.0).fit(X, [0, 1, 1, 1])
        assert np.isfinite(svm.decision_function(X)).all()
        np.testing.assert_array_equal(svm.predict(X)[2:], [1, 1])

    def test_too_few_steps_warn(self) -> None:
        X, labels = histograms(60, 3)
        with pytest.warns(NotConvergedWarning, match="3 of 3 classes took all of max_iter=4"):
            ChiSquareSVM(max_iter=4).fit(X, labels)


class TestBadInput:
    @pytest.mark.parametrize(
        ("channels", "message"),
        [
            ([slice(0, 2), slice(1, 4)], "overlap at column 1"),
            ([slice(2, 4), slice(0, 2), slice(0, 2)], "overlap at column 0"),
            ([slice(0, 2), slice(3, 4)], "leave out column 2"),
            ([slice(1, 4)], "leave out column 0"),
            ([slice(0, 3)], "leave out column 3"),
            ([], "leave out column 0"),
            ([slice(0, 5)], "must hold columns, from 0 to 4"),
            ([slice(0, 2), slice(2, 2), slice(2, 4)], "must hold columns"),
            ([slice(0, 4, 2)], "slices of columns without a step"),
            ([(0, 4)], "slices of columns without a step"),
        ],
    )
    def test_channels(self, channels: list, message: str) -> None:
        with pytest.raises(ValueError, match=f"channels .*{message}"):
            ChiSquareSVM(channels=channels).fit(np.eye(4), [0, 1, 0, 1])

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (-np.eye(4), "0 or more, got -1.0 among columns 0 to 3"),
            (np.diag([1, np.nan, 1, 1]), "X must be finite"),
            (np.diag([1, np.inf, 1, 1]), "X must be finite"),
            (np.ones((4, 3)), "got equal rows in channel 0"),
        ],
    )
    def test_rows(self, X: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            ChiSquareSVM().fit(X, [0, 1, 0, 1])

    def test_distances(self) -> None:
        svm = ChiSquareSVM(kernel="precomputed")
        distances = chi_square_distances(np.eye(4))
        with pytest.raises(ValueError, match="X must hold real distances"):
            svm.fit(distances[:, :, 0], [0, 1, 0, 1])
        with pytest.raises(ValueError, match="of all pairs of training rows"):
            svm.fit(distances[:3], [0, 1, 0])
        with pytest.raises(ValueError, match="distances of 0 or more"):
            svm.fit(-distances, [0, 1, 0, 1])
        svm.fit(distances, [0, 1, 0, 1])
        with pytest.raises(ValueError, match="distances in 1 channels, as in training, got 2"):
            svm.decision_function(np.zeros((1, 4, 2)))
        with pytest.raises(ValueError, match="must have 4 columns, as in training, got 3"):
            svm.decision_function(np.zeros((1, 3, 1)))

    def test_labels_options_and_new_rows(self) -> None:
        with pytest.raises(ValueError, match=r"y must have the shape \(4,\)"):
            ChiSquareSVM().fit(np.eye(4), [0, 1])
        with pytest.raises(ValueError, match="two classes or more, got one"):
            ChiSquareSVM().fit(np.eye(4), [1, 1, 1, 1])
        with pytest.raises(ValueError, match="kernel must be one of chi_square, precomputed"):
            ChiSquareSVM(kernel="rbf").fit(np.eye(4), [0, 1, 0, 1])
        svm = ChiSquareSVM().fit(np.eye(4), [0, 1, 0, 1])
        with pytest.raises(ValueError, match="must have 4 columns, as in training, got 3"):
            svm.decision_function(np.eye(3))
        with pytest.raises(ValueError, match="0 or more"):
            svm.decision_function(-np.eye(4))
