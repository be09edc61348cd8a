"""Max pooling for training: the largest of each window and its place, and back. Numbers side by side are pooled side by side.

Arrays are (A, H, W, B): channels last, A is the batch and B the channels; with the batch innermost, A is the channels and B the batch.
"""

import numpy as np
from numba import njit, prange

from minicnn.fast.compiled.lanes import pointer


@njit(cache=True)
def compare(x, at, y, to, index, tap, b):
    """Where x is larger than y, or NaN: y = x, and index = tap; b numbers."""
    for k in range(b):
        v, most, place = x[at + k], y[to + k], index[to + k]           # read first: a read behind a condition keeps vectors away
        better = (v > most) | (v != v)
        y[to + k] = v if better else most
        index[to + k] = tap if better else place


@njit(cache=True)
def raise_to(x, at, y, to, b):
    """``compare`` without the places."""
    for k in range(b):
        v, most = x[at + k], y[to + k]
        y[to + k] = v if (v > most) | (v != v) else most


@njit(cache=True, parallel=True)
def largest(x, y, index, a, h, w, b, ho, wo, kh, kw, sh, sw, ph, pw, places):
    """y (A, Ho, Wo, B) = the largest under each window, NaN above all; index its place in the window, the first of equals."""
    for row in prange(a * ho):
        i, top, begin = row // ho, row % ho * sh - ph, row * wo * b
        y[begin:begin + wo * b] = -np.inf
        if places:
            index[begin:begin + wo * b] = 0
        for s in range(wo):
            left, to = s * sw - pw, begin + s * b
            for d in range(max(0, -top), min(kh, h - top)):
                for e in range(max(0, -left), min(kw, w - left)):
                    at = ((i * h + top + d) * w + left + e) * b
                    if places:
                        compare(pointer(x), at, pointer(y), to, pointer(index), np.uint8(d * kw + e), b)
                    else:
                        raise_to(pointer(x), at, pointer(y), to, b)


@njit(cache=True)
def add_where(g, at, index, tap, x, to, b):
    """x += g where the place is ``tap``; b numbers."""
    for k in range(b):
        v = g[at + k]
        x[to + k] += v if index[at + k] == tap else np.float32(0)


@njit(cache=True, parallel=True)
def scatter(g, index, x, a, h, w, b, ho, wo, kh, kw, sh, sw, ph, pw):
    """x (A, H, W, B) = each pixel's share of g (A, Ho, Wo, B): that of the windows it won. A row of x is one thread's alone."""
    for row in prange(a * h):
        i, r = row // h, row % h + ph
        line = row * w * b
        x[line:line + w * b] = 0
        for q in range(max(0, (r - kh) // sh + 1), min(ho, r // sh + 1)):
            for s in range(wo):
                left, at = s * sw - pw, ((i * ho + q) * wo + s) * b
                for e in range(max(0, -left), min(kw, w - left)):
                    add_where(pointer(g), at, pointer(index), np.uint8((r - q * sh) * kw + e), pointer(x), line + (left + e) * b, b)
