"""TV-L1 flow of many pairs of frames at once, for a GPU: the scheme of `idt.flow.tvl1` in torch.

Flow is ``(dx, dy)`` in pixels per frame. Every pair stops where it would stop alone, so that the
other pairs of a batch do not change its flow.

Every operation is that of the compiled kernels, in their order: where little tells the flow, as on
the plain backgrounds of real clips, a last digit that differs grows from step to step to hundredths
of a pixel on average, and to several pixels in places. Roots are taken in double precision and
rounded, as torch's single precision ones are not the nearest floats on a CPU.

References
----------
Zach, Pock and Bischof, A Duality Based Approach for Realtime TV-L1 Optical Flow, DAGM 2007.
Sanchez Perez, Meinhardt-Llopis and Facciolo, TV-L1 Optical Flow Estimation, IPOL 2013.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from idt.flow.tvl1 import (
    CUBIC,
    EPSILON,
    FLAT,
    LAMBDA,
    MIN_SIDE,
    N_LEVELS,
    N_MORE,
    N_ROUNDS,
    N_STEPS,
    N_WARPS,
    PAD,
    SCALE_STEP,
    TAU,
    THETA,
)
from idt.pyramid import bilinear_positions


def _resize_axis(planes: torch.Tensor, dim: int, n_out: int, ratio: float | None) -> torch.Tensor:
    """Interpolate bilinearly along one axis, in the places of `idt.flow.resize_flow`."""
    n_in = planes.shape[dim]
    first, weight = bilinear_positions(n_in, n_out, ratio=ratio)
    near = torch.tensor(first, device=planes.device)
    far = (near + 1).clamp(max=n_in - 1)
    shape = [1] * planes.ndim
    shape[dim] = n_out
    fraction = torch.tensor(weight, device=planes.device).view(shape)
    return (
        planes.index_select(dim, near) * (1 - fraction) + planes.index_select(dim, far) * fraction
    )


def _resize(planes: torch.Tensor, n_rows: int, n_columns: int, ratio: float | None) -> torch.Tensor:
    """Resize planes (..., row, column)."""
    return _resize_axis(_resize_axis(planes, -1, n_columns, ratio), -2, n_rows, ratio)


def _median(flow: torch.Tensor) -> torch.Tensor:
    """Median of 5 x 5 neighbours of (batch, 2, row, column); at the border the nearest counts."""
    padded = functional.pad(flow, (2, 2, 2, 2), mode="replicate")
    return padded.unfold(2, 5, 1).unfold(3, 5, 1).flatten(4).median(dim=4).values


def _cubic_weights(far: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Weights of four neighbours, `far` behind the second of them."""
    near = 1 - far
    w0 = CUBIC * far * near * near
    w1 = ((CUBIC + 2) * far - (CUBIC + 3)) * far * far + 1
    w2 = ((CUBIC + 2) * near - (CUBIC + 3)) * near * near + 1
    return w0, w1, w2, 1 - w0 - w1 - w2


