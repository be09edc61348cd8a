"""Losses. Sums are accumulated in float64; gradients keep the input's dtype."""

import numpy as np

from minicnn.functional import checks
from minicnn.functional.activation import sigmoid
from minicnn.functional.dispatch import check_of, operation


@operation
def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(logits) divided by its sum along the last axis; the maximum is subtracted first, so that exp stays finite.

    >>> softmax(np.log([[1.0, 3.0]])).round(6).tolist()
    [[0.25, 0.75]]
    """
    e = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))          # initial: rows may have no numbers
    return e / e.sum(axis=-1, keepdims=True)


@check_of(softmax)
def check_softmax(logits):
    checks.floating("softmax", logits=logits)


@operation
def cross_entropy(logits: np.ndarray, target: np.ndarray, ignore_index: int = -100) -> float:
    """Softmax cross-entropy: the mean over rows of -log softmax(logits)[target].

    For a target of probabilities it is the mean of -sum_k target_k log softmax(logits)_k.

    Args:
        logits: (N, K), floating.
        target: (N,) int, 0 <= target < K, or ``ignore_index``; or (N, K), the probabilities of the classes.
        ignore_index: rows with this target are left out; torch's default.

    Returns:
        loss: float; NaN if every row is ignored, as in torch.

    Raises:
        ValueError: a target is out of range, or the shapes do not fit each other.
        TypeError: logits are not floating; or targets (N,) no integers, or probabilities (N, K) not floating.

    Reference: Goodfellow, Bengio, Courville, Deep Learning (2016), equation 6.31.

    >>> round(cross_entropy(np.zeros((3, 10)), np.array([0, 4, 9])), 6)         # log(10): as bad as guessing
    2.302585
    """
    rows = np.arange(len(logits)) if target.ndim == 2 else counted_rows(logits, target, ignore_index)
    if not rows.size:
        return float("nan")
    z = logits[rows].astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(z).sum(axis=1))
    if target.ndim == 2:
        return float(np.mean((target * (log_sum[:, None] - z)).sum(axis=1)))
    return float(np.mean(log_sum - z[np.arange(rows.size), target[rows]]))


@operation
def cross_entropy_backward(logits: np.ndarray, target: np.ndarray, ignore_index: int = -100) -> np.ndarray:
    """Gradient of ``cross_entropy``: grad_logits (N, K), (softmax(logits) - one_hot(target)) / number of rows not left out.

    For a target of probabilities it is (softmax(logits) - target) / N.
    """
    if target.ndim == 2:
        return (softmax(logits) * target.sum(axis=1, keepdims=True) - target) / logits.dtype.type(max(len(logits), 1))
    rows = counted_rows(logits, target, ignore_index)
    grad = np.zeros_like(logits)
    grad[rows] = softmax(logits[rows])
    grad[rows, target[rows]] -= 1
    return grad / max(rows.size, 1)


@check_of(cross_entropy, cross_entropy_backward)
def check_cross_entropy(logits, target, ignore_index=-100):
    checks.floating("cross_entropy", logits=logits)
    checks.shape("cross_entropy", "logits", logits, ("N", "K"))
    if checks.kind(target) not in ("iu" if np.ndim(target) == 1 else "f"):
        raise TypeError(f"cross_entropy: got targets of {getattr(target, 'dtype', type(target).__name__)} with {np.ndim(target)} axes, "
                        "expected integers (N,) or floating probabilities (N, K). Convert or flatten them.")
    checks.shape("cross_entropy", "target", target, logits.shape[:1] if target.ndim == 1 else logits.shape)


def counted_rows(logits, target, ignore_index):
    """The rows whose target is not ``ignore_index``; raises ValueError if a target is out of range."""
    rows = np.flatnonzero(target != ignore_index)
    wanted = target[rows]
    bad = (wanted < 0) | (wanted >= logits.shape[1])
    if bad.any():
        raise ValueError(f"cross_entropy: got target {wanted[bad][0]} for {logits.shape[1]} classes, "
                         f"expected 0 to {logits.shape[1] - 1}. Check the labels.")
    return rows


@operation
def smooth_l1_loss(x: np.ndarray, target: np.ndarray, beta: float = 1.0, reduction: str = "mean") -> float:
    """0.5 d^2 / beta where |d| < beta, else |d| - 0.5 beta, with d = x - target.

    Args:
        x, target: same shape, floating.
        beta: where the parabola meets the line; 0: the plain L1 loss. Faster R-CNN uses 1/9.
        reduction: "mean" or "sum".

    Returns:
        loss: float; the mean of no elements is NaN, as in torch.

    Raises:
        ValueError: the shapes differ, beta is negative, or another reduction.

    Reference: Girshick, Fast R-CNN (2015), equation 3 (there beta = 1).

    >>> smooth_l1_loss(np.array([0.5, 3.0]), np.zeros(2), reduction="sum")
    2.625
    """
    d = np.abs(x.astype(np.float64) - target)
    loss = np.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta) if beta else d
    if reduction == "mean":
        return float(loss.mean()) if loss.size else float("nan")
    return float(loss.sum())


@operation
def smooth_l1_loss_backward(x: np.ndarray, target: np.ndarray, beta: float = 1.0, reduction: str = "mean") -> np.ndarray:
    """Gradient of ``smooth_l1_loss``, as x: d / beta where |d| < beta, else sign(d); for the mean divided by the number of elements."""
    d = x - target
    grad = np.where(np.abs(d) < beta, d / beta, np.sign(d)) if beta else np.sign(d)
    return grad / (d.size if reduction == "mean" else 1)


@check_of(smooth_l1_loss, smooth_l1_loss_backward)
def check_smooth_l1_loss(x, target, beta=1.0, reduction="mean"):
    checks.floating("smooth_l1_loss", x=x, target=target)
    checks.shape("smooth_l1_loss", "target", target, x.shape)
    if reduction not in ("mean", "sum") or not beta >= 0:
        raise ValueError(f"smooth_l1_loss: got reduction={reduction!r}, beta={beta}, expected 'mean' or 'sum', and at least 0.")


@operation
def binary_cross_entropy_with_logits(x: np.ndarray, target: np.ndarray) -> float:
    """The mean of -target log s(x) - (1 - target) log(1 - s(x)), where s is the sigmoid; computed so that no exponential overflows.

    Args:
        x: logits, floating.
        target: same shape, 0 to 1.

    Returns:
        loss: float; NaN if x is empty, as in torch.

    Reference: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.2.

    >>> round(binary_cross_entropy_with_logits(np.zeros(4), np.array([0.0, 0.0, 1.0, 1.0])), 6)
    0.693147
    """
    if not x.size:
        return float("nan")
    x = x.astype(np.float64)
    return float(np.mean(np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))))


@operation
def binary_cross_entropy_with_logits_backward(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Gradient of ``binary_cross_entropy_with_logits``, as x: (s(x) - target) divided by the number of elements."""
    return (sigmoid(x) - target).astype(x.dtype) / max(x.size, 1)


@check_of(binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_backward)
def check_binary_cross_entropy(x, target):
    checks.floating("binary_cross_entropy_with_logits", x=x, target=target)
    checks.shape("binary_cross_entropy_with_logits", "target", target, x.shape)
