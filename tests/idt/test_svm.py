"""The linear SVM against hand-solved problems, its optimality conditions and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from idt.svm import LinearSVM, NotConvergedWarning, cross_gram, gram_matrix

# Both sides stop at a projected gradient of 1e-4 and ours keeps float32 products.
TOLERANCE = 2e-3


def made_encodings(
    n_rows: int, n_columns: int, n_classes: int, *, spread: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of norm sqrt(5), as five descriptors of norm 1 give, and labels; all classes present."""
    random = np.random.default_rng(seed)
    labels = np.arange(n_rows) % n_classes
    centres = np.random.default_rng(99).standard_normal((n_classes, n_columns))
    X = spread * centres[labels] + random.standard_normal((n_rows, n_columns))
    X *= np.sqrt(5) / np.linalg.norm(X, axis=1, keepdims=True)
    return X.astype(np.float32), labels


def objective(X, signs, weights, intercept, C: float, loss: str) -> float:
    """Primal objective of one class, float64."""
    margins = np.maximum(1 - signs * (X.astype(float) @ weights.astype(float) + intercept), 0)
    losses = margins**2 if loss == "squared_hinge" else margins
    return 0.5 * (weights.astype(float) @ weights + float(intercept) ** 2) + C * losses.sum()


class TestByHand:
    def test_hinge_with_a_wide_margin(self) -> None:
        # Rows +1 and -1: w = 1, b = 0 puts both on their margins, both duals are 1/2.
        svm = LinearSVM(C=10, loss="hinge").fit(np.array([[1.0], [-1.0]]), [1, 0])
        np.testing.assert_allclose(svm.coef_, [[-1], [1]], atol=1e-4)
        np.testing.assert_allclose(svm.intercept_, [0, 0], atol=1e-4)
        np.testing.assert_allclose(svm.dual_coef_, [[-0.5, 0.5], [0.5, -0.5]], atol=1e-4)

    def test_hinge_at_its_bound(self) -> None:
        # C = 0.1 holds both duals at 0.1: w = 0.2.
        svm = LinearSVM(C=0.1, loss="hinge").fit(np.array([[1.0], [-1.0]]), [1, 0])
        np.testing.assert_allclose(svm.coef_, [[-0.2], [0.2]], rtol=1e-5)

    def test_squared_hinge(self) -> None:
        # By symmetry b = 0, and w minimises w²/2 + 2 C (1 - w)²: w = 4 C / (1 + 4 C).
        svm = LinearSVM(C=1, tol=1e-8).fit(np.array([[1.0], [-1.0]]), [1, 0])
        np.testing.assert_allclose(svm.coef_, [[-0.8], [0.8]], rtol=1e-5)

    def test_intercept_is_regularised(self) -> None:
        # Rows 0 and 2: solution of the augmented problem (w, b) = (1, -1), norm² 2.
        svm = LinearSVM(C=100, loss="hinge", tol=1e-8).fit(np.array([[0.0], [2.0]]), [0, 1])
        np.testing.assert_allclose(svm.coef_[1], [1], rtol=1e-4)
        np.testing.assert_allclose(svm.intercept_, [1, -1], rtol=1e-4)


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
    @pytest.mark.parametrize(("C", "n_classes"), [(100.0, 7), (1.0, 7), (0.05, 3), (100.0, 2)])
    def test_decision_values_and_predictions(self, loss: str, C: float, n_classes: int) -> None:
        from sklearn.svm import LinearSVC

        X, labels = made_encodings(210, 1500, n_classes)
        test, _ = made_encodings(400, 1500, n_classes, seed=1)
        ours = LinearSVM(C=C, loss=loss).fit(X, labels)
        peer = LinearSVC(C=C, loss=loss, tol=1e-4, max_iter=100_000, random_state=0)
        peer.fit(X.astype(float), labels)
        found, expected = ours.decision_function(test), peer.decision_function(test.astype(float))
        if n_classes == 2:
            expected = np.stack([-expected, expected], axis=1)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        for k in range(n_classes):
            assert np.corrcoef(found[:, k], expected[:, k])[0, 1] > 0.999
        assert (ours.predict(test) == peer.predict(test)).mean() >= 0.995

    def test_classes_that_overlap(self) -> None:
        # More rows than columns: many duals at work, none of the classes separable.
        from sklearn.svm import LinearSVC

        X, labels = made_encodings(600, 20, 3, spread=0.5)
        ours = LinearSVM(C=5, tol=1e-5, max_iter=20_000).fit(X, labels)
        peer = LinearSVC(C=5, dual=False, tol=1e-8).fit(X.astype(float), labels)
        np.testing.assert_allclose(
            ours.decision_function(X), peer.decision_function(X), atol=TOLERANCE
        )

    def test_equals_kernel_svm_with_the_augmented_kernel(self) -> None:
        # Without an intercept of its own, SVC solves the same dual when the kernel says + 1; its
        # intercept is free, so the comparison is of objectives.
        from sklearn.svm import SVC

        X, labels = made_encodings(120, 400, 2)
        signs = np.where(labels == 1, 1.0, -1.0)
        ours = LinearSVM(C=1, loss="hinge", tol=1e-6).fit(X, labels)
        peer = SVC(C=1, kernel="linear", tol=1e-6).fit(X.astype(float), labels)
        found = objective(X, signs, ours.coef_[1], ours.intercept_[1], 1, "hinge")
        theirs = objective(X, signs, peer.coef_[0], peer.intercept_[0], 1, "hinge")
        assert found <= theirs * (1 + 1e-5)
        assert (ours.predict(X) == peer.predict(X)).mean() >= 0.995


