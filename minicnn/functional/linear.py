"""The fully connected layer: one matrix product; and the same one on each block of what is read."""

from minicnn.functional.dispatch import operation


@operation
def linear(x, weight, bias=None):
    """y = x weight^T + bias.

    Args:
        x: (N, I), floating; its dtype is kept.
        weight: (O, I); bias: (O,) or None.

    Returns:
        y: (N, O).

    Raises:
        ValueError: x is not (N, I).
    """
    if x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"linear: got x {x.shape} and weight {weight.shape}; expected x (N, {weight.shape[1]}). "
                         "Flatten images first.")
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


@operation
def linear_backward(grad_y, x, weight, input_gradient=True):
    """Gradients of ``linear``: grad_y (N, O) -> grad_x (N, I) or None, grad_weight (O, I), grad_bias (O,)."""
    return grad_y @ weight if input_gradient else None, grad_y.T @ x, grad_y.sum(axis=0)


@operation
def linear_blocks(x, weight):
    """The same linear map of each block of I inputs: y = (weight x_1, ..., weight x_C), x_c the c-th block.

    Of flattened maps (N, C H W), I = H W, it mixes the pixels of each channel.

    Args:
        x: (N, C I), floating; its dtype is kept.
        weight: (O, I).

    Returns:
        y: (N, C O).

    Raises:
        ValueError: x is not (N, C I).
    """
    outputs, inputs = weight.shape
    if x.ndim != 2 or x.shape[1] % inputs:
        raise ValueError(f"linear_blocks: got x {x.shape} and weight {weight.shape}; expected x (N, a multiple of {inputs}). "
                         "Flatten images first.")
    return (x.reshape(-1, inputs) @ weight.T).reshape(len(x), x.shape[1] // inputs * outputs)


@operation
def linear_blocks_backward(grad_y, x, weight, input_gradient=True):
    """Gradients of ``linear_blocks``: grad_y (N, C O) -> grad_x (N, C I) or None, grad_weight (O, I)."""
    grad_y = grad_y.reshape(-1, len(weight))
    return (grad_y @ weight).reshape(x.shape) if input_gradient else None, grad_y.T @ x.reshape(-1, weight.shape[1])
