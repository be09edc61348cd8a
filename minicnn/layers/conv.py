"""The convolution layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn.functional.conv import IntPair, pair
from minicnn.layers.base import Layer, Pullback, initial_weights, take_rows


class Conv2d(Layer):
    """Convolution with torch.nn.Conv2d's names, shapes and default initialisation: uniform within 1 / sqrt(fan in).

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups: see ``functional.conv2d``.
        bias: whether there is one.
        rng: draws weight and bias; None: zeros, for arrays that are about to be loaded.

    Attributes:
        weight: (out_channels, in_channels // groups, KH, KW) float32.
        bias: (out_channels,) float32, or None.

    >>> layer = Conv2d(3, 16, 3, stride=2, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.zeros((1, 3, 32, 32), np.float32)).shape, layer.weight.shape
    ((1, 16, 16, 16), (16, 3, 3, 3))
    """

    parameter_names = ("weight", "bias")
    argument_names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")

    def __init__(self, in_channels: int, out_channels: int, kernel_size: IntPair, stride: IntPair = 1, padding: IntPair = 0,
                 dilation: IntPair = 1, groups: int = 1, bias: bool = True, *, rng: np.random.Generator | None = None):
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: got in_channels={in_channels}, out_channels={out_channels}, groups={groups}; "
                             "expected both channel counts divisible by groups, which is at least 1.")
        self.kernel_size, self.stride, self.padding, self.dilation = map(pair, (kernel_size, stride, padding, dilation))
        self.groups = groups
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight, self.bias = initial_weights(shape, bias, rng)

    @property
    def in_channels(self) -> int:
        return self.weight.shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        return self.weight.shape[0]

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "bias": self.bias is not None}

    def keep_outputs(self, index: np.ndarray) -> None:
        self._refuse_groups()
        self.weight, self.bias = take_rows(index, self.weight, self.bias)

    def keep_inputs(self, index: np.ndarray) -> None:
        self._refuse_groups()
        self.weight = self.weight.take(index, axis=1)     # contiguous by rows, as when it is read from a file

    def keep_channels(self, index: np.ndarray) -> None:
        if not self.in_channels == self.out_channels == self.groups:
            raise ValueError(f"got {self}, expected a depthwise convolution. Name it as producer or consumer instead.")
        self.weight, self.bias = take_rows(index, self.weight, self.bias)
        self.groups = len(index)

    def _refuse_groups(self):
        if self.groups > 1:
            raise ValueError(f"got {self}, expected groups=1 to remove channels. Leave this layer out of the pruning.")

    def geometry(self) -> tuple[Any, ...]:
        """The last arguments of ``functional.conv2d``."""
        return self.stride, self.padding, self.dilation, self.groups

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.conv2d(x, self.weight, self.bias, *self.geometry())

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        def pullback(grad_y):
            grad_x, weight, bias = F.conv2d_backward(grad_y, x, self.weight, *self.geometry(), input_gradient)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x
        return self(x), pullback
