"""Dropout."""

from minicnn import functional as F
from minicnn.layers.base import Layer


class Dropout(Layer):
    """Zero with probability p in training mode, using the generator given to ``train(rng)``; nothing in evaluation mode."""

    argument_names = ("p",)

    def __init__(self, p=0.5, *, rng=None):
        self.p = p

    def __call__(self, x):
        return self.vjp(x)[0]

    def vjp(self, x, input_gradient=True):
        if not self.training:
            return x, lambda grad_y: grad_y
        if self.rng is None:
            raise ValueError("Dropout: got no generator in training mode, expected one. Call model.train(rng).")
        y, mask = F.dropout(x, self.p, self.rng)
        return y, lambda grad_y: grad_y * mask
