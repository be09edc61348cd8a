"""The linear (fully connected) layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn.layers.base import Layer, Pullback, initial_weights, take_rows


class Linear(Layer):
    """y = x weight^T + bias, with torch.nn.Linear's names, shapes and default initialisation: uniform within 1 / sqrt(fan in).

    Args:
        in_features, out_features: I and O of x (N, I) and y (N, O).
        bias: whether there is one.
        rng: draws weight and bias; None: zeros, for arrays that are about to be loaded.

    Attributes:
        weight: (out_features, in_features) float32.
        bias: (out_features,) float32, or None.

    >>> layer = Linear(4, 2, rng=np.random.default_rng(0))
    >>> y, pullback = layer.vjp(np.ones((3, 4), np.float32))
    >>> y.shape, pullback(np.ones((3, 2), np.float32)).shape, layer.gradients["bias"].tolist()
    ((3, 2), (3, 4), [3.0, 3.0])
    """

    parameter_names = ("weight", "bias")
    argument_names = ("in_features", "out_features")

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, rng: np.random.Generator | None = None):
        self.weight, self.bias = initial_weights((out_features, in_features), bias, rng)

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "bias": self.bias is not None}

    def keep_outputs(self, index: np.ndarray) -> None:
        self.weight, self.bias = take_rows(index, self.weight, self.bias)

    def keep_inputs(self, index: np.ndarray) -> None:
        self.weight = self.weight.take(index, axis=1)     # contiguous by rows, as when it is read from a file

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.linear(x, self.weight, self.bias)

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        def pullback(grad_y):
            grad_x, weight, bias = F.linear_backward(grad_y, x, self.weight, input_gradient)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x
        return self(x), pullback
