"""The fully connected layer: one matrix product."""

from minicnn.functional.kernels import kernel


@kernel
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
                         "Flatten pictures first.")
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


@kernel
def linear_backward(grad_y, x, weight, input_gradient=True):
    """Gradients of ``linear``: grad_y (N, O) -> grad_x (N, I) or None, grad_weight (O, I), grad_bias (O,)."""
    return grad_y @ weight if input_gradient else None, grad_y.T @ x, grad_y.sum(axis=0)
