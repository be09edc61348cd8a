"""Convolutions of any kernel, stride and dilation for training, channels last: forward pass and weight gradient.

The forward pass is ``conv_direct.convolve``, with filters that are packed at every step; the input gradient
(``minicnn.fast.conv_input_gradient``) consists of such convolutions. The weight gradient is, for each tap, a product over all pixels:
(C, pixels) @ (pixels, O).
"""

import numpy as np
from numba import prange

from minicnn.fast.layouts import round_up
from minicnn.fast.numba_kernels.conv_direct import convolve
from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.matmul import linear
from minicnn.fast.numba_kernels.matmul_gradient import PANEL, ROWS, tile
from minicnn.fast.numba_kernels.simd import floats, load, store

PIXELS = 128            # multiplied at a time, so that numbers that are read again are in the first-level cache
INPUTS, OUTPUTS = 48, 128       # approximate size of the part of the weight gradient that a thread takes at a time


@njit(cache=True, parallel=True)
def pack_taps(weight, lane, common, taps, inputs, outputs, padded, panels):
    """panels = the weights (taps inputs, padded) of a product, as ``matmul.pack`` makes them; outputs beyond the given ones are zeros.

    weight: one-dimensional; tap t between output k and input c is weight[k * lane + c * common + t].
    """
    length = taps * inputs
    for panel in prange((padded + PANEL - 1) // PANEL):
        first = panel * PANEL
        width = min(PANEL, padded - first)
        to = first * length
        for t in range(taps):
            for c in range(inputs):
                at = t + c * common + first * lane
                for k in range(width):
                    panels[to + k] = weight[at + k * lane] if first + k < outputs else np.float32(0)
                to += width


def pack(weight, padded):
    """Weights (O, C, KH, KW) as ``convolve`` takes them for ``padded`` outputs, a multiple of 8."""
    o, c, kh, kw = weight.shape
    panels = np.empty(kh * kw * c * padded, np.float32)
    pack_taps(np.ascontiguousarray(weight).reshape(-1), c * kh * kw, kh * kw, kh * kw, c, o, padded, panels)
    return panels


def pack_exchanged(weight, padded):
    """``pack`` for weights (C, O, KH, KW), of which C are the outputs."""
    c, o, kh, kw = weight.shape
    panels = np.empty(kh * kw * o * padded, np.float32)
    numbers = np.ascontiguousarray(weight.transpose(1, 0, 2, 3)).reshape(-1)           # a view for 1 x 1
    pack_taps(numbers, kh * kw, c * kh * kw, kh * kw, o, c, padded, panels)
    return panels


@njit(cache=True, parallel=True)
def panels_of(g, pixels, o, panels):
    """panels (O / 16, pixels, 16) from g (pixels, O); O is a multiple of 16."""
    for panel in prange(o // PANEL):
        for p in range(pixels):
            to, at = (panel * pixels + p) * PANEL, p * o + panel * PANEL
            store(floats(panels), to, load(floats(g), at))
            store(floats(panels), to + 8, load(floats(g), at + 8))


@njit(cache=True, parallel=True)
def sum_over_pixels(x, g, n, hp, wp, c, ho, wo, o, kh, kw, sh, sw, dh, dw, inputs, outputs, weight):
    """weight (KH, KW, C, O) = for each tap, the pixels of x that it multiplies (C, pixels) @ g (pixels, O).

    x: (N, Hp, Wp, C), padding included; g: panels (O / 16, N Ho Wo, 16); O is a multiple of 16.
    """
    pieces, length = kh * kw, c
    if dw == 1:                                     # the taps of a row are adjacent in memory
        pieces, length = kh, kw * c
    inner, outer = (length + inputs - 1) // inputs, (o + outputs - 1) // outputs
    pixels, high = n * ho * wo, max(1, PIXELS // wo)
    for task in prange(pieces * inner * outer):
        piece, first, lane = task // (inner * outer), task // outer % inner * inputs, task % outer * outputs
        offset = piece * dh * wp * c if dw == 1 else (piece // kw * dh * wp + piece % kw * dw) * c
        past, last = min(length, first + inputs), min(o, lane + outputs)
        for i in range(n):
            for row in range(0, ho, high):
                lines = min(high, ho - row)
                at, p = ((i * hp + row * sh) * wp) * c + offset, (i * ho + row) * wo
                for r in range(first, past, ROWS):
                    for k in range(lane, last, PANEL):
                        tile(floats(weight), (piece * length + r) * o + k, o, min(ROWS, past - r), floats(x), at + r, sw * c, sh * wp * c,
                             floats(g), k * pixels + p * PANEL, PANEL, wo * PANEL, lines, wo, i == 0 and row == 0)


def weight_gradient(grad_y, x, kernel, stride, dilation):
    """grad_weight (O', C, KH, KW) from grad_y (N, Ho, Wo, O'), O' a multiple of 16, and x (N, Hp, Wp, C), padding included."""
    (n, ho, wo, o), (_, hp, wp, c), (kh, kw) = grad_y.shape, x.shape, kernel
    panels, weight = np.empty(grad_y.size, np.float32), np.empty((kh, kw, c, o), np.float32)
    panels_of(grad_y.reshape(-1), n * ho * wo, o, panels)
    sum_over_pixels(x.reshape(-1), panels, n, hp, wp, c, ho, wo, o, kh, kw, *stride, *dilation,
                    part_length(kw * c if dilation[1] == 1 else c, INPUTS, ROWS), part_length(o, OUTPUTS, PANEL), weight.reshape(-1))
    return weight.transpose(3, 2, 0, 1)


def part_length(count, size, multiple):
    """The length of equal parts of ``count`` things, of about that size and a multiple of ``multiple``."""
    return round_up(-(-count // -(-count // size)), multiple)


def forward(x, weight, bias, y, stride, dilation):
    """y (N, Ho, Wo, O'), O' a multiple of 8, from x (N, Hp, Wp, C), padding included, weight (O, C, KH, KW), bias (O',)."""
    multiply(x, pack(weight, y.shape[3]), bias, y, weight.shape[2:], stride, dilation)


def backward(grad_y, taps, dilation, grad_x):
    """The ``convolve`` argument of ``conv_input_gradient.input_gradient``."""
    panels, bias = pack_exchanged(taps, grad_x.shape[3]), np.zeros(grad_x.shape[3], np.float32)
    multiply(grad_y, panels, bias, grad_x, taps.shape[2:], (1, 1), dilation)


def multiply(x, panels, bias, y, kernel, stride, dilation):
    """``convolve``; for 1 x 1 convolutions of stride 1 ``linear``, which is the same."""
    if (*kernel, *stride) == (1, 1, 1, 1):
        linear(x, panels, bias, y)
    else:
        convolve(x, panels, bias, y, kernel, stride, dilation)
