"""Max pooling: in plans, and for training with the indices of the maxima and the gradient.

The training kernels take arrays (A, H, W, B), vectorised along B: with channels last, A is the batch and B the channels; with the batch
innermost, A is the channels and B the batch.
"""

import numpy as np
from numba import prange

from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.simd import constant, floats, load, maximum, pointer, store

# in plans

@njit(cache=True, parallel=True)
def max_pool_rows(x, y, n, h, w, c, ho, wo, kh, kw, sh, sw, ph, pw):
    """``max_pool``, row by row of the result."""
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
    """y (N, Ho, Wo, C) = the maximum of each window of x (N, H, W, C); windows are clipped at the image's border."""
    max_pool_rows(x.reshape(-1), y.reshape(-1), *x.shape, *y.shape[1:3], *kernel, *stride, *padding)


# for training


@njit(cache=True)
def compare(x, at, y, to, index, tap, b):
    """For b numbers: where x is larger than y, or NaN, y = x and index = tap."""
    for k in range(b):
        v, most, place = x[at + k], y[to + k], index[to + k]           # read unconditionally: conditional reads prevent vectorisation
        better = (v > most) | (v != v)
        y[to + k] = v if better else most
        index[to + k] = tap if better else place


@njit(cache=True)
def raise_to(x, at, y, to, b):
    """``compare`` without the indices."""
    for k in range(b):
        v, most = x[at + k], y[to + k]
        y[to + k] = v if (v > most) | (v != v) else most


@njit(cache=True)
def largest_of_four(x, upper, lower, y, to, index, b, places):
    """``compare`` for all taps of a 2 x 2 window, the usual one, at once; its rows begin at ``upper`` and ``lower``."""
    for k in range(b):
        most, second, third, fourth = x[upper + k], x[upper + b + k], x[lower + k], x[lower + b + k]
        place = np.uint8(0)
        better = (second > most) | (second != second)
        most, place = second if better else most, np.uint8(1) if better else place
        better = (third > most) | (third != third)
        most, place = third if better else most, np.uint8(2) if better else place
        better = (fourth > most) | (fourth != fourth)
        y[to + k] = fourth if better else most
        if places:
            index[to + k] = np.uint8(3) if better else place


@njit(cache=True, parallel=True)
def largest(x, y, index, a, h, w, b, ho, wo, kh, kw, sh, sw, ph, pw, places):
    """y (A, Ho, Wo, B) = the maximum of each window, NaN counting as largest; index = its tap, the first of equal ones, if ``places``."""
    for row in prange(a * ho):
        i, top = row // ho, row % ho * sh - ph
        for s in range(wo):
            left, to = s * sw - pw, (row * wo + s) * b
            if kh == kw == 2 and 0 <= top < h - 1 and 0 <= left < w - 1:
                at = ((i * h + top) * w + left) * b
                largest_of_four(pointer(x), at, at + w * b, pointer(y), to, pointer(index), b, places)
                continue
            y[to:to + b] = -np.inf
            if places:
                index[to:to + b] = 0
            for d in range(max(0, -top), min(kh, h - top)):
                for e in range(max(0, -left), min(kw, w - left)):
                    at = ((i * h + top + d) * w + left + e) * b
                    if places:
                        compare(pointer(x), at, pointer(y), to, pointer(index), np.uint8(d * kw + e), b)
                    else:
                        raise_to(pointer(x), at, pointer(y), to, b)


@njit(cache=True)
def add_where(g, at, index, tap, x, to, b):
    """For b numbers: x += g where the index is ``tap``."""
    for k in range(b):
        v = g[at + k]
        x[to + k] += v if index[at + k] == tap else np.float32(0)


@njit(cache=True, parallel=True)
def scatter(g, index, x, a, h, w, b, ho, wo, kh, kw, sh, sw, ph, pw):
    """x (A, H, W, B) = for each pixel the sum of g (A, Ho, Wo, B) over the windows whose maximum it is; a thread writes whole rows of x."""
    for row in prange(a * h):
        i, r = row // h, row % h + ph
        line = row * w * b
        x[line:line + w * b] = 0
        for q in range(max(0, (r - kh) // sh + 1), min(ho, r // sh + 1)):
            for s in range(wo):
                left, at = s * sw - pw, ((i * ho + q) * wo + s) * b
                for e in range(max(0, -left), min(kw, w - left)):
                    add_where(pointer(g), at, pointer(index), np.uint8((r - q * sh) * kw + e), pointer(x), line + (left + e) * b, b)