class TestOptimality:
    @pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
    def test_no_duality_gap(self, loss: str) -> None:
        X, labels = made_encodings(150, 300, 5)
        C = 2.0
        svm = LinearSVM(C=C, loss=loss, tol=1e-6).fit(X, labels)
        gram = X.astype(float) @ X.T.astype(float) + 1
        for k in range(5):
            signs = np.where(labels == k, 1.0, -1.0)
            duals = signs * svm.dual_coef_[k]
            assert duals.min() >= 0
            assert loss == "squared_hinge" or duals.max() <= C
            ridge = duals @ duals / (2 * C) if loss == "squared_hinge" else 0.0
            dual = duals.sum() - 0.5 * (svm.dual_coef_[k] @ gram @ svm.dual_coef_[k] + ridge)
            primal = objective(X, signs, svm.coef_[k], svm.intercept_[k], C, loss)
            assert primal == pytest.approx(dual, rel=1e-4)

    def test_classes_do_not_depend_on_each_other(self) -> None:
        X, labels = made_encodings(90, 50, 3)
        whole = LinearSVM(C=1, tol=1e-6).fit(X, labels)
        pair = LinearSVM(C=1, tol=1e-6).fit(X, (labels == 2).astype(int))
        np.testing.assert_allclose(whole.coef_[2], pair.coef_[1], atol=TOLERANCE)


class TestManner:
    def test_same_seed_same_bits(self) -> None:
        X, labels = made_encodings(100, 80, 4)
        one, other = LinearSVM(seed=3).fit(X, labels), LinearSVM(seed=3).fit(X, labels)
        np.testing.assert_array_equal(one.coef_, other.coef_)
        np.testing.assert_array_equal(one.decision_function(X), other.decision_function(X))

    def test_order_of_rows_hardly_matters(self) -> None:
        X, labels = made_encodings(100, 80, 4)
        order = np.random.default_rng(0).permutation(100)
        one, other = LinearSVM(C=1).fit(X, labels), LinearSVM(C=1).fit(X[order], labels[order])
        np.testing.assert_allclose(one.coef_, other.coef_, atol=TOLERANCE)

    def test_blocks_of_columns_change_nothing_but_rounding(self, monkeypatch) -> None:
        X, labels = made_encodings(61, 700, 3)
        whole = LinearSVM().fit(X, labels)
        expected = whole.decision_function(X)
        monkeypatch.setattr("idt.svm.gram.BLOCK_NUMBERS", 61 * 32)
        monkeypatch.setattr("idt.svm.linear.BLOCK_NUMBERS", 7 * 700)
        blocks = LinearSVM().fit(X, labels)
        np.testing.assert_allclose(blocks.coef_, whole.coef_, atol=1e-4)
        np.testing.assert_allclose(blocks.decision_function(X), expected, atol=1e-3)

    def test_gram_matrix(self) -> None:
        X, _ = made_encodings(131, 300, 3)
        gram = gram_matrix(X)
        np.testing.assert_allclose(gram, X.astype(float) @ X.T.astype(float), atol=1e-5)
        np.testing.assert_array_equal(gram, gram.T)

    def test_rows_on_disk(self, tmp_path: Path) -> None:
        X, labels = made_encodings(40, 64, 4)
        np.save(tmp_path / "X.npy", X)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        one, other = LinearSVM().fit(X, labels), LinearSVM().fit(mapped, labels)
        np.testing.assert_array_equal(one.coef_, other.coef_)
        assert one.decision_function(mapped).dtype == np.float32

    def test_two_classes_have_two_columns(self) -> None:
        X, labels = made_encodings(20, 30, 2)
        scores = LinearSVM().fit(X, labels).decision_function(X)
        assert scores.shape == (20, 2)
        np.testing.assert_allclose(scores[:, 0], -scores[:, 1], atol=1e-6)

    def test_rows_of_zeros_are_classified_by_the_intercept(self) -> None:
        X, labels = made_encodings(30, 40, 3)
        X[:3] = 0  # videos without trajectories
        svm = LinearSVM(C=1).fit(X, labels)
        scores = svm.decision_function(np.zeros((1, 40)))
        np.testing.assert_allclose(scores[0], svm.intercept_)

    @pytest.mark.parametrize("names", [["walk", "run", "jump"], [7, -3, 12]])
    def test_labels_of_any_kind(self, names: list) -> None:
        X, labels = made_encodings(60, 90, 3)
        named = np.array(names)[labels]
        svm = LinearSVM().fit(X, named)
        np.testing.assert_array_equal(svm.classes_, np.unique(names))
        np.testing.assert_array_equal(svm.predict(X), named)

    def test_too_few_passes_warn(self) -> None:
        X, labels = made_encodings(60, 10, 3)
        with pytest.warns(NotConvergedWarning, match="3 of 3 classes took all of max_iter=2"):
            LinearSVM(max_iter=2).fit(X, labels)


