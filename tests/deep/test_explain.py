"""What is said of the inside of networks, where it is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deep import data, explain, models
from deep.backbones.tower import Tower
from deep.clips import ClipSpec
from deep.data import Cutting, Stored
from deep.flow import FlowSettings

CUTTING = Cutting(size=32)


class OnePixel(nn.Module):
    """Class 1 likes blue at row 5, column 9 of the second segment, and dx at row 2, column 3."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(2, 2)

    def heads(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        assert rgb is not None
        heads = {"spatial": torch.stack([rgb.mean() * 0, -7 * rgb[0, 1, 2, 0, 5, 9]])[None]}
        if flow is not None:
            vectors = torch.stack(
                [flow[:, 0, 0, :, 2, 3].sum(dim=1), flow.mean(dim=(1, 2, 3, 4, 5))]
            )
            heads["temporal"] = vectors.T.flip(1)
        return heads


def clip(*, segments: int = 2, flow: bool = True) -> tuple[torch.Tensor, torch.Tensor | None]:
    rgb = torch.rand(1, segments, 3, 1, 16, 16)
    return rgb, torch.randn(1, segments, 2, 10, 16, 16) if flow else None


def test_saliency_of_a_network_that_looks_at_one_pixel() -> None:
    rgb, flow = clip()
    maps = explain.saliency(OnePixel(), rgb, flow, 1)
    assert {name: saliency.shape for name, saliency in maps.items()} == {
        "rgb": (2, 16, 16),
        "flow": (2, 16, 16),
    }
    expected = np.zeros((2, 16, 16))
    expected[1, 5, 9] = 7
    np.testing.assert_array_equal(maps["rgb"], expected)
    expected[:] = 0
    expected[0, 2, 3] = 1
    np.testing.assert_array_equal(maps["flow"], expected)
    assert not explain.saliency(OnePixel(), rgb, None, 0)["rgb"].any()
    assert not rgb.requires_grad


def test_saliency_is_the_slope_of_the_logits() -> None:
    torch.manual_seed(0)
    network = models.load("two-stream").build(3, backbone="small").double().eval()
    rgb, flow = (x.double() for x in clip(segments=1) if x is not None)
    maps = explain.saliency(network, rgb, flow, 2)
    row, column, step = 6, 11, 1e-5

    def logit(change: torch.Tensor) -> float:
        with torch.inference_mode():
            return sum(float(head[0, 2]) for head in network.heads(rgb + change, flow).values())

    slopes = []
    for channel in range(3):
        change = torch.zeros_like(rgb)
        change[0, 0, channel, 0, row, column] = step
        slopes.append(abs(logit(change) - logit(-change)) / (2 * step))
    assert maps["rgb"][0, row, column] == pytest.approx(max(slopes), rel=1e-4)


def test_saliency_refuses() -> None:
    rgb, flow = clip()
    with pytest.raises(ValueError, match="label must be 0 to 1, got 2; choose a class"):
        explain.saliency(OnePixel(), rgb, flow, 2)
    with pytest.raises(ValueError, match="rgb must be of one clip, got 2"):
        explain.saliency(OnePixel(), torch.cat([rgb, rgb]), None, 0)


def test_first_filters_have_channels_and_times_apart() -> None:
    tower = Tower("small", modality="flow", n_times=4)
    weight = next(m for m in tower.modules() if isinstance(m, nn.Conv2d)).weight
    filters = explain.first_filters(tower)
    assert filters.shape == (32, 2, 4, 5, 5)
    # dx and dy of a field stand beside each other in the stack
    np.testing.assert_array_equal(filters[3, 1, 2], weight[3, 2 * 2 + 1].detach())
    frames = explain.first_filters(Tower("slow-fusion-tiny", modality="rgb", n_times=11))
    assert frames.shape[1] == 3
    with pytest.raises(ValueError, match="network must have a tower to look into, got none in One"):
        explain.towers(OnePixel())


def test_towers_by_modality() -> None:
    network = models.load("conv-fusion").build(2, backbone="small")
    assert list(explain.towers(network)) == ["rgb", "flow"]
    pair = nn.ModuleList([Tower("small", modality="rgb", n_times=1) for _ in range(2)])
    assert list(explain.towers(pair)) == ["rgb", "rgb 2"]


@pytest.fixture
def stored(film: Callable[..., Path], tmp_path: Path) -> list[Stored]:
    paths = [film(tmp_path / f"{n}.mp4", label=n % 2, seed=n) for n in range(3)]
    folder = tmp_path / "cache"
    return [data.store(path, folder=folder, side=32, flow=FlowSettings()) for path in paths]


def looking_at(name: str, **options: Any) -> tuple[nn.Module, ClipSpec]:
    torch.manual_seed(0)
    module = models.load(name)
    return module.build(2, backbone="small", **options).eval(), module.INPUT


def test_features_are_what_the_classifiers_are_fed(stored: list[Stored]) -> None:
    network, spec = looking_at("two-stream")
    options: dict[str, Any] = {"spec": spec, "cutting": CUTTING, "n_clips": 2}
    rows = explain.features(network, stored, **options)
    assert rows.shape == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(rows.reshape(3, 2, 256), axis=2), 1, rtol=1e-5)
    # What the classifier makes of them is what it makes of the video, but for the norm
    logits = explain.view_logits(network, stored[0], mirror=False, grid=1, **options)
    linear = network.spatial.classifier
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    made = weight @ rows[0, :256]
    truth = logits["spatial"].mean(dim=(0, 1)).numpy() - bias
    np.testing.assert_allclose(
        made / np.linalg.norm(made), truth / np.linalg.norm(truth), atol=1e-4
    )


