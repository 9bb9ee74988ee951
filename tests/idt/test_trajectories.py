"""The table on disk: five forms, written whole or in blocks, read back or refused with a reason."""

import gzip
import json
import pickle
import zipfile
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from idt.trajectories import (
    FORMS,
    META_COLUMNS,
    USUAL_DIMENSIONS,
    TableWriter,
    Trajectories,
    agreement,
    time_positions,
)
from idt.trajectories.half import all_finite, round_to_half
from idt.trajectories.lear_text import to_text

GOLDEN = Path(__file__).parent.parent / "golden" / "synthetic_pan.trajectories.npz"
INFO = {"video": {"name": "ünïcode.avi", "n_frames": 60}, "notes": []}
HALF = 2.0**-11  # largest relative error of a rounding to float16
_NAMES = ("whole", "blocks")
PRINTED = {"meta": 5e-7, "trajectory": 5e-7}  # %f; others %.7f, half a unit of the last digit


def _table(n_rows: int, dimensions=USUAL_DIMENSIONS, *, info=INFO) -> Trajectories:
    """A table of random numbers whose place in time is that of 60 frames and 15 steps."""
    random = np.random.default_rng(n_rows)
    meta = random.random((n_rows, 10), dtype=np.float32)
    meta[:, 0] = np.sort(random.integers(15, 60, n_rows))
    meta[:, 9] = time_positions(meta[:, 0], start=0, n_frames=60, track_length=15)
    descriptors = {
        name: random.random((n_rows, size), dtype=np.float32) * 2 - 1
        for name, size in dimensions.items()
    }
    return Trajectories(meta, descriptors, info)


def _assert_close(loaded: Trajectories, table: Trajectories, form: str, dtype: str) -> None:
    assert list(loaded.descriptors) == list(table.descriptors)
    for name, values in {"meta": table.meta, **table.descriptors}.items():
        found = loaded.meta if name == "meta" else loaded.descriptors[name]
        assert found.dtype == np.float32
        if "txt" in form:
            # half a unit of the last digit, and a rounding to float32 of numbers up to 60
            np.testing.assert_allclose(found, values, rtol=1.2e-7, atol=PRINTED.get(name, 5e-8))
        elif dtype == "float32" or name == "meta":
            np.testing.assert_array_equal(found, values)
        else:
            np.testing.assert_allclose(found, values, rtol=HALF, atol=1e-7)


@pytest.mark.parametrize("n_rows", [0, 1, 2500])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("form", FORMS)
def test_a_table_comes_back_from_every_form(tmp_path, form, dtype, n_rows):
    table = _table(n_rows)
    path = tmp_path / f"clip{form}"
    path.write_bytes(b"what stood there before")
    table.save(path, dtype=dtype)
    loaded = Trajectories.load(path)
    _assert_close(loaded, table, form, dtype)
    assert loaded.info == (INFO if form in (".h5", ".npz") else {})
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("form", FORMS)
def test_some_descriptors_of_other_sizes_come_back(tmp_path, form):
    dimensions = {"trajectory": 16, "mbhx": 8}
    table = _table(5, dimensions)
    path = tmp_path / f"clip{form}"
    table.save(path, dtype="float32")
    loaded = Trajectories.load(path, dimensions=dimensions)
    _assert_close(loaded, table, form, "float32")
    if "txt" not in form:
        _assert_close(Trajectories.load(path), table, form, "float32")
        with pytest.raises(ValueError, match="dimensions must be those of"):
            Trajectories.load(path, dimensions={"hog": 96})


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("form", FORMS)
def test_blocks_give_the_file_that_the_whole_table_gives(tmp_path, form, dtype):
    dimensions = {"trajectory": 2, "hog": 3}
    table = _table(9000, dimensions)  # more than two batches
    table.save(tmp_path / f"whole{form}", dtype=dtype)
    bounds = [0, 0, 1, 300, 300, 8800, 9000]
    with TableWriter(tmp_path / f"blocks{form}", dimensions=dimensions, dtype=dtype) as writer:
        for first, last in pairwise(bounds):
            meta = table.meta[first:last].copy()
            meta[:, 9] = -7  # not known yet
            blocks = {name: values[first:last] for name, values in table.descriptors.items()}
            writer.append(meta, blocks)
            meta[:] = 0  # what came in is the writer's own
        writer.finish(INFO, start=0, n_frames=60, track_length=15)
        assert writer.n_rows == 9000
    if form == ".h5":
        whole, blocks = (Trajectories.load(tmp_path / f"{name}{form}") for name in _NAMES)
        _assert_close(blocks, whole, form, "float32")
    else:
        whole, blocks = ((tmp_path / f"{name}{form}").read_bytes() for name in _NAMES)
        assert whole == blocks
    assert len(list(tmp_path.iterdir())) == 2