def _warp(second: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Look up (batch, 3, row, column), with `PAD` of zeros around, where the flow leads."""
    n_rows, n_columns = flow.shape[2:]
    y = torch.arange(n_rows, device=flow.device, dtype=flow.dtype)[:, None]
    x = torch.arange(n_columns, device=flow.device, dtype=flow.dtype)
    place_x = (x + flow[:, 0]).clamp(-3, n_columns + 1)
    place_y = (y + flow[:, 1]).clamp(-3, n_rows + 1)
    left, top = place_x.floor(), place_y.floor()
    weights_x, weights_y = _cubic_weights(place_x - left), _cubic_weights(place_y - top)
    wide = second.shape[3]
    corner = (top.long() + PAD - 1) * wide + left.long() + PAD - 1
    pixels = second.flatten(2)
    warped = torch.zeros_like(second[..., :n_rows, :n_columns])
    for r, weight_y in enumerate(weights_y):
        row = torch.zeros_like(warped)
        for c, weight_x in enumerate(weights_x):
            at = (corner + r * wide + c).flatten(1)[:, None].expand(-1, 3, -1)
            row += weight_x[:, None] * pixels.gather(2, at).view_as(warped)
        warped += weight_y[:, None] * row
    return warped


def _differentiate(image: torch.Tensor) -> torch.Tensor:
    """Images (batch, row, column) and their central differences, (batch, 3, row, column)."""
    padded = functional.pad(image[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    return functional.pad(torch.stack([image, across, down], dim=1), (PAD,) * 4)


def _slope(flow: torch.Tensor, dim: int) -> torch.Tensor:
    """Forward differences, zero at the end."""
    return flow.diff(dim=dim, append=flow.narrow(dim, -1, 1))


def _step(
    flow: torch.Tensor,
    dual: torch.Tensor,
    gradient: torch.Tensor,
    inverse: torch.Tensor,
    residue: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """New flow (batch, 2, row, column) and dual variable (2, batch, 2, row, column)."""
    gx, gy = gradient.split(1, dim=1)
    difference = residue + gx * flow[:, :1] + gy * flow[:, 1:]
    reached = (-difference * inverse).clamp(-LAMBDA * THETA, LAMBDA * THETA)
    along, down = dual
    divergence = along.diff(dim=3, prepend=torch.zeros_like(along[..., :1]))
    divergence = divergence + down
    divergence[..., 1:, :] -= down[..., :-1, :]
    flow = flow + reached * gradient + THETA * divergence
    across, below = _slope(flow, 3), _slope(flow, 2)
    length = (across * across + below * below).double().sqrt().float()
    shrink = 1 / (1 + TAU / THETA * length)
    return flow, (dual + TAU / THETA * torch.stack([across, below])) * shrink


def _solve_level(frames: torch.Tensor, flow: torch.Tensor, *, n_more: int) -> torch.Tensor:
    """Flow of a level, (batch, 2, row, column), out of that of the level before."""
    first, second = frames[:, :1], _differentiate(frames[:, 1])
    enough = EPSILON**2 * first[0].numel()
    dual = flow.new_zeros((2, *flow.shape))
    for _ in range(N_WARPS):
        warped, gx, gy = _warp(second, flow).split(1, dim=1)
        gradient = torch.cat([gx, gy], dim=1)
        square = gx * gx + gy * gy
        inverse = torch.where(square > FLAT, 1 / square.clamp(min=FLAT), 0)
        residue = warped - gx * flow[:, :1] - gy * flow[:, 1:] - first
        moving = torch.ones(len(flow), dtype=torch.bool, device=flow.device)
        for _ in range(N_ROUNDS):
            if not moving.any():
                break
            flow = torch.where(moving[:, None, None, None], _median(flow), flow)
            for _ in range(N_STEPS):
                kept = moving[:, None, None, None]
                stepped, turned = _step(flow, dual, gradient, inverse, residue)
                change = ((stepped - flow) ** 2).sum(dim=(1, 2, 3), dtype=torch.float64)
                flow, dual = torch.where(kept, stepped, flow), torch.where(kept, turned, dual)
                moving = moving & (change > enough)
                if not moving.any():
                    break
    for _ in range(n_more):
        flow, dual = _step(flow, dual, gradient, inverse, residue)
    return flow


@torch.no_grad()
def tvl1_batch(previous: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    """Flow between many pairs of grey frames by total variation and absolute differences.

    Parameters
    ----------
    previous, current
        uint8 (batch, row, column), of one size and on one device, at least 2 pixels a side.

    Returns
    -------
    tensor of float32, shape (batch, row, column, 2)
        (dx, dy) in pixels per frame, on the frames' device. It is that of `idt.flow.tvl1` bit for
        bit where a device rounds as IEEE 754 has it, unless a pair's last step is within 1e-6 of
        the limit: sums over the frame are rounded in another order.
    """
    for name, frames in (("previous", previous), ("current", current)):
        if frames.ndim != 3 or frames.dtype != torch.uint8 or min(frames.shape) < 1:
            raise ValueError(
                f"{name} must be uint8 grey frames (batch, row, column), got {frames.dtype} "
                f"{tuple(frames.shape)}; convert them first"
            )
    if previous.shape != current.shape or previous.device != current.device:
        raise ValueError(
            "previous and current must have one size and device, got "
            f"{tuple(previous.shape)} on {previous.device} and {tuple(current.shape)} on "
            f"{current.device}; bring one to the other's"
        )
    if min(previous.shape[1:]) < 2:
        raise ValueError(
            f"frames must be at least 2 pixels a side, got {tuple(previous.shape[1:])}; "
            "enlarge them"
        )
    levels = [torch.stack([previous, current], dim=1).float()]
    while len(levels) < N_LEVELS:
        n_rows, n_columns = (round(side * SCALE_STEP) for side in levels[-1].shape[2:])
        if min(n_rows, n_columns) < MIN_SIDE:
            break
        levels.append(_resize(levels[-1], n_rows, n_columns, 1 / SCALE_STEP))
    flow = torch.zeros_like(levels[-1])
    for k in reversed(range(len(levels))):
        if k < len(levels) - 1:
            n_rows, n_columns = levels[k].shape[2:]
            flow = _resize(flow, n_rows, n_columns, None) * (1 / SCALE_STEP)
        flow = _solve_level(levels[k], flow, n_more=N_MORE if k == 0 else 0)
    return flow.movedim(1, 3).contiguous()
