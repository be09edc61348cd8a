"""What factorised layers consist of: the three convolutions of a Tucker decomposition, and a linear layer on blocks of its input."""

import numpy as np

from minicnn import functional as F
from minicnn.errors import InputError
from minicnn.layers.base import Layer, initial_weights
from minicnn.layers.conv import Conv2d
from minicnn.layers.linear import Linear
from minicnn.layers.sequential import Sequential


def tucker_chain(layer: Conv2d, ranks: int | tuple[int, int], rng: np.random.Generator | None = None) -> Sequential:
    """The three convolutions that replace one in a Tucker decomposition: 1 x 1 to fewer channels, K x K on these, 1 x 1 to all.

    Args:
        layer: a ``Conv2d`` with groups=1. Its kernel size, stride, padding, dilation and bias or none are taken over, its weights
            are not.
        ranks: (r_in, r_out), the channels that the K x K convolution reads and makes; a number stands for both.
        rng: draws the weights as for ``Conv2d``; None: zeros, to be set.

    Returns:
        Sequential: C -> r_in -> r_out -> O channels; only the last layer has a bias.

    Raises:
        InputError: the layer is no convolution without groups, or a rank is not from 1 to the number of channels.

    Reference: Kim, Park, Yoo, Choi, Yang, Shin, Compression of deep convolutional neural networks for fast and low power mobile
    applications (2016), section 3.1.
    """
    if layer.kind != "Conv2d" or layer.groups != 1:
        raise InputError(f"got {layer}, expected a convolution without groups. Leave others whole.")
    c, o = layer.in_channels, layer.out_channels
    r_in, r_out = (ranks, ranks) if np.ndim(ranks) == 0 else ranks
    if not (1 <= r_in <= c and 1 <= r_out <= o):
        raise InputError(f"got the ranks {r_in} and {r_out}, expected them from 1 to the channels, {c} and {o}. Choose smaller ones.")
    return Sequential([Conv2d(c, r_in, 1, bias=False, rng=rng),
                       Conv2d(r_in, r_out, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False, rng=rng),
                       Conv2d(r_out, o, 1, bias=layer.bias is not None, rng=rng)])


class BlockLinear(Layer):
    """The same linear map of each block of ``in_features`` inputs, see ``functional.linear_blocks``; weight is (out_features,
    in_features), float32. Without rng it is zeros.

    torch's ``Unflatten(1, (-1, in_features))``, ``Linear(in_features, out_features, bias=False)``, ``Flatten()``.
    """

    parameter_names = ("weight",)
    argument_names = ("in_features", "out_features")
    bias = None

    def __init__(self, in_features, out_features, *, rng=None):
        self.weight, _ = initial_weights((out_features, in_features), False, rng)

    in_features, out_features = Linear.in_features, Linear.out_features

    def keep_channels(self, index):
        """A channel is a block, and has nothing here of its own."""

    def __call__(self, x):
        return F.linear_blocks(x, self.weight)

    def vjp(self, x, input_gradient=True):
        def pullback(grad_y):
            grad_x, weight = F.linear_blocks_backward(grad_y, x, self.weight, input_gradient)
            self.add_gradients(weight=weight)
            return grad_x
        return self(x), pullback
