"""Published weights into a tower: torchvision's, MatConvNet's, or any file with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from deep import weights
from deep.backbones import Backbone, build, cross_modality
from deep.backbones.chain import Chain
from deep.backbones.tower import Tower
from deep.flow import LEVELS, ZERO
from deep.weights import MatConvNet, WeightsError

CHAIN_LAYERS = (
    *(f"conv{n}" for n in range(1, 6)),
    *(f"conv{n}_{m}" for n in range(1, 6) for m in range(1, 4)),
    "fc6", "fc7", "fc8",
)  # fmt: skip
DENSE = ("fc6", "fc7", "fc8")
FLOW_BOUND = 20.0  # pixels per frame at the ends of the 8-bit flow that MatConvNet's nets were fed


def load_weights(tower: Tower, path: str | Path, *, new_classifier: bool = False) -> None:
    """Start a tower from published weights, all of them or none.

    A first layer for three channels becomes one for more by cross-modality initialisation. Layers
    behind the tower's last are left out. MatConvNet's files bring the mean of their training
    images; the tower then standardises its input as they do, in units of 0 to 255.

    Parameters
    ----------
    tower
        The tower.
    path
        A ``.mat`` file of MatConvNet (for CNN-M-2048 and VGG-16), or a state dict: ``.safetensors``
        or a file of `torch.save`.
    new_classifier
        Leave out the file's last layer, whatever its classes, and keep the tower's.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    deep.weights.WeightsError
        The file is broken or does not fit: which names, what shapes.
    """
    network = tower.backbone
    average = None
    if Path(path).suffix == ".mat":
        published = weights.read_matconvnet(path)
        state = chain_state(network, published, new_classifier=new_classifier)
        average = published.average
    else:
        state = weights.read_state(path)
        behind = _whole_names(tower.name) - set(network.state_dict())
        state = {name: tensor for name, tensor in state.items() if name not in behind}
        if new_classifier:
            state |= _classifier(network)
        state = _for_channels(network, state)
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(tensor))  # older files have none
    weights.check_fit(network, state, source=str(path))
    if average is not None:
        standardise(tower, average)
    network.load_state_dict(state)


def chain_state(
    network: Backbone, published: MatConvNet, *, suffix: str = "", new_classifier: bool = False
) -> dict[str, torch.Tensor]:
    """Give a MatConvNet network's arrays the names and axes of a chain's state dict.

    Parameters
    ----------
    network
        CNN-M-2048 or VGG-16.
    published
        The file's arrays.
    suffix
        Of the arrays' names that belong to this tower: ``_spatial`` or ``_temporal``.
    new_classifier
        Keep the network's last layer in place of the file's.

    Returns
    -------
    dict of str to Tensor
        All that `network`'s state dict names.

    Raises
    ------
    WeightsError
        A layer is missing, or there is one too many.
    """
    if not isinstance(network, Chain):
        raise WeightsError(
            f"MatConvNet weights must go into cnn-m-2048 or vgg-16, got {type(network).__name__}; "
            "build one of these"
        )
    names = _file_names(network, published, suffix)
    state: dict[str, torch.Tensor] = {}
    for layer, prefix in network.weighted.items():
        if new_classifier and layer == "fc8":
            state |= _classifier(network)
            continue
        n_axes = 2 if layer in DENSE else 4
        state[f"{prefix}.weight"] = published.tensor(f"{names[layer]}f{suffix}", n_axes)
        state[f"{prefix}.bias"] = published.tensor(f"{names[layer]}b{suffix}", 1)
    return _for_channels(network, state)


def standardise(tower: Tower, average: np.ndarray) -> None:
    """Let a tower standardise its input as MatConvNet does: 0 to 255 less the training mean.

    Flow is there in 8 bits, 128 for none and 20 pixels per frame at the ends.

    Parameters
    ----------
    tower
        The tower, changed in place.
    average : ndarray of float32, shape (channel x time,) or (channel,)
        Mean per input channel.

    Raises
    ------
    WeightsError
        There are not as many as the tower has channels.
    """
    n_channels = len(tower.mean)
    if len(average) not in (n_channels, n_channels * tower.n_times):
        raise WeightsError(
            f"the file's average image must have {n_channels * tower.n_times} channels, got "
            f"{len(average)}; give a file of this network"
        )
    mean = average.reshape(-1, n_channels).mean(axis=0)
    unit = 1 / 255  # of the tower's input in one of the file's
    if tower.modality == "flow":
        mean, unit = mean - ZERO, FLOW_BOUND / LEVELS
    tower.mean.copy_(torch.from_numpy(mean * unit).view(-1, 1, 1))
    tower.std.fill_(unit)


def _file_names(network: Chain, published: MatConvNet, suffix: str) -> dict[str, str]:
    """Layer names in the file by ours; a new last layer has lost its name on the way there."""
    stored = [n.removesuffix(f"f{suffix}") for n in published.arrays if n.endswith(f"f{suffix}")]
    if not suffix:
        stored = [name for name in stored if not name.endswith(("_spatial", "_temporal"))]
    names = {layer: layer for layer in network.weighted}
    unknown = [name for name in stored if name not in CHAIN_LAYERS]
    if "fc8" in names and "fc8" not in stored and unknown:
        names["fc8"] = unknown.pop()
    if unknown:
        raise WeightsError(
            f"weights must be of the layers {', '.join(names)}, got also {', '.join(unknown)} in "
            f"{published.source!r}; give a file of this network"
        )
    return names


def _classifier(network: Backbone) -> dict[str, torch.Tensor]:
    """Give a backbone's own last layer, the one with a row per class; nothing where it has none."""
    if network.last not in ("fc", "fc8"):
        return {}
    own = network.state_dict()
    prefix = list(own)[-1].rpartition(".")[0]
    return {name: tensor for name, tensor in own.items() if name.rpartition(".")[0] == prefix}


def _for_channels(network: Backbone, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn a first layer for RGB into one for the network's channels."""
    state = dict(state)
    name, own = next((n, t) for n, t in network.state_dict().items() if t.ndim == 4)
    if name in state and state[name].ndim == 4 and state[name].shape[1] == 3 != own.shape[1]:
        state[name] = cross_modality(state[name], own.shape[1])
    return state


def _whole_names(backbone: str) -> set[str]:
    """Names of all tensors of a backbone with its classifier."""
    if backbone.startswith(("small", "efficientnet", "slow")):
        return set()
    with torch.device("meta"):
        return set(build(backbone, 3, num_classes=1000).state_dict())
