"""Element-wise activation functions; the gradient is ``f_backward(grad_y, x) -> grad_x``, with the input x of ``f``.

Reference: Howard et al., Searching for MobileNetV3 (2019), section 5.2, for hardsigmoid and hardswish.
"""

import numpy as np

from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, operation


@operation
def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0); NaN stays NaN.

    >>> relu(np.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 0.0, 3.0]
    """
    return np.maximum(x, 0)


@operation
def relu_backward(grad_y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gradient of ``relu``: grad_y where x > 0, else 0; at 0 it is 0, as in torch."""
    return grad_y * (x > 0).astype(x.dtype)


@operation
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), computed from exp(-abs(x)) so that it never overflows.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


@operation
def sigmoid_backward(grad_y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gradient of ``sigmoid``: s' = s (1 - s)."""
    y = sigmoid(x)
    return grad_y * y * (1 - y)


@operation
def hardsigmoid(x: np.ndarray) -> np.ndarray:
    """min(max(x + 3, 0), 6) / 6."""
    return np.clip(x + 3, 0, 6) / 6


@operation
def hardsigmoid_backward(grad_y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gradient of ``hardsigmoid``: 1/6 strictly between -3 and 3, else 0."""
    return grad_y * ((x > -3) & (x < 3)) / 6


@operation
def hardswish(x: np.ndarray) -> np.ndarray:
    """x min(max(x + 3, 0), 6) / 6.

    >>> hardswish(np.array([1.5, 3.0])).tolist()
    [1.125, 3.0]
    """
    y = x + 3
    np.clip(y, 0, 6, out=y)                         # in place: feature maps are large
    y *= x
    y /= 6
    return y


@operation
def hardswish_backward(grad_y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gradient of ``hardswish``: 0 for x <= -3, 1 for x >= 3, x/3 + 1/2 between."""
    return grad_y * np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)).astype(x.dtype, copy=False)


@check_of(relu)
def check_relu(x):
    if checks.kind(x) not in "iu":                  # whole numbers, too, as in torch
        check_x(x)


@check_of(sigmoid, hardsigmoid, hardswish)
def check_x(x):
    checks.floating("activation", x=x)


@check_of(relu_backward, sigmoid_backward, hardsigmoid_backward, hardswish_backward)
def check_grad_y(grad_y, x):
    checks.floating("activation", grad_y=grad_y, x=x)
    checks.shape("activation", "grad_y", grad_y, x.shape)
