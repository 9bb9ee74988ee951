"""Trajectory-pooled deep-convolutional descriptors behind fit and scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deep import backbones, tdd
from deep import device as devices
from deep.clips import ClipSpec
from deep.data import Cutting
from deep.flow import FlowSettings
from deep.recogniser.deep_tracks import DeepTracks, Maps
from deep.recogniser.network import NetworkRecogniser
from idt.codebook import Codebook
from idt.extract import ExtractOptions
from idt.recogniser import FisherVectorRecogniser
from idt.recogniser.pipeline import listed

SCALES = (0.5, 0.5**0.5, 1.0, 2**0.5, 2.0)  # of the input, section 4.3 of the paper
DEFAULT_SIDE = 128  # pixels, as the other networks have it
DEFAULT_STACK = 10  # Simonyan and Zisserman 2014
CHOICES = ("both", *tdd.STREAMS)


@dataclass(kw_only=True, eq=False)
class TrajectoryPooledRecogniser(FisherVectorRecogniser):
    """Networks' maps pooled along improved trajectories, Fisher vectors and a linear SVM.

    The bridge between both families: trajectories, codebook, Fisher vectors and SVM are those of
    `idt`, the descriptors are those of `deep.tdd`. Where an option is a list it may be given as
    text with slashes between, as in ``spatial_layers="relu4/relu5"``.

    Parameters
    ----------
    backbone
        Of both networks, or ``spatial/temporal``; see `deep.backbones`. ``auto`` takes
        EfficientNet-Lite0 with ImageNet weights where the extra `pretrained` is installed, else
        ``small`` with random ones. The temporal network starts from the same weights by
        cross-modality initialisation. `backbone_` says which.
    network
        Weights that `NetworkRecogniser.save`, or ``trajfuse deep train``, wrote: their towers are
        taken, and see the flow and the size that they were trained on. Train them without the
        videos that are scored, as the paper does; in `cross_scores`, too, they have seen what they
        were trained on.
    streams
        ``both``, or ``spatial`` or ``temporal`` alone.
    spatial_layers, temporal_layers
        Layers that are pooled; None for the paper's, or others' at the same strides.
    normalisations
        ``st``, ``channel``, ``none``: every layer is described once by each.
    multi_scale
        Compute maps at five sizes of the input, from half to twice `size`; every trajectory is
        described once at each.
    size
        Side of the networks' input in pixels; None for 112, or what `network` was trained on.
    side
        Shorter side of the stored frames in pixels, at which flow is computed; None for 128.
    stack
        Flow fields around each frame; None for 10.
    flow
        Which flow the temporal network sees; None for `FlowSettings`' own. A `network` brings its
        own backbone, side, stack and flow, which are left out then.
    track_scales
        Scales that are tracked on, from the finest: the paper's is 1; improved trajectories have 8.
    dimension
        Largest dimension after PCA, which keeps half of what is less (section 5.2: 64).
    device
        Where the networks run, and TV-L1 flow: ``cpu``, ``cuda`` or ``cuda:N``. What a GPU pooled
        is kept apart from what a processor did.
    descriptors
        Descriptors of improved trajectories that are joined to those out of maps, as in
        ``hog/hof/mbhx/mbhy``, on the same trajectories. ``early:idt-fv/tdd-fv`` of a comparison
        joins those of all scales.
    n_components, n_samples, pca, reduction, whiten, max_iter, grids, rank_pooling, C, preset, \
