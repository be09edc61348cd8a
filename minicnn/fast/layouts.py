"""The two memory orders in which the engine's kernels take arrays (N, C, H, W): channels last, and the batch innermost.

An array that already lies so is taken as it is, without a copy; any other is copied once. Results are handed out as views (N, C, H, W).
"""

import numpy as np


def up(number, multiple):
    """The next multiple."""
    return -(-number // multiple) * multiple


def is_channels_last(x):
    """Whether the numbers of each pixel of x (N, C, H, W) lie side by side, pixel after pixel."""
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


def channels_last(x, pad, multiple=1, padding=(0, 0)):
    """x (N, C, H, W) of any strides as contiguous (N, H + 2 ph, W + 2 pw, C').

    Args:
        pad: the backend's function of that name.
        multiple: C' is the next multiple of it; channels beyond C are zeros.
        padding: (vertical, horizontal) pixels of zeros round the picture.
    """
    last, (ph, pw) = x.transpose(0, 2, 3, 1), padding
    n, h, w, c = last.shape
    if last.flags.c_contiguous and (ph, pw) == (0, 0) and c % multiple == 0:
        return last
    y = np.empty((n, h + 2 * ph, w + 2 * pw, up(c, multiple)), x.dtype)
    pad(last, y, padding)
    return y


def channels_first(y, channels):
    """y (N, H, W, C') as (N, C, H, W): a view of its first channels."""
    return y[..., :channels].transpose(0, 3, 1, 2)


def is_batch_innermost(x):
    """Whether the same number of all pictures of x (N, ...) lies side by side."""
    return np.moveaxis(x, 0, -1).flags.c_contiguous


def batch_innermost(x, multiple, padding=(0, 0)):
    """x (N, C, H, W) of any strides as contiguous (C, H + 2 ph, W + 2 pw, N'), zeros round it; N' is the next multiple."""
    last, (ph, pw) = x.transpose(1, 2, 3, 0), padding
    c, h, w, n = last.shape
    if (ph, pw) == (0, 0) and n % multiple == 0:
        return np.ascontiguousarray(last)
    y = np.zeros((c, h + 2 * ph, w + 2 * pw, up(n, multiple)), x.dtype)
    y[:, ph:ph + h, pw:pw + w, :n] = last
    return y


def batch_first(y, n):
    """y (..., N') as (N, ...): a view of its first pictures."""
    return np.moveaxis(y[..., :n], -1, 0)
