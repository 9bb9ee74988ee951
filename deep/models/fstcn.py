"""FstCN: 3D kernels factorised into 2D ones over space and 1D ones over time, on RGB alone.

L. Sun, K. Jia, D.-Y. Yeung and B. E. Shi, "Human Action Recognition using Factorized
Spatio-Temporal Convolutional Networks", ICCV 2015. With ``backbone="scl"`` it has the paper's
layers.

A clip is a sequence of frames V(t), s_t = 5 frames apart, each with its difference
``V_diff(t) = |V(t) - V(t + d_t)|``, d_t = 9. The spatial layers SCL1 to SCL4 are shared: one frame
of the clip goes through them and on through the spatial path, all differences through them and the
temporal path. That is a path SCL, then the T-P operator, which lays time and features out as a
plane and turns the features by a learned matrix P, then two convolutions over that plane side by
side (TCL). Both paths' fully connected layers are concatenated and classified.

What the paper leaves open, and what is chosen here
---------------------------------------------------
- Clip length l_t (`segments`): 16, as the one public re-implementation has.
- Whether the h x w places are channels of the (time, feature) plane or items of the batch
  (`places`). ``channels`` is the default: with ``batch`` the 32 + 32 kernels are shared by all
  places, as "1D over time" suggests, but with no pooling the first fully connected layer then has
  4.8 billion weights.
- Padding of SCL1, SCL2 and their pools (`padding`): ``none``, which makes 99, 49, 23, 11 of 204
  rows; ``same`` makes 102, 50, 25, 12.
- The auxiliary classifier: max pooling 3 x 3 /2, then 4096, 2048, classes, as the paths have. Its
  loss in the third stage (`auxiliary`): none by default.
- P starts as the identity and is any dense matrix; a permutation has no gradient.
- Which scores are weighted and over which the largest is taken (`weigh`): ``crops``: weighted over
  the crops of a clip, then the largest over clips, which fits the text; ``clips``: the other way
  round, which fits the figure.

What deviates
-------------
- With a backbone that is not the paper's all widths behind it are smaller, the path's pool leaves
  2 x 2 places whatever the input size, and 6 frames make a clip: for two CPU cores.
- Stages 1 and 2 of the training are options (`stage`); the recipe is stage 3 alone.
- The one frame of the spatial path is random in training and the middle one in testing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from deep import backbones
from deep.backbones.backbone import start
from deep.backbones.chain import Chain
from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.late_fusion import WEIGHTS, fuse_scores
from deep.models._fstcn_tables import VARIANTS
from deep.models._options import check_choices

__all__ = ["FINE_TUNE", "INPUT", "PAPER", "RECIPE", "VARIANTS", "build", "clips"]
D_T, S_T, L_T = 9, 5, 16  # frames from one to its difference; between frames; frames in a clip
INPUT = ClipSpec(segments=6, strides=(S_T, S_T), stack=0, frames=(0, D_T))
RECIPE: dict[str, Any] = {
    "epochs": 60,
    "passes": 1,
    "batch_size": 16,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 1e-2,
    "label_smoothing": 0.1,
    "size": 112,
    "n_clips": 5,
    "grid": 3,
}
# The stem and the blocks from ImageNet stay as they are.
FINE_TUNE: dict[str, Any] = {"epochs": 36, "batch_size": 6, "frozen": 12}
# The paper has batches of 32; optimiser and rates are customary ones, as it names none. Five pairs
# of clips and 18 crops of each are the recipe's already.
PAPER: dict[str, Any] = {
    "epochs": 60,
    "batch_size": 32,
    "optimiser": "sgd",
    "learning_rate": 1e-2,
    "schedule": "step",
    "warm_up": 0.0,
    "weight_decay": 5e-4,
    "label_smoothing": 0.0,
    "crops": "random",
    "side": 256,
    "size": 204,
}
PADDINGS = ("none", "same")
PLACES = ("channels", "batch")
KERNELS = ("both", "3", "5")
STAGES = ("1", "2", "3")
PATHS = ("both", "spatial", "temporal")
LAST = {"small": "relu4", "efficientnet-lite0": "block11"}  # where other backbones are cut


@dataclass(frozen=True)
class Widths:
    """Numbers of the layers: path SCL, TCL, and the two fully connected ones of a path.

    `grid` is the side of the path's maps; None for a 3 x 3 pool, as the paper has.
    """

    path: int = 128
    tcl: int = 32
    hidden: tuple[int, int] = (4096, 2048)
    grid: int | None = None


FULL, SMALL = Widths(), Widths(path=32, tcl=8, hidden=(256, 128), grid=2)
TINY = Widths(path=8, tcl=4, hidden=(32, 16))


def clips(*, backbone: str = "small", segments: int | None = None, **others: Any) -> ClipSpec:
    """Say which clips the network eats, built with the same options."""
    length = L_T if backbone.startswith("scl") else INPUT.segments
    return replace(INPUT, segments=segments or length)


class TransformPermute(nn.Module):
    """The T-P operator: maps over time to planes of time x feature, the features turned by P.

    P is f x f for f features, at first the identity; `places` as for `build`.
    """

    def __init__(self, n_features: int, *, places: str) -> None:
        super().__init__()
        self.places = places
        self.P = nn.Parameter(torch.eye(n_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, f, time, h, w) to (batch, h w, time, f) or (batch h w, 1, time, f)."""
        transformed = x.flatten(3).permute(0, 3, 2, 1)  # (batch, place, time, f)
        permuted = transformed @ self.P  # X' = X P
        return permuted if self.places == "channels" else permuted.flatten(0, 1)[:, None]


