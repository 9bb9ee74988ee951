"""Where the cells of a network's maps lie on its input image.

Rows and columns count from 0 at the centre of the first pixel. A convolution or a pool with kernel
k, stride s and padding p, fed with maps whose cells lie d pixels apart from o on, gives maps whose
cells lie s d pixels apart from o + ((k - 1) / 2 - p) d on: the centre of what each cell sees. The
numbers are taken down while a network runs, so they hold for any backbone, and for padding that
depends on the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from deep.backbones import Backbone

MARK = "trajfuse_lattice"  # attribute of a tensor whose cells are known


@dataclass(frozen=True)
class Lattice:
    """Centres of a map's cells on the input image.

    Attributes
    ----------
    offset
        Row and column of the first cell's centre, in pixels; may lie outside the image.
    stride
        Pixels from one cell's centre to the next, along rows and along columns.
    """

    offset: tuple[float, float] = (0.0, 0.0)
    stride: tuple[float, float] = (1.0, 1.0)

    def cells(self, points: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Find the cell whose centre is nearest to each point.

        Parameters
        ----------
        points : ndarray of float, shape (n, 2)
            (x, y) in pixels of the input image.
        shape
            Rows and columns of the map. Points beyond its outermost centres get the outermost cell.

        Returns
        -------
        rows, columns : ndarray of int64, shape (n,)
            Halfway between two centres it is the later one.
        """
        rows, columns = (
            np.floor((points[:, axis] - self.offset[1 - axis]) / self.stride[1 - axis] + 0.5)
            for axis in (1, 0)
        )
        return (
            np.clip(rows, 0, shape[0] - 1).astype(np.int64),
            np.clip(columns, 0, shape[1] - 1).astype(np.int64),
        )

    def behind(
        self,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Lattice:
        """Give the lattice behind a convolution or a pool; all pairs are (rows, columns)."""
        first, second = (
            self.offset[i] + (dilation[i] * (kernel[i] - 1) / 2 - padding[i]) * self.stride[i]
            for i in (0, 1)
        )
        return Lattice((first, second), (self.stride[0] * stride[0], self.stride[1] * stride[1]))


def run_layers(
    network: Backbone, images: torch.Tensor, layers: Sequence[str]
) -> dict[str, tuple[torch.Tensor, Lattice]]:
    """Run a backbone once and keep the maps of some layers, each with its lattice.

    Parameters
    ----------
    network
        In evaluation mode.
    images : Tensor of float32, shape (image, channel, row, column)
        As the network takes them.
    layers
        Names out of ``network.layers``.

    Returns
    -------
    dict of (Tensor of float32, shape (image, channel, h, w); Lattice)
        By layer, in the order of the data.

    Raises
    ------
    ValueError
        There is no such layer, or its cells have no place on one image (fully connected layers,
        slow fusion).
    """
    unknown = [name for name in layers if name not in network.layers]
    if unknown:
        raise ValueError(
            f"layers must be of {', '.join(network.layers)}, got {', '.join(unknown)}; "
            "choose among these"
        )
    found: dict[str, tuple[torch.Tensor, Lattice]] = {}
    maps = images.view_as(images)  # the mark stays off the caller's tensor
    _mark(maps, Lattice())
    before: str | None = None
    with _Trace():
        for name in (name for name in network.layers if name in layers):
            maps = network.run(maps, after=before, until=name)
            lattice = _lattice_of(maps)
            if lattice is None or maps.ndim != 4:
                raise ValueError(
                    f"layers must give maps whose cells lie on one image, got {name!r} of "
                    f"{type(network).__name__}; choose a convolution of a network that sees single "
                    "images"
                )
            found[name], before = (maps, lattice), name
    return found


class _Trace(TorchFunctionMode):
    """Mark what torch's functions return with the lattice of its cells."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.ndim == 4:
            lattice = _follow(func, args, kwargs, result)
            if lattice is not None:
                _mark(result, lattice)
        return result


def _follow(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor
) -> Lattice | None:
    """Lattice of a function's result; None where its place is not known."""
    known = [
        (lattice, tuple(tensor.shape[2:]))
        for tensor in _tensors([*args, *kwargs.values()])
        if (lattice := _lattice_of(tensor)) is not None
    ]
    if not known:
        return None
    lattice, _ = known[0]
    if func is torch.conv2d:
        order = ("input", "weight", "bias", "stride", "padding", "dilation")
        given = dict(zip(order, args, strict=False)) | kwargs
        usual = {"stride": 1, "padding": 0, "dilation": 1}
        steps = (_pair(given.get(name, number)) for name, number in usual.items())
        return lattice.behind(tuple(given["weight"].shape[2:]), *steps)
    if func in (functional.max_pool2d, functional.avg_pool2d):
        names = ("kernel_size", "stride", "padding", "dilation")
        given = dict(zip(names, args[1:], strict=False)) | kwargs
        kernel = _pair(given["kernel_size"])
        stride = given.get("stride")
        dilation = given.get("dilation", 1) if func is functional.max_pool2d else 1
        return lattice.behind(
            kernel, _pair(stride or kernel), _pair(given.get("padding", 0)), _pair(dilation)
        )
    if func is functional.pad:
        left, _, top, _ = (*args[1], 0, 0)[:4]
        offset = lattice.offset[0] - top * lattice.stride[0]
        return Lattice((offset, lattice.offset[1] - left * lattice.stride[1]), lattice.stride)
    if any(shape != tuple(result.shape[2:]) for _, shape in known):
        return None
    # Branches that meet (a sum, a concatenation) may lie apart by less than a cell.
    offsets = [each.offset for each, _ in known]
    first, second = (math.fsum(column) / len(known) for column in zip(*offsets, strict=True))
    return Lattice((first, second), lattice.stride)


def _tensors(values: Sequence[Any]) -> list[torch.Tensor]:
    """Tensors among arguments, and in lists of them."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [each for each in value if isinstance(each, torch.Tensor)]
    return found


def _mark(tensor: torch.Tensor, lattice: Lattice) -> None:
    setattr(tensor, MARK, lattice)


def _lattice_of(tensor: torch.Tensor) -> Lattice | None:
    return getattr(tensor, MARK, None)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Rows and columns of an argument that may stand for both."""
    if isinstance(value, int):
        return value, value
    first, second = (*value, *value)[:2] if len(value) == 1 else value
    return first, second