class TestInnerProducts:
    def test_the_same_machine_from_rows_and_from_their_products(self) -> None:
        X, labels = made_encodings(60, 90, 3)
        new, _ = made_encodings(25, 90, 3, seed=1)
        rows = LinearSVM().fit(X, labels)
        products = LinearSVM(kernel="precomputed").fit(gram_matrix(X), labels)
        np.testing.assert_array_equal(products.dual_coef_, rows.dual_coef_)
        found = products.decision_function(cross_gram(new, X))
        np.testing.assert_allclose(found, rows.decision_function(new), atol=1e-5)
        assert not hasattr(products, "coef_")

    def test_products_of_descriptors_add_up(self) -> None:
        X, labels = made_encodings(60, 90, 3)
        new, _ = made_encodings(25, 90, 3, seed=1)
        parts = [slice(0, 20), slice(60, 90)]
        grams = [gram_matrix(X[:, part]) for part in parts]
        crosses = [cross_gram(new[:, part], X[:, part]) for part in parts]
        some = LinearSVM(kernel="precomputed", tol=1e-6).fit(sum(grams), labels)
        columns = np.r_[0:20, 60:90]
        peer = LinearSVM(tol=1e-6).fit(X[:, columns], labels)
        np.testing.assert_allclose(
            some.decision_function(sum(crosses)),
            peer.decision_function(new[:, columns]),
            atol=TOLERANCE,
        )

    def test_what_is_given_stays_as_it_is(self) -> None:
        X, labels = made_encodings(30, 40, 3)
        gram = gram_matrix(X)
        before = gram.copy()
        LinearSVM(kernel="precomputed").fit(gram, labels)
        np.testing.assert_array_equal(gram, before)


class TestCrossScores:
    @pytest.mark.parametrize("n_folds", [None, 2, 3])
    def test_scores_are_those_of_machines_trained_without_the_fold(
        self, n_folds: int | None
    ) -> None:
        from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

        X, labels = made_encodings(60, 90, 3)
        groups = np.repeat(["p", "q", "r", "s"], [9, 24, 12, 15])
        svm = LinearSVM(tol=1e-6)
        found = svm.cross_scores(X, labels, groups, n_folds=n_folds)
        splitter = LeaveOneGroupOut() if n_folds is None else GroupKFold(n_folds)
        for kept, held_out in splitter.split(X, groups=groups):
            peer = LinearSVM(tol=1e-6).fit(X[kept], labels[kept])
            expected = peer.decision_function(X[held_out])
            np.testing.assert_allclose(found[held_out], expected, atol=TOLERANCE)
        assert not hasattr(svm, "dual_coef_")
        again = svm.cross_scores(X, labels, groups, n_folds=n_folds)
        np.testing.assert_array_equal(found, again)

    def test_a_group_decides_nothing_about_itself(self) -> None:
        # Labels of a group are turned: the scores of its own rows must not move.
        X, labels = made_encodings(60, 90, 3)
        groups = np.arange(60) // 15
        turned = np.where(groups == 2, (labels + 1) % 3, labels)
        svm = LinearSVM(kernel="precomputed")
        gram = gram_matrix(X)
        one = svm.cross_scores(gram, labels, groups)
        other = svm.cross_scores(gram, turned, groups)
        np.testing.assert_array_equal(one[groups == 2], other[groups == 2])
        assert np.abs(one[groups == 1] - other[groups == 1]).max() > 0.1