def test_numpy_reads_the_files_without_us(tmp_path):
    table = _table(3, {"hog": 4, "trajectory": 2})
    table.save(tmp_path / "t.npz", dtype="float32")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as loaded:
        assert loaded.files == ["meta", "trajectory", "hog", "info"]
        assert json.loads(str(loaded["info"])) == INFO
        np.testing.assert_array_equal(loaded["hog"], table.descriptors["hog"])
    table.save(tmp_path / "t.npy")
    records = np.load(tmp_path / "t.npy", allow_pickle=False)
    assert records.dtype.names == (*META_COLUMNS, "trajectory", "hog")
    assert records["hog"].dtype == np.float16
    assert records["hog"].shape == (3, 4)
    np.testing.assert_array_equal(records["mean_x"], table.column("mean_x"))


def test_one_row_of_text_by_hand(tmp_path, capsys):
    meta = np.array([[15, 1.5, -2.25, 0, 0.125, 100, 1, 0.1, 0.999, -0.0]], np.float32)
    descriptors = {"hog": np.array([[0.5, 1e-8, 2]]), "trajectory": np.array([[-1e-7, 0.25]])}
    table = Trajectories(meta, {k: v.astype(np.float32) for k, v in descriptors.items()})
    expected = (
        b"15.000000\t1.500000\t-2.250000\t0.000000\t0.125000\t100.000000\t1.000000\t0.100000\t"
        b"0.999000\t-0.000000\t-0.000000\t0.250000\t0.5000000\t0.0000000\t2.0000000\t\n"
    )
    table.save(tmp_path / "t.txt")
    assert (tmp_path / "t.txt").read_bytes() == expected
    table.save(tmp_path / "t.txt.gz")
    assert gzip.decompress((tmp_path / "t.txt.gz").read_bytes()) == expected
    table.save("-")
    assert capsys.readouterr().out.encode() == expected


@given(
    arrays(
        np.float32,
        (2, 12),
        elements=st.floats(-(2.0**36), 2.0**36, width=32, allow_subnormal=False),
    )
)
def test_numbers_are_printed_as_c_prints_them(rows):
    printed = to_text(rows[:, :10], {"hog": rows[:, 10:]})
    form = "%f\t" * 10 + "%.7f\t" * 2 + "\n"
    assert printed.decode() == "".join(form % tuple(row) for row in rows.tolist())


def test_what_text_cannot_hold_is_refused():
    meta = np.zeros((1, 10), np.float32)
    with pytest.raises(ValueError, match="must be finite and below 1e\\+11"):
        to_text(meta, {"hog": np.full((1, 1), 1e12, np.float32)})


def test_the_reference_programs_text_is_read(tmp_path):
    row = ["1e+01", *["0.5"] * 434, "2.5E-3"]
    (tmp_path / "t.txt").write_text("\t".join(row) + "\t\n" + "\t".join(row) + "\n")
    table = Trajectories.load(tmp_path / "t.txt")
    assert {name: values.shape[1] for name, values in table.descriptors.items()} == USUAL_DIMENSIONS
    np.testing.assert_array_equal(table.column("frame"), [10, 10])
    assert table.descriptors["mbhy"][1, -1] == np.float32(0.0025)


