"""Steps that touch each number once: borders, pooling, means, sums, activations. Memory, not arithmetic, sets their time."""

import numpy as np
from numba import njit, prange

from minicnn.fast.numba_kernels.matmul import ACTIVATIONS, activate
from minicnn.fast.numba_kernels.simd import constant, floats, fma, load, maximum, store
from minicnn.functional.resize import nearest_index


def pad(x, y, padding):
    """y (N, H + 2 ph, W + 2 pw, C') = x (N, H, W, C), of any strides, in a border of zeros; channels beyond C are zeros too."""
    pad_rows(x, y, *padding)


@njit(cache=True, parallel=True)
def pad_rows(x, y, ph, pw):
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
def max_pool_rows(x, y, n, h, w, c, ho, wo, kh, kw, sh, sw, ph, pw):
    for row in prange(n * ho):
        i, top = row // ho, row % ho * sh - ph
        for s in range(wo):
            left = s * sw - pw
            for k in range(0, c, 8):
                most = constant(-np.inf)
                for a in range(max(0, top), min(h, top + kh)):
                    for b in range(max(0, left), min(w, left + kw)):
                        most = maximum(load(floats(x), ((i * h + a) * w + b) * c + k), most)
                store(floats(y), (row * wo + s) * c + k, most)


def max_pool(x, y, kernel, stride, padding):
    """y (N, Ho, Wo, C) = the largest under each window of x (N, H, W, C); windows end at the image's border."""
    max_pool_rows(x.reshape(-1), y.reshape(-1), *x.shape, *y.shape[1:3], *kernel, *stride, *padding)


@njit(cache=True, parallel=True)
def mean_pixels(x, y, n, pixels, c):
    for job in prange(n * (c // 8)):
        i, k = job // (c // 8), job % (c // 8) * 8
        total = constant(0.0)
        for p in range(pixels):
            total = total + load(floats(x), (i * pixels + p) * c + k)
        store(floats(y), i * c + k, total * constant(1 / pixels))


def mean(x, y):
    """y (N, 1, 1, C) = means over the pixels of x (N, H, W, C)."""
    n, h, w, c = x.shape
    mean_pixels(x.reshape(-1), y.reshape(-1), n, h * w, c)


@njit(cache=True, parallel=True)
def combine(x, factor, shift, y, rows, c, per_factor, per_shift, activation):
    """y[r, c] = activation(x[r, c] factor + shift): ``per_...`` rows share a row of that operand, 0: all rows share one."""
    for block in prange((rows + 63) // 64):
        for r in range(64 * block, min(rows, 64 * block + 64)):
            f = r // per_factor * c if per_factor else 0
            s = r // per_shift * c if per_shift else 0
            for k in range(0, c, 8):
                v = fma(load(floats(x), r * c + k), load(floats(factor), f + k), load(floats(shift), s + k))
                store(floats(y), r * c + k, activate(v, activation))


def scale(x, gate, y):
    """y = x (N, H, W, C) * gate (N, 1, 1, C)."""
    n, h, w, c = x.shape
    combine(x.reshape(-1), gate.reshape(-1), np.zeros(c, np.float32), y.reshape(-1), n * h * w, c, h * w, 0, ACTIVATIONS[None])


def add(x, z, y, activation=None):
    """y = activation(x + z), of one shape."""
    c = x.shape[-1]
    combine(x.reshape(-1), np.ones(c, np.float32), z.reshape(-1), y.reshape(-1), x.size // c, c, 0, 1, ACTIVATIONS[activation])


def affine(x, scale, shift, y, activation=None):
    """y = activation(x * scale (C,) + shift (C,)): a norm that no convolution took in."""
    c = x.shape[-1]
    combine(x.reshape(-1), scale, shift, y.reshape(-1), x.size // c, c, 0, 0, ACTIVATIONS[activation])


def activate_numbers(x, y, activation):
    """y = activation(x)."""
    c = x.shape[-1]
    affine(x, np.ones(c, np.float32), np.zeros(c, np.float32), y, activation)


@njit(cache=True, parallel=True)
def add_nearest_rows(x, z, y, n, h, w, c, zh, zw, rows, columns):
    for row in prange(n * h):
        i, from_row = row // h, rows[row % h]
        for s in range(w):
            to, at = (row * w + s) * c, ((i * zh + from_row) * zw + columns[s]) * c
            for k in range(0, c, 8):
                store(floats(y), to + k, load(floats(x), to + k) + load(floats(z), at + k))


def add_nearest(x, z, y):
    """y = x (N, H, W, C) + z (N, H', W', C) resized to it, each pixel taking the nearest."""
    rows, columns = (nearest_index(size, out) for size, out in zip(z.shape[1:3], x.shape[1:3]))
    add_nearest_rows(x.reshape(-1), z.reshape(-1), y.reshape(-1), *x.shape, *z.shape[1:3], rows, columns)