options, stabilise, normalise, frame_steps, mirror, places, seed, workers, verbose, cache
        As in `idt.recogniser.FisherVectorRecogniser`. `workers` track and compute flow; the
        networks run in this process. A sample holds all descriptors: 8 of 512 channels are 16 kB a
        trajectory.

    Attributes
    ----------
    backbone_ : str
        What ``auto`` stood for.
    codebook_, encoder_, svm_
        As in `idt.recogniser.FisherVectorRecogniser`.

    References
    ----------
    Wang, Qiao and Tang, "Action Recognition with Trajectory-Pooled Deep-Convolutional Descriptors",
    CVPR 2015. Differences: the networks are whatever is given, not CNN-M-2048 trained on UCF101;
    frames are brought to a square; stacks are centred on their frame, the paper's begin there;
    cells are the nearest by their centres, see `deep.tdd.describe`; the descriptors of all sizes go
    into one Fisher vector.
    """

    backbone: str = "auto"
    network: str | Path | None = None
    streams: str = "both"
    spatial_layers: str | Sequence[str] | None = None
    temporal_layers: str | Sequence[str] | None = None
    normalisations: str | Sequence[str] = ("st", "channel")
    multi_scale: bool = False
    size: int | None = None
    side: int | None = None
    stack: int | None = None
    flow: FlowSettings | None = None
    track_scales: int = 1
    dimension: int = 64
    device: str = "cpu"
    descriptors: str | Sequence[str] = ()

    backbone_: str = field(init=False, repr=False)
    _maps: Maps = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be used before any work."""
        if self.streams not in CHOICES:
            raise ValueError(
                f"streams must be one of {', '.join(CHOICES)}, got {self.streams!r}; choose one"
            )
        if self.track_scales < 1:
            raise ValueError(
                f"track_scales must be at least 1, got {self.track_scales}; the paper has 1"
            )
        if self.stack is not None and self.stack < 1:
            raise ValueError(f"stack must be at least 1, got {self.stack}; the paper has 10")
        devices.chosen(self.device)
        self._maps = self._settle()
        self.backbone_ = self._maps.backbone
        super().__post_init__()

    def settings(self) -> dict[str, Any]:
        """What decides the scores."""
        return {
            **super().settings(),
            "recogniser": "trajectory-pooled deep descriptors, Fisher vectors, linear SVM",
            "maps": self._maps.settings(),
        }

    @property
    def n_parameters_(self) -> int:
        """How many numbers scoring takes: of networks, codebook and SVM."""
        return super().n_parameters_ + self._maps.n_parameters()

    @property
    def pretraining(self) -> str:  # type: ignore[override]  # a constant where nothing was
        """What the networks' weights were trained on before; ``nothing`` where drawn."""
        return self._maps.pretraining

    def new_book(self) -> Codebook:
        """Make a codebook that is not fitted yet."""
        return Codebook(
            self.n_components,
            pca=self.pca,
            reduction=self.reduction,
            max_dimension=None if self.pca == "none" else self.dimension,
            whiten=self.whiten,
            max_iter=self.max_iter,
            seed=self.seed,
        )

    @property
    def tracks(self) -> DeepTracks:
        """What is read of every video."""
        joined: tuple[str, ...] = ()
        if self.descriptors:
            joined = ExtractOptions(descriptors=tuple(listed(self.descriptors))).descriptors
        passes = tuple(
            replace(
                options,
                descriptors=joined or ("trajectory",),  # one at least; the shape costs nothing
                max_scales=options.first_scale + self.track_scales,
            )
            for options in self.passes
        )
        pooled = tdd.descriptor_names(dict(self._maps.layers), self._maps.normalisations)
        return DeepTracks(
            passes, (*pooled, *joined), mirror=self.mirror, places=self.places, maps=self._maps
        )

    def _settle(self) -> Maps:
        """Work out networks, layers and what they see from the options."""
        streams = tdd.STREAMS if self.streams == "both" else (self.streams,)
        if self.network is None:
            backbone = "/".join(backbones.pair(self.backbone))
            flow = self.flow or FlowSettings()
            stack = DEFAULT_STACK if self.stack is None else self.stack
            spec, cutting = ClipSpec(stack=stack), Cutting(bound=flow.bound)
            side = DEFAULT_SIDE if self.side is None else self.side
        else:
            given = [name for name in ("stack", "side", "flow") if getattr(self, name) is not None]
            given += ["backbone"] if self.backbone != "auto" else []
            if given:
                raise ValueError(
                    f"{', '.join(given)} must be left out with a network, got "
                    f"{', '.join(str(getattr(self, name)) for name in given)}; the network knows "
                    "its own"
                )
            trained = NetworkRecogniser.load(self.network)
            backbone = "/".join(backbones.pair(trained.backbone_))
            spec, cutting = trained.spec_, trained.cutting_
            flow, side = trained.flow_ or FlowSettings(), trained.side_
        if "temporal" not in streams:
            spec, used_flow = replace(spec, stack=0, stacking="plain"), None
        else:
            used_flow = replace(flow, backward=spec.stacking == "bi-directional")
        cutting = replace(cutting, size=self.size or cutting.size)
        return Maps(
            backbone=backbone,
            network=None if self.network is None else Path(self.network),
            layers=tuple(
                (stream, self._layers(stream, backbones.pair(backbone)[place]))
                for place, stream in enumerate(tdd.STREAMS)
                if stream in streams
            ),
            normalisations=tuple(_some(self.normalisations, tdd.NORMALISATIONS)),
            sizes=tuple(
                round(cutting.size * scale) for scale in (SCALES if self.multi_scale else (1,))
            ),
            spec=replace(spec, segments=1, strides=(1, 1), frames=(0,)),
            cutting=cutting,
            flow=used_flow,
            side=side,
            seed=self.seed,
            device=self.device,
        )

    def _layers(self, stream: str, backbone: str) -> tuple[str, ...]:
        """Layers of a stream that are pooled."""
        named = self.spatial_layers if stream == "spatial" else self.temporal_layers
        if named is None:
            return tdd.default_layers(backbone, stream)
        return tuple(_some(named, backbones.layers(backbone), name=f"{stream}_layers"))


def _some(
    given: str | Sequence[str], choices: Collection[str], *, name: str = "normalisations"
) -> list[str]:
    """Names out of some choices, one or more and each once."""
    names = listed(given)
    if not names or len(set(names)) < len(names) or not set(names) <= set(choices):
        raise ValueError(
            f"{name} must be one or more of {', '.join(choices)}, each once, got "
            f"{'/'.join(map(str, names)) or 'none'}; choose among these"
        )
    return names
