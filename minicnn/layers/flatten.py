"""The layer between feature maps and linear layers."""

from __future__ import annotations

import math

import numpy as np

from minicnn.layers.base import Layer, Pullback


class Flatten(Layer):
    """(N, C, H, W) -> (N, C H W), all pixels of a channel side by side."""

    def __init__(self, *, rng: np.random.Generator | None = None):
        pass

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), math.prod(x.shape[1:]))        # -1 is not defined for an empty batch

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        return self(x), lambda grad_y: grad_y.reshape(x.shape)
