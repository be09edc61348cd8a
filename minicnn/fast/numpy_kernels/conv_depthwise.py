"""Depthwise convolution: each channel has its own filter, so there is no matrix product, only weighted sums of pixels."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minicnn.fast.numpy_kernels.elementwise import BLOCK, finish
from minicnn.fast.numpy_kernels.threads import run_strips, strips_of, useful_threads

WIDE = 128              # channels from which on those of one pixel are enough for the inner loop
EACH = 2**20            # multiplications that keep a thread busy for 0.1 ms


def depthwise(x, weight, bias, y, stride, padding, dilation, activation=None):
    """y = activation(each channel of x with its own filter, + bias).

    Args:
        x: (N, H, W, C), without padding.
        weight: (KH, KW, C).
        bias: (C,).
        y: (N, Ho, Wo, C), written.
        stride, padding, dilation: pairs (vertical, horizontal), pixels.
        activation: as in ``activate``.

    With few channels and horizontal stride 1, a row of pixels is treated as one pixel with many channels, with repeated weights.

    Reference: Howard et al., MobileNets (2017), section 3.1.
    """
    (kh, kw, c), (sh, sw), (ph, pw), (dh, dw), (n, h, w, _), (_, ho, wo, _) = weight.shape, stride, padding, dilation, x.shape, y.shape
    across, pixels = (1, wo) if sw == 1 and c < WIDE else (wo, 1)           # pixels of a row, and how many real ones each stands for
    weight = np.tile(weight, pixels)                                        # (KH, KW, pixels C)
    wide, extent = max(w + 2 * pw, (wo - 1) * sw + dw * (kw - 1) + 1), dh * (kh - 1) + 1
    step = min(ho, max(1, BLOCK // (wo * c)))

    def work(_, strips):
        band = np.zeros(((step - 1) * sh + extent, wide, c), np.float32)    # the input rows of a strip, padded
        line, pixel, number = band.strides
        windows = as_strided(band, (step, across, pixels * c, kh, kw), (sh * line, sw * pixel, number, dh * line, dw * pixel),
                             writeable=False)
        for image, rows in strips:
            count = rows.stop - rows.start
            top = rows.start * sh - ph
            first, past = min(max(0, top), h), max(0, min(h, top + len(band)))
            band[:first - top] = 0
            band[first - top:past - top, pw:pw + w] = x[image, first:past]
            band[past - top:] = 0
            out = y[image, rows]
            np.einsum("rxcij,ijc->rxc", windows[:count], weight, out=out.reshape(count, across, pixels * c))
            finish(out, bias, None, activation)

    workers = useful_threads(y.size * kh * kw, EACH)
    run_strips(work, [(image, rows) for image in range(n) for rows in strips_of(ho, step, workers)], workers)
