"""Convolutions of any kernel, stride and dilation for training, channels last: forward pass and weight gradient.

The forward pass is ``conv_direct.convolve``; the input gradient (``minicnn.fast.conv_input_gradient``) consists of such convolutions. The
weight gradient is, for each tap, a product over all pixels: (C, pixels) @ (pixels, O).
"""

import numpy as np

from minicnn.fast.numpy_kernels.conv_direct import convolve
from minicnn.fast.numpy_kernels.matmul import EACH, linear, pack
from minicnn.fast.numpy_kernels.threads import run_strips, strips_of, useful_threads

STRIP = 2**18           # numbers of x and grad_y in the rows that are multiplied at a time: 1 MiB


def forward(x, weight, bias, y, stride, dilation):
    """y (N, Ho, Wo, O) from x (N, Hp, Wp, C), padding included, weight (O, C, KH, KW), bias (O,)."""
    o, c, kh, kw = weight.shape
    packed = pack(weight.transpose(2, 3, 1, 0).reshape(kh * kw * c, o))
    if (kh, kw, stride) == (1, 1, (1, 1)):
        linear(x, packed, bias, y)
    else:
        convolve(x, packed, bias, y, (kh, kw), stride, dilation)


def backward(grad_y, taps, dilation, grad_x):
    """The ``convolve`` argument of ``conv_input_gradient.input_gradient``."""
    forward(grad_y, taps, np.zeros(len(taps), np.float32), grad_x, (1, 1), dilation)


def weight_gradient(grad_y, x, kernel, stride, dilation):
    """grad_weight (O, C, KH, KW) from grad_y (N, Ho, Wo, O) and x (N, Hp, Wp, C), padding included."""
    (n, ho, wo, o), c, (kh, kw), (sh, sw), (dh, dw) = grad_y.shape, x.shape[3], kernel, stride, dilation
    weight = np.zeros((kh, kw, c, o), np.float32)
    step = max(1, STRIP // (wo * (c + o)))
    workers = useful_threads(grad_y.size * kh * kw * c, EACH)

    def work(_, parts):
        for i, j, outputs in parts:
            top, left, product = i * dh, j * dw, np.empty((c, outputs.stop - outputs.start), np.float32)
            for image in range(n):
                for row in range(0, ho, step):
                    g = grad_y[image, row:row + step, :, outputs]
                    first = top + row * sh
                    under = x[image, first:first + (len(g) - 1) * sh + 1:sh, left:left + (wo - 1) * sw + 1:sw]
                    np.matmul(under.reshape(-1, c).T, g.reshape(-1, product.shape[1]), out=product)
                    weight[i, j, :, outputs] += product

    parts = strips_of(o, o, workers if kh * kw == 1 else 1)
    run_strips(work, [(i, j, part) for i in range(kh) for j in range(kw) for part in parts], workers)
    return weight.transpose(3, 2, 0, 1)
