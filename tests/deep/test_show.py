"""Pictures of the inside of networks: what is in them, and the commands that draw them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from deep import cli
from deep.recogniser import NetworkRecogniser
from deep.show import figures

Clips = tuple[list[Path], list[int]]


def pixels(figure: Figure) -> np.ndarray:
    """The figure as it is saved, uint8 (row, column, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def images(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for ax in figure.axes for image in ax.images]


def test_no_two_classes_look_alike() -> None:
    names = [f"class {label}" for label in range(30)]
    places = np.random.default_rng(0).normal(size=(60, 2))
    figure = figures.draw_embedding(places, [label // 2 for label in range(60)], names, title="t")
    drawn = figure.axes[0].collections
    looks = {
        (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in drawn
    }
    assert len(drawn) == len(looks) == 30
    np.testing.assert_array_equal(drawn[3].get_offsets(), places[6:8])
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()][:1] == ["class 0 (2)"]
    assert pixels(figure).std() > 0
    with pytest.raises(ValueError, match="labels must be one for each of 60 points, got 2"):
        figures.draw_embedding(places, [0, 1], names, title="t")


def test_colours_differ_for_those_who_do_not_see_all() -> None:
    """Also where red and green cones answer alike, as in deuteranopia (roughly)."""
    colours = np.array([to_rgb(colour) for colour in figures.COLOURS])
    dichromat = colours @ np.array([[0.625, 0.7, 0.0], [0.375, 0.3, 0.3], [0.0, 0.0, 0.7]])
    apart = np.abs(dichromat[:, None] - dichromat[None]).max(axis=2) + np.eye(len(colours))
    assert apart.min() > 0.1
    for name in (figures.SIGNED, figures.MAGNITUDE):
        assert name in mpl.colormaps


def test_filters_in_colour() -> None:
    filters = np.zeros((5, 3, 1, 2, 2), np.float32)
    filters[1, 0, 0, 0, 1] = 4.0  # as red as can be
    filters[1, 2, 0, 1, 0] = -4.0
    filters[4, 1, 0, 1, 1] = 0.1
    (mosaic,) = images(figures.draw_filters(filters, title="t"))
    assert mosaic.shape == (2, 5 * 3 - 1, 3)  # five of two columns, white between them
    np.testing.assert_allclose(mosaic[:, 0:2], 0.5)
    np.testing.assert_allclose(mosaic[:, 2], 1.0)
    np.testing.assert_allclose(mosaic[0, 4], [1, 0.5, 0.5])
    np.testing.assert_allclose(mosaic[1, 3], [0.5, 0.5, 0])
    np.testing.assert_allclose(mosaic[1, 13], [0.5, 1, 0.5])
    many = figures.draw_filters(np.ones((100, 3, 1, 7, 7), np.float32), title="t")
    assert images(many)[0].shape == (8 * 8 - 1, 12 * 8 - 1, 3)
    assert "first 96 of 100 filters" in many.get_suptitle()
    assert [text.get_text() for text in many.axes[0].get_yticklabels()][-1] == "84"
    filters = np.zeros((7, 3, 4, 3, 3), np.float32)
    filters[5, :, 2] = -1
    frames = figures.draw_filters(filters, title="t")
    (mosaic,) = images(frames)
    assert not mosaic[5 * 4 : 5 * 4 + 3, 2 * 4 : 2 * 4 + 3].any()
    ax = frames.axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    assert [text.get_text() for text in ax.get_yticklabels()] == list("0123456")
    with pytest.raises(ValueError, match=r"filters must have the shape .* got \(5, 4, 1, 2, 2\)"):
        figures.draw_filters(np.ones((5, 4, 1, 2, 2)), title="t")


def test_filters_of_flow_are_bands_of_times() -> None:
    filters = np.zeros((20, 2, 3, 2, 2), np.float32)
    filters[2, 1, 2, 0, 1] = -5.0  # filter 2, dy, third field
    figure = figures.draw_filters(filters, title="t")
    (bands,) = images(figure)
    ax = figure.axes[0]
    row = [text.get_text() for text in ax.get_yticklabels()].index("2 dy")
    column = [text.get_text() for text in ax.get_xticklabels()].index("3")
    # centre of its field: half a pixel beside the weight's corner
    place = round(ax.get_yticks()[row] - 0.5), round(ax.get_xticks()[column] + 0.5)
    assert bands[place] == -1
    assert np.nansum(np.abs(bands)) == 1
    assert np.count_nonzero(~np.isnan(bands)) == 16 * 2 * 3 * 4
    assert "first 16 of 20 filters" in figure.get_suptitle()


def test_flow_has_one_scale() -> None:
    flow = np.zeros((2, 7, 4, 8), np.float32)
    flow[0, 6] = 3.0
    flow[1, 2, 1, 5] = -1.0
    frame = np.zeros((4, 8, 3))
    names = [str(n) for n in range(30, 37)]
    figure = figures.draw_flow(frame, flow, title="t", fields=names)
    drawn = {ax.get_title(): ax for ax in figure.axes if ax.images}
    assert set(drawn) == {"frame", *(f"d{c} of field {n}" for c in "xy" for n in names)}
    np.testing.assert_array_equal(drawn["dx of field 36"].images[0].get_array(), flow[0, 6])
    np.testing.assert_array_equal(drawn["dy of field 32"].images[0].get_array(), flow[1, 2])
    scales = {ax.images[0].get_clim() for name, ax in drawn.items() if name != "frame"}
    assert scales == {(-3.0, 3.0)}
    with pytest.raises(
        ValueError, match=r"flow must have shape \(2, 1, row, column\), .* got \(2, 7"
    ):
        figures.draw_flow(frame, flow, title="t", fields=["1"])


def test_saliency_lights_the_pixel() -> None:
    frame = np.full((10, 20, 3), 0.4)
    saliency = np.zeros((10, 20), np.float32)
    saliency[7, 3] = 0.25
    figure = figures.draw_saliency(frame, {"rgb": saliency, "flow": 0 * saliency}, title="t")
    titles = [ax.get_title() for ax in figure.axes[:3]]
    assert titles == ["frame", "what it depends on in rgb", "what it depends on in flow"]
    drawn = figure.axes[1].images[0]
    np.testing.assert_array_equal(drawn.get_array(), saliency)
    assert drawn.get_clim() == (0, 0.25)
    even = figures.draw_saliency(frame, {"rgb": np.arange(200.0).reshape(10, 20)}, title="t")
    assert even.axes[1].images[0].get_clim() == (0, 198)
    bright = np.array(mpl.colormaps[figures.MAGNITUDE](1.0)[:3])
    near = np.abs(pixels(figure) / 255 - bright).max(axis=2) < 0.1
    left = near[:, : near.shape[1] * 2 // 3]  # the colour bar has it, too
    assert left.any()


def test_scores_of_the_largest_classes() -> None:
    shares = np.array([[0.1, 0.5, 0.4, 0.0], [0.1, 0.2, 0.7, 0.0]])
    frames = np.array([5.0, 25.0])
    figure = figures.draw_scores(frames, shares, ["a", "b", "c", "d"], title="t", most=3)
    ax = figure.axes[0]
    assert [line.get_label() for line in ax.lines] == ["c (0.55)", "b (0.35)", "a (0.10)"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[5, 0.4], [25, 0.7]])
    assert ax.get_xlabel() == "frame"
    assert "1 more classes below" in ax.get_title()
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(looks) == 3
    with pytest.raises(ValueError, match=r"shares must have the shape \(2, 3\), clips and classes"):
        figures.draw_scores(frames, shares, ["a", "b", "c"], title="t")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run ``trajfuse deep show ARGUMENTS`` in this process and return the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["deep", "show", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        return code if isinstance(code, int) else 0

    return run


@pytest.fixture(scope="module")
def weights(clips: Clips, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    network = NetworkRecogniser(
        model="two-stream", backbone="small", side=48, size=48, epochs=1, cache=cache
    )
    network.fit(*clips, class_names=["right", "left"]).save(path)
    return path


def test_every_picture_is_written(
    call: Callable[..., int],
    weights: Path,
    clips: Clips,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = ["--cache", cache]
    video = clips[0][0]
    jobs: dict[str, list[object]] = {
        "filters": [weights],
        "flow-filters": [weights, "--stream", "flow"],
        "flow": [video, "--frame", 8, "--warped", *kept],
        "saliency": [weights, video, "--class", "left", *kept],
        "features": [weights, *clips[0], "--clips", 2, "--quiet", *kept],
        "scores": [weights, video, "--clips", 3, *kept],
    }
    sizes = []
    for name, arguments in jobs.items():
        picture = tmp_path / f"{name}.png"
        assert call(name.removeprefix("flow-"), *arguments, "-o", picture) == 0
        assert capsys.readouterr().out == f"{picture}\n"
        image = cv2.imread(str(picture))
        assert image is not None
        assert image.std() > 5
        sizes.append(image.shape[:2])
    assert min(min(size) for size in sizes) > 300
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_drawn(
    call: Callable[..., int],
    weights: Path,
    clips: Clips,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, video = tmp_path / "out.png", clips[0][0]
    wrong: list[tuple[list[object], str]] = [
        (["filters", weights, "-o", "out.jpg"], "output must end in .png, got 'out.jpg'"),
        (
            ["filters", weights, "-o", tmp_path / "none" / "a.png"],
            "must be in a folder that exists",
        ),
        (["filters", tmp_path / "none.safetensors", "-o", out], "path must be a weight file"),
        (["filters", weights, "--stream", "sound", "-o", out], "stream must be one of rgb, flow"),
        (
            ["saliency", weights, video, "--class", "up", "-o", out],
            "class must be one of right, left",
        ),
        (["saliency", weights, video, "--frame", 99, "-o", out], "frame must be 0 to 15 in"),
        (["flow", video, "--algorithm", "best", "-o", out], "algorithm must be one of"),
        (["flow", video, "--stacking", "up", "-o", out], "stacking must be one of plain"),
        (["flow", tmp_path / "none.avi", "-o", out], "no such file"),
        (["scores", weights, weights, "-o", out], "cannot read video"),
        (["features", weights, video, "-o", out], "videos must be at least 5, got 1"),
    ]
    for arguments, message in wrong:
        more = [] if arguments[0] in ("filters", "flow") else ["--cache", cache]
        assert call(*arguments, *more) == 2, arguments
        assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("name", ["layers", "filters", "flow", "saliency", "features", "scores"])
def test_help_has_an_example(
    name: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(name, "--help") == 0
    assert f"Example: trajfuse deep show {name} " in " ".join(capsys.readouterr().out.split())
