"""The dropout layer."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.layers.base import Layer, Pullback


class Dropout(Layer):
    """Dropout in training mode, see ``functional.dropout``, with the generator given to ``train(rng)``; the identity in evaluation mode.

    Args:
        p: probability of zeroing an element.

    Raises:
        ValueError: p is not from 0 to 1.
    """

    argument_names = ("p",)

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: got p={p}, expected a probability from 0 to 1.")
        self.p = p

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.vjp(x)[0]

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        if not self.training:
            return x, lambda grad_y: grad_y
        if self.rng is None:
            raise ValueError("Dropout: got no generator in training mode, expected one. Call model.train(rng).")
        y, mask = F.dropout(x, self.p, self.rng)
        return y, lambda grad_y: grad_y * mask
