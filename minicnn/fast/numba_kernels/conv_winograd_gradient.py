"""Winograd's F(4 x 4, 3 x 3) for training: transforming the filters at every step, and the weight gradient.

The forward pass is ``winograd``; so is the input gradient, a convolution of grad_y with the filters rotated by 180 degrees and O and C
exchanged. The weight gradient is the adjoint of the forward pass as a linear map of the filter: with
Y = A^T [(G g G^T) * (B^T d B)] A,

    grad_g = G^T [ sum over tiles of (B^T d B) * (A grad_Y A^T) ] G

where the sum over tiles is, for each of the 36 points, a product (O, tiles) @ (tiles, C).

Reference: Lavin, Gray, Fast algorithms for convolutional neural networks (2016), sections 3 and 4, equation 12 with the matrices of
F(4 x 4, 3 x 3); the adjoint is its derivative.
"""

import numpy as np
from numba import prange

from minicnn.fast.numba_kernels import matmul_gradient
from minicnn.fast.numba_kernels.conv_winograd import transform_tile
from minicnn.fast.numba_kernels.jit import njit
from minicnn.fast.numba_kernels.matmul_gradient import PANEL, ROWS
from minicnn.fast.numba_kernels.simd import constant, floats, fma, load, store
from minicnn.fast.numba_kernels.threads import workers
from minicnn.fast.winograd import A_T, IN, OUT, POINTS, G

TILES = 512             # that are transformed and summed at a time; each takes 36 (C + O) numbers
GROUP = 8               # panels of C that share the second-level cache
BATCH = 8               # filters of a panel that are transformed before they are written


NEAR, FAR = A_T[1, 1], A_T[1, 3]          # the points are 0, +-NEAR, +-FAR and infinity
(G0, _, _), (G10, G11, G12), (G20, G21, G22) = G[0], G[1], G[3]           # of 0, NEAR and FAR; for -NEAR and -FAR the middle is negative


@njit(cache=True)
def rows_of_g(g0, g1, g2):
    """G g for one column g of a filter."""
    near, near_odd = fma(g0, constant(G10), g2 * constant(G12)), g1 * constant(G11)
    far, far_odd = fma(g0, constant(G20), g2 * constant(G22)), g1 * constant(G21)
    return g0 * constant(G0), near + near_odd, near - near_odd, far + far_odd, far - far_odd, g2


@njit(cache=True)
def rows_of_g_transposed(d0, d1, d2, d3, d4, d5):
    """G^T d for one column d."""
    near, far = d1 + d2, d3 + d4
    return (fma(d0, constant(G0), fma(near, constant(G10), far * constant(G20))),
            fma(d1 - d2, constant(G11), (d3 - d4) * constant(G21)),
            fma(near, constant(G12), fma(far, constant(G22), d5)))


@njit(cache=True)
def rows_of_a_transposed(g0, g1, g2, g3):
    """A g for one column g of a tile of grad_y."""
    near, near_odd = fma(g2, constant(NEAR ** 2), g0), fma(g3, constant(NEAR ** 3), g1 * constant(NEAR))
    far, far_odd = fma(g2, constant(FAR ** 2), g0), fma(g3, constant(FAR ** 3), g1 * constant(FAR))
    return g0, near + near_odd, near - near_odd, far + far_odd, far - far_odd, g3


