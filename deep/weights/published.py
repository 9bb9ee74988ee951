"""State dicts that others publish: PyTorch's files and plain safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from deep.weights.stored import WeightsError

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts put it
PREFIX = "module."  # that torch.nn.DataParallel leaves behind


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict; nothing in the file is executed.

    Parameters
    ----------
    path
        A ``.safetensors`` file, or one that `torch.save` wrote: a state dict, or a checkpoint with
        a state dict in it. It is read with ``weights_only=True``.

    Returns
    -------
    dict of str to Tensor
        On the CPU, in the file's order, names without the ``module.`` of parallel training.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    WeightsError
        The file is broken, holds more than tensors, or holds none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a weight file, got {str(path)!r}; no such file")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as stored:
                found: Any = {name: stored.get_tensor(name) for name in stored.keys()}
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or hostile file sets off in the readers
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise WeightsError(
            f"cannot read weights {str(path)!r}: not a whole file of tensors alone ({reason}); "
            "download it again, or save the network's state_dict() to a new file"
        ) from error
    return _state_dict(found, path)


def _state_dict(found: Any, path: Path) -> dict[str, torch.Tensor]:
    """Find the state dict in what a file held."""
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(
            f"weights must be a state dict, got {type(found).__name__} in {str(path)!r}; "
            "save the network's state_dict()"
        )
    wrong = [str(name) for name, value in found.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise WeightsError(
            f"weights must be tensors by name, got something else for {', '.join(wrong[:4])} in "
            f"{str(path)!r}; save the network's state_dict() alone"
        )
    parallel = all(str(name).startswith(PREFIX) for name in found)
    return {
        str(name).removeprefix(PREFIX) if parallel else str(name): value
        for name, value in found.items()
    }
