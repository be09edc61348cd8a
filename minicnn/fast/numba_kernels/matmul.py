"""Matrix products: linear layers, 1 x 1 convolutions, and the micro-kernel that the other convolutions use.

The micro-kernel multiplies six rows of x by a panel of sixteen columns. A row of x is a pixel's channels (or a tile's, or a proposal's
features); a panel holds the weights of sixteen output channels, input after input, so that they are read once, in order. Six rows times
sixteen columns are twelve vectors of sums, which stay in registers over the whole common dimension: each of its elements takes two
loads, six broadcasts and twelve multiply-adds.

A row of x may consist of several pieces: a k x k convolution reads k pieces of k pixels.

Reference: Goto, van de Geijn, Anatomy of high-performance matrix multiplication (2008), section 4; Dukhan, The indirect convolution
algorithm (2019), for the pieces.
"""

import numpy as np
from numba import prange

from minicnn.fast.layouts import empty
from minicnn.fast.numba_kernels.elementwise import ACTIVATIONS, NONE, activated
from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.simd import floats, fma, load, splat, store
from minicnn.fast.numba_kernels.threads import workers

ROWS = 6                # of x in a tile
PANEL = 16              # columns in a tile: two vectors
BLOCK = 96              # rows that one thread multiplies with all panels: with 512 inputs they fill half a second-level cache
DEPTH = 1024            # inputs of a part, where there are more than twice as many


