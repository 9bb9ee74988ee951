"""TV-L1 flow: total variation of the flow plus the absolute difference of the frames.

The energy of a flow u from frame I0 to I1 is the sum over pixels of

    LAMBDA |I1(x + u(x)) - I0(x)| + |grad u1(x)| + |grad u2(x)|.

It is made smaller coarse to fine. On every level the second frame is warped a few times; after each
warp the difference is linear in u, and steps alternate between that data term, pixel by pixel, and
the dual variable of the total variation. The scheme with its parameters is that of
opencv-contrib's ``DualTVL1OpticalFlow``: a median at the start of every round, and an end as soon
as a step moves the flow by less than `EPSILON` pixels.

References
----------
Zach, Pock and Bischof, A Duality Based Approach for Realtime TV-L1 Optical Flow, DAGM 2007.
Sanchez Perez, Meinhardt-Llopis and Facciolo, TV-L1 Optical Flow Estimation, IPOL 2013.
"""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from idt import lanes
from idt.flow.median import filter_median
from idt.flow.pair import check_pair
from idt.flow.resize import resize_flow
from idt.lanes import (
    WIDTH,
    Lanes,
    choose_above,
    choose_equal,
    clip,
    fill,
    floor,
    gather,
    highest,
    larger,
    load,
    lowest,
    ramp,
    root,
    store,
    total,
)

# Of opencv-contrib; IPOL 2013, section 4.
TAU = 0.25  # step of the dual variable
LAMBDA = 0.15  # weight of the frames' difference, of grey levels from 0 to 255
THETA = 0.3  # tightness between the data term and the total variation
N_LEVELS = 5
SCALE_STEP = 0.8  # ratio of neighbouring levels
N_WARPS = 5  # on every level
N_ROUNDS = 10  # of a warp; each begins with a median
N_STEPS = 30  # of a round
EPSILON = 0.01  # pixels, root mean square of a step that is the last
MIN_SIDE = 16  # pixels of the coarsest level
CUBIC = -0.75  # slope of the interpolating kernel at distance 1; Keys, ASSP 29(6), 1981
FLAT = float(np.finfo(np.float32).eps)  # square of a gradient that tells nothing
N_MORE = 20  # steps at the very end
PAD = 8  # zeros around the second frame; no place looked up needs more
# What belongs to a row stands together, in planes: in `state` the flow u1, u2 and its dual variable
# p11, p12, p21, p22; in `data` the gradient of the warped frame along x and y, the inverse of its
# square, and the difference of the frames where u is zero. `state` begins with a row of zeros, a
# row with `WIDTH` zeros.
STATE, DATA = 6, 4


