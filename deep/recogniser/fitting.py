"""What a training needs besides the loop: checked videos, weights to start from, validation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from deep import models, weights
from deep.backbones.loading import load_weights
from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.data import Batch, Stored, training_batches
from deep.late_fusion import hold_out
from deep.predict import evaluate
from deep.recogniser.plan import keep_learning, last_layers
from deep.train import distributed, read_checkpoint
from deep.weights import WeightsError

STREAMS = ("spatial", "temporal")
NETWORK = "network"
SHOWN = 3  # videos named in an error before "and n more"


def check_stored(videos: Sequence[Stored], spec: ClipSpec) -> None:
    """Refuse videos to train on that are too short, or whose flow is not that of their frames.

    Raises
    ------
    ValueError
        A video has fewer frames than one chunk takes, or not one field fewer than frames.
    """
    if spec.stack:
        for stored in videos:
            if stored.flow is None:
                raise ValueError(f"flow must be stored, got none for {stored.video}; store it")
            with h5py.File(stored.flow) as file:
                n_fields = len(file["flow"])
            wanted = max(stored.n_frames - 1, 1)
            if n_fields != wanted:
                raise ValueError(
                    f"flow must have {wanted} fields for {stored.n_frames} frames, got {n_fields} "
                    f"for {stored.video}; delete {stored.flow} to compute it again"
                )
    short = [stored for stored in videos if stored.n_frames < spec.least_frames]
    if short:
        named = ", ".join(f"{stored.video} with {stored.n_frames}" for stored in short[:SHOWN])
        more = f" and {len(short) - SHOWN} more" if len(short) > SHOWN else ""
        raise ValueError(
            f"videos to train on must have at least {spec.least_frames} frames, for one stack, got "
            f"{named}{more}; leave these out, or choose a smaller stack"
        )


def check_class_names(found: Sequence[str], wanted: Sequence[str], *, owner: str) -> None:
    """Refuse a network whose classes are others than wanted, or in another order.

    Parameters
    ----------
    found, wanted
        The network's names, and those asked for.
    owner
        What has the names `found`, for the message.

    Raises
    ------
    WeightsError
        Names what differs.
    """
    if list(found) == list(wanted):
        return
    if sorted(found) == sorted(wanted):
        first = next(i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
        raise WeightsError(
            f"classes must be in the order of {owner}, got {wanted[first]!r} as number {first} "
            f"where it has {found[first]!r}; give them in its order"
        )
    lacking = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    told = [
        f"{kind} {', '.join(map(repr, names[:SHOWN]))}{' and more' if len(names) > SHOWN else ''}"
        for kind, names in (("unknown to it are", lacking), ("it also has", extra))
        if names
    ]
    raise WeightsError(
        f"classes must be those of {owner}, got others: {'; '.join(told)}; give its classes, or "
        "start with a new classifier"
    )


def build(
    model: str,
    class_names: Sequence[str],
    *,
    options: dict[str, Any],
    start: dict[str, Path] | None,
    new_classifier: bool,
    mode: str,
) -> Any:
    """Build a network with its first weights, in which learns what `mode` says.

    Parameters
    ----------
    model
        The network's name.
    class_names
        Of the classes, in order.
    options
        Of the network's ``build``.
    start, new_classifier, mode
        As for `NetworkRecogniser`.
    """
    network = models.load(model).build(len(class_names), **options)
    start_from(
        network, start or {}, model=model, class_names=class_names, new_classifier=new_classifier
    )
    if mode == "last":
        keep_learning(network, last_layers(network, model))
    return network


def start_from(
    network: Any,
    given: dict[str, Path],
    *,
    model: str,
    class_names: Sequence[str],
    new_classifier: bool,
) -> None:
    """Start a network from weights: of its towers, or of a whole one that was trained before.

    Parameters
    ----------
    network
        Changed in place.
    given
        Files: ``spatial``, ``temporal`` for towers, whose classifiers are left out; ``network`` for
        what `NetworkRecogniser.save` wrote.
    model
        The network's name.
    class_names
        Of the classes to come, in order.
    new_classifier
        Whether a whole network's last layers are left out, too, whatever its classes.
    """
    towers = [module for module in network.modules() if isinstance(module, Tower)]
    known = {STREAMS[tower.modality != "rgb"]: tower for tower in reversed(towers)}
    for name, path in given.items():
        if name == NETWORK:
            _start_whole(
                network, path, model=model, class_names=None if new_classifier else class_names
            )
        elif name in known:
            load_weights(known[name], path, new_classifier=True)
        else:
            raise ValueError(
                f"start must be of {', '.join([*sorted(known), NETWORK])} for {model}, got "
                f"{name!r}; give weights for these"
            )


def _start_whole(
    network: Any, path: Path, *, model: str, class_names: Sequence[str] | None
) -> None:
    """Copy a trained network's weights; without class names all but the last layers."""
    tensors, settings = weights.load(path)
    if settings.get("model") != model:
        raise WeightsError(
            f"weights to start from must be of {model}, got {settings.get('model')!r} in "
            f"{str(path)!r}; choose that model, or other weights"
        )
    if class_names is None:
        names = _names_of(network, last_layers(network, model))
        own = network.state_dict()
        tensors = {**tensors, **{name: own[name] for name in names if name in own}}
    else:
        check_class_names(settings["class_names"], class_names, owner=f"the network in {path}")
    weights.fit_into(network, tensors, source=str(path))


