"""Two-Stream ConvNets: one network on a frame, one on stacked flow, their softmax scores averaged.

K. Simonyan and A. Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos",
NIPS 2014: figure 1, sections 2 to 4.

What deviates
-------------
- The backbone is one that two CPU cores can train, not CNN-M-2048; behind its last convolution
  stand global average pooling, dropout and one linear layer instead of full6 to full8.
- Both streams are trained in one loop, side by side: they share no weight and their losses are
  added, so each learns as it would alone.
- With ImageNet weights the temporal stream starts from them too (cross-modality initialisation) and
  is fine-tuned whole, where the paper trains it from scratch: there are a hundred clips here, not
  ten thousand. Of the spatial stream the last layer alone learns, as the paper chose.
- Views keep at least three quarters of each side instead of 224 of 256 rows, and fewer are averaged
  at test: equally spaced clips of the whole frame and its mirror image, not 25 x 10 crops.
- Softmax is taken of each stream's logits averaged over views, not averaged itself over views.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from deep.backbones.tower import Tower
from deep.clips import ClipSpec

INPUT = ClipSpec(segments=1, stack=10)
# Numbers chosen by validation on held-out groups of UT-Interaction's training split. AdamW in place
# of SGD because a CPU affords only a few hundred steps.
RECIPE: dict[str, Any] = {
    "epochs": 60,
    "passes": 1,
    "batch_size": 16,
    "optimiser": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 1e-2,
    "label_smoothing": 0.1,
    "size": 112,
    "n_clips": 10,
}
# All 18 stages of the spatial backbone keep their ImageNet weights: held-out clips were at least as
# often right as with the last 4 or 8 stages learning, and no gradient needs to run through them.
FINE_TUNE: dict[str, Any] = {
    "batch_size": 8,
    "learning_rate": 1e-3,
    "frozen": (18, 0),
}


class Stream(nn.Module):
    """Tower, average over space, dropout, linear layer; several segments are averaged last."""

    def __init__(self, tower: Tower, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.tower = tower
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(tower.channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, segment, channel, time, row, column) to logits (batch, class)."""
        maps = self.tower(x)  # (batch, D, segment, h, w)
        vectors = maps.mean(dim=(3, 4)).transpose(1, 2)  # (batch, segment, D)
        return cast(torch.Tensor, self.classifier(self.dropout(vectors)).mean(dim=1))


class TwoStream(nn.Module):
    """A spatial and a temporal stream with late fusion.

    Parameters
    ----------
    spatial, temporal
        The streams.
    """

    def __init__(self, spatial: Stream, temporal: Stream) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Logits of each stream that is given an input.

        Parameters
        ----------
        rgb : Tensor of float32, shape (batch, segment, 3, 1, row, column), or None
        flow : Tensor of float32, shape (batch, segment, 2, L, row, column), or None

        Returns
        -------
        dict of Tensor, shape (batch, class)
            ``spatial`` and ``temporal``.
        """
        if rgb is None and flow is None:
            raise ValueError("rgb and flow must not both be None, got two; give at least one")
        logits = {}
        if rgb is not None:
            logits["spatial"] = self.spatial(rgb)
        if flow is not None:
            logits["temporal"] = self.temporal(flow)
        return logits

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logarithm of the streams' mean softmax, shape (batch, class) (section 2)."""
        softmax = torch.stack([logits.softmax(dim=1) for logits in heads.values()])
        return softmax.mean(dim=0).clamp_min(torch.finfo(softmax.dtype).tiny).log()

    def forward(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores (batch, class): `fuse` of `heads`."""
        return self.fuse(self.heads(rgb, flow))


def build(
    num_classes: int,
    *,
    backbone: str = "small",
    stack: int = INPUT.stack,
    dropout: float = 0.5,
    frozen: tuple[int, int] = (0, 0),
) -> TwoStream:
    """Build the network.

    Parameters
    ----------
    num_classes
        Number of logits.
    backbone
        Of both streams, see `deep.backbones`.
    stack
        Number L of flow fields.
    dropout
        Before each linear layer.
    frozen
        Stages of the spatial and of the temporal backbone, from the front, that do not learn.
    """
    spatial, temporal = (
        Tower(
            backbone,
            modality=modality,
            n_times=n_times,
            frozen=n_frozen,
        )
        for modality, n_times, n_frozen in zip(("rgb", "flow"), (1, stack), frozen, strict=True)
    )
    return TwoStream(
        Stream(spatial, num_classes, dropout=dropout),
        Stream(temporal, num_classes, dropout=dropout),
    )
