"""3 x 3 convolution of stride 1 by Winograd's F(4 x 4, 3 x 3); ``minicnn.fast.winograd`` has the algorithm and the matrices.

Some tiles, a strip, are taken from image to result at a time: their transforms B^T d B, for each of the 36 points a matrix product
(tiles, C) @ (C, O) by ``matmul``, and the transform back, A^T m A.

Reference: Lavin, Gray, Fast algorithms for convolutional neural networks (2016), sections 3 and 4.
"""

import numpy as np
from numba import prange

from minicnn.fast.layouts import empty
from minicnn.fast.numba_kernels.elementwise import ACTIVATIONS, NONE, activated
from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.matmul import multiply, pack
from minicnn.fast.numba_kernels.simd import constant, floats, fma, load, maximum, store
from minicnn.fast.numba_kernels.threads import workers
from minicnn.fast.winograd import HALF, IN, OUT, POINTS, ROOT, transformed_filters


@njit(cache=True)
def rows_of_b(d0, d1, d2, d3, d4, d5):
    """B^T d for one column d of a tile."""
    minus_root, half_root = constant(-ROOT), constant(HALF)
    low, high = fma(constant(-2.0), d2, d4), fma(constant(-0.5), d2, d4)
    inner, outer = fma(minus_root, d1, half_root * d3), fma(minus_root, d3, half_root * d1)
    return fma(constant(-2.5), d2, d0 + d4), low + inner, low - inner, high - outer, high + outer, fma(constant(-2.5), d3, d1 + d5)


@njit(cache=True)
def rows_of_a(m0, m1, m2, m3, m4, m5):
    """A^T m for one column m."""
    p, q, r, s = m1 + m2, constant(HALF) * (m1 - m2), m3 + m4, constant(ROOT) * (m3 - m4)
    return m0 + p + r, q + s, fma(constant(0.5), p, constant(2.0) * r), fma(constant(0.5), q, fma(constant(2.0), s, m5))


@njit(cache=True)
def transform_tile(d, at, row, column, channels, v, iv, plane, temporary):
    """v[point, channels] = B^T d B of one tile.

    Args:
        at, row, column: pixel (i, j) of the tile begins at d[at + i * row + j * column].
        iv, plane: point k of v begins at v[iv + k * plane].
        temporary: 288 numbers.
    """
    for c in range(0, channels, 8):
        for j in range(IN):
            i = at + j * column + c
            b0, b1, b2, b3, b4, b5 = rows_of_b(load(d, i), load(d, i + row), load(d, i + 2 * row), load(d, i + 3 * row),
                                               load(d, i + 4 * row), load(d, i + 5 * row))
            t = 8 * j
            store(temporary, t, b0)
            store(temporary, t + 48, b1)
            store(temporary, t + 96, b2)
            store(temporary, t + 144, b3)
            store(temporary, t + 192, b4)
            store(temporary, t + 240, b5)
        for i in range(IN):
            t = 48 * i
            b0, b1, b2, b3, b4, b5 = rows_of_b(load(temporary, t), load(temporary, t + 8), load(temporary, t + 16),
                                               load(temporary, t + 24), load(temporary, t + 32), load(temporary, t + 40))
            to = iv + c + 6 * i * plane
            store(v, to, b0)
            store(v, to + plane, b1)
            store(v, to + 2 * plane, b2)
            store(v, to + 3 * plane, b3)
            store(v, to + 4 * plane, b4)
            store(v, to + 5 * plane, b5)