@njit(cache=True, nogil=True, error_model="numpy")
def _differentiate(image: np.ndarray, out: np.ndarray) -> None:
    """Fill `out`, (3, row, column) with `PAD` around, with an image and its central differences."""
    n_rows, n_columns = image.shape
    half = np.float32(0.5)
    out[:] = 0
    for y in range(n_rows):
        above, below = image[max(y - 1, 0)], image[min(y + 1, n_rows - 1)]
        row = image[y]
        for x in range(n_columns):
            left, right = max(x - 1, 0), min(x + 1, n_columns - 1)
            out[0, PAD + y, PAD + x] = row[x]
            out[1, PAD + y, PAD + x] = half * (row[right] - row[left])
            out[2, PAD + y, PAD + x] = half * (below[x] - above[x])


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _cubic_weights(far: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """Weights of four neighbours, `far` behind the second of them."""
    one, slope = fill(np.float32(1)), fill(np.float32(CUBIC))
    near = one - far
    flat, steep = slope + fill(np.float32(2)), slope + fill(np.float32(3))
    w0 = slope * far * near * near
    w1 = (flat * far - steep) * far * far + one
    w2 = (flat * near - steep) * near * near + one
    return w0, w1, w2, one - w0 - w1 - w2


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _mix_window(
    image: np.ndarray,
    at: int,
    pitch: int,
    x0: Lanes,
    x1: Lanes,
    x2: Lanes,
    x3: Lanes,
    x4: Lanes,
    y0: Lanes,
    y1: Lanes,
    y2: Lanes,
    y3: Lanes,
    y4: Lanes,
) -> Lanes:
    """Weighted sum of 5 x 5 neighbours."""
    mixed = y0 * _mix_five(image, at, x0, x1, x2, x3, x4)
    mixed = mixed + y1 * _mix_five(image, at + pitch, x0, x1, x2, x3, x4)
    mixed = mixed + y2 * _mix_five(image, at + 2 * pitch, x0, x1, x2, x3, x4)
    mixed = mixed + y3 * _mix_five(image, at + 3 * pitch, x0, x1, x2, x3, x4)
    return mixed + y4 * _mix_five(image, at + 4 * pitch, x0, x1, x2, x3, x4)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _mix_five(
    image: np.ndarray, at: int, x0: Lanes, x1: Lanes, x2: Lanes, x3: Lanes, x4: Lanes
) -> Lanes:
    """Weighted sum of five neighbours in a row."""
    mixed = x0 * load(image, at) + x1 * load(image, at + 1)
    mixed = mixed + x2 * load(image, at + 2) + x3 * load(image, at + 3)
    return mixed + x4 * load(image, at + 4)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _gather_four(
    image: np.ndarray,
    at: int,
    rows: Lanes,
    columns: Lanes,
    pitch: int,
    x0: Lanes,
    x1: Lanes,
    x2: Lanes,
    x3: Lanes,
) -> Lanes:
    """Weighted sum of four neighbours in a row, wherever they are."""
    mixed = x0 * gather(image, at, rows, columns, pitch)
    mixed = mixed + x1 * gather(image, at + 1, rows, columns, pitch)
    mixed = mixed + x2 * gather(image, at + 2, rows, columns, pitch)
    return mixed + x3 * gather(image, at + 3, rows, columns, pitch)


@njit(cache=True, nogil=True, error_model="numpy")
def _linearise(first: np.ndarray, second: np.ndarray, state: np.ndarray, data: np.ndarray) -> None:
    """Warp the second frame by the flow in `state`; what the data term needs goes into `data`.

    `first` is (row, column), `second` what `_differentiate` made. Neighbouring pixels mostly look
    at neighbouring places: eight that do share a window of 5 x 5; others are gathered.
    """
    n_rows, n_columns = first.shape
    pitch, tall, wide = state.shape[2], second.shape[1], second.shape[2]
    plane = tall * wide
    one, nought, flat = fill(np.float32(1)), fill(np.float32(0)), fill(np.float32(FLAT))
    # Positions further out see zeros alone, as these do.
    low, end_x = fill(np.float32(-3)), fill(np.float32(n_columns + 1))
    end_y = fill(np.float32(n_rows + 1))
    for y in range(n_rows):
        here = (y + 1) * STATE * pitch + WIDTH
        out = y * DATA * pitch + WIDTH
        for x in range(0, n_columns, WIDTH):
            columns = fill(np.float32(x)) + ramp()
            u1, u2 = load(state, here + x), load(state, here + pitch + x)
            place_x = clip(columns + u1, low, end_x)
            place_y = clip(fill(np.float32(y)) + u2, low, end_y)
            left, top = floor(place_x), floor(place_y)
            x0, x1, x2, x3 = _cubic_weights(place_x - left)
            y0, y1, y2, y3 = _cubic_weights(place_y - top)
            shift = left - columns
            leftmost, topmost = lowest(shift), lowest(top)
            if highest(shift) - leftmost <= 1 and highest(top) - topmost <= 1:
                at = (int(topmost) + PAD - 1) * wide + x + int(leftmost) + PAD - 1
                most = fill(leftmost)
                x4 = choose_equal(shift, most, nought, x3)
                x3 = choose_equal(shift, most, x3, x2)
                x2 = choose_equal(shift, most, x2, x1)
                x1 = choose_equal(shift, most, x1, x0)
                x0 = choose_equal(shift, most, x0, nought)
                most = fill(topmost)
                y4 = choose_equal(top, most, nought, y3)
                y3 = choose_equal(top, most, y3, y2)
                y2 = choose_equal(top, most, y2, y1)
                y1 = choose_equal(top, most, y1, y0)
                y0 = choose_equal(top, most, y0, nought)
                warped = _mix_window(second, at, wide, x0, x1, x2, x3, x4, y0, y1, y2, y3, y4)
                at += plane
                gx = _mix_window(second, at, wide, x0, x1, x2, x3, x4, y0, y1, y2, y3, y4)
                at += plane
                gy = _mix_window(second, at, wide, x0, x1, x2, x3, x4, y0, y1, y2, y3, y4)
            else:
                warped = gx = gy = nought
                for r in range(4):
                    at = (PAD - 1 + r) * wide + PAD - 1
                    g0 = _gather_four(second, at, top, left, wide, x0, x1, x2, x3)
                    at += plane
                    g1 = _gather_four(second, at, top, left, wide, x0, x1, x2, x3)
                    at += plane
                    g2 = _gather_four(second, at, top, left, wide, x0, x1, x2, x3)
                    warped, gx, gy = warped + y0 * g0, gx + y0 * g1, gy + y0 * g2
                    y0, y1, y2 = y1, y2, y3
            square = gx * gx + gy * gy
            inverse = choose_above(square, flat, one / larger(square, flat), nought)
            store(data, out + x, gx)
            store(data, out + pitch + x, gy)
            store(data, out + 2 * pitch + x, inverse)
            residue = warped - gx * u1 - gy * u2 - load(first, y * n_columns + x)
            store(data, out + 3 * pitch + x, residue)


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _project(
    p: Lanes, q: Lanes, across: Lanes, down: Lanes, step: Lanes, one: Lanes
) -> tuple[Lanes, Lanes]:
    """Step of the dual variable (p, q) along the gradient (across, down) of the flow."""
    shrink = one / (one + step * root(across * across + down * down))
    return (p + step * across) * shrink, (q + step * down) * shrink


@njit(cache=True, nogil=True, error_model="numpy")
def _step_row(state: np.ndarray, data: np.ndarray, inside: np.ndarray, y: int) -> np.float64:
    """Step the flow of row y, then the dual variable of the row above; gives the square change."""
    pitch = state.shape[2]
    n_columns = inside.shape[0] - WIDTH
    reach, theta = fill(np.float32(LAMBDA * THETA)), fill(np.float32(THETA))
    step, one, nought = fill(np.float32(TAU / THETA)), fill(np.float32(1)), fill(np.float32(0))
    least = nought - reach
    change = nought
    row = (y + 1) * STATE * pitch + WIDTH  # of the flow's first plane
    above = row - STATE * pitch
    known = y * DATA * pitch + WIDTH
    for x in range(0, n_columns, WIDTH):
        i, k, j = row + x, known + x, above + x
        u1, u2 = load(state, i), load(state, i + pitch)
        gx, gy = load(data, k), load(data, k + pitch)
        residue = load(data, k + 3 * pitch) + gx * u1 + gy * u2
        reached = clip(nought - residue * load(data, k + 2 * pitch), least, reach)
        q1, q2 = load(state, j + 3 * pitch), load(state, j + 5 * pitch)
        i += 2 * pitch
        turn1 = load(state, i) - load(state, i - 1) + load(state, i + pitch) - q1
        i += 2 * pitch
        turn2 = load(state, i) - load(state, i - 1) + load(state, i + pitch) - q2
        v1 = u1 + reached * gx + theta * turn1
        v2 = u2 + reached * gy + theta * turn2
        store(state, row + x, v1)
        store(state, row + pitch + x, v2)
        d1, d2 = v1 - u1, v2 - u2
        change = change + load(inside, x) * (d1 * d1 + d2 * d2)
        if y > 0:
            w1, w2 = load(state, j), load(state, j + pitch)
            a1, a2 = load(state, j + 1) - w1, load(state, j + pitch + 1) - w2
            p1, q1 = _project(load(state, j + 2 * pitch), q1, a1, v1 - w1, step, one)
            p2, q2 = _project(load(state, j + 4 * pitch), q2, a2, v2 - w2, step, one)
            store(state, j + 2 * pitch, p1)
            store(state, j + 3 * pitch, q1)
            store(state, j + 4 * pitch, p2)
            store(state, j + 5 * pitch, q2)
    # Beyond the last column the flow goes on: its difference is zero there.
    state[y + 1, 0, WIDTH + n_columns] = state[y + 1, 0, WIDTH + n_columns - 1]
    state[y + 1, 1, WIDTH + n_columns] = state[y + 1, 1, WIDTH + n_columns - 1]
    return np.float64(total(change))


@njit(cache=True, nogil=True, error_model="numpy")
def _step(state: np.ndarray, data: np.ndarray, inside: np.ndarray) -> float:
    """Make a step in one pass through memory; gives the flow's square change."""
    n_rows, pitch = data.shape[0], state.shape[2]
    change = 0.0
    for y in range(n_rows):
        change += _step_row(state, data, inside, y)
    # Below the last row the flow goes on: its difference is zero there.
    step, one, nought = fill(np.float32(TAU / THETA)), fill(np.float32(1)), fill(np.float32(0))
    row = n_rows * STATE * pitch + WIDTH
    for x in range(0, len(inside) - WIDTH, WIDTH):
        for c in range(2):
            i, j = row + c * pitch + x, row + (2 + 2 * c) * pitch + x
            across = load(state, i + 1) - load(state, i)
            p, q = _project(load(state, j), load(state, j + pitch), across, nought, step, one)
            store(state, j, p)
            store(state, j + pitch, q)
    return change


@njit(cache=True, nogil=True, error_model="numpy")
def _smooth(state: np.ndarray, plane: np.ndarray, smoothed: np.ndarray) -> None:
    """Median of both planes of the flow in `state`; the others are memory."""
    n_rows, n_columns = plane.shape
    for c in range(2):
        for y in range(n_rows):
            for x in range(n_columns):
                plane[y, x] = state[y + 1, c, WIDTH + x]
        filter_median(plane, smoothed)
        for y in range(n_rows):
            for x in range(n_columns):
                state[y + 1, c, WIDTH + x] = smoothed[y, x]
            state[y + 1, c, WIDTH + n_columns] = smoothed[y, n_columns - 1]


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_level(
    first: np.ndarray,
    second: np.ndarray,
    state: np.ndarray,
    data: np.ndarray,
    inside: np.ndarray,
    plane: np.ndarray,
    smoothed: np.ndarray,
    n_more: int,
) -> None:
    """Renew the flow in `state`, whose dual variable is zero; at the end so many steps more."""
    enough = EPSILON * EPSILON * first.size
    for _ in range(N_WARPS):
        _linearise(first, second, state, data)
        change = np.inf
        for _ in range(N_ROUNDS):
            if change <= enough:
                break
            _smooth(state, plane, smoothed)
            for _ in range(N_STEPS):
                change = _step(state, data, inside)
                if change <= enough:
                    break
    for _ in range(n_more):
        _step(state, data, inside)


def _shrink(frames: np.ndarray) -> list[np.ndarray]:
    """Two frames, float32 (2, row, column), on all levels, the finest first."""
    levels = [frames]
    while len(levels) < N_LEVELS:
        n_rows, n_columns = (round(side * SCALE_STEP) for side in levels[-1].shape[1:])
        if min(n_rows, n_columns) < MIN_SIDE:
            break
        smaller_one = resize_flow(levels[-1], n_rows, n_columns, factor=1.0, ratio=1 / SCALE_STEP)
        levels.append(smaller_one)
    return levels


def _refine(frames: np.ndarray, flow: np.ndarray, *, n_more: int) -> np.ndarray:
    """Flow of a level, both (2, row, column), out of that of the level before."""
    n_rows, n_columns = frames.shape[1:]
    pitch = (n_columns // WIDTH + 3) * WIDTH
    state, data = lanes.empty(n_rows + 1, STATE, pitch), lanes.empty(n_rows, DATA, pitch)
    state[:], data[:] = 0, 0
    found = state[1:, :2, WIDTH : WIDTH + n_columns].swapaxes(0, 1)
    found[:] = flow
    state[1:, :2, WIDTH + n_columns] = flow[..., -1].T
    inside = np.zeros(n_columns + WIDTH, np.float32)
    inside[:n_columns] = 1
    second = lanes.empty(3, n_rows + 2 * PAD, n_columns + 2 * PAD)
    _differentiate(frames[1], second)
    plane, smoothed = lanes.empty(n_rows, n_columns), lanes.empty(n_rows, n_columns)
    _solve_level(frames[0], second, state, data, inside, plane, smoothed, n_more)
    refined = lanes.empty(2, n_rows, n_columns)
    refined[:] = found
    return refined


def tvl1(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Flow between two grey frames by total variation and absolute differences.

    Parameters
    ----------
    previous, current
        uint8 (row, column), of one size.

    Returns
    -------
    ndarray of float32, shape (row, column, 2)
        (dx, dy) in pixels per frame.

    Notes
    -----
    Where this differs from opencv-contrib, whose flow it otherwise gives: the second frame is
    looked up at exact places, not at 1/32 of a pixel, and `N_MORE` steps at the very end bring the
    energy down, which goes on falling when steps are small already.
    """
    check_pair(previous, current)
    frames = lanes.empty(2, *previous.shape)
    frames[:] = previous, current
    levels = _shrink(frames)
    flow = np.zeros_like(levels[-1])
    for k in reversed(range(len(levels))):
        if k < len(levels) - 1:
            flow = resize_flow(flow, *levels[k].shape[1:], factor=1 / SCALE_STEP)
        flow = _refine(levels[k], flow, n_more=N_MORE if k == 0 else 0)
    return np.ascontiguousarray(np.moveaxis(flow, 0, -1))


def tvl1_energy(previous: np.ndarray, current: np.ndarray, flow: np.ndarray) -> float:
    """Energy that `tvl1` makes small, of any flow.

    Parameters
    ----------
    previous, current
        uint8 (row, column), of one size.
    flow
        float32 (row, column, 2), (dx, dy) in pixels per frame.

    Returns
    -------
    float
        Sum over the pixels. Beyond the border of `current` the nearest pixel counts.
    """
    check_pair(previous, current)
    y, x = (axis.astype(np.float32) for axis in np.mgrid[: flow.shape[0], : flow.shape[1]])
    warped = cv2.remap(
        current.astype(np.float32),
        x + flow[..., 0],
        y + flow[..., 1],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    energy = LAMBDA * np.abs(warped - previous).sum(dtype=np.float64)
    across = np.diff(flow, axis=1, append=flow[:, -1:])
    down = np.diff(flow, axis=0, append=flow[-1:])
    return float(energy + np.hypot(across, down).sum(dtype=np.float64))
