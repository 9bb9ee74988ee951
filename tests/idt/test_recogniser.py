"""Handcrafted recognisers on small rendered videos: learning, sameness, errors."""

import av
import numpy as np
import pytest

from idt.extract import ExtractOptions
from idt.fisher import FisherVectorEncoder
from idt.mirror import mirrored
from idt.recogniser import RECOGNISERS, FisherVectorRecogniser
from idt.recogniser.tracks import Tracks
from idt.svm import LinearSVM
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


SMALL = {
    "fv": {"n_components": 4, "n_samples": 2000},
    "bof": {"n_words": 64, "n_init": 1, "n_samples": 2000},
}


def _recogniser(name, **options):
    kind = name.removesuffix("-plus").rpartition("-")[2]
    return RECOGNISERS[name](**SMALL.get(kind, {}) | options)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder that keeps trajectories from test to test."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
def test_a_recogniser_tells_the_classes_apart(name, clips, cache):
    recogniser = _recogniser(name, cache=cache)
    fitted = recogniser.fit(clips[:6], [0, 1] * 3, class_names=["across", "along"])
    assert fitted is recogniser
    scores = recogniser.scores(clips[6:])
    assert scores.dtype == np.float32
    assert scores.shape == (6, 2)
    assert (scores.argmax(axis=1) == [0, 1] * 3).sum() >= 5
    assert recogniser.encode(clips[:1]).shape[0] == 1
    assert recogniser.settings()["kind"] == "decision value"


@pytest.mark.parametrize("name", ["flow-hist", "idt-fv"])
def test_scores_do_not_depend_on_cache_or_workers(name, clips, tmp_path):
    fresh = _recogniser(name).fit(clips[:4], [0, 1] * 2).scores(clips[4:6])
    kept = _recogniser(name, cache=tmp_path, workers=2).fit(clips[:4], [0, 1] * 2)
    kept.workers = 1  # starting processes takes longest here
    np.testing.assert_array_equal(kept.scores(clips[4:6]), fresh)
    of_clips = [path for path in tmp_path.iterdir() if path.name.startswith("clip")]
    assert len(of_clips) == 6
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!.]*")}
    again = _recogniser(name, cache=tmp_path).fit(clips[:4], [0, 1] * 2)
    np.testing.assert_array_equal(again.scores(clips[4:6]), fresh)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!.]*")} == files


def test_other_settings_do_not_read_the_same_cache(clips, tmp_path):
    FisherVectorRecogniser(n_components=2, cache=tmp_path).fit(clips[:2], [0, 1])
    options = ExtractOptions(track_length=6)
    FisherVectorRecogniser(n_components=2, cache=tmp_path, options=options).fit(clips[:2], [0, 1])
    shapes = {
        Trajectories.load(path).descriptors["trajectory"].shape[1]
        for path in tmp_path.glob("clip*.h5")
    }
    assert shapes == {12, 30}


@pytest.mark.filterwarnings("ignore:.*no trajectories")
def test_a_short_video_gets_finite_scores(clips, cache, tmp_path):
    short = tmp_path / "short.avi"
    _write(short, _clip(0, 99, n_frames=1))
    for name in RECOGNISERS:
        recogniser = _recogniser(name, cache=cache).fit(clips[:4], [0, 1] * 2)
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


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
def test_scores_before_fit_are_refused(name, clips):
    with pytest.raises(ValueError, match="must be fitted first"):
        RECOGNISERS[name]().scores(clips[:1])


def test_an_encoding_holds_what_the_options_ask_for(clips, cache):
    def width(**options):
        return fitted(**options).encode(clips[:1]).shape[1]

    def fitted(name="idt-fv", **options):
        return _recogniser(name, cache=cache, **options).fit(clips[:4], [0, 1] * 2)

    assert width() == 2 * 4 * (15 + 48 + 54 + 48 + 48)
    assert width(descriptors="mbhx/mbhy") == 2 * 4 * 96
    assert width(descriptors=["hog"], reduction=0.25) == 2 * 4 * 24
    assert width(descriptors="hog", places=True) == 2 * 4 * 50  # half of 96 and x, y, t
    assert width(descriptors="hog", grids="1x1x1/t2") == 3 * width(descriptors="hog")
    assert width(descriptors="hog", rank_pooling=3) == 3 * width(descriptors="hog")
    assert width(descriptors="hog", pca="none") == 2 * 4 * 96
    assert width(name="idt-bof", descriptors="hog/hof", grids="1x1x1/t2") == 64 * 2 * 3


def test_how_many_numbers_scoring_takes(clips, cache):
    def fitted(name, **options):
        return _recogniser(name, cache=cache, **options).fit(clips[:4], [0, 1] * 2)

    pca, mixture = 96 + 48 * 96, 4 * (1 + 48 + 48)
    assert fitted("idt-fv", descriptors="hog").n_parameters_ == pca + mixture + 2 * (1 + 2 * 4 * 48)
    assert fitted("flow-hist").n_parameters_ == 2 * (1 + 4 * 4 * 9)
    bag = fitted("idt-bof", descriptors="hog")
    n_support = np.count_nonzero(np.abs(bag.svm_.dual_coef_).sum(axis=0))
    assert bag.n_parameters_ == 64 * 96 + n_support * (64 + 2) + 2 + 1  # words, vectors, offsets
    assert {recogniser().pretraining for recogniser in RECOGNISERS.values()} == {"nothing"}
    assert not hasattr(_recogniser("idt-fv"), "n_parameters_")  # before fit


