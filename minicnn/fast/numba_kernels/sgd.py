"""The step of stochastic gradient descent in one pass over memory; ``minicnn.optim.SGD`` has the formula."""

from numba import prange

from minicnn.fast.numba_kernels.jit import njit

BLOCK = 2**13           # numbers that a thread takes at a time


@njit(cache=True, parallel=True)
def sgd(parameter, gradient, buffer, lr, momentum, weight_decay, nesterov):
    """Update one-dimensional arrays in place; without momentum, ``buffer`` is not used. Each operation is rounded as in NumPy."""
    for block in prange((parameter.size + BLOCK - 1) // BLOCK):
        for i in range(block * BLOCK, min(parameter.size, (block + 1) * BLOCK)):
            p, g = parameter[i], gradient[i]
            if weight_decay:
                g += weight_decay * p
            if momentum:
                b = momentum * buffer[i] + g
                buffer[i] = b
                g = g + momentum * b if nesterov else b
            parameter[i] = p - lr * g
