from __future__ import annotations

import numpy as np
import pytest

from compare.fusion import Encodings, concatenate, kernel_sum
from compare.scores import ScoreJoinError


def test_concatenation_is_a_sum_of_kernels() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 7)), rng.normal(size=(5, 3))
    order = [3, 0, 4, 1, 2]
    ids = tuple("vwxyz")
    left, right = Encodings(ids, a, "a"), Encodings(tuple(ids[k] for k in order), b[order], "b")
    made = concatenate([left, right], weights=(3, 1))
    assert (made.ids, made.method, made.values.shape) == (ids, "a+b", (5, 10))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    expected = kernel_sum([x @ x.T for x in unit], weights=(3, 1))
    np.testing.assert_allclose(made.values @ made.values.T, expected, atol=1e-12)
    np.testing.assert_allclose(np.diag(expected), 1)


def test_by_hand() -> None:
    left = Encodings(("v", "w"), np.array([[3.0, 4], [0, 0]], np.float32), "a")
    right = Encodings(("w", "v"), np.array([[2.0], [-5]], np.float32), "b")
    made = concatenate([left, right])
    half = 0.5**0.5
    assert made.values.dtype == np.float32
    np.testing.assert_allclose(made.values, [[0.6 * half, 0.8 * half, -half], [0, 0, half]])


def test_what_does_not_belong_together_is_refused() -> None:
    left = Encodings(("v", "w"), np.ones((2, 3)), "a")
    with pytest.raises(ScoreJoinError, match="1 only in 'a'"):
        concatenate([left, Encodings(("v", "x"), np.ones((2, 3)), "b")])
    with pytest.raises(ValueError, match="unique, got more than once: 'v'"):
        Encodings(("v", "v"), np.ones((2, 3)), "a")
    with pytest.raises(ValueError, match="finite, got NaN or infinity for 'w'"):
        Encodings(("v", "w"), np.array([[1.0], [np.nan]]), "a")
    with pytest.raises(ValueError, match=r"for 2 videos, got float64 of shape \(3, 3\)"):
        Encodings(("v", "w"), np.ones((3, 3)), "a")
    with pytest.raises(ValueError, match="kernels must be of one shape"):
        kernel_sum([np.ones((2, 2)), np.ones((3, 2))])
    for weights in ((1,), (1, -1), (0, 0), (1, np.nan)):
        with pytest.raises(ValueError, match="weights must be 2 finite numbers"):
            concatenate([left, left], weights=weights)
    with pytest.raises(ValueError, match="got none"):
        kernel_sum([])
