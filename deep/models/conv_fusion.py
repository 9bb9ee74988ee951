"""Convolutional two-stream fusion: towers joined at the last convolution, then 3D pooled over time.

C. Feichtenhofer, A. Pinz and A. Zisserman, "Convolutional Two-Stream Network Fusion for Video
Action Recognition", CVPR 2016: figure 5, sections 3.1 to 3.5, and the released code's numbers where
the paper has none (initialisation scales 0.25 and 0.75).

The spatial tower's maps at T frames and the temporal tower's maps at the T flow stacks around them
are stacked by channel and filtered by a 3D convolution, pooled over space and time, and classified
(head ``fused``). The temporal tower is not cut: its own maps are pooled the same way and classified
too (head ``temporal``). Both losses are added; at test the heads' predictions are averaged.

What deviates
-------------
- The backbone is one that two CPU cores can train, not VGG-16. EfficientNet-Lite0 is cut at its
  last block, with batch normalisation and ReLU behind: 320 channels keep the 3D filter at 5.5
  million weights (its 1280-channel last convolution would need 88).
- T = 3 chunks instead of 5.
- Behind the 3D pooling: average over what is left of space, dropout and one linear layer instead of
  fc6 to fc8.
- The towers are not trained alone first: the temporal one is fine-tuned together with the fusion,
  the spatial one keeps its ImageNet weights. The gradient runs through all that is not frozen,
  where the paper stops at the fusion layer.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from deep.backbones import resolve
from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.spatial_fusion import SpatialFusion
from deep.temporal_fusion import Conv3dFusion, Pool3d

INPUT = ClipSpec(segments=3, strides=(5, 15), stack=10)
# Numbers chosen by validation on held-out groups of UT-Interaction's training split. AdamW in place
# of SGD because a CPU affords only a few hundred steps.
RECIPE: dict[str, Any] = {
    "epochs": 40,
    "passes": 1,
    "batch_size": 12,
    "optimiser": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 1e-2,
    "label_smoothing": 0.1,
    "size": 112,
    "n_clips": 5,
}
# The 17 stages of the spatial backbone that come from ImageNet stay as they are; the normalisation
# behind them, the fusion and the whole temporal tower learn. Batches of six at this rate left more
# held-out clips right than twelve at half of it.
FINE_TUNE: dict[str, Any] = {
    "epochs": 36,
    "batch_size": 6,
    "learning_rate": 1e-3,
    "frozen": (17, 0),
}
LAST = {"small": "relu5", "efficientnet-lite0": "block16"}  # where each backbone is cut
FUSIONS = ("conv3d", "sum", "max", "concat", "conv")


class Head(nn.Module):
    """3D pooling, average over space, dropout, linear layer."""

    def __init__(self, channels: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.pool = Pool3d()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(batch, channel, segment, h, w) to logits (batch, class)."""
        pooled = self.pool(maps)  # (batch, channel, h / 2, w / 2)
        return cast(torch.Tensor, self.classifier(self.dropout(pooled.mean(dim=(2, 3)))))


class ConvFusion(nn.Module):
    """Two towers, fused at their last maps, with a fused and a temporal head.

    Parameters
    ----------
    spatial, temporal
        Towers with equal numbers of channels.
    fusion
        A layer from two maps (batch, D, segment, h, w) to one.
    fused, own
        Heads over the fused maps and over the temporal tower's own.
    """

    def __init__(
        self, spatial: Tower, temporal: Tower, fusion: nn.Module, *, fused: Head, own: Head
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal
        self.fusion = fusion
        self.fused = fused
        self.own = own

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Logits of both heads.

        Parameters
        ----------
        rgb : Tensor of float32, shape (batch, segment, 3, 1, row, column)
        flow : Tensor of float32, shape (batch, segment, 2, L, row, column)

        Returns
        -------
        dict of Tensor, shape (batch, class)
            ``fused`` and ``temporal``.
        """
        if rgb is None or flow is None:
            missing = "rgb" if rgb is None else "flow"
            raise ValueError(f"{missing} must be given, got None; conv fusion needs rgb and flow")
        if rgb.shape[:2] != flow.shape[:2]:
            raise ValueError(
                f"rgb and flow must have one batch and segment count, got {tuple(rgb.shape[:2])} "
                f"and {tuple(flow.shape[:2])}; cut both from the same clips"
            )
        x_a = self.spatial(rgb)  # (batch, D, segment, h, w)
        x_b = self.temporal(flow)  # (batch, D, segment, h, w)
        return {"fused": self.fused(self.fusion(x_a, x_b)), "temporal": self.own(x_b)}

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean of the heads' logits, shape (batch, class)."""
        return torch.stack(list(heads.values())).mean(dim=0)

    def forward(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores (batch, class): `fuse` of `heads`."""
        return self.fuse(self.heads(rgb, flow))


def build(
    num_classes: int,
    *,
    backbone: str = "small",
    fusion: str = "conv3d",
    stack: int = INPUT.stack,
    dropout: float = 0.5,
    frozen: tuple[int, int] = (0, 0),
) -> ConvFusion:
    """Build the network.

    Parameters
    ----------
    num_classes
        Number of logits.
    backbone
        Of both towers, see `deep.backbones`.
    fusion
        ``conv3d`` (the paper's final network), or ``sum``, ``max``, ``concat``, ``conv`` at each
        segment alone (its Table 1), with the 3D pooling either way.
    stack
        Number L of flow fields.
    dropout
        Before each linear layer.
    frozen
        Stages of the spatial and of the temporal backbone, from the front, that do not learn.
    """
    if fusion not in FUSIONS:
        raise ValueError(
            f"fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}; choose one of these"
        )
    backbone = resolve(backbone)
    spatial, temporal = (
        Tower(
            backbone,
            modality=modality,
            n_times=n_times,
            last=LAST[backbone],
            frozen=n_frozen,
        )
        for modality, n_times, n_frozen in zip(("rgb", "flow"), (1, stack), frozen, strict=True)
    )
    channels = spatial.channels
    layer: nn.Module
    if fusion == "conv3d":
        layer = Conv3dFusion(channels)
    else:
        layer = SpatialFusion(fusion, channels)
    fused_channels = 2 * channels if fusion == "concat" else channels
    return ConvFusion(
        spatial,
        temporal,
        layer,
        fused=Head(fused_channels, num_classes, dropout=dropout),
        own=Head(channels, num_classes, dropout=dropout),
    )
