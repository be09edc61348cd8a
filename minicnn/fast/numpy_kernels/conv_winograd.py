"""3 x 3 convolution of stride 1 by Winograd's F(4 x 4, 3 x 3), as matrix products; ``minicnn.fast.winograd`` has the algorithm.

The two transforms are matrix products too, of the small matrices B^T and A^T with all numbers that are adjacent in memory: whole rows of
the image for the rows of a tile, the channels for its columns. Some rows of tiles, a strip, are taken from image to result at a time, so
that the intermediate numbers stay in the processor's cache.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minicnn.fast.numpy_kernels.elementwise import activate_block
from minicnn.fast.numpy_kernels.threads import run_strips, strips_of
from minicnn.fast.threads import numpy_threads
from minicnn.fast.winograd import A_T, B_T, IN, OUT, POINTS, transformed_filters

A_T, B_T = A_T.astype(np.float32), B_T.astype(np.float32)


def filters(weight):
    """Filters (O, C, 3, 3) in Winograd's form (36, C, O), a matrix for each point."""
    return transformed_filters(weight)


def winograd(x, filters, bias, y, padding, activation=None, pool=False, tiles=200, together=False, scratch=None):
    """A 3 x 3 convolution of stride 1.

    Args:
        x: (N, H, W, C), without padding.
        filters: from ``filters``.
        bias: (O,).
        y: (N, Ho, Wo, O), written; with ``pool`` the maximum of each 2 x 2 pixels: (N, Ho // 2, Wo // 2, O).
        padding: (vertical, horizontal), pixels of zeros around x.
        activation: as in ``activate``.
        pool: apply a 2 x 2 max pooling of stride 2.
        tiles: largest number in a strip, which has at least one row of tiles.
        together: run one strip at a time, whose products BLAS computes on all threads, instead of one strip on each thread. Only the
            products are parallel then, but the filters are read once, and strips can be larger.
        scratch: ``winograd_scratch`` float32 numbers; None: allocated here.
    """
    tiling = Tiling(x.shape, filters.shape[2], padding, tiles)
    if scratch is None:
        scratch = np.empty(winograd_scratch(x.shape, filters.shape[2], padding, tiles, together), np.float32)
    workers = 1 if together else min(numpy_threads(), len(scratch) // tiling.size)

    def work(worker, strips):
        lines, v, m, s = tiling.cut(scratch[worker * tiling.size:])
        lines[:, :, :padding[1]] = 0
        lines[:, :, padding[1] + x.shape[2]:] = 0
        for rows in strips:
            count = rows.stop - rows.start
            tiling.transform_rows(x, rows, lines[:count])
            p = convolve_strip(lines[:count], filters, v, m, s)
            tiling.write(p.reshape(OUT, OUT, count, tiling.across, -1), rows, bias, y, activation, pool)

    strips = strips_of(tiling.rows, tiling.step, workers)
    if together:
        work(0, strips)
    else:
        run_strips(work, strips, workers)


def winograd_scratch(shape, outputs, padding, tiles, together):
    """Number of float32 numbers of scratch memory that ``winograd`` needs, for x of that shape (N, H, W, C) and that many outputs."""
    return Tiling(shape, outputs, padding, tiles).size * (1 if together else numpy_threads())


def convolve_strip(lines, filters, v, m, s):
    """A strip's tiles B^T d B, their products m with the filters, and A^T m A.

    Args:
        lines: (rows of tiles, 6, width, C): B^T times the rows of each tile; the tiles of a row still overlap in memory.
        filters: (36, C, O).
        v, m, s: memory for 36 T C, 36 T O and 24 T O numbers; the result lies in m.

    Returns:
        p: (4, 4, T O): each of the 16 pixels of all tiles.
    """
    (count, _, wide, c), o = lines.shape, filters.shape[2]
    across = (wide - (IN - OUT)) // OUT
    t = count * across
    v, m, s, p = v[:POINTS * t * c], m[:POINTS * t * o], s[:OUT * IN * t * o], m[:OUT * OUT * t * o]
    row, line, pixel, number = lines.strides
    columns = as_strided(lines, (count, IN, across, IN, c), (row, line, OUT * pixel, pixel, number), writeable=False)
    np.matmul(B_T, columns, out=v.reshape(IN, IN, count, across, c).transpose(2, 0, 3, 1, 4))
    m = m.reshape(POINTS, t, o)
    np.matmul(v.reshape(POINTS, t, c), filters, out=m)
    np.matmul(A_T, m.reshape(IN, IN * t * o), out=s.reshape(OUT, IN * t * o))
    return np.matmul(A_T, s.reshape(OUT, IN, t * o), out=p.reshape(OUT, OUT, t * o))


class Tiling:
    """How a batch is cut into tiles of 4 x 4 output pixels, and the rows of tiles of all images into strips.

    Args:
        shape: of x, (N, H, W, C).
        outputs: channels of the result.
        padding: (vertical, horizontal), pixels.
        tiles: largest number in a strip.
    """

    def __init__(self, shape, outputs, padding, tiles):
        (n, h, w, self.c), self.o, self.padding = shape, outputs, padding
        ho, wo = h + 2 * padding[0] - 2, w + 2 * padding[1] - 2
        self.down, self.across = -(-ho // OUT), -(-wo // OUT)
        self.rows = n * self.down
        self.step = min(self.rows, max(1, tiles // self.across))
        self.wide = OUT * self.across + IN - OUT                        # pixels under the tiles of a row
        t = self.step * self.across
        self.sizes = [self.step * IN * self.wide * self.c, POINTS * t * self.c, POINTS * t * self.o, OUT * IN * t * self.o]
        self.size = sum(self.sizes)

    def cut(self, memory):
        """Cut scratch memory into lines, v, m, s."""
        lines, *rest = np.split(memory[:self.size], np.cumsum(self.sizes)[:-1])
        return lines.reshape(self.step, IN, self.wide, self.c), *rest

    def transform_rows(self, x, rows, lines):
        """lines[row] = B^T times the image's rows of each row of tiles; rows outside of the image are zeros and are left out."""
        h, w, c = x.shape[1:]
        for line, row in zip(lines, range(rows.start, rows.stop)):
            n, top = row // self.down, row % self.down * OUT - self.padding[0]
            first, past = min(max(0, top), h), max(0, min(h, top + IN))
            inside = line[:, self.padding[1]:self.padding[1] + w].reshape(IN, w * c)
            np.matmul(B_T[:, first - top:past - top], x[n, first:past].reshape(-1, w * c), out=inside)

    def write(self, p, rows, bias, y, activation, pool):
        """y = activation(p + bias), p (4, 4, rows of tiles, tiles, O); or the 2 x 2 maxima of that."""
        side = OUT
        if pool:
            for a in (0, 2):
                for b in range(OUT):
                    np.maximum(p[a, b], p[a + 1, b], out=p[a, b])
                for b in (0, 2):
                    np.maximum(p[a, b], p[a, b + 1], out=p[a, b])
            p, side = p[::2, ::2], OUT // 2
        for k, row in enumerate(range(rows.start, rows.stop)):
            n, top = row // self.down, row % self.down * side
            out = y[n, top:top + side]
            for b in range(side):
                column = out[:, b::side]
                np.add(p[:len(out), b, k, :column.shape[1]], bias, out=column)
            activate_block(out, out, activation)
