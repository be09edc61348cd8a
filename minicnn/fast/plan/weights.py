"""Weights in the forms that a plan's steps read: norms folded in, channels padded with zeros, transformed and packed for the algorithm."""

import numpy as np

from minicnn.fast.layouts import padded_channels


def fold_norm(attributes):
    """Weight and bias of a layer with its norm folded in: W' = scale W, b' = scale b + shift, in float64."""
    weight, bias = attributes["weight"], attributes["bias"]
    bias = np.zeros(len(weight)) if bias is None else bias
    if "norm" in attributes:
        scale, shift = attributes["norm"]
        weight, bias = weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias * scale + shift
    return weight, bias


def zero_padded(array, *sides):
    """An array with zeros appended to its first axes until they have these lengths, as contiguous float32."""
    widths = [(0, side - length) for length, side in zip(array.shape, sides)] + [(0, 0)] * (array.ndim - len(sides))
    if any(after for _, after in widths):
        return np.pad(np.asarray(array, np.float32), widths)
    return np.ascontiguousarray(array, np.float32)


def winograd_weights(attributes, kernels):
    """Filters in Winograd's form, and biases (O,)."""
    weight, bias = fold_norm(attributes)
    o, c = padded_channels(weight.shape[0]), padded_channels(weight.shape[1])
    return kernels.filters(zero_padded(weight, o, c)), zero_padded(bias, o)


def direct_weights(attributes, unpadded_input, kernels):
    """Filters packed as the right side (KH KW C, O) of a matrix product, and biases (O,).

    Args:
        attributes: of the traced convolution.
        unpadded_input: the input's channels are not padded.
        kernels: the backend's package.
    """
    weight, bias = fold_norm(attributes)
    o, c = padded_channels(weight.shape[0]), weight.shape[1] if unpadded_input else padded_channels(weight.shape[1])
    weight = zero_padded(weight, o, c).transpose(2, 3, 1, 0)                                 # (KH, KW, C, O)
    return kernels.pack(np.ascontiguousarray(weight.reshape(-1, o))), zero_padded(bias, o)


def depthwise_weights(attributes):
    """Filters (KH, KW, C) and biases (C,)."""
    weight, bias = fold_norm(attributes)
    c = padded_channels(len(weight))
    return zero_padded(zero_padded(weight, c)[:, 0].transpose(1, 2, 0)), zero_padded(bias, c)


def linear_weights(attributes, flattened_shape, kernels):
    """Weights packed as the right side (F, O) of a matrix product, and biases (O,).

    Args:
        attributes: of the traced layer.
        flattened_shape: shape of the array whose flattening the layer reads, so that the rows follow its channels-last buffer;
            None if it reads (N, F).
        kernels: the backend's package.
    """
    weight, bias = fold_norm(attributes)
    o = padded_channels(weight.shape[0])
    if flattened_shape is None:
        weight = zero_padded(weight, o, padded_channels(weight.shape[1])).T
    else:
        c, h, w = flattened_shape[1:] if len(flattened_shape) == 4 else (flattened_shape[1], 1, 1)
        weight = zero_padded(weight.reshape(-1, c, h, w), o, padded_channels(c)).transpose(2, 3, 1, 0).reshape(-1, o)     # (H W C, O)
    return kernels.pack(np.ascontiguousarray(weight)), zero_padded(bias, o)
