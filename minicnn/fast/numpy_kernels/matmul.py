"""Matrix products: linear layers, 1 x 1 convolutions, and any other convolution by im2col.

The work is cut into strips of rows small enough that what is done to a strip after its product (bias, addition, activation) finds it in
the processor's cache.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minicnn.fast.numpy_kernels.elementwise import finish
from minicnn.fast.numpy_kernels.threads import runs, share, worth

STRIP = 2**18               # numbers of a strip's inputs and outputs, 1 MiB; as many as there are weights, if those are more
PIXELS = 128                # rows that a product should have at least, to be worth bringing the weights in
FEW = 32                    # numbers in a row of a kernel up to which columns are written pixel by pixel
EACH = 2**22                # multiplications that keep a thread busy for 0.1 ms


def pack(weight):
    """Weights (inputs, outputs) as ``linear`` and ``convolve`` take them: contiguous, which is all that BLAS asks for."""
    return np.ascontiguousarray(weight, np.float32)


def linear(x, packed, bias, y, extra=None, activation=None):
    """y = activation(x @ weight + bias + extra) over the last axis.

    Args:
        x: (..., I), such as rows, or the pixels of a 1 x 1 convolution of stride 1.
        packed: from ``pack`` of the weights (I, O).
        bias: (O,).
        y: (..., O), written.
        extra: as y, or None.
        activation: as in ``activate``.
    """
    inputs, outputs = packed.shape
    x, y = x.reshape(-1, inputs), y.reshape(-1, outputs)
    extra = extra if extra is None else extra.reshape(-1, outputs)
    count = len(x)
    workers = worth(count * packed.size, EACH)
    if packed.size > count * (inputs + outputs):                    # the weights are the most: let each thread read its own
        strips = [(slice(0, count), columns) for columns in runs(outputs, -(-outputs // workers))]
    else:
        step = max(PIXELS, max(STRIP, packed.size) // (inputs + outputs))
        strips = [(rows, slice(0, outputs)) for rows in runs(count, step, workers)]

    def work(_, strips):
        for rows, columns in strips:
            out = y[rows, columns]
            np.matmul(x[rows], packed[:, columns], out=out)
            finish(out, bias[columns], extra if extra is None else extra[rows, columns], activation)

    share(work, strips, workers)


def mix(x, weight, y):
    """y (N, O, 1, C) = weight (O, H W) times the pixels of x (N, H, W, C): O mixtures of each channel's pixels."""
    n, h, w, c = x.shape
    np.matmul(weight, x.reshape(n, h * w, c), out=y[:, :, 0])


def convolve(x, packed, bias, y, kernel, stride, dilation, extra=None, activation=None):
    """Convolution by im2col: the patch under each output pixel becomes a row of a matrix, some rows of pixels at a time.

    Args:
        x: (N, Hp, Wp, C), its border included.
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
    step = max(-(-PIXELS // wo), max(STRIP, packed.size) // (wo * (len(packed) + o)))
    workers = worth(y.size * len(packed), EACH)

    def work(_, strips):
        memory = np.empty(0, np.float32)
        for images, rows in strips:
            strip, out = patches[images, rows], y[images, rows].reshape(-1, o)
            if memory.size < strip.size:
                memory = np.empty(strip.size, np.float32)
            np.matmul(im2col(strip, memory[:strip.size]), packed, out=out)
            finish(out, bias, extra if extra is None else extra[images, rows].reshape(-1, o), activation)

    share(work, [(images, rows) for images in runs(n, max(1, step // ho), workers) for rows in runs(ho, step, -(-workers // n))], workers)


def im2col(patches, memory):
    """Write patches (N, rows, Wo, KH, KW, C) as rows of a matrix (N rows Wo, KH KW C), in either memory order.

    With few channels, as in an image, they are written pixel by pixel: the pieces of a patch are too short to copy one by one.
    """
    pixels, taps = patches.shape[:3], patches.shape[3:]
    if math.prod(taps[1:]) <= FEW:
        columns = memory.reshape(*taps, *pixels)
        columns[...] = patches.transpose(3, 4, 5, 0, 1, 2)
        return columns.reshape(math.prod(taps), -1).T
    columns = memory.reshape(*pixels, *taps)
    columns[...] = patches
    return columns.reshape(-1, math.prod(taps))
