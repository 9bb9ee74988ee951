"""Maps along trajectories: places of cells, sums, normalisation, frames and flow of a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from deep import backbones, tdd
from deep.backbones.backbone import Backbone
from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.data import Cutting, Stored
from deep.tdd import Lattice, TrackPoints, TrajectoryPool

NETWORKS = ("small", *(name for name in backbones.TINY if not name.startswith("slow")))


def test_cells_by_hand() -> None:
    """Centres at 3, 7, 11 along x and at -1, 1 along y."""
    lattice = Lattice(offset=(-1.0, 3.0), stride=(2.0, 4.0))
    points = np.array([[3, -1], [4.9, 0.1], [5, 0], [9.1, 9], [-50, -50], [50, 50]])
    rows, columns = lattice.cells(points, (2, 3))
    assert columns.tolist() == [0, 0, 1, 2, 0, 2]
    assert rows.tolist() == [0, 1, 1, 1, 0, 1]


def test_a_lattice_follows_layers_by_hand() -> None:
    lattice = Lattice().behind((7, 7), (2, 2), (0, 3), (1, 1))
    assert lattice == Lattice((3.0, 0.0), (2.0, 2.0))
    assert lattice.behind((2, 2), (2, 2), (0, 0), (1, 1)) == Lattice((4.0, 1.0), (4.0, 4.0))
    assert Lattice().behind((3, 3), (1, 1), (0, 0), (2, 2)) == Lattice((2.0, 2.0), (1.0, 1.0))


def average_everything(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every layer an average of what it sees, so that gradients show where it looks."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()

    def averaged(
        x: torch.Tensor,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        dilation: int = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> torch.Tensor:
        assert dilation == 1
        assert not return_indices
        return functional.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)

    monkeypatch.setattr(functional, "max_pool2d", averaged)


@pytest.mark.parametrize("name", NETWORKS)
def test_cells_lie_where_their_gradient_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell in the middle sees most around the centre that it is said to have."""
    if name in backbones.OPTIONAL and not backbones.pretrained_installed():
        pytest.skip("needs the extra pretrained")
    network = backbones.build(name, 3).eval()
    side = 320
    names = list(network.layers)
    layers = [names[1], *tdd.default_layers(name, "spatial")]
    with torch.inference_mode():
        found = tdd.run_layers(network, torch.zeros(1, 3, side, side), layers)
    assert list(found) == layers
    kind = torch.float32 if name.startswith("efficientnet") else torch.float64  # slow in the latter
    average_everything(network.to(kind), monkeypatch)
    for layer, (maps, lattice) in found.items():
        image = torch.full((1, 3, side, side), 1e-3, dtype=kind, requires_grad=True)
        seen = network.run(image, until=layer)
        assert seen.shape == maps.shape
        row, column = (size // 2 for size in seen.shape[2:])
        seen[0, :, row, column].sum().backward()
        assert image.grad is not None
        weight = image.grad[0].sum(dim=0).double()
        weight /= weight.sum()
        places = torch.arange(side, dtype=torch.float64)
        centre = float(weight.sum(dim=1) @ places), float(weight.sum(dim=0) @ places)
        said = tuple(
            lattice.offset[axis] + lattice.stride[axis] * (row, column)[axis] for axis in (0, 1)
        )
        # Inception's strided blocks join an unpadded pool to padded convolutions. The deepest cells
        # of others see the borders, too, which draws their centre a little.
        apart = 0.5 if name.startswith("bn") else 0.03
        assert np.abs(np.subtract(centre, said)).max() <= apart * lattice.stride[0], layer


def test_padding_that_depends_on_the_size_moves_the_cells() -> None:
    network = backbones.build("resnet-18-tiny", 3).eval()
    padded = nn.Sequential(nn.ConstantPad2d((0, 1, 2, 0), 0.0), network.conv1)

    class Padded(Backbone):
        layers = {"first": 8}  # noqa: RUF012
        last = "first"
        steps = {"first": padded}  # noqa: RUF012

    found = tdd.run_layers(Padded(), torch.zeros(1, 3, 32, 32), ["first"])
    assert found["first"][1] == Lattice((-2.0, 0.0), (2.0, 2.0))


def test_layers_without_a_place_are_refused() -> None:
    slow = backbones.build("slow-fusion-tiny", 33).eval()
    with pytest.raises(ValueError, match="layers must give maps whose cells lie on one image"):
        tdd.run_layers(slow, torch.zeros(1, 33, 64, 64), ["relu5"])
    whole = backbones.build("vgg-16-tiny", 3, num_classes=2).eval()
    with pytest.raises(ValueError, match="got 'fc6' of Chain; choose a convolution"):
        tdd.run_layers(whole, torch.zeros(1, 3, 64, 64), ["fc6"])
    with pytest.raises(ValueError, match=r"layers must be of relu1_1, .*, got relu9; choose"):
        tdd.run_layers(whole, torch.zeros(1, 3, 64, 64), ["relu9"])


def test_sums_by_hand() -> None:
    """Maps that say where they are: frame, row, column; two tracks of two points."""
    frames, rows, columns = np.meshgrid(np.arange(3), np.arange(2), np.arange(4), indexing="ij")
    maps = np.stack([frames, rows, columns], axis=-1).astype(np.float32)
    lattice = Lattice((0.5, 0.5), (2.0, 2.0))
    points = np.array([[[0.5, 0.5], [6.5, 2.5]], [[3.0, 1.4], [99.0, -9.0]]])
    tracks = TrackPoints(points, np.array([[0, 1], [1, 2]]))
    pool = TrajectoryPool(tracks, 3)
    pool.add(maps[:2], lattice, first=0)
    pool.add(maps[2:], lattice, first=2)
    # cells (frame, row, column): (0, 0, 0) and (1, 1, 3); (1, 0, 1) and (2, 0, 3)
    np.testing.assert_array_equal(pool.descriptors("none"), [[1, 1, 3], [3, 0, 4]])
    st_expected = np.array([[1, 1, 3], [3, 0, 4]]) / np.array([2, 1, 3])
    np.testing.assert_allclose(pool.descriptors("st"), st_expected, rtol=1e-6)
    by_channel = [[1 / 3, 1 / 3, 1], [1 + 2 / 3, 0, 2]]
    np.testing.assert_allclose(pool.descriptors("channel"), by_channel, rtol=1e-6)
    with pytest.raises(
        ValueError, match="normalisation must be one of st, channel, none, got 'l2'"
    ):
        pool.descriptors("l2")


def test_pool_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"frames \(n, point\), got \(2, 3, 2\) and \(2, 2\)"):
        TrackPoints(np.zeros((2, 3, 2)), np.zeros((2, 2), np.int64))
    pool = TrajectoryPool(TrackPoints(np.zeros((1, 1, 2)), np.zeros((1, 1), np.int64)), 4)
    with pytest.raises(ValueError, match=r"shape \(frame, row, column, 4\), got \(1, 2, 2, 3\)"):
        pool.add(np.zeros((1, 2, 2, 3), np.float32), Lattice(), first=0)


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 6), relu=st.booleans())
@settings(max_examples=25, deadline=None)
def test_sums_are_those_of_plain_numpy(seed: int, cut: int, relu: bool) -> None:
    rng = np.random.default_rng(seed)
    n_frames, n_tracks, n_points, shape = 6, int(rng.integers(0, 9)), 4, (3, 5)
    maps = rng.normal(size=(n_frames, *shape, 7)).astype(np.float32)
    maps[:, :, :, 3] = 0
    maps[2, 1, 1] = 0
    if relu:
        maps = np.maximum(maps, 0)
    lattice = Lattice((1.5, -0.5), (4.0, 3.0))
    points = rng.uniform(-3, 20, (n_tracks, n_points, 2))
    frames = rng.integers(0, n_frames - n_points + 1, (n_tracks, 1)) + np.arange(n_points)
    pool = TrajectoryPool(TrackPoints(points, frames), 7)
    for first, part in ((0, maps[:cut]), (cut, maps[cut:])):
        pool.add(part, lattice, first=first)
    rows = np.clip(np.floor((points[..., 1] - 1.5) / 4 + 0.5), 0, 2).astype(int)
    columns = np.clip(np.floor((points[..., 0] + 0.5) / 3 + 0.5), 0, 4).astype(int)

    def along(values: np.ndarray) -> np.ndarray:
        return values[frames, rows, columns].sum(axis=1)

    largest = np.abs(maps).max(axis=(0, 1, 2), keepdims=True)
    tallest = np.abs(maps).max(axis=3, keepdims=True)
    twin = {
        "none": maps,
        "st": np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0),
        "channel": np.divide(maps, tallest, out=np.zeros_like(maps), where=tallest > 0),
    }
    for name, values in twin.items():
        np.testing.assert_allclose(pool.descriptors(name), along(values), atol=1e-5)


