"""Approximate rank pooling: by hand, against the ranking it stands for, and in an encoding."""

import numpy as np
import pytest

from idt.codebook import Codebook
from idt.fisher import FisherVectorEncoder
from idt.rank_pooling import RankPooledEncoder, rank_pool, rank_weights


def test_weights_by_hand():
    np.testing.assert_allclose(rank_weights(2), [-0.5, 0.5])
    np.testing.assert_allclose(rank_weights(3), [-4 / 3, 2 / 3, 2 / 3])
    assert rank_weights(17).sum() == pytest.approx(0)


def test_weights_sum_the_differences_of_all_pairs_of_means():
    spans = np.random.default_rng(0).normal(size=(6, 4))
    means = np.cumsum(spans, axis=0) / np.arange(1, 7)[:, None]
    pairs = sum(means[t] - means[s] for t in range(6) for s in range(t))
    np.testing.assert_allclose(rank_weights(6) @ spans, pairs)


def test_forward_and_reverse_vectors_have_length_1():
    spans = np.random.default_rng(1).normal(size=(5, 3))
    forward, reverse = rank_pool(spans).reshape(2, 3)
    np.testing.assert_allclose(np.linalg.norm([forward, reverse], axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(rank_pool(spans[::-1]).reshape(2, 3), [reverse, forward])
    np.testing.assert_array_equal(rank_pool(np.ones((4, 2))), np.zeros(4))


def test_spans_of_an_encoding_are_pooled_by_descriptor():
    rng = np.random.default_rng(2)
    names = ("hog", "hof")
    video = {name: rng.normal(size=(300, 6)).astype(np.float32) for name in names}
    book = Codebook(2).fit(video)
    positions = rng.uniform(0, 1, (300, 3))
    encoder = RankPooledEncoder(book, grids=["1x1x1", "h2x1"], n_spans=4)
    accumulator = encoder.accumulator()
    accumulator.add(video, positions=positions)
    found = accumulator.finish()
    assert found.shape == (encoder.n_features,)
    grids = ["1x1x1", "h2x1", "t4"]
    whole = FisherVectorEncoder(book, grids=grids).encode(video | {"positions": positions})
    for place, part in enumerate(whole.reshape(2, 7, 12)):
        ours = found.reshape(2, -1)[place]
        np.testing.assert_array_equal(ours[:36], part[:3].ravel())
        np.testing.assert_array_equal(ours[36:], rank_pool(part[3:]))
    assert list(encoder.channels) == [
        (name, *cell)
        for name in names
        for cell in (("1x1x1", 0), ("h2x1", 0), ("h2x1", 1), ("rank", 0), ("rank", 1))
    ]
    assert encoder.channels["hof", "rank", 0] == slice(96, 108)


@pytest.mark.parametrize("spans", [np.zeros(4), np.zeros((1, 4))])
def test_spans_that_cannot_be_pooled_are_refused(spans):
    with pytest.raises(ValueError, match=r"encodings must have the shape \(n_spans, n\)"):
        rank_pool(spans)


@pytest.mark.parametrize("n_spans", [1, 100])
def test_numbers_of_spans_are_checked(n_spans):
    rows = np.random.default_rng(3).normal(size=(20, 2))
    book = Codebook(1).fit({"hog": rows})
    with pytest.raises(ValueError, match=f"n_spans must be from 2 to 99, got {n_spans}"):
        RankPooledEncoder(book, grids=["1x1x1"], n_spans=n_spans)