def test_place_in_time_by_hand():
    found = time_positions(np.array([15, 20, 200, 3]), start=5, n_frames=10, track_length=15)
    np.testing.assert_array_equal(found, np.array([0.25, 0.75, 0.999, 0], np.float32))
    assert found.dtype == np.float32
    with pytest.raises(ValueError, match="n_frames must be at least 1, got 0"):
        time_positions(np.zeros(1), start=0, n_frames=0, track_length=15)


def test_goldens_are_tables(tmp_path):
    golden = Trajectories.load(GOLDEN)
    assert len(golden) == 636
    assert golden.info == {}
    found = time_positions(golden.column("frame"), start=0, n_frames=24, track_length=15)
    np.testing.assert_allclose(found, golden.column("t_pos"), atol=1e-6)  # printed with %f
    golden.save(tmp_path / "t.txt.gz")
    measures = agreement(golden, Trajectories.load(tmp_path / "t.txt.gz"))
    assert measures["match"] == measures["strong"] == 1
    assert measures["rel_hog"] < 1e-6


@pytest.mark.parametrize("clip", ["kth_boxing_d1", "hmdb_cartwheel"])
def test_goldens_of_real_clips_come_back(shared, tmp_path, clip):
    golden = Trajectories.load(shared / "golden" / f"{clip}.trajectories.npz")
    for form in FORMS:
        golden.save(tmp_path / f"t{form}")
        measures = agreement(golden, Trajectories.load(tmp_path / f"t{form}"))
        assert measures["match"] == measures["strong"] == 1
        assert max(value for name, value in measures.items() if name.startswith("rel")) < 1e-3


@pytest.mark.parametrize(
    ("path", "options", "kind", "message"),
    [
        ("t.csv", {}, ValueError, r"path must end in .h5, .npz, .npy, .txt, .txt.gz, got"),
        ("t.gz", {}, ValueError, "path must end in"),
        ("none/t.h5", {}, FileNotFoundError, "no folder"),
        ("folder.h5", {}, IsADirectoryError, "path must be a file"),
        ("t.h5", {"dtype": "int8"}, ValueError, "dtype must be float16 or float32, got 'int8'"),
        ("t.h5", {"dimensions": {"info": 3}}, ValueError, "name of a descriptor must be"),
        ("t.h5", {"dimensions": {"a b": 3}}, ValueError, "name of a descriptor must be"),
        ("t.h5", {"dimensions": {"hog": 0}}, ValueError, "dimension of 'hog' must be at least 1"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(
    tmp_path, monkeypatch, path, options, kind, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(kind, match=message):
        TableWriter(path, **{"dimensions": {"hog": 96}, **options})
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.h5"]


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, form):
    path = tmp_path / f"t{form}"
    path.write_bytes(b"old")
    table = _table(2)

    def fail(*, finish: bool) -> None:
        with TableWriter(path, dimensions=USUAL_DIMENSIONS) as writer:
            writer.append(table.meta, table.descriptors)
            if finish:
                writer.finish({"not": object()})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(finish=False)
    with pytest.raises(TypeError, match="JSON"):
        fail(finish=True)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float32"), (np.inf, "float16"), (1e5, "float16")]
)
def test_numbers_that_do_not_fit_are_refused(tmp_path, value, dtype):
    table = _table(3)
    table.descriptors["hof"][1, 5] = value
    with pytest.raises(ValueError, match=f"hof must hold finite numbers that fit {dtype}.*row 1"):
        table.save(tmp_path / "t.h5", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_blocks_that_do_not_fit_are_refused(tmp_path):
    meta = np.zeros((2, 10), np.float32)
    hog = np.zeros((2, 4), np.float32)
    with TableWriter(tmp_path / "t.h5", dimensions={"hog": 4}) as writer:
        with pytest.raises(ValueError, match="descriptors must be hog, got hof"):
            writer.append(meta, {"hof": hog})
        with pytest.raises(ValueError, match=r"hog must have the shape \(2, 4\), got \(1, 4\)"):
            writer.append(meta, {"hog": hog[:1]})
        with pytest.raises(ValueError, match=r"meta must have the shape \(2, 10\), got \(2, 9\)"):
            writer.append(meta[:, :9], {"hog": hog})
        with pytest.raises(ValueError, match="n_frames and track_length must both be given"):
            writer.finish({}, n_frames=3)
        writer.finish({})
        with pytest.raises(RuntimeError, match="is not open"):
            writer.append(meta, {"hog": hog})
    assert len(Trajectories.load(tmp_path / "t.h5")) == 0


def test_a_writer_has_to_be_finished(tmp_path):
    with (
        pytest.raises(RuntimeError, match="must be finished"),
        TableWriter(tmp_path / "t.h5", dimensions={"hog": 4}),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "Can't write data (file write failed: time = ..., a page of it")

    monkeypatch.setattr("idt.trajectories.hdf5.append", fail)
    with pytest.raises(OSError, match="cannot be stored: No space left on device; make room"):
        _table(3).save(tmp_path / "t.npz")
    assert list(tmp_path.iterdir()) == []


LINE = b"1.5\t" * 436 + b"\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINE * 3 + b"1.5\t" * 435 + b"\n" + LINE, "line 4 has 435 columns, not 436"),
        (LINE * 2000 + b"\n", "line 2001 has 0 columns"),
        (b"\n", "line 1 has 0 columns"),
        (LINE + LINE.replace(b"1.5", b"nan", 1), "line 2 holds nan in column 1"),
        (LINE + b"2\t" + b"1e39\t" * 435 + b"\n", r"line 2 holds 1e\+39 in column 2"),
        (LINE.replace(b"1.5", b"one", 1), "line 1 holds b'one' in column 1, which is no number"),
        (LINE + LINE[:-2], "line 2 has no end: the file is cut off"),
        (b"\x89HDF\r\n" + LINE, "line 1 has 1 columns"),
    ],
)
def test_malformed_text_is_refused_with_the_line(tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"t\.txt' must be a whole trajectory file.*{message}"):
        Trajectories.load(tmp_path / "t.txt")
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(content, 1))
    with pytest.raises(ValueError, match=message):
        Trajectories.load(tmp_path / "t.txt.gz")


