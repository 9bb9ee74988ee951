"""Whole videos: descriptors and cells in order, grids, joint codebooks, videos while extracted."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idt.codebook import Codebook, videos
from idt.extract import Extraction, ExtractOptions, extract, loop
from idt.fisher import FewTrajectoriesWarning, FisherVectorEncoder, fisher_vector
from idt.grids import Grid
from idt.trajectories import Trajectories
from idt.video import read

RELATIVE = 1e-5  # of the norm: float32 sums over blocks, cut in another way
PAN = Path(__file__).parent.parent / "golden" / "synthetic_pan.avi"


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def made_rows(n_rows: int, dimension: int, *, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = 2 * random.standard_normal((5, dimension))
    noise = random.standard_normal((n_rows, dimension))
    return (centres[random.integers(5, size=n_rows)] + noise).astype(np.float32)


def made_video(n_rows: int) -> dict[str, np.ndarray]:
    """Descriptors, one more than the codebook has, and positions."""
    return {
        "hog": made_rows(n_rows, 5, seed=8),
        "trajectory": made_rows(n_rows, 6, seed=9),
        "hof": made_rows(n_rows, 4),
        "positions": np.random.default_rng(7).random((n_rows, 3)),
    }


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    samples = {"trajectory": made_rows(400, 6), "hog": made_rows(400, 5, seed=1)}
    return Codebook(4, max_iter=5).fit(samples)


class TestEncoder:
    def test_descriptors_stand_in_the_codebook_s_order(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook), made_video(60)
        vector = encoder.encode(video)
        assert vector.dtype == np.float32
        assert vector.shape == (encoder.n_features,) == (2 * 4 * (3 + 3),)
        assert encoder.parts == {"trajectory": slice(0, 24), "hog": slice(24, 48)}
        for name, part in encoder.parts.items():
            expected = fisher_vector(video[name], codebook.gmms_[name], pca=codebook.pcas_[name])
            np.testing.assert_array_equal(vector[part], expected)

    def test_streamed_video_equals_the_whole(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook, improved=False), made_video(90)
        accumulator = encoder.accumulator()
        for start in range(0, 90, 40):
            accumulator.add({name: rows[start : start + 40] for name, rows in video.items()})
        assert accumulator.n_rows == 90
        assert relative_difference(accumulator.finish(), encoder.encode(video)) < RELATIVE

    def test_no_trajectories_warn_once(self, codebook: Codebook) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            vector = FisherVectorEncoder(codebook).encode(made_video(0))
        assert [warning.category for warning in caught] == [FewTrajectoriesWarning]
        assert vector.shape == (48,)
        assert not vector.any()

    def test_one_trajectory_is_encoded_with_a_warning(self, codebook: Codebook) -> None:
        with pytest.warns(FewTrajectoriesWarning, match="a single trajectory"):
            vector = FisherVectorEncoder(codebook).encode(made_video(1))
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) == pytest.approx(np.sqrt(2), rel=RELATIVE)

    def test_file_encodes_the_same(self, codebook: Codebook, tmp_path: Path) -> None:
        codebook.save(tmp_path / "codebook.npz")
        loaded = Codebook.load(tmp_path / "codebook.npz")
        video = made_video(30)
        np.testing.assert_array_equal(
            FisherVectorEncoder(loaded).encode(video), FisherVectorEncoder(codebook).encode(video)
        )

    def test_refused_block_changes_nothing(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook), made_video(20)
        accumulator = encoder.accumulator()
        accumulator.add(video)
        before = accumulator.finish()
        for change, message in (
            ({"hog": video["hog"][:3]}, "one row for each trajectory"),
            ({"hog": video["hog"][:, :4]}, "descriptor 'hog' must have 5 columns, got 4"),
            ({"hog": np.full((20, 5), np.nan)}, "descriptor 'hog' must be finite"),
        ):
            with pytest.raises(ValueError, match=message):
                accumulator.add(video | change)
        with pytest.raises(ValueError, match="got none for trajectory; extract"):
            accumulator.add({"hog": video["hog"]})
        far = np.vstack([made_rows(20_000, 5), np.full((1, 5), 1e30, dtype=np.float32)])
        with pytest.raises(ValueError, match="check the scale"):  # in the second block
            accumulator.add({"hog": far, "trajectory": made_rows(20_001, 6)})
        assert accumulator.n_rows == 20
        np.testing.assert_array_equal(accumulator.finish(), before)

    def test_refuses_what_it_cannot_use(self, codebook: Codebook) -> None:
        with pytest.raises(ValueError, match="codebook must be fitted"):
            FisherVectorEncoder(Codebook(4))
        with pytest.raises(ValueError, match="weights must be False with the backend 'vlfeat'"):
            FisherVectorEncoder(codebook, weights=True, backend="vlfeat")
        with pytest.raises(ValueError, match="grid must be a name such as"):
            FisherVectorEncoder(codebook, grids=["cube"])

    def test_weights_and_a_final_norm(self, codebook: Codebook) -> None:
        video = made_video(60)
        plain = FisherVectorEncoder(codebook, weights=True)
        vector = plain.encode(video)
        assert vector.shape == (plain.n_features,) == (2 * ((2 * 3 + 1) * 4 - 1),)
        assert np.linalg.norm(vector) == pytest.approx(np.sqrt(2), rel=RELATIVE)
        whole = FisherVectorEncoder(codebook, weights=True, final_l2=True).encode(video)
        assert np.linalg.norm(whole) == pytest.approx(1, rel=RELATIVE)
        np.testing.assert_allclose(whole, vector / np.sqrt(2), rtol=1e-4, atol=1e-6)
        with pytest.warns(FewTrajectoriesWarning):
            empty = FisherVectorEncoder(codebook, final_l2=True).encode(made_video(0))
        assert not empty.any()

    def test_vlfeat_gives_the_same(self, codebook: Codebook, requires) -> None:
        requires("cyvlfeat.fisher")
        video, grids = made_video(300), ["1x1x1", "t2"]
        ours = FisherVectorEncoder(codebook, grids=grids).encode(video)
        theirs = FisherVectorEncoder(codebook, grids=grids, backend="vlfeat").encode(video)
        assert relative_difference(theirs, ours) < 1e-4


class TestGrids:
    GRIDS = ("1x1x1", "h3x1", "2x2", "t2", "h3x1t2")

    @pytest.mark.parametrize(
        "options", [{}, {"improved": False}, {"weights": True}, {"final_l2": True}]
    )
    def test_every_cell_is_encoded_by_itself(self, codebook: Codebook, options: dict) -> None:
        video = made_video(400)
        encoder = FisherVectorEncoder(codebook, grids=self.GRIDS, **options)
        found = encoder.encode(video)
        options = dict(options)
        final = options.pop("final_l2", False)
        expected = []
        for name in codebook.gmms_:
            for grid in map(Grid.parse, self.GRIDS):
                cells = grid.cells(video["positions"])
                expected += [
                    fisher_vector(
                        video[name][cells == cell],
                        codebook.gmms_[name],
                        pca=codebook.pcas_[name],
                        **options,
                    )
                    for cell in range(grid.n_cells)
                ]
        vector = np.concatenate(expected)
        if final:
            vector /= np.linalg.norm(vector)
        assert found.shape == vector.shape
        assert relative_difference(found, vector) < RELATIVE
        by_channel = [found[place] for place in encoder.channels.values()]
        assert [len(part) for part in by_channel] == [len(part) for part in expected]
        np.testing.assert_array_equal(np.concatenate(by_channel), found)

    @given(order=st.permutations(range(60)), cuts=st.lists(st.integers(0, 60), max_size=3))
    @settings(max_examples=25, deadline=None)
    def test_order_and_blocks_change_nothing_but_rounding(
        self, codebook: Codebook, order: list[int], cuts: list[int]
    ) -> None:
        encoder, video = FisherVectorEncoder(codebook, grids=["2x2", "t2"]), made_video(60)
        accumulator = encoder.accumulator()
        for chosen in np.split(np.array(order), sorted(cuts)):
            block = {name: rows[chosen] for name, rows in video.items()}
            accumulator.add(block, positions=block.pop("positions"))
        assert relative_difference(accumulator.finish(), encoder.encode(video)) < 1e-4

    def test_a_cell_without_trajectories_is_zeros(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook, grids=["t2"]), made_video(50)
        video["positions"][:, 2] = 0.9
        vector = encoder.encode(video)
        whole = FisherVectorEncoder(codebook).encode(video)
        for name, part in encoder.parts.items():
            first, second = np.split(vector[part], 2)
            assert not first.any()
            start = 0 if name == "trajectory" else 24
            np.testing.assert_array_equal(second, whole[start : start + 24])

    def test_every_number_has_its_name(self, codebook: Codebook) -> None:
        encoder = FisherVectorEncoder(codebook, grids=["1x1x1", "h2x1"], weights=True)
        names = encoder.feature_names()
        assert names.shape == (encoder.n_features,)
        assert len(set(names)) == encoder.n_features
        hog = names[encoder.parts["hog"]]
        assert hog[0] == "hog_1x1x1_0_weight_0"
        assert hog[3] == "hog_1x1x1_0_mean_0_0"
        assert hog[27 + 3 + 12 + 3 * 2 + 1] == "hog_h2x1_0_deviation_2_1"
        assert hog[-1] == "hog_h2x1_1_deviation_3_2"

    def test_positions_are_asked_for(self, codebook: Codebook) -> None:
        encoder, video = FisherVectorEncoder(codebook, grids=["t2"]), made_video(20)
        positions = video.pop("positions")
        with pytest.raises(ValueError, match="positions must be given where a grid divides"):
            encoder.encode(video)
        with pytest.raises(ValueError, match="those of the 20 trajectories, got 19; give one"):
            encoder.encode(video | {"positions": positions[1:]})
        with pytest.raises(ValueError, match="positions must be from 0 to 1"):
            encoder.encode(video | {"positions": positions + 1})
        FisherVectorEncoder(codebook).encode(video)  # nothing is divided


class TestJoint:
    def test_one_part_of_all_descriptors(self) -> None:
        video = made_video(300)
        samples = {name: video[name] for name in ("hog", "hof")}
        codebook = Codebook(3, pca="joint", whiten=True, max_iter=4).fit(samples)
        encoder = FisherVectorEncoder(codebook)
        assert encoder.parts == {"joint": slice(0, 2 * 3 * 5)}  # 5 + 4 numbers become 5
        expected = fisher_vector(
            np.hstack([video["hog"], video["hof"]]),
            codebook.gmms_["joint"],
            pca=codebook.pcas_["joint"],
        )
        np.testing.assert_array_equal(encoder.encode(video), expected)

    def test_the_usual_descriptors_become_213_numbers(self, shared: Path) -> None:
        with np.load(shared / "golden" / "kth_boxing_d1.trajectories.npz") as file:
            samples = {name: file[name] for name in ("trajectory", "hog", "hof", "mbhx", "mbhy")}
        codebook = Codebook(8, pca="joint", max_iter=3).fit(samples)
        assert codebook.gmms_["joint"].means_.shape == (8, 213)
        vector = FisherVectorEncoder(codebook).encode(samples)
        assert vector.shape == (2 * 8 * 213,)
        assert np.isfinite(vector).all()


QUICK = ExtractOptions.preset("fast", max_scales=2, stride=5)


@pytest.fixture(scope="module")
def table() -> Trajectories:
    return extract(PAN, options=QUICK)


@pytest.fixture(scope="module")
def of_video() -> Codebook:
    return Codebook(4, max_iter=3).fit_videos([PAN], options=QUICK)


class TestVideos:
    def test_sample_is_that_of_the_table(self, of_video: Codebook, table: Trajectories) -> None:
        assert 50 < len(table) < videos.MAX_SAMPLE
        expected = Codebook(4, max_iter=3).fit(table.descriptors)
        for name, gmm in expected.gmms_.items():
            np.testing.assert_array_equal(of_video.gmms_[name].means_, gmm.means_)
        assert of_video.extraction_ is not None
        assert of_video.extraction_["stabilise"] == "subtract"

    def test_a_stream_is_encoded_as_its_table_is(
        self, of_video: Codebook, table: Trajectories, tmp_path: Path, monkeypatch
    ) -> None:
        monkeypatch.setattr(videos, "BATCH_ROWS", 20)
        encoder = FisherVectorEncoder(of_video, grids=["1x1x1", "2x1t3"])
        expected = encoder.encode(table)
        table.save(tmp_path / "table.h5", dtype="float32")
        for source in (PAN, str(PAN), Extraction(read(PAN), options=QUICK), table):
            found = encoder.encode_source(source, options=QUICK)
            assert relative_difference(found, expected) < RELATIVE
        found = encoder.encode_source(tmp_path / "table.h5")
        assert relative_difference(found, expected) < RELATIVE

    def test_a_part_of_a_video_has_its_own_clock(self, of_video: Codebook) -> None:
        encoder = FisherVectorEncoder(of_video, grids=["t2"])
        part = Extraction(PAN, options=QUICK, start=2, stop=21)
        expected = encoder.encode(part.table())
        assert relative_difference(encoder.encode_source(part), expected) < RELATIVE
        part = Extraction(read(PAN), options=QUICK, start=2, stop=21)
        assert relative_difference(encoder.encode_source(part), expected) < RELATIVE

    def test_frames_without_a_length_have_no_time_cells(self, of_video: Codebook) -> None:
        with pytest.raises(ValueError, match="sequence of frames where a grid divides time"):
            FisherVectorEncoder(of_video, grids=["t2"]).encode_source(
                Extraction(iter(read(PAN)), options=QUICK)
            )
        stream = Extraction(iter(read(PAN)), options=QUICK)
        assert FisherVectorEncoder(of_video, grids=["2x2"]).encode_source(stream).any()

    @pytest.mark.parametrize("n_frames", [1, 15])
    def test_a_video_without_trajectories(self, of_video: Codebook, n_frames: int) -> None:
        short = Extraction(PAN, options=QUICK, stop=n_frames)
        with pytest.warns(FewTrajectoriesWarning, match="no trajectories"):
            vector = FisherVectorEncoder(of_video).encode_source(short)
        assert not vector.any()

    def test_other_settings_are_refused(self, of_video: Codebook, table: Trajectories) -> None:
        encoder = FisherVectorEncoder(of_video)
        other = ExtractOptions.preset("fast", max_scales=2, stride=5, normalise="l2")
        message = "normalise of the extraction must be 'rootl1', as for the .* got 'l2'"
        with pytest.raises(ValueError, match=message):
            encoder.encode_source(PAN, options=other)
        changed = {**table.info, "settings": {**table.info["settings"], "normalise": "l2"}}
        with pytest.raises(ValueError, match=message):
            encoder.encode(Trajectories(table.meta, table.descriptors, changed))
        bare = Trajectories(table.meta, table.descriptors)  # does not say: taken as it is
        np.testing.assert_array_equal(encoder.encode(bare), encoder.encode(table))

    def test_memory_does_not_grow_with_the_video(self, of_video: Codebook, monkeypatch) -> None:
        monkeypatch.setattr(videos, "BATCH_ROWS", 64)
        monkeypatch.setattr(loop, "LARGEST_KEPT", 1)  # it would hide what is measured
        encoder, clip = FisherVectorEncoder(of_video), read(PAN)[:, :60, :80]
        there_and_back = [*clip, *clip[-2:0:-1]]
        peaks = []
        for n_rounds in (1, 1, 4):  # the first warms up
            frames = (frame for _ in range(n_rounds) for frame in there_and_back)
            tracemalloc.start()
            encoder.encode_source(Extraction(frames, options=QUICK))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[2] < 1.25 * peaks[1]  # 4.6 times as much if all were held
