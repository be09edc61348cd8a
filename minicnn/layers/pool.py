"""Pooling layers."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.functional.conv import IntPair
from minicnn.layers.base import Layer, Pullback


class MaxPool2d(Layer):
    """``functional.max_pool2d`` as a layer, with the arguments of that function."""

    argument_names = ("kernel_size", "stride", "padding", "ceil_mode")

    def __init__(self, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, ceil_mode: bool = False, *,
                 rng: np.random.Generator | None = None):
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, ceil_mode

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.max_pool2d(x, **self.arguments(), return_indices=False)[0]

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        y, index = F.max_pool2d(x, **self.arguments())
        return y, lambda grad_y: F.max_pool2d_backward(grad_y, index, x.shape, **self.arguments())


class AvgPool2d(Layer):
    """``functional.avg_pool2d`` as a layer, with the arguments of that function."""

    argument_names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")

    def __init__(self, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, *, rng: np.random.Generator | None = None):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.avg_pool2d(x, **self.arguments())

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        return self(x), lambda grad_y: F.avg_pool2d_backward(grad_y, x.shape, **self.arguments())


class AdaptiveAvgPool2d(Layer):
    """``functional.adaptive_avg_pool2d`` as a layer, with the argument of that function."""

    argument_names = ("output_size",)

    def __init__(self, output_size: IntPair, *, rng: np.random.Generator | None = None):
        self.output_size = output_size

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        return self(x), lambda grad_y: F.adaptive_avg_pool2d_backward(grad_y, x.shape)
