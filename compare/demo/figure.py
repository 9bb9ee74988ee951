"""The figure: textured limbs, drawn one over the other through the camera.

Each part is a small BGRA picture (colour premultiplied by opacity) whose texture moves, turns and
scales with the limb. World points are complex numbers as in `compare.demo.scene`.
"""

from __future__ import annotations

import cmath
from dataclasses import dataclass

import cv2
import numpy as np

from compare.demo.motions import Poses
from compare.demo.scene import SUPERSAMPLING, affine, muted_colour, octave_noise

BODY_HEIGHT = 88.0  # pixels of the finished frame
GREY_WEIGHTS = np.array([0.114, 0.587, 0.299])  # of B, G, R in the grey level, ITU-R BT.601
PROP_GREY = 112.0  # of either prop in full light
PROP_RADIUS = 0.12  # body heights, along the handle
# Blue, green and red of each prop before they are brought to the same grey level.
PROPS = {"blue": (215.0, 112.0, 40.0), "red": (48.0, 62.0, 215.0)}
PROP_BREADTH = {"blue": 1.0, "red": 0.45}  # across the handle, as a share of the radius along it


@dataclass(frozen=True)
class Part:
    """A picture of one limb; `start` is the joint about which it turns, in its pixels."""

    picture: np.ndarray
    start: complex


@dataclass(frozen=True)
class Actor:
    """Appearance of one person: limb lengths in pixels of the finished frame, and pictures."""

    lengths: dict[str, float]
    parts: dict[str, Part]


def actor(rng: np.random.Generator) -> Actor:
    """Draw an appearance: proportions, garments, skin and hair."""
    stretch = rng.uniform(0.93, 1.07, 3)
    girth = BODY_HEIGHT * rng.uniform(0.85, 1.15)
    lengths = {
        "torso": 0.30 * BODY_HEIGHT * stretch[0],
        "upper_arm": 0.19 * BODY_HEIGHT * stretch[1],
        "forearm": 0.19 * BODY_HEIGHT * stretch[1],
        "thigh": 0.24 * BODY_HEIGHT * stretch[2],
        "shin": 0.23 * BODY_HEIGHT * stretch[2],
    }
    skin = np.array([0.72, 0.84, 1.0]) * rng.uniform(95, 205)
    shirt = muted_colour(rng, low=70, high=190)
    trousers = muted_colour(rng, low=45, high=150)
    hair = np.array([0.8, 0.9, 1.0]) * rng.uniform(25, 110)
    garment = {"stripes": rng.uniform(0, 0.35), "period": rng.uniform(4, 8)}
    cloth = {"stripes": rng.uniform(0, 0.2), "period": rng.uniform(3, 7)}
    parts = {
        "torso": _limb(lengths["torso"], 0.085 * girth, 0.105 * girth, shirt, rng, **garment),
        "head": _head(0.085 * BODY_HEIGHT, skin, hair, rng),
        "upper_arm": _limb(
            lengths["upper_arm"], 0.045 * girth, 0.036 * girth, shirt, rng, **garment
        ),
        "forearm": _limb(lengths["forearm"], 0.036 * girth, 0.03 * girth, skin, rng),
        "thigh": _limb(lengths["thigh"], 0.062 * girth, 0.048 * girth, trousers, rng, **cloth),
        "shin": _limb(lengths["shin"], 0.048 * girth, 0.034 * girth, trousers, rng, **cloth),
        "foot": _limb(0.07 * BODY_HEIGHT, 0.03 * girth, 0.024 * girth, hair, rng),
    }
    return Actor(lengths, parts)


def prop(name: str, rng: np.random.Generator) -> Part:
    """Paint a spotted paddle: the names differ in colour, not in grey level, and in breadth.

    Parameters
    ----------
    name
        A key of `PROPS`.
    rng
        Source of its pattern.
    """
    colour = np.array(PROPS[name])
    colour = colour + (PROP_GREY - colour @ GREY_WEIGHTS)
    radius = SUPERSAMPLING * PROP_RADIUS * BODY_HEIGHT
    handle = 0.35 * radius
    side = int(np.ceil(2 * radius + handle)) + 4
    y, x = np.mgrid[:side, :side].astype(np.float32)
    x, y = x - 2, y - side / 2
    distance = np.hypot(x - handle - radius, y / PROP_BREADTH[name])
    pattern = np.clip(1.4 * octave_noise((side, side), rng, coarsest=8, finest=4), -1, 1)
    light = (0.9 + 0.2 * pattern) * np.where(distance > 0.8 * radius, 0.6, 1.0)  # no channel clips
    disc = colour * light[:, :, None]
    grip = np.clip(0.12 * radius - np.abs(y) + 0.5, 0, 1) * (x >= 0) * (x < handle + 4)
    covered = np.clip(radius - distance + 0.5, 0, 1)
    opacity = np.maximum(covered, grip)
    picture = np.where((covered >= grip)[:, :, None], disc, 45.0)
    return Part(_premultiplied(picture, opacity), complex(2, side / 2))