class Chosen(Backbone):
    """Some channels of the input: as they are, and averaged over 2 x 2 pixels."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.layers, self.last = {"whole": len(channels), "half": len(channels)}, "half"
        pick = nn.Conv2d(max(channels) + 1, len(channels), 1, bias=False)
        nn.init.zeros_(pick.weight)
        for output, channel in enumerate(channels):
            nn.init.ones_(pick.weight[output, channel])
        self.both = nn.ModuleList([pick, nn.AvgPool2d(2)])

    @property
    def steps(self) -> dict[str, nn.Module]:
        return dict(zip(self.layers, self.both, strict=True))


def stream(name: str, channels: list[int], **tower: Any) -> tdd.Stream:
    """A stream whose maps are its input, or half of its rows and columns."""
    made = Tower("small", **tower)
    made.backbone = Chosen(channels)
    made.mean.zero_()
    made.std.fill_(1.0)
    return tdd.Stream(name, made.eval(), ("whole", "half"))


@pytest.fixture
def told(tmp_path: Path) -> Stored:
    """Frames, 128 x 64, that say column, row and frame; fields that say their number."""
    n_frames = 40
    frames = np.empty((n_frames, 64, 128, 3), np.uint8)
    frames[..., 0] = 2 * np.arange(128)
    frames[..., 1] = 4 * np.arange(64)[:, None]
    frames[..., 2] = 6 * np.arange(n_frames)[:, None, None]
    flow = np.empty((n_frames - 1, 64, 128, 2), np.uint8)
    flow[..., 0] = 128 + np.arange(n_frames - 1)[:, None, None]
    flow[..., 1] = 128 - np.arange(128) // 2
    for name, values in (("frames", frames), ("flow", flow)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file[name] = values
    return Stored(
        tmp_path / "video.avi", tmp_path / "frames.h5", tmp_path / "flow.h5", n_frames, 64, 128
    )


def tracks_in(size: tuple[int, int], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Random tracks of 15 points that stay well inside the first 38 frames."""
    rng = np.random.default_rng(0)
    starts = rng.uniform(0.15, 0.85, (n, 1, 2)) * np.array(size)
    steps = rng.uniform(-1, 1, (n, 15, 2))
    points = np.clip(starts + steps.cumsum(axis=1), 8, np.array(size) - 9)
    return points, rng.integers(0, 24, (n, 1)) + np.arange(15)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_point_of_the_video_meets_its_own_cell(told: Stored, mirror: bool) -> None:
    """A video of 200 x 100, stored at 128 x 64, seen at 32 x 32 and pooled once."""
    points, frames = tracks_in((200, 100), 400)
    described = tdd.describe(
        told,
        points,
        frames,
        [stream("spatial", [0, 1, 2], modality="rgb", n_times=1)],
        frame_size=(200, 100),
        spec=ClipSpec(stack=0),
        cutting=Cutting(size=32),
        normalisations=("none",),
        mirror=mirror,
    )
    true_columns = (points[..., 0] + 0.5) * 128 / 200 - 0.5
    true_rows = (points[..., 1] + 0.5) * 64 / 100 - 0.5
    for layer, cell in (("whole", np.array([4, 2])), ("half", np.array([8, 4]))):
        sums = described[f"spatial_{layer}_none"] * 255
        # Each place, in stored pixels, is that of the nearest cell's centre
        for axis, truth in enumerate((true_columns, true_rows)):
            nearest = np.floor((truth + 0.5) / cell[axis]) * cell[axis] + (cell[axis] - 1) / 2
            expected = (2, 4)[axis] * nearest.sum(axis=1)
            np.testing.assert_allclose(sums[:, axis], expected, rtol=1e-5)
        np.testing.assert_allclose(sums[:, 2], 6 * frames.sum(axis=1), rtol=1e-5)


