"""The layers that replace one after its decomposition: a chain of three convolutions, and a linear layer on blocks of its input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn import functional as F
from minicnn.errors import InputError
from minicnn.layers.base import Layer, Pullback, initial_weights
from minicnn.layers.conv import Conv2d
from minicnn.layers.linear import Linear
from minicnn.layers.sequential import Sequential


def tucker_chain(layer: Conv2d, ranks: int | Sequence[int], rng: np.random.Generator | None = None) -> Sequential:
    """The three convolutions that replace one in a Tucker decomposition: 1 x 1 to fewer channels, K x K on these, 1 x 1 to all.

    Args:
        layer: a ``Conv2d`` without groups. The chain gets its kernel size, stride, padding and dilation, and a bias where it has one,
            but not its weights.
        ranks: (r_in, r_out), the input and output channels of the K x K convolution; a number stands for both.
        rng: draws the weights, see ``Conv2d``; None: zeros, to be set.

    Returns:
        A Sequential, C -> r_in -> r_out -> O channels; only its last layer has a bias.

    Raises:
        InputError: the layer is not a convolution without groups, or a rank is not from 1 to the number of channels.

    Reference: Kim, Park, Yoo, Choi, Yang, Shin, Compression of deep convolutional neural networks for fast and low power mobile
    applications (2016), section 3.1.

    >>> chain = tucker_chain(Conv2d(64, 128, 3, padding=1), ranks=(16, 24))
    >>> [layer.weight.shape for name, layer in chain.children()]
    [(16, 64, 1, 1), (24, 16, 3, 3), (128, 24, 1, 1)]
    """
    if layer.kind != "Conv2d" or layer.groups != 1:
        raise InputError(f"got {layer}, expected a convolution without groups. Leave others whole.")
    c, o = layer.in_channels, layer.out_channels
    r_in, r_out = ranks if isinstance(ranks, Sequence) else (ranks, ranks)
    if not (1 <= r_in <= c and 1 <= r_out <= o):
        raise InputError(f"got the ranks {r_in} and {r_out}, expected them from 1 to the channels, {c} and {o}. Choose smaller ones.")
    return Sequential([Conv2d(c, r_in, 1, bias=False, rng=rng),
                       Conv2d(r_in, r_out, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False, rng=rng),
                       Conv2d(r_out, o, 1, bias=layer.bias is not None, rng=rng)])


class BlockLinear(Layer):
    """Multiplication of each block of ``in_features`` inputs by the same matrix, see ``functional.linear_blocks``.

    The same as torch's ``Unflatten(1, (-1, in_features))``, ``Linear(in_features, out_features, bias=False)``, ``Flatten()``.

    Args:
        in_features, out_features: I and O of x (N, C I) and y (N, C O).
        rng: draws the weight; None: zeros, for an array that is about to be loaded.

    Attributes:
        weight: (out_features, in_features) float32.
    """

    parameter_names = ("weight",)
    argument_names = ("in_features", "out_features")
    bias = None

    def __init__(self, in_features: int, out_features: int, *, rng: np.random.Generator | None = None):
        self.weight, _ = initial_weights((out_features, in_features), False, rng)

    in_features, out_features = Linear.in_features, Linear.out_features

    def keep_channels(self, index: np.ndarray) -> None:
        """Change nothing: the channels are the blocks, which all share the weight."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.linear_blocks(x, self.weight)

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        def pullback(grad_y):
            grad_x, weight = F.linear_blocks_backward(grad_y, x, self.weight, input_gradient)
            self.add_gradients(weight=weight)
            return grad_x
        return self(x), pullback