def test_descriptors_are_chosen_among_the_same_files(clips, tmp_path):
    for descriptors in ("hog", "mbhy/hof"):
        _recogniser("idt-fv", cache=tmp_path, descriptors=descriptors).fit(clips[:2], [0, 1])
    assert len(list(tmp_path.glob("clip*.h5"))) == 2


def test_a_video_and_its_mirror_image_are_alike_where_that_is_asked_for(clips, cache, tmp_path):
    def both(**options):
        tracks = Tracks((ExtractOptions(stabilise="none"),), ("hof", "mbhx"), **options)
        (files,) = tracks.extract(clips[:1], cache)
        rows = [batch.descriptors["mbhx"] for batch in tracks.batches(files)]
        return np.concatenate(rows), Trajectories.load(files[0])

    plain, table = both()
    np.testing.assert_array_equal(plain, table.descriptors["mbhx"])
    rows, _ = both(mirror=True)
    np.testing.assert_array_equal(rows[: len(table)], plain)
    np.testing.assert_array_equal(rows[len(table) :], mirrored(table).descriptors["mbhx"])
    rows, _ = both(places=True)
    np.testing.assert_array_equal(rows, np.concatenate([plain, table.meta[:, -3:]], axis=1))


def test_frame_steps_are_read_together(clips, cache):
    tracks = [
        FisherVectorRecogniser(frame_steps=steps, preset="codec" if steps == 1 else "fast")
        for steps in (1, "1/2", [2, 3])
    ]
    assert [s.settings()["extraction"][-1]["frame_step"] for s in tracks] == [1, 2, 3]
    recogniser = _recogniser("idt-fv", cache=cache, preset="fast", frame_steps="1/2")
    recogniser.fit(clips[:2], [0, 1])
    both = Tracks(
        (ExtractOptions.preset("fast"), ExtractOptions.preset("fast", frame_step=2)), ("hog",)
    )
    (files,) = both.extract(clips[:1], cache)
    single = recogniser.codebook_
    assert "frame_step" not in single.extraction_
    assert single.extraction_["stabilise"] == "subtract"
    other = ExtractOptions.preset("codec", descriptors=("hog",), track_length=10)
    with pytest.raises(ValueError, match="of the extraction must be"):
        FisherVectorEncoder(single).encode_source(clips[0], options=other)
    rows = {
        name: np.concatenate([Trajectories.load(path).descriptors[name] for path in files])
        for name in single.dimensions_
    }
    np.testing.assert_allclose(
        recogniser.encode(clips[:1])[0], FisherVectorEncoder(single).encode(rows), atol=1e-6
    )


def test_cross_scores_hold_groups_out(clips, cache):
    groups = ["a", "a", "b", "b", "c", "c"]
    recogniser = _recogniser("idt-fv", cache=cache)
    held = recogniser.cross_scores(clips[:6], [0, 1] * 3, groups, class_names=["x", "y"])
    assert not hasattr(recogniser, "svm_")
    encodings = recogniser.fit(clips[:6], [0, 1] * 3).encode(clips[:6])
    machine = LinearSVM().fit(encodings[2:], [0, 1] * 2)
    np.testing.assert_allclose(held[:2], machine.decision_function(encodings[:2]), atol=2e-3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("idt-fv", {"descriptors": "mbh"}, "descriptors must be one or more of trajectory"),
        ("dt-bof", {"grids": "cube"}, "grid must be a name"),
        ("idt-fv", {"frame_steps": "1/1"}, "frame_steps must be whole numbers from 1, each once"),
        ("idt-fv", {"frame_steps": "one"}, "got 'one'; write 1/2/3"),
        ("idt-fv", {"frame_steps": 2, "preset": "codec"}, "frame_step must be 1 where flow is cod"),
        ("idt-fv", {"pca": "mean"}, "pca must be one of"),
        ("idt-fv", {"n_components": 0}, "n_components must be at least 1"),
        ("idt-fv", {"rank_pooling": 1}, "n_spans must be from 2 to 99, got 1"),
        ("idt-fv", {"n_samples": 0}, "n_samples must be at least 1"),
        ("idt-bof", {"n_words": 0}, "must be at least"),
        ("idt-fv", {"stabilise": "twice"}, "stabilise must be rewarp"),
        ("idt-bof", {"preset": "slow"}, "preset must be one of"),
    ],
)
def test_options_are_refused_before_any_work(name, options, message):
    with pytest.raises(ValueError, match=message):
        RECOGNISERS[name](**options)


def test_training_videos_without_trajectories_are_refused(tmp_path):
    paths = [tmp_path / "a.avi", tmp_path / "b.avi"]
    for seed, path in enumerate(paths):
        _write(path, _clip(0, seed, n_frames=5))
    with pytest.raises(ValueError, match="training videos must hold trajectories"):
        FisherVectorRecogniser().fit(paths, [0, 1])
