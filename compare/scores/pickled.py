"""Arrays out of pickles that nobody vouches for: read by an allow-list, and nothing is run.

A pickle is a program: it may call whatever it names. The score files of others are pickles all the
same (object arrays in ``.npz``, lists of dictionaries in ``.pkl``). `load` goes through the program
first, opcode by opcode, and refuses what is cut short, what no array needs, and tables of notes
made to exhaust memory. It then runs what is left with every name bound to a stand-in of this
module: no function of NumPy, torch or Python that the file names is ever looked up. Read are plain
Python values, NumPy's arrays and scalars of numbers and texts, and torch's tensors.

The forms are those of Python's ``pickletools``, of ``ndarray.__reduce__`` (NumPy 1 and 2) and of
torch's legacy serialisation of a storage; torch itself is not imported.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_BYTES = 1 << 30  # of one pickle: half a million videos in 400 classes
MAX_DEPTH = 16  # levels of lists and dictionaries; score files have four
DTYPES = "biufSUO"  # booleans, numbers, texts, and arrays of arrays
ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
REFUSED = frozenset(  # opcodes that find a class or an object otherwise than by an allowed name
    {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"}
    | {"NEXT_BUFFER", "READONLY_BUFFER"}
)
MEMO = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class UnsafePickleError(ValueError):
    """A pickle that asks for more than data, is cut short, or is too large; says which."""


def load(content: bytes) -> Any:
    """Read a pickle of plain values, arrays and tensors.

    Parameters
    ----------
    content
        The whole pickle and nothing after it.

    Returns
    -------
    object
        Lists, tuples, dictionaries, texts and numbers as they are; arrays, scalars of NumPy and
        tensors as ndarray.

    Raises
    ------
    UnsafePickleError
        It names anything else, is broken, or is larger than `MAX_BYTES`.
    """
    stream = io.BytesIO(content)
    value = _load_next(stream)
    if stream.tell() != len(content):
        raise UnsafePickleError(
            f"a pickle must end with its file, got {len(content) - stream.tell()} bytes more"
        )
    return _plain(value)


def _load_next(stream: io.BytesIO, persistent: Callable[[Any], Any] | None = None) -> Any:
    """Read the pickle that starts where the stream stands, and leave the stream after it."""
    start = stream.tell()
    size = len(stream.getbuffer()) - start
    if size > MAX_BYTES:
        raise UnsafePickleError(
            f"a pickle must have at most {MAX_BYTES} bytes, got {size}; export the scores as plain "
            "arrays"
        )
    try:
        end = _checked_end(stream, allow_persistent=persistent is not None)
        stream.seek(start)
        value = _Reader(io.BytesIO(stream.read(end - start)), persistent).load()
    except UnsafePickleError:
        raise
    except Exception as error:  # a broken pickle may raise anything
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnsafePickleError(f"a pickle must be whole and well formed: {text}") from error
    stream.seek(end)
    return value


def _checked_end(stream: io.BytesIO, *, allow_persistent: bool) -> int:
    """Go through the opcodes without running them; return the position after the last."""
    noted = 0
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in REFUSED or (opcode.name == "BINPERSID" and not allow_persistent):
            raise UnsafePickleError(
                f"a pickle must hold arrays and plain values alone, got the opcode {opcode.name}; "
                "nothing was run"
            )
        if opcode.name in MEMO:
            noted += 1
            if int(argument or 0) > 2 * noted + 256:  # memory for notes is taken up to the number
                raise UnsafePickleError(
                    f"a pickle must number its notes from 0 on, got {argument}; it is made to "
                    "exhaust memory"
                )
        if opcode.name == "GLOBAL":
            _allowed(*str(argument).split(" ", 1))
    return stream.tell()


class _Reader(pickle.Unpickler):
    """An unpickler to which every name is a stand-in of this module, or refused."""

    def __init__(self, stream: io.BytesIO, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(stream, encoding="latin1")
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        return _allowed(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise UnsafePickleError("a pickle must hold its values itself, got a reference")
        return self._persistent(pid)


class _Sealed:
    """Lets no pickle give it another state."""

    def __setstate__(self, state: Any) -> None:
        raise UnsafePickleError("a pickle must not give a name or a storage another state")


class _Name(_Sealed):
    """Stands for a name that is only ever handed on: ``numpy.ndarray``, ``torch.FloatStorage``."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Call(_Sealed):
    """Stands for a name that is called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Storage(_Sealed):
    """Stands for a torch storage: a flat array."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values