@njit(cache=True)
def transform(x, h, w, c, ph, pw, first, count, across, down, v, plane, patch, temporary):
    """v (36, tiles, C) = B^T d B of the tiles from ``first`` to ``first + count`` of a batch x (N, H, W, C); see ``transform_tile``.

    across, down: number of tiles in a row and a column of an image; patch: 36 C numbers, for tiles that reach over the border.
    """
    for t in range(count):
        tile = first + t
        n, rest = tile // (across * down), tile % (across * down)
        top, left = rest // across * OUT - ph, rest % across * OUT - pw
        if top >= 0 and left >= 0 and top + IN <= h and left + IN <= w:
            transform_tile(x, ((n * h + top) * w + left) * c, w * c, c, c, v, t * c, plane, temporary)
        else:
            zero = constant(0.0)
            for i in range(IN):
                for j in range(IN):
                    to = (i * IN + j) * c
                    if 0 <= top + i < h and 0 <= left + j < w:
                        at = ((n * h + top + i) * w + left + j) * c
                        for k in range(0, c, 8):
                            store(patch, to + k, load(x, at + k))
                    else:
                        for k in range(0, c, 8):
                            store(patch, to + k, zero)
            transform_tile(patch, 0, IN * c, c, c, v, t * c, plane, temporary)


