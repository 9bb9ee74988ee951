"""VLFeat through cyvlfeat, where it is installed: the same mixtures and Fisher vectors, its way."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from idt.codebook.posteriors import check_reach


def iterate(
    rows: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Iterate expectation-maximisation once.

    Parameters
    ----------
    rows
        float32 (n, dimension).
    weights, means, variances
        float64 (n_components,), float32 (n_components, dimension), of the mixture to start from.

    Returns
    -------
    log_likelihood
        Mean of a row under the mixture given, nats.
    weights, means, variances
        float64, of the next mixture. VLFeat's own least variance is 1e-6.

    Raises
    ------
    ValueError
        A value is so far from the mixture that float32 cannot square it.
    ModuleNotFoundError
        cyvlfeat is not installed.
    """
    # The public face of cyvlfeat cannot pass a start on.
    em = _module("cyvlfeat.gmm.cygmm").cy_gmm
    check_reach(rows, variances)
    start = {
        "init_priors": weights.astype(np.float32),
        "init_means": np.ascontiguousarray(means, dtype=np.float32),
        "init_covars": np.ascontiguousarray(variances, dtype=np.float32),
    }
    # No iteration tells the log-likelihood of the start, one iteration that of the next mixture.
    before = em(rows, len(means), 0, b"custom", 1, 0, **start)[3]
    found = em(rows, len(means), 1, b"custom", 1, 0, **start)
    means, variances, weights = (each.astype(np.float64) for each in found[:3])
    return before / len(rows), weights, means, variances


def sum_gradients(
    rows: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray
) -> np.ndarray:
    """Sum over rows of the Fisher vector's mean and deviation parts, before any normalisation.

    Parameters
    ----------
    rows
        float32 (n, dimension), n at least 1.
    weights, means, variances
        Of the mixture.

    Returns
    -------
    ndarray of float64, (2 * n_components * dimension,)

    Raises
    ------
    ValueError, ModuleNotFoundError
        As `iterate`.
    """
    encode = _module("cyvlfeat.fisher").fisher
    check_reach(rows, variances)
    mean = encode(rows, means, variances, weights.astype(np.float32))
    return len(rows) * mean.ravel().astype(np.float64)


def _module(name: str) -> Any:
    """Import a part of cyvlfeat, or say how to get it."""
    try:
        importlib.import_module("cyvlfeat")
    except ModuleNotFoundError as error:
        if error.name != "cyvlfeat":
            raise
        raise ModuleNotFoundError(
            "backend must be 'native' where cyvlfeat is not installed, got 'vlfeat'; install "
            "trajfuse[vlfeat]",
            name="cyvlfeat",
        ) from error
    return importlib.import_module(name)
