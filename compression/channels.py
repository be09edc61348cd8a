"""Take channels out of a network: from the layer that makes them, from the layers they pass, and from the layers that read them."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Sequence

import numpy as np

from minicnn.compression.cost_table import has_weight_matrix, weighted_layers
from minicnn.compression.criteria import METHODS
from minicnn.errors import InputError
from minicnn.hooks import watch
from minicnn.layers import Layer
from minicnn.models.channel_groups import ChannelGroup

FLOOR = 1e-6            # ridge of a regression on channels, in mean variances of a channel


def group_weight(model, group):
    """All weights that make the channels of a group, side by side: (O, M), M over all producers of the group."""
    weights = [model.get_layer(path).weight for path in group.producers]
    return np.concatenate([weight.reshape(len(weight), -1) for weight in weights], axis=1)


def is_linear(model, group):
    """Whether the group's channels are neurons of linear layers."""
    return all(model.get_layer(path).weight.ndim == 2 for path in group.producers)


def fits_any(path, patterns):
    """Whether a layer's path fits one of some patterns, such as backbone.2*."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def check_patterns(model, patterns):
    """Raise InputError if one of the patterns of layers that stay whole fits none."""
    paths = weighted_layers(model)
    for pattern in patterns:
        if not any(fits_any(path, (pattern,)) for path in paths):
            raise InputError(f"got the pattern {pattern} of layers that stay whole, which fits none, expected patterns of convolutions or "
                             f"linear layers, such as {', '.join(paths[:3])}. 'minicnn info' lists them.")


def stays_whole(model, group, patterns):
    """Whether a layer whose filters, or channels, go with the group's fits one of some patterns.

    Its consumers do not count: a layer that stays whole keeps its filters, and reads fewer channels if the layer before it is pruned.
    """
    followers = [inner for path in group.followers for inner, _ in model.get_layer(path).named_layers(path)]
    return any(fits_any(path, patterns) for path in (*group.producers, *followers))


def select_filters(weight, count, method, rng, among=None):
    """The filters to remove: the ``count`` with the lowest scores.

    Args:
        weight: (O, ...); count: number of filters to remove; method: a key of ``METHODS``.
        rng: numpy.random.Generator, for "random".
        among: indices to select from; None: all.

    Returns:
        index: (count,) int, ascending.
    """
    score = METHODS[method](weight, rng)
    among = np.arange(len(score)) if among is None else np.asarray(among)
    return np.sort(among[np.argsort(score[among], kind="stable")[:count]])


def prune_group(model: Layer, group: ChannelGroup, remove: Sequence[int], images: np.ndarray | None = None) -> None:
    """Remove channels of one group from every layer that makes, passes or reads them, in place.

    With a channel go its filter, its bias, its norm's channel and the next layer's input: one input channel of a convolution, a block of
    ``columns`` columns of a linear layer.

    Args:
        model: with ``channel_groups``, see ``minicnn.models.protocol.Compressible``.
        group: one of these groups.
        remove: indices of the channels to remove.
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
    """Fold the mean of the removed channels into the biases of their consumers.

    A consumer computes W x + b. Without the inputs R, W_R x_R is lost; its mean W_R mean(x_R) is kept by adding it to b. The mean is
    taken where the consumer reads, thus after activation and pooling: for a convolution over images and pixels, for a linear layer
    over images, column by column. For a convolution with padding it is inexact at the borders, where part of the removed
    channel's patch was zeros and not its mean. (Our choice; the paper's abstract does not say.)

    Args:
        model, group, remove: as for ``prune_group``; images: (N, C, H, W).
    """
    means = {}

    def observe(path):
        return lambda x, y: means.update({path: x.mean(axis=(0, *range(2, x.ndim)), dtype=np.float64)})

    with watch(model, {path: observe(path) for path, _ in group.consumers}):
        model(images)
    for path, columns in group.consumers:
        consumer, lost = model.get_layer(path), channel_columns(remove, columns)
        weight = consumer.weight.reshape(*consumer.weight.shape[:2], -1).sum(axis=2)         # (O, I): taps summed
        if consumer.bias is None:
            consumer.bias = np.zeros(len(weight), weight.dtype)
        consumer.bias = consumer.bias + (weight[:, lost] @ means[path][lost]).astype(weight.dtype)


