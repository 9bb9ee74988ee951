"""Eight float32 numbers at a time, for kernels that the compiler does not vectorise by itself.

A loop that reads many rows at once is left scalar, or reads its weights again and again, because
the compiler cannot know that the arrays do not overlap. A kernel written in lanes says what it
wants: loads, arithmetic, stores. `Lanes` live in compiled code only; a machine with narrower
registers takes two or more for each.

Arrays are C-contiguous and are addressed by their flat index, whatever their shape. Those of
float32 hold `Lanes`, those of int32 `Wholes`, eight whole numbers; uint8 is read as the latter.
Nothing checks bounds. There is no fused multiply-add: every operation rounds as NumPy's does.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model
from numpy.typing import DTypeLike

WIDTH = 8

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INDEX = ir.IntType(32)
_INDICES = ir.VectorType(_INDEX, WIDTH)


class LanesType(types.Type):
    """The compiler's type of `WIDTH` float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class WholesType(types.Type):
    """The compiler's type of `WIDTH` int32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Wholes")


LANES = LanesType()
WHOLES = WholesType()
Lanes: TypeAlias = Any  # of eight float32 numbers, in the signatures of kernels
Wholes: TypeAlias = Any  # of eight int32 numbers


def empty(*shape: int, kind: DTypeLike = np.float32) -> np.ndarray:
    """Array, not filled, with room around it that kernels may read, and write behind it.

    The room is of `WIDTH` numbers before the first and twice as many behind the last. It holds
    zeros: what is weighed by 0 must not be NaN.
    """
    size = math.prod(shape)
    whole = np.empty(size + 3 * WIDTH, kind)
    whole[:WIDTH] = whole[WIDTH + size :] = 0
    return whole[WIDTH : WIDTH + size].reshape(shape)


@njit(inline="always")
def planes(n_planes: int, n_rows: int, n_columns: int) -> np.ndarray:
    """Planes of float32, not filled, for kernels, with room behind the last as `empty` has it."""
    size = n_planes * n_rows * n_columns
    whole = np.empty(size + 2 * WIDTH, np.float32)
    whole[size:] = 0
    return whole[:size].reshape((n_planes, n_rows, n_columns))


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: LanesType) -> None:
        super().__init__(manager, kind, _FLOATS)


@register_model(WholesType)
class _WholesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: WholesType) -> None:
        super().__init__(manager, kind, _INDICES)


def _instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an intrinsic; its own types would ask callers for the compiler's context as well."""
    return intrinsic(function)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Pointer to the lanes that begin at a flat index."""
    data = cgutils.create_struct_proxy(kind)(context, builder, array).data
    vector = ir.VectorType(data.type.pointee, WIDTH)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _check_array(array: Any, *kinds: types.Type) -> None:
    if not (isinstance(array, types.Array) and array.dtype in kinds and array.is_c_contig):
        names = " or ".join(str(kind) for kind in kinds)
        raise TypeError(f"array must be {names} and C-contiguous, got {array}; copy it first")


@_instruction
def load(context: Any, array: Any, index: Any) -> Any:
    """Lanes of a float32 array from a flat index on; whole numbers of an int32 or uint8 one."""
    _check_array(array, types.float32, types.int32, types.uint8)
    result = LANES if array.dtype == types.float32 else WHOLES

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments)
        numbers = builder.load(address, align=array.dtype.bitwidth // 8)
        return builder.zext(numbers, _INDICES) if array.dtype == types.uint8 else numbers

    return result(array, types.intp), generate


@_instruction
def store(context: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write lanes into a float32 array from a flat index on; whole numbers into an integer one.

    Of them a uint8 array keeps the lowest eight bits.
    """
    _check_array(array, *([types.int32, types.uint8] if lanes == WHOLES else [types.float32]))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments[:2])
        numbers = arguments[2]
        if array.dtype == types.uint8:
            numbers = builder.trunc(numbers, address.type.pointee)
        builder.store(numbers, address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes if lanes == WHOLES else LANES), generate


