"""Direct convolution of any kernel, stride and dilation, as a matrix product (im2col)."""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minicnn.fast.numpy_kernels.elementwise import finish
from minicnn.fast.numpy_kernels.matmul import EACH, ROWS, STRIP
from minicnn.fast.numpy_kernels.threads import run_strips, strips_of, useful_threads

FEW = 32                    # numbers in a row of a patch up to which the matrix is written column by column


def convolve(x, packed, bias, y, kernel, stride, dilation, extra=None, activation=None):
    """Convolution without groups by im2col: the patch of each output pixel becomes a row of a matrix, some rows of pixels at a time.

    Args:
        x: (N, Hp, Wp, C), padding included.
        packed: from ``pack(weight.transpose(2, 3, 1, 0).reshape(KH * KW * C, O))``.
        bias: (O,).
        y: (N, Ho, Wo, O), written.
        kernel, stride, dilation: pairs (vertical, horizontal), pixels.
        extra: as y, or None.
        activation: as in ``activate``.

    Reference: ``minicnn.functional.conv``.
    """
    (kh, kw), (sh, sw), (dh, dw), (n, ho, wo, o) = kernel, stride, dilation, y.shape
    image, line, pixel, number = x.strides
    patches = as_strided(x, (n, ho, wo, kh, kw, x.shape[3]), (image, sh * line, sw * pixel, dh * line, dw * pixel, number),
                         writeable=False)
    step = max(-(-ROWS // wo), max(STRIP, packed.size) // (wo * (len(packed) + o)))
    workers = useful_threads(y.size * len(packed), EACH)

    def work(_, strips):
        memory = np.empty(0, np.float32)
        for images, rows in strips:
            strip, out = patches[images, rows], y[images, rows].reshape(-1, o)
            if memory.size < strip.size:
                memory = np.empty(strip.size, np.float32)
            np.matmul(im2col(strip, memory[:strip.size]), packed, out=out)
            finish(out, bias, extra if extra is None else extra[images, rows].reshape(-1, o), activation)

    run_strips(work, [(images, rows) for images in strips_of(n, max(1, step // ho), workers)
                      for rows in strips_of(ho, step, -(-workers // n))], workers)


def im2col(patches, memory):
    """Write patches (N, rows, Wo, KH, KW, C) as rows of a matrix (N rows Wo, KH KW C), in either memory order.

    With few channels, as in an image, the matrix is written column by column: the rows of a patch are too short to copy one by one.
    """
    pixels, taps = patches.shape[:3], patches.shape[3:]
    if math.prod(taps[1:]) <= FEW:
        columns = memory.reshape(*taps, *pixels)
        columns[...] = patches.transpose(3, 4, 5, 0, 1, 2)
        return columns.reshape(math.prod(taps), -1).T
    columns = memory.reshape(*pixels, *taps)
    columns[...] = patches
    return columns.reshape(-1, math.prod(taps))
