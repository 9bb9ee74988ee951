"""A network small enough to learn from scratch on a CPU."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from deep.backbones.backbone import Backbone, cut


class Small(Backbone):
    """Five convolutions that learn from scratch on two CPU cores.

    0.6 million weights, few enough for a hundred clips, and 0.1 GFLOP for a 112 x 112 image, all of
    it in dense 3 x 3 and 5 x 5 kernels, which a CPU runs at several times the rate of the
    depthwise ones that make larger networks look cheap. Batch normalisation lets it learn at a rate
    that settles within a few hundred steps.

    Parameters
    ----------
    in_channels
        3 for RGB, 2L for flow.
    last
        Layer to end at: one of `LAYERS`, each a ReLU.
    """

    side = 112
    LAYERS: ClassVar[dict[str, int]] = {
        "relu1": 32, "relu2": 64, "relu3": 128, "relu4": 128, "relu5": 256
    }  # fmt: skip
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def __init__(self, in_channels: int, *, last: str = "relu5") -> None:
        super().__init__()
        self.last = last
        self.layers = cut(self.LAYERS, last)
        widths = list(self.layers.values())
        blocks = []
        for index, (inputs, outputs) in enumerate(
            zip([in_channels, *widths], widths, strict=False)
        ):
            # /2 in the first convolution, then a pool before each layer but the fourth: /16
            blocks.append(
                nn.Sequential(
                    nn.MaxPool2d(2) if index in (1, 2, 4) else nn.Identity(),
                    nn.Conv2d(
                        inputs,
                        outputs,
                        kernel_size=5 if index == 0 else 3,
                        stride=2 if index == 0 else 1,
                        padding=2 if index == 0 else 1,
                        bias=False,
                    ),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                )
            )
        self.blocks = nn.ModuleList(blocks)

    @property
    def steps(self) -> dict[str, nn.Module]:
        """The five layers up to `last`, each with the pool before it."""
        return dict(zip(self.layers, self.blocks, strict=True))
