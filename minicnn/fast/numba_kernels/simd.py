"""Vectors of eight float32 numbers for compiled functions: ``load``, ``store``, ``splat``, ``constant``, ``fma``, ``maximum``, ``minimum``,
``total``, and the operators + - *.

LLVM maps a vector of eight to what the processor has: one AVX register, or two of NEON or SSE. Loops over pixels and channels that
are written with it are as fast as hand-written machine code, which Numba's own vectorisation of scalar loops does not guarantee.
The body of each function is its definition in NumPy, which runs where compilation is turned off (NUMBA_DISABLE_JIT=1).
"""

import operator

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 8


def floats(x):
    """A contiguous float32 array as ``load`` and ``store`` take it: flat; compiled, a bare pointer, so the array must stay referenced."""
    return x.reshape(-1)


def load(x, i):
    """The vector x[i:i + 8]; the bounds are not checked."""
    return x[i:i + WIDTH].copy()


def store(x, i, v):
    """x[i:i + 8] = v; the bounds are not checked."""
    x[i:i + WIDTH] = v


def splat(x, i):
    """The vector with x[i] in all eight places."""
    return np.full(WIDTH, x[i], np.float32)


def constant(value):
    """The vector with a number in all eight places."""
    return np.full(WIDTH, value, np.float32)


def fma(a, b, c):
    """a * b + c, as one fused instruction where the processor has it."""
    return a * b + c


def maximum(a, b):
    """The elementwise maximum."""
    return np.maximum(a, b)


def minimum(a, b):
    """The elementwise minimum."""
    return np.minimum(a, b)


def total(v):
    """The sum of a vector's eight numbers, added by halves."""
    for size in (4, 2, 1):
        v = v[:size] + v[size:]
    return v[0]


def pointer(x):
    """``floats`` for a contiguous array of any type."""
    return x.reshape(-1)


class VectorType(types.Type):
    """Numba's type of a vector of eight float32."""

    def __init__(self):
        super().__init__(name="float32x8")


VECTOR = VectorType()
FLOAT = ir.FloatType()
LLVM_VECTOR = ir.VectorType(FLOAT, WIDTH)


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, LLVM_VECTOR)


POINTER = types.CPointer(types.float32)


@intrinsic
def _floats(typing, x):
    def code(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data
    if isinstance(x, types.Array) and x.layout == "C" and x.dtype == types.float32:
        return POINTER(x), code


def repeated(builder, scalar):
    """LLVM code for a vector with a number in all eight places."""
    undefined = ir.Constant(LLVM_VECTOR, ir.Undefined)
    lane = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


@intrinsic
def _load(typing, x, i):
    def code(context, builder, signature, args):
        pointer = builder.bitcast(builder.gep(args[0], [args[1]]), LLVM_VECTOR.as_pointer())
        return builder.load(pointer, align=4)
    return VECTOR(POINTER, types.intp), code


@intrinsic
def _store(typing, x, i, v):
    def code(context, builder, signature, args):
        pointer = builder.bitcast(builder.gep(args[0], [args[1]]), LLVM_VECTOR.as_pointer())
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()
    return types.void(POINTER, types.intp, VECTOR), code


@intrinsic
def _splat(typing, x, i):
    def code(context, builder, signature, args):
        return repeated(builder, builder.load(builder.gep(args[0], [args[1]])))
    return VECTOR(POINTER, types.intp), code


@intrinsic
def _constant(typing, value):
    def code(context, builder, signature, args):
        return repeated(builder, args[0])
    return VECTOR(types.float32), code


def called(name, count):
    """Signature and code of an intrinsic that calls LLVM's function of that name on ``count`` vectors."""
    def code(context, builder, signature, args):
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(LLVM_VECTOR, [LLVM_VECTOR] * count), f"llvm.{name}.v{WIDTH}f32")
        return builder.call(function, args)
    return VECTOR(*[VECTOR] * count), code


@intrinsic
def _fma(typing, a, b, c):
    return called("fmuladd", 3)


@intrinsic
def _maximum(typing, a, b):
    return called("maxnum", 2)


@intrinsic
def _minimum(typing, a, b):
    return called("minnum", 2)


def arithmetic(instruction):
    """Signature and code of an intrinsic that is one LLVM instruction on two vectors."""
    def code(context, builder, signature, args):
        return getattr(builder, instruction)(*args)
    return VECTOR(VECTOR, VECTOR), code


@intrinsic
def _add(typing, a, b):
    return arithmetic("fadd")


@intrinsic
def _sub(typing, a, b):
    return arithmetic("fsub")


@intrinsic
def _mul(typing, a, b):
    return arithmetic("fmul")


@intrinsic
def _total(typing, v):
    def code(context, builder, signature, args):
        v = args[0]
        for size in (4, 2, 1):
            half = [ir.Constant(ir.VectorType(ir.IntType(32), size), list(range(first, first + size))) for first in (0, size)]
            v = builder.fadd(*(builder.shuffle_vector(v, v, lanes) for lanes in half))
        return builder.extract_element(v, ir.Constant(ir.IntType(32), 0))
    return types.float32(VECTOR), code


@intrinsic
def _pointer(typing, x):
    def code(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data
    if isinstance(x, types.Array) and x.layout == "C":
        return types.CPointer(x.dtype)(x), code


if not config.DISABLE_JIT:
    @overload(floats)
    def floats_compiled(x):
        return lambda x: _floats(x)

    @overload(load)
    def load_compiled(x, i):
        if x == POINTER:
            return lambda x, i: _load(x, i)

    @overload(store)
    def store_compiled(x, i, v):
        if x == POINTER:
            return lambda x, i, v: _store(x, i, v)

    @overload(splat)
    def splat_compiled(x, i):
        if x == POINTER:
            return lambda x, i: _splat(x, i)

    @overload(constant)
    def constant_compiled(value):
        return lambda value: _constant(np.float32(value))

    @overload(fma)
    def fma_compiled(a, b, c):
        if a == b == c == VECTOR:
            return lambda a, b, c: _fma(a, b, c)

    @overload(maximum)
    def maximum_compiled(a, b):
        if a == b == VECTOR:
            return lambda a, b: _maximum(a, b)

    @overload(minimum)
    def minimum_compiled(a, b):
        if a == b == VECTOR:
            return lambda a, b: _minimum(a, b)

    @overload(operator.add)
    def add_compiled(a, b):
        if a == b == VECTOR:
            return lambda a, b: _add(a, b)

    @overload(operator.sub)
    def sub_compiled(a, b):
        if a == b == VECTOR:
            return lambda a, b: _sub(a, b)

    @overload(operator.mul)
    def mul_compiled(a, b):
        if a == b == VECTOR:
            return lambda a, b: _mul(a, b)

    @overload(total)
    def total_compiled(v):
        if v == VECTOR:
            return lambda v: _total(v)

    @overload(pointer)
    def pointer_compiled(x):
        return lambda x: _pointer(x)
