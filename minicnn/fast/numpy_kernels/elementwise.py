"""Steps that compute each number, or each channel, by itself: padding, means, sums, norms, activations.

An activation takes several passes over the numbers. They are processed in blocks that stay in the processor's cache from pass to pass.
"""

import functools

import numpy as np

from minicnn.fast.numpy_kernels.threads import run_strips, strips_of, useful_threads
from minicnn.functional.resize import nearest_index

BLOCK = 2**17           # numbers at a time: 512 KiB of each array; with shorter passes, threads obstruct each other between them
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
    """``activate`` in one block, for few numbers of any strides."""
    if activation is None:
        if y is not x:
            np.copyto(y, x)
    elif activation == "relu":
        np.clip(x, 0, np.inf, out=y)                    # faster than np.maximum(x, 0), which takes twice as long
    else:
        gate = x + np.float32(3)
        np.clip(gate, 0, 6, out=gate)
        if activation == "hardswish":
            np.multiply(gate, x, out=gate)
        np.multiply(gate, np.float32(1 / 6), out=y)


def finish(y, bias, extra, activation):
    """y = activation(y + bias + extra), in place, for few rows y (rows, O)."""
    np.add(y, bias, out=y)
    if extra is not None:
        np.add(y, extra, out=y)
    activate_block(y, y, activation)


def add(x, z, y, activation=None):
    """y = activation(x + z), all of one shape; y may be x or z."""
    def step(x, z, y):
        np.add(x, z, out=y)
        activate_block(y, y, activation)

    by_blocks(step, 1, x, z, y)


def affine(x, scale, shift, y, activation=None):
    """y = activation(x * scale (C,) + shift (C,)), x and y (N, H, W, C): a norm that is not fused into a convolution."""
    def step(x, y):
        np.multiply(x, scale, out=y)
        np.add(y, shift, out=y)
        activate_block(y, y, activation)

    by_blocks(step, len(scale), x, y)


def scale(x, gate, y):
    """y = x (N, H, W, C) * gate (N, 1, 1, C)."""
    def step(factor, x, y):
        np.multiply(x, factor, out=y)

    for image, factor, out in zip(x, gate, y):
        by_blocks(functools.partial(step, factor[0]), x.shape[-1], image, out)


def add_nearest(x, z, y):
    """y = x (N, H, W, C) + z (N, H', W', C) resized to H x W by nearest neighbour, as ``minicnn.functional.interpolate`` does."""
    n, h, w, c = x.shape
    rows, columns = nearest_index(z.shape[1], h)[:, None], nearest_index(z.shape[2], w)

    def work(_, strips):
        for image, strip in strips:
            np.add(x[image, strip], z[image, rows[strip], columns], out=y[image, strip])

    strips = [(image, strip) for image in range(n) for strip in strips_of(h, max(1, BLOCK // (w * c)))]
    run_strips(work, strips, useful_threads(x.size, EACH))


def mean(x, y):
    """y (N, 1, 1, C) = the mean over the pixels of each channel of x (N, H, W, C): row by row, so that float32 is precise enough."""
    np.mean(x.mean(axis=2), axis=1, out=y[:, 0, 0])


def pad(x, y, padding):
    """y = x padded with zeros; if y has more channels, the others are zeros too.

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
            for channel in range(c) if c < 8 else [slice(0, c)]:        # a row of one channel is longer than a pixel
                out[..., channel] = source[..., channel]
            out[..., c:] = 0

    strips = [(image, rows) for image in range(n) for rows in strips_of(h, max(1, BLOCK // (w * c)))]
    run_strips(work, strips, useful_threads(x.size, EACH))


def by_blocks(step, channels, *arrays):
    """Call ``step`` on corresponding blocks (rows, channels) of the arrays, on several threads."""
    arrays = [array.reshape(-1, channels) if channels > 1 else array.reshape(-1) for array in arrays]

    def work(_, strips):
        for strip in strips:
            step(*(array[strip] for array in arrays))

    run_strips(work, strips_of(len(arrays[0]), max(1, BLOCK // channels)), useful_threads(arrays[0].size, EACH))
