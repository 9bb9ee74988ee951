"""Fused networks as feichtenhofer/twostreamfusion publishes them: one DagNN of both towers.

Its parameters carry ``_spatial`` and ``_temporal`` behind the names of the image network they come
from. The fusing convolution, without either, is ``conv3D`` (``conv3Df``, ``conv3Db``), or where it
is 1 x 1 ``conv_fusion_1`` and so on. Concatenation puts the spatial maps first, as here. The
average image has the channels of the flow stack, then those of RGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from deep import weights
from deep.backbones.loading import chain_state, standardise
from deep.weights import MatConvNet, WeightsError

if TYPE_CHECKING:
    from deep.models.conv_fusion import ConvFusion


def load_matconvnet(network: ConvFusion, path: str | Path) -> None:
    """Give a network the weights of a published fused one, all of them or none.

    Parameters
    ----------
    network
        Built as the published one: VGG-16 or CNN-M-2048 towers, ``conv3d`` or ``conv`` fusion.
    path
        The ``.mat`` file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    deep.weights.WeightsError
        The file is broken or does not fit: which names, what shapes.
    """
    published = weights.read_matconvnet(path)
    towers = {"spatial": network.spatial, "temporal": network.temporal}
    found: dict[str, torch.Tensor] = {}
    for name, tower in towers.items():
        state = chain_state(tower.backbone, published, suffix=f"_{name}")
        found |= {f"{name}.backbone.{key}": tensor for key, tensor in state.items()}
    found |= _fusions(network, published)
    own = network.state_dict()
    kept = {key: tensor for key, tensor in own.items() if key.endswith((".mean", ".std"))}
    weights.check_fit(network, {**kept, **found}, source=str(path))
    if published.average is not None:
        n_flow = 2 * network.temporal.n_times
        if len(published.average) != n_flow + 3:
            raise WeightsError(
                f"the file's average image must have {n_flow} + 3 channels, got "
                f"{len(published.average)}; build the network with the stack of the file's flow"
            )
        standardise(network.temporal, published.average[:n_flow])
        standardise(network.spatial, published.average[n_flow:])
    network.load_state_dict(found, strict=False)  # all but the buffers just set


def _fusions(network: ConvFusion, published: MatConvNet) -> dict[str, torch.Tensor]:
    """Weights of the fusing convolutions by the network's names."""
    convolutions = [
        (name, module)
        for name, module in network.joins.named_modules(prefix="joins")
        if isinstance(module, nn.Conv3d)
    ]
    found: dict[str, torch.Tensor] = {}
    for index, (name, conv) in enumerate(convolutions, start=1):
        over_time = conv.kernel_size[0] > 1
        array = "conv3D" if over_time else f"conv_fusion_{index}"
        weight = published.tensor(f"{array}f", 5 if over_time else 4)
        found[f"{name}.weight"] = weight if over_time else weight[:, :, None]
        found[f"{name}.bias"] = published.tensor(f"{array}b", 1)
    return found
