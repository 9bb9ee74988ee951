"""Two-Stream ConvNets: one network on a frame, one on stacked flow, their softmax scores averaged.

K. Simonyan and A. Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos",
NIPS 2014: figure 1, sections 2 to 4. With ``backbone="cnn-m-2048"`` it is the paper's network.

Its ablations are options: what the temporal net sees (`stacking`, `stack`, `motion`; mean
subtraction is `deep.data.Cutting`'s, warped flow `deep.flow.FlowSettings`'), several data sets at
once (`tasks`), how the streams are joined (`late`), and slow fusion of frames in place of one.

What deviates
-------------
- The default backbone is one that two CPU cores can train; behind its last convolution stand global
  average pooling, dropout and one linear layer instead of full6 to full8.
- Flow stacks are centred on their frame, as the released code of Feichtenhofer et al. 2016 has
  them; the paper starts them there. What is subtracted is the mean of each field before it is
  followed along paths.
- Both streams are trained in one loop, side by side: they share no weight and their losses are
  added, so each learns as it would alone.
- With ImageNet weights the temporal stream starts from them too (cross-modality initialisation) and
  is fine-tuned whole, where the paper trains it from scratch: there are a hundred clips here, not
  ten thousand. Of the spatial stream the last layer alone learns, as the paper chose.
- Views keep at least three quarters of each side instead of 224 of 256 rows, and fewer are averaged
  at test: equally spaced clips of the whole frame and its mirror image, not 25 x 10 crops.
- ``PAPER`` has the paper's views, schedule and sizes, but no jitter of colours.
- Softmax is taken of each stream's logits averaged over views, not averaged itself over views.
- The joint stack of fully connected layers, which the paper tried and dropped without its sizes,
  has one hidden layer of 2048 units, full7's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from deep import backbones
from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.late_fusion import fit_svm, stacked_softmax
from deep.models._options import check_choices
from deep.models._two_stream_tables import VARIANTS

__all__ = [
    "FINE_TUNE",
    "INPUT",
    "PAPER",
    "PAPER_FINE_TUNE",
    "RECIPE",
    "VARIANTS",
    "build",
    "clips",
]
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
# Section 4: 80,000 steps of 256 clips from scratch, a tenth of the rate after 50,000 and once more
# after 70,000; on UCF101's 9,537 training videos an epoch of 27 passes is 1,000 steps.
PAPER: dict[str, Any] = {
    "epochs": 80,
    "passes": 27,
    "batch_size": 256,
    "optimiser": "sgd",
    "learning_rate": 1e-2,
    "schedule": "step",
    "drops": (0.625, 0.875),
    "warm_up": 0.0,
    "weight_decay": 5e-4,  # customary, the paper has none
    "label_smoothing": 0.0,
    "dropout": 0.9,
    "crops": "random",
    "side": 256,
    "size": 224,
    "n_clips": 25,
    "views": "corners",
}
# From ImageNet's weights: 20,000 steps, a tenth after 14,000.
PAPER_FINE_TUNE: dict[str, Any] = {"epochs": 20, "drops": (0.7,)}
STREAMS = ("both", "spatial", "temporal")
MOTIONS = ("flow", "rgb-difference")
LATE = ("average", "svm", "joint-fc6", "joint-fc7")
JOINT_WIDTH = 2048
SLOW_FRAMES = 11  # of the slow-fusion baseline, section 5


def clips(
    *,
    stack: int = INPUT.stack,
    stacking: str = "plain",
    motion: str = "flow",
    streams: str = "both",
    backbone: str = "small",
    **others: Any,
) -> ClipSpec:
    """Say which clips the network eats, built with the same options."""
    frames: tuple[int, ...] = (0,)
    if backbone.startswith("slow-fusion"):
        frames = tuple(range(-(SLOW_FRAMES // 2), SLOW_FRAMES - SLOW_FRAMES // 2))
    if streams == "spatial":
        return ClipSpec(segments=1, stack=0, frames=frames)
    if motion == "rgb-difference":
        frames = tuple(range(-(stack // 2), stack - stack // 2 + 1))
        return ClipSpec(segments=1, stack=0, frames=frames)
    return ClipSpec(segments=1, stack=stack, stacking=stacking, frames=frames)


class Stream(nn.Module):
    """A tower and what makes logits of it; several segments are averaged last.

    A backbone without a classifier of its own is followed by the average over space, dropout and a
    linear layer. For further data sets there are linear layers that share all else (section 4).
    """

    def __init__(
        self, tower: Tower, num_classes: int, *, dropout: float, tasks: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.tower = tower
        self.dropout = nn.Dropout(dropout)
        self.shared = "fc7" if "fc7" in tower.backbone.layers else tower.backbone.last
        width = tower.backbone.layers[self.shared]
        self.whole = tower.backbone.last != self.shared
        if not self.whole:
            self.classifier = nn.Linear(width, num_classes)
        self.others = nn.ModuleList(nn.Linear(width, n_classes) for n_classes in tasks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, segment, channel, time, row, column) to logits (batch, class)."""
        maps = self.tower(x)  # (batch, D, segment, h, w)
        if self.whole:
            return maps.mean(dim=(2, 3, 4))
        vectors = maps.mean(dim=(3, 4)).transpose(1, 2)  # (batch, segment, D)
        return cast(torch.Tensor, self.classifier(self.dropout(vectors)).mean(dim=1))

    def last_layers(self) -> list[nn.Module]:
        """What gives the logits of every data set."""
        own = self.tower.backbone.steps["fc8"] if self.whole else self.classifier
        return [own, self.others]

    def by_task(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits (batch, class) for every data set, the network's own first."""
        network = self.tower.backbone
        maps = network.run(self.tower.stacks(x), until=self.shared)
        vectors = self.dropout(maps.mean(dim=(2, 3)))  # (batch x segment, D)
        if self.whole:
            own = network.run(maps, after=self.shared).mean(dim=(2, 3))
        else:
            own = self.classifier(vectors)
        logits = [own, *(linear(vectors) for linear in self.others)]
        return [each.unflatten(0, (len(x), -1)).mean(dim=1) for each in logits]


class TwoStream(nn.Module):
    """A spatial and a temporal stream with late fusion.

    Parameters
    ----------
    spatial, temporal
        The streams; one may be None.
    motion
        ``flow``, or ``rgb-difference``: the temporal stream sees the differences of neighbouring
        RGB frames.
    svm
        A layer for `fit_late` to learn, which then makes the scores; None to average.
    """

    def __init__(
        self,
        spatial: Stream | None,
        temporal: Stream | None,
        *,
        motion: str = "flow",
        svm: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal
        self.motion = motion
        self.svm = svm

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Logits of each stream that is given an input.

        Parameters
        ----------
        rgb : Tensor of float32, shape (batch, segment, 3, frame, row, column), or None
            One frame; with RGB differences L + 1 frames, of which the spatial stream sees the
            middle one; 11 with slow fusion.
        flow : Tensor of float32, shape (batch, segment, 2, L, row, column), or None

        Returns
        -------
        dict of Tensor, shape (batch, class)
            ``spatial`` and ``temporal``.
        """
        inputs = self._inputs(rgb, flow)
        return {name: self.get_submodule(name)(x) for name, x in inputs.items()}

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        """Scores out of the streams' logits, shape (batch, class).

        The logarithm of the streams' mean softmax (section 2), or the SVM's decision values.
        """
        if self.svm is not None and len(heads) == 2:
            return cast(torch.Tensor, self.svm(stacked_softmax(list(heads.values()))))
        softmax = torch.stack([logits.softmax(dim=1) for logits in heads.values()])
        return softmax.mean(dim=0).clamp_min(torch.finfo(softmax.dtype).tiny).log()

    def forward(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores (batch, class): `fuse` of `heads`."""
        return self.fuse(self.heads(rgb, flow))

    def last_layers(self) -> list[nn.Module]:
        """What gives each stream's logits."""
        streams = [stream for stream in (self.spatial, self.temporal) if stream is not None]
        return [layer for stream in streams for layer in stream.last_layers()]

    def fit_late(self, heads: dict[str, np.ndarray], labels: Sequence[int]) -> None:
        """Learn the SVM from logits of training videos that the streams did not learn from.

        Parameters
        ----------
        heads : dict of ndarray, shape (video, class)
            As `heads` names them.
        labels
            One per video.
        """
        if self.svm is None:
            raise ValueError("late must be 'svm' for an SVM to be learned, got 'average'")
        logits = [torch.from_numpy(heads[name]) for name in ("spatial", "temporal")]
        fit_svm(self.svm, stacked_softmax(logits), labels)

    def multi_task_loss(
        self, flow: torch.Tensor, labels: torch.Tensor, tasks: torch.Tensor
    ) -> torch.Tensor:
        """Sum over the data sets of the temporal stream's loss on their own clips (section 4).

        Parameters
        ----------
        flow : Tensor of float32, shape (batch, segment, 2, L, row, column)
        labels : Tensor of int64, shape (batch,)
            In the numbering of each clip's own data set.
        tasks : Tensor of int64, shape (batch,)
            Which data set a clip is of: 0 for the network's own, then the further ones.

        Returns
        -------
        Tensor of float32, shape ()
        """
        if self.temporal is None:
            raise ValueError("streams must be both or temporal for several tasks, got spatial")
        logits = self.temporal.by_task(flow)
        if not 0 <= int(tasks.min()) <= int(tasks.max()) < len(logits):
            raise ValueError(
                f"tasks must be 0 to {len(logits) - 1}, got {sorted(set(tasks.tolist()))}; build "
                "the network with the number of classes of every further data set"
            )
        present = [task for task in range(len(logits)) if bool((tasks == task).any())]
        losses = [
            functional.cross_entropy(logits[task][tasks == task], labels[tasks == task])
            for task in present
        ]
        return torch.stack(losses).sum()

    def _inputs(
        self, rgb: torch.Tensor | None, flow: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """What each stream sees; a stream without input is left out."""
        inputs: dict[str, torch.Tensor] = {}
        if self.motion == "rgb-difference" and rgb is not None:
            flow = rgb[:, :, :, 1:] - rgb[:, :, :, :-1]
            middle = rgb.shape[3] // 2
            rgb = rgb[:, :, :, middle : middle + 1]
        if self.spatial is not None and rgb is not None:
            inputs["spatial"] = rgb
        if self.temporal is not None and flow is not None:
            inputs["temporal"] = flow
        if not inputs:
            raise ValueError("rgb and flow must not both be None, got two; give at least one")
        return inputs


class JointTwoStream(nn.Module):
    """Both towers up to full6 or full7, and a stack of fully connected layers over the two."""

    def __init__(self, towers: Sequence[Tower], num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.spatial, self.temporal = towers
        width = sum(tower.channels for tower in towers)
        self.stack = nn.Sequential(
            nn.Linear(width, JOINT_WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(JOINT_WIDTH, num_classes),
        )

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Logits ``joint`` (batch, class) of frames and flow, both of which are needed."""
        if rgb is None or flow is None:
            missing = "rgb" if rgb is None else "flow"
            raise ValueError(f"{missing} must be given, got None; a joint stack needs rgb and flow")
        maps = [self.spatial(rgb), self.temporal(flow)]  # (batch, D, segment, h, w) each
        vectors = torch.cat([each.mean(dim=(3, 4)) for each in maps], dim=1).transpose(1, 2)
        return {"joint": self.stack(vectors).mean(dim=1)}

    def last_layers(self) -> list[nn.Module]:
        """The stack over both towers."""
        return [self.stack]

    def fuse(self, heads: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logarithm of the softmax, shape (batch, class)."""
        return heads["joint"].log_softmax(dim=1)

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
    stacking: str = "plain",
    motion: str = "flow",
    streams: str = "both",
    late: str = "average",
    tasks: Sequence[int] = (),
    dropout: float = 0.5,
    frozen: tuple[int, int] = (0, 0),
    partial_bn: bool = False,
) -> TwoStream | JointTwoStream:
    """Build the network.

    Parameters
    ----------
    num_classes
        Number of logits.
    backbone
        Of both streams, or ``spatial/temporal``; see `deep.backbones`. The paper's is
        ``cnn-m-2048``; ``slow-fusion/cnn-m-2048`` has the spatial stream see 11 frames.
    stack
        Number L of flow fields, or of RGB differences, at least 1.
    stacking
        ``plain``, ``trajectory`` or ``bi-directional``; of the clips alone, see `clips`.
    motion
        ``flow`` or ``rgb-difference``.
    streams
        ``both``, or ``spatial`` or ``temporal`` alone.
    late
        How the streams are joined: ``average`` of their softmax scores; ``svm``, a linear one on
        both, learned from held-out training videos; ``joint-fc6``, ``joint-fc7``, fully connected
        layers over both towers.
    tasks
        Numbers of classes of further data sets that the temporal stream learns alongside.
    dropout
        Before each linear layer; the paper has 0.9 for the temporal net.
    frozen
        Stages of the spatial and of the temporal backbone, from the front, that do not learn.
    partial_bn
        Whether batch normalisation but for each tower's first keeps its statistics and weights.
    """
    check_choices(streams=(streams, STREAMS), motion=(motion, MOTIONS), late=(late, LATE))
    if late != "average" and streams != "both":
        raise ValueError(f"late must be average for one stream, got {late!r}; leave it out")
    if stack < 1:
        raise ValueError(f"stack must be at least 1, got {stack}; the paper uses 10")
    if motion == "rgb-difference" and backbone.startswith("slow-fusion"):
        raise ValueError(
            f"backbone must see one frame beside RGB differences, got {backbone!r}; use flow"
        )
    if tasks and (streams == "spatial" or late.startswith("joint") or min(tasks) < 2):
        raise ValueError(
            "tasks must be numbers of classes from 2, for a temporal stream of its own, got "
            f"{tuple(tasks)} with streams={streams!r} and late={late!r}; leave them out"
        )
    clips(stack=stack, stacking=stacking, motion=motion)  # refuses an unknown stacking
    names = backbones.pair(backbone)
    n_frames = SLOW_FRAMES if names[0].startswith("slow-fusion") else 1
    dense = {"joint-fc6": "fc6", "joint-fc7": "fc7"}.get(late)
    if dense and not set(names) <= set(backbones.FULLY_CONNECTED):
        raise ValueError(
            f"backbone must be of {', '.join(backbones.FULLY_CONNECTED)} for late={late!r}, got "
            f"{backbone!r}; choose one with fully connected layers"
        )
    wanted = [streams in ("both", name) for name in ("spatial", "temporal")]
    modalities = (("rgb", n_frames), (motion, stack))
    towers = [
        Tower(
            name,
            modality=modality,
            n_times=n_times,
            last=dense,
            frozen=n_frozen,
            partial_bn=partial_bn,
            **backbones.classifier(name, num_classes, dropout),
        )
        if is_wanted
        else None
        for name, (modality, n_times), n_frozen, is_wanted in zip(
            names, modalities, frozen, wanted, strict=True
        )
    ]
    if dense:
        return JointTwoStream(cast(list[Tower], towers), num_classes, dropout=dropout)
    spatial, temporal = (
        None if tower is None else Stream(tower, num_classes, dropout=dropout, tasks=others)
        for tower, others in zip(towers, ((), tasks), strict=True)
    )
    svm = nn.Linear(2 * num_classes, num_classes).requires_grad_(False) if late == "svm" else None
    return TwoStream(spatial, temporal, motion=motion, svm=svm)
