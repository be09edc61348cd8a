"""The linear (fully connected) operation, on whole inputs and on each block of the inputs."""

import numpy as np

from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, operation


@operation
def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """y = x weight^T + bias.

    Args:
        x: (N, I), floating; its dtype is kept.
        weight: (O, I).
        bias: (O,) or None.

    Returns:
        y: (N, O).

    Raises:
        ValueError: x is not (N, I), or the bias not (O,).
        TypeError: the arrays are not all floating.

    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, -0.5])).tolist()
    [[11.5, 16.5]]
    """
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


@operation
def linear_backward(grad_y: np.ndarray, x: np.ndarray, weight: np.ndarray,
                    input_gradient: bool = True) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Gradients of ``linear``: grad_y (N, O) -> grad_x (N, I) or None, grad_weight (O, I), grad_bias (O,)."""
    return grad_y @ weight if input_gradient else None, grad_y.T @ x, grad_y.sum(axis=0)


@check_of(linear)
def check_linear(x, weight, bias=None):
    checks.floating("linear", x=x, weight=weight, bias=bias)
    checks.shape("linear", "weight", weight, ("O", "I"))
    if x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"linear: got x {x.shape} and weight {weight.shape}; expected x (N, {weight.shape[1]}). Flatten images first.")
    checks.shape("linear", "bias", bias, weight.shape[:1])


@check_of(linear_backward)
def check_linear_backward(grad_y, x, weight, input_gradient=True):
    check_linear(x, weight)
    checks.floating("linear", grad_y=grad_y)
    checks.shape("linear", "grad_y", grad_y, (len(x), len(weight)))


@operation
def linear_blocks(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Multiply each block of I inputs by the same matrix: y = (weight x_1, ..., weight x_C), where x_c is the c-th block.

    On flattened feature maps (N, C H W) with I = H W, the blocks are the channels and the matrix mixes the pixels of each of them.

    Args:
        x: (N, C I), floating; its dtype is kept.
        weight: (O, I).

    Returns:
        y: (N, C O).

    Raises:
        ValueError: x is not (N, C I).

    >>> linear_blocks(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[1.0, 1.0]])).tolist()        # sums of pairs
    [[3.0, 7.0]]
    """
    outputs, inputs = weight.shape
    return (x.reshape(-1, inputs) @ weight.T).reshape(len(x), x.shape[1] // inputs * outputs)


@operation
def linear_blocks_backward(grad_y: np.ndarray, x: np.ndarray, weight: np.ndarray,
                           input_gradient: bool = True) -> tuple[np.ndarray | None, np.ndarray]:
    """Gradients of ``linear_blocks``: grad_y (N, C O) -> grad_x (N, C I) or None, grad_weight (O, I)."""
    grad_y = grad_y.reshape(-1, len(weight))
    return (grad_y @ weight).reshape(x.shape) if input_gradient else None, grad_y.T @ x.reshape(-1, weight.shape[1])


@check_of(linear_blocks)
def check_linear_blocks(x, weight):
    checks.floating("linear_blocks", x=x, weight=weight)
    checks.shape("linear_blocks", "weight", weight, ("O", "I"))
    inputs = weight.shape[1]
    if x.ndim != 2 or not inputs or x.shape[1] % inputs:
        raise ValueError(f"linear_blocks: got x {x.shape} and weight {weight.shape}; expected x (N, a multiple of {inputs}). "
                         "Flatten images first.")


@check_of(linear_blocks_backward)
def check_linear_blocks_backward(grad_y, x, weight, input_gradient=True):
    check_linear_blocks(x, weight)
    checks.floating("linear_blocks", grad_y=grad_y)
    checks.shape("linear_blocks", "grad_y", grad_y, (len(x), x.shape[1] // weight.shape[1] * len(weight)))
