"""Depthwise convolution: each channel has its own filter, so a number costs as many multiplications as the kernel has taps."""

from numba import prange

from minicnn.fast.numba_kernels.elementwise import ACTIVATIONS, activated
from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.simd import floats, fma, load, store


@njit(cache=True, parallel=True)
def depthwise_rows(x, weight, bias, y, n, h, w, c, ho, wo, kh, kw, sh, sw, ph, pw, dh, dw, activation):
    """``depthwise``, row by row of the result."""
    for row in prange(n * ho):
        i, r = row // ho, row % ho
        top = r * sh - ph
        first, past = max(0, (dh - 1 - top) // dh), min(kh, (h - top + dh - 1) // dh)        # taps inside the image
        for s in range(wo):
            left = s * sw - pw
            begin, end = max(0, (dw - 1 - left) // dw), min(kw, (w - left + dw - 1) // dw)
            for k in range(0, c, 8):
                total = load(floats(bias), k)
                for a in range(first, past):
                    at = ((i * h + top + a * dh) * w + left) * c + k
                    for b in range(begin, end):
                        total = fma(load(floats(x), at + b * dw * c), load(floats(weight), (a * kw + b) * c + k), total)
                store(floats(y), (row * wo + s) * c + k, activated(total, activation))


def depthwise(x, weight, bias, y, stride, padding, dilation, activation=None):
    """y = activation(each channel of x with its own filter, + bias).

    Args:
        x: (N, H, W, C), without padding.
        weight: (KH, KW, C).
        bias: (C,).
        y: (N, Ho, Wo, C), written.
        stride, padding, dilation: pairs (vertical, horizontal), pixels.
        activation: None, "relu", "hardswish" or "hardsigmoid".

    Reference: Howard et al., MobileNets (2017), section 3.1.
    """
    depthwise_rows(x.reshape(-1), weight.reshape(-1), bias, y.reshape(-1), *x.shape, *y.shape[1:3], *weight.shape[:2], *stride, *padding,
                   *dilation, ACTIVATIONS[activation])