def test_text_of_other_settings_says_what_to_give(tmp_path):
    _table(2, {"trajectory": 16, "hog": 32}).save(tmp_path / "t.txt")
    with pytest.raises(ValueError, match=r"line 1 has 58 columns, not 436.*for others give dim"):
        Trajectories.load(tmp_path / "t.txt")


def _damaged(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("form", FORMS)
def test_files_that_are_cut_off_or_of_another_kind_are_refused(tmp_path, form):
    path = tmp_path / f"t{form}"
    _table(40).save(path)
    _damaged(path)
    with pytest.raises(ValueError, match="must be a whole trajectory file"):
        Trajectories.load(path)
    for content in (b"no table\n", pickle.dumps([1, 2]), b"PK\x03\x04" + b"\0" * 50, b"\0" * 99):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="must be a whole trajectory file"):
            Trajectories.load(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no trajectories at"):
        Trajectories.load(path)
    path.mkdir()
    with pytest.raises(FileNotFoundError, match="no trajectories at"):
        Trajectories.load(path)


def test_pickles_are_never_opened(tmp_path):
    objects = np.array([{"a": 1}], object)
    np.savez(tmp_path / "t.npz", meta=objects)
    np.save(tmp_path / "t.npy", objects, allow_pickle=True)
    for name in ("t.npz", "t.npy"):
        with pytest.raises(ValueError, match="pickled objects, which are not read"):
            Trajectories.load(tmp_path / name)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"hog": np.zeros((2, 4))}, "meta"),
        ({"meta": np.zeros((2, 9))}, r"meta must have the shape \(n, 10\)"),
        ({"meta": np.zeros((2, 10)), "hog": np.zeros((3, 4))}, "descriptor 'hog' must have 2 rows"),
        ({"meta": np.zeros((2, 10)), "hog": np.array(["a", "b"])}, "could not convert"),
        ({"meta": np.zeros((2, 10)), "info": np.array("{")}, "Expecting property name"),
    ],
)
def test_archives_of_other_arrays_are_refused(tmp_path, contents, message):
    np.savez(tmp_path / "t.npz", **contents)
    with pytest.raises(ValueError, match=rf"t\.npz' must be a whole trajectory file.*{message}"):
        Trajectories.load(tmp_path / "t.npz")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 436), np.float32),
        np.zeros(3, [("frame", "<f4"), ("hog", "<f2", (4,))]),
        np.zeros(3, [*((name, "<f4") for name in META_COLUMNS), ("hog", "<U4", (4,))]),
        np.zeros(3, [*((name, "<f4") for name in META_COLUMNS), ("hog", "<f4")]),
    ],
)
def test_arrays_of_another_dtype_are_refused(tmp_path, array):
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(ValueError, match=r"t\.npy' must be a whole trajectory file"):
        Trajectories.load(tmp_path / "t.npy")


