"""From a network's recipe and a user's options to what training and testing need."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from torch import nn

from deep import backbones, models
from deep.clips import ClipSpec
from deep.data import Cutting, training_batches
from deep.flow import FlowSettings
from deep.predict import PROTOCOLS, VIEWS, evaluate
from deep.train import check_options, train

CUTTING_OPTIONS = ("size", "crops", "scale", "crop_scales", "mirror", "subtract_mean")
LOOP_OPTIONS = (
    "epochs",
    "learning_rate",
    "optimiser",
    "backbone_rate",
    "bias_rate",
    "schedule",
    "drops",
    "warm_up",
    "weight_decay",
    "label_smoothing",
    "clip_gradient",
    "patience",
)
FLOW_OPTIONS = ("algorithm", "bound", "warped")  # see `FlowSettings`
BATCH_OPTIONS = ("batch_size", "passes")
VIEW_OPTIONS = ("n_clips", "views", "grid", "mirror_views")
CLIP_OPTIONS = ("segments", "strides", *FLOW_OPTIONS)  # T, tau
OPTIONS = (*CUTTING_OPTIONS, *LOOP_OPTIONS, *BATCH_OPTIONS, *VIEW_OPTIONS, *CLIP_OPTIONS)
MODES = ("recipe", "all", "last", "scratch")
SIDE = 128  # rows of stored frames, where neither the user nor the paper says


@dataclass(frozen=True)
class Plan:
    """All that is settled before the first video is read.

    Attributes
    ----------
    backbone
        What ``auto`` stood for.
    recipe
        Every number of training, cutting, testing, and the network's options.
    spec, cutting
        Form of the clips.
    flow
        Which flow is kept; None for a network that sees none.
    build
        Keyword arguments of the network's ``build``.
    side
        Shorter side of the stored frames in pixels.
    """

    backbone: str
    recipe: dict[str, Any]
    spec: ClipSpec
    cutting: Cutting
    flow: FlowSettings | None
    build: dict[str, Any]
    side: int


def settle(
    model: str,
    *,
    backbone: str,
    variant: str | None,
    given: dict[str, Any],
    segments: int | None,
    strides: tuple[int, int] | None,
    flow: FlowSettings,
    mode: str = "recipe",
    paper: bool = False,
    protocol: str | None = None,
    side: int | None = None,
    has_start: bool = False,
) -> Plan:
    """Work out backbone, clips and recipe from the options, and refuse what is unknown.

    Parameters
    ----------
    model, backbone, variant
        Names.
    given
        In place of numbers of the recipe and the network's options; stronger than the variant's.
    segments, strides
        In place of the network's.
    flow
        Which flow to keep if the network sees any.
    mode, paper, protocol, side
        As for `deep.recogniser.NetworkRecogniser`.
    has_start
        Whether weights are given to start from.

    Raises
    ------
    ValueError
        A name, an option or a number is wrong; lists the valid ones.
    ImportError
        The backbone needs the extra `pretrained`, which is not installed.
    """
    module = models.load(model)
    models.check_choices(mode=(mode, MODES))
    if mode == "scratch" and has_start:
        raise ValueError("mode must not be scratch with weights to start from, got both; drop one")
    published = models.variant_options(model, variant) if variant else {}
    backbone = backbones.resolve(published.pop("backbone", backbone))
    if mode == "scratch":
        backbone = "/".join(backbones.UNTRAINED.get(name, name) for name in backbone.split("/"))
    given = dict(given)
    for name in CLIP_OPTIONS:
        if name in published:
            given.setdefault(name, published.pop(name))
    own = models.options(model) - {"backbone", "segments"}
    given = _checked(given, own)
    own_segments, own_strides = given.pop("segments", None), given.pop("strides", None)
    segments = own_segments if segments is None else segments
    strides = own_strides if strides is None else strides
    flow = replace(flow, **{name: given.pop(name) for name in FLOW_OPTIONS if name in given})
    sides = [least for name in backbones.pair(backbone) if (least := backbones.side(name))]
    base = _base(module, model, backbone, paper=paper, tuned=has_start)
    side = int(base.pop("side", SIDE)) if side is None else side
    recipe = {
        **base,
        **({"size": max(sides)} if sides else {}),
        **protocol_options(protocol),
        **(_none_frozen(module) if mode in ("all", "scratch") else {}),
        **published,
        **given,
    }
    for name in ("epochs", "batch_size", "passes", "n_clips"):
        if not isinstance(recipe[name], Integral) or recipe[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {recipe[name]!r}; give a number")
    check_options(**part(recipe, LOOP_OPTIONS))
    _check_views(recipe, backbone, side, sides)
    build = {"backbone": backbone, **models.checked(model, part(recipe, own))}
    spec = models.clips(model, **build)
    spec = replace(
        spec,
        segments=spec.segments if segments is None else segments,
        strides=strides or spec.strides,
    )
    if "segments" in models.options(model):
        build["segments"] = spec.segments
    with torch.device("meta"):  # without weights: what cannot be built is refused right now
        network = module.build(2, **build)
    if mode == "last":
        last_layers(network, model)
    both_ways = flow.backward or spec.stacking == "bi-directional"
    return Plan(
        backbone,
        recipe,
        spec,
        Cutting(bound=flow.bound, **part(recipe, CUTTING_OPTIONS)),
        replace(flow, backward=both_ways) if spec.stack else None,
        build,
        side,
    )


def _checked(given: dict[str, Any], own: set[str]) -> dict[str, Any]:
    """Refuse unknown options and those of a wrong kind; give the others as they are wanted."""
    options = (*OPTIONS, *sorted(own))
    unknown = sorted(set(given) - set(options))
    if unknown:
        raise ValueError(
            f"recipe must be of {', '.join(options)}, got {', '.join(unknown)}; choose among these"
        )
    for function, names in (
        (ClipSpec, ("segments", "strides")),
        (FlowSettings, FLOW_OPTIONS),
        (Cutting, CUTTING_OPTIONS),
        (train, LOOP_OPTIONS),
        (training_batches, BATCH_OPTIONS[:1]),
        (evaluate, VIEW_OPTIONS),
    ):
        given |= models.of_kind(function, part(given, names))
    return given


def _base(module: Any, model: str, backbone: str, *, paper: bool, tuned: bool) -> dict[str, Any]:
    """The network's recipe: ours or the paper's, from scratch or from weights."""
    pretrained = any(name in backbones.PRETRAINED for name in backbone.split("/"))
    if not paper:
        whole = backbone in backbones.PRETRAINED
        return {**module.RECIPE, **(module.FINE_TUNE if whole else {})}
    if not hasattr(module, "PAPER"):
        raise ValueError(f"paper must be left out for {model}, whose file has none of its numbers")
    fine = getattr(module, "PAPER_FINE_TUNE", {}) if pretrained or tuned else {}
    return {**module.RECIPE, **module.PAPER, **fine}


def protocol_options(name: str | None) -> dict[str, Any]:
    """Options of a protocol for testing."""
    if name is None:
        return {}
    models.check_choices(protocol=(name, list(PROTOCOLS)))
    return dict(PROTOCOLS[name])


def _none_frozen(module: Any) -> dict[str, Any]:
    """A network's option `frozen`, if it has one, as all of it learns."""
    frozen = inspect.signature(module.build).parameters.get("frozen")
    return {} if frozen is None else {"frozen": frozen.default}


