"""Trajectories of videos with the maps of networks pooled along them, kept in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deep import backbones, data, tdd
from deep import device as devices
from deep.backbones.tower import MODALITIES, Tower
from deep.clips import ClipSpec
from deep.data import Cutting, Stored
from deep.flow import FlowSettings
from deep.recogniser.network import NetworkRecogniser
from deep.train import reproducible
from idt.codebook.videos import Batch
from idt.descriptors import DESCRIPTORS
from idt.extract import Extraction, ExtractOptions
from idt.jobs import Workers, file_key, progress, run
from idt.mirror import mirrored
from idt.recogniser.tracks import Files, Tracks
from idt.trajectories import TableWriter, Trajectories, provenance

VERSION = 1  # raised when the same settings give other descriptors
POINTS = "points"  # name under which a table keeps tracks, (x, y) after (x, y) in pixels


@dataclass(frozen=True)
class Maps:
    """Which maps are pooled, and what makes them.

    Attributes
    ----------
    backbone
        The spatial and the temporal network's, resolved, as in ``small/small``.
    network
        Weights that `NetworkRecogniser.save` wrote, whose towers are taken; None for the
        backbone's own, of ImageNet or random.
    layers
        Stream and layers.
    normalisations
        Of `deep.tdd.pooling.NORMALISATIONS`.
    sizes
        Sides of the networks' input in pixels; the descriptors of each are rows of their own.
    spec, cutting, flow, side
        Of what the networks see, as in `NetworkRecogniser`. The cutting's size is not used.
    seed
        Of weights that start at random.
    device
        Where the networks run, see `deep.device.chosen`.
    """

    backbone: str
    network: Path | None
    layers: tuple[tuple[str, tuple[str, ...]], ...]
    normalisations: tuple[str, ...]
    sizes: tuple[int, ...]
    spec: ClipSpec
    cutting: Cutting
    flow: FlowSettings | None
    side: int
    seed: int
    device: str = "cpu"

    def settings(self) -> dict[str, Any]:
        """All that decides the maps, JSON-able; the seed where weights are random.

        The device is told where it is no processor: its rounding is another.
        """
        names = set(self.backbone.split("/"))
        is_random = self.network is None and not names <= set(backbones.PRETRAINED)
        return {
            "version": VERSION,
            "backbone": self.backbone,
            "network": None if self.network is None else file_key(self.network, {}),
            "layers": {stream: list(names) for stream, names in self.layers},
            "normalisations": list(self.normalisations),
            "sizes": list(self.sizes),
            "spec": asdict(self.spec),
            "subtract_mean": self.cutting.subtract_mean,
            "flow": None if self.flow is None else self.flow.fingerprint(),
            "side": self.side,
            "seed": self.seed if is_random else None,
            "torch": torch.__version__,
            **({} if self.device == "cpu" else {"device": self.device}),
        }

    def streams(self) -> list[tdd.Stream]:
        """Build the networks on their device.

        Raises
        ------
        ValueError
            The trained network has no tower for a stream.
        """
        place = devices.chosen(self.device)
        streams = self._streams()
        for stream in streams:
            devices.move(stream.tower, place)
        return streams

    def shown(self) -> list[tdd.Stream]:
        """Build the networks on torch's device ``meta``, without their weights."""
        with torch.device("meta" if self.network is None else "cpu"):
            streams = self._streams()
        for stream in streams:
            stream.tower.to("meta")
        return streams

    def n_parameters(self) -> int:
        """How many weights the networks have up to the last layers that are pooled."""
        count = 0
        for stream in self.shown():
            backbone = stream.tower.backbone
            end = max(list(backbone.layers).index(name) for name in stream.layers) + 1
            steps = list(backbone.steps.values())[:end]
            count += sum(weights.numel() for step in steps for weights in step.parameters())
        return count

    @property
    def pretraining(self) -> str:
        """Data that the networks' weights were trained on before; ``nothing`` where drawn."""
        if self.network is not None:
            before = NetworkRecogniser.load(self.network).pretraining
            own = f"{self.network.name} (network)"
            return own if before == "nothing" else f"{before}; {own}"
        names = dict(zip(tdd.STREAMS, backbones.pair(self.backbone), strict=True))
        known = any(names[stream] in backbones.PRETRAINED for stream, _ in self.layers)
        return "ImageNet" if known else "nothing"

    def check(self) -> None:
        """Refuse layers and sizes that the networks do not have, without computing anything."""
        for stream in self.shown():
            tower = stream.tower
            channels = MODALITIES[tower.modality] * tower.n_times
            for size in self.sizes:
                images = torch.empty(1, channels, size, size, device="meta")
                try:
                    tdd.run_layers(tower.backbone, images, stream.layers)
                except RuntimeError as error:
                    raise ValueError(
                        f"size must suit backbone {tower.name}, got {size}: {error}; take that of "
                        f"its training, {tower.backbone.side}"
                    ) from error

    def _streams(self) -> list[tdd.Stream]:
        towers = self._built() if self.network is None else self._trained()
        return [tdd.Stream(name, towers[name].eval(), layers) for name, layers in self.layers]

    def _built(self) -> dict[str, Tower]:
        spatial, temporal = backbones.pair(self.backbone)
        with reproducible(self.seed):
            built = {
                "spatial": lambda: Tower(spatial, modality="rgb", n_times=len(self.spec.frames)),
                "temporal": lambda: Tower(temporal, modality="flow", n_times=self.spec.stack),
            }
            return {name: built[name]() for name, _ in self.layers}

    def _trained(self) -> dict[str, Tower]:
        network = NetworkRecogniser.load(self.network or "").network_
        towers = {
            tdd.STREAMS[module.modality == "flow"]: module
            for module in network.modules()
            if isinstance(module, Tower) and module.modality in ("rgb", "flow")
        }
        lacking = [name for name, _ in self.layers if name not in towers]
        if lacking:
            raise ValueError(
                f"network must have a {' and a '.join(lacking)} tower, got one with "
                f"{' and '.join(towers) or 'none'}: {self.network}; choose other streams"
            )
        return towers


