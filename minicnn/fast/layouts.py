"""The two memory layouts in which the engine's kernels take arrays (N, C, H, W): channels last, and the batch innermost.

An array that already lies so is used without a copy; any other is copied once. Results are returned as views (N, C, H, W).
New arrays begin on a cache line: a vector that lies across two lines is read at half the speed.
"""

import math

import numpy as np

LINE = 64               # bytes of a cache line
VECTOR = 8              # float32 numbers


def empty(*shape):
    """An uninitialised float32 array whose memory begins on a cache line."""
    size = math.prod(shape)
    memory = np.empty(size + LINE // 4, np.float32)
    first = -memory.__array_interface__["data"][0] % LINE // 4
    return memory[first:first + size].reshape(shape)


def round_up(number, multiple):
    """The smallest multiple of ``multiple`` that is not less than ``number``.

    >>> round_up(13, 8), round_up(16, 8)
    (16, 16)
    """
    return -(-number // multiple) * multiple


def padded_channels(channels):
    """Channels of a plan's buffer: the next multiple of a vector's eight numbers."""
    return round_up(channels, VECTOR)


def is_channels_last(x):
    """Whether x (N, C, H, W) is contiguous as (N, H, W, C)."""
    return x.transpose(0, 2, 3, 1).flags.c_contiguous


def channels_last(x, pad, multiple=1, padding=(0, 0)):
    """x (N, C, H, W), float32 of any strides, as contiguous (N, H + 2 ph, W + 2 pw, C').

    Args:
        pad: the backend's kernel of that name.
        multiple: C' is the next multiple of it; channels beyond C are zeros.
        padding: (ph, pw), pixels of zeros around the image.
    """
    last, (ph, pw) = x.transpose(0, 2, 3, 1), padding
    n, h, w, c = last.shape
    if last.flags.c_contiguous and (ph, pw) == (0, 0) and c % multiple == 0:
        return last
    y = empty(n, h + 2 * ph, w + 2 * pw, round_up(c, multiple))
    pad(last, y, padding)
    return y


def channels_first(y, channels):
    """The first channels of y (N, H, W, C') as a view (N, C, H, W)."""
    return y[..., :channels].transpose(0, 3, 1, 2)


def is_batch_innermost(x):
    """Whether x (N, C, H, W) is contiguous as (C, H, W, N)."""
    return x.transpose(1, 2, 3, 0).flags.c_contiguous


def batch_innermost(x, multiple, padding=(0, 0)):
    """x (N, C, H, W), float32 of any strides, as contiguous (C, H + 2 ph, W + 2 pw, N').

    Args:
        multiple: N' is the next multiple of it; images beyond N are zeros.
        padding: (ph, pw), pixels of zeros around the images.
    """
    last, (ph, pw) = x.transpose(1, 2, 3, 0), padding
    c, h, w, n = last.shape
    if (ph, pw) == (0, 0) and n % multiple == 0 and last.flags.c_contiguous:
        return last
    y = empty(c, h + 2 * ph, w + 2 * pw, round_up(n, multiple))
    if y.shape != last.shape:
        y[...] = 0
    y[:, ph:ph + h, pw:pw + w, :n] = last
    return y


def batch_first(y, n):
    """The first n images of y (C, H, W, N') as a view (N, C, H, W)."""
    return y[..., :n].transpose(3, 0, 1, 2)
