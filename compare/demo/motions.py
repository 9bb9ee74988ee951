"""What a figure does: the path of its hand, and the idle movement of the rest of the body.

Every motion takes the hand over the same patch of space in front of the shoulder, at the same
speed, from a random phase; only the way through it differs. So a single frame does not tell the
motion. Points are ``(x, y)`` with y downwards, lengths are in body heights, angles in radians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FPS = 25  # frames per second
CENTRE = (0.23, 0.10)  # of the hand's path, from the shoulder, in body heights


def _circle(phase: np.ndarray, across: float) -> tuple[np.ndarray, np.ndarray]:
    """Round and round; `across` flattens the circle a little."""
    return np.cos(phase), (1 - 0.25 * abs(across)) * np.sin(phase)


def _lift(phase: np.ndarray, across: float) -> tuple[np.ndarray, np.ndarray]:
    """Up and down at some distance from the body."""
    return np.full_like(phase, across), np.sin(phase)


def _thrust(phase: np.ndarray, across: float) -> tuple[np.ndarray, np.ndarray]:
    """Out and back at some height."""
    return np.sin(phase), np.full_like(phase, across)


def _swing(phase: np.ndarray, across: float) -> tuple[np.ndarray, np.ndarray]:
    """A pendulum, low in the middle and high at both ends, more or less deep."""
    return np.sin(phase), (0.8 + 0.2 * across) * np.cos(2 * phase)


MOTIONS: dict[str, Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]] = {
    "circle": _circle,
    "lift": _lift,
    "swing": _swing,
    "thrust": _thrust,
}


@dataclass(frozen=True)
class Poses:
    """One pose per frame; arrays of length n_frames, or (n_frames, 2) for points.

    `root` is the sway of the hip and `hand` the hand as seen from the shoulder. An angle of 0 hangs
    down and grows forwards; `far_arm` is (upper, lower), `thighs` and `shins` are (near, far).
    """

    root: np.ndarray
    hand: np.ndarray
    lean: np.ndarray
    far_arm: np.ndarray
    thighs: np.ndarray
    shins: np.ndarray


def poses(motion: str, n_frames: int, rng: np.random.Generator) -> Poses:
    """Draw one performance of a motion.

    Parameters
    ----------
    motion
        A key of `MOTIONS`.
    n_frames
        Length in frames at 25 frames per second.
    rng
        Source of phase, speed, size, place and idle movement.
    """
    seconds = np.arange(n_frames) / FPS
    return Poses(
        root=_root(seconds, rng),
        hand=_hand(motion, seconds, rng),
        lean=_wave(seconds, rng, low=0.02, high=0.08),
        far_arm=_far_arm(seconds, rng),
        **_legs(seconds, rng),
    )


def _hand(motion: str, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Path of the hand from the shoulder, (n_frames, 2)."""
    turns = rng.uniform(1.1, 1.5) * seconds + rng.uniform()
    phase = 2 * np.pi * turns * rng.choice([-1, 1])
    across = float(np.cos(rng.uniform(0, np.pi)))  # as often as a circle is at this distance
    x, y = MOTIONS[motion](phase, across)
    size = rng.uniform(0.125, 0.155)
    centre = np.array(CENTRE) + rng.uniform(-0.02, 0.02, 2)
    return centre + size * np.stack([x, y], axis=1)


def _wave(seconds: np.ndarray, rng: np.random.Generator, *, low: float, high: float) -> np.ndarray:
    """Slow oscillation with an amplitude between `low` and `high`."""
    phase = 2 * np.pi * (rng.uniform(0.4, 0.9) * seconds + rng.uniform())
    return rng.uniform(low, high) * np.sin(phase)


def _root(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sway of the hip, (n_frames, 2)."""
    sway = _wave(seconds, rng, low=0.0, high=0.03)
    return np.stack([sway, _wave(seconds, rng, low=0.0, high=0.01)], axis=1)


def _far_arm(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Angles of the arm that holds nothing: (upper, lower)."""
    upper = rng.uniform(-0.5, 0.6) + _wave(seconds, rng, low=0.1, high=0.4)
    bend = rng.uniform(0.1, 0.9) + _wave(seconds, rng, low=0.0, high=0.2)
    return np.stack([upper, upper - bend], axis=1)


def _legs(seconds: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Angles of stepping legs, each (near, far)."""
    phase = 2 * np.pi * (rng.uniform(0.6, 1.1) * seconds + rng.uniform())
    stride = rng.uniform(0.08, 0.3)
    stand = rng.uniform(0.05, 0.15)
    both = np.stack([phase, phase + np.pi], axis=1)
    thighs = stride * np.sin(both) + np.array([stand, -stand])
    bends = 0.08 + stride * np.maximum(np.cos(both), 0)
    return {"thighs": thighs, "shins": thighs - bends}