def test_hdf5_of_another_form_is_refused(tmp_path):
    path = tmp_path / "t.h5"
    with h5py.File(path, "w") as file:
        file["meta"] = np.zeros((2, 10))
    with pytest.raises(ValueError, match="its form is None, not 'trajfuse trajectories 1'"):
        Trajectories.load(path)
    with h5py.File(path, "a") as file:
        file.attrs["format"] = "trajfuse trajectories 1"
    with pytest.raises(ValueError, match="must be a whole trajectory file"):
        Trajectories.load(path)


def test_a_damaged_member_of_an_archive_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    _table(3).save(path)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("hof.npy").header_offset
    content = bytearray(path.read_bytes())
    content[offset + 400] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a whole trajectory file"):
        Trajectories.load(path)


def test_agreement_of_what_both_tables_hold():
    table = _table(4)
    fewer = Trajectories(table.meta, {name: table.descriptors[name] for name in ("mbhx", "hog")})
    measures = agreement(table, fewer)
    assert measures["match"] == measures["strong"] == 1
    assert [name for name in measures if name.startswith("rel")] == ["rel_hog", "rel_mbhx"]
    with pytest.raises(ValueError, match="must have a descriptor in common, got hog and hof"):
        agreement(_table(1, {"hog": 3}), _table(1, {"hof": 3}))
    with pytest.raises(ValueError, match="descriptor 'hog' must have the same dimension in both"):
        agreement(_table(1, {"hog": 3}), _table(1, {"hog": 4}))


def test_agreement_with_no_rows():
    measures = agreement(_table(0), _table(3))
    assert measures["n_reference"] == measures["match"] == measures["strong"] == 0
    assert np.isnan(measures["rel_hog"])
    assert np.isnan(measures["pool_hog"])


def test_halves_are_numpys():
    # Every half, what lies midway between two, the numbers beside it, and any bits.
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    whole = np.sort(halves[np.isfinite(halves)])
    midway = (whole[1:] + whole[:-1]) / 2
    any_bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    values = np.concatenate(
        [
            halves,
            midway,
            np.nextafter(midway, np.float32(np.inf)),
            np.nextafter(midway, np.float32(-np.inf)),
            any_bits.view(np.float32),
            np.array([65519.99, 65520, -65520], np.float32),
        ]
    )
    out = np.empty(values.shape, np.float16)
    round_to_half(values, out)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    is_nan = np.isnan(values)
    np.testing.assert_array_equal(out[~is_nan].view(np.uint16), expected[~is_nan].view(np.uint16))
    assert np.isnan(out[is_nan]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_not_finite_is_found(dtype):
    values = np.array([[0, -1], [65504, -65504]], dtype)
    assert all_finite(values)
    assert all_finite(values[:0])
    for other in (np.inf, -np.inf, np.nan):
        values[1, 0] = other
        assert not all_finite(values)