def _check_views(recipe: dict[str, Any], backbone: str, side: int, sides: list[int]) -> None:
    """Refuse views that the network would not take when it is tested."""
    models.check_choices(views=(recipe.get("views", VIEWS[0]), VIEWS))
    if recipe.get("grid", 1) < 1:
        raise ValueError(f"grid must be at least 1, got {recipe['grid']}; 3 gives nine crops")
    if recipe.get("views") != "frame" or not sides:
        return
    if backbone.startswith("scl") or side < max(sides):
        raise ValueError(
            f"views must not be frame for {backbone}, which needs {max(sides)} rows, and stored "
            f"frames of {side}; store larger ones with side, or choose other views"
        )


def last_layers(network: Any, model: str) -> list[nn.Module]:
    """Modules that give a network's logits.

    Raises
    ------
    ValueError
        The network does not say.
    """
    if not hasattr(network, "last_layers"):
        raise ValueError(
            f"mode must be recipe, all or scratch for {model}, whose network does not tell its "
            "last layers, got 'last'; add last_layers to its file"
        )
    return list(network.last_layers())


def keep_learning(network: nn.Module, layers: list[nn.Module]) -> None:
    """Freeze all of a network but some layers."""
    network.requires_grad_(False)
    for layer in layers:
        layer.requires_grad_(True)


def part(recipe: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Pick some of the options of a recipe."""
    return {name: value for name, value in recipe.items() if name in names}