def left_channels(model, group, keep):
    """Which channels each layer has left once ``prune_group`` has kept some of a group.

    What a follower does, its own ``keep_channels`` tells: it is asked with numbered inputs and outputs. Of squeeze-and-excitation, fc1
    then reads fewer channels, and fc2 makes fewer.

    Args:
        model, group: as for ``prune_group``, before it. keep: indices of the channels that stay.

    Returns:
        outputs: {path: indices of its filters} of the convolutions and linear layers that lose some;
        inputs: {path: indices of its input channels, or columns} of those that read fewer.
    """
    outputs = dict.fromkeys(group.producers, keep)
    inputs = {path: channel_columns(keep, columns) for path, columns in group.consumers}
    for path in group.followers:
        follower = copy.deepcopy(model.get_layer(path))
        parts = [(name, part, part.weight.shape) for name, part in follower.named_layers(path) if has_weight_matrix(part)]
        for _, part, (filters, width, *kernel) in parts:
            part.bias = np.arange(filters)
            part.weight = np.broadcast_to(np.arange(width).reshape(width, *[1] * len(kernel)), part.weight.shape)
        follower.keep_channels(keep)
        for name, part, (filters, width, *_) in parts:
            if len(part.weight) < filters:
                outputs[name] = part.bias
            if part.weight.shape[1] < width:
                inputs[name] = part.weight.reshape(*part.weight.shape[:2], -1)[0, :, 0]
    return outputs, inputs


def map_pixels(model):
    """{path: pixels of a map} of the linear layers that read flattened maps of more than one pixel."""
    return {path: columns for group in model.channel_groups() for path, columns in group.consumers
            if columns > 1 and model.get_layer(path).weight.ndim == 2}


def regress_removed(channels, remove, inputs):
    """Linear regression of the channels that are removed on the channels that stay.

    Args:
        channels: C. remove: indices of R of them. inputs: an ``observe.InputMoments`` of the C channels; with None, or without their
            covariance, the slopes are zero.

    Returns:
        keep: indices of the K other channels; slopes: (R, K), x_R ~ mean_R + slopes (x_K - mean_K); rest: (R, R), the covariance of the
        residuals of x_R, the identity if it is not known.
    """
    keep = np.setdiff1d(np.arange(channels), remove)
    if inputs is None or not inputs.by_channel:
        return keep, np.zeros((len(remove), len(keep))), np.eye(len(remove))
    covariance = inputs.covariance()
    mixed, ridge = covariance[np.ix_(remove, keep)], FLOOR * covariance.trace() / channels
    slopes = np.linalg.solve(covariance[np.ix_(keep, keep)] + (ridge or 1.0) * np.eye(len(keep)), mixed.T).T
    return keep, slopes, covariance[np.ix_(remove, remove)] - slopes @ mixed.T


def lost_share(consumer, remove, inputs):
    """The share of a consumer's output that is lost with some of its input channels, after ``fold_into_kept``: of its variance with
    ``inputs``, otherwise of its squared weights. Exact if the taps of a kernel read independent pixels."""
    weight = consumer.weight.reshape(*consumer.weight.shape[:2], -1)
    if inputs is None or not inputs.by_channel:             # no (I, I) products: fc6 of VGG16 has 25,088 inputs
        squares = np.einsum("oit,oit->i", weight, weight, dtype=np.float64)
        return squares[remove].sum() / (squares.sum() or 1)
    weight = weight.astype(np.float64)
    rest = regress_removed(weight.shape[1], remove, inputs)[2]
    gone = weight[:, remove]
    gone, whole = np.einsum("oit,ojt->ij", gone, gone), np.einsum("oit,ojt->ij", weight, weight)
    return (gone * rest).sum() / ((whole * inputs.covariance()).sum() or 1)


def fold_into_kept(consumer, remove, inputs):
    """Fold the weights of channels that will be removed into those of the channels that stay, in place.

    A consumer computes W x + b. With x_R ~ A x_K + c over the images (``regress_removed``), W_K + W_R A and b + W_R c give nearly the same
    without x_R, tap by tap. (Ours, a closed form of the "next layer rebuilt"; ``compensate`` is the case A = 0. Inexact at borders,
    likewise.)

    Args:
        consumer: ``Conv2d`` without groups, or ``Linear``. remove: indices of its inputs. inputs: its ``observe.InputMoments``.
    """
    keep, slopes, _ = regress_removed(consumer.weight.shape[1], remove, inputs)
    weight = consumer.weight.astype(np.float64)
    gone = weight[:, remove]
    weight[:, keep] += np.moveaxis(np.tensordot(gone, slopes, (1, 0)), -1, 1)
    shift = gone.reshape(*gone.shape[:2], -1).sum(axis=2) @ (inputs.mean[remove] - slopes @ inputs.mean[keep])
    consumer.bias = ((0 if consumer.bias is None else consumer.bias) + shift).astype(consumer.weight.dtype)
    consumer.weight = weight.astype(consumer.weight.dtype)


def channel_columns(channels, columns):
    """The input columns of a consumer that belong to channels: channel c has c * columns to (c + 1) * columns - 1.

    >>> channel_columns([0, 2], 2).tolist()
    [0, 1, 4, 5]
    """
    return (np.asarray(channels, int)[:, None] * columns + np.arange(columns)).ravel()
