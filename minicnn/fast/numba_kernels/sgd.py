"""The step of stochastic gradient descent in one pass over memory. Formula: ``minicnn.optim.SGD``."""

from numba import njit, prange

BLOCK = 2**13


@njit(cache=True, parallel=True)
def sgd(parameter, gradient, buffer, lr, momentum, weight_decay, nesterov):
    """One-dimensional arrays; ``buffer`` is not touched without momentum. Rounds as NumPy does, operation by operation."""
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
