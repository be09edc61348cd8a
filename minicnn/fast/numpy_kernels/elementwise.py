"""Steps that treat each number, or each channel, by itself.

An activation is several passes over the numbers. They are taken in blocks that stay in the processor's cache from pass to pass.
"""

import numpy as np

from minicnn.fast.numpy_kernels.threads import runs, share, worth
from minicnn.functional.resize import nearest_index

BLOCK = 2**17           # numbers at a time: 512 KiB of each array; threads get in each other's way between shorter passes
EACH = 2**17            # numbers that keep a thread busy for 0.1 ms


def activate(x, y, activation):
    """y = activation(x).

    Args:
        x, y: of the same shape; y may be x.
        activation: None, "relu", "hardswish" or "hardsigmoid".

    Reference: ``minicnn.functional.activation``.
    """
    by_blocks(lambda x, y: activate_block(x, y, activation), 1, x, y)


def activate_block(x, y, activation):
    """``activate`` in one go, for a few numbers of any strides."""
    if activation is None:
        if y is not x:
            np.copyto(y, x)
    elif activation == "relu":
        np.clip(x, 0, np.inf, out=y)                    # np.maximum(x, 0) takes twice as long
    else:
        gate = x + np.float32(3)
        np.clip(gate, 0, 6, out=gate)
        if activation == "hardswish":
            np.multiply(gate, x, out=gate)
        np.multiply(gate, np.float32(1 / 6), out=y)


def finish(y, bias, extra, activation):
    """y = activation(y + bias + extra), in place, for a few rows y (rows, O)."""
    np.add(y, bias, out=y)
    if extra is not None:
        np.add(y, extra, out=y)
    activate_block(y, y, activation)


def add(x, z, y, activation=None):
    """y = activation(x + z), all of one shape; y may be either."""
    def step(x, z, y):
        np.add(x, z, out=y)
        activate_block(y, y, activation)

    by_blocks(step, 1, x, z, y)


def affine(x, scale, shift, y, activation=None):
    """y = activation(x * scale + shift), with one scale and shift (C,) for each channel of x, y (N, H, W, C)."""
    def step(x, y):
        np.multiply(x, scale, out=y)
        np.add(y, shift, out=y)
        activate_block(y, y, activation)

    by_blocks(step, len(scale), x, y)


def scale(x, gate, y):
    """y = x * gate: x, y (N, H, W, C), gate (N, 1, 1, C)."""
    for image, factor, out in zip(x, gate, y):
        by_blocks(lambda x, y: np.multiply(x, factor[0], out=y), x.shape[-1], image, out)


def add_nearest(x, z, y):
    """y = x + z, z (N, H', W', C) resized to the size of x, y (N, H, W, C): nearest pixels, as ``minicnn.functional.interpolate`` does."""
    n, h, w, c = x.shape
    rows, columns = nearest_index(z.shape[1], h)[:, None], nearest_index(z.shape[2], w)

    def work(_, strips):
        for image, strip in strips:
            np.add(x[image, strip], z[image, rows[strip], columns], out=y[image, strip])

    share(work, [(image, strip) for image in range(n) for strip in runs(h, max(1, BLOCK // (w * c)))], worth(x.size, EACH))


def by_blocks(step, channels, *arrays):
    """Call ``step`` on corresponding blocks (rows, channels) of the arrays, on several threads."""
    arrays = [array.reshape(-1, channels) if channels > 1 else array.reshape(-1) for array in arrays]

    def work(_, strips):
        for strip in strips:
            step(*(array[strip] for array in arrays))

    share(work, runs(len(arrays[0]), max(1, BLOCK // channels)), worth(arrays[0].size, EACH))
