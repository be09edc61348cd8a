"""Truncated SVD: a linear layer, or a 1 x 1 convolution, becomes two of lower rank.

Reference: Girshick, Fast R-CNN (2015), section 3.1. It is the best approximation of that rank: Eckart, Young (1936).
"""

import numpy as np

from minicnn.compression.tucker import Directions, check_ranks, output_directions
from minicnn.layers import Conv2d, Linear, Sequential


def truncated_svd(matrix: np.ndarray, rank: int, directions: Directions | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The factors of the nearest matrix of a rank.

    The singular values go to the second factor; the first one's columns are orthonormal.

    Args:
        matrix: (O, I). rank: from 1 to min(O, I).
        directions: from ``tucker.output_directions``, which need not be computed for each rank; None: those of the matrix.

    Returns:
        out, into: (O, rank) and (rank, I), float64; out @ into is the approximation.

    Raises:
        ValueError: the matrix is not (O, I), or the rank out of range.

    >>> out, into = truncated_svd(np.array([[2.0, 0.0], [0.0, 1.0]]), 1)
    >>> (out @ into).round(3).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    check_ranks("truncated_svd", matrix, 2, (rank, min(matrix.shape, default=0)))
    matrix = matrix.astype(np.float64)
    out = (directions or output_directions(matrix)).factor[:, :rank]
    return out, out.T @ matrix


def two_layers(layer, out, into):
    """A ``Sequential`` in place of a linear layer or 1 x 1 convolution, with the factors (O, rank) and (rank, I); the last layer has the
    bias, the first one the stride."""
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
