"""What every image network here is: layers with names, run one after the other."""

from __future__ import annotations

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1], as torchvision's weights expect
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """An image network cut into named layers.

    Attributes
    ----------
    layers : dict of str to int
        Names and channels of its layers up to `last`, in the order of the data. Each name stands
        for the maps behind that layer's ReLU; ``fc8`` and ``fc`` are logits.
    last : str
        Where it ends.
    channels : int
        Of the maps at `last`.
    mean, std : tuple of float
        Of its RGB input in [0, 1].
    side : int
        Rows and columns of the input it was made for. Networks with fully connected layers need at
        least as many.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    side: int = 224
    last: str
    layers: dict[str, int]

    @property
    def channels(self) -> int:
        """Channels of the maps at `last`."""
        return self.layers[self.last]

    @property
    def steps(self) -> dict[str, nn.Module]:
        """What leads from each of the `layers` to the next, by the name of the next."""
        raise NotImplementedError

    @property
    def stages(self) -> list[nn.Module]:
        """The parts in the order of the data, which are frozen from the front."""
        return list(self.steps.values())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn images into maps.

        Parameters
        ----------
        x : Tensor of float32, shape (image, channel, row, column)

        Returns
        -------
        Tensor of float32, shape (image, `channels`, h, w)
        """
        return self.run(x)

    def run(
        self, x: torch.Tensor, *, after: str | None = None, until: str | None = None
    ) -> torch.Tensor:
        """Compute a part of the network.

        Parameters
        ----------
        x : Tensor of float32, shape (image, channel, row, column)
            Images, or the maps of the layer `after`.
        after
            Layer whose maps are given; None for images.
        until
            Layer whose maps are wanted; None for `last`.
        """
        names = list(self.layers)
        first = 0 if after is None else names.index(after) + 1
        end = len(names) if until is None else names.index(until) + 1
        for step in list(self.steps.values())[first:end]:
            x = step(x)
        return x


def cut(layers: dict[str, int], last: str) -> dict[str, int]:
    """Keep the layers up to `last`.

    Raises
    ------
    ValueError
        There is none of that name; lists those that there are.
    """
    if last not in layers:
        raise ValueError(
            f"last must be a layer of the backbone ({', '.join(layers)}), got {last!r}; "
            "choose one of these"
        )
    names = list(layers)
    return {name: layers[name] for name in names[: names.index(last) + 1]}


def start(module: nn.Module) -> None:
    """Draw a network's first weights.

    Normal with variance 2 / fan-out for convolutions, as in torchvision, and 2 / fan-in for linear
    layers (He et al. 2015; for VGG-16's full6 close to torchvision's fixed deviation of 0.01, and
    right for narrow networks, too); biases 0; batch normalisation 1 and 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear | nn.BatchNorm2d):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