def test_a_point_meets_the_fields_of_its_frame(told: Stored) -> None:
    points, frames = tracks_in((128, 64), 50)
    seen = stream("temporal", [10, 0, 19], modality="flow", n_times=10)  # x5, x0, y9
    described = {
        mirror: tdd.describe(
            told,
            points,
            frames,
            [seen],
            frame_size=(128, 64),
            spec=ClipSpec(stack=10),
            cutting=Cutting(size=64, subtract_mean=False, bound=127.0),
            normalisations=("none",),
            mirror=mirror,
        )["temporal_whole_none"]
        for mirror in (False, True)
    }
    plain = described[False]
    np.testing.assert_allclose(plain[:, 0], frames.sum(axis=1), rtol=1e-5)  # the field at the frame
    np.testing.assert_allclose(plain[:, 1], np.maximum(frames - 5, 0).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(described[True][:, :2], -plain[:, :2], rtol=1e-5)
    np.testing.assert_allclose(described[True][:, 2], plain[:, 2], rtol=1e-5)


def test_frames_that_a_video_does_not_have(told: Stored) -> None:
    points, frames = tracks_in((128, 64), 2)
    options: dict[str, Any] = {
        "frame_size": (128, 64),
        "spec": ClipSpec(stack=0),
        "cutting": Cutting(size=32),
    }
    streams = [stream("spatial", [0], modality="rgb", n_times=1)]
    with pytest.raises(
        ValueError, match=r"frames of points must be 0 to 39 in .*, got 3\d to \d+;"
    ):
        tdd.describe(told, points, frames + 26, streams, **options)
    empty = tdd.describe(told, points[:0], frames[:0], streams, **options)
    assert {name: rows.shape for name, rows in empty.items()} == {
        f"spatial_{layer}_{how}": (0, 1) for layer in ("whole", "half") for how in ("st", "channel")
    }


def test_default_layers_are_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "pretrained_installed", lambda: True)
    for name in NETWORKS:
        known = set(backbones.layers(name))
        for part in tdd.STREAMS:
            assert set(tdd.default_layers(name, part)) <= known
    with pytest.raises(ValueError, match="spatial_layers must be named for backbone 'slow-fusion'"):
        tdd.default_layers("slow-fusion", "spatial")
    assert tdd.default_layers("cnn-m-2048", "temporal") == ("relu3", "relu4")
    names = tdd.descriptor_names({"spatial": ["a", "b"]}, ["st", "channel"])
    assert names == ("spatial_a_st", "spatial_a_channel", "spatial_b_st", "spatial_b_channel")
