from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from deep import models
from deep.clips import ClipSpec
from deep.data import Batch
from deep.train import reproducible, train
from deep.train.loop import _rate

CONV_FUSION = ClipSpec(segments=3, strides=(5, 15))


def batches(epoch: int, *, spec: ClipSpec = CONV_FUSION) -> Iterator[Batch]:
    """Twelve clips of three classes: colour tells the class, and so does the direction of flow."""
    generator = torch.Generator().manual_seed(epoch)
    labels = torch.arange(12) % 3
    segments = spec.segments
    rgb = 0.3 * torch.rand(12, segments, 3, len(spec.frames), 32, 32, generator=generator)
    flow = 0.3 * torch.randn(12, segments, 2, 10, 32, 32, generator=generator)
    for index, label in enumerate(labels):
        rgb[index, :, label] += 0.6
        flow[index, :, 0] += 2.0 * float(label - 1)
    yield Batch(rgb, flow if spec.stack else None, labels)


@pytest.mark.parametrize(
    ("name", "optimiser"),
    [(name, "sgd" if name == "two-stream" else "adamw") for name in models.available()],
)
def test_learns_a_handful_of_clips(name: str, optimiser: str) -> None:
    module = models.load(name)
    own = partial(batches, spec=module.INPUT)
    with reproducible(0):
        network = module.build(3, backbone="small", dropout=0.1)
        rate, epochs = (0.02, 25) if optimiser == "sgd" else (2e-3, 10)
        history = train(network, own, epochs=epochs, learning_rate=rate, optimiser=optimiser)
        (unseen,) = own(99)
        with torch.inference_mode():
            heads = network.heads(unseen.rgb, unseen.flow)
    assert history[-1].loss < 0.3 * history[0].loss
    for head, logits in heads.items():
        assert torch.equal(logits.argmax(dim=1), unseen.labels), head
    assert not network.training


def test_same_seed_same_weights() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        with reproducible(seed):
            network = models.load("conv-fusion").build(3, backbone="small")
            train(network, batches, epochs=2, learning_rate=1e-3, optimiser="adamw")
        return list(network.state_dict().values())

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_reproducible_gives_the_state_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with reproducible(0):
        assert torch.are_deterministic_algorithms_enabled()
        torch.rand(1)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.rand(1), expected)


def test_backbones_learn_at_their_own_rate_and_frozen_ones_not_at_all() -> None:
    network = models.load("two-stream").build(3, backbone="small", frozen=(5, 0))
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    train(network, batches, epochs=1, learning_rate=0.1, backbone_rate=0.0)
    for name, tensor in network.named_parameters():
        assert torch.equal(tensor, before[name]) == ("tower" in name), name


def test_schedules_by_hand() -> None:
    def rates(done: list[float], schedule: str, warm_up: float = 0.0) -> list[float]:
        return [_rate(d, schedule=schedule, warm_up=warm_up, drops=(0.6, 0.85)) for d in done]

    assert rates([0.0, 0.5, 1.0], "cosine") == pytest.approx([1.0, 0.5, 0.0])
    assert rates([0.0, 0.59, 0.6, 0.84, 0.85], "step") == [1.0, 1.0, 0.1, 0.1, 0.01]
    assert rates([0.0, 0.09], "step", 0.1) == pytest.approx([0.1, 1.0])


def test_errors() -> None:
    network = models.load("two-stream").build(3, backbone="small")
    with pytest.raises(ValueError, match="optimiser must be one of sgd, adamw, got 'adam'"):
        train(network, batches, epochs=1, learning_rate=1e-3, optimiser="adam")
    with pytest.raises(ValueError, match="schedule must be one of cosine, step, got 'flat'"):
        train(network, batches, epochs=1, learning_rate=1e-3, schedule="flat")
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        train(network, batches, epochs=0, learning_rate=1e-3)
    with pytest.raises(ValueError, match="loss must stay finite"):
        train(network, batches, epochs=5, learning_rate=1e9)