def _names_of(network: nn.Module, layers: Sequence[nn.Module]) -> list[str]:
    """Names of the tensors of some of a network's layers."""
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in inside]


def parts_of(
    labels: Sequence[int],
    groups: Sequence[Any] | None,
    *,
    late: bool,
    validation: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deal videos to the training, to a fusion that is learned later, and to validation.

    Groups stay together.

    Returns
    -------
    learned, fused, validated : ndarray of int64
        Indices.
    """
    everything = np.arange(len(labels))
    fused = np.zeros(len(labels), np.bool_)
    if late:
        fused = hold_out([int(label) for label in labels], groups, seed=seed)
    rest = everything[~fused]
    if not validation:
        return rest, everything[fused], everything[:0]
    held = hold_out(
        [int(labels[index]) for index in rest],
        None if groups is None else [groups[index] for index in rest],
        share=validation,
        seed=seed + 1,
    )
    return rest[~held], everything[fused], rest[held]


def files(
    run: dict[str, Any], *, checkpoint: Path | None, log: Path | None, folder: Path | None
) -> tuple[Path | None, Path | None]:
    """Where checkpoint and log of a run are, after a check that a checkpoint there is of this run.

    Parameters
    ----------
    run
        All that decides its result.
    checkpoint, log
        As for `NetworkRecogniser`.
    folder
        Where they are by custom, under a name that goes with `run`; None for nowhere.
    """
    if checkpoint is None and folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        checkpoint = Path(folder) / f"{digest(run)}.checkpoint.safetensors"
    if checkpoint is None:
        return None, log
    checkpoint = Path(checkpoint)
    read_checkpoint(checkpoint, settings=run)
    stem = checkpoint.name.removesuffix(".safetensors").removesuffix(".checkpoint")
    return checkpoint, log or checkpoint.with_name(f"{stem}.log.csv")


def batches(
    videos: Sequence[Stored],
    labels: Sequence[int],
    *,
    passes: int,
    **options: Any,
) -> Callable[[int], Iterator[Batch]]:
    """Give this process' share of the batches of an epoch, by the epoch's number.

    Parameters
    ----------
    videos, labels
        The training set, one label per video.
    passes
        Clips of each video in an epoch.
    **options
        Of `deep.data.training_batches`.
    """
    every = partial(training_batches, videos, labels, n_clips=passes * len(videos), **options)
    share = distributed.rank(), distributed.world()
    return lambda epoch: every(epoch=epoch, share=share)


def validator(
    network: Any, videos: Sequence[Stored], labels: Sequence[int], **options: Any
) -> Callable[[], tuple[float, float]] | None:
    """Give what measures loss and accuracy on videos, one clip of each; None without videos.

    Under `torchrun` every process measures a share of them.

    Parameters
    ----------
    network
        As it is when the measure is taken.
    videos, labels
        One label per video.
    **options
        Of `deep.predict.evaluate`.
    """
    if not videos:
        return None
    own = slice(distributed.rank(), None, distributed.world())
    chosen, wanted = videos[own], torch.tensor(list(labels[own]), dtype=torch.int64)

    def measure() -> tuple[float, float]:
        sums = torch.zeros(2, dtype=torch.float64, device=options.get("device", "cpu"))
        if chosen:
            once = {**options, "n_clips": 1, "mirror_views": False}
            scores = torch.from_numpy(evaluate(network, chosen, **once).scores)
            sums[0] = functional.cross_entropy(scores, wanted, reduction="sum")
            sums[1] = (scores.argmax(dim=1) == wanted).sum()
        loss, right = (distributed.total(sums) / len(videos)).tolist()
        return loss, right

    return measure


def digest(content: object) -> str:
    """Name what JSON-able content there is: 20 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
