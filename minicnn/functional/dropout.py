"""Dropout.

Reference: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting (2014), section 4.
"""

from __future__ import annotations

import numpy as np

from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, operation


@operation
def dropout(x: np.ndarray, p: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Set each element to 0 with probability p and divide the others by 1 - p, which keeps the expected value ("inverted" dropout).

    Args:
        x: any shape, floating; its dtype is kept.
        p: probability of zeroing, 0 to 1.
        rng: draws the elements.

    Returns:
        y: as x.
        mask: as x, 0 or 1 / (1 - p); the gradient is grad_y * mask.

    Raises:
        ValueError: p is out of range.

    >>> x = np.ones(1000)
    >>> y, mask = dropout(x, 0.25, np.random.default_rng(0))
    >>> sorted(set(y.round(3).tolist())), bool((y == x * mask).all())
    ([0.0, 1.333], True)
    """
    mask = (rng.random(x.shape) >= p).astype(x.dtype) / (1 - p or 1)           # p = 1: all are 0
    return x * mask, mask


@check_of(dropout)
def check_dropout(x, p, rng):
    checks.floating("dropout", x=x)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: got p={p}, expected a probability from 0 to 1.")
