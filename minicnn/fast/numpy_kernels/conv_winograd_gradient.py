"""Winograd's F(4 x 4, 3 x 3) for training: transforming the filters at every step, and the weight gradient.

The matrices are in ``minicnn.fast.winograd``. The forward pass is ``winograd``; so is the input gradient, a convolution of grad_y with
the filters rotated by 180 degrees and O and C exchanged. The weight gradient is the adjoint of the forward pass as a linear map of the
filter: with Y = A^T [(G g G^T) * (B^T d B)] A,

    grad_g = G^T [ sum over tiles of (B^T d B) * (A grad_Y A^T) ] G

where the sum over tiles is, for each of the 36 points, a product (O, tiles) @ (tiles, C).

Reference: Lavin, Gray, Fast algorithms for convolutional neural networks (2016), sections 3 and 4; the adjoint is its derivative.
"""

import functools

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minicnn.fast.numpy_kernels.conv_winograd import A_T, B_T, Tiling
from minicnn.fast.numpy_kernels.threads import run_strips, strips_of
from minicnn.fast.winograd import IN, OUT, POINTS, G

TILES = 512             # that are transformed and summed at a time; each takes 36 (C + O) numbers
BOTH = np.kron(G, G).astype(np.float32)         # (36, 9): maps a flattened filter g to the flattened G g G^T


def filters(weight):
    """Filters (O, C, 3, 3) as ``winograd`` takes them, (36, C, O); in float32, since they are transformed at every step."""
    o, c = weight.shape[:2]
    return (BOTH @ weight.reshape(o * c, 9).T).reshape(POINTS, o, c).transpose(0, 2, 1)


def rotated_filters(weight):
    """Filters (O, C, 3, 3), rotated by 180 degrees, with O and C exchanged, as ``winograd`` takes them: (36, O, C)."""
    o, c = weight.shape[:2]
    return (BOTH[:, ::-1] @ weight.reshape(o * c, 9).T).reshape(POINTS, o, c)


def weight_gradient(grad_y, x, padding):
    """grad_weight (O, C, 3, 3) from grad_y (N, Ho, Wo, O) and x (N, H, W, C), contiguous."""
    o, c = grad_y.shape[3], x.shape[3]
    tiling = Tiling(x.shape, o, padding, TILES)
    t = tiling.step * tiling.across
    v, m, sums = np.empty(POINTS * t * c, np.float32), np.empty(POINTS * t * o, np.float32), np.zeros((POINTS, o, c), np.float32)
    for strip in strips_of(tiling.rows, tiling.step):
        count = strip.stop - strip.start
        vs = v[:POINTS * count * tiling.across * c].reshape(IN, IN, count, tiling.across, c)
        ms = m[:POINTS * count * tiling.across * o].reshape(IN, IN, count, tiling.across, o)
        run_strips(functools.partial(transform, grad_y, x, tiling, strip.start, vs, ms), range(strip.start, strip.stop))
        run_strips(functools.partial(add_products, vs.reshape(POINTS, -1, c), ms.reshape(POINTS, -1, o), sums), range(POINTS))
    return (sums.reshape(POINTS, o * c).T @ BOTH).reshape(o, c, 3, 3)


def transform(grad_y, x, tiling, start, v, m, _, rows):
    """v = B^T d B of x, m = A grad_Y A^T, for some rows of tiles, of which number ``start`` is the first in v and m."""
    lines = np.zeros((1, IN, tiling.wide, x.shape[3]), np.float32)
    for row in rows:
        k = row - start
        tiling.transform_rows(x, slice(row, row + 1), lines)
        line, pixel, number = lines.strides[1:]
        tiles = as_strided(lines, (IN, tiling.across, IN, x.shape[3]), (line, OUT * pixel, pixel, number), writeable=False)
        np.matmul(B_T, tiles, out=v[:, :, k].transpose(0, 2, 1, 3))
        np.matmul(A_T.T, gradient_tiles(grad_y, row, tiling), out=m[:, :, k].transpose(0, 2, 1, 3))


def add_products(v, m, sums, _, points):
    """sums[point] += m[point]^T v[point], for some points."""
    product = np.empty(sums.shape[1:], np.float32)
    for point in points:
        np.matmul(m[point].T, v[point], out=product)
        sums[point] += product


def gradient_tiles(grad_y, row, tiling):
    """A times the rows of grad_y in a row of tiles: (6, tiles, 4, O), zeros outside the image."""
    _, ho, wo, o = grad_y.shape
    n, top = row // tiling.down, row % tiling.down * OUT
    have = min(OUT, ho - top)
    lines = np.zeros((IN, OUT * tiling.across, o), np.float32)
    np.matmul(A_T.T[:, :have], grad_y[n, top:top + have].reshape(have, wo * o), out=lines[:, :wo].reshape(IN, wo * o))
    return lines.reshape(IN, tiling.across, OUT, o)
