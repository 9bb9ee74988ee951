"""From a network's recipe and a user's options to what training and testing need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch

from deep import backbones, models
from deep.clips import ClipSpec
from deep.data import Cutting, training_batches
from deep.flow import FlowSettings
from deep.predict import predict
from deep.train import train

CUTTING_OPTIONS = ("size", "scale", "mirror", "subtract_mean")
LOOP_OPTIONS = (
    "epochs",
    "learning_rate",
    "optimiser",
    "backbone_rate",
    "schedule",
    "warm_up",
    "weight_decay",
    "label_smoothing",
)
FLOW_OPTIONS = ("algorithm", "bound", "warped")  # see `FlowSettings`
BATCH_OPTIONS = ("batch_size", "passes")
VIEW_OPTIONS = ("n_clips", "grid")
CLIP_OPTIONS = ("segments", "strides", *FLOW_OPTIONS)  # T, tau
OPTIONS = (*CUTTING_OPTIONS, *LOOP_OPTIONS, *BATCH_OPTIONS, *VIEW_OPTIONS, *CLIP_OPTIONS)


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
    """

    backbone: str
    recipe: dict[str, Any]
    spec: ClipSpec
    cutting: Cutting
    flow: FlowSettings | None
    build: dict[str, Any]


def settle(
    model: str,
    *,
    backbone: str,
    variant: str | None,
    given: dict[str, Any],
    segments: int | None,
    strides: tuple[int, int] | None,
    flow: FlowSettings,
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

    Raises
    ------
    ValueError
        A name, an option or a number is wrong; lists the valid ones.
    ImportError
        The backbone needs the extra `pretrained`, which is not installed.
    """
    module = models.load(model)
    published = models.variant_options(model, variant) if variant else {}
    backbone = backbones.resolve(published.pop("backbone", backbone))
    given = dict(given)
    for name in CLIP_OPTIONS:
        if name in published:
            given.setdefault(name, published.pop(name))
    own = models.options(model) - {"backbone", "segments"}
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
        (predict, VIEW_OPTIONS),
    ):
        given |= models.of_kind(function, part(given, names))
    own_segments, own_strides = given.pop("segments", None), given.pop("strides", None)
    segments = own_segments if segments is None else segments
    strides = own_strides if strides is None else strides
    flow = replace(flow, **{name: given.pop(name) for name in FLOW_OPTIONS if name in given})
    tuned = module.FINE_TUNE if backbone in backbones.PRETRAINED else {}
    sides = [side for name in backbones.pair(backbone) if (side := backbones.side(name))]
    needed = {"size": max(sides)} if sides else {}
    recipe = {**module.RECIPE, **tuned, **needed, **published, **given}
    for name in ("epochs", "batch_size", "passes", "n_clips"):
        if not isinstance(recipe[name], Integral) or recipe[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {recipe[name]!r}; give a number")
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
        module.build(2, **build)
    both_ways = flow.backward or spec.stacking == "bi-directional"
    return Plan(
        backbone,
        recipe,
        spec,
        Cutting(bound=flow.bound, **part(recipe, CUTTING_OPTIONS)),
        replace(flow, backward=both_ways) if spec.stack else None,
        build,
    )


def part(recipe: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Pick some of the options of a recipe."""
    return {name: value for name, value in recipe.items() if name in names}
