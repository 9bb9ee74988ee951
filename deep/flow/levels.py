"""Flow in 8 bits.

A component ``d`` is clipped to ``[-bound, bound]`` and kept as
``q = round(d * 127 / bound) + 128``: 255 levels, 1 to 255, with zero exactly at 128 and ``-d``
exactly at ``256 - q`` (so that a flipped field stays on the grid). The inverse is
``(q - 128) * bound / 127``; inside the bound it is at most ``bound / 254`` off, 0.079 pixels for
the bound of 20.
"""

from __future__ import annotations

import numpy as np

ZERO = 128  # the level of no motion
LEVELS = 127  # levels on each side of zero


def largest(flow: np.ndarray) -> np.ndarray:
    """Bounds of a field's own: the largest displacement of each component.

    Parameters
    ----------
    flow : ndarray of float, shape (row, column, channel)
        Pixels per frame, finite.

    Returns
    -------
    ndarray of float32, shape (channel,)
        Pixels per frame, 1 for a component without motion.
    """
    reach = np.abs(flow).max(axis=(0, 1)).astype(np.float32)
    return np.where(reach > 0, reach, np.float32(1))


def quantise(flow: np.ndarray, *, bound: float | np.ndarray = 20.0) -> np.ndarray:
    """Clip and round flow to 8 bits.

    Parameters
    ----------
    flow : ndarray of float, any shape
        Pixels per frame, finite.
    bound
        Pixels per frame that the outermost levels stand for; an array, such as `largest` gives, is
        broadcast against the flow.

    Returns
    -------
    ndarray of uint8, same shape
        Levels 1 to 255, 128 for no motion. At most ``bound / 254`` pixels off inside the bound.
    """
    levels = np.rint(np.clip(flow, -bound, bound) * (LEVELS / bound)) + ZERO
    return levels.astype(np.uint8)


def dequantise(levels: np.ndarray, *, bound: float | np.ndarray = 20.0) -> np.ndarray:
    """Give pixels per frame, float32, for the levels of `quantise` and the same bound."""
    return (levels.astype(np.float32) - ZERO) * np.asarray(bound / LEVELS, np.float32)
