"""Local Fisher vectors brought to few dimensions: along principal axes, or for a margin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.decomposition import PCA

REACH = 4  # principal axes for each dimension that is kept, among which a margin is looked for


@dataclass(frozen=True)
class Projection:
    """A linear map to few dimensions.

    Attributes
    ----------
    mean
        float32 (dimension,).
    axes
        float32 (n_reduced, dimension).
    """

    mean: np.ndarray
    axes: np.ndarray

    def transform(self, rows: np.ndarray) -> np.ndarray:
        """Project float32 rows (n, dimension) to float32 (n, n_reduced)."""
        return (rows - self.mean) @ self.axes.T


def principal_projection(rows: np.ndarray, n_reduced: int, *, seed: int = 0) -> Projection:
    """Project along the axes of largest variance, by scikit-learn's PCA.

    Parameters
    ----------
    rows
        float32 (n, dimension).
    n_reduced
        Number of axes, at most n and the dimension.
    seed
        Of the randomised decomposition that scikit-learn takes for large rows.

    Raises
    ------
    ValueError
        There are fewer rows or dimensions than axes.
    """
    if not 1 <= n_reduced <= min(rows.shape):
        raise ValueError(
            f"n_reduced must be from 1 to {min(rows.shape)}, the least of {len(rows)} local Fisher "
            f"vectors and their {rows.shape[1]} dimensions, got {n_reduced}; keep fewer, or give "
            "more videos"
        )
    found = PCA(n_reduced, random_state=seed).fit(rows)
    return Projection(
        found.mean_.astype(np.float32), np.ascontiguousarray(found.components_, dtype=np.float32)
    )


def margin_projection(
    rows: np.ndarray,
    labels: np.ndarray,
    n_reduced: int,
    *,
    penalty: float = 1e-2,
    max_iter: int = 100,
    seed: int = 0,
) -> Projection:
    r"""Project so that linear classifiers of few weights tell the classes apart.

    It minimises, over axes U in the span of the leading principal axes and class weights V,

    .. math::

        \tfrac{1}{n} \sum_i \sum_{c \neq y_i} \max(0, 1 - (v_{y_i} - v_c)^\top U x_i)^2
        + \tfrac{\lambda}{2} (\|U - U_0\|^2 + \|V\|^2)

    from the leading axes :math:`U_0` on, where rows x are centred and of mean squared length 1.

    Parameters
    ----------
    rows
        float32 (n, dimension).
    labels
        int (n,), two classes or more.
    n_reduced
        Number of axes, at most n and the dimension.
    penalty
        :math:`\lambda`; the larger, the nearer to PCA.
    max_iter
        Most steps of the minimisation (L-BFGS).
    seed
        Of the principal axes.

    Raises
    ------
    ValueError
        Fewer rows or dimensions than axes, or a single class.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, Deep Fisher networks for large-scale image classification, NIPS
    2013, and Peng, Zou, Qiao and Peng, Action recognition with stacked Fisher vectors, ECCV 2014:
    the same margin and shape of objective. They keep U small; here it is kept near :math:`U_0`, as
    otherwise no more axes than classes would be left at the minimum. The hinge is squared, so that
    the minimum is found without a learning rate.
    """
    classes, of_row = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"labels must be of two classes or more, got {len(classes)}; take the reduction 'pca'"
        )
    n_near = max(n_reduced, min(REACH * n_reduced, *rows.shape))
    near = principal_projection(rows, n_near, seed=seed)
    inside = near.transform(rows).astype(np.float64)
    inside /= np.sqrt((inside**2).sum(axis=1).mean()) or 1.0
    axes = np.eye(n_reduced, n_near)
    reduced = inside[:, :n_reduced]
    weights = np.stack([reduced[of_row == c].mean(axis=0) for c in range(len(classes))])
    found = minimize(
        margin_objective,
        np.concatenate([axes.ravel(), weights.ravel()]),
        args=(inside, of_row, axes, penalty),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_iter},
    )
    learnt = found.x[: axes.size].reshape(axes.shape).astype(np.float32)
    return Projection(near.mean, learnt @ near.axes)


def margin_objective(
    parameters: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    start: np.ndarray,
    penalty: float,
) -> tuple[float, np.ndarray]:
    """Objective of `margin_projection` and its gradient.

    Parameters
    ----------
    parameters
        float64: axes (n_reduced, dimension), then weights (n_classes, n_reduced), both ravelled.
    rows
        float64 (n, dimension).
    labels
        int (n,), from 0 to n_classes - 1.
    start
        float64 (n_reduced, dimension): the axes that are stayed near to.
    penalty
        As there.
    """
    axes = parameters[: start.size].reshape(start.shape)
    weights = parameters[start.size :].reshape(-1, len(start))
    reduced = rows @ axes.T
    scores = reduced @ weights.T
    each = np.arange(len(rows))
    short = np.maximum(0, 1 - scores[each, labels][:, None] + scores)
    short[each, labels] = 0
    away = axes - start
    value = (short**2).sum() / len(rows) + penalty / 2 * ((away**2).sum() + (weights**2).sum())
    pull = 2 * short / len(rows)
    pull[each, labels] = -pull.sum(axis=1)
    of_weights = pull.T @ reduced + penalty * weights
    of_axes = (pull @ weights).T @ rows + penalty * away
    return float(value), np.concatenate([of_axes.ravel(), of_weights.ravel()])
