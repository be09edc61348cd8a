"""ReLU and its gradient; the numbers are distributed among the threads."""

from numba import prange

from minicnn.fast.numba_kernels.jit import njit

BLOCK = 2**13           # numbers that a thread takes at a time


@njit(cache=True, parallel=True)
def forward(x, y):
    """y = max(x, 0); NaN stays NaN."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            v = x[i]
            y[i] = 0 if v < 0 else v


@njit(cache=True, parallel=True)
def backward(grad_y, x, grad_x):
    """grad_x = grad_y where x > 0, else 0."""
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(x.size, (block + 1) * BLOCK)):
            v, g = x[i], grad_y[i]
            grad_x[i] = g if v > 0 else 0
