"""The matrix product of weight gradients: y += a^T b, where the long dimension (pixels, images or tiles) is the common one.

Six columns of a times sixteen of b are twelve vectors of sums. Both are read row by row, as they lie in memory, so neither is transposed.

Reference: Goto, van de Geijn, Anatomy of high-performance matrix multiplication (2008), section 4.
"""

from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.simd import constant, fma, load, splat, store

ROWS = 6                # of y in a tile
PANEL = 16              # columns of y in a tile: two vectors


@njit(cache=True)
def tile(y, iy, ldy, rows, a, ia, lda, line_a, b, ib, ldb, line_b, lines, steps, begin):
    """y[6, 16] = (0 or y) + the sum over ``lines`` of a[steps, 6]^T b[steps, 16].

    Args:
        iy, ia, ib: index of the first number of each.
        ldy, lda, ldb: distance between rows.
        line_a, line_b: distance between lines, each of ``steps`` rows of a and b.
        rows: number of the six rows of y that are computed.
        begin: the sums start from 0; otherwise from the contents of y.
    """
    r1, r2, r3, r4, r5 = min(1, rows - 1), min(2, rows - 1), min(3, rows - 1), min(4, rows - 1), min(5, rows - 1)
    y1, y2, y3, y4, y5 = iy + r1 * ldy, iy + r2 * ldy, iy + r3 * ldy, iy + r4 * ldy, iy + r5 * ldy
    if begin:
        c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = c40 = c41 = c50 = c51 = constant(0.0)
    else:
        c00, c01, c10, c11 = load(y, iy), load(y, iy + 8), load(y, y1), load(y, y1 + 8)
        c20, c21, c30, c31 = load(y, y2), load(y, y2 + 8), load(y, y3), load(y, y3 + 8)
        c40, c41, c50, c51 = load(y, y4), load(y, y4 + 8), load(y, y5), load(y, y5 + 8)
    for line in range(lines):
        k, at = ia + line * line_a, ib + line * line_b
        for _ in range(steps):
            b0, b1 = load(b, at), load(b, at + 8)
            v = splat(a, k)
            c00, c01 = fma(v, b0, c00), fma(v, b1, c01)
            v = splat(a, k + r1)
            c10, c11 = fma(v, b0, c10), fma(v, b1, c11)
            v = splat(a, k + r2)
            c20, c21 = fma(v, b0, c20), fma(v, b1, c21)
            v = splat(a, k + r3)
            c30, c31 = fma(v, b0, c30), fma(v, b1, c31)
            v = splat(a, k + r4)
            c40, c41 = fma(v, b0, c40), fma(v, b1, c41)
            v = splat(a, k + r5)
            c50, c51 = fma(v, b0, c50), fma(v, b1, c51)
            k += lda
            at += ldb
    store(y, iy, c00)
    store(y, iy + 8, c01)
    store(y, y1, c10)
    store(y, y1 + 8, c11)
    store(y, y2, c20)
    store(y, y2 + 8, c21)
    store(y, y3, c30)
    store(y, y3 + 8, c31)
    store(y, y4, c40)
    store(y, y4 + 8, c41)
    store(y, y5, c50)
    store(y, y5 + 8, c51)
