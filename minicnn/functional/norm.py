"""Batch normalisation, per channel of (N, C, H, W): y = weight (x - mean) / sqrt(var + eps) + bias.

In training, mean and variance are those of the batch, and gradients flow through them. In evaluation, and in torchvision's "frozen"
norm, they are constants, and the operation is one multiplication and one addition.

Reference: Ioffe, Szegedy, Batch normalization (2015), algorithm 1 and section 3.
"""

import numpy as np

from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, operation

CHANNEL = (slice(None), None, None)     # (C,) -> (C, 1, 1)
OVER = (0, 2, 3)                        # axes over which a channel's statistics are taken: images and pixels


@operation
def batch_norm_training(x: np.ndarray, weight: np.ndarray, bias: np.ndarray,
                        eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise by the batch's own statistics.

    Args:
        x: (N, C, H, W), floating; its dtype is kept; N H W is 0 or at least 2.
        weight, bias: (C,).
        eps: added to the variance.

    Returns:
        y: (N, C, H, W).
        mean, var: (C,), the batch's mean and *biased* variance, accumulated in float64; 0 for an empty batch, which has neither.

    Raises:
        ValueError: a channel has a single value, and so no variance; eps is not above 0; or the shapes do not fit each other.
    """
    mean, var = (x.mean(axis=OVER, dtype=np.float64), x.var(axis=OVER, dtype=np.float64)) if x.size else np.zeros((2, x.shape[1]))
    return batch_norm(x, mean, var, weight, bias, eps), mean.astype(x.dtype), var.astype(x.dtype)


@operation
def batch_norm_training_backward(grad_y: np.ndarray, x: np.ndarray, mean: np.ndarray, var: np.ndarray, weight: np.ndarray,
                                 eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of ``batch_norm_training``: grad_x (N, C, H, W), grad_weight (C,), grad_bias (C,).

    With z = (x - mean) / sqrt(var + eps) and g = grad_y, grad_x = weight / sqrt(var + eps) * (g - mean(g) - z mean(g z)), where the
    means are over images and pixels.
    """
    inverse = 1 / np.sqrt(var + x.dtype.type(eps))
    z = (x - mean[CHANNEL]) * inverse[CHANNEL]
    grad_bias = grad_y.sum(axis=OVER, dtype=np.float64).astype(x.dtype)
    grad_weight = (grad_y * z).sum(axis=OVER, dtype=np.float64).astype(x.dtype)
    count = max(x.size // x.shape[1], 1)
    grad_x = grad_y - (grad_bias / count)[CHANNEL] - z * (grad_weight / count)[CHANNEL]
    return grad_x * (weight * inverse)[CHANNEL], grad_weight, grad_bias


@operation
def batch_norm(x: np.ndarray, mean: np.ndarray, var: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Normalise by given statistics, as in evaluation and in the frozen norm.

    In torchvision's order of operations: x a + (bias - mean a), with a = weight / sqrt(var + eps).

    Args:
        x: (N, C, H, W), floating; its dtype is kept.
        mean, var, weight, bias: (C,).
        eps: added to the variance; torchvision's published ``fasterrcnn_resnet50_fpn`` needs 0.

    Returns:
        y: (N, C, H, W).

    >>> one = np.ones(1)
    >>> batch_norm(np.array([2.0, 4.0]).reshape(2, 1, 1, 1), mean=3 * one, var=4 * one, weight=one, bias=0 * one, eps=0.0).ravel().tolist()
    [-0.5, 0.5]
    """
    scale = weight / np.sqrt(var + var.dtype.type(eps))
    shift = bias - mean * scale
    y = x * scale.astype(x.dtype)[CHANNEL]
    y += shift.astype(x.dtype)[CHANNEL]             # in place: feature maps are large
    return y


@operation
def batch_norm_backward(grad_y: np.ndarray, x: np.ndarray, mean: np.ndarray, var: np.ndarray, weight: np.ndarray,
                        eps: float = 1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of ``batch_norm``, where the statistics are constants: grad_x (N, C, H, W), grad_weight (C,), grad_bias (C,)."""
    inverse = 1 / np.sqrt(var + var.dtype.type(eps))
    grad_weight = (grad_y * (x - mean[CHANNEL])).sum(axis=OVER, dtype=np.float64) * inverse
    grad_bias = grad_y.sum(axis=OVER, dtype=np.float64)
    return grad_y * (weight * inverse)[CHANNEL], grad_weight.astype(x.dtype), grad_bias.astype(x.dtype)


@check_of(batch_norm_training)
def check_training(x, weight, bias, eps=1e-5):
    check_batch_norm(x, None, None, weight, bias, eps)
    if x.size == x.shape[1]:
        raise ValueError(f"batch_norm: got x {x.shape} in training, expected more than one value per channel. "
                         "Use a larger batch, or eval().")
    if not eps > 0:
        raise ValueError(f"batch_norm: got eps={eps} in training, expected more than 0.")


@check_of(batch_norm_backward, batch_norm_training_backward)
def check_backward(grad_y, x, mean, var, weight, eps=1e-5):
    check_batch_norm(x, mean, var, weight, None, eps)
    checks.floating("batch_norm", grad_y=grad_y)
    checks.shape("batch_norm", "grad_y", grad_y, x.shape)


@check_of(batch_norm)
def check_batch_norm(x, mean, var, weight, bias, eps=1e-5):
    checks.floating("batch_norm", x=x, mean=mean, var=var, weight=weight, bias=bias)
    if not eps >= 0:
        raise ValueError(f"batch_norm: got eps={eps}, expected at least 0.")
    checks.shape("batch_norm", "x", x, ("N", "C", "H", "W"))
    for name, array in (("mean", mean), ("var", var), ("weight", weight), ("bias", bias)):
        checks.shape("batch_norm", name, array, x.shape[1:2])
