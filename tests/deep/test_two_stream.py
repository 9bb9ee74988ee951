"""Two-Stream: its inputs, its ways of fusion, its ablations, its parameter counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from deep import models
from deep.late_fusion import fit_svm, hold_out, stacked_softmax
from deep.models import count_parameters
from deep.models.two_stream import INPUT, VARIANTS, Stream, TwoStream, build, clips

SIDE = 64


def inputs(n: int = 2, *, seed: int = 0, **options: Any) -> dict[str, torch.Tensor]:
    """Random clips of the form that a network built with `options` eats."""
    generator = torch.Generator().manual_seed(seed)
    spec = clips(**options)
    shape = (n, spec.segments, 3, len(spec.frames), SIDE, SIDE)
    made = {"rgb": torch.rand(shape, generator=generator)}
    if spec.stack:
        shape = (n, spec.segments, 2, spec.stack, SIDE, SIDE)
        made["flow"] = 3 * torch.randn(shape, generator=generator)
    return made


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"backbone": "cnn-m-2048"}, 181_335_594),  # 90.63 + 90.71 million
        ({"backbone": "vgg-16"}, 269_358_474),
        ({"backbone": "cnn-m-2048", "streams": "spatial"}, 90_627_813),
        ({"backbone": "cnn-m-2048", "streams": "temporal"}, 90_707_781),
        ({"backbone": "cnn-m-2048", "stack": 1}, 181_335_594 - 96 * 7 * 7 * 18),
        ({"backbone": "cnn-m-2048", "tasks": (51,)}, 181_335_594 + 51 * 2049),
        ({"backbone": "slow-fusion/cnn-m-2048"}, 92_478_309 + 90_707_781),
        (
            {"backbone": "cnn-m-2048", "late": "joint-fc7"},
            181_335_594 - 2 * 101 * 2049 + 2048 * 4097 + 101 * 2049,
        ),
    ],
)
def test_parameter_counts(options: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        network = build(101, **options)
    assert count_parameters(network) == count


ABLATIONS: list[dict[str, Any]] = [
    {"backbone": "vgg-16-tiny"},
    {"backbone": "vgg-16-tiny/resnet-18-tiny"},
    {"backbone": "bn-inception-tiny"},
    {"backbone": "resnet-18-tiny", "partial_bn": True},
    {"streams": "spatial"},
    {"streams": "temporal"},
    {"stack": 1},
    {"stack": 5},
    {"stacking": "trajectory"},
    {"stacking": "bi-directional"},
    {"motion": "rgb-difference"},
    {"motion": "rgb-difference", "stack": 5},
    {"backbone": "slow-fusion-tiny/cnn-m-2048-tiny"},
    {"late": "svm"},
    {"late": "joint-fc6"},
    {"late": "joint-fc7"},
    {"tasks": (7, 2)},
]


@pytest.mark.parametrize("options", ABLATIONS, ids=lambda options: "-".join(map(str, options)))
def test_every_ablation_learns(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    options = {"backbone": "cnn-m-2048-tiny", **options}
    network = build(3, **options)
    given = inputs(**options)
    assert network.eval()(**given).shape == (2, 3)
    network.train()
    losses = [
        functional.cross_entropy(h, torch.tensor([0, 2])) for h in network.heads(**given).values()
    ]
    loss = torch.stack(losses).sum()
    assert torch.isfinite(loss)
    loss.backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and ".others." not in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_late_fusion_is_the_mean_of_softmaxes() -> None:
    network = build(2)
    heads = {
        "spatial": torch.tensor([[0.0, 0.0]]),
        "temporal": torch.tensor([[0.0, math.log(3.0)]]),
    }
    expected = torch.tensor([[(0.5 + 0.25) / 2, (0.5 + 0.75) / 2]])
    torch.testing.assert_close(network.fuse(heads).exp(), expected)


def test_one_stream_alone() -> None:
    network = build(3).eval()
    given = inputs(1)
    assert list(network.heads(flow=given["flow"])) == ["temporal"]
    assert network(rgb=given["rgb"]).shape == (1, 3)
    spatial = build(3, streams="spatial").eval()
    assert list(spatial.heads(**given)) == ["spatial"]
    with pytest.raises(ValueError, match="must not both be None"):
        spatial.heads(flow=given["flow"])


def test_segments_are_averaged() -> None:
    network = build(3, backbone="vgg-16-tiny").eval()
    given = inputs(1)
    two = {k: torch.cat([v, v.flip(-1)], dim=1) for k, v in given.items()}
    with torch.inference_mode():
        logits = network.heads(**two)
        apart = [network.heads(**{k: v[:, i : i + 1] for k, v in two.items()}) for i in (0, 1)]
    for name in logits:
        torch.testing.assert_close(logits[name], (apart[0][name] + apart[1][name]) / 2)


def test_differences_are_of_neighbours_and_the_middle_frame_is_seen() -> None:
    network = build(2, motion="rgb-difference", stack=2, backbone="small")
    rgb = torch.tensor([1.0, 4.0, 9.0]).view(1, 1, 1, 3, 1, 1).expand(1, 1, 3, 3, 4, 4)
    seen = network._inputs(rgb, None)  # type: ignore[operator]
    assert seen["spatial"][0, 0, 0, :, 0, 0].tolist() == [4.0]
    assert seen["temporal"][0, 0, 0, :, 0, 0].tolist() == [3.0, 5.0]
    assert clips(motion="rgb-difference", stack=2).frames == (-1, 0, 1)
    assert clips(motion="rgb-difference", stack=5).frames == (-2, -1, 0, 1, 2, 3)


def test_clips() -> None:
    assert clips() == INPUT
    assert clips(stack=5, stacking="trajectory", backbone="cnn-m-2048").stacking == "trajectory"
    assert clips(backbone="slow-fusion/cnn-m-2048").frames == tuple(range(-5, 6))


@pytest.mark.parametrize("backbone", ["small", "cnn-m-2048-tiny"])
def test_several_tasks(backbone: str) -> None:
    torch.manual_seed(0)
    network = build(3, backbone=backbone, tasks=(5,)).eval()
    assert isinstance(network, TwoStream)
    assert isinstance(network.temporal, Stream)
    flow = inputs(4)["flow"]
    own, other = network.temporal.by_task(flow)
    assert (own.shape, other.shape) == ((4, 3), (4, 5))
    torch.testing.assert_close(own, network.temporal(flow))
    labels, tasks = torch.tensor([2, 0, 4, 1]), torch.tensor([0, 0, 1, 0])
    expected = functional.cross_entropy(own[[0, 1, 3]], labels[[0, 1, 3]])
    expected = expected + functional.cross_entropy(other[2:3], labels[2:3])
    loss = network.multi_task_loss(flow, labels, tasks)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert network.temporal.others[0].weight.grad is not None
    network.zero_grad(set_to_none=True)
    network.multi_task_loss(flow[:2], labels[:2], tasks[:2]).backward()
    assert network.temporal.others[0].weight.grad is None  # no clip of the other set: no gradient
    with pytest.raises(ValueError, match=r"tasks must be 0 to 1, got \[2\]"):
        network.multi_task_loss(flow[:1], labels[:1], torch.tensor([2]))
    with pytest.raises(ValueError, match="streams must be both or temporal"):
        build(3, streams="spatial").multi_task_loss(flow, labels, tasks)  # type: ignore[union-attr, operator]


def test_stacked_scores_by_hand() -> None:
    logits = [torch.log(torch.tensor([[3.0, 1.0]])), torch.zeros(1, 2)]
    expected = [0.75 / math.hypot(0.75, 0.25), 0.25 / math.hypot(0.75, 0.25)] + [math.sqrt(0.5)] * 2
    torch.testing.assert_close(stacked_softmax(logits), torch.tensor([expected]))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_svm_learns_which_stream_to_trust(n_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % n_classes
    right = 4 * np.eye(n_classes)[labels] + rng.normal(size=(80, n_classes))
    noise = 4 * np.eye(n_classes)[rng.integers(n_classes, size=80)]
    heads = {"spatial": noise.astype(np.float32), "temporal": right.astype(np.float32)}
    network = build(n_classes, late="svm")
    assert isinstance(network, TwoStream)
    network.fit_late(heads, labels.tolist())
    found = network.fuse({name: torch.from_numpy(value) for name, value in heads.items()})
    assert found.shape == (80, n_classes)
    assert (found.argmax(dim=1).numpy() == labels).mean() > 0.95
    average = build(n_classes).fuse({name: torch.from_numpy(v) for name, v in heads.items()})
    assert (average.argmax(dim=1).numpy() == labels).mean() < 0.9
    alone = network.fuse({"temporal": torch.from_numpy(heads["temporal"])})
    assert torch.equal(alone.argmax(dim=1), torch.from_numpy(right.argmax(axis=1)))


def test_svm_separates_with_crammer_and_singers_margin() -> None:
    # three classes on the unit circle: at the optimum every decision value beats the others by 1
    angles = torch.tensor([0.0, 2.1, 4.2]).repeat(5)
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    svm = nn.Linear(2, 3)
    fit_svm(svm, points, [0, 1, 2] * 5, C=100.0)
    with torch.no_grad():
        values = svm(points[:3])
    own = values.diagonal()
    rivals = values.masked_fill(torch.eye(3, dtype=torch.bool), -math.inf).amax(dim=1)
    torch.testing.assert_close(own - rivals, torch.ones(3), rtol=0, atol=1e-2)  # the solver's 1e-4


def test_whole_groups_are_held_out() -> None:
    labels = [0, 1] * 12
    groups = [f"g{index // 4}" for index in range(24)]
    held = hold_out(labels, groups, seed=1)
    apart = {group for group, own in zip(groups, held, strict=True) if own}
    kept = {group for group, own in zip(groups, held, strict=True) if not own}
    assert kept
    assert not apart & kept
    assert len(apart) == 2  # a quarter of six, rounded
    np.testing.assert_array_equal(held, hold_out(labels, groups, seed=1))


def test_wrong_fusion_learning() -> None:
    with pytest.raises(ValueError, match="groups must be at least two to hold some out, got 0"):
        hold_out([0, 1], None)
    with pytest.raises(ValueError, match="every class a video when 1 of 2 are held out"):
        hold_out([0, 0, 1, 1], ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="of every class, got none of 2; give more groups"):
        fit_svm(nn.Linear(6, 3), torch.rand(4, 6), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="labels must be one per video, got 3 for 4"):
        fit_svm(nn.Linear(6, 3), torch.rand(4, 6), [0, 1, 2])
    with pytest.raises(ValueError, match="late must be 'svm'"):
        build(2).fit_late({}, [])  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": "x"}, "streams must be one of both, spatial, temporal, got 'x'"),
        ({"motion": "x"}, "motion must be one of flow, rgb-difference, got 'x'"),
        ({"late": "x"}, "late must be one of average, svm, joint-fc6, joint-fc7, got 'x'"),
        ({"stacking": "x"}, "stacking must be one of plain, trajectory, bi-directional, got 'x'"),
        ({"stack": 0}, "stack must be at least 1, got 0"),
        ({"stack": 5, "stacking": "bi-directional"}, "even for a bi-directional stack, got 5"),
        ({"late": "svm", "streams": "spatial"}, "late must be average for one stream"),
        ({"late": "joint-fc7"}, "cnn-m-2048, vgg-16, .*for late='joint-fc7', got 'small'"),
        ({"tasks": (1,)}, r"tasks must be numbers of classes from 2, .* got \(1,\)"),
        ({"tasks": (5,), "streams": "spatial"}, "a temporal stream of its own, got .*'spatial'"),
        (
            {"tasks": (5,), "late": "joint-fc7", "backbone": "cnn-m-2048-tiny"},
            "a temporal stream of its own, got .*'joint-fc7'",
        ),
        ({"backbone": "slow-fusion-tiny"}, "backbone of flow must not be slow-fusion-tiny"),
        ({"backbone": "small/slow"}, "backbone must be auto, small, .*, got 'slow'"),
        (
            {"backbone": "slow-fusion-tiny/small", "motion": "rgb-difference"},
            "one frame beside RGB differences",
        ),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(3, **options)


def test_a_joint_stack_needs_both() -> None:
    network = build(3, backbone="cnn-m-2048-tiny", late="joint-fc7")
    with pytest.raises(ValueError, match="flow must be given, got None; a joint stack needs"):
        network(rgb=inputs(1)["rgb"])


@pytest.mark.parametrize("row", list(VARIANTS))
def test_every_row_of_the_tables_runs(row: str) -> None:
    torch.manual_seed(0)
    options = dict(VARIANTS[row].options)
    tiny = "/".join(f"{name}-tiny" for name in options["backbone"].split("/"))
    network = models.build("two-stream", 3, variant=row, backbone=tiny).eval()
    spec = models.clips("two-stream", **options)
    given = inputs(1, **options)
    assert given["rgb"].shape[3] == len(spec.frames)
    scores = network(**given)
    assert scores.shape == (1, 3)
    assert torch.isfinite(scores).all()


def test_counts_of_table_3() -> None:
    counts = {}
    for row in ("table3-vgg-m-late", "table3-vgg-16-spatial", "table3-vgg-16-late"):
        with torch.device("meta"):
            counts[row] = count_parameters(models.build("two-stream", 101, variant=row))
    assert list(counts.values()) == [181_335_594, 134_674_341, 269_358_474]
