"""Max pooling in plans."""

import numpy as np

from minicnn.fast.numpy_kernels.elementwise import BLOCK, EACH
from minicnn.fast.numpy_kernels.threads import run_strips, strips_of, useful_threads


def max_pool(x, y, kernel, stride, padding):
    """y = the maximum of each window; windows are clipped at the image's border.

    Args:
        x: (N, H, W, C).
        y: (N, Ho, Wo, C), written; with ``ceil_mode``, the last windows reach over the edge.
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
            for i in range(kh):                                     # vertically first: whole rows are compared
                windows, pixels = inside(range(rows.start, rows.stop), i - ph, sh, h)
                np.maximum(lines[windows], x[image, pixels], out=lines[windows])
            for windows, pixels in across:
                np.maximum(out[:, windows], lines[:, pixels], out=out[:, windows])

    run_strips(work, [(image, rows) for image in range(n) for rows in strips_of(ho, step)], useful_threads(x.size * kh, EACH))


def inside(windows, shift, stride, side):
    """Slices: which of a range of windows have their pixel, window * stride + shift, inside the image; and these pixels."""
    first, past = max(windows.start, -(shift // stride)), min(windows.stop, (side - 1 - shift) // stride + 1)
    if past <= first:
        return slice(0), slice(0)
    return slice(first - windows.start, past - windows.start), slice(first * stride + shift, (past - 1) * stride + shift + 1, stride)
