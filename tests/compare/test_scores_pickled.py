"""Pickles of others: what is read, and that nothing in a hostile one is run."""

from __future__ import annotations

import builtins
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compare.scores import pickled
from compare.scores.pickled import UnsafePickleError


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_values_come_back(protocol: int) -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.ones((2, 3), np.float32), 4]
    given: dict[str, Any] = {
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "texts": np.array(["a", "bee"]),
        "none": np.zeros((0, 3)),
        "scalar": np.float32(2.5),
        "plain": [1, 2.5, "x", None, True, (1, 2), b"y"],
    }
    read = pickled.load(pickle.dumps({**given, "ragged": ragged}, protocol=protocol))
    for name in ("c", "fortran", "big", "texts", "none", "scalar"):
        np.testing.assert_array_equal(read[name], given[name])
    assert read["plain"] == given["plain"]
    assert read["ragged"].shape == (2,)
    np.testing.assert_array_equal(read["ragged"][0], np.ones((2, 3)))
    assert read["ragged"][1] == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_tensors_come_back_as_arrays(dtype: torch.dtype) -> None:
    whole = torch.arange(12).to(dtype).reshape(3, 4)
    for tensor in (whole, whole.t(), whole[1:, 1], whole[0, 0], whole[:0]):
        (read,) = pickled.load(pickle.dumps([tensor]))
        np.testing.assert_array_equal(read, tensor.numpy())


class Calls:
    """Pickles as a call of whatever it is given."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, r"(posix|nt)\.system"), (builtins.eval, r"(builtins|__builtin__)\.eval")],
)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(
    tmp_path: Path, function: Any, named: str, protocol: int
) -> None:
    trace = tmp_path / "trace"
    code = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    content = pickle.dumps([Calls(function, code)], protocol=protocol)
    with pytest.raises(UnsafePickleError, match=f"got {named}; nothing was run"):
        pickled.load(content)
    assert not trace.exists()


def test_allowed_names_do_nothing_but_make_arrays() -> None:
    """Attributes of allowed names, other codecs and other dtypes are no way round."""
    for module, name in (
        ("numpy", "dtype.__class__"),
        ("numpy.core.multiarray", "scalar.__self__"),
        ("collections", "OrderedDict.__init__"),
        ("numpy", "load"),
        ("torch", "load"),
    ):
        content = b"\x80\x04" + b"".join(
            b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name)
        )
        with pytest.raises(UnsafePickleError, match="arrays and plain values alone"):
            pickled.load(content + b"\x93.")
    with pytest.raises(UnsafePickleError, match="latin1"):
        pickled.load(b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.")
    with pytest.raises(UnsafePickleError, match="numbers or texts"):
        pickled.load(b"cnumpy\ndtype\n(X\x05\x00\x00\x00f4,f4tR.")


def test_no_state_can_be_put_on_allowed_names() -> None:
    """BUILD on a name would change it for every later file."""
    content = b"cnumpy\ndtype\n}X\x09\x00\x00\x00_functionK\x01sb."
    with pytest.raises(UnsafePickleError, match="another state"):
        pickled.load(content)
    np.testing.assert_array_equal(pickled.load(pickle.dumps(np.ones(2))), np.ones(2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"(ios\nsystem\n.", "opcode INST"),
        (b"\x80\x02Pname\n.", "opcode PERSID"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "opcode BINPERSID"),
        (b"\x82\x01.", "opcode EXT1"),
        (b"\x80\x04]r\xff\xff\xff\x7f.", "exhaust memory"),
        (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.", "whole and well formed"),
        (b"", "whole and well formed"),
        (b"no pickle", "whole and well formed"),
        (pickle.dumps(1) + b"x", "got 1 bytes more"),
    ],
)
def test_other_ways_in_are_shut(content: bytes, message: str) -> None:
    with pytest.raises(UnsafePickleError, match=message):
        pickled.load(content)


def test_what_is_cut_short_anywhere_is_refused() -> None:
    content = pickle.dumps([{"pred_score": np.ones(3)}, {"pred_score": torch.ones(2)}])
    for end in range(len(content)):
        with pytest.raises(UnsafePickleError):
            pickled.load(content[:end])


def test_shapes_are_held_against_the_bytes() -> None:
    whole = pickle.dumps(np.arange(3, dtype=np.float64), protocol=2)
    for wrong in (b"K\x04\x85", b"K\x02\x85"):
        assert whole.count(b"K\x03\x85") == 1
        with pytest.raises(UnsafePickleError, match="must hold"):
            pickled.load(whole.replace(b"K\x03\x85", wrong))


def test_tensors_stay_within_their_storage() -> None:
    storage = torch.arange(4.0)

    class Beyond:
        def __init__(self, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
            self.place = offset, size, stride

        def __reduce__(self) -> tuple[Any, ...]:
            rebuild = torch._utils._rebuild_tensor_v2  # type: ignore[attr-defined]
            return rebuild, (storage.untyped_storage_, *self.place, False, {})

    typed = torch.storage.TypedStorage(
        wrap_storage=storage.untyped_storage(), dtype=torch.float32, _internal=True
    )
    storage.untyped_storage_ = typed  # type: ignore[attr-defined]
    for place in ((0, (5,), (1,)), (3, (2,), (1,)), (-1, (2,), (1,)), (0, (2,), (-1,))):
        with pytest.raises(UnsafePickleError, match="within its storage"):
            pickled.load(pickle.dumps(Beyond(*place)))
    with pytest.raises(UnsafePickleError, match="not repeat"):
        pickled.load(pickle.dumps(Beyond(0, (10**6,), (0,))))
    np.testing.assert_array_equal(pickled.load(pickle.dumps(Beyond(2, (2,), (1,)))), [2, 3])


def test_what_repeats_itself_does_not_take_long_or_forever() -> None:
    laughs: list[Any] = [1]
    for _ in range(12):
        laughs = [laughs] * 1000
    assert len(pickled.load(pickle.dumps(laughs))) == 1000
    within: list[Any] = []
    within.append(within)
    with pytest.raises(UnsafePickleError, match="levels deep"):
        pickled.load(pickle.dumps(within))


def test_a_size_above_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MAX_BYTES", 100)
    stream = io.BytesIO()
    pickle.dump(np.zeros(100), stream)
    with pytest.raises(UnsafePickleError, match="at most 100 bytes"):
        pickled.load(stream.getvalue())
