"""Borders, the largest of a window, the mean of an image."""

import numpy as np

from minicnn.fast.numpy_kernels.elementwise import BLOCK, EACH
from minicnn.fast.numpy_kernels.threads import runs, share, worth


def pad(x, y, padding):
    """y = x in a border of zeros, with further channels of zeros if y has more.

    Args:
        x: (N, H, W, C) of any strides, such as a view of images (N, C, H, W).
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
    """y = the largest number of each window, which ends at the image's border.

    Args:
        x: (N, H, W, C).
        y: (N, Ho, Wo, C), written; with ``ceil_mode`` it is larger, and a last window hangs over the edge.
        kernel, stride, padding: pairs (vertical, horizontal), pixels.
    """
    (kh, kw), (sh, sw), (ph, pw), (n, h, w, c), (_, ho, wo, _) = kernel, stride, padding, x.shape, y.shape
    step = min(ho, max(1, BLOCK // (w * c)))
    across = [inside(range(wo), j - pw, sw, w) for j in range(kw)]

    def work(_, strips):
        memory = np.empty((step, w, c), np.float32)
        for image, rows in strips:
            lines, out = memory[:rows.stop - rows.start], y[image, rows]
            lines[...] = out[...] = -np.inf
            for i in range(kh):                                     # down the windows first, where whole rows are compared
                windows, pixels = inside(range(rows.start, rows.stop), i - ph, sh, h)
                np.maximum(lines[windows], x[image, pixels], out=lines[windows])
            for windows, pixels in across:
                np.maximum(out[:, windows], lines[:, pixels], out=out[:, windows])

    share(work, [(image, rows) for image in range(n) for rows in runs(ho, step)], worth(x.size * kh, EACH))


def inside(windows, shift, stride, side):
    """Which of a range of windows have their pixel, window * stride + shift, in the image, and which pixels these are; slices."""
    first, past = max(windows.start, -(shift // stride)), min(windows.stop, (side - 1 - shift) // stride + 1)
    if past <= first:
        return slice(0), slice(0)
    return slice(first - windows.start, past - windows.start), slice(first * stride + shift, (past - 1) * stride + shift + 1, stride)


def mean(x, y):
    """y (N, 1, 1, C) = the mean of the pixels of x (N, H, W, C); of each row first, so that float32 is precise enough."""
    np.mean(x.mean(axis=2), axis=1, out=y[:, 0, 0])