class TestBadInput:
    @pytest.mark.parametrize(
        ("y", "message"),
        [
            ([0, 1, 0], r"y must have the shape \(4,\)"),
            ([0, 0, 0, 0], "two classes or more, got one"),
            ([0.5, 1.0, 0.0, 1.0], "y must be classes, got fractions"),
            ([np.nan, 1.0, 0.0, 1.0], "y must be classes, got fractions, NaN"),
        ],
    )
    def test_labels(self, y: list, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LinearSVM().fit(np.eye(4), y)

    @pytest.mark.parametrize(
        ("y", "n_classes", "message"),
        [
            ([0, 1, 0, 1], 3, "got no row of class 2"),
            ([0, 2, 2, 0], 3, "got no row of class 1"),
            ([0, 1, 0, 2], 2, "below n_classes=2, got 2"),
            ([0, 0, 0, 0], 1, "two classes or more, got one"),
            ([0.0, 1.0, 0.0, 1.0], 2, "integers from 0, got float64"),
            ([0, 1, -1, 0], 2, "integers from 0, got int64 from -1"),
            (["a", "b", "a", "b"], 2, "integers from 0"),
        ],
    )
    def test_numbered_labels(self, y: list, n_classes: int, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LinearSVM().fit(np.eye(4), y, n_classes=n_classes)

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.diag([1, 1, np.nan, 1]), "X must be finite"),
            (np.diag([1, 1, np.inf, 1]), "X must be finite"),
            (np.diag([1, 1, 1e30, 1]), "squares float32 holds"),
            (np.zeros((4, 0)), "shape"),
            (np.zeros(4), "shape"),
            (np.full((4, 2), "a"), "real numbers"),
        ],
    )
    def test_rows(self, X: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LinearSVM().fit(X, [0, 1, 0, 1])

    def test_rows_to_score(self) -> None:
        svm = LinearSVM().fit(np.eye(4), [0, 1, 0, 1])
        with pytest.raises(ValueError, match="must have 4 columns, as in training, got 3"):
            svm.decision_function(np.eye(3))
        with pytest.raises(ValueError, match="X must be finite"):
            svm.decision_function(np.full((1, 4), np.nan))

    @pytest.mark.parametrize(
        "options",
        [
            {"C": 0},
            {"C": float("nan")},
            {"loss": "log"},
            {"kernel": "rbf"},
            {"tol": 0},
            {"max_iter": 0},
        ],
    )
    def test_options(self, options: dict) -> None:
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            LinearSVM(**options).fit(np.eye(4), [0, 1, 0, 1])

    def test_inner_products(self) -> None:
        svm = LinearSVM(kernel="precomputed")
        with pytest.raises(ValueError, match=r"X must be square.* got \(4, 3\)"):
            svm.fit(np.ones((4, 3)), [0, 1, 0, 1])
        with pytest.raises(ValueError, match="X must be finite"):
            svm.fit(np.diag([1, np.nan, 1, 1]), [0, 1, 0, 1])
        with pytest.raises(ValueError, match="must have 3 columns, as the training rows, got 4"):
            cross_gram(np.eye(4), np.eye(3))
        with pytest.raises(ValueError, match="squares float32 holds"):
            cross_gram(np.full((1, 4), 1e30), np.full((1, 4), 1e30))

    @pytest.mark.parametrize(
        ("groups", "n_folds", "message"),
        [
            (["a", "b"], None, r"groups must have the shape \(4,\)"),
            (["a"] * 4, None, "groups must be two or more, got one, a"),
            (["a", "a", "b", "b"], 3, "n_folds must be from 2 to the number of groups, 2, got 3"),
            (["a", "b", "a", "b"], None, "got class 0 held out whole"),
        ],
    )
    def test_groups(self, groups: list, n_folds: int | None, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LinearSVM().cross_scores(np.eye(4), [0, 1, 0, 1], groups, n_folds=n_folds)
