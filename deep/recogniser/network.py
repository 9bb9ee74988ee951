"""A network of `deep.models` behind `fit` and `scores`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from operator import index as whole
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deep import backbones, data, models, weights
from deep.backbones.loading import load_weights
from deep.backbones.tower import Tower
from deep.data import Stored
from deep.flow import FlowSettings, check_fingerprint
from deep.late_fusion import hold_out
from deep.predict import predict, view_logits
from deep.recogniser.inputs import cache_folder, checked_classes
from deep.recogniser.plan import LOOP_OPTIONS, VIEW_OPTIONS, part, settle
from deep.train import reproducible, train
from idt import jobs

STREAMS = ("spatial", "temporal")
# What settings that describe no network set off in building one.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError)


class NetworkRecogniser:
    """A network of `deep.models`, trained and tested by its recipe.

    Parameters
    ----------
    model
        Name of the network, see `deep.models.available`.
    backbone
        Name of the backbone, see `deep.backbones`; ``auto`` takes EfficientNet-Lite0 with its
        ImageNet weights where the extra `pretrained` is installed, else ``small`` from scratch.
        `backbone_` and `settings` say which.
    epochs, passes, size, n_clips
        In place of the recipe's: number of epochs, clips per video in each, side of the network's
        input in pixels, clips per video at test.
    segments, strides
        In place of the network's ``INPUT``: number of chunks and their distances in frames.
    variant
        A row of the network's ``VARIANTS``, which are published settings by name.
    recipe
        In place of other numbers of the recipe and options of the network, see its ``build``; a
        wrong one is refused with the list of those there are.
    start
        Weight files for the ``spatial`` and the ``temporal`` tower to start from, see
        `deep.backbones.loading.load_weights`; their classifiers are left out.
    side
        Shorter side of the stored frames in pixels; flow is computed at this size.
    flow
        Which flow the network sees.
    seed
        Of initialisation, sampling, augmentation and dropout.
    workers
        Processes that decode and compute flow, or an executor, as for `idt.jobs.run`. The network
        itself runs on torch's threads.
    verbose
        Show progress with the time left on standard error.
    cache
        Folder for decoded frames and flow, shared by all networks; None for a temporary one of this
        object's own.

    Attributes
    ----------
    network_
        The trained `torch.nn.Module`.
    backbone_ : str
        What ``auto`` stood for.
    class_names_ : list of str
        In the order of the scores.
    losses_ : list of float
        Mean training loss of each epoch.
    """

    score_kind = "logit"

    def __init__(
        self,
        *,
        model: str = "conv-fusion",
        backbone: str = "auto",
        epochs: int | None = None,
        passes: int | None = None,
        size: int | None = None,
        n_clips: int | None = None,
        segments: int | None = None,
        strides: tuple[int, int] | None = None,
        variant: str | None = None,
        recipe: dict[str, Any] | None = None,
        start: dict[str, Path] | None = None,
        side: int = 128,
        flow: FlowSettings = FlowSettings(),  # noqa: B008  # frozen
        seed: int = 0,
        workers: jobs.Workers = 1,
        verbose: bool = False,
        cache: Path | None = None,
    ) -> None:
        self.model = model
        self.backbone = backbone
        self.epochs = epochs
        self.passes = passes
        self.size = size
        self.n_clips = n_clips
        self.segments = segments
        self.strides = strides
        self.variant = variant
        self.recipe = recipe
        self.start = start
        self.side = side
        self.flow = flow
        self.seed = seed
        self.workers = workers
        self.verbose = verbose
        self.cache = cache
        self._folder: Path | None = None

    def fit(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        *,
        groups: Sequence[Any] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> NetworkRecogniser:
        """Train on videos.

        Parameters
        ----------
        videos
            Readable video files.
        labels
            One per video, 0 to n_classes - 1; each class needs a video.
        groups
            What belongs together; needed where the streams' fusion is learned (``late="svm"``).
        class_names
            Names of the classes in the order of the labels; by default their numbers.

        Raises
        ------
        ValueError
            Labels, classes or options do not fit.
        idt.video.VideoError
            A video cannot be read.
        ImportError
            The backbone needs the extra `pretrained`.
        """
        names = checked_classes(videos, labels, class_names)
        self._settle()
        recipe, module = self.recipe_, models.load(self.model)
        late = np.zeros(len(videos), np.bool_)  # held out from the streams, for their fusion
        if recipe.get("late") == "svm":
            late = hold_out([int(label) for label in labels], groups, seed=self.seed)
        stored = [outcome.result() for outcome in self.prepare(videos)]
        learned = [index for index in range(len(videos)) if not late[index]]
        if self.verbose:
            note = " (from ImageNet)" if self.backbone_ in backbones.PRETRAINED else ""
            print(f"{self.model}: backbone {self.backbone_}{note}", file=sys.stderr)
        with reproducible(self.seed):
            network = module.build(len(names), **self._build)
            for stream, path in (self.start or {}).items():
                load_weights(self._tower(network, stream), path, new_classifier=True)
            batches = partial(
                data.training_batches,
                [stored[index] for index in learned],
                [labels[index] for index in learned],
                spec=self.spec_,
                cutting=self.cutting_,
                batch_size=recipe["batch_size"],
                n_clips=recipe["passes"] * len(learned),
                seed=self.seed,
            )
            self.losses_ = train(
                network,
                lambda epoch: batches(epoch=epoch),
                verbose=self.verbose,
                **part(recipe, LOOP_OPTIONS),
            )
            if late.any():
                self._fit_late(network, stored, labels, late)
        self.network_ = network
        self.class_names_ = names
        return self

    def scores(self, videos: Sequence[str | Path]) -> np.ndarray:
        """Score videos.

        Parameters
        ----------
        videos
            Readable video files of any length from one frame.

        Returns
        -------
        ndarray of float32, shape (video, class)
            Fused logits (`deep.predict`), larger for likelier.
        """
        self._check_fitted()
        if not len(videos):
            return np.zeros((0, len(self.class_names_)), np.float32)
        stored = [outcome.result() for outcome in self.prepare(videos)]
        with reproducible(self.seed):
            return predict(
                self.network_,
                stored,
                spec=self.spec_,
                cutting=self.cutting_,
                verbose=self.verbose,
                **part(self.recipe_, VIEW_OPTIONS),
            )

    def _tower(self, network: torch.nn.Module, stream: str) -> Tower:
        """Find the tower on frames, or the one on motion."""
        towers = [module for module in network.modules() if isinstance(module, Tower)]
        own = [t for t in towers if (t.modality == "rgb") == (stream == "spatial")]
        if stream not in STREAMS or not own:
            known = {STREAMS[tower.modality != "rgb"] for tower in towers}
            raise ValueError(
                f"start must be of {', '.join(sorted(known))} for {self.model}, got {stream!r}; "
                "give weights for these"
            )
        return own[0]

    def _fit_late(
        self,
        network: Any,
        stored: Sequence[Stored],
        labels: Sequence[int],
        late: np.ndarray,
    ) -> None:
        """Let a network learn how to fuse its streams from videos held out from them."""
        chosen = [index for index in range(len(stored)) if late[index]]
        views = [
            view_logits(
                network,
                stored[index],
                spec=self.spec_,
                cutting=self.cutting_,
                n_clips=self.recipe_["n_clips"],
                mirror=True,
                grid=self.recipe_.get("grid", 1),
            )
            for index in chosen
        ]
        heads = {
            name: torch.stack([each[name].mean(dim=(0, 1)) for each in views]).numpy()
            for name in views[0]
        }
        network.fit_late(heads, [int(labels[index]) for index in chosen])

    def prepare(self, videos: Sequence[str | Path]) -> list[jobs.Outcome[str | Path, Stored]]:
        """Decode videos and compute their flow into the cache, as `fit` and `scores` do first.

        A video that cannot be read becomes an outcome with its error.
        """
        if not hasattr(self, "recipe_"):
            self._settle()
        return data.store_all(
            videos,
            folder=self._cache_folder(),
            side=self.side,
            flow=self.flow_,
            workers=self.workers,
            verbose=self.verbose,
        )

    def settings(self) -> dict[str, Any]:
        """Say what made the result, all of it, JSON-able."""
        if not hasattr(self, "recipe_"):
            self._settle()
        return {
            "model": self.model,
            "backbone": self.backbone_,
            "clips": {
                "segments": self.spec_.segments,
                "strides": list(self.spec_.strides),
                "stack": self.spec_.stack,
            },
            **({} if self.variant is None else {"variant": self.variant}),
            **({"start": {k: Path(v).name for k, v in self.start.items()}} if self.start else {}),
            "recipe": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in self.recipe_.items()
            },
            "side": self.side,
            "flow": None if self.flow_ is None else self.flow_.fingerprint(),
            "seed": self.seed,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def save(self, path: str | Path) -> None:
        """Write the trained network, its classes and its settings to a safetensors file."""
        self._check_fitted()
        settings = {**self.settings(), "class_names": self.class_names_}
        weights.save(path, self.network_.state_dict(), settings=settings)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        flow: FlowSettings | None = None,
        workers: jobs.Workers = 1,
        verbose: bool = False,
        cache: Path | None = None,
    ) -> NetworkRecogniser:
        """Read a trained network that `save` wrote.

        Parameters
        ----------
        path
            The safetensors file.
        flow
            The flow that will be fed; None for the one it was trained on.
        workers, verbose, cache
            As for the class.

        Raises
        ------
        deep.weights.WeightsError
            The file is broken or does not fit the network that its header names.
        ValueError
            `flow` is not what the network was trained on.
        """
        tensors, stored = weights.load(path)
        try:
            recipe = {key: _tuple(value) for key, value in stored["recipe"].items()}
            least, most = map(whole, stored["clips"]["strides"])
            loaded = cls(
                model=stored["model"],
                backbone=stored["backbone"],
                segments=whole(stored["clips"]["segments"]),
                strides=(least, most),
                variant=stored.get("variant"),
                start=stored.get("start"),
                recipe=recipe,
                side=whole(stored["side"]),
                flow=FlowSettings(**(stored["flow"] or {})),
                seed=whole(stored["seed"]),
                workers=workers,
                verbose=verbose,
                cache=cache,
            )
            loaded.class_names_ = [str(name) for name in stored["class_names"]]
            loaded._settle()
            module = models.load(loaded.model)
            with torch.device("meta"):  # a size that is declared takes no memory before it fits
                shown = module.build(len(loaded.class_names_), **loaded._build)
        except UNREADABLE as error:
            raise weights.WeightsError(
                f"cannot read weights {str(path)!r}: its settings do not describe a network "
                f"({error}); give a file that `trajfuse deep train` wrote"
            ) from error
        if flow is not None:
            check_fingerprint(
                flow.fingerprint(), loaded.flow.fingerprint(), owner=f"the network in {path}"
            )
        weights.check_fit(shown, tensors, source=str(path))
        network = module.build(len(loaded.class_names_), **loaded._build)
        weights.fit_into(network, tensors, source=str(path))
        loaded.network_ = network.eval()
        return loaded

    def _settle(self) -> None:
        """Work out backbone, clips and recipe from the options."""
        given = dict(self.recipe or {})
        for name in ("epochs", "passes", "size", "n_clips"):
            if getattr(self, name) is not None:
                given[name] = getattr(self, name)
        plan = settle(
            self.model,
            backbone=self.backbone,
            variant=self.variant,
            given=given,
            segments=self.segments,
            strides=self.strides,
            flow=self.flow,
        )
        self.backbone_, self.recipe_, self.spec_ = plan.backbone, plan.recipe, plan.spec
        self.cutting_, self.flow_, self._build = plan.cutting, plan.flow, plan.build

    def _cache_folder(self) -> Path:
        if self._folder is None:
            self._folder = cache_folder(self, self.cache)
        return self._folder

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise ValueError("the network must be trained first, got none; call fit or load")


def _tuple(value: Any) -> Any:
    """Turn a list, which JSON makes of a tuple, back into one."""
    return tuple(value) if isinstance(value, list) else value
