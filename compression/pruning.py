"""Removing channels from a network: the layer that makes them, what they pass through, and the layers that read them."""

import numpy as np

from minicnn.compression.criteria import METHODS
from minicnn.probe import probed


def group_weight(model, group):
    """All weights that make a channel, side by side: (O, M), M over all producers of the group."""
    weights = [model.get_layer(path).weight for path in group.producers]
    return np.concatenate([weight.reshape(len(weight), -1) for weight in weights], axis=1)


def is_linear(model, group):
    """Whether the group's channels are neurons of linear layers."""
    return all(model.get_layer(path).weight.ndim == 2 for path in group.producers)


def choose(weight, count, method, rng, among=None):
    """Which filters go: the ``count`` of least score.

    Args:
        weight: (O, ...); count: how many go; method: a key of ``METHODS``.
        rng: numpy.random.Generator, for "random".
        among: indices to choose from; None is all.

    Returns:
        index: (count,) int, ascending.
    """
    score = METHODS[method](weight, rng)
    among = np.arange(len(score)) if among is None else np.asarray(among)
    return np.sort(among[np.argsort(score[among], kind="stable")[:count]])


def prune_group(model, group, remove, images=None):
    """Remove channels of one group from every layer that makes, passes or reads them, in place.

    A removed channel takes along its filter, its bias, its norm's channel and the next layer's input: one input channel of a
    convolution, a block of ``columns`` columns of a linear layer.

    Args:
        model: a Layer with ``channel_groups``.
        group: one of them.
        remove: indices of the channels that go.
        images: (N, C, H, W) unlabelled pictures for compensation (see ``compensate``), or None.
    """
    channels = len(model.get_layer(group.producers[0]).weight)
    keep = np.setdiff1d(np.arange(channels), remove)
    if images is not None:
        compensate(model, group, remove, images)
    for path in group.producers:
        model.get_layer(path).keep_outputs(keep)
    for path in group.followers:
        model.get_layer(path).keep_channels(keep)
    for path, columns in group.consumers:
        model.get_layer(path).keep_inputs(channel_columns(keep, columns))


def compensate(model, group, remove, images):
    """Fold the mean of what the removed channels gave into the biases of the layers that read them.

    A reader computes W x + b. Dropping the inputs R loses W_R x_R; its mean W_R mean(x_R) is kept by adding it to b. The mean is
    taken where the reader reads, thus after activation and pooling: for a convolution over pictures and pixels, for a linear layer
    over pictures, column by column. For a convolution with padding it is inexact at the borders, where part of the removed
    channel's patch was zeros and not its mean. (Ours: the paper's abstract tells nothing of it.)

    Args:
        model, group, remove: as for ``prune_group``; images: (N, C, H, W).
    """
    means = {}

    def observe(path):
        return lambda x, y: means.update({path: x.mean(axis=(0, *range(2, x.ndim)), dtype=np.float64)})

    with probed(model, {path: observe(path) for path, _ in group.consumers}):
        model(images)
    for path, columns in group.consumers:
        reader, lost = model.get_layer(path), channel_columns(remove, columns)
        weight = reader.weight.reshape(*reader.weight.shape[:2], -1).sum(axis=2)         # (O, I): taps summed
        if reader.bias is None:
            reader.bias = np.zeros(len(weight), weight.dtype)
        reader.bias = reader.bias + (weight[:, lost] @ means[path][lost]).astype(weight.dtype)


def channel_columns(channels, columns):
    """The input columns of a reader that belong to channels: channel c has c * columns to (c + 1) * columns - 1."""
    return (np.asarray(channels, int)[:, None] * columns + np.arange(columns)).ravel()
