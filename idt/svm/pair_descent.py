"""Dual descent by pairs of rows, which keeps an intercept free of regularisation."""

from __future__ import annotations

import numpy as np
from numba import njit

MIN_CURVATURE = 1e-12  # along a pair of equal rows


# No fastmath: infinities mark that nothing was found.
@njit(cache=True, nogil=True)
def descend_pairs(
    kernel: np.ndarray,
    signs: np.ndarray,
    upper: float,
    tol: float,
    max_iter: int,
    duals: np.ndarray,
) -> tuple[float, int]:
    """Solve the hinge-loss dual on kernel float32 (n, n) and signs (n,), into duals (n,), all 0.

    A step turns the dual variables of two rows so that their signed sum stays 0: the row that
    violates optimality most, and with it the one that promises the largest gain to second order
    (working set selection 2 of Fan, Chen and Lin, JMLR 2005). Return the intercept and the steps
    taken, `max_iter` of them where `tol` was not reached.
    """
    n = len(signs)
    outputs = np.zeros(n)  # of the present machine without its intercept
    n_steps = 0
    while True:
        first, highest = -1, -np.inf
        for t in range(n):
            if (duals[t] < upper) if signs[t] > 0 else (duals[t] > 0):
                residual = signs[t] - outputs[t]
                if residual > highest:
                    first, highest = t, residual
        second, lowest, best = -1, np.inf, 0.0
        row = kernel[first]
        for t in range(n):
            if (duals[t] > 0) if signs[t] > 0 else (duals[t] < upper):
                residual = signs[t] - outputs[t]
                lowest = min(lowest, residual)
                gap = highest - residual
                if gap > 0:
                    curvature = row[first] + kernel[t, t] - 2 * row[t]
                    gain = gap * gap / max(curvature, MIN_CURVATURE)
                    if gain > best:
                        second, best = t, gain
        if second < 0 or highest - lowest < tol or n_steps == max_iter:
            return _intercept(outputs, signs, duals, upper, highest, lowest), n_steps
        other = kernel[second]
        gap = highest - (signs[second] - outputs[second])
        step = gap / max(row[first] + other[second] - 2 * row[second], MIN_CURVATURE)
        step = min(step, upper - duals[first] if signs[first] > 0 else duals[first])
        step = min(step, duals[second] if signs[second] > 0 else upper - duals[second])
        duals[first] = min(max(duals[first] + signs[first] * step, 0.0), upper)
        duals[second] = min(max(duals[second] - signs[second] * step, 0.0), upper)
        for t in range(n):
            outputs[t] += step * (row[t] - other[t])
        n_steps += 1


@njit(cache=True, nogil=True)
def _intercept(
    outputs: np.ndarray,
    signs: np.ndarray,
    duals: np.ndarray,
    upper: float,
    highest: float,
    lowest: float,
) -> float:
    """Mean residual of the rows on their margin, or the middle of what is allowed without any."""
    total, n_free = 0.0, 0
    for t in range(len(signs)):
        if 0 < duals[t] < upper:
            total += signs[t] - outputs[t]
            n_free += 1
    return total / n_free if n_free else 0.5 * (highest + lowest)
