"""What goes across the eight numbers of a vector: their sum."""

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic, overload

from minicnn.fast.compiled.simd import VECTOR


def total(v):
    """The sum of a vector's eight numbers, by halves: (v0 + v4 + v2 + v6) + (v1 + v5 + v3 + v7)."""
    half = v[:4] + v[4:]
    quarter = half[:2] + half[2:]
    return quarter[0] + quarter[1]


@intrinsic
def _total(typing, v):
    def code(context, builder, signature, args):
        v = args[0]
        for size in (4, 2, 1):
            def lanes(first, size=size):
                return builder.shuffle_vector(v, v, ir.Constant(ir.VectorType(ir.IntType(32), size), list(range(first, first + size))))
            v = builder.fadd(lanes(0), lanes(size))
        return builder.extract_element(v, ir.Constant(ir.IntType(32), 0))
    return types.float32(VECTOR), code


if not config.DISABLE_JIT:
    @overload(total)
    def total_compiled(v):
        if v == VECTOR:
            return lambda v: _total(v)
