"""Our own files: safetensors with the settings that made them in the header."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

VERSION = 2  # 1 had no standardisation of the towers' input
HEADER = "trajfuse"  # the metadata key under which version and settings stand, as JSON
SHOWN = 4  # names listed in an error before "and n more"


class WeightsError(ValueError):
    """A weight file that cannot be read, or does not fit the network it is meant for."""


def save(
    path: str | Path, tensors: Mapping[str, torch.Tensor], *, settings: dict[str, Any]
) -> None:
    """Write tensors and settings to one file, whole or not at all.

    Parameters
    ----------
    path
        The file, by custom `.safetensors`. An older file of that name is replaced.
    tensors
        By name, as `Module.state_dict` gives them.
    settings
        JSON-able; come back from `load`.
    """
    path = Path(path)
    header = json.dumps({"version": VERSION, "settings": settings}, sort_keys=True)
    contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    handle, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        save_file(contents, temporary, metadata={HEADER: header})
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read tensors and settings that `save` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    WeightsError
        The file is not a whole safetensors file, or was not written by `save`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a weight file, got {str(path)!r}; no such file")
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            header = json.loads(metadata[HEADER])
            version, settings = header["version"], dict(header["settings"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read weights {str(path)!r}: {error}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"cannot read weights {str(path)!r}: the settings of the network are missing from its "
            "header; give a file that `trajfuse deep train` wrote"
        ) from error
    if version != VERSION:
        raise WeightsError(
            f"weights must be of version {VERSION}, got version {version!r} in {str(path)!r}; "
            "train again with this release"
        )
    return tensors, settings


def fit_into(module: nn.Module, tensors: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Copy tensors into a module, all of them or none.

    Parameters
    ----------
    module
        The network.
    tensors
        Must have the names and shapes of the module's state dict, no more and no fewer.
    source
        Where they come from, for the message.

    Raises
    ------
    WeightsError
        Names every kind of misfit: missing, unexpected and differently shaped tensors.
    """
    check_fit(module, tensors, source=source)
    module.load_state_dict(dict(tensors))


def check_fit(module: nn.Module, tensors: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Raise what `fit_into` would, without copying."""
    own = module.state_dict()
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} where {tuple(own[name].shape)} is needed"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    misfits = [
        f"{kind}: {_listed(names)}"
        for kind, names in (
            ("missing", [name for name in own if name not in tensors]),
            ("unexpected", [name for name in tensors if name not in own]),
            ("of another shape", misshapen),
        )
        if names
    ]
    if misfits:
        raise WeightsError(
            f"weights must fit {type(module).__name__}, got from {source}: {'; '.join(misfits)}; "
            "nothing was loaded, build the network with the options the weights were trained with"
        )


def _listed(names: list[str]) -> str:
    """List the first names and how many follow."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
