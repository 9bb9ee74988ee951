"""Folders of images and flow: what others write is read, what is written is read back."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from deep import data, weights
from deep.clips import ClipSpec
from deep.data import Cutting, View, read_clip, store
from deep.data.exporting import export, export_all
from deep.flow import FlowSettings, dequantise, read_folder, write_folder
from deep.recogniser import NetworkRecogniser
from idt.video import VideoError, frames

Clips = tuple[list[Path], list[int]]
GIVEN = FlowSettings(algorithm="given:test")
N = 4


def write_image(path: Path, level: int | np.ndarray, *, shape: tuple[int, ...] = (40, 50)) -> None:
    image = np.full(shape, level, np.uint8) if isinstance(level, int) else level
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture(params=[0, 1], ids=["from 0", "from 1"])
def base(request: pytest.FixtureRequest) -> int:
    return request.param


def foreign(
    folder: Path, *, base: int = 1, n_fields: int = N - 1, shape: tuple[int, ...] = (40, 50)
) -> Path:
    """Folder as other programs write it: field k has the levels 130 + k and 120 - k."""
    for k in range(N):
        write_image(folder / f"img_{k + base:05d}.png", 10 * k, shape=(40, 50, 3))
    for k in range(n_fields):
        write_image(folder / f"flow_x_{k + base:05d}.png", 130 + k, shape=shape)
        write_image(folder / f"flow_y_{k + base:05d}.png", 120 - k, shape=shape)
    return folder


def stored_flow(path: Path, cache: Path, flow: FlowSettings = GIVEN, side: int = 40) -> np.ndarray:
    stored = store(path, folder=cache, side=side, flow=flow)
    with h5py.File(stored.flow) as file:
        return dequantise(file["flow"][:], bound=20)


def test_what_others_write_is_read(base: int, tmp_path: Path) -> None:
    folder = foreign(tmp_path / "video", base=base)
    found = read_folder(folder)
    assert (found.n_images, len(found.x), found.surplus, found.record) == (N, N - 1, False, None)
    fields = np.stack(list(found.fields(bound=20.0)))
    levels = np.array([[130 + k, 120 - k] for k in range(N - 1)])
    expected = levels * 40 / 255 - 20  # 0 is -20 pixels, 255 is 20
    np.testing.assert_allclose(fields[:, 5, 7], expected, atol=1e-5)
    stored = store(folder, folder=tmp_path / "cache", side=40, flow=GIVEN)
    assert (stored.n_frames, stored.height, stored.width) == (N, 40, 50)  # flow is no frame
    kept = stored_flow(folder, tmp_path / "cache")
    assert kept.shape == (N - 1, 40, 50, 2)
    np.testing.assert_allclose(kept[:, 9, 9], expected, atol=20 / 254 + 1e-5)
    with h5py.File(stored.frames) as file:
        assert file["frames"][:, 3, 3, 0].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("where", ["img/{}", "{}", "inside"])
def test_folders_u_and_v(where: str, base: int, tmp_path: Path) -> None:
    inside = where == "inside"
    images = tmp_path / ("video" if inside else where.format("video"))
    for k in range(N):
        write_image(images / f"frame{k + base:06d}.png", 10 * k)
    for letter, start in (("u", 130), ("v", 90)):
        flow = images / letter if inside else tmp_path / letter / "video"
        for k in range(N - 1):
            write_image(flow / f"frame{k + base:06d}.png", start + k)
    found = read_folder(images)
    assert [field[0, 0].tolist() for field in found.fields(bound=127.5)] == [
        pytest.approx([130 + k - 127.5, 90 + k - 127.5]) for k in range(N - 1)
    ]
    assert stored_flow(images, tmp_path / "cache").shape == (N - 1, 40, 50, 2)
    for path in (tmp_path / "v" / "video", images / "v"):
        if path.exists():
            path.rename(tmp_path / "elsewhere")
    with pytest.raises(VideoError, match="its flow y is missing, which should be in"):
        read_folder(images)


def test_as_many_fields_as_images(tmp_path: Path) -> None:
    folders = [foreign(tmp_path / "a", n_fields=N), foreign(tmp_path / "b")]
    assert read_folder(folders[0]).surplus
    assert stored_flow(folders[0], tmp_path / "cache").shape[0] == N - 1
    with pytest.warns(UserWarning, match=r"1 of 2 folders hold as many .* such as 'a'; the last"):
        outcomes = data.store_all(folders, folder=tmp_path / "cache", side=40, flow=GIVEN)
    assert [outcome.result().n_frames for outcome in outcomes] == [N, N]


def test_flow_of_another_size_is_resized_with_its_displacements(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "video", shape=(80, 200))
    kept = stored_flow(folder, tmp_path / "cache")
    assert kept.shape == (N - 1, 40, 50, 2)
    expected = (np.array([130, 120]) * 40 / 255 - 20) * [50 / 200, 40 / 80]
    np.testing.assert_allclose(kept[0, 9, 9], expected, atol=20 / 254 + 1e-5)


def damage(folder: Path, what: str) -> None:
    if what == "gap":
        (folder / "flow_x_00002.png").unlink()
    elif what == "last y":
        (folder / "flow_y_00003.png").unlink()
    elif what == "two short":
        for name in ("flow_x_00003", "flow_y_00003"):
            (folder / f"{name}.png").unlink()
    elif what == "images from 0":
        write_image(folder / "img_00000.png", 0)
    elif what == "start":
        for path in list(folder.iterdir()):
            path.rename(path.with_name(path.name.replace("_0000", "_0001")))
    elif what == "no images":
        for path in folder.glob("img_*"):
            path.unlink()
    elif what == "twice":
        write_image(folder / "flow_x_2.png", 3)
    elif what == "broken":
        (folder / "flow_x_00002.png").write_bytes(b"")
    elif what == "size":
        write_image(folder / "flow_y_00003.png", 3, shape=(40, 51))
    elif what == "another image":
        write_image(folder / "cover.png", 0)
    elif what == "record":
        (folder / "flow.json").write_text("{}")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("gap", "flow x of number 2 is missing"),
        ("last y", "flow y of number 3 is missing"),
        ("two short", "4 images must have 3 fields of flow between them .* got 2"),
        ("images from 0", "must start alike, got flow x at 1, flow y at 1, images at 0"),
        ("start", "numbers of .* must start at 0 or 1, got 11"),
        ("no images", "it holds flow, but no images"),
        ("twice", "it holds flow x of number 2 twice"),
        ("broken", r"flow_x_00002\.png' at frame 1: it is no image that can be read"),
        ("size", r"flow_y_00003\.png' at frame 2: it has 51x40 pixels, the first .* 50x40"),
        ("another image", "it holds 5 frames, of which 4 are numbered images"),
        ("record", "it is no record of flow"),
    ],
)
def test_folders_that_cannot_be_right(what: str, message: str, tmp_path: Path) -> None:
    folder = foreign(tmp_path / "video")
    damage(folder, what)
    with pytest.raises(VideoError, match=message):
        store(folder, folder=tmp_path / "cache", side=40, flow=GIVEN)
    assert not list((tmp_path / "cache").glob("*"))


def test_flow_that_does_not_say_what_made_it_must_be_named(tmp_path: Path) -> None:
    folder = foreign(tmp_path / "video")
    with pytest.raises(ValueError, match=r"no flow\.json in .* algorithm='given:NAME'"):
        store(folder, folder=tmp_path / "cache", side=40, flow=FlowSettings())
    assert store(folder, folder=tmp_path / "cache", side=40).flow is None  # frames alone are fine
    plain = tmp_path / "plain"
    write_image(plain / "img_00001.png", 0)
    write_image(tmp_path / "u" / "other" / "img_00001.png", 0)  # flow of another video
    with pytest.raises(VideoError, match="flow of 'given:test' must lie beside its images"):
        store(plain, folder=tmp_path / "cache", side=40, flow=GIVEN)
    found = read_folder(folder)
    with pytest.raises(ValueError, match=r"bound must be given for flow without flow\.json"):
        next(found.fields())


@pytest.mark.parametrize("layout", ["flat", "uv"])
def test_what_is_written_is_read_back(layout: str, base: int, clips: Clips, tmp_path: Path) -> None:
    settings = FlowSettings(bound=None if layout == "uv" else 20.0)
    item = (clips[0][0], "class/video")
    export(item, root=tmp_path, settings=settings, side=48, layout=layout, base=base, form="png")
    image, x = {
        "flat": ("class/video/img_{:05d}.png", "class/video/flow_x_{:05d}.png"),
        "uv": ("img/class/video/frame{:06d}.png", "u/class/video/frame{:06d}.png"),
    }[layout]
    assert (tmp_path / image.format(base)).is_file()
    assert (tmp_path / image.format(base + 15)).is_file()
    assert (tmp_path / x.format(base + 14)).is_file()
    assert not (tmp_path / x.format(base + 15)).exists()  # 16 frames have 15 fields
    assert not (tmp_path / x.format(base - 1)).exists()
    folder = (tmp_path / image).parent
    read, computed = (
        store(path, folder=tmp_path / "cache", side=48, flow=settings) for path in (folder, item[0])
    )
    for name in ("frames", "flow"):
        with h5py.File(getattr(read, name)) as one, h5py.File(getattr(computed, name)) as other:
            np.testing.assert_array_equal(one[name][:], other[name][:])
            if name == "flow" and layout == "uv":
                np.testing.assert_allclose(one["bounds"][:], other["bounds"][:], rtol=1e-6)


def test_jpeg_costs_less_than_a_tenth_of_a_pixel(shared: Path, tmp_path: Path) -> None:
    video = shared / "golden" / "clips" / "ucf_icedancing_g01_c01.avi"
    pair = [frame[..., ::-1] for frame in frames(video, stop=2)]
    settings = FlowSettings(algorithm="tvl1")
    flows = {}
    for form in ("jpg", "png"):
        folder = write_folder(pair, tmp_path, form, settings=settings, form=form)
        (flows[form],) = read_folder(folder).fields()
    assert np.linalg.norm(flows["jpg"] - flows["png"], axis=-1).mean() <= 0.1


def test_each_fields_own_bounds_are_read_where_clips_are_cut(clips: Clips, tmp_path: Path) -> None:
    stacks = {}
    for bound in (20.0, None):
        stored = store(clips[0][0], folder=tmp_path, side=48, flow=FlowSettings(bound=bound))
        cutting = Cutting(size=48, bound=bound, subtract_mean=False)
        clip = ClipSpec(stack=4).at(5, 1, n_frames=16)
        view = View(top=0, left=0, height=48, width=48)
        _, stacks[bound] = read_clip(stored, clip, view, cutting)
    error = np.abs(stacks[20.0] - stacks[None])
    # 20 / 254 of the one; the fields' largest displacements are less than 10 pixels
    assert 0.02 < error.max() <= 20 / 254 + 10 / 254
    assert np.abs(stacks[None]).max() < 10


def test_a_folder_that_is_there_is_left_alone(clips: Clips, tmp_path: Path) -> None:
    item, settings = (clips[0][0], "video"), FlowSettings()
    first = export(item, root=tmp_path, settings=settings, side=48)
    before = first.x[3].stat().st_mtime_ns
    assert export(item, root=tmp_path, settings=settings, side=48) == first
    assert first.x[3].stat().st_mtime_ns == before
    first.y[2].unlink()  # damaged: written anew
    assert export(item, root=tmp_path, settings=settings, side=48).y == first.y
    other = export(item, root=tmp_path, settings=FlowSettings(bound=5.0), side=48)
    assert other.record["flow"]["bound"] == 5.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["video"]
    (tmp_path / "video" / "flow.json").unlink()
    with pytest.raises(FileExistsError, match="must be new, or flow of ours"):
        export(item, root=tmp_path, settings=settings, side=48)


def test_a_video_that_breaks_off_leaves_no_folder(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"this is no video")
    (outcome,) = export_all([(bad, "bad")], root=tmp_path / "out", settings=FlowSettings())
    assert isinstance(outcome.error, VideoError)
    assert list((tmp_path / "out").iterdir()) == []


def test_options_that_cannot_be(clips: Clips, tmp_path: Path) -> None:
    item, settings = (clips[0][0], "video"), FlowSettings()
    for wrong, message in (
        ({"layout": "tree"}, "layout must be one of flat, uv, got 'tree'"),
        ({"base": 2}, "base must be one of 0, 1, got 2"),
        ({"form": "gif"}, "form must be one of jpg, png, got 'gif'"),
        ({"settings": FlowSettings(backward=True)}, "must not be backward"),
        ({"settings": GIVEN}, "must be one that computes flow, got 'given:test'"),
        ({"device": "cuda"}, "device must be cpu for dis-medium, got 'cuda'"),
    ):
        with pytest.raises(ValueError, match=message):
            export_all([item], root=tmp_path, **{"settings": settings, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_a_network_refuses_folders_of_other_flow(clips: Clips, tmp_path: Path) -> None:
    """Trained and tested on folders; made in another way, they are refused before anything runs."""
    made = {
        name: export_all(
            [(path, f"{name}/{path.stem}") for path in clips[0][:2]],
            root=tmp_path,
            settings=settings,
            side=side,
            form="png",
        )
        for name, settings, side in (
            ("same", FlowSettings(), 48),
            ("other", FlowSettings(bound=10.0), 48),
            ("size", FlowSettings(), 40),
        )
    }
    folders = {name: [each.result().path for each in made[name]] for name in made}
    network = NetworkRecogniser(
        model="two-stream",
        backbone="small",
        side=48,
        epochs=1,
        passes=1,
        size=32,
        n_clips=1,
        cache=tmp_path / "cache",
    )
    network.fit(folders["same"], clips[1][:2])
    scores = network.scores(folders["same"])
    np.testing.assert_array_equal(scores, network.scores(clips[0][:2]))  # nothing is lost
    with pytest.raises(ValueError, match=r"bound 10\.0 where 20\.0 is needed"):
        network.scores(folders["other"])
    with pytest.raises(ValueError, match="shorter side of 48 pixels, got 40"):
        network.scores(folders["size"])
    network.save(tmp_path / "n.safetensors")
    loaded = NetworkRecogniser.load(tmp_path / "n.safetensors", cache=tmp_path / "cache")
    np.testing.assert_array_equal(loaded.scores(folders["same"]), scores)
    with pytest.raises(ValueError, match=r"bound 10\.0 where 20\.0 is needed"):
        loaded.scores(folders["other"])
    tensors, settings = weights.load(tmp_path / "n.safetensors")
    settings["flow"]["version"] += 1
    weights.save(tmp_path / "n.safetensors", tensors, settings=settings)
    with pytest.raises(ValueError, match=r"version of flow must be 1, got 2; .* train again"):
        NetworkRecogniser.load(tmp_path / "n.safetensors")


def test_the_record_says_all(clips: Clips, tmp_path: Path) -> None:
    settings = FlowSettings(algorithm="farneback", bound=None, warped=True)
    found = export((clips[0][0], "v"), root=tmp_path, settings=settings, side=48)
    record = json.loads((tmp_path / "v" / "flow.json").read_text())
    assert record == found.record
    assert FlowSettings(**record["flow"]) == settings
    assert (record["side"], record["n_images"], record["n_fields"]) == (48, 16, 15)
    assert np.shape(record["bounds"]) == (15, 2)
    record["bounds"].pop()
    (tmp_path / "v" / "flow.json").write_text(json.dumps(record))
    with pytest.raises(VideoError, match="no record of version 1"):
        read_folder(tmp_path / "v")


def test_which_flow_is_an_option_of_networks() -> None:
    def flow_of(**recipe: object) -> dict[str, object]:
        return NetworkRecogniser(model="two-stream", backbone="small", recipe=recipe).settings()[
            "flow"
        ]

    assert flow_of(algorithm="tvl1", bound=None)["bound"] is None
    assert flow_of(algorithm="given:theirs", bound=15.0)["algorithm"] == "given:theirs"
    with pytest.raises(ValueError, match=r"algorithm must be one of dis-medium, .* got 'brox'"):
        flow_of(algorithm="brox")
    with pytest.raises(ValueError, match="bound must be a number or null, got 'wide'"):
        flow_of(bound="wide")