@dataclass(frozen=True, kw_only=True)
class DeepTracks(Tracks):
    """What is read of each video: descriptors out of maps, and those of improved trajectories.

    A video has a file of tracks for each of the passes, and behind each one file for every size of
    input and, where `mirror` is asked for, for its mirror image.

    Attributes
    ----------
    maps
        Which maps are pooled. Their descriptors, and those of `idt` that are joined, make
        `descriptors`.
    """

    maps: Maps

    @property
    def joined(self) -> tuple[str, ...]:
        """Names of the descriptors that are not out of maps."""
        return tuple(name for name in self.descriptors if name in DESCRIPTORS)

    @property
    def views(self) -> list[tuple[int, bool]]:
        """Size of the input, and whether it is mirrored, of each look at a video."""
        return [(s, flip) for s in self.maps.sizes for flip in ((False, True)[: 1 + self.mirror])]

    def extract(
        self,
        videos: Sequence[str | Path],
        folder: Path,
        *,
        workers: Workers = 1,
        verbose: bool = False,
    ) -> list[Files]:
        """Track, compute maps and pool them where it is not done yet; the files of each video."""
        files = [self._paths(folder, video) for video in videos]
        missing = [
            video
            for video, paths in zip(videos, files, strict=True)
            if not all(path.exists() for path in paths)
        ]
        if not missing:
            return files
        self.maps.check()
        tracked = run(
            partial(_track_all, folder, self.passes),
            missing,
            label="trajectories",
            workers=workers,
            verbose=verbose,
        )
        for each in tracked:
            each.result()
        flow = self.maps.flow
        stored = data.store_all(
            missing,
            folder=folder,
            side=self.maps.side,
            flow=flow,
            device=self.maps.device if flow is not None and flow.algorithm == "tvl1" else "cpu",
            workers=workers,
            verbose=verbose,
        )
        streams = self.maps.streams()
        with reproducible(self.maps.seed, device=self.maps.device):
            for outcome in progress(stored, label="maps", verbose=verbose):
                self._describe(outcome.result(), folder, streams)
        return files

    def batches(self, files: Files) -> Iterator[Batch]:
        """Read the trajectories of one video, a look at a time."""
        n_views = len(self.views)
        for start in range(0, len(files), n_views + 1):
            table = Trajectories.load(files[start])
            joined = {name: table.descriptors[name] for name in self.joined}
            plain = Trajectories(table.meta, joined, table.info)
            for (_, flip), path in zip(self.views, files[start + 1 :], strict=False):
                other = mirrored(plain) if flip else plain
                pooled = Trajectories.load(path).descriptors
                yield self._batch(replace(other, descriptors=pooled | other.descriptors))

    def _paths(self, folder: Path, video: str | Path) -> Files:
        """Where the files of a video lie: tracks, then looks, of every pass."""
        paths = []
        for options in self.passes:
            paths.append(track_path(folder, options, video))
            paths += [self._view_path(folder, options, video, view) for view in self.views]
        return tuple(paths)

    def _view_path(
        self, folder: Path, options: ExtractOptions, video: str | Path, view: tuple[int, bool]
    ) -> Path:
        key = file_key(video, self._view_settings(options, view))
        return folder / f"{Path(video).stem[:60]}-{key}.tdd.h5"

    def _view_settings(self, options: ExtractOptions, view: tuple[int, bool]) -> dict[str, Any]:
        maps = self.maps.settings() | {"sizes": [view[0]]}
        return {
            "extraction": asdict(options),
            "maps": maps,
            "mirror": view[1],
            "versions": provenance(),
        }

    def _describe(self, stored: Stored, folder: Path, streams: Sequence[tdd.Stream]) -> None:
        """Pool the maps of one video in every look that has no file yet."""
        for options in self.passes:
            table = Trajectories.load(track_path(folder, options, stored.video))
            points = table.descriptors[POINTS].reshape(-1, options.track_length + 1, 2)[:, :-1]
            steps_left = options.track_length - np.arange(options.track_length)
            last = table.column("frame").astype(np.int64)
            frames = last[:, None] - options.frame_step * steps_left
            for view in self.views:
                path = self._view_path(folder, options, stored.video, view)
                if path.exists():
                    continue
                described = tdd.describe(
                    stored,
                    points,
                    frames,
                    streams,
                    frame_size=(table.info["video"]["width"], table.info["video"]["height"]),
                    spec=self.maps.spec,
                    cutting=replace(self.maps.cutting, size=view[0]),
                    normalisations=self.maps.normalisations,
                    mirror=view[1],
                )
                info = {"video": table.info["video"], **self._view_settings(options, view)}
                Trajectories(table.meta, described, info).save(path)


def track_path(folder: Path, options: ExtractOptions, video: str | Path) -> Path:
    """Where the tracks of a video lie in a folder, points and all."""
    settings = {"extraction": asdict(options), "points": True, "versions": provenance()}
    return folder / f"{Path(video).stem[:60]}-{file_key(video, settings)}.tracks.h5"


def _track_all(folder: Path, passes: Sequence[ExtractOptions], video: str | Path) -> None:
    """Extract a video's tracks in every pass, unless another process did so meanwhile."""
    for options in passes:
        path = track_path(folder, options, video)
        if not path.exists():
            _track(path, options, video)


def _track(path: Path, options: ExtractOptions, video: str | Path) -> None:
    """Write a table that keeps the points of the tracks beside the descriptors."""
    extraction = Extraction(video, options=options)
    sizes = extraction.dimensions() | {POINTS: 2 * (options.track_length + 1)}
    with TableWriter(path, dimensions=sizes, dtype="float32") as writer:
        for block in extraction.blocks():
            points = block.points.reshape(len(block.points), -1)
            writer.append(block.meta, block.descriptors | {POINTS: points})
        writer.finish(extraction.info(), **extraction.clock(extraction.n_frames))
