"""Convolutions of stride 1 and linear layers over a batch of small images, direct, with the batch innermost in memory.

Arrays are (C, H, W, N), so two vectors hold the same pixel of sixteen images, whatever the size of image and kernel. The pixels of a row
are copied once, for all filters and columns; taps in the padding are skipped, not multiplied by zeros. A linear layer is a convolution of
images of one pixel.

    forward:             y[o, i, j, n] = bias[o] + sum over c, k, l of weight[o, c, k, l] x[c, i + k - p, j + l - q, n]
    input gradient:      the same with the filters rotated by 180 degrees and O and C exchanged
    weight gradient:     grad_weight[o, c, k, l] = sum over i, j, n of grad_y[o, i, j, n] x[c, i + k - p, j + l - q, n]

The order of each sum does not depend on the number of threads.

Reference: Georganas et al., Anatomy of high-performance deep learning convolutions on SIMD architectures (2018), section II: the
register blocking, there along channels, here along the batch.
"""

import numpy as np
from numba import prange

from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.simd import constant, floats, fma, load, pointer, splat, store, total
from minicnn.fast.numba_kernels.threads import workers

IMAGES = 16             # in a tile: two vectors
DEPTH = 256             # taps multiplied at a time, so that their pixels stay in the first-level cache
RUN = 2048              # numbers of grad_y of one filter that are summed in a part, at least
FILTERS = 16            # whose gradients one thread takes at a time
PARTS, MEMORY = 16, 2**22       # largest number of parts of the rows, and of numbers that the parts' gradients take


@njit(cache=True)
def tile6(y, iy, ldy, rows, w, iw, row, places, x, ix, taps, bias, ib, begin):
    """y[6 filters, 16 images] of one pixel = (bias or y) + sum over taps of weight times pixel; ``rows`` filters are computed.

    Args:
        iy, ldy: index of the first number of y; distance between filters.
        iw, row: index of the first filter's first weight; distance between filters.
        places: for each tap the offset of its weight.
        ix: index of the first pixel; the pixels of the taps are consecutive.
        begin: the sums start from bias[ib:]; otherwise from the contents of y.
    """
    r1, r2, r3, r4, r5 = min(1, rows - 1), min(2, rows - 1), min(3, rows - 1), min(4, rows - 1), min(5, rows - 1)
    y1, y2, y3, y4, y5 = iy + r1 * ldy, iy + r2 * ldy, iy + r3 * ldy, iy + r4 * ldy, iy + r5 * ldy
    if begin:
        c00 = c01 = splat(bias, ib)
        c10 = c11 = splat(bias, ib + r1)
        c20 = c21 = splat(bias, ib + r2)
        c30 = c31 = splat(bias, ib + r3)
        c40 = c41 = splat(bias, ib + r4)
        c50 = c51 = splat(bias, ib + r5)
    else:
        c00, c01, c10, c11 = load(y, iy), load(y, iy + 8), load(y, y1), load(y, y1 + 8)
        c20, c21, c30, c31 = load(y, y2), load(y, y2 + 8), load(y, y3), load(y, y3 + 8)
        c40, c41, c50, c51 = load(y, y4), load(y, y4 + 8), load(y, y5), load(y, y5 + 8)
    r1, r2, r3, r4, r5 = r1 * row, r2 * row, r3 * row, r4 * row, r5 * row
    for t in range(taps):
        k, at = iw + places[t], ix + IMAGES * t
        b0, b1 = load(x, at), load(x, at + 8)
        a = splat(w, k)
        c00, c01 = fma(a, b0, c00), fma(a, b1, c01)
        a = splat(w, k + r1)
        c10, c11 = fma(a, b0, c10), fma(a, b1, c11)
        a = splat(w, k + r2)
        c20, c21 = fma(a, b0, c20), fma(a, b1, c21)
        a = splat(w, k + r3)
        c30, c31 = fma(a, b0, c30), fma(a, b1, c31)
        a = splat(w, k + r4)
        c40, c41 = fma(a, b0, c40), fma(a, b1, c41)
        a = splat(w, k + r5)
        c50, c51 = fma(a, b0, c50), fma(a, b1, c51)
    store(y, iy, c00)
    store(y, iy + 8, c01)
    store(y, y1, c10)
    store(y, y1 + 8, c11)
    store(y, y2, c20)
    store(y, y2 + 8, c21)
    store(y, y3, c30)
    store(y, y3 + 8, c31)
    store(y, y4, c40)
    store(y, y4 + 8, c41)
    store(y, y5, c50)
    store(y, y5 + 8, c51)


