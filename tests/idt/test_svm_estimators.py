"""Both support vector machines as scikit-learn's estimators: its own checks, Pipeline, clone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import parametrize_with_checks

from idt.svm import ChiSquareSVM, LinearSVM, chi_square_distances, gram_matrix

OURS = "the error says the same in the project's words"
COLUMNS = "decision values have a column a class for two classes too"
LEFT_OUT = {
    "check_n_features_in_after_fitting": OURS,
    "check_complex_data": OURS,
    "check_estimators_empty_data_messages": OURS,
    "check_fit2d_predict1d": OURS,
    "check_requires_y_none": OURS,
    "check_supervised_y_2d": "a column of labels is refused, not flattened with a warning",
    "check_classifiers_classes": COLUMNS,
    "check_classifiers_train": COLUMNS,
}
# These need pandas, or an environment variable of SciPy's set before it is imported.
NEED_MORE = {"check_array_api_input", "check_classifier_data_not_an_array"}
MACHINES = [LinearSVM(C=1.0), ChiSquareSVM(C=1.0)]


@pytest.mark.filterwarnings("ignore::idt.svm.NotConvergedWarning")  # of columns that are not scaled
@parametrize_with_checks(MACHINES, expected_failed_checks=lambda machine: LEFT_OUT)
def test_checks_of_scikit_learn(estimator, check) -> None:
    if check.func.__name__ in NEED_MORE:
        pytest.skip("needs pandas, or an environment variable set before SciPy is imported")
    check(estimator)


@pytest.mark.parametrize("machine", MACHINES)
def test_pipeline_clone_and_pickle(machine: LinearSVM | ChiSquareSVM) -> None:
    random = np.random.default_rng(0)
    labels = np.array(["jump", "run", "walk"])[np.arange(45) % 3]
    X = random.random((45, 6)).astype(np.float32)
    X[np.arange(45), np.arange(45) % 3] += 2
    pipeline = make_pipeline(Normalizer("l1"), clone(machine)).fit(X, labels)
    assert pipeline.score(X, labels) == 1
    assert pipeline.decision_function(X).shape == (45, 3)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.decision_function(X), pipeline.decision_function(X))


def test_model_selection_takes_parts_of_pairs() -> None:
    random = np.random.default_rng(0)
    X = random.random((40, 30)).astype(np.float32)
    y, groups = np.arange(40) % 3, np.arange(40) // 8
    channels = [slice(0, 10), slice(10, 30)]
    for machine, pairs in [
        (LinearSVM(C=1.0, kernel="precomputed"), gram_matrix(X)),
        (ChiSquareSVM(kernel="precomputed"), chi_square_distances(X, channels=channels)),
    ]:
        peer = cross_val_predict(
            machine, pairs, y, groups=groups, cv=LeaveOneGroupOut(), method="decision_function"
        )
        np.testing.assert_array_equal(machine.cross_scores(pairs, y, groups), peer)
