"""Where a figure stands and how it is filmed: textures, backgrounds and camera paths.

World points are complex numbers ``x + iy`` in pixels of the finished frame, y downwards, origin at
the middle of the view; a similarity ``z -> a z + b`` is the pair ``(a, b)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from compare.demo.motions import FPS

WIDTH, HEIGHT = 160, 120  # pixels
SUPERSAMPLING = 2  # drawn at twice the size, then averaged
MARGIN = 60  # pixels of background beyond the view, each side
MUTED = 0.15  # greatest saturation of a background or garment; the props have about 0.8


@dataclass(frozen=True)
class CameraStyle:
    """How one person films: amplitudes of smooth paths and of shaking.

    `pan` and `shake` are in pixels, `roll` and `roll_shake` in radians, `zoom` as a fraction.
    """

    pan: float
    zoom: float
    roll: float
    shake: float
    roll_shake: float


def camera_style(rng: np.random.Generator) -> CameraStyle:
    """Draw a style."""
    return CameraStyle(
        pan=rng.uniform(6, 15),
        zoom=rng.uniform(0.07, 0.15),
        roll=rng.uniform(0.05, 0.12),
        shake=rng.uniform(0.7, 1.5),
        roll_shake=rng.uniform(0.004, 0.01),
    )


def octave_noise(
    shape: tuple[int, int], rng: np.random.Generator, *, coarsest: int, finest: int = 2
) -> np.ndarray:
    """Sum noise of several scales.

    Parameters
    ----------
    shape
        (row, column) in pixels.
    rng
        Source of noise.
    coarsest, finest
        Grain in pixels of the first and last octave; each octave halves it.

    Returns
    -------
    ndarray of float32, `shape`
        Mean 0, standard deviation 1.
    """
    total = np.zeros(shape, np.float32)
    grain, weight = coarsest, 1.0
    while grain >= finest:
        grid = (shape[0] // grain + 3, shape[1] // grain + 3)
        noise = rng.standard_normal(grid, dtype=np.float32)
        size = (grid[1] * grain, grid[0] * grain)
        smooth = cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
        total += np.float32(weight) * smooth[grain : grain + shape[0], grain : grain + shape[1]]
        grain, weight = grain // 2, weight * 0.75
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def muted_colour(rng: np.random.Generator, *, low: float, high: float) -> np.ndarray:
    """Draw a BGR colour of little saturation with a grey level between `low` and `high`."""
    tint = rng.uniform(-1, 1, 3)
    colour = rng.uniform(low, high) * (1 + MUTED * (tint - tint.mean()))
    return colour.astype(np.float32)


def background(rng: np.random.Generator) -> np.ndarray:
    """Paint a wall with things on it and a floor.

    Returns
    -------
    ndarray of uint8, shape (row, column, 3)
        BGR, at the supersampled scale, the view with a margin on every side.
    """
    n_rows = SUPERSAMPLING * (HEIGHT + 2 * MARGIN)
    n_columns = SUPERSAMPLING * (WIDTH + 2 * MARGIN)
    canvas = np.empty((n_rows, n_columns, 3), np.float32)
    skirting = int(n_rows * rng.uniform(0.62, 0.7))
    canvas[:skirting] = muted_colour(rng, low=90, high=170)
    canvas[skirting:] = muted_colour(rng, low=60, high=120)
    for _ in range(rng.integers(28, 44)):
        _hang_something(canvas, rng)
    noise = octave_noise((n_rows, n_columns), rng, coarsest=64, finest=4)
    canvas *= 1 + rng.uniform(0.14, 0.24) * noise[:, :, None]
    return np.clip(canvas, 8, 245).astype(np.uint8)


def _hang_something(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Add a framed rectangle or ellipse."""
    n_rows, n_columns = canvas.shape[:2]
    x, y = int(rng.integers(n_columns)), int(rng.integers(n_rows))
    half = (int(rng.integers(8, 44)), int(rng.integers(8, 36)))
    fill = tuple(map(float, muted_colour(rng, low=40, high=215)))
    edge = tuple(map(float, muted_colour(rng, low=20, high=235)))
    if rng.uniform() < 0.7:
        corners = (x - half[0], y - half[1]), (x + half[0], y + half[1])
        cv2.rectangle(canvas, *corners, fill, cv2.FILLED)
        cv2.rectangle(canvas, *corners, edge, 3)
    else:
        cv2.ellipse(canvas, (x, y), half, 0, 0, 360, fill, cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(canvas, (x, y), half, 0, 0, 360, edge, 3, cv2.LINE_AA)


def camera_path(
    style: CameraStyle, n_frames: int, rng: np.random.Generator
) -> list[tuple[complex, complex]]:
    """Draw a smooth random path with shaking.

    Returns
    -------
    list of (complex, complex)
        Per frame the similarity from world points to pixels of the supersampled frame.
    """
    seconds = np.arange(n_frames) / FPS
    x = style.pan * _drift(seconds, rng) + style.shake * _tremor(n_frames, rng)
    y = 0.6 * style.pan * _drift(seconds, rng) + style.shake * _tremor(n_frames, rng)
    roll = style.roll * _drift(seconds, rng) + style.roll_shake * _tremor(n_frames, rng)
    zoom = np.exp(style.zoom * _drift(seconds, rng) + 0.003 * _tremor(n_frames, rng))
    scale = SUPERSAMPLING * zoom * np.exp(1j * roll)
    middle = SUPERSAMPLING * complex(WIDTH, HEIGHT) / 2
    return [(complex(a), complex(middle - a * p)) for a, p in zip(scale, x + 1j * y, strict=True)]


def _drift(seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two slow oscillations together, within -1 and 1."""
    slow, fast = rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.9)
    first = np.sin(2 * np.pi * (slow * seconds + rng.uniform()))
    second = np.sin(2 * np.pi * (fast * seconds + rng.uniform()))
    return 0.7 * first + 0.3 * second


def _tremor(n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation about 1 that changes from frame to frame."""
    noise = rng.standard_normal(n_frames + 1)
    return (noise[1:] + 0.5 * noise[:-1]) / np.sqrt(1.25)


def film(canvas: np.ndarray, view: tuple[complex, complex], offset: complex) -> np.ndarray:
    """Show a background through the camera.

    Parameters
    ----------
    canvas
        What `background` painted.
    view
        One frame of `camera_path`.
    offset
        World point shown where the background's middle would be.

    Returns
    -------
    ndarray of uint8, shape (row, column, 3)
        A supersampled frame.
    """
    a, b = view
    middle = complex(canvas.shape[1], canvas.shape[0]) / 2
    a_canvas = a / SUPERSAMPLING
    b_canvas = b + a * offset - a_canvas * middle
    return cv2.warpAffine(
        canvas,
        affine(a_canvas, b_canvas),
        (SUPERSAMPLING * WIDTH, SUPERSAMPLING * HEIGHT),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def affine(a: complex, b: complex) -> np.ndarray:
    """Write the similarity ``z -> a z + b`` as a 2 x 3 matrix."""
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