@njit(cache=True)
def finish(m, plane, first, count, across, down, bias, activation, pool, ho, wo, o, y, temporary):
    """m (36, tiles, O) -> y (N, Ho, Wo, O) = activation(A^T m A + bias), or its 2 x 2 maxima if ``pool``."""
    for t in range(count):
        tile = first + t
        n, rest = tile // (across * down), tile % (across * down)
        top, left = rest // across * OUT, rest % across * OUT
        for c in range(0, o, 8):
            at = t * o + c
            for j in range(IN):
                i = at + j * plane
                a0, a1, a2, a3 = rows_of_a(load(m, i), load(m, i + 6 * plane), load(m, i + 12 * plane), load(m, i + 18 * plane),
                                           load(m, i + 24 * plane), load(m, i + 30 * plane))
                k = 8 * j
                store(temporary, k, a0)
                store(temporary, k + 48, a1)
                store(temporary, k + 96, a2)
                store(temporary, k + 144, a3)
            shift = load(bias, c)
            for i in range(OUT):
                k = 48 * i
                a0, a1, a2, a3 = rows_of_a(load(temporary, k), load(temporary, k + 8), load(temporary, k + 16), load(temporary, k + 24),
                                           load(temporary, k + 32), load(temporary, k + 40))
                store(temporary, k, a0 + shift)
                store(temporary, k + 8, a1 + shift)
                store(temporary, k + 16, a2 + shift)
                store(temporary, k + 24, a3 + shift)
            if pool:
                rows, columns = ho // 2, wo // 2
                for i in range(min(OUT // 2, rows - top // 2)):
                    for j in range(min(OUT // 2, columns - left // 2)):
                        k = 96 * i + 16 * j
                        most = maximum(maximum(load(temporary, k), load(temporary, k + 8)),
                                       maximum(load(temporary, k + 48), load(temporary, k + 56)))
                        store(y, ((n * rows + top // 2 + i) * columns + left // 2 + j) * o + c, activated(most, activation))
            else:
                for i in range(min(OUT, ho - top)):
                    for j in range(min(OUT, wo - left)):
                        store(y, ((n * ho + top + i) * wo + left + j) * o + c, activated(load(temporary, 48 * i + 8 * j), activation))


@njit(cache=True, parallel=True)
def convolve_apart(x, n, h, w, c, ph, pw, filters, bias, o, activation, pool, y, strip, scratch):
    """Each thread takes its part of the tiles from image to result, a strip at a time: for narrow layers, whose filters fit in the
    shared caches."""
    ho, wo = h + 2 * ph - 2, w + 2 * pw - 2
    across, down = (wo + OUT - 1) // OUT, (ho + OUT - 1) // OUT
    tiles = n * across * down
    workers = scratch.shape[0]
    v_plane, m_plane = strip * c + 16, strip * o + 16
    for worker in prange(workers):
        memory = scratch[worker]
        v, m = floats(memory), floats(memory[POINTS * v_plane:])
        patch = floats(memory[POINTS * (v_plane + m_plane):])
        temporary = floats(memory[POINTS * (v_plane + m_plane) + POINTS * c:])
        zeros = np.zeros(o, np.float32)
        end = tiles * (worker + 1) // workers
        for first in range(tiles * worker // workers, end, strip):
            count = min(strip, end - first)
            transform(floats(x), h, w, c, ph, pw, first, count, across, down, v, v_plane, patch, temporary)
            for point in range(POINTS):
                multiply(m, point * m_plane, o, v, point * v_plane, c, count, c, floats(filters), point * c * o, o,
                         floats(zeros), True, m, False, NONE)
            finish(m, m_plane, first, count, across, down, floats(bias), activation, pool, ho, wo, o, floats(y), temporary)


@njit(cache=True, parallel=True)
def convolve_together(x, n, h, w, c, ph, pw, filters, bias, o, activation, pool, y, strip, scratch):
    """All threads work on the same strip, each on its part of the points: for wide layers, whose filters are so read only once a strip."""
    ho, wo = h + 2 * ph - 2, w + 2 * pw - 2
    across, down = (wo + OUT - 1) // OUT, (ho + OUT - 1) // OUT
    tiles = n * across * down
    workers = scratch.shape[0]
    v_plane, m_plane = strip * c + 16, strip * o + 16
    memory = scratch.reshape(-1)
    zeros = np.zeros(o, np.float32)
    own = POINTS * (c + 8)
    for first in range(0, tiles, strip):
        count = min(strip, tiles - first)
        for worker in prange(workers):
            begin, end = count * worker // workers, count * (worker + 1) // workers
            mine = memory[POINTS * (v_plane + m_plane) + worker * own:]
            transform(floats(x), h, w, c, ph, pw, first + begin, end - begin, across, down, floats(memory[begin * c:]), v_plane,
                      floats(mine), floats(mine[POINTS * c:]))
        for point in prange(POINTS):
            multiply(floats(memory[POINTS * v_plane:]), point * m_plane, o, floats(memory), point * v_plane, c, count, c,
                     floats(filters), point * c * o, o, floats(zeros), True, floats(memory), False, NONE)
        for worker in prange(workers):
            begin, end = count * worker // workers, count * (worker + 1) // workers
            mine = memory[POINTS * (v_plane + m_plane) + worker * own:]
            finish(floats(memory[POINTS * v_plane + begin * o:]), m_plane, first + begin, end - begin, across, down, floats(bias),
                   activation, pool, ho, wo, o, floats(y), floats(mine))


def winograd_scratch(shape, outputs, padding, tiles, together):
    """Number of float32 numbers of scratch memory that ``winograd`` needs, for x of that shape (N, H, W, C) and that many outputs."""
    n, h, w, c = shape
    threads = workers()
    strip = POINTS * (tiles * (c + outputs) + 32)
    return threads * POINTS * (c + 8) + strip * (1 if together else threads) + threads


def winograd(x, filters, bias, y, padding, activation=None, pool=False, tiles=96, together=True, scratch=None):
    """A 3 x 3 convolution of stride 1.

    Args:
        x: (N, H, W, C), without padding.
        filters: from ``filters``.
        bias: (O,).
        y: (N, Ho, Wo, O), written; with ``pool`` the maximum of each 2 x 2 pixels: (N, Ho // 2, Wo // 2, O).
        padding: (vertical, horizontal), pixels of zeros around x.
        activation: None, "relu", "hardswish" or "hardsigmoid".
        pool: apply a 2 x 2 max pooling of stride 2.
        tiles: number in a strip.
        together: all threads work on the same strip, instead of each on its own.
        scratch: ``winograd_scratch`` float32 numbers.
    """
    n, h, w, c = x.shape
    threads = workers()
    strip = POINTS * (tiles * (c + y.shape[-1]) + 32)
    rest = POINTS * (c + 8)
    (convolve_together if together else convolve_apart)(
        x.reshape(-1), n, h, w, c, *padding, filters, bias, y.shape[-1], ACTIVATIONS[activation], pool, y.reshape(-1), tiles,
        scratch[:threads * (-(-strip // threads) + rest if together else strip + rest)].reshape(threads, -1))


def filters(weight):
    """Filters (O, C, 3, 3) in Winograd's form: for each of the 36 points the weights (C, O) of a matrix product, in panels."""
    points = transformed_filters(weight)
    return np.concatenate([pack(point) for point in points], out=empty(points.size))
