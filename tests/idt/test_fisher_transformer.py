"""Fisher vectors as scikit-learn uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import estimator_checks_generator

from idt.codebook import Codebook, RowSampler
from idt.fisher import FewTrajectoriesWarning, FisherVectorEncoder, FisherVectors
from idt.trajectories import Trajectories


def made_videos(n_videos: int = 12) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Videos of two classes, which differ in where the rows of both descriptors lie."""
    random = np.random.default_rng(0)
    labels = np.arange(n_videos) % 2
    videos = []
    for label in labels:
        n_rows = random.integers(40, 60)
        videos.append(
            {
                "hog": random.standard_normal((n_rows, 6)) + label,
                "hof": random.standard_normal((n_rows, 4)) * (1 + label),
                "positions": random.random((n_rows, 3)),
            }
        )
    return videos, labels


def made_table(n_rows: int, info: dict | None = None) -> Trajectories:
    random = np.random.default_rng(n_rows)
    meta = random.random((n_rows, 10), dtype=np.float32)
    return Trajectories(meta, {"hog": random.random((n_rows, 6), dtype=np.float32)}, info or {})


def test_is_a_codebook_and_an_encoder() -> None:
    videos, _ = made_videos()
    options = {"weights": True, "grids": ["1x1x1", "t2"], "final_l2": True}
    model = FisherVectors(3, n_samples=200, seed=4, max_iter=5, pca="joint", **options)
    found = model.fit(videos).transform(videos)
    sampler = RowSampler(200, seed=4)
    for video in videos:
        sampler.add({name: video[name] for name in ("hog", "hof")})
    codebook = Codebook(3, seed=4, max_iter=5, pca="joint").fit(sampler.sample())
    encoder = FisherVectorEncoder(codebook, **options)
    assert found.dtype == np.float32
    assert found.shape == (12, 3 * ((2 * 5 + 1) * 3 - 1))
    np.testing.assert_array_equal(found, np.stack([encoder.encode(video) for video in videos]))
    np.testing.assert_array_equal(model.get_feature_names_out(), encoder.feature_names())
    assert model.get_feature_names_out()[-1] == "joint_t2_1_deviation_2_4"


def test_learns_in_a_pipeline() -> None:
    videos, labels = made_videos(24)
    model = make_pipeline(FisherVectors(4, max_iter=5), LinearSVC(C=100))
    assert model.fit(videos[:12], labels[:12]).score(videos[12:], labels[12:]) == 1
    copy = clone(model).set_params(fishervectors__n_components=2)
    assert not hasattr(copy[0], "codebook_")
    assert cross_val_score(copy, videos, labels, cv=3).mean() > 0.9


def test_takes_tables() -> None:
    tables = [made_table(n_rows) for n_rows in (20, 30)]
    arrays = [{**table.descriptors, "positions": table.meta[:, -3:]} for table in tables]
    model = FisherVectors(2, grids=["2x2"])
    np.testing.assert_array_equal(model.fit_transform(tables), clone(model).fit_transform(arrays))


def test_vlfeat_gives_the_same(requires: Callable) -> None:
    requires("cyvlfeat.fisher")
    videos, _ = made_videos()
    ours = FisherVectors(3, max_iter=4, improved=False).fit_transform(videos)
    theirs = FisherVectors(3, max_iter=4, improved=False, backend="vlfeat").fit_transform(videos)
    # Two mixtures, which differ in the fifth digit after four iterations.
    assert np.linalg.norm(theirs - ours) < 0.01 * np.linalg.norm(ours)


def test_small_videos_are_encoded_with_a_warning() -> None:
    model = FisherVectors(2).fit([made_table(20)])
    with pytest.warns(FewTrajectoriesWarning) as caught:
        vectors = model.transform([made_table(0), made_table(1)])
    assert [str(each.message)[:12] for each in caught] == ["no trajector", "a single tra"]
    assert np.isfinite(vectors).all()
    assert not vectors[0].any()
    assert vectors[1].any()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([], "X must be a list of one video or more, .* got none in list"),
        (made_table(9), "got none in Trajectories"),
        (made_table(9).descriptors, "got none in dict"),
        (np.ones((4, 3)), "got ndarray in it"),
        ([made_table(9), "clip.avi"], "got str in it"),
        ([made_table(9), {"hof": np.ones((9, 6))}], "descriptors must be hog, got hof"),
        ([made_table(9), {"hog": np.ones((9, 5))}], "must have 6 columns, got 5"),
        ([made_table(9), {"hog": np.full((9, 6), np.nan)}], "must be finite"),
        ([made_table(3)], "must have at least 4 rows, got 3"),
        (
            [made_table(9, {"settings": {"flow": flow}}) for flow in ("dis", "codec")],
            "flow of the extraction must be 'dis', as of the videos before, got 'codec'",
        ),
    ],
)
def test_refuses_what_is_no_training_set(X: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FisherVectors(4).fit(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components must be at least 1"),
        ({"n_samples": 0}, "n_rows must be at least 1"),
        ({"pca": "both"}, "pca must be one of descriptor, joint, none"),
        ({"pca": "none", "whiten": True}, "whiten must be False without PCA"),
        ({"grids": "t2"}, "grids must be a list of names"),
        ({"backend": "gpu"}, "backend must be native or vlfeat"),
    ],
)
def test_options_are_refused_by_fit(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FisherVectors(**{"n_components": 2, **options}).fit([made_table(20)])


def test_must_be_fitted_first() -> None:
    with pytest.raises(NotFittedError):
        FisherVectors().transform([made_table(9)])
    with pytest.raises(NotFittedError):
        FisherVectors().get_feature_names_out()


class OnRows(FisherVectors):
    """On a matrix, as scikit-learn's checks have it: each row is a video of two trajectories."""

    def fit(self, X: np.ndarray, y: object = None) -> OnRows:
        return super().fit(self._videos(X))

    def transform(self, X: np.ndarray) -> np.ndarray:
        return super().transform(self._videos(X))

    def _videos(self, X: np.ndarray) -> list[dict[str, np.ndarray]]:
        return [{"rows": np.stack([row, row])} for row in np.asarray(X)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


MATRIX = "about the columns of one matrix; a list of videos has none"
WORDING = "refused, too, in words about descriptors instead of a matrix"
SPARSE = "trajectories are never sparse"
LEFT_OUT = {
    "check_n_features_in": MATRIX,
    "check_n_features_in_after_fitting": MATRIX,
    "check_complex_data": WORDING,
    "check_dtype_object": "objects are refused, never turned into numbers",
    "check_estimators_empty_data_messages": WORDING,
    "check_fit2d_1sample": WORDING,
    "check_fit2d_predict1d": WORDING,
    "check_estimator_sparse_tag": SPARSE,
    "check_estimator_sparse_array": SPARSE,
    "check_estimator_sparse_matrix": SPARSE,
    "check_array_api_input": "arrays of other libraries are not taken",
    "check_transformer_n_iter": "there is a number of iterations for each mixture",
}


def checks() -> Iterator[object]:
    for estimator, check in estimator_checks_generator(OnRows(2, max_iter=3), legacy=True):
        name = check.func.__name__
        if name not in LEFT_OUT:
            yield pytest.param(estimator, check, id=name)


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_passes_the_checks_of_scikit_learn(estimator: BaseEstimator, check: Callable) -> None:
    check(estimator)


def test_what_is_left_out_is_still_a_check() -> None:
    known = {check.func.__name__ for _, check in estimator_checks_generator(OnRows(), legacy=True)}
    assert LEFT_OUT.keys() <= known
