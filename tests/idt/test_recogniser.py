"""Handcrafted recognisers on small rendered videos: learning, sameness, errors."""

import av
import numpy as np
import pytest

from idt.extract import ExtractOptions
from idt.recogniser import RECOGNISERS, FisherVectorRecogniser, FlowHistogramRecogniser
from idt.trajectories import Trajectories


def _write(path, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())


def _clip(direction, seed, n_frames=30):
    """A textured square that moves over a textured ground: 0 sideways, 1 up and down."""
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.integers(60, 190, (18, 24)), np.ones((4, 4))).astype(np.uint8)
    patch = np.kron(rng.integers(0, 256, (7, 7)), np.ones((4, 4))).astype(np.uint8)
    video = np.empty((n_frames, 72, 96, 3), np.uint8)
    phase = rng.uniform(0, 2 * np.pi)
    for t in range(n_frames):
        offset = round(14 * np.sin(phase + 0.45 * t))
        x, y = (34 + offset, 22) if direction == 0 else (34, 22 + offset)
        image = ground.copy()
        image[y : y + 28, x : x + 28] = patch
        video[t] = image[..., None]
    return video


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twelve videos, six to train and six to test, two classes in turn."""
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for index in range(12):
        paths.append(folder / f"clip{index}.avi")
        _write(paths[-1], _clip(index % 2, index))
    return paths


def _recogniser(name, **options):
    if name == "idt-fv":
        options = {"n_components": 4, "n_samples": 2000} | options
    return RECOGNISERS[name](**options)


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
def test_a_recogniser_tells_the_classes_apart(name, clips, tmp_path):
    recogniser = _recogniser(name, cache=tmp_path)
    fitted = recogniser.fit(clips[:6], [0, 1] * 3, class_names=["across", "along"])
    assert fitted is recogniser
    scores = recogniser.scores(clips[6:])
    assert scores.dtype == np.float32
    assert scores.shape == (6, 2)
    np.testing.assert_array_equal(scores.argmax(axis=1), [0, 1] * 3)
    assert recogniser.encode(clips[:1]).shape[0] == 1
    assert recogniser.settings()["kind"] == "decision value"


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
def test_scores_do_not_depend_on_cache_or_workers(name, clips, tmp_path):
    fresh = _recogniser(name).fit(clips[:4], [0, 1] * 2).scores(clips[4:6])
    kept = _recogniser(name, cache=tmp_path, workers=2).fit(clips[:4], [0, 1] * 2)
    np.testing.assert_array_equal(kept.scores(clips[4:6]), fresh)
    n_files = len(list(tmp_path.iterdir()))
    assert n_files == 6
    again = _recogniser(name, cache=tmp_path).fit(clips[:4], [0, 1] * 2)
    np.testing.assert_array_equal(again.scores(clips[4:6]), fresh)
    assert len(list(tmp_path.iterdir())) == n_files


def test_other_settings_do_not_read_the_same_cache(clips, tmp_path):
    FisherVectorRecogniser(n_components=2, cache=tmp_path).fit(clips[:2], [0, 1])
    options = ExtractOptions(track_length=6)
    FisherVectorRecogniser(n_components=2, cache=tmp_path, options=options).fit(clips[:2], [0, 1])
    shapes = {
        Trajectories.load(path).descriptors["trajectory"].shape[1] for path in tmp_path.iterdir()
    }
    assert shapes == {12, 30}


@pytest.mark.filterwarnings("ignore:.*no trajectories")
def test_a_short_video_gets_finite_scores(clips, tmp_path):
    short = tmp_path / "short.avi"
    _write(short, _clip(0, 99, n_frames=1))
    for name in RECOGNISERS:
        recogniser = _recogniser(name).fit(clips[:4], [0, 1] * 2)
        assert np.isfinite(recogniser.scores([short])).all()


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
@pytest.mark.parametrize(
    ("n_videos", "labels", "class_names", "message"),
    [
        (0, [], None, "videos must hold at least one"),
        (2, [0], None, "labels must be one for each of the 2 videos"),
        (2, [0, -1], None, "labels must be whole numbers from 0"),
        (2, [0.5, 1.0], None, "labels must be whole numbers from 0"),
        (2, [0, 2], ["a", "b"], "labels must be below the number of classes 2"),
        (2, [0, 2], None, "every class must have a training video, got none for 1"),
        (2, [0, 1], ["a", "b", "c"], "got none for c"),
    ],
)
def test_labels_that_do_not_fit_are_refused(name, clips, n_videos, labels, class_names, message):
    with pytest.raises(ValueError, match=message):
        _recogniser(name).fit(clips[:n_videos], labels, class_names=class_names)


@pytest.mark.parametrize("recogniser", [FisherVectorRecogniser(), FlowHistogramRecogniser()])
def test_scores_before_fit_are_refused(recogniser, clips):
    with pytest.raises(ValueError, match="must be fitted first"):
        recogniser.scores(clips[:1])


def test_training_videos_without_trajectories_are_refused(tmp_path):
    paths = [tmp_path / "a.avi", tmp_path / "b.avi"]
    for seed, path in enumerate(paths):
        _write(path, _clip(0, seed, n_frames=5))
    with pytest.raises(ValueError, match="training videos must hold trajectories"):
        FisherVectorRecogniser().fit(paths, [0, 1])
