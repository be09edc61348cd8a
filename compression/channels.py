"""Removing channels from a network: the layer that makes them, what they pass through, and the layers that read them."""

import numpy as np

from minicnn.compression.criteria import METHODS
from minicnn.hooks import watch

FLOOR = 1e-6            # ridge of a regression on channels, in mean variances of one


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
        images: (N, C, H, W) unlabelled images for compensation (see ``compensate``), or None.
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
    taken where the reader reads, thus after activation and pooling: for a convolution over images and pixels, for a linear layer
    over images, column by column. For a convolution with padding it is inexact at the borders, where part of the removed
    channel's patch was zeros and not its mean. (Ours: the paper's abstract tells nothing of it.)

    Args:
        model, group, remove: as for ``prune_group``; images: (N, C, H, W).
    """
    means = {}

    def observe(path):
        return lambda x, y: means.update({path: x.mean(axis=(0, *range(2, x.ndim)), dtype=np.float64)})

    with watch(model, {path: observe(path) for path, _ in group.consumers}):
        model(images)
    for path, columns in group.consumers:
        reader, lost = model.get_layer(path), channel_columns(remove, columns)
        weight = reader.weight.reshape(*reader.weight.shape[:2], -1).sum(axis=2)         # (O, I): taps summed
        if reader.bias is None:
            reader.bias = np.zeros(len(weight), weight.dtype)
        reader.bias = reader.bias + (weight[:, lost] @ means[path][lost]).astype(weight.dtype)


def readers(model, removed):
    """Paths of the layers that read what ``removed``, {producer: indices}, tells of."""
    return {path for group in model.channel_groups() if not removed.keys().isdisjoint(group.producers) for path, _ in group.consumers}


def map_pixels(model):
    """{path: how many pixels a map has} of the linear layers that read flattened maps of more than one."""
    return {path: columns for group in model.channel_groups() for path, columns in group.consumers
            if columns > 1 and model.get_layer(path).weight.ndim == 2}


def substitutes(channels, remove, inputs):
    """How far the channels that stay can stand in for those that go: by linear regression of these on those.

    Args:
        channels: C. remove: indices of R of them. inputs: an ``observation.Inputs`` of the C; None, or without products of these: nobody
            can.

    Returns:
        keep: indices of the K others; slopes: (R, K), x_R ~ mean_R + slopes (x_K - mean_K); rest: (R, R), the covariance of what is left
        of x_R, the identity if nothing is known of it.
    """
    keep = np.setdiff1d(np.arange(channels), remove)
    if inputs is None or not inputs.by_channel:
        return keep, np.zeros((len(remove), len(keep))), np.eye(len(remove))
    covariance = inputs.covariance()
    mixed, ridge = covariance[np.ix_(remove, keep)], FLOOR * covariance.trace() / channels
    slopes = np.linalg.solve(covariance[np.ix_(keep, keep)] + (ridge or 1.0) * np.eye(len(keep)), mixed.T).T
    return keep, slopes, covariance[np.ix_(remove, remove)] - slopes @ mixed.T


def lost_share(reader, remove, inputs):
    """The share of a reader's output that goes with some of its input channels, after ``stand_in``: of its variance with ``inputs``, else
    of its squared weights. Exact if the taps of a kernel read independent pixels."""
    weight = reader.weight.reshape(*reader.weight.shape[:2], -1).astype(np.float64)
    rest = substitutes(weight.shape[1], remove, inputs)[2]
    gone = weight[:, remove]
    gone, whole = np.einsum("oit,ojt->ij", gone, gone), np.einsum("oit,ojt->ij", weight, weight)
    covariance = np.eye(len(whole)) if inputs is None or not inputs.by_channel else inputs.covariance()
    return (gone * rest).sum() / ((whole * covariance).sum() or 1)


def stand_in(reader, remove, inputs):
    """Rebuild a reader of channels that are about to go, so that the others stand in for them, in place.

    A reader computes W x + b. With x_R ~ A x_K + c over the images (``substitutes``), W_K + W_R A and b + W_R c give nearly the same
    without x_R, tap by tap. (Ours, a closed form of the "next layer rebuilt"; ``compensate`` is the case A = 0. Inexact at borders, as
    there.)

    Args:
        reader: ``Conv2d`` without groups, or ``Linear``. remove: indices of its inputs. inputs: an ``observation.Inputs`` of it.
    """
    keep, slopes, _ = substitutes(reader.weight.shape[1], remove, inputs)
    weight = reader.weight.astype(np.float64)
    gone = weight[:, remove]
    weight[:, keep] += np.moveaxis(np.tensordot(gone, slopes, (1, 0)), -1, 1)
    shift = gone.reshape(*gone.shape[:2], -1).sum(axis=2) @ (inputs.mean[remove] - slopes @ inputs.mean[keep])
    reader.bias = ((0 if reader.bias is None else reader.bias) + shift).astype(reader.weight.dtype)
    reader.weight = weight.astype(reader.weight.dtype)


def channel_columns(channels, columns):
    """The input columns of a reader that belong to channels: channel c has c * columns to (c + 1) * columns - 1."""
    return (np.asarray(channels, int)[:, None] * columns + np.arange(columns)).ravel()
