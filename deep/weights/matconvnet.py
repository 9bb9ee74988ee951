"""Networks of MatConvNet: ``.mat`` files of its two forms.

*simplenn* is a chain, ``layers{i}`` with ``type``, ``name`` and ``weights`` (older files:
``filters`` and ``biases``). *DagNN* is a graph, ``params(i)`` with ``name`` and ``value``, as
feichtenhofer/twostreamfusion publishes its networks. MatConvNet's own rule for turning the first
into the second names the two tensors of a layer ``conv1`` ``conv1f`` and ``conv1b``, and those of
an unnamed i-th layer ``layer<i>f`` and ``layer<i>b``; so they are named here in both cases.

Filters are (row, column, input, output) arrays, those over time (row, column, time, input, output);
MATLAB leaves out trailing dimensions of 1. A fully connected layer is a convolution over all of its
input. Convolution is correlation there as in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deep.weights.stored import WeightsError
from idt.matlab import read_mat

VARIABLES = ("net", "layers", "params", "meta", "normalization")  # all others are left unread
MAX_BYTES = 1 << 31  # of one variable: VGG-16 has half a gigabyte


@dataclass(frozen=True)
class MatConvNet:
    """What a file held.

    Attributes
    ----------
    source
        The file.
    arrays : dict of str to ndarray of float32
        By name, ``conv1f`` and ``conv1b``, in the file's order.
    average : ndarray of float32, shape (channel,), or None
        Mean of the training images per input channel, in their units of 0 to 255.
    """

    source: str
    arrays: dict[str, np.ndarray]
    average: np.ndarray | None

    def tensor(self, name: str, n_axes: int) -> torch.Tensor:
        """Give one array in PyTorch's order of axes.

        Parameters
        ----------
        name
            ``conv1f`` for filters, ``conv1b`` for biases.
        n_axes
            Of the tensor it is meant for: 4 (output, input, row, column), 5 (output, input, time,
            row, column), 2 (output, input x row x column), or 1 (output,).

        Raises
        ------
        WeightsError
            There is no such array, or it has more axes.
        """
        if name not in self.arrays:
            raise WeightsError(
                f"weights must have an array {name}, got {', '.join(self.arrays)} in "
                f"{self.source!r}; give a file of this network"
            )
        array = self.arrays[name]
        if n_axes == 1:
            return torch.from_numpy(array.reshape(-1).copy())
        rank = max(n_axes, 4)
        if array.ndim > rank:
            raise WeightsError(
                f"{name} must have at most {rank} axes, got shape {array.shape} in "
                f"{self.source!r}; give a file of this network"
            )
        whole: Any = array.reshape(array.shape + (1,) * (rank - array.ndim))
        whole = whole.transpose((4, 3, 2, 0, 1) if rank == 5 else (3, 2, 0, 1))
        whole = whole.reshape(len(whole), -1) if n_axes == 2 else whole
        return torch.from_numpy(np.ascontiguousarray(whole))


def read_matconvnet(path: str | Path) -> MatConvNet:
    """Read a MatConvNet network, simplenn or DagNN; nothing in the file is executed.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    WeightsError
        The file is broken, of MATLAB's version 7.3, or holds no such network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a weight file, got {str(path)!r}; no such file")
    try:
        found = read_mat(path, VARIABLES, limit=MAX_BYTES)
    except (OSError, ValueError, MemoryError) as error:
        raise WeightsError(
            f"cannot read weights {str(path)!r}: not a whole MATLAB file ({error}); "
            "download it again"
        ) from error
    try:
        network = found["net"] if "net" in found else found
        params = _field(network, "params")
        arrays = _of_graph(params) if params is not None else _of_chain(_field(network, "layers"))
        meta = _field(network, "meta")
        normalization = _field(network if meta is None else meta, "normalization")
        average = _average(_field(normalization, "averageImage"))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"cannot read weights {str(path)!r}: neither a simplenn nor a DagNN network ({error}); "
            "give one of MatConvNet's"
        ) from error
    if not arrays:
        raise WeightsError(
            f"weights must have layers with filters, got none in {str(path)!r}; give a MatConvNet "
            "network, simplenn or DagNN"
        )
    return MatConvNet(str(path), arrays, average)


def _of_graph(params: Any) -> dict[str, np.ndarray]:
    """Arrays of a DagNN's ``params``, a struct array with ``name`` and ``value``."""
    return {
        _text(entry["name"]): _numbers(entry["value"]) for entry in np.asarray(params).reshape(-1)
    }


def _of_chain(layers: Any) -> dict[str, np.ndarray]:
    """Arrays of a simplenn's ``layers``, a cell array of structs, named as MatConvNet would."""
    arrays: dict[str, np.ndarray] = {}
    cells: Any = np.asarray(layers).reshape(-1) if layers is not None else []
    for index, layer in enumerate(cells, start=1):
        weights, filters = _field(layer, "weights"), _field(layer, "filters")
        name = _field(layer, "name")
        name = _text(name) if name is not None and np.size(name) else f"layer{index}"
        if weights is not None and np.size(weights):
            parts = list(np.asarray(weights).reshape(-1))
        elif filters is not None:
            parts = [filters, _field(layer, "biases")]
        else:
            continue  # pooling, ReLU and the like
        for part, suffix in zip(parts, "fb", strict=False):
            if part is not None and np.size(part):
                arrays[name + suffix] = _numbers(part)
    return arrays


def _field(value: Any, name: str) -> Any:
    """Look a field up in a variable table or in a 1 x 1 struct; None where there is none."""
    if isinstance(value, dict):
        return value.get(name)
    if value is None or value.dtype.names is None or name not in value.dtype.names:
        return None
    inner = value[name]
    return (
        inner.reshape(-1)[0] if isinstance(inner, np.ndarray) and inner.dtype == object else inner
    )


def _text(value: Any) -> str:
    """Give a MATLAB string."""
    return str(np.asarray(value).reshape(-1)[0])


def _numbers(value: Any) -> np.ndarray:
    """Give an array of numbers as float32."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"an array of {array.dtype} where numbers are needed")
    return array.astype(np.float32)


def _average(value: Any) -> np.ndarray | None:
    """Mean of an average image over rows and columns, per channel."""
    if value is None or not np.size(value):
        return None
    image = _numbers(value)
    if image.ndim < 3:
        return image.reshape(-1)
    mean = image.reshape(-1, image.shape[-1]).mean(axis=0, dtype=np.float64)
    return np.asarray(mean, np.float32)