@njit(cache=True)
def tile4(y, iy, ldy, rows, w, iw, row, places, x, ix, taps, bias, ib, begin):
    """``tile6`` for four filters: 20 of them are 6 + 6 + 4 + 4."""
    r1, r2, r3 = min(1, rows - 1), min(2, rows - 1), min(3, rows - 1)
    y1, y2, y3 = iy + r1 * ldy, iy + r2 * ldy, iy + r3 * ldy
    if begin:
        c00 = c01 = splat(bias, ib)
        c10 = c11 = splat(bias, ib + r1)
        c20 = c21 = splat(bias, ib + r2)
        c30 = c31 = splat(bias, ib + r3)
    else:
        c00, c01, c10, c11 = load(y, iy), load(y, iy + 8), load(y, y1), load(y, y1 + 8)
        c20, c21, c30, c31 = load(y, y2), load(y, y2 + 8), load(y, y3), load(y, y3 + 8)
    r1, r2, r3 = r1 * row, r2 * row, r3 * row
    for t in range(taps):
        k, at = iw + places[t], ix + IMAGES * t
        b0, b1 = load(x, at), load(x, at + 8)
        a = splat(w, k)
        c00, c01 = fma(a, b0, c00), fma(a, b1, c01)
        a = splat(w, k + r1)
        c10, c11 = fma(a, b0, c10), fma(a, b1, c11)
        a = splat(w, k + r2)
        c20, c21 = fma(a, b0, c20), fma(a, b1, c21)
        a = splat(w, k + r3)
        c30, c31 = fma(a, b0, c30), fma(a, b1, c31)
    store(y, iy, c00)
    store(y, iy + 8, c01)
    store(y, y1, c10)
    store(y, y1 + 8, c11)
    store(y, y2, c20)
    store(y, y2 + 8, c21)
    store(y, y3, c30)
    store(y, y3 + 8, c31)


@njit(cache=True)
def gather(x, n, h, wd, start, channels, top, lines, near):
    """near (N / 16, W, channels, lines, 16) from x (C, H, W, N): the input pixels of a row of the result, in the order of the taps.

    In x they are often powers of two apart, and such addresses share a few lines of the first-level cache.
    """
    to = 0
    for k in range(0, n, IMAGES):
        for j in range(wd):
            for d in range(start, start + channels):
                for i in range(top, top + lines):
                    at = ((d * h + i) * wd + j) * n + k
                    store(near, to, load(x, at))
                    store(near, to + 8, load(x, at + 8))
                    to += IMAGES


