"""Max pooling for training: the largest of each window and its place, and back. Numbers side by side are pooled side by side.

Arrays are (A, H, W, B): channels last, A is the batch and B the channels; with the batch innermost, A is the channels and B the batch.
"""

import numpy as np
from numba import njit, prange

from minicnn.fast.numba_kernels.lanes import pointer


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


@njit(cache=True)
def largest_of_four(x, upper, lower, y, to, index, b, places):
    """All of a window of 2 x 2 at once, which is the usual one: its rows begin at ``upper`` and ``lower``."""
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
    """y (A, Ho, Wo, B) = the largest under each window, NaN above all; index its place in the window, the first of equals."""
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