def draw(
    frame: np.ndarray,
    view: tuple[complex, complex],
    cast: Actor,
    held: Part,
    poses: Poses,
    index: int,
    place: complex,
) -> None:
    """Draw a figure into a supersampled frame, from the far limbs to the near ones.

    Parameters
    ----------
    frame
        uint8 (row, column, 3), drawn over.
    view
        Similarity from world points to its pixels.
    cast, held
        Who, with what in hand.
    poses, index
        The performance, and which of its frames.
    place
        World point where the figure stands.
    """
    size = cast.lengths
    hip = place + BODY_HEIGHT * complex(*poses.root[index]) - 1j * (size["thigh"] + size["shin"])
    down = 1j * cmath.exp(1j * poses.lean[index])
    neck = hip - size["torso"] * down
    shoulder = neck + 0.1 * size["torso"] * down

    def limb(name: str, start: complex, direction: complex) -> complex:
        _paste(frame, view, cast.parts[name], start, direction)
        return start + size.get(name, 0) * direction

    def leg(side: int) -> None:
        thigh = 1j * cmath.exp(-1j * poses.thighs[index, side])
        shin = 1j * cmath.exp(-1j * poses.shins[index, side])
        ankle = limb("shin", hip + size["thigh"] * thigh, shin)
        limb("thigh", hip, thigh)
        limb("foot", ankle, -1j * shin * cmath.exp(0.1j))

    upper, lower = (1j * cmath.exp(-1j * angle) for angle in poses.far_arm[index])
    elbow = limb("upper_arm", shoulder, upper)
    limb("forearm", elbow, lower)
    leg(1)
    leg(0)
    limb("torso", neck, down)
    limb("head", neck, -down)
    target = shoulder + BODY_HEIGHT * complex(*poses.hand[index])
    elbow, hand = _reach(shoulder, target, size["upper_arm"], size["forearm"])
    forearm = (hand - elbow) / abs(hand - elbow)
    _paste(frame, view, held, hand, forearm * cmath.exp(-0.6j))
    limb("upper_arm", shoulder, (elbow - shoulder) / abs(elbow - shoulder))
    limb("forearm", elbow, forearm)


def _reach(start: complex, target: complex, upper: float, lower: float) -> tuple[complex, complex]:
    """Elbow and hand of an arm that reaches for a target, elbow down."""
    away = target - start
    distance = min(max(abs(away), 0.2 * upper), 0.995 * (upper + lower))
    direction = away / max(abs(away), 1e-6)
    cosine = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    elbow = start + upper * direction * cmath.exp(1j * np.arccos(np.clip(cosine, -1, 1)))
    return elbow, start + distance * direction


def _limb(
    length: float,
    first: float,
    last: float,
    colour: np.ndarray,
    rng: np.random.Generator,
    *,
    stripes: float = 0.0,
    period: float = 6.0,
) -> Part:
    """Paint a tapering rounded limb with noise, and stripes across it."""
    length, first, last = (SUPERSAMPLING * value for value in (length, first, last))
    reach = int(np.ceil(max(first, last))) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : int(length) + reach + 1].astype(np.float32)
    along = np.clip(x / length, 0, 1)
    radius = first + (last - first) * along
    distance = np.hypot(x - along * length, y)
    noise = octave_noise(x.shape, rng, coarsest=8, finest=2)
    bands = np.sign(np.sin(2 * np.pi * x / (SUPERSAMPLING * period)))
    light = (1 + 0.17 * noise + stripes * bands) * (1 - 0.35 * (distance / radius) ** 2)
    picture = np.asarray(colour, np.float32) * light[:, :, None]
    return Part(
        _premultiplied(picture, np.clip(radius - distance + 0.5, 0, 1)), complex(reach, reach)
    )


def _head(radius: float, skin: np.ndarray, hair: np.ndarray, rng: np.random.Generator) -> Part:
    """Paint a head in profile, the limb's direction pointing up, looking along its right."""
    radius *= SUPERSAMPLING
    reach = int(np.ceil(1.2 * radius)) + 2
    forward, up = np.mgrid[-reach : reach + 1, -2 : 2 * reach + 4].astype(np.float32)
    centre = 1.15 * radius
    distance = np.hypot(forward / 0.88, up - centre)
    noise = octave_noise(up.shape, rng, coarsest=8, finest=2)
    covered = (up - centre > 0.35 * radius) | (forward < -0.35 * radius)
    picture = np.where(covered[:, :, None], hair, skin) * (1 + 0.12 * noise[:, :, None])
    eye = np.hypot(forward - 0.45 * radius, up - centre - 0.1 * radius) < 0.14 * radius
    picture[eye] = 20
    mouth = (np.abs(up - centre + 0.4 * radius) < 0.07 * radius) & (forward > 0.35 * radius)
    picture[mouth] *= 0.6
    return Part(_premultiplied(picture, np.clip(radius - distance + 0.5, 0, 1)), complex(2, reach))


def _premultiplied(picture: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """BGRA uint8 with the colour multiplied by the opacity (0 to 1)."""
    colour = np.clip(picture, 0, 255) * opacity[:, :, None]
    return np.dstack([colour, 255 * opacity]).round().astype(np.uint8)


def _paste(
    frame: np.ndarray,
    view: tuple[complex, complex],
    part: Part,
    start: complex,
    direction: complex,
) -> None:
    """Lay a part over a frame, its joint at `start`, its length along the unit `direction`."""
    a, b = view
    a_part = a * direction / SUPERSAMPLING
    b_part = a * start + b - a_part * part.start
    n_rows, n_columns = part.picture.shape[:2]
    corners = [a_part * z + b_part for z in (0, n_columns, 1j * n_rows, n_columns + 1j * n_rows)]
    left = max(int(min(z.real for z in corners)) - 1, 0)
    top = max(int(min(z.imag for z in corners)) - 1, 0)
    right = min(int(max(z.real for z in corners)) + 2, frame.shape[1])
    bottom = min(int(max(z.imag for z in corners)) + 2, frame.shape[0])
    if left >= right or top >= bottom:
        return
    matrix = affine(a_part, b_part - complex(left, top))
    over = cv2.warpAffine(part.picture, matrix, (right - left, bottom - top))
    under = frame[top:bottom, left:right]
    kept = 255 - over[:, :, 3:].astype(np.uint16)
    under[:] = over[:, :, :3] + ((under * kept + 127) // 255).astype(np.uint8)