class _Array:
    """Stands for ``numpy.ndarray`` until its state comes."""

    value: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype(str(code)) if str(code) != "O8" else np.dtype(object)
        if self.dtype.kind not in DTYPES or self.dtype.subdtype is not None:
            raise UnsafePickleError(
                f"arrays in a pickle must be of numbers or texts, got {self.dtype}"
            )

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise UnsafePickleError("an array in a pickle must have a dtype")
    shape = tuple(int(n) for n in shape)
    if min(shape, default=0) < 0:
        raise UnsafePickleError(f"an array in a pickle must have a shape, got {shape}")
    if dtype.dtype.kind == "O":
        if not isinstance(content, list) or len(content) != math.prod(shape):
            raise UnsafePickleError(f"an object array of shape {shape} must hold a list as long")
        flat = np.empty(len(content), dtype=object)
        for index, each in enumerate(content):
            flat[index] = _plain(each)
        return flat.reshape(shape, order="F" if order == "F" else "C")
    if isinstance(content, str):  # bytes of Python 2
        content = content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise UnsafePickleError("an array in a pickle must hold bytes")
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if len(content) != wanted:
        raise UnsafePickleError(
            f"an array of shape {shape} and {dtype.dtype} must hold {wanted} bytes, got "
            f"{len(content)}"
        )
    flat = np.frombuffer(bytes(content), dtype=dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(content: Any, dtype: Any, shape: Any, order: str) -> _Array:
    made = _Array()
    made.value = _array(content, dtype, shape, order)
    return made


def _scalar(dtype: Any, content: Any) -> _Array:
    return _frombuffer(content, dtype, (), "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """``codecs.encode`` as Python 2 pickles need it: bytes written as Latin-1 text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnsafePickleError(f"a text in a pickle must be encoded in latin1, got {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """``bytes()``: how empty bytes are written for Python 2."""
    return b""


def _storage(content: Any) -> _Storage:
    """``torch.storage._load_from_bytes``: five pickles, then sizes and raw values."""
    if not isinstance(content, bytes):
        raise UnsafePickleError("a tensor's storage must be bytes")
    stream = io.BytesIO(content)
    found: list[tuple[str, np.dtype[Any], int]] = []

    def noted(pid: Any) -> str:
        _, kind, key, _, size, *_ = pid
        if not isinstance(kind, _Name) or kind.name not in STORAGES:
            raise UnsafePickleError("a tensor must be of a plain type on the processor")
        found.append((str(key), np.dtype(STORAGES[kind.name]), int(size)))
        return str(key)

    if _load_next(stream) != TORCH_MAGIC:
        raise UnsafePickleError("a tensor's storage must be of torch's own form")
    _load_next(stream)  # protocol
    _load_next(stream)  # sizes of C types where it was written
    _load_next(stream, noted)
    keys = _load_next(stream)
    if len(found) != 1 or [str(key) for key in keys] != [found[0][0]]:
        raise UnsafePickleError("a tensor must have one storage")
    (_, dtype, size), raw = found[0], stream.read()
    if len(raw) != 8 + size * dtype.itemsize or int.from_bytes(raw[:8], "little") != size:
        raise UnsafePickleError(f"a tensor's storage must hold {size} values, got another number")
    return _Storage(np.frombuffer(raw, dtype=dtype, offset=8))


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Array:
    """``torch._utils._rebuild_tensor_v2``, with what it points at checked."""
    values = storage.values
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    offset = int(offset)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(offset, *size, *stride, 0) < 0 or (math.prod(size) and last >= len(values)):
        raise UnsafePickleError(f"a tensor of shape {size} must lie within its storage")
    if math.prod(size) > len(values):
        raise UnsafePickleError(f"a tensor of shape {size} must not repeat its values")
    made = _Array()
    steps = [step * values.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(values[offset:], size, steps) if last >= 0 else values
    made.value = view.copy() if math.prod(size) else np.empty(size, values.dtype)
    return made


ALLOWED: dict[tuple[str, str], _Sealed] = {
    **{(module, "_reconstruct"): _Call(_reconstruct) for module in ARRAY_MODULES},
    **{(module, "scalar"): _Call(_scalar) for module in ARRAY_MODULES},
    **{(module, "_frombuffer"): _Call(_frombuffer) for module in BUFFER_MODULES},
    ("numpy", "ndarray"): _Name("ndarray"),
    ("numpy", "dtype"): _Call(_Dtype),
    ("__builtin__", "bytes"): _Call(_no_bytes),
    ("_codecs", "encode"): _Call(_encode),
    ("collections", "OrderedDict"): _Call(dict),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch.storage", "_load_from_bytes"): _Call(_storage),
    **{("torch", name): _Name(name) for name in STORAGES},
}


def _allowed(module: str, name: str) -> Any:
    try:
        return ALLOWED[module, name]
    except (KeyError, TypeError):
        raise UnsafePickleError(
            f"a pickle must hold arrays and plain values alone, got {module}.{name}; nothing was "
            "run, and nothing of the file should be trusted"
        ) from None


def _plain(value: Any, seen: dict[int, Any] | None = None, depth: int = 0) -> Any:
    """Put arrays where their stand-ins are; what a pickle repeats is gone through once."""
    if isinstance(value, _Array):
        return value.value
    if type(value) not in (list, tuple, dict):
        return value
    if depth > MAX_DEPTH:
        raise UnsafePickleError(f"values in a pickle must lie at most {MAX_DEPTH} levels deep")
    seen = {} if seen is None else seen
    if id(value) not in seen:
        if isinstance(value, dict):
            made: Any = {key: _plain(each, seen, depth + 1) for key, each in value.items()}
        else:
            made = type(value)(_plain(each, seen, depth + 1) for each in value)
        seen[id(value)] = made
    return seen[id(value)]
