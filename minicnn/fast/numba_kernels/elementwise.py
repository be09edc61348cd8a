"""Steps that read or write each number once: padding, means, sums, norms, activations. Memory, not arithmetic, bounds their time."""

import numpy as np
from numba import prange

from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.simd import constant, floats, fma, load, maximum, minimum, store
from minicnn.functional.resize import nearest_index

NONE, RELU, HARDSWISH, HARDSIGMOID = range(4)
ACTIVATIONS = {None: NONE, "relu": RELU, "hardswish": HARDSWISH, "hardsigmoid": HARDSIGMOID}


@njit(cache=True)
def activated(v, activation):
    """A vector after an activation, one of the numbers in ``ACTIVATIONS``."""
    if activation == RELU:
        v = maximum(v, constant(0.0))
    elif activation >= HARDSWISH:
        gate = minimum(maximum(v + constant(3.0), constant(0.0)), constant(6.0)) * constant(1 / 6)
        v = v * gate if activation == HARDSWISH else gate
    return v


def pad(x, y, padding):
    """y (N, H + 2 ph, W + 2 pw, C') = x (N, H, W, C), of any strides, padded with zeros; channels beyond C are zeros too."""
    pad_rows(x, y, *padding)


@njit(cache=True, parallel=True)
def pad_rows(x, y, ph, pw):
    """``pad``, row by row of the result."""
    n, h, w, c = x.shape
    rows, across, channels = y.shape[1:]
    for row in prange(n * rows):
        i, r = row // rows, row % rows - ph
        out = y[i, r + ph]
        if r < 0 or r >= h:
            out[:] = 0
        else:
            out[:pw] = 0
            out[pw + w:] = 0
            for s in range(w):
                for k in range(c):
                    out[pw + s, k] = x[i, r, s, k]
                for k in range(c, channels):
                    out[pw + s, k] = 0


@njit(cache=True, parallel=True)
def mean_pixels(x, y, n, pixels, c):
    """y (N, C) = means over the pixels of x (N, pixels, C)."""
    for job in prange(n * (c // 8)):
        i, k = job // (c // 8), job % (c // 8) * 8
        total = constant(0.0)
        for p in range(pixels):
            total = total + load(floats(x), (i * pixels + p) * c + k)
        store(floats(y), i * c + k, total * constant(1 / pixels))


def mean(x, y):
    """y (N, 1, 1, C) = the mean over the pixels of each channel of x (N, H, W, C)."""
    n, h, w, c = x.shape
    mean_pixels(x.reshape(-1), y.reshape(-1), n, h * w, c)


@njit(cache=True, parallel=True)
def combine(x, factor, shift, y, rows, c, per_factor, per_shift, activation):
    """y (rows, C) = activation(x * factor + shift).

    per_factor, per_shift: number of rows of x that share a row of factor or of shift; 0: it has only one row.
    """
    for block in prange((rows + 63) // 64):
        for r in range(64 * block, min(rows, 64 * block + 64)):
            f = r // per_factor * c if per_factor else 0
            s = r // per_shift * c if per_shift else 0
            for k in range(0, c, 8):
                v = fma(load(floats(x), r * c + k), load(floats(factor), f + k), load(floats(shift), s + k))
                store(floats(y), r * c + k, activated(v, activation))


def scale(x, gate, y):
    """y = x (N, H, W, C) * gate (N, 1, 1, C)."""
    n, h, w, c = x.shape
    combine(x.reshape(-1), gate.reshape(-1), np.zeros(c, np.float32), y.reshape(-1), n * h * w, c, h * w, 0, ACTIVATIONS[None])


def add(x, z, y, activation=None):
    """y = activation(x + z), all of one shape."""
    c = x.shape[-1]
    combine(x.reshape(-1), np.ones(c, np.float32), z.reshape(-1), y.reshape(-1), x.size // c, c, 0, 1, ACTIVATIONS[activation])


def affine(x, scale, shift, y, activation=None):
    """y = activation(x * scale (C,) + shift (C,)): a norm that is not fused into a convolution."""
    c = x.shape[-1]
    combine(x.reshape(-1), scale, shift, y.reshape(-1), x.size // c, c, 0, 0, ACTIVATIONS[activation])


def activate(x, y, activation):
    """y = activation(x), all of one shape."""
    c = x.shape[-1]
    affine(x, np.ones(c, np.float32), np.zeros(c, np.float32), y, activation)


@njit(cache=True, parallel=True)
def add_nearest_rows(x, z, y, n, h, w, c, zh, zw, rows, columns):
    """``add_nearest``, row by row; rows, columns: indices of the nearest pixels of z."""
    for row in prange(n * h):
        i, from_row = row // h, rows[row % h]
        for s in range(w):
            to, at = (row * w + s) * c, ((i * zh + from_row) * zw + columns[s]) * c
            for k in range(0, c, 8):
                store(floats(y), to + k, load(floats(x), to + k) + load(floats(z), at + k))


def add_nearest(x, z, y):
    """y = x (N, H, W, C) + z (N, H', W', C) resized to H x W by nearest neighbour."""
    rows, columns = (nearest_index(size, out) for size, out in zip(z.shape[1:3], x.shape[1:3]))
    add_nearest_rows(x.reshape(-1), z.reshape(-1), y.reshape(-1), *x.shape, *z.shape[1:3], rows, columns)