@njit(cache=True, parallel=True)
def transform_filters(weight, start, lane, common, tap, inputs, outputs, filters):
    """filters = G g G^T as ``winograd`` takes them: for each point the panels of a product (inputs, outputs); outputs: a multiple of 16.

    weight: one-dimensional; tap i of the filter for output k and input j is weight[start + k * lane + j * common + i * tap].
    """
    plane = inputs * outputs
    for panel in prange(outputs // PANEL):
        g, t = np.empty(9 * PANEL, np.float32), np.empty(18 * 8, np.float32)
        u = np.empty(POINTS * BATCH * PANEL, np.float32)
        for first in range(0, inputs, BATCH):
            count = min(BATCH, inputs - first)
            for j in range(count):
                for k in range(PANEL):
                    at = start + (panel * PANEL + k) * lane + (first + j) * common
                    for i in range(9):
                        g[i * PANEL + k] = weight[at + i * tap]
                for half in range(0, PANEL, 8):
                    transform_eight(floats(g), half, floats(t), floats(u), j * PANEL + half)
            for point in range(POINTS):
                to, at = point * plane + (panel * inputs + first) * PANEL, point * BATCH * PANEL
                for k in range(0, count * PANEL, 8):
                    store(floats(filters), to + k, load(floats(u), at + k))


@njit(cache=True)
def transform_eight(g, ig, t, u, iu):
    """u[point] = G g G^T of eight filters, from g (9, 16)."""
    for j in range(3):
        at, to = ig + j * PANEL, 8 * j
        g0, g1, g2, g3, g4, g5 = rows_of_g(load(g, at), load(g, at + 3 * PANEL), load(g, at + 6 * PANEL))
        store(t, to, g0)
        store(t, to + 24, g1)
        store(t, to + 48, g2)
        store(t, to + 72, g3)
        store(t, to + 96, g4)
        store(t, to + 120, g5)
    step = BATCH * PANEL
    for i in range(IN):
        g0, g1, g2, g3, g4, g5 = rows_of_g(load(t, 24 * i), load(t, 24 * i + 8), load(t, 24 * i + 16))
        to = iu + IN * i * step
        store(u, to, g0)
        store(u, to + step, g1)
        store(u, to + 2 * step, g2)
        store(u, to + 3 * step, g3)
        store(u, to + 4 * step, g4)
        store(u, to + 5 * step, g5)


def filters(weight):
    """Filters (O, C, 3, 3) for the forward pass."""
    o, c = weight.shape[:2]
    result = np.empty(POINTS * c * o, np.float32)
    transform_filters(weight.reshape(-1), 0, 9 * c, 9, 1, c, o, result)
    return result


def rotated_filters(weight):
    """Filters (O, C, 3, 3), rotated by 180 degrees, with O and C exchanged, for the input gradient."""
    o, c = weight.shape[:2]
    result = np.empty(POINTS * c * o, np.float32)
    transform_filters(weight.reshape(-1), 8, 9, 9 * c, -1, o, c, result)
    return result


@njit(cache=True)
def copy_patch(x, n, top, left, h, w, c, side, patch):
    """patch (side, side, C) = the pixels of image n of x (N, H, W, C) from (top, left) on, zeros outside of the image."""
    zero = constant(0.0)
    for i in range(side):
        for j in range(side):
            to = (i * side + j) * c
            at = ((n * h + top + i) * w + left + j) * c
            inside = 0 <= top + i < h and 0 <= left + j < w
            for k in range(0, c, 8):
                store(patch, to + k, load(x, at + k) if inside else zero)


@njit(cache=True)
def transform_gradient(g, at, row, column, channels, m, im, plane, t):
    """m[point, channels] = A g A^T of one tile of grad_y; its pixel (i, j) begins at g[at + i * row + j * column]."""
    for c in range(0, channels, 8):
        for j in range(OUT):
            i = at + j * column + c
            a0, a1, a2, a3, a4, a5 = rows_of_a_transposed(load(g, i), load(g, i + row), load(g, i + 2 * row), load(g, i + 3 * row))
            k = 8 * j
            store(t, k, a0)
            store(t, k + 32, a1)
            store(t, k + 64, a2)
            store(t, k + 96, a3)
            store(t, k + 128, a4)
            store(t, k + 160, a5)
        for i in range(IN):
            k = 32 * i
            a0, a1, a2, a3, a4, a5 = rows_of_a_transposed(load(t, k), load(t, k + 8), load(t, k + 16), load(t, k + 24))
            to = im + c + IN * i * plane
            store(m, to, a0)
            store(m, to + plane, a1)
            store(m, to + 2 * plane, a2)
            store(m, to + 3 * plane, a3)
            store(m, to + 4 * plane, a4)
            store(m, to + 5 * plane, a5)


@njit(cache=True)
def transform_panels(x, at, line, c, v, k, count, plane, t):
    """B^T d B of tile ``k`` of ``count``, all C channels, a panel at a time.

    x, at, line: where the tile begins, and the numbers from row to row; v, plane: where its 36 points go; t: scratch memory.
    """
    for panel in range(0, c, PANEL):
        transform_tile(x, at + panel, line, c, PANEL, v, panel * count + k * PANEL, plane, t)


@njit(cache=True, parallel=True)
def sum_over_tiles(x, g, n, h, w, c, ph, pw, o, strip, v, m, u, threads):  # noqa: C901  a compiled kernel
    """u (36, O, C) = sum over tiles of (A grad_Y A^T) (B^T d B); each of the 36 planes of u is 16 numbers longer.

    x: (N, H, W, C); g: (N, Ho, Wo, O); C and O are multiples of 16; v, m: scratch memory for ``strip`` tiles.
    """
    ho, wo = h + 2 * ph - 2, w + 2 * pw - 2
    across, down = (wo + OUT - 1) // OUT, (ho + OUT - 1) // OUT
    tiles = n * across * down
    v_plane, m_plane, u_plane = strip * c + 16, strip * (o + 16) + 16, o * c + 16
    for first in range(0, tiles, strip):
        count = min(strip, tiles - first)
        for thread in prange(threads):
            patch, t = np.empty(POINTS * max(c, o), np.float32), np.empty(36 * 8, np.float32)
            for k in range(count * thread // threads, count * (thread + 1) // threads):
                i, rest = (first + k) // (across * down), (first + k) % (across * down)
                top, left = rest // across * OUT, rest % across * OUT
                if top >= ph and left >= pw and top - ph + IN <= h and left - pw + IN <= w:
                    at = ((i * h + top - ph) * w + left - pw) * c
                    transform_panels(floats(x), at, w * c, c, floats(v), k, count, v_plane, floats(t))
                else:
                    copy_patch(floats(x), i, top - ph, left - pw, h, w, c, IN, floats(patch))
                    transform_panels(floats(patch), 0, IN * c, c, floats(v), k, count, v_plane, floats(t))
                if top + OUT <= ho and left + OUT <= wo:
                    transform_gradient(floats(g), ((i * ho + top) * wo + left) * o, wo * o, o, o, floats(m), k * (o + 16), m_plane,
                                       floats(t))
                else:
                    copy_patch(floats(g), i, top, left, ho, wo, o, OUT, floats(patch))
                    transform_gradient(floats(patch), 0, OUT * o, o, o, floats(m), k * (o + 16), m_plane, floats(t))
        for point in prange(POINTS):
            for group in range(0, c, GROUP * PANEL):
                for i in range(0, o, ROWS):
                    for j in range(group, min(c, group + GROUP * PANEL), PANEL):
                        matmul_gradient.tile(floats(u), point * u_plane + i * c + j, c, min(ROWS, o - i), floats(m),
                                              point * m_plane + i, o + 16, 0, floats(v), point * v_plane + j * count, PANEL, 0, 1, count,
                                              first == 0)


@njit(cache=True, parallel=True)
def transform_back(u, o, c, weight):
    """weight (O, C, 3, 3) = G^T u G, from u (36, O, C), each of whose planes is 16 numbers longer."""
    plane = o * c + 16
    for i in prange(o):
        t, g = np.empty(18 * 8, np.float32), np.empty(9 * 8, np.float32)
        for first in range(0, c, 8):
            at = i * c + first
            for j in range(IN):
                k = at + j * plane
                g0, g1, g2 = rows_of_g_transposed(
                    load(floats(u), k), load(floats(u), k + 6 * plane), load(floats(u), k + 12 * plane),
                    load(floats(u), k + 18 * plane), load(floats(u), k + 24 * plane), load(floats(u), k + 30 * plane))
                store(floats(t), 8 * j, g0)
                store(floats(t), 8 * j + 48, g1)
                store(floats(t), 8 * j + 96, g2)
            for j in range(3):
                k = 48 * j
                g0, g1, g2 = rows_of_g_transposed(load(floats(t), k), load(floats(t), k + 8), load(floats(t), k + 16),
                                                  load(floats(t), k + 24), load(floats(t), k + 32), load(floats(t), k + 40))
                store(floats(g), 24 * j, g0)
                store(floats(g), 24 * j + 8, g1)
                store(floats(g), 24 * j + 16, g2)
            for k in range(8):
                for tap in range(9):
                    weight[(at + k) * 9 + tap] = g[tap * 8 + k]


def weight_gradient(grad_y, x, padding):
    """grad_weight (O, C, 3, 3) from grad_y (N, Ho, Wo, O) and x (N, H, W, C), contiguous; O and C are multiples of 16."""
    (n, h, w, c), (_, ho, wo, o) = x.shape, grad_y.shape
    strip = min(TILES, n * -(-ho // OUT) * -(-wo // OUT))
    v, m = np.empty(POINTS * (strip * c + 16), np.float32), np.empty(POINTS * (strip * (o + 16) + 16), np.float32)
    u = np.empty(POINTS * (o * c + 16), np.float32)
    sum_over_tiles(x.reshape(-1), grad_y.reshape(-1), n, h, w, c, *padding, o, strip, v, m, u, workers())
    weight = np.empty((o, c, 3, 3), np.float32)
    transform_back(u, o, c, weight.reshape(-1))
    return weight
