"""Borders, the largest of a window, the mean of a picture."""

import numpy as np

from minicnn.fast.arrays.elementwise import BLOCK, EACH
from minicnn.fast.arrays.threads import runs, share, worth


def pad(x, y, padding):
    """y = x in a border of zeros, with further channels of zeros if y has more.

    Args:
        x: (N, H, W, C) of any strides, such as a view of pictures (N, C, H, W).
        y: (N, H + 2 ph, W + 2 pw, C'), written.
        padding: (vertical, horizontal).
    """
    (ph, pw), (n, h, w, c) = padding, x.shape
    y[:, :ph] = y[:, ph + h:] = 0
    y[:, ph:ph + h, :pw] = y[:, ph:ph + h, pw + w:] = 0

    def work(_, strips):
        for image, rows in strips:
            source, out = x[image, rows], y[image, ph + rows.start:ph + rows.stop, pw:pw + w]
            for channel in range(c) if c < 8 else [slice(0, c)]:        # rows of a plane are longer than the channels of a pixel
                out[..., channel] = source[..., channel]
            out[..., c:] = 0

    share(work, [(image, rows) for image in range(n) for rows in runs(h, max(1, BLOCK // (w * c)))],
          worth(x.size, EACH))


def max_pool(x, y, kernel, stride, padding):
    """y = the largest number of each window, which ends at the picture's border.

    Args:
        x: (N, H, W, C).
        y: (N, Ho, Wo, C), written; with ``ceil_mode`` it is larger, and a last window hangs over the edge.
        kernel, stride, padding: pairs (vertical, horizontal), pixels.
    """
    (kh, kw), (sh, sw), (ph, pw), (n, h, w, c), (_, ho, wo, _) = kernel, stride, padding, x.shape, y.shape

    def work(_, strips):
        for image, rows in strips:
            y[image, rows] = -np.inf
            for i in range(kh):
                down, source_rows = inside(rows, i - ph, sh, h)
                for j in range(kw):
                    across, source_columns = inside(slice(0, wo), j - pw, sw, w)
                    out = y[image, down, across]
                    np.maximum(out, x[image, source_rows, source_columns], out=out)

    share(work, [(image, rows) for image in range(n) for rows in runs(ho, max(1, BLOCK // (wo * c)))],
          worth(y.size * kh * kw, EACH))


def inside(places, shift, stride, side):
    """Of an output's places those whose pixel place * stride + shift is in the picture, and these pixels, as slices."""
    first = max(places.start, -(shift // stride))                           # the first pixel not before 0
    past = min(places.stop, (side - 1 - shift) // stride + 1)
    past = max(first, past)
    start = first * stride + shift
    return slice(first, past), slice(start, start + (past - first - 1) * stride + 1 if past > first else start, stride)


def mean(x, y):
    """y (N, 1, 1, C) = the mean of the pixels of x (N, H, W, C); of each row first, so that float32 is precise enough."""
    np.mean(x.mean(axis=2), axis=1, out=y[:, 0, 0])
