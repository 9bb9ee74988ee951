"""Looking inside a network: filters, saliency, features, scores over time. Arrays in, arrays out.

`deep.show` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.data import Cutting, Stored, grid_views, read_clip
from deep.predict import view_logits
from idt import jobs

PERPLEXITY = 30.0  # van der Maaten and Hinton, JMLR 2008: 5 to 50
FEWEST = 5  # points that t-SNE can place


def towers(network: nn.Module) -> dict[str, Tower]:
    """Find the towers of a network, by modality, and by number where there are several of one.

    Raises
    ------
    ValueError
        There is none.
    """
    found: dict[str, Tower] = {}
    for module in network.modules():
        if isinstance(module, Tower):
            n_before = sum(other.modality == module.modality for other in found.values())
            found[module.modality + (f" {n_before + 1}" if n_before else "")] = module
    if not found:
        raise ValueError(
            f"network must have a tower to look into, got none in {type(network).__name__}; "
            "choose another network"
        )
    return found


def first_filters(tower: Tower) -> np.ndarray:
    """Give the filters of a tower's first convolution.

    Returns
    -------
    ndarray of float32, shape (filter, channel, time, row, column)
        Red, green, blue, or the flow's dx and dy; times as the network takes them.
    """
    first = next(m for m in tower.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    weights = first.weight.detach().cpu().float()
    if weights.ndim == 5:  # (filter, channel, time, row, column) already
        return weights.numpy()
    return weights.unflatten(1, (-1, len(tower.mean))).transpose(1, 2).numpy()


def saliency(
    network: Any, rgb: torch.Tensor, flow: torch.Tensor | None, label: int
) -> dict[str, np.ndarray]:
    """Say which pixels a class's score depends on: magnitudes of its gradient.

    Parameters
    ----------
    network
        A module as in `deep.models`, in evaluation mode.
    rgb : Tensor of float32, shape (1, segment, 3, frame, row, column)
    flow : Tensor of float32, shape (1, segment, 2, time, row, column), or None
        A clip as the network takes it.
    label
        The class.

    Returns
    -------
    dict of ndarray of float32, shape (segment, row, column)
        ``rgb`` and ``flow``, those that the network sees: at each pixel the largest magnitude, over
        channels and times, of the gradient of the class's logits, summed over the heads.

    Raises
    ------
    ValueError
        There is no such class, or more than one clip.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014,
    section 3.1: logits, not softmax, which rises where another class falls.
    """
    if len(rgb) != 1:
        raise ValueError(f"rgb must be of one clip, got {len(rgb)}; give them one by one")
    inputs = {"rgb": rgb.detach().clone().requires_grad_()}
    if flow is not None:
        inputs["flow"] = flow.detach().clone().requires_grad_()
    with torch.enable_grad():
        heads = network.heads(rgb=inputs["rgb"], flow=inputs.get("flow"))
        n_classes = next(iter(heads.values())).shape[1]
        if not 0 <= label < n_classes:
            raise ValueError(f"label must be 0 to {n_classes - 1}, got {label}; choose a class")
        score = torch.stack([logits[0, label] for logits in heads.values()]).sum()
        gradients = torch.autograd.grad(score, list(inputs.values()), allow_unused=True)
    return {
        name: gradient[0].abs().amax(dim=(1, 2)).numpy()  # (segment, channel, time, row, column)
        for name, gradient in zip(inputs, gradients, strict=True)
        if gradient is not None
    }


def features(
    network: Any,
    videos: Sequence[Stored],
    *,
    spec: ClipSpec,
    cutting: Cutting,
    n_clips: int = 5,
    verbose: bool = False,
) -> np.ndarray:
    """Describe videos by what the last linear layers of a network are fed.

    Parameters
    ----------
    network, videos, spec, cutting, n_clips, verbose
        As for `deep.predict.predict`.

    Returns
    -------
    ndarray of float32, shape (video, channel)
        Inputs of the layers that make the classes' logits, averaged over clips, segments and space,
        of norm 1, one layer after another.

    Raises
    ------
    ValueError
        The network's logits come from no linear layer.
    """
    fed: dict[nn.Linear, torch.Tensor] = {}

    def keep(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(layer, nn.Linear):
            channels = 1 if inputs[0].ndim == 4 else -1  # maps, or vectors
            fed[layer] = inputs[0].movedim(channels, -1).flatten(0, -2).mean(dim=0)

    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(keep) for layer in linear]
    rows = []
    try:
        for stored in jobs.progress(videos, label="features", verbose=verbose):
            logits = view_logits(
                network, stored, spec=spec, cutting=cutting, n_clips=n_clips, mirror=False, grid=1
            )
            n_classes = next(iter(logits.values())).shape[-1]
            last = [fed[each] for each in linear if each in fed and each.out_features == n_classes]
            if not last:
                raise ValueError(
                    "network must end in a linear layer, got none with the number of classes "
                    f"{n_classes} in {type(network).__name__}; choose another network"
                )
            rows.append(torch.cat([mean / mean.norm().clamp_min(1e-12) for mean in last]))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(rows).cpu().numpy().astype(np.float32)


def embed(rows: np.ndarray, *, perplexity: float | None = None, seed: int = 0) -> np.ndarray:
    """Place rows on a plane so that neighbours stay neighbours: t-SNE.

    Parameters
    ----------
    rows : ndarray of float, shape (n, dimension)
        At least 5.
    perplexity
        Number of neighbours that count, below n; None for 30, or a third of n where that is less.
    seed
        Of the optimisation.

    Returns
    -------
    ndarray of float32, shape (n, 2)
        Distances between far groups, and axes, mean nothing.

    References
    ----------
    Van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    from sklearn.manifold import TSNE

    if len(rows) < FEWEST:
        raise ValueError(f"rows must be at least {FEWEST}, got {len(rows)}; give more videos")
    if perplexity is None:
        perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    if not 0 < perplexity < len(rows):
        raise ValueError(
            f"perplexity must be above 0 and below the number of rows {len(rows)}, got "
            f"{perplexity}; leave it out"
        )
    placed = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(rows)
    return np.asarray(placed, np.float32)