def pack(weight):
    """Reorder weights into panels.

    Args:
        weight: (inputs, outputs), outputs a multiple of 8.

    Returns:
        panels: float32, the flattened (outputs / 16, inputs, 16); the last panel is 8 wide if outputs is no multiple of 16.
    """
    inputs, outputs = weight.shape
    full = outputs // PANEL * PANEL
    panels = weight[:, :full].reshape(inputs, full // PANEL, PANEL).transpose(1, 0, 2)
    return np.concatenate([panels.reshape(-1), weight[:, full:].reshape(-1)], out=empty(weight.size))


@njit(cache=True)
def finish(y, iy, ldy, rows, width, extra, add, activation):
    """y = activation(y + extra), ``width`` columns of each row, on a tile that is still in the first-level cache."""
    for r in range(rows):
        for i in range(iy + r * ldy, iy + r * ldy + width, 8):
            v = load(y, i)
            if add:
                v = v + load(extra, i)
            store(y, i, activated(v, activation))


@njit(cache=True)
def tile16(y, iy, ldy, rows, x, x0, x1, x2, x3, x4, x5, high, step, wide, shift, length, panels, ip, bias, ib, begin):
    """y[6 rows, 16] = start + x[6 rows] @ panel, of which the first ``rows`` rows are stored.

    Args:
        iy, ldy: index of the first number of y; distance between rows.
        x0 to x5: indices of the first numbers of the six rows of x.
        high, step, wide, shift, length: a row of x has high * wide pieces of ``length`` numbers; they begin ``shift`` apart within one
            of the ``high`` lines, which begin ``step`` apart.
        ip: index of the panel's first number.
        begin: the sums start from bias[ib:ib + 16]; otherwise from the contents of y.
    """
    r1, r2, r3 = iy + min(1, rows - 1) * ldy, iy + min(2, rows - 1) * ldy, iy + min(3, rows - 1) * ldy
    r4, r5 = iy + min(4, rows - 1) * ldy, iy + min(5, rows - 1) * ldy
    if begin:
        c00 = c10 = c20 = c30 = c40 = c50 = load(bias, ib)
        c01 = c11 = c21 = c31 = c41 = c51 = load(bias, ib + 8)
    else:
        c00, c01, c10, c11 = load(y, iy), load(y, iy + 8), load(y, r1), load(y, r1 + 8)
        c20, c21, c30, c31 = load(y, r2), load(y, r2 + 8), load(y, r3), load(y, r3 + 8)
        c40, c41, c50, c51 = load(y, r4), load(y, r4 + 8), load(y, r5), load(y, r5 + 8)
    for piece in range(high * wide):
        first = piece // wide * step + piece % wide * shift
        for i in range(first, first + length):
            b0, b1 = load(panels, ip), load(panels, ip + 8)
            ip += 16
            a = splat(x, x0 + i)
            c00, c01 = fma(a, b0, c00), fma(a, b1, c01)
            a = splat(x, x1 + i)
            c10, c11 = fma(a, b0, c10), fma(a, b1, c11)
            a = splat(x, x2 + i)
            c20, c21 = fma(a, b0, c20), fma(a, b1, c21)
            a = splat(x, x3 + i)
            c30, c31 = fma(a, b0, c30), fma(a, b1, c31)
            a = splat(x, x4 + i)
            c40, c41 = fma(a, b0, c40), fma(a, b1, c41)
            a = splat(x, x5 + i)
            c50, c51 = fma(a, b0, c50), fma(a, b1, c51)
    store(y, iy, c00)
    store(y, iy + 8, c01)
    if rows > 1:
        store(y, r1, c10)
        store(y, r1 + 8, c11)
    if rows > 2:
        store(y, r2, c20)
        store(y, r2 + 8, c21)
    if rows > 3:
        store(y, r3, c30)
        store(y, r3 + 8, c31)
    if rows > 4:
        store(y, r4, c40)
        store(y, r4 + 8, c41)
    if rows > 5:
        store(y, r5, c50)
        store(y, r5 + 8, c51)


@njit(cache=True)
def tile8(y, iy, ldy, rows, x, x0, x1, x2, x3, x4, x5, high, step, wide, shift, length, panels, ip, bias, ib, begin):
    """``tile16`` for a last panel that is eight columns wide."""
    r1, r2, r3 = iy + min(1, rows - 1) * ldy, iy + min(2, rows - 1) * ldy, iy + min(3, rows - 1) * ldy
    r4, r5 = iy + min(4, rows - 1) * ldy, iy + min(5, rows - 1) * ldy
    if begin:
        c0 = c1 = c2 = c3 = c4 = c5 = load(bias, ib)
    else:
        c0, c1, c2, c3, c4, c5 = load(y, iy), load(y, r1), load(y, r2), load(y, r3), load(y, r4), load(y, r5)
    for piece in range(high * wide):
        first = piece // wide * step + piece % wide * shift
        for i in range(first, first + length):
            b = load(panels, ip)
            ip += 8
            c0, c1, c2 = fma(splat(x, x0 + i), b, c0), fma(splat(x, x1 + i), b, c1), fma(splat(x, x2 + i), b, c2)
            c3, c4, c5 = fma(splat(x, x3 + i), b, c3), fma(splat(x, x4 + i), b, c4), fma(splat(x, x5 + i), b, c5)
    store(y, iy, c0)
    if rows > 1:
        store(y, r1, c1)
    if rows > 2:
        store(y, r2, c2)
    if rows > 3:
        store(y, r3, c3)
    if rows > 4:
        store(y, r4, c4)
    if rows > 5:
        store(y, r5, c5)


@njit(cache=True)
def tile(y, iy, ldy, rows, x, x0, x1, x2, x3, x4, x5, high, step, wide, shift, length, panels, ip, width, bias, ib, begin, extra, add,
         activation):
    """``tile16`` or ``tile8``, by the width of the panel, then ``finish`` where it is needed."""
    if width == PANEL:
        tile16(y, iy, ldy, rows, x, x0, x1, x2, x3, x4, x5, high, step, wide, shift, length, panels, ip, bias, ib, begin)
    else:
        tile8(y, iy, ldy, rows, x, x0, x1, x2, x3, x4, x5, high, step, wide, shift, length, panels, ip, bias, ib, begin)
    if add or activation != NONE:
        finish(y, iy, ldy, rows, width, extra, add, activation)


@njit(cache=True)
def multiply(y, iy, ldy, x, ix, ldx, rows, inputs, panels, ip, outputs, bias, begin, extra, add, activation):
    """Multiply consecutive rows with all panels: y (rows, outputs) from x (rows, inputs); ldy, ldx: distances between rows."""
    for column in range(0, outputs, PANEL):
        for r in range(0, rows, ROWS):
            left = min(ROWS, rows - r)
            a = ix + r * ldx
            b, c, d = a + min(1, left - 1) * ldx, a + min(2, left - 1) * ldx, a + min(3, left - 1) * ldx
            e, f = a + min(4, left - 1) * ldx, a + min(5, left - 1) * ldx
            tile(y, iy + r * ldy + column, ldy, left, x, a, b, c, d, e, f, 1, 0, 1, 0, inputs, panels, ip + column * inputs,
                 min(PANEL, outputs - column), bias, column, begin, extra, add, activation)


@njit(cache=True, parallel=True)
def linear_rows(x, panels, bias, y, rows, inputs, outputs, extra, add, activation, block, depth):
    """y (rows, outputs) from x (rows, inputs): each thread takes blocks of rows; see ``linear``."""
    blocks = (rows + block - 1) // block
    for b in prange(blocks):
        first = b * block
        count = min(block, rows - first)
        # many inputs are taken in parts of ``depth``, whose panel stays in the first-level cache; the sums are kept in y meanwhile
        for start in range(0, inputs, depth):
            part = min(depth, inputs - start)
            last = start + part == inputs
            for column in range(0, outputs, PANEL):
                width = min(PANEL, outputs - column)
                for r in range(first, first + count, ROWS):
                    left = min(ROWS, first + count - r)
                    a = r * inputs + start
                    tile(floats(y), r * outputs + column, outputs, left, floats(x), a, a + min(1, left - 1) * inputs,
                         a + min(2, left - 1) * inputs, a + min(3, left - 1) * inputs, a + min(4, left - 1) * inputs,
                         a + min(5, left - 1) * inputs, 1, 0, 1, 0, part, floats(panels), column * inputs + start * width, width,
                         floats(bias), column, start == 0, floats(extra), add and last, activation if last else NONE)


def linear(x, packed, bias, y, extra=None, activation=None):
    """y = activation(x @ weight + bias + extra) along the last axis: linear layers, and 1 x 1 convolutions of stride 1.

    Args:
        x: (..., K).
        packed: from ``pack`` of the weights (K, O).
        bias: (O,).
        y: (..., O), written.
        extra: as y, or None.
        activation: None, "relu", "hardswish" or "hardsigmoid".
    """
    inputs, outputs = x.shape[-1], y.shape[-1]
    rows = y.size // outputs
    depth = inputs if inputs <= 2 * DEPTH else DEPTH
    linear_rows(x.reshape(-1), packed, bias, y.reshape(-1), rows, inputs, outputs, (y if extra is None else extra).reshape(-1),
                extra is not None, ACTIVATIONS[activation], block_rows(rows), depth)


def block_rows(rows):
    """Rows of a block: ``BLOCK``, or fewer where there would be too few blocks for the threads."""
    threads = workers()
    blocks = max(1, -(-rows // BLOCK))
    blocks = -(-blocks // threads) * threads
    return max(ROWS, -(-rows // blocks // ROWS) * ROWS)
