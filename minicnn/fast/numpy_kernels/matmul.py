"""Matrix products: linear layers and 1 x 1 convolutions.

The work is cut into strips of rows that are small enough to stay in the processor's cache from the product to what follows it (bias,
addition, activation).
"""

import numpy as np

from minicnn.fast.numpy_kernels.elementwise import finish
from minicnn.fast.numpy_kernels.threads import run_strips, strips_of, useful_threads

STRIP = 2**18               # numbers of a strip's inputs and outputs, 1 MiB; or the number of weights, if that is larger
ROWS = 128                  # that a product should have at least, so that reading the weights pays
EACH = 2**22                # multiplications that keep a thread busy for 0.1 ms


def pack(weight):
    """Weights (inputs, outputs) as ``linear`` and ``convolve`` take them: contiguous, which is all that BLAS needs."""
    return np.ascontiguousarray(weight, np.float32)


def linear(x, packed, bias, y, extra=None, activation=None):
    """y = activation(x @ weight + bias + extra) over the last axis.

    Args:
        x: (..., I), such as rows, or the pixels of a 1 x 1 convolution of stride 1.
        packed: from ``pack`` of the weights (I, O).
        bias: (O,).
        y: (..., O), written.
        extra: as y, or None.
        activation: as in ``activate``.
    """
    inputs, outputs = packed.shape
    x, y = x.reshape(-1, inputs), y.reshape(-1, outputs)
    extra = extra if extra is None else extra.reshape(-1, outputs)
    count = len(x)
    workers = useful_threads(count * packed.size, EACH)
    if packed.size > count * (inputs + outputs):                    # mostly weights: each thread reads its own columns
        strips = [(slice(0, count), columns) for columns in strips_of(outputs, -(-outputs // workers))]
    else:
        step = max(ROWS, max(STRIP, packed.size) // (inputs + outputs))
        strips = [(rows, slice(0, outputs)) for rows in strips_of(count, step, workers)]

    def work(_, strips):
        for rows, columns in strips:
            out = y[rows, columns]
            np.matmul(x[rows], packed[:, columns], out=out)
            finish(out, bias[columns], extra if extra is None else extra[rows, columns], activation)

    run_strips(work, strips, workers)


def mix(x, weight, y):
    """y (N, O, 1, C) = weight (O, H W) times the pixels of each channel of x (N, H, W, C): ``BlockLinear`` on maps."""
    n, h, w, c = x.shape
    np.matmul(weight, x.reshape(n, h * w, c), out=y[:, :, 0])