@_instruction
def fetch(context: Any, array: Any, index: Any) -> Any:
    """Have memory brought near that is soon read and written; any flat index will do."""
    _check_array(array, types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments)
        address = builder.bitcast(address, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, _INDEX, _INDEX, _INDEX])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, *(ir.Constant(_INDEX, k) for k in (1, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@_instruction
def fill(context: Any, value: Any) -> Any:
    """Lanes of one value; whole numbers of an int32."""
    kind, vector = (WHOLES, _INDICES) if value == types.int32 else (LANES, _FLOATS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.Constant(_INDEX, 0))
        return builder.shuffle_vector(first, nothing, ir.Constant(_INDICES, [0] * WIDTH))

    return kind(types.int32 if kind == WHOLES else types.float32), generate


@_instruction
def ramp(context: Any) -> Any:
    """Lanes of 0, 1, 2 and so on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_FLOATS, [float(k) for k in range(WIDTH)])

    return LANES(), generate


@_instruction
def choose_equal(context: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Lanes of `yes` where `a` equals `b`, of `no` elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, yes, no = arguments
        return builder.select(builder.fcmp_ordered("==", a, b), yes, no)

    return LANES(LANES, LANES, LANES, LANES), generate


@_instruction
def choose_above(context: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Lanes of `yes` where `a` is above `b`, of `no` elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, yes, no = arguments
        return builder.select(builder.fcmp_ordered(">", a, b), yes, no)

    return LANES(LANES, LANES, LANES, LANES), generate


@_instruction
def bits_above(context: Any, a: Any, b: Any) -> Any:
    """Integer whose bit k is set where lane k of `a` is above that of `b`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        above = builder.fcmp_ordered(">", *arguments)
        bits = builder.bitcast(above, ir.IntType(WIDTH))
        return builder.zext(bits, context.get_value_type(types.intp))

    return types.intp(LANES, LANES), generate


@_instruction
def gather(context: Any, array: Any, index: Any, rows: Any, columns: Any, pitch: Any) -> Any:
    """Lanes of an array at ``index + rows * pitch + columns``, whole numbers below 2**31."""
    _check_array(array, types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, index, rows, columns, pitch = arguments
        data = cgutils.create_struct_proxy(signature.args[0])(context, builder, array).data
        data = builder.gep(data, [index])
        rows, columns = builder.fptosi(rows, _INDICES), builder.fptosi(columns, _INDICES)
        gathered = ir.Constant(_FLOATS, ir.Undefined)
        for k in range(WIDTH):
            lane = ir.Constant(_INDEX, k)
            row = builder.sext(builder.extract_element(rows, lane), pitch.type)
            column = builder.sext(builder.extract_element(columns, lane), pitch.type)
            place = builder.add(builder.mul(row, pitch), column)
            number = builder.load(builder.gep(data, [place]))
            gathered = builder.insert_element(gathered, number, lane)
        return gathered

    return LANES(array, types.intp, LANES, LANES, types.intp), generate


def _call(name: str, result: Any, *parameters: Any) -> Callable[..., Any]:
    """Code that calls one of the compiler's own vector functions."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(result, parameters)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v8f32")
        return builder.call(function, arguments)

    return generate


@_instruction
def floor(context: Any, lanes: Any) -> Any:
    """Largest whole numbers that are not above."""
    return LANES(LANES), _call("floor", _FLOATS, _FLOATS)


@_instruction
def rint(context: Any, lanes: Any) -> Any:
    """Nearest whole numbers, the even one of two."""
    return LANES(LANES), _call("rint", _FLOATS, _FLOATS)


@_instruction
def absolute(context: Any, lanes: Any) -> Any:
    """Lanes without their sign."""
    return LANES(LANES), _call("fabs", _FLOATS, _FLOATS)


@_instruction
def lowest(context: Any, lanes: Any) -> Any:
    """Smallest of the lanes, a float32; none of them is NaN."""
    return types.float32(LANES), _call("vector.reduce.fmin", ir.FloatType(), _FLOATS)


@_instruction
def highest(context: Any, lanes: Any) -> Any:
    """Largest of the lanes, a float32; none of them is NaN."""
    return types.float32(LANES), _call("vector.reduce.fmax", ir.FloatType(), _FLOATS)


@_instruction
def total(context: Any, lanes: Any) -> Any:
    """Sum of the lanes, a float32, added pairwise from afar: 0 and 4, 1 and 5 and so on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums = arguments[0]
        for half in (4, 2, 1):
            order = ir.Constant(_INDICES, [(k + half) % WIDTH for k in range(WIDTH)])
            sums = builder.fadd(sums, builder.shuffle_vector(sums, sums, order))
        return builder.extract_element(sums, ir.Constant(_INDEX, 0))

    return types.float32(LANES), generate


@_instruction
def smaller(context: Any, a: Any, b: Any) -> Any:
    """The smaller of two numbers in every lane; `b` where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    return LANES(LANES, LANES), generate


@_instruction
def larger(context: Any, a: Any, b: Any) -> Any:
    """The larger of two numbers in every lane; `b` where one is NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return LANES(LANES, LANES), generate


@_instruction
def root(context: Any, lanes: Any) -> Any:
    """Square roots; NaN below zero."""
    return LANES(LANES), _call("sqrt", _FLOATS, _FLOATS)


@_instruction
def clip(context: Any, lanes: Any, low: Any, high: Any) -> Any:
    """Lanes brought between `low` and `high`; NaN becomes `low`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, low, high = arguments
        lanes = builder.select(builder.fcmp_ordered(">", lanes, low), lanes, low)
        return builder.select(builder.fcmp_ordered("<", lanes, high), lanes, high)

    return LANES(LANES, LANES, LANES), generate


@_instruction
def to_floats(context: Any, wholes: Any) -> Any:
    """Lanes of whole numbers, rounded to float32 where they are large."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], _FLOATS)

    return LANES(WHOLES), generate


@_instruction
def to_wholes(context: Any, lanes: Any) -> Any:
    """Whole numbers of lanes, what is behind the point cut off."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fptosi(arguments[0], _INDICES)

    return WHOLES(LANES), generate


def _define(operation: Callable[..., Any], kind: types.Type, instruction: str) -> None:
    """Teach the compiler an operator of two lanes, or of two whole numbers each."""

    @infer_global(operation)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return signature(kind, *args) if args == (kind, kind) else None

    @lower_builtin(operation, type(kind), type(kind))
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


_define(operator.add, LANES, "fadd")
_define(operator.sub, LANES, "fsub")
_define(operator.mul, LANES, "fmul")
_define(operator.truediv, LANES, "fdiv")
_define(operator.add, WHOLES, "add")
_define(operator.sub, WHOLES, "sub")
_define(operator.mul, WHOLES, "mul")
_define(operator.and_, WHOLES, "and_")
_define(operator.rshift, WHOLES, "ashr")
