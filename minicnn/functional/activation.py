"""Element-wise non-linearities. Backward takes what forward took: ``f_backward(grad_y, x) -> grad_x``.

Reference: Howard et al., Searching for MobileNetV3 (2019), section 5.2, for the two "hard" ones.
"""

import numpy as np

from minicnn.functional.dispatch import operation


@operation
def relu(x):
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0)


@operation
def relu_backward(grad_y, x):
    """Pass the gradient where x > 0; at 0 it is 0, as in torch."""
    return grad_y * (x > 0).astype(x.dtype)


@operation
def sigmoid(x):
    """1 / (1 + exp(-x)), written with exp(-|x|) so that it never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


@operation
def sigmoid_backward(grad_y, x):
    """s' = s (1 - s)."""
    y = sigmoid(x)
    return grad_y * y * (1 - y)


@operation
def hardsigmoid(x):
    """min(max(x + 3, 0), 6) / 6."""
    return np.clip(x + 3, 0, 6) / 6


@operation
def hardsigmoid_backward(grad_y, x):
    """1/6 strictly between -3 and 3, else 0."""
    return grad_y * ((x > -3) & (x < 3)) / 6


@operation
def hardswish(x):
    """x min(max(x + 3, 0), 6) / 6."""
    y = x + 3
    np.clip(y, 0, 6, out=y)                         # in place: maps are large
    y *= x
    y /= 6
    return y


@operation
def hardswish_backward(grad_y, x):
    """0 up to -3, x/3 + 1/2 between, 1 from 3 on."""
    return grad_y * np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)).astype(x.dtype, copy=False)
