"""Bag of features, VLAD and stacked Fisher vectors as scikit-learn uses them."""

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

from idt.bow import BagOfFeatures, bag_encoder
from idt.codebook import Codebook, RowSampler, Vocabulary
from idt.fisher import FewTrajectoriesWarning
from idt.stacked import StackedCodebook, StackedEncoder, StackedFisherVectors
from idt.trajectories import Trajectories
from idt.vlad import VLAD, vlad_encoder

SMALL = [
    BagOfFeatures(5, n_init=2),
    BagOfFeatures(5, n_init=1, coding="omp", n_nonzero=2),
    BagOfFeatures(5, n_init=1, coding="somp", n_nonzero=2),
    VLAD(3, n_init=2),
    StackedFisherVectors(2, n_stacked=2, n_reduced=4, min_rows=4, max_iter=5),
    StackedFisherVectors(2, n_stacked=2, n_reduced=4, min_rows=4, max_iter=5, projection="pca"),
]
every_transformer = pytest.mark.parametrize("model", SMALL, ids=lambda model: repr(model)[:40])


def made_videos(n_videos: int = 12) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Videos of two classes, which differ in where the rows of both descriptors lie."""
    random = np.random.default_rng(0)
    labels = np.arange(n_videos) % 2
    videos = []
    for label in labels:
        n_rows = random.integers(40, 60)
        videos.append(
            {
                "hog": random.standard_normal((n_rows, 6)) + 2 * label,
                "hof": random.standard_normal((n_rows, 4)) * (1 + 2 * label),
                "positions": random.random((n_rows, 3)),
            }
        )
    return videos, labels


def made_table(n_rows: int, info: dict | None = None) -> Trajectories:
    random = np.random.default_rng(n_rows)
    meta = random.random((n_rows, 10), dtype=np.float32)
    return Trajectories(meta, {"hog": random.random((n_rows, 6), dtype=np.float32)}, info or {})


def drawn(videos: list, n_rows: int, seed: int) -> dict[str, np.ndarray]:
    sampler = RowSampler(n_rows, seed=seed)
    for video in videos:
        sampler.add({name: video[name] for name in ("hog", "hof")})
    return sampler.sample()


def test_words_are_those_of_a_vocabulary() -> None:
    videos, _ = made_videos()
    samples, grids = drawn(videos, 300, 4), ["1x1x1", "t2"]
    bags = BagOfFeatures(6, n_samples=300, seed=4, n_init=2, norm="l2", grids=grids).fit(videos)
    encoder = bag_encoder(Vocabulary(6, n_init=2, seed=4).fit(samples), norm="l2", grids=grids)
    found = bags.transform(videos)
    assert found.dtype == np.float32
    assert found.shape == (12, 2 * 3 * 6)
    np.testing.assert_array_equal(found, np.stack([encoder.encode(video) for video in videos]))
    assert bags.get_feature_names_out()[-1] == "hof_t2_1_5"
    vlad = VLAD(6, n_samples=300, seed=4, n_init=2, intra=True, root=False, grids=grids)
    vocabulary = Vocabulary(6, n_init=2, seed=4, reduction=0.5).fit(samples)
    encoder = vlad_encoder(vocabulary, intra=True, root=False, grids=grids)
    np.testing.assert_array_equal(
        vlad.fit_transform(videos), np.stack([encoder.encode(video) for video in videos])
    )


def test_stacked_layers_are_those_of_a_codebook() -> None:
    videos, labels = made_videos()
    model = StackedFisherVectors(
        2, n_samples=300, n_stacked=3, n_reduced=4, min_rows=5, seed=4, max_iter=5
    )
    found = model.fit(videos, labels).transform(videos)
    first = Codebook(2, whiten=True, max_iter=5, seed=4).fit(drawn(videos, 300, 4))
    codebook = StackedCodebook(first, n_components=3, n_reduced=4, min_rows=5, seed=4)
    encoder = StackedEncoder(codebook.fit(videos, labels))
    np.testing.assert_array_equal(found, np.stack([encoder.encode(video) for video in videos]))
    np.testing.assert_array_equal(model.get_feature_names_out(), encoder.feature_names())
    with pytest.raises(ValueError, match="labels must be given"):
        model.fit(videos)


@every_transformer
def test_learns_in_a_pipeline(model: BaseEstimator) -> None:
    videos, labels = made_videos(16)
    pipeline = make_pipeline(clone(model), LinearSVC(C=10, random_state=0))
    assert pipeline.fit(videos[:10], labels[:10]).score(videos[10:], labels[10:]) == 1
    copy = clone(pipeline).set_params(**{f"{pipeline.steps[0][0]}__seed": 3})
    assert not hasattr(copy[0], "encoder_")
    assert cross_val_score(copy, videos, labels, cv=2).mean() > 0.8


@every_transformer
def test_takes_tables(model: BaseEstimator) -> None:
    tables = [made_table(n_rows) for n_rows in (20, 30)]
    arrays = [{**table.descriptors, "positions": table.meta[:, -3:]} for table in tables]
    found = clone(model).fit(tables, [0, 1]).transform(tables)
    np.testing.assert_array_equal(found, clone(model).fit(arrays, [0, 1]).transform(arrays))


@every_transformer
def test_small_videos_are_encoded_with_a_warning(model: BaseEstimator) -> None:
    model = clone(model).fit([made_table(20), made_table(21)], [0, 1])
    with pytest.warns(FewTrajectoriesWarning) as caught:
        vectors = model.transform([made_table(0), made_table(1)])
    assert [str(each.message)[:12] for each in caught] == ["no trajector", "a single tra"]
    assert np.isfinite(vectors).all()
    assert not vectors[0].any()


@every_transformer
@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([], "X must be a list of one video or more"),
        (made_table(9), "got none in Trajectories"),
        ([made_table(9), "clip.avi"], "got str in it"),
        ([made_table(9), {"hof": np.ones((9, 6))}], "descriptors must be hog, got hof"),
        ([made_table(9), {"hog": np.ones((9, 5))}], "must have 6 columns, got 5"),
        ([made_table(9), {"hog": np.full((9, 6), np.nan)}], "must be finite"),
        ([made_table(1)] * 1, "must have at least . rows, got 1"),
        ([made_table(0)], "must hold trajectories, got none"),
        (
            [made_table(9, {"settings": {"flow": flow}}) for flow in ("dis", "codec")],
            "flow of the extraction must be 'dis', as of the videos before, got 'codec'",
        ),
    ],
)
def test_refuses_what_is_no_training_set(model: BaseEstimator, X: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clone(model).fit(X, np.arange(len(X)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (BagOfFeatures(0), "n_words must be at least 1"),
        (BagOfFeatures(2, coding="soft"), "coding must be one of hard, omp, somp"),
        (BagOfFeatures(2, norm="max"), "norm must be one of l1, l2"),
        (BagOfFeatures(2, coding="omp", n_nonzero=3), "n_nonzero must be from 1 to 2 for 'hog'"),
        (BagOfFeatures(2, grids="t2"), "grids must be a list of names"),
        (BagOfFeatures(2, n_samples=0), "n_rows must be at least 1"),
        (VLAD(2, reduction=2), "reduction must be above 0 and at most 1"),
        (VLAD(2, reduction=None, whiten=True), "whiten must be False without PCA"),
        (VLAD(2, grids=["5"]), "grid must be a name"),
        (StackedFisherVectors(2, projection="lda"), "projection must be one of margin, pca"),
        (StackedFisherVectors(2), "must hold 30 trajectories, got none that does"),
    ],
)
def test_options_are_refused_by_fit(model: BaseEstimator, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.fit([made_table(20)], [0])


@every_transformer
def test_must_be_fitted_first(model: BaseEstimator) -> None:
    with pytest.raises(NotFittedError):
        clone(model).transform([made_table(9)])
    with pytest.raises(NotFittedError):
        clone(model).get_feature_names_out()


class OnRows:
    """On a matrix, as scikit-learn's checks have it: each row is a video of two trajectories."""

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> OnRows:
        return super().fit(self._videos(X), y)

    def transform(self, X: np.ndarray) -> np.ndarray:
        return super().transform(self._videos(X))

    def _videos(self, X: np.ndarray) -> list[dict[str, np.ndarray]]:
        positions = np.full((2, 3), 0.3)
        return [{"rows": np.stack([row, row]), "positions": positions} for row in np.asarray(X)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


class BagsOnRows(OnRows, BagOfFeatures):
    pass


class VLADOnRows(OnRows, VLAD):
    pass


class StackedOnRows(OnRows, StackedFisherVectors):
    pass


ON_ROWS = [
    BagsOnRows(2, n_init=1),
    VLADOnRows(2, n_init=1),
    StackedOnRows(
        2, whiten=False, max_iter=3, n_stacked=2, n_reduced=1, min_rows=2, projection="pca"
    ),
]
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
    "check_transformer_n_iter": "there is a number of iterations for each clustering",
}


def checks() -> Iterator[object]:
    for model in ON_ROWS:
        for estimator, check in estimator_checks_generator(model, legacy=True):
            name = check.func.__name__
            if name not in LEFT_OUT:
                yield pytest.param(estimator, check, id=f"{type(model).__name__}-{name}")


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_passes_the_checks_of_scikit_learn(estimator: BaseEstimator, check: Callable) -> None:
    check(estimator)


@pytest.mark.parametrize("model", ON_ROWS, ids=lambda model: type(model).__name__)
def test_what_is_left_out_is_still_a_check(model: BaseEstimator) -> None:
    known = {check.func.__name__ for _, check in estimator_checks_generator(model, legacy=True)}
    assert LEFT_OUT.keys() <= known
