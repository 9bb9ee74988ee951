"""Convolutional two-stream fusion: towers joined at the last convolution, then 3D pooled over time.

C. Feichtenhofer, A. Pinz and A. Zisserman, "Convolutional Two-Stream Network Fusion for Video
Action Recognition", CVPR 2016: figure 5, sections 3.1 to 3.5, and the released code's numbers where
the paper has none (initialisation scales 0.25 and 0.75). With ``backbone="vgg-16"`` it is the
paper's final network; the rows of its tables are in ``VARIANTS``.

The spatial tower's maps at T frames and the temporal tower's maps at the T flow stacks around them
are stacked by channel and filtered by a 3D convolution, pooled over space and time, and classified
(head ``fused``). The temporal tower is not cut: its own maps are pooled the same way and classified
too (head ``temporal``). Both losses are added; at test the heads' predictions are averaged.

Where it is fused (`at`), how (`fusion`), and what becomes of the temporal tower (`towers`) are
options. T and tau are the clips' `segments` and `strides`; tau is 5 to 15 in the released code, as
here, and 1 to 10 in the paper.

Parameters, counted and printed
-------------------------------
The paper's counts look as if both towers began with flow's 20 channels, and its fusing convolutions
as if they had a 512 x 512 weight at ReLU5 and one of 1024 x 512 with bias at ReLU4. Here the
spatial tower begins with 3 channels and every fusing convolution has 2D x D weights and D biases;
three fusions (ReLU3, ReLU5, FC6) come to 207.35 million where 190.06 are printed.

What deviates
-------------
- The default backbone is one that two CPU cores can train, not VGG-16. EfficientNet-Lite0 is cut at
  its last block, with batch normalisation and ReLU behind: 320 channels keep the 3D filter at 5.5
  million weights (its 1280-channel last convolution would need 88).
- T = 3 chunks instead of 5, except in ``VARIANTS``.
- Behind the 3D pooling of a backbone without fully connected layers: average over what is left of
  space, dropout and one linear layer instead of fc6 to fc8.
- The towers are not trained alone first: the temporal one is fine-tuned together with the fusion,
  the spatial one keeps its ImageNet weights. The gradient runs through all that is not frozen,
  where the paper stops at the fusion layer (`stop_gradient`).
- Bilinear fusion's SVM is a linear layer here; `ConvFusion.encode` gives the vectors for another.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from deep import backbones
from deep.backbones.tower import Tower, by_clip, by_segment
from deep.clips import ClipSpec
from deep.models._conv_fusion_matconvnet import load_matconvnet
from deep.models._conv_fusion_parts import (
    Head,
    Join,
    Point,
    freeze,
    join,
    last_convolution,
    parse_points,
)
from deep.models._conv_fusion_tables import VARIANTS
from deep.models._options import check_choices
from deep.spatial_fusion import STARTS, SpatialFusion, bilinear
from deep.temporal_fusion import pool_time

__all__ = ["FINE_TUNE", "INPUT", "PAPER", "RECIPE", "VARIANTS", "build", "clips", "load_matconvnet"]
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
# The released code's fusion stage: 10 passes an epoch, rates 1e-3 twice, 1e-4, 1e-5, 1e-6, biases
# twice as fast. Sides of training views are jittered by a quarter; tests see whole frames.
PAPER: dict[str, Any] = {
    "epochs": 5,
    "passes": 10,
    "batch_size": 96,
    "optimiser": "sgd",
    "learning_rate": 1e-3,
    "bias_rate": 2.0,
    "schedule": "step",
    "drops": (0.4, 0.6, 0.8),
    "warm_up": 0.0,
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
    "dropout": 0.85,
    "side": 256,
    "size": 224,
    "n_clips": 20,
    "views": "frame",
}
LAST = {  # where it is cut
    "efficientnet-lite0": "block16",
    "efficientnet-lite0-tiny": "block16",
    "efficientnet-lite0-untrained": "block16",
}
POOLS = ("3d", "2d")
TOWERS = ("both", "one")
LOSSES = ("both", "fused")
RESIZES = ("pad", "up-conv")


def clips(*, stack: int = INPUT.stack, segments: int = INPUT.segments, **others: Any) -> ClipSpec:
    """Say which clips the network eats, built with the same options."""
    return ClipSpec(segments=segments, strides=INPUT.strides, stack=stack)


class ConvFusion(nn.Module):
    """Two towers, joined at one layer or several.

    Parameters
    ----------
    spatial, temporal
        The towers; the temporal one may end at the last join.
    joins
        What joins them, by the spatial tower's layer, in the order of the data.
    fused, own
        Heads over the fused maps and over the temporal tower's own; None where the towers' own
        fully connected layers do that.
    late
        Joins both towers' logits; ``softmax`` to average their softmax scores; None to average the
        heads' logits.
    svm
        A linear layer over bilinear vectors, in place of all behind the last join.
    pool
        ``3d`` or ``2d``, before the classifiers.
    both_heads, both_losses
        Whether the temporal tower has a head of its own, and whether it learns.
    segments
        Number T of chunks that clips must have; None for any.
    """

    def __init__(
        self,
        spatial: Tower,
        temporal: Tower,
        joins: dict[str, Join],
        *,
        fused: Head | None,
        own: Head | None,
        late: SpatialFusion | str | None,
        svm: nn.Linear | None,
        pool: str,
        both_heads: bool,
        both_losses: bool,
        segments: int | None,
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal
        self.joins = nn.ModuleDict(joins)
        self.fused = fused
        self.own = own
        self.late = late
        self.svm = svm
        self.pool = pool
        self.both_heads = both_heads
        self.both_losses = both_losses
        self.segments = segments

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Logits of the heads.

        Parameters
        ----------
        rgb : Tensor of float32, shape (batch, segment, 3, 1, row, column)
        flow : Tensor of float32, shape (batch, segment, 2, L, row, column)

        Returns
        -------
        dict of Tensor, shape (batch, class)
            ``fused``, and ``temporal`` where that tower has a head of its own.
        """
        if self.svm is not None:
            return {"fused": self.svm(self._vectors(rgb, flow)).mean(dim=1)}
        x_a, x_b, at = self._joined(rgb, flow)
        logits = {"fused": self._classified(self.spatial, self.fused, x_a, at.spatial)}
        if self.both_heads:
            own = self._classified(self.temporal, self.own, x_b, at.temporal)
            logits["temporal"] = own if self.both_losses else own.detach()
        if isinstance(self.late, SpatialFusion):
            scores = (each[:, :, None, None, None] for each in logits.values())
            return {"fused": self.late(*scores).flatten(1)}
        return logits

    def encode(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Bilinear vectors (batch, D x D), the mean over segments, for a linear SVM."""
        if self.svm is None:
            raise ValueError("fusion must be 'bilinear' for vectors to be encoded, got another")
        return self._vectors(rgb, flow).mean(dim=1)

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean of the heads' logits, or log of their mean softmax, shape (batch, class)."""
        if self.late == "softmax":
            softmax = torch.stack([logits.softmax(dim=1) for logits in heads.values()])
            return softmax.mean(dim=0).clamp_min(torch.finfo(softmax.dtype).tiny).log()
        return torch.stack(list(heads.values())).mean(dim=0)

    def forward(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores (batch, class): `fuse` of `heads`."""
        return self.fuse(self.heads(rgb, flow))

    def last_layers(self) -> list[nn.Module]:
        """What gives the logits: linear layers, and where logits are joined, that too."""
        if self.svm is not None:
            return [self.svm]
        found: list[nn.Module] = [self.late] if isinstance(self.late, SpatialFusion) else []
        for tower, head, wanted in (
            (self.spatial, self.fused, True),
            (self.temporal, self.own, self.both_heads),
        ):
            if wanted:
                found.append(tower.backbone.steps["fc8"] if head is None else head.classifier)
        return found

    def _joined(
        self, rgb: torch.Tensor | None, flow: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, Point]:
        """Both towers' maps (batch, channel, segment, h, w) behind the last join, and where."""
        if rgb is None or flow is None:
            missing = "rgb" if rgb is None else "flow"
            raise ValueError(f"{missing} must be given, got None; conv fusion needs rgb and flow")
        if rgb.shape[:2] != flow.shape[:2]:
            raise ValueError(
                f"rgb and flow must have one batch and segment count, got {tuple(rgb.shape[:2])} "
                f"and {tuple(flow.shape[:2])}; cut both from the same clips"
            )
        if self.segments is not None and rgb.shape[1] != self.segments:
            raise ValueError(
                f"rgb and flow must have {self.segments} segments, got {rgb.shape[1]}; cut clips "
                "as the network was built, or build it with segments=None"
            )
        x_a, x_b = (
            by_clip(tower.stacks(x), len(x))
            for tower, x in ((self.spatial, rgb), (self.temporal, flow))
        )
        before = Point(None, None)
        for at in (cast(Join, module).point for module in self.joins.values()):
            x_a = self._run(self.spatial, x_a, before.spatial, at.spatial)
            x_b = self._run(self.temporal, x_b, before.temporal, at.temporal)
            if self.svm is None:
                x_a = self.joins[cast(str, at.spatial)](x_a, x_b)
            before = at
        return x_a, x_b, before

    def _vectors(self, rgb: torch.Tensor | None, flow: torch.Tensor | None) -> torch.Tensor:
        """Bilinear vectors, shape (batch, segment, D x D)."""
        x_a, x_b, _ = self._joined(rgb, flow)
        return bilinear(*cast(Join, next(iter(self.joins.values()))).of_one_size(x_a, x_b))

    def _run(
        self, tower: Tower, maps: torch.Tensor, after: str | None, until: str | None
    ) -> torch.Tensor:
        """Run a tower from one layer to another, with the 3D pooling before full6."""
        network = tower.backbone
        names = [name for name in network.layers if name not in ("fc6", "fc7", "fc8")]
        convolutional = after is None or after in names
        if self.pool == "3d" and convolutional and until not in names:
            maps = self._run(tower, maps, after, names[-1])
            maps, after = pool_time(maps)[:, :, None], names[-1]
        if after == until:
            return maps
        return by_clip(network.run(by_segment(maps), after=after, until=until), len(maps))

    def _classified(
        self, tower: Tower, head: Head | None, maps: torch.Tensor, after: str | None
    ) -> torch.Tensor:
        """Logits (batch, class) of maps behind a tower's layer."""
        maps = self._run(tower, maps, after, tower.backbone.last)
        return maps.mean(dim=(2, 3, 4)) if head is None else cast(torch.Tensor, head(maps))


def build(
    num_classes: int,
    *,
    backbone: str = "small",
    fusion: str = "conv3d",
    at: str | None = None,
    pool: str = "3d",
    towers: str = "both",
    losses: str = "both",
    resize: str = "pad",
    start: str = "identity",
    scales: tuple[float, float] = (0.25, 0.75),
    stop_gradient: bool = False,
    segments: int | None = None,
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
        Of both towers, or ``spatial/temporal``. The paper's are ``vgg-16`` and ``cnn-m-2048``.
    fusion
        ``conv3d`` (the paper's final network), or ``sum``, ``max``, ``concat``, ``conv`` at each
        segment alone, or ``bilinear``, behind which only a linear layer stands (its table 1). One
        for all layers, or one for each, ``conv+sum``.
    at
        Layer to fuse at, or several, ``relu5+fc8``; ``relu4/relu5`` where the towers' differ. Names
        are the backbone's (``relu5`` means ``relu5_3``, too); ``fc8`` are the logits, ``softmax``
        the softmax scores. None for the last convolution.
    pool
        ``3d``: over all segments before the classifiers; ``2d``: each segment is classified and the
        logits averaged (section 3.3).
    towers
        ``both``: the temporal tower goes on to a head of its own; ``one``: it ends where it is
        fused.
    losses
        ``both``, or ``fused``: the temporal head sends no gradient back.
    resize
        How maps of two sizes become one: ``pad`` (by a row and a column of zeros at most), or
        ``up-conv``, a transposed convolution for the smaller.
    start
        First weights of ``conv`` and ``conv3d``: ``identity``, ``gaussian``, or
        ``identity-gaussian``, random for the temporal map alone.
    scales
        Of the identity for the spatial and the temporal map; (1, 1) is their sum, (1, 0) and (0, 1)
        copy one.
    stop_gradient
        Whether nothing below the first fusion learns, as the paper trains.
    segments
        Number T of chunks that clips must have; None for any.
    stack
        Number L of flow fields.
    dropout
        Before each linear layer; 0.85 in the released code.
    frozen
        Stages of the spatial and of the temporal backbone, from the front, that do not learn.
    """
    names = backbones.pair(backbone)
    usual = "/".join(LAST.get(name) or last_convolution(name) for name in names)
    points, late = parse_points(at or usual, fusion, names)
    check_choices(
        pool=(pool, POOLS),
        towers=(towers, TOWERS),
        losses=(losses, LOSSES),
        resize=(resize, RESIZES),
        start=(start, STARTS),
    )
    if stack < 1:
        raise ValueError(f"stack must be at least 1, got {stack}; the paper uses 10")
    if segments is not None and segments < 1:
        raise ValueError(f"segments must be at least 1, got {segments}; the paper uses 5")
    if stop_gradient and not points:
        raise ValueError(f"stop_gradient must be False where only logits are fused, got {at!r}")
    is_bilinear = any(way == "bilinear" for _, way in points)
    if is_bilinear and (len(points) > 1 or late):
        raise ValueError(f"at must be one layer for bilinear fusion, got {at!r}; choose one")
    both_heads = (towers == "both" or late is not None) and not is_bilinear
    ends = [LAST.get(name) for name in names]
    if is_bilinear:
        ends[0] = points[0][0].spatial
    if not both_heads:
        ends[1] = points[-1][0].temporal
    doubled = tuple(str(point.spatial) for point, way in points if way == "concat")
    # behind a last convolution without fully connected layers stands a head of any width
    by_head = names[0] not in backbones.FULLY_CONNECTED and doubled == (usual.split("/")[0],)
    wide: dict[str, Any] = {"doubled": doubled} if doubled and not by_head else {}
    spatial, temporal = (
        Tower(
            name,
            modality=modality,
            n_times=n_times,
            last=end,
            frozen=n_frozen,
            **backbones.classifier(name, num_classes, dropout),
            **own,
        )
        for name, modality, n_times, end, n_frozen, own in zip(
            names, ("rgb", "flow"), (1, stack), ends, frozen, (wide, {}), strict=True
        )
    )
    if stop_gradient:
        freeze(spatial, points[0][0].spatial)
        freeze(temporal, points[0][0].temporal)
    joins = {
        str(point.spatial): join(
            point, way, spatial, temporal, scales=scales, start=start, resize=resize
        )
        for point, way in points
    }
    heads = [
        None
        if is_bilinear or name in backbones.FULLY_CONNECTED or not wanted
        else Head(channels, num_classes, dropout=dropout, pool=pool)
        for name, wanted, channels in (
            (names[0], True, spatial.channels * (2 if doubled else 1)),
            (names[1], both_heads, temporal.channels),
        )
    ]
    last: SpatialFusion | str | None = late[0] if late else None
    if late and late[0] == "fc8":
        last = SpatialFusion(late[1], num_classes, scales=scales, start=start, rectify=False)
    return ConvFusion(
        spatial,
        temporal,
        joins,
        fused=heads[0],
        own=heads[1],
        late=last,
        svm=nn.Linear(spatial.channels**2, num_classes) if is_bilinear else None,
        pool=pool,
        both_heads=both_heads,
        both_losses=losses == "both",
        segments=segments,
    )
