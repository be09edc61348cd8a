"""What training needs beside ``simd``: the sum of a vector's eight numbers, and bare pointers to arrays of other types."""

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic, overload

from minicnn.fast.numba_kernels.simd import VECTOR


def total(v):
    """The sum of a vector's eight numbers, by halves."""
    for size in (4, 2, 1):
        v = v[:size] + v[size:]
    return v[0]


def pointer(x):
    """A contiguous array's numbers in a row: ``simd.floats`` for any type. Compiled, a bare pointer, so keep the array."""
    return x.reshape(-1)


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
    @overload(total)
    def total_compiled(v):
        if v == VECTOR:
            return lambda v: _total(v)

    @overload(pointer)
    def pointer_compiled(x):
        return lambda x: _pointer(x)
