"""Losses. Sums are accumulated in float64; gradients keep the input's dtype."""

import numpy as np

from minicnn.functional.activation import sigmoid
from minicnn.functional.dispatch import operation


@operation
def softmax(logits):
    """exp(logits) over its sum along the last axis; the row's maximum is taken off first, so that exp stays finite."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@operation
def cross_entropy(logits, target, ignore_index=-100):
    """Softmax cross-entropy: the mean over rows of -log softmax(logits)[target], or of -sum_k target_k log softmax(logits)_k.

    Args:
        logits: (N, K), floating.
        target: (N,) int, 0 <= target < K, or ``ignore_index``; or (N, K), the probabilities of the classes.
        ignore_index: rows with this target do not count (torch's default).

    Returns:
        loss: float; NaN if every row is ignored, as in torch.

    Raises:
        ValueError: a target out of range.

    Reference: Goodfellow, Bengio, Courville, Deep Learning (2016), equation 6.31.
    """
    rows = np.arange(len(logits)) if target.ndim == 2 else counted(logits, target, ignore_index)
    if not rows.size:
        return float("nan")
    z = logits[rows].astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(z).sum(axis=1))
    if target.ndim == 2:
        return float(np.mean((target * (log_sum[:, None] - z)).sum(axis=1)))
    return float(np.mean(log_sum - z[np.arange(rows.size), target[rows]]))


@operation
def cross_entropy_backward(logits, target, ignore_index=-100):
    """(softmax(logits) - one_hot(target)) / rows that count: -> grad_logits (N, K); for probabilities, (softmax(logits) - target) / N."""
    if target.ndim == 2:
        return (softmax(logits) * target.sum(axis=1, keepdims=True) - target) / logits.dtype.type(max(len(logits), 1))
    rows = counted(logits, target, ignore_index)
    grad = np.zeros_like(logits)
    grad[rows] = softmax(logits[rows])
    grad[rows, target[rows]] -= 1
    return grad / max(rows.size, 1)


def counted(logits, target, ignore_index):
    """The rows whose target is not ``ignore_index``; checks the others."""
    rows = np.flatnonzero(target != ignore_index)
    wanted = target[rows]
    bad = (wanted < 0) | (wanted >= logits.shape[1])
    if bad.any():
        raise ValueError(f"cross_entropy: got target {wanted[bad][0]} for {logits.shape[1]} classes, "
                         f"expected 0 to {logits.shape[1] - 1}. Check the labels.")
    return rows


@operation
def smooth_l1_loss(x, target, beta=1.0, reduction="mean"):
    """0.5 d^2 / beta where |d| < beta, else |d| - 0.5 beta, with d = x - target.

    Args:
        x, target: same shape, floating.
        beta: where the parabola meets the line; 0 is the plain L1 loss. Faster R-CNN takes 1/9.
        reduction: "mean" or "sum".

    Returns:
        loss: float.

    Reference: Girshick, Fast R-CNN (2015), equation 3 (there beta = 1).
    """
    d = np.abs(x.astype(np.float64) - target)
    loss = np.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta) if beta else d
    return float(loss.mean() if reduction == "mean" else loss.sum())


@operation
def smooth_l1_loss_backward(x, target, beta=1.0, reduction="mean"):
    """d / beta where |d| < beta, else sign(d); over the number of elements for the mean: -> grad_x, as x."""
    d = x - target
    grad = np.where(np.abs(d) < beta, d / beta, np.sign(d)) if beta else np.sign(d)
    return grad / (d.size if reduction == "mean" else 1)


@operation
def binary_cross_entropy_with_logits(x, target):
    """The mean of -target log s(x) - (1 - target) log(1 - s(x)), s the sigmoid, written so that no exponential overflows.

    Args:
        x: logits, floating; target: same shape, 0 to 1.

    Returns:
        loss: float; NaN of nothing, as in torch.

    Reference: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.2.
    """
    if not x.size:
        return float("nan")
    x = x.astype(np.float64)
    return float(np.mean(np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))))


@operation
def binary_cross_entropy_with_logits_backward(x, target):
    """(s(x) - target) over the number of elements: -> grad_x, as x."""
    return (sigmoid(x) - target).astype(x.dtype) / max(x.size, 1)