def scores_over_time(
    network: Any, stored: Stored, *, spec: ClipSpec, cutting: Cutting, n_clips: int = 25
) -> tuple[np.ndarray, np.ndarray]:
    """Score the clips of one video one by one.

    Parameters
    ----------
    network, stored, spec, cutting
        As for `deep.predict.predict`.
    n_clips
        Clips at equal spacing.

    Returns
    -------
    frames : ndarray of float64, shape (clip,)
        The middle of the frames that each clip is centred on.
    shares : ndarray of float32, shape (clip, class)
        Softmax of each clip's fused scores.
    """
    logits = view_logits(
        network, stored, spec=spec, cutting=cutting, n_clips=n_clips, mirror=False, grid=1
    )
    with torch.inference_mode():
        shares = network.fuse({name: each[0] for name, each in logits.items()}).softmax(dim=1)
    clips = spec.spaced(stored.n_frames, n_clips)
    frames = np.array([clip.frames.mean() for clip in clips])
    return frames, shares.numpy().astype(np.float32)


def middle_clip(
    stored: Stored, spec: ClipSpec, cutting: Cutting, *, frame: int | None = None
) -> tuple[torch.Tensor, torch.Tensor | None, np.ndarray]:
    """Cut the clip around a frame, the whole frame of it, as a network takes it.

    Parameters
    ----------
    stored, spec, cutting
        As for `deep.data.read_clip`.
    frame
        Frame that the clip's first chunk is centred on; None for the clip in the video's middle.

    Returns
    -------
    rgb : Tensor of float32, shape (1, segment, 3, frame, row, column)
    flow : Tensor of float32, shape (1, segment, 2, time, row, column), or None
    frames : ndarray of int64, shape (segment,)
        The frame that each chunk is centred on.

    Raises
    ------
    ValueError
        The video does not have that frame.
    """
    if frame is not None and not 0 <= frame < stored.n_frames:
        raise ValueError(
            f"frame must be 0 to {stored.n_frames - 1} in {stored.video}, got {frame}; choose one"
        )
    middle = spec.spaced(stored.n_frames, 1)[0]
    stride = sum(spec.strides) // 2
    clip = middle if frame is None else spec.at(frame, stride, n_frames=stored.n_frames)
    rgb, flow = read_clip(stored, clip, grid_views(stored, cutting.size, 1)[0], cutting)
    centre = spec.frames.index(0) if 0 in spec.frames else 0
    return (
        torch.from_numpy(rgb)[None],
        None if flow is None else torch.from_numpy(flow)[None],
        clip.frames[:, centre],
    )