@pytest.mark.parametrize("name", models.available())
def test_every_network_has_features_and_scores_over_time(name: str, stored: list[Stored]) -> None:
    network, spec = looking_at(name)
    rows = explain.features(network, stored[:1], spec=spec, cutting=CUTTING, n_clips=2)
    assert np.isfinite(rows).all()
    frames, shares = explain.scores_over_time(
        network, stored[0], spec=spec, cutting=CUTTING, n_clips=4
    )
    assert frames.shape == (4,)
    assert shares.shape == (4, 2)
    assert np.all(np.diff(frames) >= 0)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert explain.first_filters(next(iter(explain.towers(network).values()))).ndim == 5


def test_scores_over_time_are_those_of_the_clips(stored: list[Stored]) -> None:
    network, spec = looking_at("two-stream")
    frames, shares = explain.scores_over_time(
        network, stored[0], spec=spec, cutting=CUTTING, n_clips=3
    )
    assert frames.tolist() == [5.0, 8.0, 10.0]  # a stack of ten fits around these of 16 frames
    rgb, flow, centres = explain.middle_clip(stored[0], spec, CUTTING, frame=5)
    assert centres.tolist() == [5]
    with torch.inference_mode():
        again = network(rgb=rgb, flow=flow).softmax(dim=1)[0]
    np.testing.assert_allclose(shares[0], again, atol=1e-5)
    with pytest.raises(ValueError, match=r"frame must be 0 to 15 in .*0\.mp4, got 16; choose one"):
        explain.middle_clip(stored[0], spec, CUTTING, frame=16)


def test_features_without_a_linear_layer(stored: list[Stored]) -> None:
    network = OnePixel()
    spec = ClipSpec(segments=2, stack=0)
    with pytest.raises(ValueError, match="network must end in a linear layer, got none with the"):
        explain.features(network, stored, spec=spec, cutting=CUTTING)


def test_embedding_keeps_neighbours_together() -> None:
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 20) * 10, 12, axis=0)
    rows = centres + rng.normal(size=(36, 20)) * 0.3
    places = explain.embed(rows)
    assert places.dtype == np.float32
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (apart.argmin(axis=1) // 12 == np.arange(36) // 12).all()
    np.testing.assert_array_equal(places, explain.embed(rows))
    with pytest.raises(ValueError, match="rows must be at least 5, got 4; give more videos"):
        explain.embed(rows[:4])
    with pytest.raises(
        ValueError, match="perplexity must be above 0 and below the number of rows 36"
    ):
        explain.embed(rows, perplexity=36)
