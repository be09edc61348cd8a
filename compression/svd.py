"""Truncated SVD: a linear layer, or a 1 x 1 convolution, becomes two of lower rank.

Reference: Girshick, Fast R-CNN (2015), section 3.1. The best approximation of that rank: Eckart, Young (1936).
"""

import numpy as np

from minicnn.compression.tucker import leading_vectors
from minicnn.errors import InputError
from minicnn.layers import Conv2d, Linear, Sequential


def truncate(matrix, rank):
    """The factors of the nearest matrix of a rank.

    The singular values go to the second factor whole; the first one's columns are orthonormal, as those of ``tucker2`` are.

    Args:
        matrix: (O, I). rank: from 1 to min(O, I).

    Returns:
        out, into: (O, rank) and (rank, I), float64; out @ into is the approximation.
    """
    matrix = matrix.astype(np.float64)
    if len(matrix) <= matrix.shape[1]:
        out = leading_vectors(matrix, rank)[0]
        return out, out.T @ matrix
    into = leading_vectors(matrix.T, rank)[0]
    out, inner = np.linalg.qr(matrix @ into)
    return out, inner @ into.T


def split(layer, rank):
    """The two layers in the place of one: into (no bias), then out, with its bias.

    Args:
        layer: ``Linear``, or ``Conv2d`` of 1 x 1 without groups; its stride goes to the first of the two, which then computes less.
        rank: from 1 to the smaller number of its channels.

    Returns:
        ``Sequential`` of two layers of the same kind. At full rank it computes the same.

    Raises:
        InputError: another layer or rank.
    """
    outputs, inputs = layer.weight.shape[:2]
    if layer.weight[0, 0].size != 1 or getattr(layer, "groups", 1) != 1 or any(getattr(layer, "padding", ())):
        raise InputError(f"got {layer}, expected a linear layer or a convolution of 1 x 1 without groups and padding. Leave others whole.")
    if not 1 <= rank <= min(outputs, inputs):
        raise InputError(f"got the rank {rank}, expected one from 1 to {min(outputs, inputs)}. Choose a smaller one.")
    return two_layers(layer, *truncate(layer.weight.reshape(outputs, inputs), rank))


def two_layers(layer, out, into):
    """Linear layers, or 1 x 1 convolutions, of these factors (O, rank) and (rank, I), the last one with the layer's bias."""
    (outputs, rank), inputs, bias = out.shape, into.shape[1], layer.bias is not None
    if layer.weight.ndim == 2:
        layers = [Linear(inputs, rank, bias=False), Linear(rank, outputs, bias=bias)]
    else:
        layers = [Conv2d(inputs, rank, 1, layer.stride, bias=False), Conv2d(rank, outputs, 1, bias=bias)]
    for new, factor in zip(layers, (into, out)):
        new.weight[...] = factor.reshape(new.weight.shape)
    if bias:
        layers[1].bias[...] = layer.bias
    return Sequential(layers)
