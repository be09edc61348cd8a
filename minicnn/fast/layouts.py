"""The two memory orders in which the engine's kernels take arrays (N, C, H, W): channels last, and the batch innermost.

An array that already lies so is taken as it is, without a copy; any other is copied once. Results are handed out as views (N, C, H, W).
New arrays begin on a cache line: a vector that lies across two is read at half the speed.
"""

import math

import numpy as np

LINE = 64               # bytes of a cache line


def empty(*shape):
    """An array of float32 whose memory begins on a cache line."""
    size = math.prod(shape)
    memory = np.empty(size + LINE // 4, np.float32)
    first = -memory.__array_interface__["data"][0] % LINE // 4
    return memory[first:first + size].reshape(shape)


def up(number, multiple):
    """The next multiple."""
    return -(-number // multiple) * multiple


def is_channels_last(x):
    """Whether the numbers of each pixel of x (N, C, H, W) lie side by side, pixel after pixel."""
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


def channels_last(x, pad, multiple=1, padding=(0, 0)):
    """x (N, C, H, W), float32 of any strides, as contiguous (N, H + 2 ph, W + 2 pw, C').

    Args:
        pad: the backend's function of that name.
        multiple: C' is the next multiple of it; channels beyond C are zeros.
        padding: (vertical, horizontal) pixels of zeros round the image.
    """
    last, (ph, pw) = x.transpose(0, 2, 3, 1), padding
    n, h, w, c = last.shape
    if last.flags.c_contiguous and (ph, pw) == (0, 0) and c % multiple == 0:
        return last
    y = empty(n, h + 2 * ph, w + 2 * pw, up(c, multiple))
    pad(last, y, padding)
    return y


def channels_first(y, channels):
    """y (N, H, W, C') as (N, C, H, W): a view of its first channels."""
    return y[..., :channels].transpose(0, 3, 1, 2)


def is_batch_innermost(x):
    """Whether the same number of all images of x (N, C, H, W) lies side by side."""
    return x.transpose(1, 2, 3, 0).flags.c_contiguous


def batch_innermost(x, multiple, padding=(0, 0)):
    """x (N, C, H, W), float32 of any strides, as contiguous (C, H + 2 ph, W + 2 pw, N'), zeros round it; N' is the next multiple."""
    last, (ph, pw) = x.transpose(1, 2, 3, 0), padding
    c, h, w, n = last.shape
    if (ph, pw) == (0, 0) and n % multiple == 0 and last.flags.c_contiguous:
        return last
    y = empty(c, h + 2 * ph, w + 2 * pw, up(n, multiple))
    if y.shape != last.shape:
        y[...] = 0
    y[:, ph:ph + h, pw:pw + w, :n] = last
    return y


def batch_first(y, n):
    """y (C, H, W, N') as (N, C, H, W): a view of its first images."""
    return y[..., :n].transpose(3, 0, 1, 2)