@njit(cache=True, parallel=True)
def correlate(x, n, c, h, wd, w, iw, row, channel, up, left, bias, y, o, ho, wo, kh, kw, ph, pw, depth, chunk):  # noqa: C901  compiled
    """y (O, Ho, Wo, N) from x (C, H, W, N), N a multiple of 16; a task is ``chunk`` filters of a row of the result.

    iw, row, channel, up, left: index of the first weight; distances between filters, channels, rows and columns of the kernel.
    """
    for task in prange(ho * ((o + chunk - 1) // chunk)):
        i, first = task % ho, task // ho * chunk
        past = min(o, first + chunk)
        top, bottom = max(0, ph - i), min(kh, h + ph - i)           # taps inside of the image
        lines = max(0, bottom - top)
        places = np.empty(depth * lines * kw, np.int64)
        near = np.empty(n * wd * depth * lines, np.float32)
        for start in range(0, c, depth):
            channels = min(depth, c - start)
            column = channels * lines * IMAGES
            gather(floats(x), n, h, wd, start, channels, i - ph + top, lines, floats(near))
            begin = end = 0
            for j in range(wo):
                if begin != max(0, pw - j) or end != min(kw, wd + pw - j):
                    begin, end, t = max(0, pw - j), min(kw, wd + pw - j), 0
                    for m in range(begin, end):
                        for d in range(channels):
                            for k in range(top, bottom):
                                places[t] = d * channel + k * up + m * left
                                t += 1
                taps = (end - begin) * channels * lines
                for k in range(n // IMAGES):
                    at = (k * wd + j - pw + begin) * column
                    f = first
                    while f < past:
                        to, weight = ((f * ho + i) * wo + j) * n + k * IMAGES, iw + start * channel + f * row
                        rest = past - f
                        if rest > 4 and rest != 7 and rest != 8:
                            tile6(floats(y), to, ho * wo * n, min(6, rest), floats(w), weight, row, pointer(places), floats(near), at, taps,
                                  floats(bias), f, start == 0)
                            f += 6
                        else:
                            tile4(floats(y), to, ho * wo * n, min(4, rest), floats(w), weight, row, pointer(places), floats(near), at, taps,
                                  floats(bias), f, start == 0)
                            f += 4


@njit(cache=True)
def tile_of_sums(g, ig, ldg, filters, x, x0, x1, x2, gline, xline, rows, length, out, io, ldo, columns):
    """out[4 filters, 3 columns] = sums of grad_y times x over ``rows`` rows of ``length`` numbers."""
    g1, g2, g3 = ig + min(1, filters - 1) * ldg, ig + min(2, filters - 1) * ldg, ig + min(3, filters - 1) * ldg
    c00 = c01 = c02 = c10 = c11 = c12 = c20 = c21 = c22 = c30 = c31 = c32 = constant(0.0)
    for r in range(rows):
        p0, p1, p2, p3 = ig + r * gline, g1 + r * gline, g2 + r * gline, g3 + r * gline
        q0, q1, q2 = x0 + r * xline, x1 + r * xline, x2 + r * xline
        for i in range(0, length, 8):
            a, b, d = load(x, q0 + i), load(x, q1 + i), load(x, q2 + i)
            v = load(g, p0 + i)
            c00, c01, c02 = fma(v, a, c00), fma(v, b, c01), fma(v, d, c02)
            v = load(g, p1 + i)
            c10, c11, c12 = fma(v, a, c10), fma(v, b, c11), fma(v, d, c12)
            v = load(g, p2 + i)
            c20, c21, c22 = fma(v, a, c20), fma(v, b, c21), fma(v, d, c22)
            v = load(g, p3 + i)
            c30, c31, c32 = fma(v, a, c30), fma(v, b, c31), fma(v, d, c32)
    last = columns - 1
    o1, o2, o3 = io + min(1, filters - 1) * ldo, io + min(2, filters - 1) * ldo, io + min(3, filters - 1) * ldo
    d1, d2 = min(1, last), min(2, last)
    out[io], out[io + d1], out[io + d2] = total(c00), total(c01), total(c02)
    out[o1], out[o1 + d1], out[o1 + d2] = total(c10), total(c11), total(c12)
    out[o2], out[o2 + d1], out[o2 + d2] = total(c20), total(c21), total(c22)
    out[o3], out[o3 + d1], out[o3 + d2] = total(c30), total(c31), total(c32)


@njit(cache=True, parallel=True)
def correlate_gradient(g, x, n, c, h, wd, o, ho, wo, kh, kw, parts, rows):
    """parts (P, O C KH KW + O) = the gradients of weights and biases, each part from ``rows`` rows of the result.

    g: (O, Ho, Wo, N); x: (C, H, W, N), padding included; N is a multiple of 8.
    """
    columns = c * kh * kw
    groups = (o + FILTERS - 1) // FILTERS
    for task in prange(parts.shape[0] * groups):
        part, group = task // groups, task % groups
        out = floats(parts[part])
        first = part * rows
        count = min(rows, ho - first)
        for f in range(group * FILTERS, min(o, (group + 1) * FILTERS), 4):
            ig = (f * ho + first) * wo * n
            for k in range(0, columns, 3):
                k1, k2 = min(k + 1, columns - 1), min(k + 2, columns - 1)
                tile_of_sums(floats(g), ig, ho * wo * n, min(4, o - f), floats(x),
                             ((k // (kh * kw) * h + k // kw % kh + first) * wd + k % kw) * n,
                             ((k1 // (kh * kw) * h + k1 // kw % kh + first) * wd + k1 % kw) * n,
                             ((k2 // (kh * kw) * h + k2 // kw % kh + first) * wd + k2 % kw) * n,
                             wo * n, wd * n, count, wo * n, out, f * columns + k, columns, columns - k)
            for r in range(f, min(o, f + 4)):
                s = constant(0.0)
                at = (r * ho + first) * wo * n
                for i in range(at, at + count * wo * n, 8):
                    s = s + load(floats(g), i)
                out[o * columns + r] = total(s)


def forward(x, weight, bias, padding, y):
    """y (O, Ho, Wo, N) = the convolution of x (C, H, W, N), N a multiple of 16, with weight (O, C, KH, KW), bias (O,)."""
    c, h, w, n = x.shape
    o, _, kh, kw = weight.shape
    correlate(x.reshape(-1), n, c, h, w, weight.reshape(-1), 0, c * kh * kw, kh * kw, kw, 1, np.ascontiguousarray(bias), y.reshape(-1),
              *y.shape[:3], kh, kw, *padding, max(1, DEPTH // (kh * kw)), chunk(o, y.shape[1]))


def input_gradient(grad_y, weight, padding, grad_x):
    """grad_x (C, H, W, N) from grad_y (O, Ho, Wo, N)."""
    o, ho, wo, n = grad_y.shape
    _, c, kh, kw = weight.shape
    correlate(grad_y.reshape(-1), n, o, ho, wo, weight.reshape(-1), kh * kw - 1, kh * kw, c * kh * kw, -kw, -1,
              np.zeros(c, np.float32), grad_x.reshape(-1), *grad_x.shape[:3], kh, kw, kh - 1 - padding[0], kw - 1 - padding[1],
              max(1, DEPTH // (kh * kw)), chunk(c, grad_x.shape[1]))


def chunk(filters, rows):
    """Number of filters of a task: all, where an image has enough rows for all threads; else a thread's part."""
    return filters if rows >= 4 else -(-filters // (6 * workers())) * 6


def weight_gradient(grad_y, x, kernel):
    """grad_weight (O, C, KH, KW) and grad_bias (O,) from grad_y (O, Ho, Wo, N) and x (C, Hp, Wp, N), padding included."""
    (o, ho, wo, n), c, (kh, kw) = grad_y.shape, len(x), kernel
    columns = c * kh * kw
    rows = -(-ho // min(ho, PARTS, max(1, MEMORY // (o * columns)), max(1, ho * wo * n // RUN)))
    parts = np.empty((-(-ho // rows), o * (columns + 1)), np.float32)
    correlate_gradient(grad_y.reshape(-1), x.reshape(-1), n, *x.shape[:3], o, ho, wo, kh, kw, parts, rows)
    sums = parts.sum(axis=0)
    return sums[:o * columns].reshape(o, c, kh, kw), sums[o * columns:]
