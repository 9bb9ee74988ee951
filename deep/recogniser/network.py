"""A network of `deep.models` behind `fit` and `scores`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from deep import backbones, data, models, weights
from deep import device as devices
from deep.data import Stored
from deep.flow import FlowSettings, check_fingerprint
from deep.predict import Prediction, evaluate
from deep.recogniser import fitting, held_out, trained
from deep.recogniser.inputs import cache_folder, checked_classes
from deep.recogniser.plan import (
    BATCH_OPTIONS,
    LOOP_OPTIONS,
    VIEW_OPTIONS,
    part,
    protocol_options,
    settle,
)
from deep.train import check_board, distributed, reproducible, train
from idt import jobs

# What settings that describe no network set off in building one.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError)


@dataclass(kw_only=True, eq=False)
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
    mode
        What learns: ``recipe``, as the recipe says; ``all`` layers; the ``last`` alone, which give
        the logits; ``scratch``, all of them from random weights, whatever the backbone comes with.
    paper
        Train and test as the paper did, see the model's ``PAPER``, in place of the recipe for two
        cores.
    protocol
        How videos are tested, one of `deep.predict.PROTOCOLS`; None for the recipe's.
    start
        Weight files to start from: ``spatial``, ``temporal`` for the towers, see
        `deep.backbones.loading.load_weights`, whose classifiers are left out; ``network`` for a
        whole one that `save` wrote, which must have the same classes in the same order.
    new_classifier
        Whether that one's last layers are left out, whatever its classes.
    validation
        Share of the groups that is held out to find the epoch with the least loss, whose weights
        are kept; 0 for none. With `patience` in the recipe training ends early.
    side
        Shorter side of the stored frames in pixels, at which flow is computed; None for the paper's
        with `paper`, else 128.
    flow
        Which flow the network sees.
    device, precision
        As for `deep.train.train`.
    seed
        Of initialisation, sampling, augmentation and dropout.
    workers
        Processes that decode and compute flow, or an executor, as for `idt.jobs.run`. As many
        threads as there are processes, one where the executor is no `idt.jobs.WorkerPool`, cut
        clips for the network, which itself runs on torch's threads.
    verbose
        Show progress with the time left on standard error.
    cache
        Folder for decoded frames and flow, shared by all networks, and for checkpoints; None for a
        temporary one of this object's own. Workers on other machines need one that they see.
    checkpoint
        File that is written after every epoch and taken away at the end of `fit`; a `fit` that was
        interrupted goes on from it. None: in `cache`, if there is one, under a name that goes with
        all that decides the result.
    log
        CSV file with a row for each epoch; None: beside the checkpoint.
    tensorboard
        Folder for TensorBoard's files.

    Attributes
    ----------
    network_
        The trained `torch.nn.Module`.
    backbone_ : str
        What ``auto`` stood for.
    class_names_ : list of str
        In the order of the scores.
    history_ : list of deep.train.Epoch
        Loss, pace and validation of each epoch.
    losses_ : list of float
        Mean training loss of each epoch.
    """

    score_kind: ClassVar[str] = "logit"

    model: str = "conv-fusion"
    backbone: str = "auto"
    epochs: int | None = None
    passes: int | None = None
    size: int | None = None
    n_clips: int | None = None
    segments: int | None = None
    strides: tuple[int, int] | None = None
    variant: str | None = None
    recipe: dict[str, Any] | None = None
    mode: str = "recipe"
    paper: bool = False
    protocol: str | None = None
    start: dict[str, Path] | None = None
    new_classifier: bool = False
    validation: float = 0.0
    side: int | None = None
    flow: FlowSettings = FlowSettings()  # noqa: RUF009  # frozen
    device: str = "cpu"
    precision: str = "float32"
    seed: int = 0
    workers: jobs.Workers = 1
    verbose: bool = False
    cache: Path | None = None
    checkpoint: Path | None = None
    log: Path | None = None
    tensorboard: Path | None = None
    _folder: Path | None = field(default=None, init=False, repr=False)

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
            What belongs together; needed for `validation`, and where the streams' fusion is learned
            (``late="svm"``).
        class_names
            Names of the classes in the order of the labels; by default their numbers.

        Returns
        -------
        NetworkRecogniser
            This object.

        Raises
        ------
        ValueError
            Labels, classes or options do not fit, or there is no such device.
        deep.weights.WeightsError
            Weights to start from, or the checkpoint, are broken or of another network or run.
        idt.video.VideoError
            A video cannot be read.
        ImportError
            The backbone needs the extra `pretrained`.
        """
        names = checked_classes(videos, labels, class_names)
        self._settle()
        labels = [int(label) for label in labels]
        learned, fused, validated = fitting.parts_of(
            labels,
            groups,
            late=self.recipe_.get("late") == "svm",
            validation=self.validation,
            seed=self.seed,
        )
        run = trained.run_of(self, videos, labels, names, validated)
        checkpoint, log = fitting.files(
            run, checkpoint=self.checkpoint, log=self.log, folder=self.cache
        )
        with reproducible(self.seed, device=self.device):
            network = fitting.build(
                self.model,
                names,
                options=self._build,
                start=self.start,
                new_classifier=self.new_classifier,
                mode=self.mode,
            )
            with distributed.first():
                stored = [outcome.result() for outcome in self.prepare(videos)]
            fitting.check_stored([stored[index] for index in learned], self.spec_)
            if self.verbose and distributed.rank() == 0:
                print(trained.announcement(self, checkpoint), file=sys.stderr)
            self.history_ = train(
                network,
                fitting.batches(
                    [stored[index] for index in learned],
                    [labels[index] for index in learned],
                    spec=self.spec_,
                    cutting=self.cutting_,
                    seed=self.seed,
                    loaders=self._n_loaders(),
                    pinned=self.device != "cpu",
                    **part(self.recipe_, BATCH_OPTIONS),
                ),
                validate=fitting.validator(
                    network,
                    [stored[index] for index in validated],
                    [labels[index] for index in validated],
                    **self._views(),
                ),
                device=self.device,
                precision=self.precision,
                checkpoint=checkpoint,
                settings=run,
                log=log,
                tensorboard=self.tensorboard,
                verbose=self.verbose,
                **part(self.recipe_, LOOP_OPTIONS),
            )
            if len(fused):
                found = evaluate(network, [stored[index] for index in fused], **self._views())
                network.fit_late(found.logits, [labels[index] for index in fused])
        if checkpoint is not None and distributed.rank() == 0:
            checkpoint.unlink(missing_ok=True)
        self.losses_ = [epoch.loss for epoch in self.history_]
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

        Raises
        ------
        ValueError
            There is no trained network yet.
        idt.video.VideoError
            A video cannot be read.
        """
        self._check_fitted()
        if not len(videos):
            return np.zeros((0, len(self.class_names_)), np.float32)
        return self.evaluate(videos).scores

    def evaluate(self, videos: Sequence[str | Path]) -> Prediction:
        """Score videos, at least one, and keep each head's logits beside the scores.

        Parameters and errors are those of `scores`.

        Returns
        -------
        deep.predict.Prediction
            ``scores`` as `scores` has them; ``logits`` by head, float32 (video, class).
        """
        self._check_fitted()
        stored = [outcome.result() for outcome in self.prepare(videos)]
        with reproducible(self.seed, device=self.device):
            return evaluate(self.network_, stored, verbose=self.verbose, **self._views())

    def cross_scores(
        self,
        videos: Sequence[str | Path],
        labels: Sequence[int],
        groups: Sequence[Any],
        *,
        n_folds: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Score training videos by networks that did not see their group; this object stays.

        With a cache, scores of a fold are kept there: what was interrupted goes on.

        Parameters
        ----------
        videos, labels, class_names
            As for `fit`.
        groups
            One per video; videos of one group are held out together.
        n_folds
            Folds that groups are dealt to, classes spread evenly; None for 5, or as many as there
            are groups.

        Returns
        -------
        ndarray of float32, shape (video, class)

        Raises
        ------
        ValueError
            As for `fit`; or a fold leaves a class without a video to train on.
        """
        names = checked_classes(videos, labels, class_names)
        self._settle()
        return held_out.cross_scores(
            videos,
            labels,
            groups,
            names,
            n_folds=n_folds,
            another=lambda: replace(self, checkpoint=None, log=None, tensorboard=None),
            settings=self.settings(),
            cache=self.cache,
        )

    def _views(self) -> dict[str, Any]:
        """Options of `deep.predict.evaluate`."""
        return {
            "spec": self.spec_,
            "cutting": self.cutting_,
            "device": self.device,
            "precision": self.precision,
            **part(self.recipe_, VIEW_OPTIONS),
        }

    def prepare(self, videos: Sequence[str | Path]) -> list[jobs.Outcome[str | Path, Stored]]:
        """Decode videos and compute their flow into the cache, as `fit` and `scores` do first.

        Parameters
        ----------
        videos
            Video files, or folders of images.

        Returns
        -------
        list of idt.jobs.Outcome
            One per video, in their order; one that cannot be read has its error.
        """
        if not hasattr(self, "recipe_"):
            self._settle()
        return data.store_all(
            videos,
            folder=self._cache_folder(),
            side=self.side_,
            flow=self.flow_,
            device=self.device if self.flow_ and self.flow_.algorithm == "tvl1" else "cpu",
            workers=self.workers,
            verbose=self.verbose,
        )

    @property
    def n_parameters_(self) -> int:
        """How many weights the trained network has, frozen ones too."""
        return sum(weights.numel() for weights in self.network_.parameters())

    @property
    def pretraining(self) -> str:
        """Where the weights that training began with come from; ``nothing`` where drawn."""
        if not hasattr(self, "recipe_"):
            self._settle()
        known = set(backbones.pair(self.backbone_)) & set(backbones.PRETRAINED)
        own = ["ImageNet"] if known else []
        files = [f"{Path(path).name} ({stream})" for stream, path in (self.start or {}).items()]
        return "; ".join(own + files) or "nothing"

    def settings(self) -> dict[str, Any]:
        """Say what made the result, all of it, JSON-able."""
        if not hasattr(self, "recipe_"):
            self._settle()
        return trained.settings_of(self)

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
        class_names: Sequence[str] | None = None,
        protocol: str | None = None,
        device: str = "cpu",
        precision: str | None = None,
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
        class_names
            The classes that are wanted, in their order; None for the network's own.
        protocol
            How videos are tested, one of `deep.predict.PROTOCOLS`; None as it was trained for.
        device, precision
            As for the class; None for the precision that it was trained in.
        workers, verbose, cache
            As for the class.

        Returns
        -------
        NetworkRecogniser
            Ready for `scores`.

        Raises
        ------
        deep.weights.WeightsError
            The file is broken, does not fit the network that its header names, or has other classes
            or in another order.
        ValueError
            `flow` is not what the network was trained on, or there is no such device.
        """
        place = devices.chosen(device)
        tensors, stored = weights.load(path)
        common: dict[str, Any] = {
            "device": device,
            "workers": workers,
            "verbose": verbose,
            "cache": cache,
        }
        try:
            arguments, names = trained.arguments(stored)
            arguments["recipe"] |= protocol_options(protocol)
            arguments |= {"precision": precision} if precision else {}
            loaded = cls(**arguments, **common)
            loaded.class_names_ = names
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
        if class_names is not None:
            fitting.check_class_names(
                loaded.class_names_, class_names, owner=f"the network in {path}"
            )
        weights.check_fit(shown, tensors, source=str(path))
        network = module.build(len(loaded.class_names_), **loaded._build)
        weights.fit_into(network, tensors, source=str(path))
        devices.move(network, place)
        loaded.network_ = network.eval()
        return loaded

    def _settle(self) -> None:
        """Work out backbone, clips and recipe from the options."""
        given = dict(self.recipe or {})
        for name in ("epochs", "passes", "size", "n_clips"):
            if getattr(self, name) is not None:
                given[name] = getattr(self, name)
        if given.get("patience") is not None and not self.validation:
            raise ValueError(
                f"patience must go with validation, got {given['patience']} without; hold out a "
                "share of the groups"
            )
        devices.chosen(self.device)
        devices.check_precision(self.precision)
        if self.tensorboard is not None:
            check_board()
        plan = settle(
            self.model,
            backbone=self.backbone,
            variant=self.variant,
            given=given,
            segments=self.segments,
            strides=self.strides,
            flow=self.flow,
            mode=self.mode,
            paper=self.paper,
            protocol=self.protocol,
            side=self.side,
            has_start=bool(self.start),
        )
        self.backbone_, self.recipe_, self.spec_ = plan.backbone, plan.recipe, plan.spec
        self.cutting_, self.flow_, self._build = plan.cutting, plan.flow, plan.build
        self.side_ = plan.side

    def _n_loaders(self) -> int:
        if isinstance(self.workers, jobs.WorkerPool):
            return self.workers.workers
        return self.workers if isinstance(self.workers, int) else 1

    def _cache_folder(self) -> Path:
        if self._folder is None:
            self._folder = cache_folder(self, self.cache)
        return self._folder

    def _check_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise ValueError("the network must be trained first, got none; call fit or load")
