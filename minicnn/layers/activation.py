"""Activation functions as layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minicnn import functional as F
from minicnn.layers.base import Layer, Pullback


class Activation(Layer):
    """Base class of element-wise functions without parameters; a subclass sets ``function`` and its gradient, ``backward``."""

    function: Callable
    backward: Callable

    def __init__(self, *, rng: np.random.Generator | None = None):
        pass

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return type(self).function(x)

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        return self(x), lambda grad_y: type(self).backward(grad_y, x)


class ReLU(Activation):
    """max(x, 0)."""

    function, backward = F.relu, F.relu_backward


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function, backward = F.sigmoid, F.sigmoid_backward


class Hardsigmoid(Activation):
    """min(max(x + 3, 0), 6) / 6."""

    function, backward = F.hardsigmoid, F.hardsigmoid_backward


class Hardswish(Activation):
    """x min(max(x + 3, 0), 6) / 6."""

    function, backward = F.hardswish, F.hardswish_backward
