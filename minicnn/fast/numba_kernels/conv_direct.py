"""Direct convolution of any kernel, stride and dilation: each output pixel's patch times the filters.

Reference: Dukhan, The indirect convolution algorithm (2019); here the patches' addresses are computed, not stored.
"""

import numpy as np
from numba import prange

from minicnn.fast.numba_kernels.elementwise import ACTIVATIONS
from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.matmul import PANEL, ROWS, block_rows, tile
from minicnn.fast.numba_kernels.simd import floats


@njit(cache=True, parallel=True)
def convolve_rows(x, panels, bias, y, n, hp, wp, c, ho, wo, o, kh, kw, sh, sw, dh, dw, extra, add, activation, block):
    """y (N, Ho, Wo, O) from x (N, Hp, Wp, C): each thread takes blocks of output pixels; see ``convolve``."""
    rows = n * ho * wo
    high, step, wide, shift, length = kh, dh * wp * c, kw, dw * c, c
    if dw == 1: # the taps of a kernel's row are adjacent in memory
        wide, shift, length = 1, 0, kw * c
    inputs = kh * kw * c
    for b in prange((rows + block - 1) // block):
        first = b * block
        count = min(block, rows - first)
        offsets = np.empty(block + ROWS, np.int64)
        for r in range(count):
            i, rest = (first + r) // (ho * wo), (first + r) % (ho * wo)
            offsets[r] = ((i * hp + rest // wo * sh) * wp + rest % wo * sw) * c
        for r in range(count, count + ROWS):
            offsets[r] = offsets[count - 1]
        for column in range(0, o, PANEL):
            for r in range(0, count, ROWS):
                tile(floats(y), (first + r) * o + column, o, min(ROWS, count - r), floats(x), offsets[r], offsets[r + 1], offsets[r + 2],
                     offsets[r + 3], offsets[r + 4], offsets[r + 5], high, step, wide, shift, length, floats(panels), column * inputs,
                     min(PANEL, o - column), floats(bias), column, True, floats(extra), add, activation)


def convolve(x, packed, bias, y, kernel, stride, dilation, extra=None, activation=None):
    """Any convolution without groups, as the product of each pixel's patch with the filters; the patches are read in place.

    Args:
        x: (N, Hp, Wp, C), padding included.
        packed: from ``matmul.pack`` of the weights (KH KW C, O).
        bias: (O,).
        y: (N, Ho, Wo, O), written.
        kernel, stride, dilation: pairs (vertical, horizontal), pixels.
        extra, activation: as for ``matmul.linear``.
    """
    n, ho, wo, o = y.shape
    convolve_rows(x.reshape(-1), packed, bias, y.reshape(-1), n, *x.shape[1:], ho, wo, o, *kernel, *stride, *dilation,
                  (y if extra is None else extra).reshape(-1), extra is not None, ACTIVATIONS[activation], block_rows(n * ho * wo))