class TemporalConvolution(nn.Module):
    """TCL: convolutions of 3 x 3 and 5 x 5 (or one of them) over time x feature, side by side.

    Each has `filters`, a ReLU and dropout.
    """

    def __init__(self, inputs: int, filters: int, *, kernels: str, dropout: float) -> None:
        super().__init__()
        sizes = (3, 5) if kernels == "both" else (int(kernels),)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, filters, size, padding=size // 2), nn.ReLU(), nn.Dropout(dropout)
            )
            for size in sizes
        )

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """(item, inputs, time, f) to (item, filters of all kernels, time, f)."""
        return torch.cat([branch(planes) for branch in self.branches], dim=1)


class FstCN(nn.Module):
    """Shared spatial layers, a spatial and a temporal path, and one classifier over both.

    `tower` holds SCL1 to SCL4, `rows` are those of its maps, `widths` all that stands behind it;
    the rest as for `build`.
    """

    def __init__(
        self,
        tower: Tower,
        widths: Widths,
        num_classes: int,
        *,
        segments: int,
        rows: int,
        places: str,
        kernels: str,
        paths: str,
        dropout: float,
        weigh: str,
        stage: int,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        self.tower = tower
        self.segments = segments
        self.weigh = weigh
        self.stage = stage
        self.with_auxiliary = auxiliary
        side = widths.grid or rows // 3
        n_places, self.paths = side * side, paths
        if paths != "temporal":
            self.spatial_scl = _path_scl(tower.channels, widths)
            self.spatial_fc = _fully_connected(widths.path * n_places, widths.hidden, dropout)
        if paths != "spatial":
            self.temporal_scl = _path_scl(tower.channels, widths)
            self.tp = TransformPermute(widths.path, places=places)
            inputs = n_places if places == "channels" else 1
            self.tcl = TemporalConvolution(inputs, widths.tcl, kernels=kernels, dropout=dropout)
            planes = len(self.tcl.branches) * widths.tcl * (n_places // inputs)
            values = planes * segments * widths.path
            self.temporal_fc = _fully_connected(values, widths.hidden, dropout)
        both = 2 if paths == "both" else 1
        self.classifier = nn.Linear(both * widths.hidden[1], num_classes)
        pooled = (max(rows, 3) - 3) // 2 + 1 if widths.grid is None else widths.grid
        self.auxiliary = nn.Sequential(
            nn.MaxPool2d(3, stride=2) if widths.grid is None else nn.AdaptiveMaxPool2d(widths.grid),
            *_fully_connected(tower.channels * pooled**2, widths.hidden, dropout),
            nn.Linear(widths.hidden[1], num_classes),
        )
        for module in self.children():
            if module is not tower:
                start(module)

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Logits of the head, or heads, that the stage of training has.

        Parameters
        ----------
        rgb : Tensor of float32, shape (batch, segment, 3, 2, row, column)
            The frames V(t) of a clip and, second in each, V(t + d_t).
        flow
            Not looked at.

        Returns
        -------
        dict of Tensor, shape (batch, class)
            ``auxiliary`` in stages 1 and 2; ``fused`` in stage 3, and both with `auxiliary`.
        """
        frame, differences = self.pair(rgb)
        n_clips = len(frame)
        scl = self.tower.backbone
        if self.stage < 3:
            return {"auxiliary": self.auxiliary(scl(frame))}
        maps = scl(torch.cat([frame, differences.flatten(0, 1)]))
        appearance, motion = maps[:n_clips], maps[n_clips:]
        vectors = []
        if self.paths != "temporal":
            vectors.append(self.spatial_fc(self.spatial_scl(appearance)))
        if self.paths != "spatial":
            x = self.temporal_scl(motion).unflatten(0, (n_clips, -1)).transpose(1, 2)
            planes = self.tcl(self.tp(x))
            vectors.append(self.temporal_fc(planes.reshape(n_clips, -1)))
        logits = {"fused": self.classifier(torch.cat(vectors, dim=1))}
        if self.with_auxiliary:
            logits["auxiliary"] = self.auxiliary(appearance)
        return logits

    def pair(self, rgb: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Make one frame of V_clip, and V_clip_diff, out of a clip's frames.

        Parameters
        ----------
        rgb : Tensor of float32, shape (batch, segment, 3, 2, row, column)

        Returns
        -------
        frame : Tensor, shape (batch, 3, row, column)
            Standardised; random in training, the middle one in evaluation.
        differences : Tensor, shape (batch, segment, 3, row, column)
            Absolute differences of standardised frames.
        """
        if rgb is None:
            raise ValueError("rgb must be given, got None; FstCN needs frames")
        if rgb.ndim != 6 or rgb.shape[1:4] != (self.segments, 3, 2):
            raise ValueError(
                f"rgb must have shape (batch, segment, 3, 2, row, column) and {self.segments} "
                f"segments, got {tuple(rgb.shape)}; cut clips with the network's INPUT"
            )
        side = backbones.side(self.tower.name)
        if side is not None and rgb.shape[4:] != (side, side):
            raise ValueError(
                f"rgb must have {side} rows and columns for backbone {self.tower.name}, got "
                f"{tuple(rgb.shape[4:])}; cut clips of that size"
            )
        both = rgb.transpose(2, 3).flatten(1, 2)[:, :, :, None]  # (batch, segment x 2, 3, 1, ...)
        frames = self.tower.stacks(both).unflatten(0, (len(rgb), self.segments, 2))
        if self.training:
            chosen = torch.randint(self.segments, (len(rgb),), device=rgb.device)
        else:
            chosen = torch.full((len(rgb),), self.segments // 2, device=rgb.device)
        frame = frames[torch.arange(len(rgb), device=rgb.device), chosen, 0]
        return frame, (frames[:, :, 0] - frames[:, :, 1]).abs()

    def last_layers(self) -> list[nn.Module]:
        """What gives the logits of the heads that the stage of training has."""
        auxiliary = [self.auxiliary[-1]] if self.stage < 3 or self.with_auxiliary else []
        return [*auxiliary, *([self.classifier] if self.stage == 3 else [])]

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits (batch, class) of the classifier, or the auxiliary one in stages 1 and 2."""
        return heads["fused" if "fused" in heads else "auxiliary"]

    def fuse_views(self, views: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logarithm of the fused softmax of a video's views (section 3.4).

        Parameters
        ----------
        views : dict of Tensor, shape (crop, clip, class)
            Logits as `heads` names them.

        Returns
        -------
        Tensor, shape (class,)
        """
        softmax = self.fuse(views).softmax(dim=2)
        return fuse_scores(softmax, weigh=self.weigh).clamp_min(1e-30).log()

    def forward(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores (batch, class): `fuse` of `heads`."""
        return self.fuse(self.heads(rgb, flow))


def build(
    num_classes: int,
    *,
    backbone: str = "small",
    segments: int | None = None,
    padding: str = "none",
    places: str = "channels",
    kernels: str = "both",
    paths: str = "both",
    stage: int = 3,
    auxiliary: bool = False,
    weigh: str = "crops",
    dropout: float = 0.5,
    frozen: int = 0,
) -> FstCN:
    """Build the network.

    Parameters
    ----------
    num_classes
        Number of logits.
    backbone
        ``scl``, the paper's SCL1 to SCL4, for crops of 204 pixels; or one of `deep.backbones`.
    segments
        Length l_t of a clip; None for 16 with the paper's layers and 6 with others.
    padding
        Of ``scl`` alone: ``none`` or ``same``.
    places
        Of the T-P operator: ``channels`` or ``batch``.
    kernels
        Of the TCL: ``both``, or ``3`` or ``5`` alone.
    paths
        ``both``, or ``spatial`` or ``temporal`` alone.
    stage
        Of the training. 1: the shared layers learn, under the auxiliary classifier, from single
        frames (of ImageNet); 2: the auxiliary classifier's three layers alone, from videos' frames;
        3: all but that classifier.
    auxiliary
        Whether the auxiliary loss stays on in stage 3.
    weigh
        How scores of several views are fused, see `fuse_scores`.
    dropout
        Behind the TCL and between the fully connected layers.
    frozen
        Stages of the backbone, from the front, that do not learn.
    """
    if "/" in backbone:
        raise ValueError(f"backbone must be one name, got {backbone!r}; FstCN has one tower")
    paper = (name := backbones.resolve(backbone)).startswith("scl")
    check_choices(
        padding=(padding, PADDINGS if paper else PADDINGS[:1]),
        places=(places, PLACES),
        paths=(paths, PATHS),
        kernels=(str(kernels), KERNELS),
        stage=(str(stage), STAGES),
        weigh=(weigh, WEIGHTS),
    )
    if segments is not None and segments < 1:
        raise ValueError(f"segments must be at least 1, got {segments}; the default is {L_T}")
    if padding == "same" and not name.startswith("scl-same"):
        name = name.replace("scl", "scl-same")
    widths = SMALL if not paper else TINY if name.endswith("tiny") else FULL
    tower = Tower(name, modality="rgb", n_times=1, last=LAST.get(name), frozen=frozen)
    network = FstCN(
        tower,
        widths,
        num_classes,
        segments=segments or clips(backbone=name).segments,
        rows=cast(Chain, tower.backbone).plan.final_side() if paper else 0,
        places=places,
        kernels=str(kernels),
        paths=paths,
        dropout=dropout,
        weigh=weigh,
        stage=stage,
        auxiliary=auxiliary,
    )
    _choose_learning(network, stage, auxiliary=auxiliary)
    return network


def _choose_learning(network: FstCN, stage: int, *, auxiliary: bool) -> None:
    """Let learn what a stage of the training does, but for what is frozen anyhow."""
    learning = {1: ("tower", "auxiliary"), 2: ("auxiliary",)}.get(stage)
    for name, part in network.named_children():
        others = name != "auxiliary" or auxiliary
        if not (name in learning if learning else others):
            part.requires_grad_(False)


def _path_scl(inputs: int, widths: Widths) -> nn.Sequential:
    """Make a path's own SCL: Conv(128, 3, 1), ReLU, Pool(3, 3)."""
    pool = nn.MaxPool2d(3, stride=3) if widths.grid is None else nn.AdaptiveMaxPool2d(widths.grid)
    return nn.Sequential(nn.Conv2d(inputs, widths.path, 3, padding=1), nn.ReLU(), pool)


def _fully_connected(inputs: int, hidden: tuple[int, int], dropout: float) -> nn.Sequential:
    """Make a path's two fully connected layers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, hidden[0]),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden[0], hidden[1]),
        nn.ReLU(),
        nn.Dropout(dropout),
    )
