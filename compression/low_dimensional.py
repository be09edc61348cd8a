"""Low-dimensional convolutions lose weak filters, as many as their consumers can do without: the pruning half of the hybrid method."""

import copy
import math

import numpy as np

from minicnn.compression import budget
from minicnn.compression.channels import (
    channel_columns,
    fold_into_kept,
    group_weight,
    is_linear,
    left_channels,
    lost_share,
    prune_group,
    select_filters,
    stays_whole,
)
from minicnn.compression.filter_statistics import cluster_filters
from minicnn.progress import shown


def most_removed(model, options):
    """The most that ``prune_low_dimensional`` may be told to remove, by the weights alone: {producer: indices of filters}."""
    return prune_low_dimensional(shallow_copy(model), options._replace(loss=math.inf), np.random.default_rng(0))[0]


def prune_low_dimensional(model, options, rng, observation=None, weak=None):
    """Prune low-dimensional convolutions by filter statistics, in place.

    Considered are the groups that only convolutions of at most ``options.low`` filters make. Of the weak cluster (``filter_statistics``)
    filters are removed in the order of mu^2 + sigma^2, as many as the consumers can do without: each loses at most ``options.loss`` of
    the squares (with an observation, of the variance) of its output, and a multiple of 8 filters stays (ours: the whole cluster may be
    most of a layer). With an observation the removed channels are folded into the others, see ``channels.fold_into_kept``.

    Args:
        model: the network. options: ``hybrid.HybridOptions``. rng: a Generator, for k-means. observation: ``observe.Observation`` or None.
        weak: {producer: indices of the filters that may be removed}, see ``most_removed``; None: each layer's weak cluster.

    Returns:
        removed, kept: {producer: indices of filters}; columns: {consumer: input channels, or columns, that are left}.
    """
    removed, kept, columns = {}, {}, {}
    for group in shown(model.channel_groups(), "pruning", "groups of filters"):
        weight = group_weight(model, group)
        if not is_low_dimensional(model, group, len(weight), options):
            continue
        consumers = [(model.get_layer(path), wide, None if observation is None else observation.inputs[path])
                     for path, wide in group.consumers]
        among = weak_cluster(weight, rng) if weak is None else weak.get(group.producers[0], [])
        remove = expendable_filters(weight, among, consumers, options.loss, rng)
        if remove is None:
            continue
        if observation is not None:
            for layer, wide, inputs in consumers:
                fold_into_kept(layer, channel_columns(remove, wide), inputs)
        keep = np.setdiff1d(np.arange(len(weight)), remove)
        columns.update(left_channels(model, group, keep)[1])
        prune_group(model, group, remove)
        removed.update(dict.fromkeys(group.producers, remove))
        kept.update(dict.fromkeys(group.producers, keep))
    return removed, kept, columns


def is_low_dimensional(model, group, channels, options):
    """Whether a group is of convolutions that the options let prune; not of parts of a layer that was decomposed before."""
    return not is_linear(model, group) and channels <= options.low and not stays_whole(model, group, options.left_out) and all(
        options.allows(path) and not was_decomposed(model, path) for path in group.producers)


def weak_cluster(weight, rng):
    """Indices of the filters (O, M) in the weak cluster."""
    clusters = cluster_filters(weight, rng=rng)
    return np.flatnonzero(clusters.labels == clusters.weak)


def expendable_filters(weight, weak, consumers, loss, rng):
    """The most weak filters that all consumers can do without, indices; None if there are none.

    Args:
        weight: (O, M), see ``channels.group_weight``. weak: indices of the weak filters.
        consumers: list of (layer, columns of a channel, its ``InputMoments`` or None).
        loss: see ``hybrid.HybridOptions``. rng: a Generator; the criterion, mu^2 + sigma^2, draws nothing from it.
    """
    least = max(1, -(-(len(weight) - len(weak)) // budget.STEP)) * budget.STEP
    for left in range(least, len(weight), budget.STEP):
        remove = select_filters(weight, len(weight) - left, "statistics", rng, weak)
        if loss == math.inf or max(lost_share(layer, channel_columns(remove, wide), inputs) for layer, wide, inputs in consumers) <= loss:
            return remove
    return None


def shallow_copy(model):
    """A copy of a model that has the same arrays: cutting and repair give layers new arrays, and write into none."""
    return copy.deepcopy(model, {id(array): array for _, array in model.named_arrays()})


def was_decomposed(model, path):
    """Whether a layer is a part of one that was decomposed before."""
    return any(path.startswith(f"{whole}.") for step in model.record["surgery"] for whole in step.get("split", ()))
